//! From bytes to a packet, or to what is wrong with them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::sum::{ones_sum, tcp_sum};
use super::{Opt, Packet, URG, half, word};

/// Reads a frame, or says what is wrong with it.
pub(crate) fn read(frame: &[u8]) -> Result<Packet, String> {
    if frame.len() < 54 {
        return Err(format!("{} bytes are too few", frame.len()));
    }
    let ip = &frame[14..];
    let (src, dst, segment) = match (frame[12], frame[13]) {
        (0x08, 0x00) => read_v4(ip)?,
        (0x86, 0xdd) => read_v6(ip)?,
        other => return Err(format!("ethertype {other:02x?}")),
    };
    if segment.len() < 20 {
        return Err("no room for a TCP header".into());
    }
    if tcp_sum(src, dst, segment) != 0xffff {
        return Err("TCP checksum".into());
    }
    let offset = usize::from(segment[12] >> 4) * 4;
    if offset < 20 || offset > segment.len() {
        return Err(format!("data offset {offset}"));
    }
    if segment[12] & 0x0f != 0 {
        return Err("reserved bits are set".into());
    }
    if segment[13] & URG == 0 && segment[18..20] != [0, 0] {
        return Err("an urgent pointer without URG".into());
    }
    let (ttl, ecn) = if ip[0] >> 4 == 4 { (ip[8], ip[1] & 3) } else { (ip[7], ip[1] >> 4 & 3) };
    Ok(Packet {
        dst_mac: frame[..6].try_into().unwrap(),
        src_mac: frame[6..12].try_into().unwrap(),
        src: SocketAddr::new(src, half(segment, 0)),
        dst: SocketAddr::new(dst, half(segment, 2)),
        ttl,
        ecn,
        seq: word(segment, 4),
        ack: word(segment, 8),
        flags: segment[13],
        window: half(segment, 14),
        urgent: half(segment, 18),
        options: read_options(&segment[20..offset])?,
        payload: segment[offset..].to_vec(),
    })
}

fn read_v4(packet: &[u8]) -> Result<(IpAddr, IpAddr, &[u8]), String> {
    if packet[0] != 0x45 {
        return Err(format!("version and header length {:02x}", packet[0]));
    }
    if ones_sum(&packet[..20]) != 0xffff {
        return Err("IPv4 checksum".into());
    }
    let total = usize::from(half(packet, 2));
    if total < 40 || total > packet.len() {
        return Err(format!("total length {total} in {}", packet.len()));
    }
    if packet[6] & 0xbf != 0 || packet[7] != 0 || packet[9] != 6 {
        return Err("a fragment, or not TCP".into());
    }
    let address =
        |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    Ok((address(12).into(), address(16).into(), &packet[20..total]))
}

fn read_v6(packet: &[u8]) -> Result<(IpAddr, IpAddr, &[u8]), String> {
    if packet[0] >> 4 != 6 || packet[6] != 6 {
        return Err("version or next header".into());
    }
    let length = usize::from(half(packet, 4));
    if 40 + length > packet.len() {
        return Err(format!("payload length {length} in {}", packet.len()));
    }
    let address = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
    Ok((address(8).into(), address(24).into(), &packet[40..40 + length]))
}

fn read_options(mut bytes: &[u8]) -> Result<Vec<Opt>, String> {
    let mut options = Vec::new();
    while let Some(&kind) = bytes.first() {
        match kind {
            0 => break,
            1 => {
                options.push(Opt::Nop);
                bytes = &bytes[1..];
                continue;
            }
            _ => {}
        }
        let length = usize::from(*bytes.get(1).ok_or("an option without length")?);
        if length < 2 || length > bytes.len() {
            return Err(format!("option {kind} of length {length}"));
        }
        options.push(match (kind, length) {
            (2, 4) => Opt::Mss(half(bytes, 2)),
            (3, 3) => Opt::Scale(bytes[2]),
            (4, 2) => Opt::SackOk,
            (5, 10 | 18 | 26 | 34) => Opt::Sack(
                bytes[2..length].chunks(8).map(|edge| (word(edge, 0), word(edge, 4))).collect(),
            ),
            (8, 10) => Opt::Time(word(bytes, 2), word(bytes, 6)),
            (2..=5 | 8, _) => return Err(format!("option {kind} of length {length}")),
            _ => Opt::Other(kind, bytes[2..length].to_vec()),
        });
        bytes = &bytes[length..];
    }
    Ok(options)
}
