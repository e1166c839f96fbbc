//! The program behind the connection.

use super::super::frame::{ACK, Packet, RST};
use super::{Begin, Break, Close, Moment, Outcome, Peer, READ_EVERY, State, Timer};

/// Urgent data is one byte in so many.
pub(super) const URGENT_EVERY: u64 = 4096;

impl Peer {
    /// The connection is there.
    pub(super) fn start_program(&mut self, now: u64) {
        match self.script.begin {
            Begin::AtOnce => self.set(Timer::Write, now),
            Begin::After(wait) => self.set(Timer::Write, now + wait),
            Begin::OnFirstByte => {}
        }
    }

    pub(super) fn run_program(&mut self, now: u64) {
        let heard = self.heard.len > 0 || self.receive.closed();
        if self.script.begin == Begin::OnFirstByte && heard && !self.send.began {
            self.set(Timer::Write, now);
        }
        while self.due(now, Timer::Write) {
            self.write(now);
        }
        self.read(now);
        self.close(now);
    }

    /// Writes a piece, and says when the next one comes.
    fn write(&mut self, now: u64) {
        self.send.began = true;
        let end = 1 + self.script.len;
        self.send.written = end.min(self.send.written.saturating_add(self.script.piece));
        if self.send.written < end {
            self.set(Timer::Write, now + self.script.pause);
        }
    }

    fn read(&mut self, now: u64) {
        match self.script.read_rate {
            None => {
                self.receive.unread = 0;
                self.tell_room();
            }
            Some(_) if self.receive.unread > 0 && !self.is_set(Timer::Read) => {
                self.set(Timer::Read, now + READ_EVERY);
            }
            Some(_) => {}
        }
    }

    pub(super) fn read_some(&mut self) {
        let rate = self.script.read_rate.unwrap_or(0);
        self.receive.unread = self.receive.unread.saturating_sub(rate);
        self.tell_room();
    }

    fn close(&mut self, now: u64) {
        if self.send.fin || !self.send.began || self.send.written <= self.script.len {
            return;
        }
        let wait = match self.script.close {
            Close::AtOnce => 0,
            Close::Second(_) if self.receive.closed() => 0,
            Close::After(wait) | Close::Second(wait) => wait,
        };
        if wait == 0 || self.due(now, Timer::Close) {
            self.send.fin = true;
            self.clear(Timer::Close);
        } else if !self.is_set(Timer::Close) {
            self.set(Timer::Close, now + wait);
        }
    }

    /// Ends without order when the script's moment has come.
    pub(super) fn break_off(&mut self, now: u64) {
        let Some((moment, how)) = self.script.breaks else { return };
        let there = match moment {
            Moment::In(state) => self.state() == state,
            Moment::Sent(bytes) => self.open && self.send.highest > bytes,
            Moment::Received(bytes) => self.heard.len >= bytes,
        };
        if !there {
            return;
        }
        // RFC 9293 §3.10.5: an abort in SYN_SENT and TIME_WAIT sends nothing.
        let tells = !matches!(self.state(), State::SynSent | State::TimeWait);
        if how == Break::Reset && tells && self.send.highest > 0 {
            let options = if self.open { self.options(now) } else { Vec::new() };
            let reset = Packet { flags: RST | ACK, options, ..self.ends.packet() };
            self.push(reset, self.send.highest);
        }
        self.end(Outcome::Broken(how));
    }
}
