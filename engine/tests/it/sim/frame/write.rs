//! From a packet to bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::sum::{ones_sum, tcp_sum};
use super::{Opt, Packet};

impl Packet {
    /// The frame on the wire, padded to Ethernet's minimum of 60 bytes with rubbish that must be ignored.
    pub(crate) fn write(&self) -> Vec<u8> {
        let segment = self.segment();
        let mut frame = Vec::with_capacity(54 + segment.len());
        frame.extend(self.dst_mac);
        frame.extend(self.src_mac);
        match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => self.v4(&mut frame, src, dst, segment.len()),
            (IpAddr::V6(src), IpAddr::V6(dst)) => self.v6(&mut frame, src, dst, segment.len()),
            _ => panic!("a packet has one family"),
        }
        frame.extend(segment);
        while frame.len() < 60 {
            frame.push(0xa5);
        }
        frame
    }

    fn v4(&self, frame: &mut Vec<u8>, src: Ipv4Addr, dst: Ipv4Addr, len: usize) {
        frame.extend([0x08, 0x00]);
        let mut header = vec![0x45, self.ecn];
        header.extend((20 + len as u16).to_be_bytes());
        header.extend([0x12, 0x34, 0x40, 0, self.ttl, 6, 0, 0]);
        header.extend(src.octets());
        header.extend(dst.octets());
        let sum = !ones_sum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend(header);
    }

    fn v6(&self, frame: &mut Vec<u8>, src: Ipv6Addr, dst: Ipv6Addr, len: usize) {
        frame.extend([0x86, 0xdd, 0x60, self.ecn << 4 | 0x03, 0x14, 0x15]);
        frame.extend((len as u16).to_be_bytes());
        frame.extend([6, self.ttl]);
        frame.extend(src.octets());
        frame.extend(dst.octets());
    }

    fn segment(&self) -> Vec<u8> {
        let options = options(&self.options);
        let mut out = Vec::with_capacity(20 + options.len() + self.payload.len());
        out.extend(self.src.port().to_be_bytes());
        out.extend(self.dst.port().to_be_bytes());
        out.extend(self.seq.to_be_bytes());
        out.extend(self.ack.to_be_bytes());
        out.push(((5 + options.len() / 4) as u8) << 4);
        out.push(self.flags);
        out.extend(self.window.to_be_bytes());
        out.extend([0; 2]);
        out.extend(self.urgent.to_be_bytes());
        out.extend(options);
        out.extend(&self.payload);
        let sum = !tcp_sum(self.src.ip(), self.dst.ip(), &out);
        out[16..18].copy_from_slice(&sum.to_be_bytes());
        out
    }
}

pub(super) fn options(options: &[Opt]) -> Vec<u8> {
    let mut out = Vec::new();
    for option in options {
        match option {
            Opt::Nop => out.push(1),
            Opt::Mss(mss) => {
                out.extend([2, 4]);
                out.extend(mss.to_be_bytes());
            }
            Opt::Scale(shift) => out.extend([3, 3, *shift]),
            Opt::SackOk => out.extend([4, 2]),
            Opt::Sack(blocks) => {
                out.extend([5, 2 + 8 * blocks.len() as u8]);
                for (left, right) in blocks {
                    out.extend(left.to_be_bytes());
                    out.extend(right.to_be_bytes());
                }
            }
            Opt::Time(val, ecr) => {
                out.extend([8, 10]);
                out.extend(val.to_be_bytes());
                out.extend(ecr.to_be_bytes());
            }
            Opt::Other(kind, value) => {
                out.extend([*kind, 2 + value.len() as u8]);
                out.extend(value);
            }
        }
    }
    while out.len() % 4 != 0 {
        out.push(0);
    }
    out
}
