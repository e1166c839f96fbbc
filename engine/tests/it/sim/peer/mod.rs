//! One end of a connection, as a kernel has it, with the program behind it: it opens or accepts, streams
//! both ways, recovers losses, closes in any order, and holds whoever is at the other end to account.
//!
//! Written from the RFCs and from what Linux does, not from the engine. Both streams are numbered from 0
//! (the SYN) in 64 bits; only `Sending::place`, `Receiving::place` and what writes a packet meet the wire.
//! What no weather excuses is put into `faults`.

mod habits;
mod open;
mod program;
mod receive;
mod recover;
mod send;
mod store;
mod stream;
mod tell;

use super::client::Ends;
use super::frame::Packet;
use super::plan::{MILLI, SECOND};
use super::proxy::Trouble;

pub(crate) use habits::{Begin, Break, Close, Habits, Moment, Script};
pub(crate) use open::Opening;
use receive::Receiving;
use send::Sending;
pub(crate) use stream::{Heard, Stream};

/// A peer that has heard nothing for so long gives up.
const PATIENCE: u64 = 120 * SECOND;
/// As Linux.
const TIME_WAIT: u64 = 60 * SECOND;
const DELAYED_ACK: u64 = 40 * MILLI;
const READ_EVERY: u64 = 30 * MILLI;

/// RFC 9293 §3.3.2
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    SynSent,
    SynRcvd,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    Closed,
}

impl State {
    /// Those in which a connection can break.
    pub(crate) const ALL: [Self; 9] = [
        Self::SynSent,
        Self::SynRcvd,
        Self::Established,
        Self::FinWait1,
        Self::FinWait2,
        Self::CloseWait,
        Self::Closing,
        Self::LastAck,
        Self::TimeWait,
    ];
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// Both FINs were acknowledged.
    Closed,
    /// The script broke it.
    Broken(Break),
    /// A RST came; in answer to the SYN, or later.
    Refused,
    Reset,
    /// Nothing was heard any more.
    TimedOut,
}

/// What was agreed in the handshake.
#[derive(Clone, Copy, Default, Debug)]
struct Agreed {
    mss: u16,
    timestamps: bool,
    sack: bool,
    ecn: bool,
    scaled: bool,
    our_shift: u8,
    their_shift: u8,
}

/// What can come due.
#[derive(Clone, Copy)]
enum Timer {
    Resend,
    Ack,
    Read,
    Write,
    Close,
    Silence,
    TimeWait,
}

impl Timer {
    const COUNT: usize = Self::TimeWait as usize + 1;
}

/// What was seen of congestion marks (RFC 3168 §6.1).
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Marks {
    /// CE on data, ECE of the other, CWR of the other.
    pub(crate) seen: u32,
    pub(crate) echoes: u32,
    pub(crate) reduced: u32,
}

/// One end.
pub(crate) struct Peer {
    pub(crate) habits: Habits,
    pub(crate) script: Script,
    pub(crate) ends: Ends,
    pub(crate) stream: Stream,
    pub(crate) heard: Heard,
    /// What was put in front of the other's stream, if that is expected.
    pub(crate) header: Option<Vec<u8>>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) faults: Vec<String>,
    pub(crate) marks: Marks,
    /// How far beyond its window others may send: less than a unit of a scale that is not its own.
    pub(crate) beyond: u64,
    /// ICMP errors that it believed.
    pub(crate) troubles: Vec<Trouble>,
    /// The states that it was in.
    pub(crate) passed: Vec<State>,
    /// Packets to be sent.
    pub(crate) out: Vec<Packet>,
    accepts: bool,
    open: bool,
    agreed: Agreed,
    send: Sending,
    receive: Receiving,
    /// TSval is the clock and this; the first and the newest that were sent, the one to be echoed.
    ts_offset: u32,
    ts_first: Option<u32>,
    ts_last: u32,
    ts_recent: u32,
    timers: [Option<u64>; Timer::COUNT],
}

impl Peer {
    /// The next time at which `tick` has something to do.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.timers.iter().flatten().copied().min()
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: u64) {
        if self.due(now, Timer::TimeWait) {
            self.end(Outcome::Closed);
        }
        if self.due(now, Timer::Silence) {
            self.end(Outcome::TimedOut);
        }
        if self.due(now, Timer::Read) {
            self.read_some();
        }
        if self.due(now, Timer::Ack) {
            self.receive.owes_at_once = true;
        }
        if self.due(now, Timer::Resend) {
            self.resend(now);
        }
        self.go_on(now);
    }

    /// What the program does next, and what can be sent.
    fn go_on(&mut self, now: u64) {
        self.look_around(now);
        if self.outcome.is_none() && self.open {
            self.run_program(now);
            self.transmit(now);
            self.acknowledge(now);
            self.arm(now);
            self.finish(now);
        }
        self.look_around(now);
    }

    /// Notes the state, and breaks off if it is time.
    fn look_around(&mut self, now: u64) {
        let state = self.state();
        if self.passed.last() != Some(&state) {
            self.passed.push(state);
        }
        if self.outcome.is_none() {
            self.break_off(now);
        }
    }

    /// RFC 9293 §3.3.2, from what was sent and heard.
    pub(crate) fn state(&self) -> State {
        if self.outcome.is_some() {
            return State::Closed;
        }
        if !self.open {
            return if self.accepts { State::SynRcvd } else { State::SynSent };
        }
        let fin = 1 + self.stream.len;
        let (sent, acked) = (self.send.highest > fin, self.send.una > fin);
        match (sent, acked, self.receive.closed()) {
            (false, _, false) => State::Established,
            (false, _, true) => State::CloseWait,
            (true, false, false) => State::FinWait1,
            (true, true, false) => State::FinWait2,
            (true, false, true) if self.send.fin_first => State::Closing,
            (true, false, true) => State::LastAck,
            (true, true, true) if self.send.fin_first => State::TimeWait,
            (true, true, true) => State::Closed,
        }
    }

    fn finish(&mut self, now: u64) {
        match self.state() {
            State::Closed => self.end(Outcome::Closed),
            State::TimeWait if !self.is_set(Timer::TimeWait) => {
                self.timers = [None; Timer::COUNT];
                self.set(Timer::TimeWait, now + TIME_WAIT);
            }
            _ => {}
        }
    }

    /// Whether nothing can come any more but repetitions.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state(), State::TimeWait | State::Closed)
    }

    /// What the other end may know: our numbers for a SYN that takes this tuple again.
    pub(crate) const fn successor(&self) -> Opening {
        let iss = self.send.iss.wrapping_add(self.send.highest as u32).wrapping_add(65_537);
        Opening { iss, ts_offset: self.ts_offset }
    }

    /// How many bytes of our stream the other end was said to have.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.send.una.saturating_sub(1).min(self.stream.len)
    }

    fn set(&mut self, timer: Timer, at: u64) {
        self.timers[timer as usize] = Some(at);
    }

    fn clear(&mut self, timer: Timer) {
        self.timers[timer as usize] = None;
    }

    fn is_set(&self, timer: Timer) -> bool {
        self.timers[timer as usize].is_some()
    }

    fn due(&mut self, now: u64, timer: Timer) -> bool {
        self.timers[timer as usize].take_if(|at| *at <= now).is_some()
    }

    fn end(&mut self, outcome: Outcome) {
        self.outcome = self.outcome.or(Some(outcome));
        self.timers = [None; Timer::COUNT];
    }

    fn fault(&mut self, what: &str, packet: &Packet) {
        self.faults.push(format!("{what}: {packet:?}"));
    }
}
