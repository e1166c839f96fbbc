//! What the simulated network needs of a server, and the simplest server there can be: it holds client and
//! network to account before the engine does.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::frame::{self, ACK, CWR, ECE, FIN, Mac, Opt, Packet, RST, SYN};
use super::plan::{MILLI, SECOND};

/// A server on a fake clock.
pub(crate) trait Server {
    /// Takes a burst (perhaps empty) at `now` and gives what it sends.
    fn turn(&mut self, now: u64, burst: &[Vec<u8>]) -> Vec<Vec<u8>>;
    /// Records that it holds, markers and TIME_WAIT included.
    fn flows(&self) -> usize;
    /// What is wrong with its books.
    fn audit(&mut self) -> Vec<String>;
}

/// Answers like a `respond` service, with nothing but the bare protocol: ten segments at most in flight,
/// everything sent again after a second, no RST ever.
pub(crate) struct Reference {
    pub(crate) mac: Mac,
    pub(crate) answer: Vec<u8>,
    conns: HashMap<(SocketAddr, SocketAddr), Conn>,
}

struct Conn {
    template: Packet,
    irs: u32,
    mss: usize,
    shift: u8,
    ece: u8,
    scales: bool,
    sack: bool,
    open: bool,
    asked: bool,
    una: usize,
    nxt: usize,
    edge: usize,
    rcv: u32,
    peer_closed: bool,
    ts_recent: Option<u32>,
    again: u64,
    dies: u64,
}

impl Reference {
    pub(crate) fn new(mac: Mac, answer: Vec<u8>) -> Self {
        Self { mac, answer, conns: HashMap::new() }
    }

    fn take(&mut self, now: u64, packet: &Packet, out: &mut Vec<Packet>) {
        let key = (packet.src, packet.dst);
        if packet.has(RST) {
            self.conns.remove(&key);
            return;
        }
        if packet.has(SYN) {
            let known = self.conns.get(&key).is_some_and(|c| c.irs == packet.seq);
            if !known {
                self.conns.insert(key, Conn::new(now, packet));
            }
        }
        if let Some(conn) = self.conns.get_mut(&key) {
            conn.take(now, packet, &self.answer, out);
        }
    }
}

impl Server for Reference {
    fn turn(&mut self, now: u64, burst: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        for frame in burst {
            if let Ok(packet) = frame::read(frame)
                && packet.dst_mac == self.mac
            {
                self.take(now, &packet, &mut out);
            }
        }
        let answer = &self.answer;
        self.conns.retain(|_, conn| conn.dies > now);
        for conn in self.conns.values_mut().filter(|conn| conn.again <= now) {
            conn.nxt = conn.una;
            conn.again = now + SECOND;
            if conn.una < answer.len() + 2 {
                conn.send(now, answer, &mut out);
            }
        }
        out.iter().map(Packet::write).collect()
    }

    fn flows(&self) -> usize {
        self.conns.len()
    }

    fn audit(&mut self) -> Vec<String> {
        Vec::new()
    }
}

impl Conn {
    fn new(now: u64, syn: &Packet) -> Self {
        let smallest = if syn.src.is_ipv6() { 1220 } else { 536 };
        Self {
            template: Packet {
                seq: syn.seq.wrapping_mul(2_654_435_761) ^ 0x5a5a_0000,
                flags: ACK,
                window: 8000,
                ..Packet::between(syn.dst_mac, syn.src_mac, syn.dst, syn.src)
            },
            irs: syn.seq,
            mss: usize::from(syn.mss().unwrap_or(smallest)),
            shift: syn.scale().unwrap_or(0).min(14),
            ece: if syn.has(CWR) { syn.flags & ECE } else { 0 },
            scales: syn.scale().is_some(),
            sack: syn.sack_ok(),
            open: false,
            asked: false,
            una: 0,
            nxt: 0,
            edge: 1,
            rcv: syn.seq.wrapping_add(1),
            peer_closed: false,
            ts_recent: syn.time().map(|(val, _)| val),
            again: now + SECOND,
            dies: now + 60 * SECOND,
        }
    }

    fn take(&mut self, now: u64, packet: &Packet, answer: &[u8], out: &mut Vec<Packet>) {
        let acked = packet.ack.wrapping_sub(self.template.seq) as usize;
        if packet.has(SYN) {
            self.nxt = if self.open { self.nxt } else { 0 };
        } else if packet.has(ACK) && (1..=answer.len() + 2).contains(&acked) {
            self.open = true;
            self.una = self.una.max(acked);
            self.nxt = self.nxt.max(acked);
            self.edge = self.edge.max(acked + (usize::from(packet.window) << self.shift));
        } else {
            return;
        }
        if packet.seq == self.rcv && !packet.has(SYN) {
            self.ts_recent = packet.time().map(|(val, _)| val);
            self.rcv = packet.end();
            self.asked |= packet.length() > 0;
            self.peer_closed |= packet.has(FIN);
        }
        let before = out.len();
        self.send(now, answer, out);
        if out.len() == before && packet.length() > 0 {
            self.push(now, self.nxt, ACK, &[], out);
        }
        if self.peer_closed && self.una == answer.len() + 2 {
            self.dies = self.dies.min(now + 30 * SECOND);
        }
    }

    fn send(&mut self, now: u64, answer: &[u8], out: &mut Vec<Packet>) {
        if self.nxt == 0 {
            self.push(now, 0, SYN | ACK | self.ece, &[], out);
            self.nxt = 1;
        }
        let end = answer.len() + 1;
        while self.open && self.asked && self.nxt < end {
            let room = self.mss - if self.ts_recent.is_some() { 12 } else { 0 };
            let probe = usize::from(self.nxt == self.una);
            let limit = end.min(self.edge.max(self.nxt + probe)).min(self.una + 10 * room);
            if self.nxt >= limit {
                return;
            }
            let to = limit.min(self.nxt + room);
            self.push(now, self.nxt, ACK, &answer[self.nxt - 1..to - 1], out);
            self.nxt = to;
        }
        if self.open && self.asked && self.nxt == end {
            self.push(now, self.nxt, ACK | FIN, &[], out);
            self.nxt = end + 1;
        }
    }

    fn push(&self, now: u64, at: usize, flags: u8, bytes: &[u8], out: &mut Vec<Packet>) {
        let mut packet = self.template.clone();
        packet.seq = packet.seq.wrapping_add(at as u32);
        packet.ack = self.rcv;
        packet.flags = flags;
        packet.payload = bytes.to_vec();
        if flags & SYN != 0 {
            packet.options.push(Opt::Mss(if packet.src.is_ipv6() { 1440 } else { 1460 }));
            packet.options.extend(self.scales.then_some(Opt::Scale(0)));
            packet.options.extend(self.sack.then_some(Opt::SackOk));
        }
        if let Some(recent) = self.ts_recent {
            packet.options.push(Opt::Time((now / MILLI) as u32, recent));
        }
        out.push(packet);
    }
}
