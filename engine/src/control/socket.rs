//! The control socket's place: a Unix socket of mode 0600, or 0660 for a group; and how clients reach it.
//!
//! One JSON line asks, one JSON line answers, as often as a client likes: `docs/CONTROL.md` says what.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::Sender;
use rustix::fs::Mode;
use serde_json::{Map, Value};

use super::SharedSource;
use super::request::{Errand, PROTOCOL};
use super::server::{Engine, Server};

/// How long a client waits for an answer: longer than the engine takes over an errand.
const PATIENCE: Duration = Duration::from_secs(8);

/// The longest answer that a client takes, in bytes.
const ANSWER_MAX: u64 = 1 << 28;

/// The engine's end. Dropping it ends the server and removes the socket.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    /// The socket's device and inode, so that nobody else's is removed.
    identity: Option<(u64, u64)>,
    /// The server ends when this is dropped.
    stop: Option<UnixStream>,
    server: Option<JoinHandle<()>>,
}

impl ControlSocket {
    /// Listens at `path`, whose directory is made if need be. A socket that nobody serves any more is
    /// replaced. `group`, if there is one, may use it beside its owner. `errands` leads to who carries out what is
    /// not a question.
    ///
    /// # Errors
    ///
    /// Another engine listens there; something that is no socket is there; no permission; no such group.
    pub fn listen(
        path: &Path,
        group: Option<u32>,
        source: SharedSource,
        errands: Sender<Errand>,
    ) -> io::Result<Self> {
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            std::fs::create_dir_all(dir)?;
        }
        make_way(path)?;
        let listener = bind(path, group)?;
        let (stop, stopped) = UnixStream::pair()?;
        let server = Server::new(listener, stopped.into(), Engine { source, errands })?;
        let thread = std::thread::Builder::new().name("usher-control".into());
        let server = Some(thread.spawn(move || server.run())?);
        Ok(Self { path: path.to_owned(), identity: identity(path), stop: Some(stop), server })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|there| (there.dev(), there.ino()))
}

/// Removes a socket that nobody serves; says so if somebody does, or if it is none.
fn make_way(path: &Path) -> io::Result<()> {
    let Ok(there) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !there.file_type().is_socket() {
        let what = "something that is no socket is in its place: remove it";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
    }
    match UnixStream::connect(path) {
        Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(cause) => Err(cause),
        Ok(_) => {
            let what = "another engine listens there: stop it, or set `engine.control_socket`";
            Err(io::Error::new(io::ErrorKind::AddrInUse, what))
        }
    }
}

/// Binds with mode 0600 from the first moment; the group is let in afterwards.
fn bind(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    let mask = rustix::process::umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(mask);
    let listener = listener?;
    if let Some(group) = group {
        let opened = std::os::unix::fs::chown(path, None, Some(group))
            .and_then(|()| Ok(rustix::fs::chmod(path, Mode::from_raw_mode(0o660))?));
        if let Err(cause) = opened {
            let _ = std::fs::remove_file(path);
            let what = format!("it cannot be given to group {group}: {cause}");
            return Err(io::Error::new(cause.kind(), what));
        }
    }
    Ok(listener)
}

/// A client's end.
#[derive(Debug)]
pub struct Connection(BufReader<UnixStream>);

impl Connection {
    /// Reaches the engine that listens at `path`.
    ///
    /// # Errors
    ///
    /// Nobody listens there; no permission.
    pub fn open(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Asks `asked`, an object with a `command`, and returns the answer.
    ///
    /// # Errors
    ///
    /// The engine refused: its sentence. It has gone, or what answers is no engine.
    pub fn ask(&mut self, asked: &Value) -> io::Result<Map<String, Value>> {
        let line = self.exchange(asked).map_err(|cause| match cause.kind() {
            kind @ (io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::UnexpectedEof) => io::Error::new(kind, "the engine has gone"),
            _ => cause,
        })?;
        let mut answer: Map<String, Value> = serde_json::from_slice(&line)?;
        if let Some(other) = answer.remove("protocol").filter(|version| *version != PROTOCOL) {
            let what = format!("the engine speaks protocol {other}, this is {PROTOCOL}");
            return Err(io::Error::other(what));
        }
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => Err(io::Error::other(error.to_owned())),
            None => Ok(answer),
        }
    }
}

impl Connection {
    /// Sends a line and waits for one.
    fn exchange(&mut self, asked: &Value) -> io::Result<Vec<u8>> {
        writeln!(self.0.get_mut(), "{asked}")?;
        let mut line = Vec::new();
        match Read::take(&mut self.0, ANSWER_MAX).read_until(b'\n', &mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line),
        }
    }
}

/// Asks the engine that listens at `path` once: see [`Connection`].
///
/// # Errors
///
/// Those of [`Connection::open`] and [`Connection::ask`].
pub fn request(path: &Path, asked: &Value) -> io::Result<Value> {
    Connection::open(path)?.ask(asked).map(Value::Object)
}
