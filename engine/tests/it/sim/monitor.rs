//! Stands on the wire in front of the server and holds every frame that leaves against every frame that
//! arrived: what no impairment behind it can excuse.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::frame::{self, ACK, FIN, Mac, Packet, RST, SYN};

/// One connection as two ISNs name it.
#[derive(Debug)]
struct Connection {
    iss: u32,
    irs: u32,
    mss: u16,
    scale: u8,
    timestamps: bool,
    /// Relative to `iss`: the highest right edge the client ever gave, and what it acknowledged.
    edge: u64,
    acked: u64,
    /// Relative to `irs`: the end of the data that arrived, with FIN; and what the server acknowledged.
    arrived: u64,
    acknowledged: u64,
    /// Relative to `iss`: where the FIN was, and how far data was sent.
    fin: Option<u64>,
    sent: u64,
    last_tsval: Option<u32>,
    first_tsval: Option<u32>,
    /// Bare ACKs that acknowledged nothing new: three may release more (RFC 5681 §3.2).
    duplicates: u32,
}

/// What arrived from one tuple.
#[derive(Default)]
struct Tuple {
    syns: Vec<Packet>,
    tsvals: Vec<u32>,
    connections: Vec<Connection>,
    /// Sequence and acknowledgement numbers a RST may answer.
    acks: Vec<u32>,
    ends: Vec<u32>,
    /// Where its frames came from and went to.
    macs: Vec<(Mac, Mac)>,
    /// What came in this burst, for a connection that begins in it.
    burst: u64,
    recent: Vec<Packet>,
}

/// What the monitor is told about the server.
pub(crate) struct Facts {
    /// One a port.
    pub(crate) macs: Vec<Mac>,
    pub(crate) mtu: u16,
    pub(crate) answer: Vec<u8>,
}

/// The monitor.
pub(crate) struct Monitor {
    pub(crate) facts: Facts,
    tuples: HashMap<(SocketAddr, SocketAddr), Tuple>,
    burst: u64,
    /// What went wrong.
    pub(crate) faults: Vec<String>,
    /// SYN-ACKs, RSTs, and other segments that left.
    pub(crate) syn_acks: u64,
    pub(crate) resets: u64,
    pub(crate) segments: u64,
    pub(crate) data: u64,
}

impl Monitor {
    pub(crate) fn new(facts: Facts) -> Self {
        Self {
            facts,
            tuples: HashMap::new(),
            burst: 0,
            faults: Vec::new(),
            syn_acks: 0,
            resets: 0,
            segments: 0,
            data: 0,
        }
    }

    /// A burst reaches the server.
    pub(crate) fn arrive(&mut self, burst: &[Vec<u8>]) {
        self.burst += 1;
        burst.iter().for_each(|frame| self.arrives(frame));
    }

    fn arrives(&mut self, frame: &[u8]) {
        let Ok(packet) = frame::read(frame) else { return };
        let tuple = self.tuples.entry((packet.src, packet.dst)).or_default();
        let macs = (packet.src_mac, packet.dst_mac);
        if !tuple.macs.contains(&macs) {
            tuple.macs.push(macs);
        }
        if let Some((val, _)) = packet.time() {
            tuple.tsvals.push(val);
        }
        tuple.acks.push(packet.ack);
        tuple.ends.push(packet.end());
        if packet.has(SYN) {
            tuple.syns.push(packet);
            return;
        }
        for connection in &mut tuple.connections {
            connection.arrives(&packet);
        }
        if tuple.burst != self.burst {
            tuple.burst = self.burst;
            tuple.recent.clear();
        }
        tuple.recent.push(packet);
    }

    /// A frame leaves the server.
    pub(crate) fn leaves(&mut self, frame: &[u8]) {
        if matches!(frame.get(12..14), Some([0x08, 0x06])) || is_icmp(frame) {
            return;
        }
        let packet = match frame::read(frame) {
            Ok(packet) => packet,
            Err(why) => return self.faults.push(format!("{why}: {frame:02x?}")),
        };
        if let Err(why) = check_ip(frame) {
            self.faults.push(format!("{why}: {frame:02x?}"));
        }
        self.segments += 1;
        let Some(tuple) = self.tuples.get_mut(&(packet.dst, packet.src)) else {
            return self.faults.push(format!("sent to a stranger: {}", frame::describe(frame)));
        };
        let mut faults = Vec::new();
        let macs = (packet.dst_mac, packet.src_mac);
        if !self.facts.macs.contains(&packet.src_mac) || !tuple.macs.contains(&macs) {
            faults.push("wrong MACs".to_owned());
        }
        if packet.has(RST) {
            self.resets += 1;
            faults.extend(tuple.reset(&packet));
        } else if packet.has(SYN) {
            self.syn_acks += 1;
            faults.extend(tuple.syn_ack(&packet, self.facts.mtu));
        } else {
            self.data += u64::from(!packet.payload.is_empty());
            faults.extend(tuple.segment(&packet, &self.facts));
        }
        self.faults
            .extend(faults.into_iter().map(|why| format!("{why}: {}", frame::describe(frame))));
    }
}

impl Connection {
    fn arrives(&mut self, packet: &Packet) {
        let end = packet.end().wrapping_sub(self.irs);
        let ack = packet.ack.wrapping_sub(self.iss);
        if end < 1 << 31 {
            self.arrived = self.arrived.max(end.into());
        }
        if !packet.has(ACK) || ack >= 1 << 31 {
            return;
        }
        self.duplicates += u32::from(packet.length() == 0 && u64::from(ack) == self.acked);
        self.acked = self.acked.max(ack.into());
        self.edge = self.edge.max(u64::from(ack) + (u64::from(packet.window) << self.scale));
    }

    /// Checks a segment without SYN and RST.
    fn segment(&mut self, packet: &Packet, facts: &Facts) -> Vec<String> {
        let mut faults = Vec::new();
        let at = u64::from(packet.seq.wrapping_sub(self.iss));
        let end = at + packet.payload.len() as u64;
        let ack = u64::from(packet.ack.wrapping_sub(self.irs));
        if !packet.has(ACK) {
            faults.push("no ACK".to_owned());
        }
        if ack > self.arrived {
            faults.push(format!("acknowledges {ack}, but only {} arrived", self.arrived));
        }
        if ack < self.acknowledged {
            faults.push(format!("acknowledges {ack} after {}", self.acknowledged));
        }
        self.acknowledged = self.acknowledged.max(ack);
        faults.extend(self.payload(packet, facts, at, end));
        if packet.has(FIN) {
            if self.fin.is_some_and(|fin| fin != end) {
                faults.push("a second FIN elsewhere".to_owned());
            }
            self.fin = Some(end);
        }
        if self.fin.is_some_and(|fin| end > fin) && !packet.payload.is_empty() {
            faults.push("data behind the FIN".to_owned());
        }
        self.sent = self.sent.max(end + u64::from(packet.has(FIN)));
        faults.extend(self.tsval(packet));
        faults
    }

    fn payload(&self, packet: &Packet, facts: &Facts, at: u64, end: u64) -> Vec<String> {
        let mut faults = Vec::new();
        if packet.payload.is_empty() {
            return faults;
        }
        let from = at as usize - 1;
        if facts.answer.get(from..from + packet.payload.len()) != Some(&packet.payload[..]) {
            faults.push(format!("not the answer's bytes at {from}"));
        }
        if end > self.edge && packet.payload.len() > 1 {
            faults.push(format!("ends at {end}, the window at {}", self.edge));
        }
        let room = usize::from(self.mss) - if self.timestamps { 12 } else { 0 };
        if packet.payload.len() > room {
            faults.push(format!("{} bytes, the peer takes {room}", packet.payload.len()));
        }
        // RFC 6928 §2
        let mss = u64::from(self.mss);
        let initial_window = (10 * mss).min(14_600.max(2 * mss));
        if self.acked <= 1 && self.duplicates < 3 && end > 1 + initial_window {
            faults.push(format!("{end} bytes sent before anything was acknowledged"));
        }
        faults
    }

    fn tsval(&mut self, packet: &Packet) -> Option<String> {
        let Some((val, _)) = packet.time() else {
            return self.timestamps.then(|| "RFC 7323 §3.2: no timestamps".to_owned());
        };
        if !self.timestamps {
            return Some("timestamps that were not agreed".to_owned());
        }
        let before = self.last_tsval.replace(val).or(self.first_tsval);
        let back = before.is_some_and(|before| (val.wrapping_sub(before) as i32) < 0);
        back.then(|| format!("TSval {val} after {before:?}"))
    }
}

impl Tuple {
    /// RFC 9293 §3.10.7.1 and §3.5.2: a RST bears numbers that arrived, or is of a connection.
    fn reset(&self, packet: &Packet) -> Vec<String> {
        let mut faults = Vec::new();
        let of_connection = self.connections.iter().any(|c| {
            let at = u64::from(packet.seq.wrapping_sub(c.iss));
            at >= 1 && at <= c.sent.max(1)
        });
        if !of_connection && !self.acks.contains(&packet.seq) && packet.seq != 0 {
            faults.push("a RST from nowhere".to_owned());
        }
        if packet.seq == 0 && packet.has(ACK) && !of_connection && !self.ends.contains(&packet.ack)
        {
            faults.push("a RST that acknowledges what never came".to_owned());
        }
        if !packet.payload.is_empty() {
            faults.push("a RST with data".to_owned());
        }
        faults
    }

    fn syn_ack(&mut self, packet: &Packet, mtu: u16) -> Vec<String> {
        let mut faults = Vec::new();
        let irs = packet.ack.wrapping_sub(1);
        // Several SYNs with one number and different offers: the most that any of them allows.
        let syns: Vec<_> = self.syns.iter().filter(|syn| syn.seq == irs).collect();
        if syns.is_empty() {
            return vec!["answers no SYN".to_owned()];
        }
        let overhead = if packet.src.is_ipv6() { 60 } else { 40 };
        if packet.mss() != Some(mtu - overhead) {
            faults.push(format!("MSS {:?} from an MTU of {mtu}", packet.mss()));
        }
        if packet.time().is_some_and(|(_, ecr)| !self.tsvals.contains(&ecr)) {
            faults.push("echoes a timestamp that never came".to_owned());
        }
        if packet.has(FIN) || !packet.payload.is_empty() {
            faults.push("a SYN-ACK with FIN or data".to_owned());
        }
        if let Some(known) =
            self.connections.iter_mut().find(|c| c.iss == packet.seq && c.irs == irs)
        {
            // A cookie remembers nothing: an older SYN that comes late has the newer answer. And a
            // half-open flow that gave way to another SYN within the ISN's clock has the same numbers.
            known.timestamps = packet.time().is_some();
            known.first_tsval = known.last_tsval.or(packet.time().map(|(val, _)| val));
            return faults;
        }
        let smallest = if packet.src.is_ipv6() { 1220 } else { 536 };
        let mut connection = Connection {
            iss: packet.seq,
            irs,
            mss: syns.iter().map(|syn| syn.mss().unwrap_or(smallest)).max().unwrap_or(0),
            scale: packet
                .scale()
                .and(syns.iter().filter_map(|syn| syn.scale()).max())
                .unwrap_or(0)
                .min(14),
            timestamps: packet.time().is_some(),
            edge: 1 + syns.iter().map(|syn| u64::from(syn.window)).max().unwrap_or(0),
            acked: 0,
            arrived: 1,
            acknowledged: 1,
            fin: None,
            sent: 1,
            last_tsval: None,
            first_tsval: packet.time().map(|(val, _)| val),
            duplicates: 0,
        };
        self.recent.iter().for_each(|packet| connection.arrives(packet));
        self.connections.push(connection);
        faults
    }

    fn segment(&mut self, packet: &Packet, facts: &Facts) -> Vec<String> {
        let mut faults = Vec::new();
        if packet.time().is_some_and(|(_, ecr)| !self.tsvals.contains(&ecr)) {
            faults.push("echoes a timestamp that never came".to_owned());
        }
        let longest = facts.answer.len() as u32 + 2;
        let fits = |c: &&mut Connection| {
            let at = packet.seq.wrapping_sub(c.iss);
            at <= longest && packet.ack.wrapping_sub(c.irs) < 1 << 30
        };
        match self.connections.iter_mut().rev().find(fits) {
            Some(connection) => faults.extend(connection.segment(packet, facts)),
            None => faults.push("of no connection".to_owned()),
        }
        faults
    }
}

fn is_icmp(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => frame.get(23) == Some(&1),
        Some([0x86, 0xdd]) => frame.get(20) == Some(&58),
        _ => false,
    }
}

/// What we promise of IP beyond correctness: TTL 64, DF, no ECT (RFC 3168 §6.1.1).
fn check_ip(frame: &[u8]) -> Result<(), String> {
    let ip = &frame[14..];
    let (ttl, class) =
        if ip[0] >> 4 == 4 { (ip[8], ip[1]) } else { (ip[7], ip[0] << 4 | ip[1] >> 4) };
    if ttl != 64 || class != 0 {
        return Err(format!("TTL {ttl}, traffic class {class}"));
    }
    if ip[0] >> 4 == 4 && ip[6..8] != [0x40, 0] {
        return Err("DF is not set".to_owned());
    }
    Ok(())
}
