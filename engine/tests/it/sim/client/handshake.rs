//! The client's part of the three-way handshake (RFC 9293 §3.5).

use super::super::frame::{ACK, CWR, ECE, Opt, Packet, RST, SYN};
use super::super::plan::{Close, SECOND, Third};
use super::{Client, Outcome, Step};

impl Client {
    /// Sends the SYN.
    pub(crate) fn start(&mut self, now: u64) {
        self.send_syn(now);
        self.rto = Some(now + SECOND);
    }

    pub(super) fn send_syn(&mut self, now: u64) {
        let mut options = self.plan.style.syn_options(self.ends.local.is_ipv6(), self.ts_now(now));
        for option in &mut options {
            if let (Opt::Mss(offered), Some(mss)) = (option, self.plan.mss) {
                *offered = mss;
            }
        }
        let flags = if self.plan.style.ecn() { SYN | ECE | CWR } else { SYN };
        let window = self.buffer().min(65_535) as u16;
        self.push(0, flags, window, options, Vec::new());
        self.nxt = 1;
        self.highest = 1;
    }

    /// RFC 9293 §3.10.7.3
    pub(super) fn in_syn_sent(&mut self, now: u64, packet: &Packet) {
        let acceptable = packet.has(ACK) && packet.ack == self.iss.wrapping_add(1);
        if packet.has(RST) {
            if acceptable {
                self.end(Outcome::Refused);
            }
            return;
        }
        if !acceptable || !packet.has(SYN) {
            if packet.has(ACK) {
                self.send_bare_reset(packet.ack);
            }
            return;
        }
        self.check_syn_ack(now, packet);
        self.irs = Some(packet.seq);
        self.next = 1;
        self.last_ack_sent = 1;
        self.una = 1;
        self.timestamps = packet.time().is_some();
        self.ts_recent = packet.time().map_or(0, |(val, _)| val);
        if let Some(shift) = packet.scale() {
            self.their_shift = shift;
            self.our_shift = self.plan.style.shift().unwrap_or(0);
        }
        self.window_edge = 1 + self.buffer().min(65_535) as u64;
        self.their_mss = usize::from(packet.mss().unwrap_or(536));
        // The window of a SYN-ACK is never scaled (RFC 7323 §2.2).
        self.edge = 1 + u64::from(packet.window);
        self.rto = None;
        self.tries = 0;
        self.established(now);
    }

    pub(super) fn check_syn_ack(&mut self, now: u64, packet: &Packet) {
        let style = self.plan.style;
        let mut expect = |what: &str, holds: bool| {
            if !holds {
                self.faults.push(format!("SYN-ACK: {what}: {packet:?}"));
            }
        };
        expect("flags", packet.flags & !ECE == SYN | ACK);
        expect("ECE if and only if asked", packet.has(ECE) == style.ecn());
        expect("a window that is not scaled", packet.window >= 1460);
        expect("no payload", packet.payload.is_empty());
        expect("always an MSS", packet.mss().is_some_and(|mss| mss >= 536));
        expect("scale only if offered", packet.scale().is_none() || style.shift().is_some());
        expect("scale if offered", packet.scale().is_some() || style.shift().is_none());
        expect("scale at most 14", packet.scale().unwrap_or(0) <= 14);
        expect("SACK if and only if offered", packet.sack_ok() == style.sack());
        expect("timestamps if and only if offered", packet.time().is_some() == style.timestamps());
        expect("no unknown options", !packet.options.iter().any(|o| matches!(o, Opt::Other(..))));
        let age = packet.time().map_or(0, |(_, ecr)| self.ts_now(now).wrapping_sub(ecr));
        if age > 120_000 {
            self.faults.push(format!("SYN-ACK: echoes a timestamp {age} ms off"));
        }
    }

    pub(super) fn established(&mut self, now: u64) {
        match self.plan.close {
            Close::VanishHalfOpen => return self.end(Outcome::Left),
            Close::ResetFirst => {
                self.send_ack(now);
                return self.step(now, Step::Reset);
            }
            Close::VanishIdle => {
                self.send_ack(now);
                return self.end(Outcome::Left);
            }
            _ => {}
        }
        match self.plan.third {
            Third::WithRequest => self.release_request(now),
            Third::AckThenRequest => {
                self.send_ack(now);
                self.release_request(now);
            }
            Third::AckAndWait(wait) => {
                self.send_ack(now);
                self.script_due = Some((now + wait, Step::Request));
                self.keepalive_due = self.plan.keepalive.then_some(now + wait / 2);
            }
        }
    }
}
