//! The control socket: a Unix socket of mode 0600; one JSON line asks, one JSON line answers.
//!
//! | asked | answered |
//! |---|---|
//! | `{"command":"stats"}` | the object of `usher stats --json` |
//! | `{"command":"backend list"}` | `{"backends":[…]}`, as in that object |
//! | `{"command":"backend drain","service":"…","address":"…"}`, or `backend enable` | `{"done":"…"}` |
//! | `{"command":"reload"}` | `{"done":"…"}` |
//! | what fails or is unknown | `{"error":"…"}` |
//!
//! One thread serves one connection at a time, with a bound on the length of a
//! request and on the time that it takes, so a client can neither fill memory nor stop others for long.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Sender, bounded};
use rustix::fs::Mode;
use serde_json::{Value, json};

use super::{Request, SharedSource, backends_json, stats_json};

/// The longest request in bytes; longer ones are refused.
const REQUEST_MAX: u64 = 4096;

/// How long one read or write may take. Longer lets a silent client hold up others; shorter fails on a
/// machine whose other cores are busy.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a request may wait for the engine's own thread. Longer keeps other clients out, shorter gives up on
/// a thread that reads a slow disk.
const ERRAND: Duration = Duration::from_secs(3);

/// The engine's end. Dropping it ends the server and removes the socket.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl ControlSocket {
    /// Listens at `path`, whose directory is made if need be. A socket that nobody serves any more is
    /// replaced. `errands` leads to who carries out what is not a question.
    ///
    /// # Errors
    ///
    /// Another engine listens there; something that is no socket is there; no permission.
    pub fn listen(path: &Path, source: SharedSource, errands: Sender<Request>) -> io::Result<Self> {
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            std::fs::create_dir_all(dir)?;
        }
        make_way(path)?;
        let listener = bind(path)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let name = "usher-control".into();
        let engine = Engine { source, errands };
        let serve = move || serve(&listener, &engine, &stopped);
        let server = std::thread::Builder::new().name(name).spawn(serve)?;
        Ok(Self { path: path.to_owned(), stop, server: Some(server) })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Release: paired with the load in `serve`, which the connection wakes.
        self.stop.store(true, Ordering::Release);
        let woken = UnixStream::connect(&self.path).is_ok();
        if let Some(server) = self.server.take().filter(|_| woken) {
            let _ = server.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
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

/// Binds with mode 0600 from the first moment.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let mask = rustix::process::umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(mask);
    listener
}

/// Who answers: with what it has counted, or by doing something.
struct Engine {
    source: SharedSource,
    errands: Sender<Request>,
}

impl Engine {
    /// Has a request carried out.
    fn carry_out(&self, errand: impl FnOnce(Sender<Result<String, String>>) -> Request) -> Value {
        let (answer, answered) = bounded(1);
        let sent = self.errands.try_send(errand(answer)).is_ok();
        match answered.recv_timeout(ERRAND) {
            Ok(Ok(done)) => json!({ "done": done }),
            Ok(Err(error)) => json!({ "error": error }),
            Err(_) if sent => json!({ "error": "the engine has not answered yet" }),
            Err(_) => json!({ "error": "the engine is busy or ending" }),
        }
    }

    /// Takes a backend out, or back in.
    fn set_drained(&self, request: &Value, drained: bool) -> Value {
        let text = |key: &str| request.get(key).and_then(Value::as_str);
        let address = text("address").and_then(|address| address.parse().ok());
        let (Some(service), Some(address)) = (text("service"), address) else {
            let example = r#"such a request names "service":"web" and "address":"10.20.0.2:80""#;
            return json!({ "error": example });
        };
        let service = service.to_owned();
        self.carry_out(|answer| Request::Backend { service, address, drained, answer })
    }
}

fn serve(listener: &UnixListener, engine: &Engine, stop: &AtomicBool) {
    for stream in listener.incoming() {
        // Acquire: paired with the store in `drop`.
        if stop.load(Ordering::Acquire) {
            return;
        }
        // a client that goes away or is too slow is its own problem
        let _ = stream.and_then(|stream| answer(&stream, engine));
    }
}

fn answer(mut stream: &UnixStream, engine: &Engine) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    let mut bounded = BufReader::new(Read::take(stream, REQUEST_MAX));
    bounded.read_line(&mut line)?;
    let reply = if line.len() as u64 == REQUEST_MAX && !line.ends_with('\n') {
        json!({ "error": format!("a request has at most {REQUEST_MAX} bytes") })
    } else {
        reply(&line, engine)
    };
    writeln!(stream, "{reply}")
}

fn reply(line: &str, engine: &Engine) -> Value {
    let request: Value = serde_json::from_str(line).unwrap_or(Value::Null);
    match request.get("command").and_then(Value::as_str) {
        Some("stats") => stats_json(&engine.source.snapshot()),
        Some("reload") => engine.carry_out(Request::Reload),
        Some("backend list") => backends_json(&engine.source.snapshot()),
        Some("backend drain") => engine.set_drained(&request, true),
        Some("backend enable") => engine.set_drained(&request, false),
        Some(other) => json!({ "error": format!("`{other}` is not a command of this version") }),
        None => json!({ "error": "a request is one line such as {\"command\":\"stats\"}" }),
    }
}

/// Sends `asked`, an object with a `command`, to the engine that listens at `path`, and returns its answer.
///
/// # Errors
///
/// Nobody listens there, or what answers is no engine.
pub fn request(path: &Path, asked: &Value) -> io::Result<Value> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE * 2))?;
    writeln!(stream, "{}", asked)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let value: Value = serde_json::from_str(&text)?;
    match value.get("error").and_then(Value::as_str) {
        Some(error) => Err(io::Error::other(error.to_owned())),
        None => Ok(value),
    }
}
