//! One client of the control socket: what it has said, what it has to hear, and until when.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crossbeam::channel::{Receiver, TryRecvError};
use rustix::event::PollFlags;

use super::request::Outcome;

/// The longest request in bytes, without its line feed.
pub(super) const REQUEST_MAX: usize = 4096;

/// How long a client may take for its next request, in µs, so that one that is asked every few seconds may stay.
/// Longer keeps places from others only while all are taken.
const IDLE_US: u64 = 30_000_000;

/// How long it may take to read an answer, in µs. Shorter fails over a slow terminal.
const READING_US: u64 = 10_000_000;

/// How long an errand may take, in µs: the engine's thread reads files and waits for its workers.
const ERRAND_US: u64 = 5_000_000;

/// What a client is at.
pub(super) enum State {
    /// It has something to say.
    Asks,
    /// It waits for the engine's own thread.
    Waits(Receiver<Outcome>),
    /// It has something to hear: what, and how much of it it has heard.
    Hears(Vec<u8>, usize),
}

/// A client. Nothing it does or leaves undone blocks.
pub(super) struct Client {
    stream: UnixStream,
    pub(super) state: State,
    /// What it has said and was not answered: at most a request and a line feed.
    said: Vec<u8>,
    /// Whether it will say no more.
    has_ended: bool,
    /// Whether the answer is the last one.
    is_last: bool,
    /// Since when it is at what it is at, in µs.
    pub(super) since_us: u64,
}

/// A client is to be dropped.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Gone;

impl Client {
    pub(super) fn new(stream: UnixStream, now_us: u64) -> std::io::Result<Self> {
        stream.set_nonblocking(true)?;
        let said = Vec::with_capacity(REQUEST_MAX + 1);
        let (state, has_ended, is_last) = (State::Asks, false, false);
        Ok(Self { stream, state, said, has_ended, is_last, since_us: now_us })
    }

    /// It is at something else from now on.
    pub(super) fn follow(&mut self, state: State, now_us: u64) {
        (self.state, self.since_us) = (state, now_us);
    }

    /// The same, and what it hears then is the last.
    pub(super) fn end(&mut self, state: State, now_us: u64) {
        self.is_last = true;
        self.follow(state, now_us);
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// What it is to be woken for. Its going away wakes always.
    pub(super) fn interest(&self) -> PollFlags {
        match self.state {
            State::Asks => PollFlags::IN,
            State::Waits(_) => PollFlags::empty(),
            State::Hears(..) => PollFlags::OUT,
        }
    }

    /// When its patience ends, or ours.
    pub(super) const fn deadline_us(&self) -> u64 {
        let time = match self.state {
            State::Asks => IDLE_US,
            State::Waits(_) => ERRAND_US,
            State::Hears(..) => READING_US,
        };
        self.since_us.saturating_add(time)
    }

    /// Whether it has said more than was answered, so that nothing need wake it.
    pub(super) fn is_ahead(&self) -> bool {
        matches!(self.state, State::Asks) && (self.has_ended || self.said.contains(&b'\n'))
    }

    /// Whether it waits for the engine's own thread.
    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waits(_))
    }

    /// What the engine's own thread has said, if that is what it waits for.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let State::Waits(answered) = &self.state else { return None };
        match answered.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err("the engine is ending".into())),
        }
    }

    /// The next line that it has said; the last one may lack its end.
    pub(super) fn line(&mut self) -> Result<Line, Gone> {
        loop {
            if let Some(end) = self.said.iter().position(|byte| *byte == b'\n') {
                let line = self.said[..end].to_vec();
                self.said.drain(..=end);
                return Ok(Line::Whole(line));
            }
            if self.said.len() > REQUEST_MAX {
                return Ok(Line::TooLong);
            }
            if self.has_ended {
                let line = std::mem::take(&mut self.said);
                return if line.is_empty() { Err(Gone) } else { Ok(Line::Whole(line)) };
            }
            if !self.read()? {
                return Ok(Line::None);
            }
        }
    }

    /// Takes in what is there; `false` when that is nothing.
    fn read(&mut self) -> Result<bool, Gone> {
        let mut buffer = [0; REQUEST_MAX + 1];
        let room = buffer.len() - self.said.len();
        match self.stream.read(&mut buffer[..room]) {
            Ok(0) => self.has_ended = true,
            Ok(count) => self.said.extend_from_slice(&buffer[..count]),
            Err(cause) if cause.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(Gone),
        }
        Ok(true)
    }

    /// Passes on what it has to hear, as much as it takes; then it may ask again.
    pub(super) fn hear(&mut self, now_us: u64) -> Result<(), Gone> {
        while let State::Hears(answer, heard) = &mut self.state {
            match self.stream.write(&answer[*heard..]) {
                Ok(count) => *heard += count,
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Gone),
            }
            if *heard == answer.len() {
                (self.state, self.since_us) = (State::Asks, now_us);
            }
        }
        if self.is_last { Err(Gone) } else { Ok(()) }
    }
}

/// What a client has said so far.
pub(super) enum Line {
    /// One line, without its end.
    Whole(Vec<u8>),
    /// Not yet one.
    None,
    /// More than a request may have.
    TooLong,
}
