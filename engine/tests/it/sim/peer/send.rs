//! What is sent, and what may be (RFC 9293 §3.8, RFC 5681).

use std::collections::BTreeMap;

use super::super::frame::{ACK, CWR, ECT, FIN, PSH, Packet, URG};
use super::Peer;
use super::program::URGENT_EVERY;

/// The send side.
pub(super) struct Sending {
    pub(super) iss: u32,
    /// The first octet not acknowledged, the next to be sent, the end of what was sent.
    pub(super) una: u64,
    pub(super) nxt: u64,
    pub(super) highest: u64,
    /// The right edge that the other allows; the largest window it ever gave.
    pub(super) edge: u64,
    pub(super) largest_window: u64,
    /// How far the program has written, whether it began, whether it has closed, and closed first.
    pub(super) written: u64,
    pub(super) began: bool,
    pub(super) fin: bool,
    pub(super) fin_first: bool,
    /// Congestion: window and threshold, duplicate ACKs, where a recovery ends and how far it has come.
    pub(super) cwnd: u64,
    pub(super) ssthresh: u64,
    pub(super) duplicates: u32,
    pub(super) recover: Option<u64>,
    pub(super) resent: u64,
    /// What the other holds beyond `una`.
    pub(super) sacked: BTreeMap<u64, u64>,
    /// ECN: no second reduction below this, and CWR on the next new data.
    pub(super) reduced_until: u64,
    pub(super) tell_reduced: bool,
    /// Resends of the oldest segment; the segment whose way is timed; RFC 6298's estimate.
    pub(super) tries: u32,
    pub(super) timed: Option<(u64, u64)>,
    pub(super) round_trip: Option<(u64, u64)>,
}

impl Sending {
    pub(super) const fn new(iss: u32) -> Self {
        Self {
            iss,
            una: 0,
            nxt: 0,
            highest: 0,
            edge: 0,
            largest_window: 0,
            written: 1,
            began: false,
            fin: false,
            fin_first: false,
            cwnd: 0,
            ssthresh: u64::MAX,
            duplicates: 0,
            recover: None,
            resent: 0,
            sacked: BTreeMap::new(),
            reduced_until: 0,
            tell_reduced: false,
            tries: 0,
            timed: None,
            round_trip: None,
        }
    }

    /// The handshake has told window and MSS.
    pub(super) const fn start(&mut self, window: u64, mss: u64) {
        self.edge = 1 + window;
        self.largest_window = window;
        self.cwnd = 10 * mss;
    }

    /// Where an acknowledgement number is in our stream.
    pub(super) const fn place(&self, ack: u32) -> i64 {
        let una = self.iss.wrapping_add(self.una as u32);
        self.una as i64 + ack.wrapping_sub(una) as i32 as i64
    }

    pub(super) const fn in_flight(&self) -> bool {
        self.highest > self.una
    }

    /// Where the next gap in what the other holds begins, from `at` on.
    pub(super) fn skip_held(&self, at: u64) -> u64 {
        match self.sacked.range(..=at).next_back() {
            Some((_, &to)) if to > at => to,
            _ => at,
        }
    }

    /// Where the other holds something again, behind `at`.
    pub(super) fn next_held(&self, at: u64) -> u64 {
        self.sacked.range(at..).next().map_or(u64::MAX, |(&from, _)| from)
    }
}

impl Peer {
    /// Sends what program, windows and congestion allow.
    pub(super) fn transmit(&mut self, now: u64) {
        loop {
            self.send.nxt = self.send.skip_held(self.send.nxt);
            let limit = self.send.edge.min(self.send.una + self.send.cwnd);
            if !self.send_data(now, limit, false) {
                return;
            }
        }
    }

    /// Sends one segment at `nxt` up to `limit`; false if there is none to be sent.
    pub(super) fn send_data(&mut self, now: u64, limit: u64, even_small: bool) -> bool {
        let at = self.send.nxt;
        let options = self.options(now);
        let used: usize = Packet { options: options.clone(), ..self.ends.packet() }.options_len();
        let mss = u64::from(self.agreed.mss).saturating_sub(used as u64);
        let there = self.send.written.min(self.send.next_held(at));
        let len = there.min(limit).saturating_sub(at).min(mss);
        let fin = self.send.fin && at + len == 1 + self.script.len && limit > at + len;
        // RFC 9293 §3.8.6.2.1: no small segment because of a small window while others are on their way.
        let silly = len < mss && at + len < there && self.send.in_flight() && !even_small;
        if (len == 0 || silly) && !fin {
            return false;
        }
        let fresh = at >= self.send.highest;
        let mut flags = ACK;
        flags |= if fin { FIN } else { 0 };
        flags |= if len > 0 && at + len == self.send.written { PSH } else { 0 };
        flags |=
            if len > 0 && fresh && std::mem::take(&mut self.send.tell_reduced) { CWR } else { 0 };
        let urgent = self.script.urgent && len > 0;
        flags |= if urgent { URG } else { 0 };
        self.send_segment(at, flags, options, self.stream.bytes(at - 1, len as usize));
        if let Some(packet) = self.out.last_mut() {
            packet.urgent =
                if urgent { (URGENT_EVERY - (at - 1) % URGENT_EVERY) as u16 } else { 0 };
            packet.ecn = if self.agreed.ecn && fresh && len > 0 { ECT } else { 0 };
        }
        self.sent(now, at, len, fin, fresh);
        true
    }

    fn sent(&mut self, now: u64, at: u64, len: u64, fin: bool, fresh: bool) {
        self.send.nxt = at + len + u64::from(fin);
        if fin && self.send.nxt > self.send.highest {
            self.send.fin_first = !self.receive.closed();
        }
        if fresh && self.send.timed.is_none() {
            self.send.timed = Some((self.send.nxt, now));
        }
        self.send.highest = self.send.highest.max(self.send.nxt);
    }
}
