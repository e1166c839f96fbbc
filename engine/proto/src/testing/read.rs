//! A slow and suspicious reader of the frames that we send: it verifies every length and every checksum.

use std::format;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::string::String;
use std::vec::Vec;

use super::{slow_checksum, slow_pseudo_checksum};
use crate::wire::{Addr, Flags, Mac, Timestamps, Tuple};

/// What is wrong with a frame.
type Complaint = String;

/// A frame of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Read {
    /// A TCP segment.
    Tcp(TcpRead),
    /// An ARP packet.
    Arp(ArpRead),
    /// An ICMP or ICMPv6 message.
    Icmp(IcmpRead),
}

/// A TCP segment and what was around it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TcpRead {
    /// Link layer.
    pub src_mac: Mac,
    /// Link layer.
    pub dst_mac: Mac,
    /// The tag, if there is one.
    pub vlan: Option<u16>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// Whether DF is set; always so in IPv6.
    pub dont_fragment: bool,
    /// IPv4 identification; 0 in IPv6.
    pub id: u16,
    /// Source.
    pub from: SocketAddr,
    /// Destination.
    pub to: SocketAddr,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Control bits.
    pub flags: Flags,
    /// Window field.
    pub window: u16,
    /// The urgent pointer; 0 without URG.
    pub urgent: u16,
    /// The option MSS.
    pub mss: Option<u16>,
    /// The option window scale.
    pub window_scale: Option<u8>,
    /// The option SACK-permitted.
    pub sack_permitted: bool,
    /// The option timestamps.
    pub timestamps: Option<Timestamps>,
    /// The blocks of the option SACK, both edges of each.
    pub sack: Vec<(u32, u32)>,
    /// Payload.
    pub payload: Vec<u8>,
}

impl TcpRead {
    /// The flow as its owner, the sender of this segment, names it (port index 0).
    #[must_use]
    pub fn tuple(&self) -> Tuple {
        Tuple {
            remote: self.to.ip().into(),
            local: self.from.ip().into(),
            remote_port: self.to.port(),
            local_port: self.from.port(),
            vlan: self.vlan.unwrap_or(0),
            port: 0,
        }
    }

    /// Sequence space that it occupies.
    #[must_use]
    pub fn seq_len(&self) -> u32 {
        let control = u32::from(self.flags.has(Flags::SYN)) + u32::from(self.flags.has(Flags::FIN));
        self.payload.len() as u32 + control
    }
}

/// An ARP packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArpRead {
    /// Link layer.
    pub src_mac: Mac,
    /// Link layer.
    pub dst_mac: Mac,
    /// The tag, if there is one.
    pub vlan: Option<u16>,
    /// 1: request, 2: reply.
    pub op: u16,
    /// The sender.
    pub sender: (Mac, Ipv4Addr),
    /// The target.
    pub target: (Mac, Ipv4Addr),
}

/// An ICMP or ICMPv6 message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IcmpRead {
    /// Link layer.
    pub src_mac: Mac,
    /// Link layer.
    pub dst_mac: Mac,
    /// The tag, if there is one.
    pub vlan: Option<u16>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Source.
    pub from: IpAddr,
    /// Destination.
    pub to: IpAddr,
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// What follows the checksum.
    pub body: Vec<u8>,
}

/// Reads a frame.
///
/// # Panics
/// If anything about it is wrong.
#[must_use]
pub fn read(frame: &[u8]) -> Read {
    try_read(frame).unwrap_or_else(|complaint| panic!("{complaint}: {frame:02x?}"))
}

/// Reads a TCP segment.
///
/// # Panics
/// If it is something else or anything about it is wrong.
#[must_use]
pub fn read_tcp(frame: &[u8]) -> TcpRead {
    match read(frame) {
        Read::Tcp(tcp) => tcp,
        other => panic!("not TCP: {other:?}"),
    }
}

/// Reads an ARP packet.
///
/// # Panics
/// If it is something else or anything about it is wrong.
#[must_use]
pub fn read_arp(frame: &[u8]) -> ArpRead {
    match read(frame) {
        Read::Arp(arp) => arp,
        other => panic!("not ARP: {other:?}"),
    }
}

/// Reads an ICMP or ICMPv6 message.
///
/// # Panics
/// If it is something else or anything about it is wrong.
#[must_use]
pub fn read_icmp(frame: &[u8]) -> IcmpRead {
    match read(frame) {
        Read::Icmp(icmp) => icmp,
        other => panic!("not ICMP: {other:?}"),
    }
}

/// Reads a frame, or says what is wrong with it.
///
/// # Errors
/// The first thing that is wrong, as a sentence.
pub fn try_read(frame: &[u8]) -> Result<Read, Complaint> {
    let mut bytes = Bytes(frame);
    let (dst_mac, src_mac) = (Mac(bytes.take()?), Mac(bytes.take()?));
    let mut ethertype = bytes.u16()?;
    let mut vlan = None;
    if ethertype == 0x8100 {
        vlan = Some(bytes.u16()? & 0xfff);
        ethertype = bytes.u16()?;
    }
    ensure(src_mac.0[0] & 1 == 0, "the source MAC is a group")?;
    let link = (src_mac, dst_mac, vlan);
    match ethertype {
        0x0806 => arp(link, bytes),
        0x0800 => ipv4(link, bytes.0, frame.len() <= 60),
        0x86dd => ipv6(link, bytes.0, frame.len() <= 60),
        other => Err(format!("EtherType {other:#06x}")),
    }
}

type LinkPart = (Mac, Mac, Option<u16>);

/// What TCP and ICMP need of the IP header.
struct Ip {
    link: LinkPart,
    ends: (IpAddr, IpAddr),
    ttl: u8,
    tos: u8,
    dont_fragment: bool,
    id: u16,
}

fn arp(link: LinkPart, mut bytes: Bytes<'_>) -> Result<Read, Complaint> {
    let (src_mac, dst_mac, vlan) = link;
    ensure(bytes.take()? == [0, 1, 8, 0, 6, 4], "not IPv4 over Ethernet")?;
    let op = bytes.u16()?;
    ensure(op == 1 || op == 2, "neither request nor reply")?;
    let sender = (Mac(bytes.take()?), Ipv4Addr::from(bytes.take::<4>()?));
    let target = (Mac(bytes.take()?), Ipv4Addr::from(bytes.take::<4>()?));
    ensure(sender.0 == src_mac, "the ARP sender is not the frame's source")?;
    Ok(Read::Arp(ArpRead { src_mac, dst_mac, vlan, op, sender, target }))
}

fn ipv4(link: LinkPart, packet: &[u8], may_pad: bool) -> Result<Read, Complaint> {
    let mut bytes = Bytes(packet);
    let [version_ihl, tos] = bytes.take()?;
    ensure(version_ihl >> 4 == 4, "IP version")?;
    let header_len = usize::from(version_ihl & 15) * 4;
    let total_len = usize::from(bytes.u16()?);
    let (id, fragment) = (bytes.u16()?, bytes.u16()?);
    let [ttl, protocol, _, _] = bytes.take()?;
    let ends = (bytes.take::<4>()?, bytes.take::<4>()?);
    ensure(header_len >= 20 && total_len >= header_len, "IPv4 lengths")?;
    ensure(total_len <= packet.len(), "IPv4 total length exceeds the frame")?;
    ensure(total_len == packet.len() || may_pad, "bytes behind the IPv4 packet")?;
    ensure(slow_checksum(&packet[..header_len]) == 0, "IPv4 header checksum")?;
    ensure(fragment & 0xbfff == 0, "a fragment")?;
    ensure(ttl > 0, "TTL 0")?;
    let dont_fragment = fragment & 0x4000 != 0;
    let payload = &packet[header_len..total_len];
    let (from, to) = (Addr::v4(ends.0), Addr::v4(ends.1));
    let ip = Ip { link, ends: (from.into(), to.into()), ttl, tos, dont_fragment, id };
    match protocol {
        6 => {
            ensure(slow_pseudo_checksum(&from, &to, 6, payload) == 0, "TCP checksum")?;
            tcp(&ip, payload)
        }
        1 => {
            ensure(slow_checksum(payload) == 0, "ICMP checksum")?;
            icmp(&ip, payload)
        }
        other => Err(format!("protocol {other}")),
    }
}

fn ipv6(link: LinkPart, packet: &[u8], may_pad: bool) -> Result<Read, Complaint> {
    let mut bytes = Bytes(packet);
    let first = u32::from_be_bytes(bytes.take()?);
    ensure(first >> 28 == 6, "IP version")?;
    let tos = (first >> 20) as u8;
    let len = usize::from(bytes.u16()?);
    let [next, ttl] = bytes.take()?;
    let (from, to) = (Addr(bytes.take()?), Addr(bytes.take()?));
    ensure(len <= bytes.0.len(), "IPv6 payload length exceeds the frame")?;
    ensure(len == bytes.0.len() || may_pad, "bytes behind the IPv6 packet")?;
    ensure(ttl > 0, "hop limit 0")?;
    let payload = &bytes.0[..len];
    let v6 = |addr: Addr| IpAddr::V6(Ipv6Addr::from(addr.0));
    let ip = Ip { link, ends: (v6(from), v6(to)), ttl, tos, dont_fragment: true, id: 0 };
    ensure(next == 6 || next == 58, "next header")?;
    ensure(slow_pseudo_checksum(&from, &to, next, payload) == 0, "TCP or ICMPv6 checksum")?;
    if next == 6 { tcp(&ip, payload) } else { icmp(&ip, payload) }
}

fn icmp(ip: &Ip, message: &[u8]) -> Result<Read, Complaint> {
    let (src_mac, dst_mac, vlan) = ip.link;
    let mut bytes = Bytes(message);
    let [kind, code, _, _] = bytes.take()?;
    let (from, to) = ip.ends;
    let body = bytes.0.to_vec();
    Ok(Read::Icmp(IcmpRead { src_mac, dst_mac, vlan, ttl: ip.ttl, from, to, kind, code, body }))
}

fn tcp(ip: &Ip, segment: &[u8]) -> Result<Read, Complaint> {
    let mut bytes = Bytes(segment);
    let ports = (bytes.u16()?, bytes.u16()?);
    let (seq, ack) = (u32::from_be_bytes(bytes.take()?), u32::from_be_bytes(bytes.take()?));
    let [offset, flags] = bytes.take()?;
    let window = bytes.u16()?;
    let [_, _, urgent @ ..]: [u8; 4] = bytes.take()?;
    let urgent = u16::from_be_bytes(urgent);
    ensure(Flags(flags).has(Flags::URG) || urgent == 0, "an urgent pointer without URG")?;
    let header_len = usize::from(offset >> 4) * 4;
    ensure(offset & 15 == 0, "reserved bits")?;
    ensure((20..=segment.len()).contains(&header_len), "data offset")?;
    let mut read = TcpRead {
        src_mac: ip.link.0,
        dst_mac: ip.link.1,
        vlan: ip.link.2,
        ttl: ip.ttl,
        tos: ip.tos,
        dont_fragment: ip.dont_fragment,
        id: ip.id,
        from: SocketAddr::new(ip.ends.0, ports.0),
        to: SocketAddr::new(ip.ends.1, ports.1),
        seq,
        ack,
        flags: Flags(flags),
        window,
        urgent,
        mss: None,
        window_scale: None,
        sack_permitted: false,
        timestamps: None,
        sack: Vec::new(),
        payload: segment[header_len..].to_vec(),
    };
    ensure(read.flags.has(Flags::ACK) || ack == 0, "an acknowledgement number without ACK")?;
    options(&mut read, &segment[20..header_len])?;
    Ok(Read::Tcp(read))
}

fn options(read: &mut TcpRead, mut bytes: &[u8]) -> Result<(), Complaint> {
    while let [kind, rest @ ..] = bytes {
        bytes = match kind {
            0 => {
                ensure(rest.iter().all(|b| *b == 0), "bytes behind the end of options")?;
                &[]
            }
            1 => rest,
            _ => {
                let len = usize::from(*rest.first().ok_or("option without length")?);
                ensure((2..=bytes.len()).contains(&len), "option length")?;
                option(read, &bytes[..len])?;
                &bytes[len..]
            }
        };
    }
    Ok(())
}

fn option(read: &mut TcpRead, option: &[u8]) -> Result<(), Complaint> {
    let is_syn = read.flags.has(Flags::SYN);
    let is_new = match *option {
        [2, 4, a, b] if is_syn => read.mss.replace(u16::from_be_bytes([a, b])).is_none(),
        [3, 3, shift] if is_syn => read.window_scale.replace(shift).is_none(),
        [4, 2] if is_syn => !core::mem::replace(&mut read.sack_permitted, true),
        [8, 10, a, b, c, d, e, f, g, h] => {
            let val = u32::from_be_bytes([a, b, c, d]);
            let ecr = u32::from_be_bytes([e, f, g, h]);
            read.timestamps.replace(Timestamps { val, ecr }).is_none()
        }
        [5, 10 | 18 | 26 | 34, ref blocks @ ..] => {
            let number = |b: &[u8]| u32::from_be_bytes([b[0], b[1], b[2], b[3]]);
            let blocks = blocks.chunks(8).map(|block| (number(block), number(&block[4..])));
            let is_new = read.sack.is_empty();
            read.sack.extend(blocks);
            is_new
        }
        _ => return Err(format!("option {option:?} does not belong here")),
    };
    ensure(is_new, "an option twice")
}

fn ensure(is_right: bool, complaint: &str) -> Result<(), Complaint> {
    if is_right { Ok(()) } else { Err(complaint.into()) }
}

/// Bytes still to be read.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Complaint> {
        let (head, rest) = self.0.split_first_chunk().ok_or("the frame ends too early")?;
        self.0 = rest;
        Ok(*head)
    }

    fn u16(&mut self) -> Result<u16, Complaint> {
        self.take().map(u16::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Envelope, arp, echo, solicit, tcp};

    #[test]
    fn builders_are_read_back() {
        let syn = read_tcp(&tcp().syn(7).linux(1460, 99, 8).payload(b"hi").vlan(3).build());
        assert_eq!((syn.seq, syn.flags, syn.vlan), (7, Flags::SYN, Some(3)));
        assert_eq!((syn.mss, syn.window_scale, syn.sack_permitted), (Some(1460), Some(8), true));
        assert_eq!(syn.timestamps, Some(Timestamps { val: 99, ecr: 0 }));
        let ack = tcp().ack(1, 2).sack(&[(5, 9), (20, 30)]).build();
        assert_eq!(read_tcp(&ack).sack, [(5, 9), (20, 30)]);
        assert_eq!((syn.payload.as_slice(), syn.seq_len()), (&b"hi"[..], 3));
        let v6 = read_tcp(&tcp().from("[fd00::1]:9").to("[fd00::2]:80").ack(1, 2).build());
        assert_eq!((v6.from.port(), v6.ack, v6.dont_fragment), (9, 2, true));
        assert_eq!(read_arp(&arp().build()).op, 1);
        assert_eq!(read_icmp(&echo().build()).kind, 8);
        assert_eq!(read_icmp(&solicit("fd00::2").build()).kind, 135);
    }

    #[test]
    fn broken_frames_are_refused_with_a_sentence() {
        for (frame, complaint) in [
            (tcp().syn(1).bad_checksum().build(), "TCP checksum"),
            (tcp().syn(1).bad_ip_checksum().build(), "IPv4 header checksum"),
            (tcp().syn(1).ip_len(99).build(), "IPv4 total length exceeds the frame"),
            (tcp().syn(1).payload(b"1234567").padding(1).build(), "bytes behind the IPv4 packet"),
            (tcp().ack(1, 1).mss(536).build(), "option [2, 4, 2, 24] does not belong here"),
            (tcp().syn(1).mss(9).mss(9).build(), "an option twice"),
            (echo().bad_checksum().build(), "ICMP checksum"),
            (tcp().syn(1).cut(20).build(), "the frame ends too early"),
        ] {
            assert_eq!(try_read(&frame).unwrap_err(), complaint);
        }
    }
}
