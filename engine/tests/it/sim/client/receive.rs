//! What a client does with segments once it knows the server's ISN (RFC 9293 §3.10.7.4).

use super::super::frame::{ACK, FIN, Packet, RST, SYN};
use super::super::plan::MILLI;
use super::{Client, Outcome, READ_EVERY};

impl Client {
    /// Takes a packet that the network delivered to this client's address.
    pub(crate) fn receive(&mut self, now: u64, packet: &Packet) {
        if self.outcome.is_some() {
            return;
        }
        if self.irs.is_none() {
            self.in_syn_sent(now, packet)
        } else {
            self.in_any_other(now, packet)
        }
    }

    /// RFC 9293 §3.10.7.4
    pub(super) fn in_any_other(&mut self, now: u64, packet: &Packet) {
        let seq = self.position(packet.seq);
        let end = seq + i64::from(packet.length());
        if packet.has(RST) {
            if seq == self.next as i64 {
                self.end(Outcome::Reset);
            }
            return;
        }
        if !packet.has(ACK) {
            return self.faults.push(format!("no ACK: {packet:?}"));
        }
        if self.is_old_by_timestamp(packet) {
            return self.send_ack(now);
        }
        let outside = end <= self.next as i64 && !(seq == self.next as i64 && packet.length() == 0);
        if outside || seq > self.window_edge as i64 || packet.has(SYN) {
            // Old, or a probe of a closed window: acknowledged again. An empty segment one octet
            // before is a keepalive probe.
            if packet.length() > 0 || seq < self.next as i64 {
                self.send_ack(now);
            }
            if packet.length() > 0 || packet.has(SYN) {
                return;
            }
        }
        self.take_timestamp(seq, packet);
        if !self.take_ack(now, packet) {
            return;
        }
        self.take_data(now, seq, packet);
        self.run_script(now);
        self.transmit(now);
        self.finish(now);
    }

    pub(super) fn is_old_by_timestamp(&mut self, packet: &Packet) -> bool {
        match (self.timestamps, packet.time()) {
            (true, Some((val, _))) => (val.wrapping_sub(self.ts_recent) as i32) < 0,
            (true, None) => {
                self.faults
                    .push(format!("RFC 7323 §3.2: a segment without timestamps: {packet:?}"));
                false
            }
            (false, Some(_)) => {
                self.faults.push(format!("timestamps were not agreed: {packet:?}"));
                false
            }
            (false, None) => false,
        }
    }

    pub(super) fn take_timestamp(&mut self, seq: i64, packet: &Packet) {
        if let Some((val, _)) = packet.time()
            && seq <= self.last_ack_sent as i64
        {
            self.ts_recent = val;
        }
    }

    /// Takes the acknowledgement and the window; false if the packet must not be believed.
    pub(super) fn take_ack(&mut self, now: u64, packet: &Packet) -> bool {
        let ack = self.una as i64
            + i64::from(packet.ack.wrapping_sub(self.iss.wrapping_add(self.una as u32)) as i32);
        if ack > self.highest as i64 {
            self.faults.push(format!("acknowledges what was never sent: {packet:?}"));
            return false;
        }
        let ack = ack.max(0) as u64;
        let window = u64::from(packet.window) << self.their_shift;
        self.edge = self.edge.max(ack + window);
        if ack > self.una {
            self.una = ack;
            self.nxt = self.nxt.max(ack);
            self.tries = 0;
            self.rto = (self.una < self.highest).then_some(now + 300 * MILLI);
        }
        true
    }

    pub(super) fn take_data(&mut self, now: u64, seq: i64, packet: &Packet) {
        let end = seq + packet.payload.len() as i64;
        if packet.has(FIN) {
            if self.server_fin.is_some_and(|at| at as i64 != end) {
                self.faults.push(format!("a second FIN elsewhere: {packet:?}"));
            }
            self.server_fin = Some(end as u64);
        }
        if packet.length() == 0 {
            return;
        }
        let room = self.window_edge as i64 - seq;
        if end > self.window_edge as i64 && packet.payload.len() > 1 {
            self.faults.push(format!(
                "data beyond the window by {}: {packet:?}",
                end - self.window_edge as i64
            ));
        }
        let keep = packet.payload.len().min(room.max(0) as usize);
        let skip = (self.next as i64 - seq).clamp(0, keep as i64) as usize;
        let in_order = seq <= self.next as i64;
        if skip < keep {
            self.pieces.insert((seq + skip as i64) as u64, packet.payload[skip..keep].to_vec());
        }
        self.gather();
        self.schedule_ack(now, in_order && !packet.has(FIN) && self.pieces.is_empty());
    }

    /// Moves what is in order from the pieces to the program.
    pub(super) fn gather(&mut self) {
        while let Some(entry) = self.pieces.first_entry() {
            if *entry.key() > self.next {
                break;
            }
            let (at, bytes) = entry.remove_entry();
            let skip = (self.next - at) as usize;
            if skip < bytes.len() {
                self.received.extend(&bytes[skip..]);
                self.unread += if self.plan.read_rate.is_some() { bytes.len() - skip } else { 0 };
                self.next = at + bytes.len() as u64;
            }
        }
        if self.server_fin == Some(self.next) {
            self.next += 1;
        }
    }

    pub(super) fn schedule_ack(&mut self, now: u64, may_wait: bool) {
        self.ack_owed += 1;
        if self.plan.read_rate.is_some() && self.read_due.is_none() {
            self.read_due = Some(now + READ_EVERY);
        }
        if self.plan.delayed_ack && may_wait && self.ack_owed < 2 {
            self.ack_due = Some(self.ack_due.unwrap_or(now + 40 * MILLI));
        } else {
            self.send_ack(now);
        }
    }

    pub(super) fn read_some(&mut self, now: u64) {
        let before = self.window();
        self.unread = self.unread.saturating_sub(self.plan.read_rate.unwrap_or(usize::MAX));
        if self.unread > 0 {
            self.read_due = Some(now + READ_EVERY);
        }
        // Tell of a window that was nearly closed (RFC 9293 §3.8.6.2.2).
        if before < 1460.min(self.buffer() / 2) && self.window() >= 1460.min(self.buffer() / 2) {
            self.send_ack(now);
        }
    }

    /// Where a sequence number of the server is in its stream, nearest to what is expected.
    pub(super) fn position(&self, seq: u32) -> i64 {
        let irs = self.irs.unwrap_or(0);
        self.next as i64 + i64::from(seq.wrapping_sub(irs.wrapping_add(self.next as u32)) as i32)
    }
}
