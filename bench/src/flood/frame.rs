//! The frames of a flood: each kind's fixed part is written once, what differs is written and summed for each frame.
//! Nothing is allocated per frame.

use std::net::{IpAddr, SocketAddr};

use clap::ValueEnum;
use etherparse::PacketBuilder;
use serde::Serialize;
use usher_proto::wire::checksum::Sum;
use usher_proto::wire::{Addr, Link, Mac, SeqNum};

use crate::client::{Stack, Syn, Template};
use crate::random::SplitMix;

/// What a flood consists of.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// SYNs as Linux sends them, 74 bytes over IPv4
    #[default]
    Syn,
    /// ACKs of nothing, as cookies' ACKs are
    Ack,
    /// RSTs
    Rst,
    /// FINs with an ACK
    Fin,
    /// One of these at random
    Mixed,
    /// Pieces of SYNs, of which the others never come
    Fragments,
    /// Frames of random length and content, whose beginning is right as far as random bytes are
    Garbage,
}

/// The longest frame: an Ethernet MTU of 1,500 bytes.
pub(super) const LONGEST: usize = 1514;
const ETHERNET: usize = 14;
const TCP: u8 = 6;
/// The flags of an ACK, a RST and a FIN.
const FLAGS: [u8; 3] = [0x10, 0x04, 0x11];

/// Writes the frames of one kind to one target.
pub(super) struct Frames {
    kind: Kind,
    link: Link,
    to: SocketAddr,
    syn: Template,
    /// In the order of [`FLAGS`].
    bare: [Bare; FLAGS.len()],
}

impl Frames {
    pub(super) fn new(kind: Kind, from: Mac, mac: Mac, to: SocketAddr) -> Self {
        let link = Link { src: from, dst: mac, vlan: 0 };
        let syn = Template::new(Stack::Linux, &link, to, 1460);
        Self { kind, link, to, syn, bare: FLAGS.map(|flags| Bare::new(flags, &link, to)) }
    }

    /// Writes the next frame, from `source`; returns its length. `room` holds [`LONGEST`] bytes.
    pub(super) fn write(
        &self,
        room: &mut [u8; LONGEST],
        source: IpAddr,
        random: &mut SplitMix,
    ) -> usize {
        match self.kind {
            Kind::Syn => self.write_syn(room, source, random),
            Kind::Ack => self.bare[0].write(room, source, random),
            Kind::Rst => self.bare[1].write(room, source, random),
            Kind::Fin => self.bare[2].write(room, source, random),
            Kind::Mixed => match self.bare.get(random.next() as usize % (FLAGS.len() + 1)) {
                Some(bare) => bare.write(room, source, random),
                None => self.write_syn(room, source, random),
            },
            Kind::Fragments => self.write_fragment(room, source, random),
            Kind::Garbage => self.write_garbage(room, random),
        }
    }

    fn write_syn(&self, room: &mut [u8; LONGEST], source: IpAddr, random: &mut SplitMix) -> usize {
        let (noise, seq) = (random.next(), random.next());
        let (port, seq) = (1024 | noise as u16, SeqNum(seq as u32));
        let syn = Syn { from: (source.into(), port), seq, ts_val: (noise >> 32) as u32 };
        self.syn.write(room, &syn).expect("a SYN is shorter than the room")
    }

    /// A SYN that says of itself that it is a piece: the first, one in the middle, or the last.
    fn write_fragment(
        &self,
        room: &mut [u8; LONGEST],
        source: IpAddr,
        random: &mut SplitMix,
    ) -> usize {
        let len = self.write_syn(room, source, random);
        let noise = random.next();
        let (offset, more) = match noise % 3 {
            0 => (0, true),
            1 => (1 + (noise >> 8) as u16 % 180, true),
            _ => (1 + (noise >> 8) as u16 % 180, false),
        };
        if self.to.is_ipv4() {
            fragment_v4(&mut room[ETHERNET..ETHERNET + 20], (noise >> 32) as u16, offset, more);
            return len;
        }
        // the extension header of RFC 8200 §4.5 behind the fixed one
        let behind = ETHERNET + 40;
        room.copy_within(behind..len, behind + 8);
        let field = offset << 3 | u16::from(more);
        let id = ((noise >> 32) as u32).to_be_bytes();
        room[behind..behind + 4].copy_from_slice(&[TCP, 0, (field >> 8) as u8, field as u8]);
        room[behind + 4..behind + 8].copy_from_slice(&id);
        room[ETHERNET + 6] = 44;
        let payload = (len - behind + 8) as u16;
        room[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&payload.to_be_bytes());
        len + 8
    }

    /// To the target's station, as IPv4, IPv6, ARP or something else, and then noise. Every other one claims to be IP with
    /// a header of the usual length, so that it is looked at more closely.
    fn write_garbage(&self, room: &mut [u8; LONGEST], random: &mut SplitMix) -> usize {
        let noise = random.next();
        let len = ETHERNET + noise as usize % (LONGEST - ETHERNET + 1);
        for chunk in room[..len].chunks_mut(8) {
            chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]);
        }
        let kinds: [(u16, u8); 4] =
            [(0x0800, 0x45), (0x86dd, 0x60), (0x0806, 0), (noise as u16, 0)];
        let (ethertype, version) = kinds[(noise >> 16) as usize % kinds.len()];
        room[..6].copy_from_slice(&self.link.dst.0);
        room[6..12].copy_from_slice(&self.link.src.0);
        room[12..14].copy_from_slice(&ethertype.to_be_bytes());
        if version != 0 && noise >> 63 == 0 && len > ETHERNET {
            room[ETHERNET] = version;
        }
        len
    }
}

/// Makes a piece of the packet behind this IPv4 header (RFC 791 §3.1).
fn fragment_v4(header: &mut [u8], id: u16, offset: u16, more: bool) {
    let field = offset | if more { 0x2000 } else { 0 };
    header[4..6].copy_from_slice(&id.to_be_bytes());
    header[6..8].copy_from_slice(&field.to_be_bytes());
    header[10..12].fill(0);
    let checksum = Sum::ZERO.bytes(header).checksum();
    header[10..12].copy_from_slice(&checksum.to_bytes());
}

/// A segment without options and data.
struct Bare {
    bytes: Vec<u8>,
    is_v4: bool,
    /// Of both numbers, those that mean something: without ACK there is no acknowledgement.
    numbers: u64,
    /// Of the IPv4 header, without source and checksum.
    header: Sum,
    /// Of the segment and its pseudo-header, without what differs.
    segment: Sum,
}

impl Bare {
    fn new(flags: u8, link: &Link, to: SocketAddr) -> Self {
        let envelope = PacketBuilder::ethernet2(link.src.0, link.dst.0);
        let packet = match to.ip() {
            IpAddr::V4(to) => envelope.ipv4([0; 4], to.octets(), 64),
            IpAddr::V6(to) => envelope.ipv6([0; 16], to.octets(), 64),
        };
        let mut bytes = Vec::new();
        let segment = packet.tcp(0, to.port(), 0, 501);
        segment.write(&mut bytes, &[]).expect("a vector takes every byte");
        let is_v4 = to.is_ipv4();
        let tcp = ETHERNET + if is_v4 { 20 } else { 40 };
        if is_v4 {
            bytes[ETHERNET + 10..ETHERNET + 12].fill(0);
        }
        bytes[tcp + 13] = flags;
        bytes[tcp + 16..tcp + 18].fill(0);
        let header = Sum::ZERO.bytes(&bytes[ETHERNET..tcp]);
        let pseudo = Sum::pseudo(&Addr::default(), &to.ip().into(), TCP, 20);
        let segment = pseudo.bytes(&bytes[tcp..]);
        let numbers = if flags & 0x10 == 0 { !0 << 32 } else { !0 };
        Self { bytes, is_v4, numbers, header, segment }
    }

    fn write(&self, room: &mut [u8; LONGEST], source: IpAddr, random: &mut SplitMix) -> usize {
        let (len, from) = (self.bytes.len(), Addr::from(source));
        let frame = &mut room[..len];
        frame.copy_from_slice(&self.bytes);
        if let Some(from) = from.as_v4().filter(|_| self.is_v4) {
            let checksum = self.header.dword(u32::from_be_bytes(from)).checksum();
            frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&checksum.to_bytes());
            frame[ETHERNET + 12..ETHERNET + 16].copy_from_slice(&from);
        } else {
            frame[ETHERNET + 8..ETHERNET + 24].copy_from_slice(&from.0);
        }
        let tcp = len - 20;
        let (port, numbers) = (1024 | random.next() as u16, random.next() & self.numbers);
        frame[tcp..tcp + 2].copy_from_slice(&port.to_be_bytes());
        frame[tcp + 4..tcp + 12].copy_from_slice(&numbers.to_be_bytes());
        let sum = self.segment.addr(&from).word(port).dword((numbers >> 32) as u32);
        let checksum = sum.dword(numbers as u32).checksum();
        frame[tcp + 16..tcp + 18].copy_from_slice(&checksum.to_bytes());
        len
    }
}

#[cfg(test)]
mod tests {
    use usher_proto::testing::{OUR_MAC, read_tcp};
    use usher_proto::verdict::Reason;
    use usher_proto::wire::{Flags, PortView, RxChecksums, parse};

    use super::*;

    const FROM: Mac = Mac([2, 0, 0, 0xf1, 0, 0xd0]);

    fn frames(kind: Kind, to: &str, count: usize) -> Vec<Vec<u8>> {
        let frames = Frames::new(kind, FROM, OUR_MAC, to.parse().expect("an address"));
        let mut random = SplitMix(1);
        let source: IpAddr = if to.starts_with('[') { "fd00::7" } else { "10.10.128.7" }
            .parse()
            .expect("an address");
        let one = |_| {
            let mut room = [0; LONGEST];
            let len = frames.write(&mut room, source, &mut random);
            room[..len].to_vec()
        };
        (0..count).map(one).collect()
    }

    const V4: &str = "10.10.0.10:80";
    const V6: &str = "[fd00::10]:80";

    /// The reader verifies lengths and checksums.
    #[test]
    fn segments_are_sound_and_have_their_flags() {
        for (kind, flags) in [
            (Kind::Syn, Flags::SYN),
            (Kind::Ack, Flags::ACK),
            (Kind::Rst, Flags::RST),
            (Kind::Fin, Flags::FIN | Flags::ACK),
        ] {
            for to in [V4, V6] {
                for frame in frames(kind, to, 20) {
                    let read = read_tcp(&frame);
                    assert_eq!((read.flags, read.to), (flags, to.parse().expect("an address")));
                    assert!(read.from.port() >= 1024);
                    assert!(
                        ["10.10.128.7", "fd00::7"].contains(&read.from.ip().to_string().as_str())
                    );
                }
            }
        }
        assert_eq!(
            (frames(Kind::Syn, V4, 1)[0].len(), frames(Kind::Syn, V6, 1)[0].len()),
            (74, 94)
        );
    }

    #[test]
    fn a_mixed_flood_has_all_of_them() {
        let flags: Vec<Flags> =
            frames(Kind::Mixed, V4, 100).iter().map(|frame| read_tcp(frame).flags).collect();
        for wanted in [Flags::SYN, Flags::ACK, Flags::RST, Flags::FIN | Flags::ACK] {
            assert!(flags.contains(&wanted), "{wanted:?}");
        }
    }

    #[test]
    fn pieces_are_known_as_pieces() {
        let port = PortView { mac: OUR_MAC, vlan: 0, index: 0 };
        for to in [V4, V6] {
            for frame in frames(Kind::Fragments, to, 50) {
                let parsed = parse(&frame, &port, RxChecksums::default());
                assert_eq!(parsed, Err(Reason::Fragment), "{to}");
            }
        }
    }

    #[test]
    fn garbage_is_for_the_target_and_of_every_length() {
        let frames = frames(Kind::Garbage, V4, 500);
        assert!(frames.iter().all(|frame| frame[..6] == OUR_MAC.0 && frame[6..12] == FROM.0));
        let lengths: Vec<usize> = frames.iter().map(Vec::len).collect();
        assert!(lengths.iter().any(|len| *len < 60) && lengths.iter().any(|len| *len > 1400));
        assert!(lengths.iter().all(|len| (14..=LONGEST).contains(len)));
    }
}
