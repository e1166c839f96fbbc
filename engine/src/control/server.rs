//! The thread behind the control socket: all its clients at once, none of which it waits for.
//!
//! A client has a bound on what it says and a time for everything that it does, and there is a bound on clients: who has
//! been silent for longest gives way to a new one. So whoever asks and listens is served, whatever others do.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use crossbeam::channel::{Sender, bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use super::client::{Client, Gone, Line, REQUEST_MAX, State};
use super::request::{Asked, Errand, PROTOCOL, Request, read};
use super::{SharedSource, backends_json, services_json, stats_json};
use crate::clock::{Clock, SystemClock};

/// Clients at once. Each has at most a request and an answer in memory.
pub(super) const CLIENTS_MAX: usize = 64;

/// How often outcomes of errands are looked for, in µs; longer is felt, shorter wakes a core that others may need.
const OUTCOMES_EVERY_US: u64 = 5_000;

/// How long nobody is let in after the process has run out of files, in µs.
const PAUSE_US: u64 = 100_000;

/// Who answers: with what it has counted, or by doing something.
pub(super) struct Engine {
    pub(super) source: SharedSource,
    pub(super) errands: Sender<Errand>,
}

impl Engine {
    /// What a client that said `line` is at next.
    fn answer(&self, line: &[u8]) -> State {
        match read(line) {
            Ok(Asked::Version) => says(version(&self.source)),
            Ok(Asked::Stats) => says(stats_json(&self.source.snapshot())),
            Ok(Asked::Backends(service)) => says(self.backends(service.as_deref())),
            Ok(Asked::Services) => says(services_json(&self.source.snapshot())),
            Ok(Asked::Errand(request)) => self.errand(request),
            Err(error) => fails(&error),
        }
    }

    fn backends(&self, service: Option<&str>) -> Value {
        let mut snapshot = self.source.snapshot();
        snapshot.backends.retain(|one| service.is_none_or(|name| one.service == name));
        match service.filter(|_| snapshot.backends.is_empty()) {
            Some(name) => {
                let remedy = "`usher backend list` names all";
                json!({ "error": format!("no proxy service {name:?} runs; {remedy}") })
            }
            None => backends_json(&snapshot),
        }
    }

    /// Sends a request to who carries it out.
    fn errand(&self, request: Request) -> State {
        let (answer, answered) = bounded(1);
        match self.errands.try_send(Errand { request, answer }) {
            Ok(()) => State::Waits(answered),
            Err(_) => fails("the engine is busy or ending"),
        }
    }
}

fn version(source: &SharedSource) -> Value {
    let snapshot = source.snapshot();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": snapshot.uptime_us as f64 / 1e6,
        "not_ready": source.not_ready(),
    })
}

/// An answer as it is sent: one line.
fn says(mut answer: Value) -> State {
    if let Some(object) = answer.as_object_mut() {
        object.insert("protocol".into(), PROTOCOL.into());
    }
    State::Hears(format!("{answer}\n").into_bytes(), 0)
}

fn fails(error: &str) -> State {
    says(json!({ "error": error }))
}

/// The clients and who serves them.
pub(super) struct Server {
    listener: UnixListener,
    /// Its other end is dropped when this is to end.
    stop: OwnedFd,
    engine: Engine,
    clients: Vec<Client>,
    clock: SystemClock,
    /// Nobody is let in before this, in µs.
    closed_until_us: u64,
}

impl Server {
    pub(super) fn new(listener: UnixListener, stop: OwnedFd, engine: Engine) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let (clients, clock) = (Vec::new(), SystemClock::start());
        Ok(Self { listener, stop, engine, clients, clock, closed_until_us: 0 })
    }

    /// Serves until the other end of `stop` is dropped.
    pub(super) fn run(mut self) {
        while self.wait() {
            let now_us = self.clock.now().us;
            self.let_in(now_us);
            let engine = &self.engine;
            self.clients.retain_mut(|client| turn(client, engine, now_us).is_ok());
        }
    }

    /// Waits until there may be something to do; `false` when this is to end.
    fn wait(&mut self) -> bool {
        let now_us = self.clock.now().us;
        let is_open = now_us >= self.closed_until_us;
        let mut wake_us = self.clients.iter().map(Client::deadline_us).min().unwrap_or(u64::MAX);
        if self.clients.iter().any(Client::is_waiting) {
            wake_us = wake_us.min(now_us + OUTCOMES_EVERY_US);
        }
        if self.clients.iter().any(Client::is_ahead) {
            wake_us = now_us;
        }
        let mut interests = vec![PollFd::new(&self.stop, PollFlags::IN)];
        if is_open {
            interests.push(PollFd::new(&self.listener, PollFlags::IN));
        } else {
            wake_us = wake_us.min(self.closed_until_us);
        }
        for client in &self.clients {
            interests.push(PollFd::from_borrowed_fd(client.fd(), client.interest()));
        }
        // a wake-up that comes too early finds nothing to do
        let _ = poll(&mut interests, timeout(wake_us, now_us).as_ref());
        let has_gone: Vec<bool> = interests[interests.len() - self.clients.len()..]
            .iter()
            .map(|interest| interest.revents().intersects(PollFlags::HUP | PollFlags::ERR))
            .collect();
        let goes_on = interests[0].revents().is_empty();
        // one that has gone while it waits would wake this at once, again and again
        let mut has_gone = has_gone.into_iter();
        self.clients.retain(|client| !(has_gone.next() == Some(true) && client.is_waiting()));
        goes_on
    }

    /// Lets in who waits at the door.
    fn let_in(&mut self, now_us: u64) {
        if now_us < self.closed_until_us {
            return;
        }
        for _ in 0..CLIENTS_MAX {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    self.make_room();
                    // one whose socket cannot be set up is not served
                    self.clients.extend(Client::new(stream, now_us).ok());
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return,
                Err(cause) if cause.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => {
                    // out of files, most likely
                    self.closed_until_us = now_us + PAUSE_US;
                    return;
                }
            }
        }
    }

    /// Drops whoever has been at the same thing for longest, if all places are taken. An errand goes on.
    fn make_room(&mut self) {
        let places = self.clients.iter().enumerate();
        let oldest = places.min_by_key(|(_, client)| (client.is_waiting(), client.since_us));
        if let Some((index, _)) = oldest.filter(|_| self.clients.len() >= CLIENTS_MAX) {
            self.clients.remove(index);
        }
    }
}

/// Does for a client what can be done now, and answers at most one request.
fn turn(client: &mut Client, engine: &Engine, now_us: u64) -> Result<(), Gone> {
    if let Some(outcome) = client.outcome() {
        client.follow(outcome.map_or_else(|error| fails(&error), says), now_us);
    }
    client.hear(now_us)?;
    if matches!(client.state, State::Asks) {
        match client.line()? {
            Line::Whole(line) => client.follow(engine.answer(&line), now_us),
            Line::TooLong => client.end(refusal(), now_us),
            Line::None => {}
        }
        client.hear(now_us)?;
    }
    match now_us < client.deadline_us() {
        true => Ok(()),
        false if client.is_waiting() => {
            let late = "the engine has not answered yet; what was asked may still be done";
            client.follow(fails(late), now_us);
            client.hear(now_us)
        }
        false => Err(Gone),
    }
}

fn refusal() -> State {
    fails(&format!("a request has at most {REQUEST_MAX} bytes"))
}

/// The time until `wake_us`, for `poll`.
fn timeout(wake_us: u64, now_us: u64) -> Option<Timespec> {
    let left_us = wake_us.saturating_sub(now_us);
    let timespec = Timespec {
        tv_sec: (left_us / 1_000_000) as i64,
        tv_nsec: ((left_us % 1_000_000) * 1000) as i64,
    };
    (wake_us != u64::MAX).then_some(timespec)
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({:?})", self.stop.as_fd())
    }
}
