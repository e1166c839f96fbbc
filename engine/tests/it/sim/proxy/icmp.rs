//! ICMP errors as routers write them and kernels read them (RFC 792, RFC 4443), and a router with reason to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::super::frame::{Mac, ones_sum, sum_with_pseudo_header};

/// What a router may have against a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    /// The next link carries packets of so many bytes.
    TooBig(u32),
    NoRoute,
    /// The hop limit ran out.
    Expired,
}

/// Its error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Complaint {
    pub(crate) to_mac: Mac,
    pub(crate) to: IpAddr,
    pub(crate) trouble: Trouble,
    /// The ends of the segment as it names them, and its number.
    pub(crate) src: SocketAddr,
    pub(crate) dst: SocketAddr,
    pub(crate) seq: u32,
}

/// A router behind a port of the middle, for packets in either direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Router {
    /// What its narrow link carries.
    pub(crate) mtu: usize,
    /// Where it knows no way to.
    pub(crate) lost: Option<IpAddr>,
    /// Where packets go in circles to.
    pub(crate) circles: Option<IpAddr>,
    /// How often it has complained.
    pub(crate) complaints: u32,
}

const MAC: Mac = [2, 0, 0, 0, 2, 1];
const OWN_V4: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const OWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1);
/// An IPv6 error quotes what fits into the least MTU (RFC 4443 §2.4 (c)), an IPv4 one 8 bytes (RFC 792).
const LEAST_MTU: usize = 1280;

impl Router {
    /// One that carries everything.
    pub(crate) const WIDE: Self =
        Self { mtu: usize::MAX, lost: None, circles: None, complaints: 0 };

    /// What the sender of a frame is told if it cannot go on.
    pub(crate) fn refuse(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let (_, dst, len) = packet(frame)?;
        let trouble = if len > self.mtu {
            Trouble::TooBig(self.mtu as u32)
        } else if self.lost == Some(dst) {
            Trouble::NoRoute
        } else if self.circles == Some(dst) {
            Trouble::Expired
        } else {
            return None;
        };
        self.complaints += 1;
        Some(write(frame, trouble))
    }
}

/// Source, destination and length of a TCP packet.
fn packet(frame: &[u8]) -> Option<(IpAddr, IpAddr, usize)> {
    let ip = frame.get(14..)?;
    match (frame[12], frame[13]) {
        (0x08, 0x00) if ip[9] == 6 => Some((v4(ip, 12)?, v4(ip, 16)?, usize::from(half(ip, 2)?))),
        (0x86, 0xdd) if ip[6] == 6 => {
            Some((v6(ip, 8)?, v6(ip, 24)?, 40 + usize::from(half(ip, 4)?)))
        }
        _ => None,
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn v4(bytes: &[u8], at: usize) -> Option<IpAddr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?).into())
}

fn v6(bytes: &[u8], at: usize) -> Option<IpAddr> {
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?).into())
}

/// The error about a frame, to the station that it came from.
fn write(frame: &[u8], trouble: Trouble) -> Vec<u8> {
    let is_v4 = frame[12] == 0x08;
    let (kind, code, rest) = match (trouble, is_v4) {
        (Trouble::TooBig(mtu), true) => (3, 4, mtu),
        (Trouble::TooBig(mtu), false) => (2, 0, mtu),
        (Trouble::NoRoute, true) => (3, 0, 0),
        (Trouble::NoRoute, false) => (1, 0, 0),
        (Trouble::Expired, true) => (11, 0, 0),
        (Trouble::Expired, false) => (3, 0, 0),
    };
    let quoted = &frame[14..];
    let mut message = vec![kind, code, 0, 0];
    message.extend(u32::to_be_bytes(rest));
    message.extend(&quoted[..quoted.len().min(if is_v4 { 28 } else { LEAST_MTU - 48 })]);
    let mut out = [&frame[6..12], &MAC, &frame[12..14]].concat();
    if is_v4 {
        let sum = !ones_sum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut header = vec![0x45, 0xc0];
        header.extend((20 + message.len() as u16).to_be_bytes());
        header.extend([0, 0, 0, 0, 64, 1, 0, 0]);
        header.extend(OWN_V4.octets());
        header.extend(&quoted[12..16]);
        let sum = !ones_sum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        out.extend(header);
    } else {
        let to = v6(quoted, 8).expect("a whole header");
        let sum = !sum_with_pseudo_header(OWN_V6.into(), to, 58, &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        out.extend([0x60, 0, 0, 0]);
        out.extend((message.len() as u16).to_be_bytes());
        out.extend([58, 64]);
        out.extend(OWN_V6.octets());
        out.extend(&quoted[8..24]);
    }
    out.extend(message);
    out.resize(out.len().max(60), 0);
    out
}

/// Reads an ICMP error, or says what is wrong with it; `None` for what is none.
pub(crate) fn read(frame: &[u8]) -> Option<Result<Complaint, String>> {
    let ip = frame.get(14..)?;
    let is_error = match (frame[12], frame[13]) {
        (0x08, 0x00) => ip.get(9) == Some(&1) && matches!(ip.get(20), Some(3 | 11)),
        (0x86, 0xdd) => ip.get(6) == Some(&58) && matches!(ip.get(40), Some(1..=3)),
        _ => false,
    };
    is_error.then(|| read_error(frame, ip).unwrap_or_else(|| Err("it is cut off".into())))
}

fn read_error(frame: &[u8], ip: &[u8]) -> Option<Result<Complaint, String>> {
    let is_v4 = frame[12] == 0x08;
    let (header, len) =
        if is_v4 { (20, half(ip, 2)?) } else { (40, half(ip, 4)?.checked_add(40)?) };
    let message = ip.get(header..usize::from(len))?;
    let (from, to) = if is_v4 { (v4(ip, 12)?, v4(ip, 16)?) } else { (v6(ip, 8)?, v6(ip, 24)?) };
    let sum = if is_v4 { ones_sum(message) } else { sum_with_pseudo_header(from, to, 58, message) };
    if sum != 0xffff || is_v4 && ones_sum(&ip[..20]) != 0xffff {
        return Some(Err("a checksum of ICMP".into()));
    }
    let quoted = message.get(8..)?;
    let (src, dst, tcp) = if is_v4 {
        (v4(quoted, 12)?, v4(quoted, 16)?, quoted.get(20..)?)
    } else {
        (v6(quoted, 8)?, v6(quoted, 24)?, quoted.get(40..)?)
    };
    let trouble = match (is_v4, message[0], message[1]) {
        (true, 3, 4) => Trouble::TooBig(word(message, 4)? & 0xffff),
        (false, 2, 0) => Trouble::TooBig(word(message, 4)?),
        (true, 3, 0..=3) | (false, 1, 0..=4) => Trouble::NoRoute,
        (true, 11, 0) | (false, 3, 0) => Trouble::Expired,
        (_, kind, code) => return Some(Err(format!("ICMP type {kind}, code {code}"))),
    };
    if to != src {
        return Some(Err(format!("an error for {to} about a segment of {src}")));
    }
    let (src, dst) = (SocketAddr::new(src, half(tcp, 0)?), SocketAddr::new(dst, half(tcp, 2)?));
    let to_mac = frame[..6].try_into().ok()?;
    Some(Ok(Complaint { to_mac, to, trouble, src, dst, seq: word(tcp, 4)? }))
}
