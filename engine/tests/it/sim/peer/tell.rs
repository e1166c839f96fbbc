//! Acknowledgements, windows, timestamps: what every segment says of the receive side.

use super::super::frame::{ACK, ECE, Opt, Packet};
use super::super::plan::MILLI;
use super::{DELAYED_ACK, Peer, Timer};

impl Peer {
    /// Acknowledges what is owed, now or after a while.
    pub(super) fn acknowledge(&mut self, now: u64) {
        let owed = self.receive.owed;
        let at_once = self.receive.owes_at_once || owed > u32::from(self.habits.delayed_ack);
        if at_once {
            self.send_ack(now);
        } else if owed > 0 && !self.is_set(Timer::Ack) {
            self.set(Timer::Ack, now + DELAYED_ACK);
        }
    }

    pub(super) fn send_ack(&mut self, now: u64) {
        let options = self.options(now);
        self.send_segment(self.send.highest, ACK, options, Vec::new());
    }

    /// Sends a segment of the open connection.
    pub(super) fn send_segment(
        &mut self,
        at: u64,
        mut flags: u8,
        options: Vec<Opt>,
        payload: Vec<u8>,
    ) {
        if self.receive.echo {
            flags |= ECE;
        }
        let window = self.window();
        self.push(Packet { flags, window, options, payload, ..self.ends.packet() }, at);
        self.receive.acked = self.receive.next;
        self.receive.owed = 0;
        self.receive.owes_at_once = false;
        self.receive.store.told();
        self.clear(Timer::Ack);
    }

    /// Puts a packet out with the numbers that it has at `at` of our stream.
    pub(super) fn push(&mut self, packet: Packet, at: u64) {
        let ack = self.receive.irs.wrapping_add(self.receive.next as u32);
        self.out.push(Packet {
            seq: self.send.iss.wrapping_add(at as u32),
            ack: if packet.has(ACK) { ack } else { 0 },
            ..packet
        });
    }

    /// The options of a segment without SYN.
    pub(super) fn options(&mut self, now: u64) -> Vec<Opt> {
        let mut options = Vec::new();
        if self.agreed.timestamps {
            options.extend([Opt::Nop, Opt::Nop, self.stamp(now)]);
        }
        let irs = self.receive.irs;
        let blocks = if self.agreed.sack {
            self.receive.store.blocks(if self.agreed.timestamps { 3 } else { 4 })
        } else {
            Vec::new()
        };
        if !blocks.is_empty() {
            let wire = |at: u64| irs.wrapping_add(at as u32);
            let blocks = blocks.into_iter().map(|(from, to)| (wire(from), wire(to))).collect();
            options.extend([Opt::Nop, Opt::Nop, Opt::Sack(blocks)]);
        }
        options
    }

    /// The timestamp of a packet that is sent now.
    pub(super) fn stamp(&mut self, now: u64) -> Opt {
        let val = ((now / MILLI) as u32).wrapping_add(self.ts_offset);
        self.ts_first.get_or_insert(val);
        self.ts_last = val;
        Opt::Time(val, self.ts_recent)
    }

    /// Whether a TSval was ours: between the first and the newest.
    pub(super) fn has_sent(&self, val: u32) -> bool {
        self.ts_first
            .is_some_and(|first| val.wrapping_sub(first) <= self.ts_last.wrapping_sub(first))
    }

    /// The window to be told; its right edge never moves left (RFC 9293 §3.8.6), and it opens by a good
    /// piece or not at all (§3.8.6.2.2).
    fn window(&mut self) -> u16 {
        let shift = self.agreed.our_shift;
        let promised = self.receive.edge.saturating_sub(self.receive.next).div_ceil(1 << shift);
        let units = (self.room() >> shift).max(promised).min(65_535);
        self.receive.edge = self.receive.edge.max(self.receive.next + (units << shift));
        units as u16
    }

    fn room(&self) -> u64 {
        let free = self.habits.buffer.saturating_sub(self.receive.unread);
        let largest = 65_535 << self.agreed.our_shift;
        if free < self.good_piece() { 0 } else { free.min(largest) }
    }

    fn good_piece(&self) -> u64 {
        u64::from(self.habits.mss).min(self.habits.buffer / 2)
    }

    /// The program has read: tells it if the window opens by a good piece.
    pub(super) fn tell_room(&mut self) {
        let promised = self.receive.edge.saturating_sub(self.receive.next);
        self.receive.owes_at_once |= self.room() >= promised + 2 * self.good_piece();
    }
}
