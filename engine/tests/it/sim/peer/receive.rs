//! What an open connection does with a segment (RFC 9293 §3.10.7.4, RFC 5961, RFC 7323 §5).

use super::super::frame::{ACK, CE, CWR, ECE, FIN, Packet, RST, SYN, URG};
use super::program::URGENT_EVERY;
use super::store::Store;
use super::{Outcome, PATIENCE, Peer, TIME_WAIT, Timer};

/// The receive side.
pub(super) struct Receiving {
    pub(super) irs: u32,
    /// The next octet expected; the last that was told; the right edge that was promised.
    pub(super) next: u64,
    pub(super) acked: u64,
    pub(super) edge: u64,
    pub(super) fin: Option<u64>,
    pub(super) store: Store,
    /// In order, but not read by the program.
    pub(super) unread: u64,
    /// Segments not acknowledged; whether that may not wait.
    pub(super) owed: u32,
    pub(super) owes_at_once: bool,
    /// ECE until CWR comes (RFC 3168 §6.1.3).
    pub(super) echo: bool,
    pub(super) challenged: Option<u64>,
}

impl Receiving {
    pub(super) const fn new() -> Self {
        Self {
            irs: 0,
            next: 0,
            acked: 0,
            edge: 0,
            fin: None,
            store: Store::new(),
            unread: 0,
            owed: 0,
            owes_at_once: false,
            echo: false,
            challenged: None,
        }
    }

    /// Where a number is in the stream, nearest to what is expected.
    pub(super) const fn place(&self, seq: u32) -> i64 {
        let next = self.irs.wrapping_add(self.next as u32);
        self.next as i64 + seq.wrapping_sub(next) as i32 as i64
    }

    pub(super) fn closed(&self) -> bool {
        self.fin.is_some_and(|at| self.next > at)
    }
}

impl Peer {
    /// Takes a packet that came for this tuple.
    pub(crate) fn receive(&mut self, now: u64, packet: &Packet) {
        if self.outcome.is_some() {
            return;
        }
        if !self.is_done() {
            self.set(Timer::Silence, now + PATIENCE);
        }
        match (self.open, self.accepts) {
            (true, _) => self.in_open(now, packet),
            (false, true) => self.in_syn_rcvd(now, packet),
            (false, false) => self.in_syn_sent(now, packet),
        }
        self.go_on(now);
    }

    pub(super) fn in_open(&mut self, now: u64, packet: &Packet) {
        self.check(packet);
        let seq = self.receive.place(packet.seq);
        let end = seq + i64::from(packet.length());
        if packet.has(RST) {
            return self.take_reset(now, seq);
        }
        if self.is_old(packet) {
            return self.challenge(now, packet);
        }
        if packet.has(SYN) || end < self.receive.acked as i64 || seq > self.receive.edge as i64 {
            if packet.has(FIN) && self.is_set(Timer::TimeWait) {
                self.set(Timer::TimeWait, now + TIME_WAIT);
            }
            self.tell_repetition(seq, end, packet);
            return self.challenge(now, packet);
        }
        if !packet.has(ACK) {
            return self.fault("no ACK", packet);
        }
        if let Some((val, _)) = packet.time()
            && seq <= self.receive.acked as i64
        {
            self.ts_recent = val;
        }
        if self.take_ack(now, packet) {
            self.take_marks(packet);
            self.take_data(seq, packet);
        }
    }

    /// Rules that hold for every segment of the other end.
    fn check(&mut self, packet: &Packet) {
        let agreed = self.agreed;
        let room = usize::from(self.habits.mss);
        let closed_window = packet.payload.len() == 1;
        let edge = self.receive.place(packet.seq) + packet.payload.len() as i64;
        let timed = packet.time().is_some();
        let front = self.header.as_ref().map_or(0, Vec::len) as i64;
        let urgent = i64::from(packet.urgent) + self.receive.place(packet.seq) - 1 - front;
        let syn = packet.has(SYN);
        let rules = [
            ("RFC 7323 §3.2: no timestamps", packet.has(RST) || timed == agreed.timestamps),
            (
                "echoes what was never sent",
                !packet.has(ACK) || packet.time().is_none_or(|(_, ecr)| self.has_sent(ecr)),
            ),
            ("larger than the MSS", packet.payload.len() + packet.options_len() <= room || syn),
            (
                "data beyond the window",
                // A SYN that comes twice has two cookies.
                edge <= (self.receive.edge + self.beyond) as i64 || closed_window || syn,
            ),
            ("SACK was not agreed", packet.sack().is_empty() || agreed.sack),
            ("ECN was not agreed", syn || agreed.ecn || packet.flags & (ECE | CWR) == 0),
            ("ECT was not agreed", agreed.ecn || packet.ecn == 0),
            (
                "the urgent pointer moved",
                !packet.has(URG) || urgent.rem_euclid(URGENT_EVERY as i64) == 0,
            ),
        ];
        for (rule, _) in rules.iter().filter(|(_, holds)| !holds) {
            self.fault(rule, packet);
        }
    }

    /// RFC 5961 §3.2; in TIME_WAIT as Linux without `tcp_rfc1337`.
    fn take_reset(&mut self, now: u64, seq: i64) {
        if seq == self.receive.next as i64 {
            let closed = self.is_done();
            self.end(if closed { Outcome::Closed } else { Outcome::Reset });
        } else if (self.receive.next as i64..self.receive.edge as i64).contains(&seq) {
            self.send_ack(now);
        }
    }

    /// PAWS (RFC 7323 §5.3)
    pub(super) fn is_old(&self, packet: &Packet) -> bool {
        let time = packet.time().filter(|_| self.agreed.timestamps);
        time.is_some_and(|(val, _)| (val.wrapping_sub(self.ts_recent) as i32) < 0)
    }

    /// An ACK in answer to what cannot be taken; empty segments draw one in half a second (Linux).
    pub(super) fn challenge(&mut self, now: u64, packet: &Packet) {
        if packet.payload.is_empty() && !packet.has(FIN) {
            if self.receive.challenged.is_some_and(|at| now < at + 500_000) {
                return;
            }
            self.receive.challenged = Some(now);
        }
        self.send_ack(now);
    }

    fn tell_repetition(&mut self, seq: i64, end: i64, packet: &Packet) {
        if !packet.payload.is_empty() && end <= self.receive.next as i64 {
            self.receive.store.came_again(seq.max(0) as u64, end.max(0) as u64);
        }
    }

    fn take_marks(&mut self, packet: &Packet) {
        if packet.has(CWR) {
            self.marks.reduced += 1;
            self.receive.echo = false;
        }
        if packet.ecn == CE {
            self.marks.seen += 1;
            self.receive.echo = true;
        }
    }

    fn take_data(&mut self, seq: i64, packet: &Packet) {
        let end = seq + packet.payload.len() as i64;
        if packet.has(FIN) {
            if self.receive.fin.is_some_and(|at| at as i64 != end) {
                self.fault("a second FIN elsewhere", packet);
            }
            self.receive.fin = Some(end as u64);
        }
        if !packet.payload.is_empty() && self.receive.fin.is_some_and(|at| end > at as i64) {
            self.fault("data behind the FIN", packet);
        }
        if packet.length() == 0 {
            return;
        }
        self.receive.owed += 1;
        if end <= self.receive.next as i64 {
            self.tell_repetition(seq, end, packet);
        }
        let from = (self.receive.next as i64).clamp(seq, end) as u64;
        let to = (self.receive.edge as i64).clamp(seq, end) as u64;
        let holes = !self.receive.store.is_empty();
        if from < to {
            let skip = (from as i64 - seq) as usize;
            self.receive.store.insert(from, &packet.payload[skip..skip + (to - from) as usize]);
        }
        let in_order = seq == self.receive.next as i64 && from < to && !packet.has(FIN);
        self.receive.owes_at_once |= holes || !in_order;
        self.gather();
    }

    /// How many of these bytes belong to a PROXY header (haproxy, proxy-protocol.txt §2.2): 16 bytes, the last
    /// two of which say how many follow.
    fn take_header(&mut self, bytes: &[u8]) -> usize {
        let Some(header) = &mut self.header else { return 0 };
        let mut own = 0;
        loop {
            let whole = match header.get(14..16) {
                Some(len) => 16 + usize::from(u16::from_be_bytes([len[0], len[1]])),
                None => 16,
            };
            let more = (whole - header.len()).min(bytes.len() - own);
            header.extend(&bytes[own..own + more]);
            own += more;
            if more == 0 {
                return own;
            }
        }
    }

    /// Gives the program what is in order.
    fn gather(&mut self) {
        while let Some(bytes) = self.receive.store.pop(self.receive.next) {
            let own = self.take_header(&bytes);
            self.heard.take(&bytes[own..]);
            self.receive.next += bytes.len() as u64;
            self.receive.unread += bytes.len() as u64;
        }
        if self.receive.fin == Some(self.receive.next) {
            self.receive.next += 1;
        }
    }
}
