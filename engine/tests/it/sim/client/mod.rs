//! A client's TCP, small and slow, written from RFC 9293 and not from the engine.
//!
//! Both streams are numbered from 0 (the SYN) in 64 bits, so nothing here wraps but the two functions that
//! meet the wire. What a correct server never does is put into `faults`.

mod handshake;
mod receive;
mod send;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::frame::{ACK, Mac, Packet, RST};
use super::plan::{Close, MILLI, Plan, SECOND};

/// How often a segment is sent before the client gives up.
const TRIES: u32 = 14;
const LONGEST_RTO: u64 = 8 * SECOND;
/// Short, so that runs are; long enough to acknowledge a FIN that is sent again.
const TIME_WAIT: u64 = 10 * SECOND;
const READ_EVERY: u64 = 30 * MILLI;

/// Where the connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// Both FINs were sent and acknowledged.
    Closed,
    /// The script ended it by RST or by silence.
    Left,
    /// The server sent a RST.
    Reset,
    /// A RST answered the SYN.
    Refused,
    /// Nothing was heard any more.
    TimedOut,
}

/// Addresses of both sides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ends {
    pub(crate) mac: Mac,
    pub(crate) server_mac: Mac,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

impl Ends {
    /// From here to there, with nothing in it.
    pub(crate) const fn packet(&self) -> Packet {
        Packet::between(self.mac, self.server_mac, self.local, self.remote)
    }
}

/// One connection, seen by the one who opened it.
pub(crate) struct Client {
    pub(crate) plan: Plan,
    pub(crate) ends: Ends,
    pub(crate) iss: u32,
    pub(crate) irs: Option<u32>,
    pub(crate) outcome: Option<Outcome>,
    /// What was received, in order.
    pub(crate) received: Vec<u8>,
    pub(crate) faults: Vec<String>,
    pub(crate) out: Vec<Packet>,
    /// Shift, MSS and timestamps that were agreed.
    their_shift: u8,
    our_shift: u8,
    their_mss: usize,
    timestamps: bool,
    /// The send side: the first octet not acknowledged, the next to send, the highest sent.
    una: u64,
    nxt: u64,
    highest: u64,
    /// The right edge that the server allows.
    edge: u64,
    /// How much of request and FIN the script has released.
    released: u64,
    fin_released: bool,
    /// The receive side.
    next: u64,
    last_ack_sent: u64,
    window_edge: u64,
    pieces: BTreeMap<u64, Vec<u8>>,
    server_fin: Option<u64>,
    unread: usize,
    ts_recent: u32,
    ts_offset: u32,
    /// Timers.
    rto: Option<u64>,
    tries: u32,
    ack_due: Option<u64>,
    ack_owed: u32,
    read_due: Option<u64>,
    script_due: Option<(u64, Step)>,
    keepalive_due: Option<u64>,
    closed_due: Option<u64>,
}

/// What the script does when its time comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Request,
    Fin,
    Reset,
}

impl Client {
    /// A client whose clock, ISN and timestamps begin at `iss` and `ts_offset`.
    pub(crate) fn new(plan: Plan, ends: Ends, iss: u32, ts_offset: u32) -> Self {
        Self {
            plan,
            ends,
            iss,
            irs: None,
            outcome: None,
            received: Vec::new(),
            faults: Vec::new(),
            out: Vec::new(),
            their_shift: 0,
            our_shift: 0,
            their_mss: 536,
            timestamps: false,
            una: 0,
            nxt: 0,
            highest: 0,
            edge: 1,
            released: 1,
            fin_released: false,
            next: 0,
            last_ack_sent: 0,
            window_edge: 0,
            pieces: BTreeMap::new(),
            server_fin: None,
            unread: 0,
            ts_recent: 0,
            ts_offset,
            rto: None,
            tries: 0,
            ack_due: None,
            ack_owed: 0,
            read_due: None,
            script_due: None,
            keepalive_due: None,
            closed_due: None,
        }
    }

    /// The next time at which `tick` has something to do.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let script = self.script_due.map(|(at, _)| at);
        [self.rto, self.ack_due, self.read_due, script, self.keepalive_due, self.closed_due]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: u64) {
        if self.closed_due.take_if(|at| *at <= now).is_some() {
            self.end(Outcome::Closed);
        }
        if self.outcome.is_some() {
            return;
        }
        if let Some((_, step)) = self.script_due.take_if(|(at, _)| *at <= now) {
            self.step(now, step);
        }
        if self.read_due.take_if(|at| *at <= now).is_some() {
            self.read_some(now);
        }
        if self.ack_due.take_if(|at| *at <= now).is_some() {
            self.send_ack(now);
        }
        if self.keepalive_due.take_if(|at| *at <= now).is_some() && self.una == self.nxt {
            // RFC 9293 §3.8.4: a keepalive probe is one octet before SND.NXT, without data.
            self.send_at(now, self.nxt - 1, ACK, 0);
        }
        if self.rto.take_if(|at| *at <= now).is_some() {
            self.retransmit(now);
        }
    }

    fn retransmit(&mut self, now: u64) {
        self.tries += 1;
        if self.tries > TRIES {
            return self.end(Outcome::TimedOut);
        }
        let first = if self.irs.is_none() { SECOND } else { 300 * MILLI };
        self.rto = Some(now + LONGEST_RTO.min(first << self.tries.min(10)));
        if self.irs.is_none() {
            return self.send_syn(now);
        }
        self.nxt = self.una;
        // A closed window is probed with one octet (RFC 9293 §3.8.6.1).
        self.edge = self.edge.max(self.una + 1);
        self.transmit(now);
    }

    fn step(&mut self, now: u64, step: Step) {
        match step {
            Step::Request => self.release_request(now),
            Step::Fin => {
                self.fin_released = true;
                self.transmit(now);
            }
            Step::Reset => {
                self.send_at(now, self.highest, RST | ACK, 0);
                self.end(Outcome::Left);
            }
        }
    }

    fn release_request(&mut self, now: u64) {
        let piece = self.plan.piece.min(self.plan.request) as u64;
        self.released = self.request_end().min(1 + piece);
        match self.plan.close {
            Close::WithRequest | Close::WithoutRequest => self.fin_released = true,
            Close::After(wait) => self.script_due = Some((now + wait, Step::Fin)),
            Close::ResetAfter(wait) => self.script_due = Some((now + wait, Step::Reset)),
            _ => {}
        }
        self.transmit(now);
        if self.plan.close == Close::VanishBusy {
            self.end(Outcome::Left);
        }
    }

    /// Releases the next piece of the request, and the FIN, when their time has come.
    fn run_script(&mut self, now: u64) {
        if self.una >= self.released && self.released > 1 && self.released < self.request_end() {
            self.released = self.request_end().min(self.released + self.plan.piece as u64);
        }
        match self.plan.close {
            Close::OnFirstByte if !self.received.is_empty() => self.fin_released = true,
            Close::Second if self.server_has_closed() => self.fin_released = true,
            Close::ResetLast if self.server_has_closed() => self.step(now, Step::Reset),
            _ => {}
        }
    }

    pub(crate) fn server_has_closed(&self) -> bool {
        self.server_fin.is_some_and(|at| self.next > at)
    }

    /// Ends the connection when both directions are closed.
    fn finish(&mut self, now: u64) {
        let our_fin_acked = self.fin_released && self.una == self.request_end() + 1;
        if self.outcome.is_none()
            && our_fin_acked
            && self.server_has_closed()
            && self.closed_due.is_none()
        {
            self.rto = None;
            if self.plan.close == Close::Second {
                self.end(Outcome::Closed); // LAST_ACK
            } else {
                self.closed_due = Some(now + TIME_WAIT);
            }
        }
    }

    /// Whether everything is over but TIME_WAIT.
    pub(crate) const fn is_done(&self) -> bool {
        self.outcome.is_some() || self.closed_due.is_some()
    }

    fn end(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
        self.rto = None;
        self.ack_due = None;
        self.read_due = None;
        self.script_due = None;
        self.keepalive_due = None;
        self.closed_due = None;
    }
}
