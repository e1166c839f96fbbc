//! Stands at the engine's ports and holds what leaves against the rules of the wire, per direction of a
//! connection. What weather excuses is checked only where no weather changes the order.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::super::frame::{self, ACK, Mac, Packet, RST, SYN};
use super::engine::MACS;
use super::icmp;

/// One direction of a connection.
#[derive(Default)]
struct Way {
    /// Both numbers of its SYN or SYN-ACK: another one is another connection.
    numbers: Option<(u32, u32)>,
    scale: Option<u8>,
    edge: Option<u32>,
    tsval: Option<u32>,
}

/// Port, the station there, from and to: as a bridge, the engine shows both sides the same addresses.
type Key = (usize, Mac, SocketAddr, SocketAddr);

/// The monitor.
#[derive(Default)]
pub(crate) struct Monitor {
    /// Whether frames reach the engine in the order in which they were sent.
    pub(crate) in_order: bool,
    ways: HashMap<Key, Way>,
    pub(crate) faults: Vec<String>,
}

impl Monitor {
    pub(crate) fn arrive(&mut self, burst: &[(usize, Vec<u8>)]) {
        for (port, frame) in burst {
            if let Ok(packet) = frame::read(frame) {
                self.note_syn((*port, packet.src_mac, packet.src, packet.dst), &packet);
            }
        }
    }

    fn note_syn(&mut self, key: Key, packet: &Packet) {
        if packet.has(SYN) {
            let way = self.ways.entry(key).or_default();
            let numbers = Some((packet.seq, packet.ack));
            if way.numbers != numbers {
                *way = Way { numbers, scale: packet.scale(), ..Way::default() };
            }
        }
    }

    pub(crate) fn leaves(&mut self, port: usize, frame: &[u8]) {
        let other = matches!(frame.get(12..14), Some([0x08, 0x06]));
        let is_icmp_v6 =
            matches!(frame.get(12..14), Some([0x86, 0xdd])) && frame.get(20) == Some(&58);
        if other || is_icmp_v6 && matches!(frame.get(54), Some(135 | 136)) {
            return;
        }
        match icmp::read(frame) {
            Some(Ok(_)) => return,
            Some(Err(why)) => return self.faults.push(format!("{why}: {frame:02x?}")),
            None => {}
        }
        let packet = match frame::read(frame) {
            Ok(packet) => packet,
            Err(why) => return self.faults.push(format!("{why}: {frame:02x?}")),
        };
        let key = (port, packet.dst_mac, packet.src, packet.dst);
        self.note_syn(key, &packet);
        let mut faults = Vec::new();
        if packet.src_mac != MACS[port] {
            faults.push("from another MAC".to_owned());
        }
        if frame.len() < 60 {
            faults.push("shorter than Ethernet's least frame".to_owned());
        }
        if !matches!(packet.ttl, 63 | 64) {
            faults.push(format!("TTL {}", packet.ttl));
        }
        if self.in_order && !packet.has(RST) {
            faults.extend(self.edge(key, &packet));
            faults.extend(self.tsval(key, &packet));
        }
        let what = frame::describe(frame);
        self.faults.extend(faults.into_iter().map(|why| format!("{why}: {what}")));
    }

    /// The right edge of the window never moves left (RFC 9293 §3.8.6), but for what a shift cannot say
    /// (RFC 7323 §2.4).
    fn edge(&mut self, key: Key, packet: &Packet) -> Option<String> {
        if !packet.has(ACK) {
            return None;
        }
        let other = self.ways.get(&(key.0, key.1, key.3, key.2)).and_then(|way| way.scale);
        let way = self.ways.entry(key).or_default();
        let shift = if packet.has(SYN) {
            0
        } else {
            way.scale.and(other).and(way.scale).unwrap_or(0).min(14)
        };
        let edge = packet.ack.wrapping_add(u32::from(packet.window) << shift);
        let before = *way.edge.get_or_insert(edge);
        let ahead = edge.wrapping_sub(before) as i32;
        if ahead > 0 {
            way.edge = Some(edge);
        }
        (ahead <= -(1 << shift)).then(|| format!("the window's edge retreats by {}", -ahead))
    }

    fn tsval(&mut self, key: Key, packet: &Packet) -> Option<String> {
        let (val, _) = packet.time()?;
        let way = self.ways.entry(key).or_default();
        let before = way.tsval.replace(val)?;
        let back = val.wrapping_sub(before) as i32;
        (back < 0).then(|| format!("TSval goes back by {}", -i64::from(back)))
    }
}
