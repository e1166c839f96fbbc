//! The control socket, by clients as they are and as they should not be.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, bounded};
use proptest::prelude::*;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use super::{Seen, stats_json};
use crate::control::client::REQUEST_MAX;
use crate::control::server::CLIENTS_MAX;
use crate::control::{Connection, ControlSocket, Errand, Request, Source, done, request};

/// A path of this test's own, whose directory goes away with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = format!("usher-control-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(dir))
    }

    fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A socket of an engine that carries nothing out.
fn listen(path: &Path) -> std::io::Result<ControlSocket> {
    ControlSocket::listen(path, None, Arc::new(Seen), bounded(0).0)
}

/// One whose engine's own thread answers by `outcome`, until its socket is gone.
fn listen_and_do(
    path: &Path,
    outcome: impl Fn(Request) -> Result<String, String> + Send + 'static,
) -> (ControlSocket, JoinHandle<()>) {
    let (errands, asked): (_, Receiver<Errand>) = bounded(16);
    let socket = ControlSocket::listen(path, None, Arc::new(Seen), errands).unwrap();
    let engine = std::thread::spawn(move || {
        for Errand { request, answer } in asked {
            let _ = answer.send(outcome(request).map(done));
        }
    });
    (socket, engine)
}

fn error(path: &Path, asked: &Value) -> String {
    request(path, asked).unwrap_err().to_string()
}

/// Whoever asks and listens is served.
fn assert_served(path: &Path) {
    let stats = request(path, &json!({ "command": "stats" })).unwrap();
    assert_eq!(stats["workers"][0]["received"], 12);
}

/// What the engine's own thread says of a reload is what the client hears.
#[test]
fn a_reload_is_asked_for_and_its_outcome_told() {
    let scratch = Scratch::new("reload");
    let path = scratch.socket();
    let asked = json!({ "command": "reload" });
    let (socket, engine) = listen_and_do(&path, |request| {
        assert_eq!(request, Request::Reload { dry_run: false });
        Ok("reloaded".into())
    });
    assert_eq!(request(&path, &asked).unwrap(), json!({ "done": "reloaded" }));
    drop(socket);
    engine.join().unwrap();
    let (_socket, _engine) = listen_and_do(&path, |_| Err("`port.mtu` cannot change".into()));
    assert_eq!(error(&path, &asked), "`port.mtu` cannot change");
}

#[test]
fn an_engine_that_does_nothing_more_is_not_waited_for() {
    let scratch = Scratch::new("ending");
    let _socket = listen(&scratch.socket()).unwrap();
    let error = error(&scratch.socket(), &json!({ "command": "reload" }));
    assert_eq!(error, "the engine is busy or ending");
}

/// An order about a backend reaches the engine as it was given; one that names none does not.
#[test]
fn backends_are_listed_and_orders_passed_on() {
    let scratch = Scratch::new("backend");
    let path = scratch.socket();
    let (_socket, _engine) = listen_and_do(&path, |request| match request {
        Request::Backend { service, address, drained } => {
            Ok(format!("{service} {address} {drained}"))
        }
        other => Err(format!("{other:?}")),
    });
    let listed = request(&path, &json!({ "command": "backend list" })).unwrap();
    assert_eq!(listed["backends"], stats_json(&Seen.snapshot())["backends"]);
    let of = |service: &str| json!({ "command": "backend list", "service": service });
    assert_eq!(request(&path, &of("web")).unwrap(), listed);
    assert!(error(&path, &of("wbe")).starts_with("no proxy service \"wbe\" runs"));
    for (command, done) in
        [("backend drain", "web [fd00::2]:80 true"), ("backend enable", "web [fd00::2]:80 false")]
    {
        let order = json!({ "command": command, "service": "web", "address": "[fd00::2]:80" });
        assert_eq!(request(&path, &order).unwrap()["done"], done);
    }
    let nowhere = json!({ "command": "backend drain", "service": "web", "address": "10.20.0.2" });
    assert!(error(&path, &nowhere).starts_with("`backend drain`: invalid socket address"));
}

#[test]
fn the_socket_answers_and_is_for_its_owner_only() {
    let scratch = Scratch::new("answers");
    let path = scratch.socket();
    let socket = listen(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_served(&path);
    let version = request(&path, &json!({ "command": "version", "protocol": 1 })).unwrap();
    let reason = "the link of port `wan` is down";
    let expected =
        json!({ "version": env!("CARGO_PKG_VERSION"), "uptime_s": 2.5, "not_ready": reason });
    assert_eq!(version, expected);
    assert!(
        error(&path, &json!({ "command": "explode" })).starts_with("there is no command `explode`")
    );
    drop(socket);
    assert!(!path.exists());
}

/// Giving a socket away takes being of the group, which everybody is of their own.
#[test]
fn a_group_is_let_in() {
    let scratch = Scratch::new("group");
    let path = scratch.socket();
    let own = rustix::process::getegid().as_raw();
    let _socket = ControlSocket::listen(&path, Some(own), Arc::new(Seen), bounded(0).0).unwrap();
    let there = std::fs::metadata(&path).unwrap();
    assert_eq!((there.permissions().mode() & 0o777, there.gid()), (0o660, own));
    assert_served(&path);
}

#[test]
fn a_socket_in_use_is_kept_and_a_dead_one_replaced() {
    let scratch = Scratch::new("way");
    let path = scratch.socket();
    let first = listen(&path).unwrap();
    let error = listen(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    drop(first);
    drop(UnixListener::bind(&path).unwrap());
    drop(listen(&path).unwrap());
    std::fs::write(&path, "precious").unwrap();
    let error = listen(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

/// A socket that has taken the place of ours is somebody else's.
#[test]
fn only_the_own_socket_is_removed() {
    let scratch = Scratch::new("own");
    let path = scratch.socket();
    let socket = listen(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let _other = UnixListener::bind(&path).unwrap();
    drop(socket);
    assert!(path.exists());
}

#[test]
fn a_connection_serves_for_many_requests() {
    let scratch = Scratch::new("many");
    let path = scratch.socket();
    let (_socket, _engine) = listen_and_do(&path, |_| Ok("reloaded".into()));
    let mut engine = Connection::open(&path).unwrap();
    for _ in 0..3 {
        assert!(engine.ask(&json!({ "command": "stats" })).unwrap().contains_key("workers"));
        assert!(engine.ask(&json!({ "command": "explode" })).is_err());
        assert_eq!(engine.ask(&json!({ "command": "reload" })).unwrap()["done"], "reloaded");
    }
    // all at once, the last one without its line feed: the answers come in order
    let mut stream = UnixStream::connect(&path).unwrap();
    let asked =
        "{\"command\":\"reload\"}\n{\"command\":\"version\"}\n\n{\"command\":\"backend list\"}";
    stream.write_all(asked.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answers = BufReader::new(stream).lines();
    let answers = answers.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let keys: Vec<_> = ["done", "version", "error", "backends"].into_iter().zip(answers).collect();
    assert_eq!(keys.len(), 4);
    for (key, answer) in keys {
        assert!(answer.get(key).is_some() && answer["protocol"] == 1, "{key} in {answer}");
    }
}

/// Sends `said` and hears everything until the engine ends the connection, or we do.
fn hear(path: &Path, said: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    let mut text = Vec::new();
    // it may be refused before all is said
    let _ = stream.write_all(said);
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read_to_end(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn garbage_and_lines_without_end_are_refused() {
    let scratch = Scratch::new("garbage");
    let path = scratch.socket();
    let _socket = listen(&path).unwrap();
    let example = r#"a request is one line such as"#;
    for said in [&b"\n"[..], b"\xff\xfe\n", b"{nonsense", b"\0\0\0\0\n", b"GET / HTTP/1.1\r\n\r\n"]
    {
        assert!(hear(&path, said).contains(example), "{said:?}");
    }
    assert_eq!(hear(&path, b""), "");
    let mut longest =
        format!("{{\"command\":\"version\"}}{}", " ".repeat(REQUEST_MAX)).into_bytes();
    longest.truncate(REQUEST_MAX);
    longest.push(b'\n');
    assert!(hear(&path, &longest).contains("uptime_s"));
    longest.insert(0, b' ');
    assert!(hear(&path, &longest).contains("a request has at most 4096 bytes"));
    let endless = hear(&path, &vec![b' '; 1 << 20]);
    assert_eq!(endless.matches("a request has at most").count(), 1, "and then it ends");
    assert_served(&path);
}

/// Half a request and silence, from more clients than there are places for.
#[test]
fn a_thousand_silent_clients_keep_nobody_out() {
    let scratch = Scratch::new("thousand");
    let path = scratch.socket();
    let _socket = listen(&path).unwrap();
    let limits = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits }).unwrap();
    let mut crowd = Vec::new();
    for number in 0..1000 {
        // Until it is let in, the door may be full: we wait for it as any client does.
        let mut stream = UnixStream::connect(&path).unwrap();
        let _ = stream.write_all(b"{\"command\":");
        crowd.push(stream);
        if number % 100 == 99 {
            assert_served(&path);
        }
    }
    assert_served(&path);
    let is_open = |stream: &UnixStream| {
        stream.set_nonblocking(true).unwrap();
        let read = Read::read(&mut &*stream, &mut [0]);
        read.is_err_and(|cause| cause.kind() == ErrorKind::WouldBlock)
    };
    let left = crowd.iter().filter(|stream| is_open(stream)).count();
    assert!(left <= CLIENTS_MAX, "{left} are still served");
}

/// It asks for ever more and reads nothing: its answers wait, and so do its requests.
#[test]
fn clients_that_never_read_keep_nobody_out() {
    let scratch = Scratch::new("deaf");
    let path = scratch.socket();
    let _socket = listen(&path).unwrap();
    let deaf: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = UnixStream::connect(&path).unwrap();
            stream.set_nonblocking(true).unwrap();
            let asked = b"{\"command\":\"stats\"}\n".repeat(200);
            let mut taken = 0;
            while let Ok(count) = stream.write(&asked) {
                taken += count;
                assert!(taken < 16 << 20, "somebody keeps all that was asked");
                assert_served(&path);
            }
            stream
        })
        .collect();
    assert_served(&path);
    drop(deaf);
    assert_served(&path);
}

/// The engine's own thread is at something else: only those who want something of it wait.
#[test]
fn an_errand_keeps_nobody_waiting() {
    let scratch = Scratch::new("errand");
    let path = scratch.socket();
    let (errands, asked) = bounded(16);
    let socket = ControlSocket::listen(&path, None, Arc::new(Seen), errands).unwrap();
    let waiting = {
        let path = path.clone();
        std::thread::spawn(move || request(&path, &json!({ "command": "reload" })))
    };
    let errand: Errand = asked.recv().unwrap();
    assert_served(&path);
    // one that asks and leaves
    hear_nothing(&path);
    let forsaken: Errand = asked.recv().unwrap();
    assert_served(&path);
    let _ = forsaken.answer.send(Ok(done("too late".into())));
    errand.answer.send(Ok(done("at last".into()))).unwrap();
    assert_eq!(waiting.join().unwrap().unwrap()["done"], "at last");
    drop(socket);
}

fn hear_nothing(path: &Path) {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(b"{\"command\":\"reload\"}\n").unwrap();
}

/// Whatever is said, in whatever pieces, gets lines of JSON, and others are served.
#[test]
fn any_bytes_are_answered_by_lines_of_json() {
    let scratch = Scratch::new("fuzz");
    let path = scratch.socket();
    let _socket = listen(&path).unwrap();
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..64),
        Just(b"\n".to_vec()),
        Just(b"{\"command\":\"stats\"}\n".to_vec()),
        Just(b"{\"command\":\"backend list\",\"service\":\"".to_vec()),
        Just(vec![b'x'; REQUEST_MAX]),
    ];
    let pieces = proptest::collection::vec(piece, 0..8);
    proptest!(ProptestConfig::with_cases(100), |(pieces in pieces)| {
        let answers = hear(&path, &pieces.concat());
        for line in answers.lines() {
            prop_assert!(serde_json::from_str::<Value>(line).unwrap()["protocol"] == 1);
        }
    });
    assert_served(&path);
}
