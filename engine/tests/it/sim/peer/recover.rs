//! Acknowledgements of the other end, and what is sent again (RFC 5681, RFC 6298, RFC 6675).

use super::super::frame::{ACK, ECE, Packet};
use super::super::plan::{MILLI, SECOND};
use super::super::proxy::Trouble;
use super::{Peer, Timer};

const SHORTEST_RTO: u64 = 200 * MILLI;
const LONGEST_RTO: u64 = 8 * SECOND;

impl Peer {
    /// Takes acknowledgement, window and SACK blocks; false if the packet must not be believed
    /// (RFC 5961 §5.2).
    pub(super) fn take_ack(&mut self, now: u64, packet: &Packet) -> bool {
        let ack = self.send.place(packet.ack);
        if ack > self.send.highest as i64 {
            self.fault("acknowledges what was never sent", packet);
            self.send_ack(now);
            return false;
        }
        if ack < self.send.una as i64 - self.send.largest_window as i64 {
            self.challenge(now, packet);
            return false;
        }
        let ack = ack.max(0) as u64;
        let window = u64::from(packet.window) << self.agreed.their_shift;
        let same_edge = ack + window == self.send.edge;
        self.send.largest_window = self.send.largest_window.max(window);
        self.send.edge = self.send.edge.max(ack + window);
        self.take_sack(packet);
        if packet.has(ECE) {
            self.take_echo();
        }
        if ack > self.send.una {
            self.advance(now, ack);
        } else if ack == self.send.una && packet.length() == 0 && same_edge && self.send.in_flight()
        {
            self.duplicate(now);
        }
        true
    }

    fn take_sack(&mut self, packet: &Packet) {
        for &(left, right) in packet.sack() {
            let (left, right) = (self.send.place(left), self.send.place(right));
            if left >= right || right > self.send.highest as i64 {
                self.fault("a SACK block of what was never sent", packet);
            } else if left >= self.send.una as i64 {
                let to = self.send.sacked.entry(left as u64).or_insert(0);
                *to = (*to).max(right as u64);
            }
        }
    }

    /// RFC 3168 §6.1.2: once a round trip.
    fn take_echo(&mut self) {
        self.marks.echoes += 1;
        if self.send.una >= self.send.reduced_until {
            self.send.reduced_until = self.send.highest;
            self.send.tell_reduced = true;
            self.slow_down();
            self.send.cwnd = self.send.ssthresh;
        }
    }

    fn slow_down(&mut self) {
        let flight = self.send.highest - self.send.una;
        self.send.ssthresh = (flight / 2).max(2 * u64::from(self.agreed.mss));
    }

    fn advance(&mut self, now: u64, ack: u64) {
        let fresh = ack - self.send.una;
        self.send.una = ack;
        self.send.nxt = self.send.nxt.max(ack);
        self.send.tries = 0;
        self.send.duplicates = 0;
        self.send.sacked = self.send.sacked.split_off(&ack);
        self.clear(Timer::Resend);
        if let Some((_, sent)) = self.send.timed.take_if(|(end, _)| *end <= ack) {
            self.measure(now - sent);
        }
        let mss = u64::from(self.agreed.mss);
        match self.send.recover {
            Some(until) if ack < until => self.resend_hole(now),
            Some(_) => {
                self.send.recover = None;
                self.send.cwnd = self.send.ssthresh;
            }
            None if self.send.cwnd < self.send.ssthresh => self.send.cwnd += fresh.min(mss),
            None => self.send.cwnd += (mss * mss / self.send.cwnd).max(1),
        }
    }

    fn duplicate(&mut self, now: u64) {
        self.send.duplicates += 1;
        let mss = u64::from(self.agreed.mss);
        if self.send.recover.is_some() {
            self.send.cwnd += mss;
            if !self.send.sacked.is_empty() {
                self.resend_hole(now);
            }
        } else if self.send.duplicates == 3 {
            self.send.recover = Some(self.send.highest);
            self.send.resent = self.send.una;
            self.slow_down();
            self.send.cwnd = self.send.ssthresh + 3 * mss;
            self.resend_hole(now);
        }
    }

    /// Sends the first gap of this recovery that was not sent again yet.
    fn resend_hole(&mut self, now: u64) {
        self.send.timed = None;
        let at = self.send.skip_held(self.send.resent.max(self.send.una));
        let last_held = self.send.sacked.last_key_value().map_or(0, |(_, &to)| to);
        if at >= self.send.highest || at > self.send.una && at >= last_held {
            return;
        }
        let before = std::mem::replace(&mut self.send.nxt, at);
        self.send_data(now, self.send.highest, true);
        self.send.resent = self.send.nxt;
        self.send.nxt = before.max(self.send.nxt);
    }

    /// RFC 6298 §2
    fn measure(&mut self, took: u64) {
        let (smooth, vary) = match self.send.round_trip {
            None => (took, took / 2),
            Some((smooth, vary)) => {
                ((7 * smooth + took) / 8, (3 * vary + smooth.abs_diff(took)) / 4)
            }
        };
        self.send.round_trip = Some((smooth, vary));
    }

    fn rto(&self) -> u64 {
        let first = self.send.round_trip.map_or(SECOND, |(smooth, vary)| smooth + 4 * vary);
        let base = first.clamp(SHORTEST_RTO, LONGEST_RTO);
        LONGEST_RTO.min(base << self.send.tries.min(6))
    }

    /// An ICMP error, believed if its segment may be on its way (RFC 5927 §4.1). A narrower path is taken at once
    /// (RFC 1191 §6.4, RFC 8201 §5.4); all else is a hint (RFC 5461 §2), which the program may hear of.
    pub(crate) fn hear(&mut self, now: u64, trouble: Trouble, seq: u32) {
        let at = self.send.place(seq);
        let on_its_way = (self.send.una as i64..=self.send.highest as i64).contains(&at);
        if self.outcome.is_some() || !self.open || !on_its_way {
            return;
        }
        self.troubles.push(trouble);
        let Trouble::TooBig(mtu) = trouble else { return };
        let headers = if self.ends.remote.is_ipv4() { 40 } else { 60 };
        let mss = mtu.saturating_sub(headers).max(48) as u16;
        if mss < self.agreed.mss {
            self.agreed.mss = mss;
            self.send.timed = None;
            self.send.recover = None;
            self.send.duplicates = 0;
            self.send.nxt = self.send.una;
            self.go_on(now);
        }
    }

    /// Sets the timer if something waits for an acknowledgement, or for a window.
    pub(super) fn arm(&mut self, now: u64) {
        let waits = self.send.nxt < self.send.written
            || self.send.fin && self.send.nxt <= 1 + self.script.len;
        if !self.send.in_flight() && !waits {
            self.clear(Timer::Resend);
        } else if !self.is_set(Timer::Resend) {
            self.set(Timer::Resend, now + self.rto());
        }
    }

    /// The timer has come: the oldest segment again, or a probe of a closed window (RFC 9293 §3.8.6.1).
    pub(super) fn resend(&mut self, now: u64) {
        if !self.open {
            self.send_syn(now);
            self.set(Timer::Resend, now + self.syn_wait());
            self.send.tries += 1;
            return;
        }
        self.send.tries += 1;
        self.send.timed = None;
        if self.send.edge <= self.send.una {
            return self.probe(now);
        }
        if self.send.in_flight() {
            self.slow_down();
            self.send.cwnd = u64::from(self.agreed.mss);
            self.send.recover = None;
            self.send.duplicates = 0;
            self.send.nxt = self.send.una;
        }
        self.send_data(now, self.send.edge, true);
    }

    fn probe(&mut self, now: u64) {
        self.send.nxt = self.send.una;
        if self.habits.probes_with_data && self.send.una < self.send.written {
            self.send_data(now, self.send.una + 1, true);
        } else {
            let options = self.options(now);
            self.send_segment(self.send.una - 1, ACK, options, Vec::new());
        }
    }
}
