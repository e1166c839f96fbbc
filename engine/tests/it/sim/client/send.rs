//! What a client sends: request, FIN, acknowledgements.

use super::super::frame::{ACK, FIN, Opt, PSH, Packet, RST};
use super::super::plan::{Close, MILLI};
use super::Client;

impl Client {
    /// The request's bytes: any, but always the same.
    pub(super) fn request(&self, from: u64, len: usize) -> Vec<u8> {
        (from..from + len as u64).map(|at| b'a' + (at % 23) as u8).collect()
    }

    pub(super) fn request_end(&self) -> u64 {
        if self.plan.close == Close::WithoutRequest { 1 } else { 1 + self.plan.request as u64 }
    }

    /// Sends what script and window allow.
    pub(super) fn transmit(&mut self, now: u64) {
        if self.outcome.is_some() || self.irs.is_none() {
            return;
        }
        let end = self.request_end();
        loop {
            let data_end = self.released.min(self.edge);
            let room = self.their_mss - if self.timestamps { 12 } else { 0 };
            let len = data_end.saturating_sub(self.nxt).min(room as u64) as usize;
            let after = self.nxt + len as u64;
            let fin = self.fin_released && after == end;
            if len == 0 && !fin {
                break;
            }
            let flags = ACK | if fin { FIN } else { 0 } | if len > 0 { PSH } else { 0 };
            self.send_at(now, self.nxt, flags, len);
            self.nxt = after + u64::from(fin);
            self.highest = self.highest.max(self.nxt);
        }
        if self.una < self.highest && self.rto.is_none() {
            self.rto = Some(now + 300 * MILLI);
        }
    }

    pub(super) fn buffer(&self) -> usize {
        self.plan.buffer.unwrap_or_else(|| self.plan.style.buffer())
    }

    /// The window to be offered, never moving its right edge to the left (RFC 9293 §3.8.6).
    pub(super) fn window(&self) -> usize {
        let free = self.buffer().saturating_sub(self.unread);
        let silly = free < 1460.min(self.buffer() / 2);
        let free = if silly { 0 } else { free };
        let promised = self.window_edge.saturating_sub(self.next) as usize;
        free.max(promised)
    }

    pub(super) fn send_ack(&mut self, now: u64) {
        self.send_at(now, self.highest.max(self.nxt), ACK, 0);
    }

    /// Sends `len` bytes of the request at `at`.
    pub(super) fn send_at(&mut self, now: u64, at: u64, flags: u8, len: usize) {
        let window = (self.window() >> self.our_shift).min(65_535);
        self.window_edge = self.window_edge.max(self.next + ((window as u64) << self.our_shift));
        self.last_ack_sent = self.next;
        self.ack_owed = 0;
        self.ack_due = None;
        let time = Opt::Time(self.ts_now(now), self.ts_recent);
        let options = if self.timestamps { vec![Opt::Nop, Opt::Nop, time] } else { Vec::new() };
        let payload = self.request(at, len);
        self.push(at, flags, window as u16, options, payload);
    }

    pub(super) fn push(
        &mut self,
        at: u64,
        flags: u8,
        window: u16,
        options: Vec<Opt>,
        payload: Vec<u8>,
    ) {
        let ack = self.irs.map_or(0, |irs| irs.wrapping_add(self.next as u32));
        self.out.push(Packet {
            seq: self.iss.wrapping_add(at as u32),
            ack,
            flags,
            window,
            options,
            payload,
            ..self.ends.packet()
        });
    }

    pub(super) fn send_bare_reset(&mut self, seq: u32) {
        let seq = seq.wrapping_sub(self.iss);
        self.push(u64::from(seq), RST, 0, Vec::new(), Vec::new());
    }

    pub(super) fn ts_now(&self, now: u64) -> u32 {
        ((now / MILLI) as u32).wrapping_add(self.ts_offset)
    }
}
