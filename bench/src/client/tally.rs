//! What a client counts and times.

use super::conn::{End, Step};
use crate::latency::Latency;

/// Counts and times since the last [`Tally::clear`].
#[derive(Clone, Debug)]
pub struct Tally {
    /// Connections begun.
    pub begun: u64,
    /// Handshakes that came to their end.
    pub opened: u64,
    /// Answers that came whole.
    pub answers: u64,
    /// Connections that ended as they should.
    pub closed: u64,
    /// The others, in the order of [`End::FAILURES`].
    pub failed: [u64; End::FAILURES.len()],
    /// Segments sent again.
    pub again: u64,
    /// Turns in which a connection was due and all numbers were in use.
    pub exhausted: u64,
    /// Frames received that were none of ours, or broken.
    pub strange: u64,
    /// Frames received.
    pub received: u64,
    /// Frames that the port took.
    pub sent: u64,
    /// From the time at which a connection was to begin to its SYN-ACK.
    pub syn_ack: Latency,
    /// From then to the first byte of an answer.
    pub first_byte: Latency,
    /// From then to the end.
    pub close: Latency,
    /// From the SYN itself to its SYN-ACK.
    pub uncorrected: Latency,
    /// From a request to the whole of its answer.
    pub answer: Latency,
    /// Connections that ended well, by the tenth of a second since the beginning.
    pub closed_by_tenth: Vec<u32>,
    since_ns: u64,
}

/// Of `closed_by_tenth`: an hour.
const TENTHS: usize = 36_000;
const TENTH_NS: u64 = 100_000_000;

impl Default for Tally {
    fn default() -> Self {
        Self {
            begun: 0,
            opened: 0,
            answers: 0,
            closed: 0,
            failed: [0; End::FAILURES.len()],
            again: 0,
            exhausted: 0,
            strange: 0,
            received: 0,
            sent: 0,
            syn_ack: Latency::new("start to SYN-ACK"),
            first_byte: Latency::new("start to first byte"),
            close: Latency::new("start to close"),
            uncorrected: Latency::new("SYN to SYN-ACK, uncorrected"),
            answer: Latency::new("request to answer"),
            closed_by_tenth: Vec::with_capacity(TENTHS),
            since_ns: 0,
        }
    }
}

impl Tally {
    /// Forgets everything and begins at this time.
    pub fn clear(&mut self, now_ns: u64) {
        self.since_ns = now_ns;
        let Self {
            begun, opened, answers, closed, again, exhausted, strange, received, sent, ..
        } = self;
        for count in [begun, opened, answers, closed, again, exhausted, strange, received, sent] {
            *count = 0;
        }
        self.failed.fill(0);
        self.closed_by_tenth.clear();
        let Self { syn_ack, first_byte, close, uncorrected, answer, .. } = self;
        [syn_ack, first_byte, close, uncorrected, answer].into_iter().for_each(Latency::clear);
    }

    /// Connections that failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failed.iter().sum()
    }

    /// Notes what a segment did to a connection that was to begin at `intended_ns` and began at `begun_ns`.
    #[inline]
    pub(super) fn note(&mut self, step: &Step, intended_ns: u64, begun_ns: u64, now_ns: u64) {
        if step.opened {
            self.opened += 1;
            self.syn_ack.record(now_ns.saturating_sub(intended_ns));
            self.uncorrected.record(now_ns.saturating_sub(begun_ns));
        }
        if step.first_byte {
            self.first_byte.record(now_ns.saturating_sub(intended_ns));
        }
        if let Some(asked_ns) = step.answered {
            self.answers += 1;
            self.answer.record(now_ns.saturating_sub(asked_ns));
        }
        match step.end {
            Some(End::Closed) => {
                self.closed += 1;
                self.close.record(now_ns.saturating_sub(intended_ns));
                self.count_tenth(now_ns);
            }
            Some(end) => self.fail(end),
            None => {}
        }
    }

    pub(super) fn fail(&mut self, end: End) {
        if let Some(index) = End::FAILURES.iter().position(|failure| *failure == end) {
            self.failed[index] += 1;
        }
    }

    /// Never grows beyond what was reserved.
    fn count_tenth(&mut self, now_ns: u64) {
        let tenth = ((now_ns.saturating_sub(self.since_ns) / TENTH_NS) as usize).min(TENTHS - 1);
        if self.closed_by_tenth.len() <= tenth {
            self.closed_by_tenth.resize(tenth + 1, 0);
        }
        self.closed_by_tenth[tenth] += 1;
    }
}
