//! A rewrite done to a frame, in place: envelope, addresses, ports, numbers, options, and both checksums by
//! what changed (RFC 1624).
//!
//! Frames whose headers change their length (another family, a tag more or less, timestamps put in) are
//! written anew in front of their payload, see `rebuild`.

use zerocopy::FromBytes;
use zerocopy::network_endian::U16;

use super::rebuild;
use super::rewrite::{Ops, Rewrite};
use crate::cause::Reason;
use crate::wire::checksum::Sum;
use crate::wire::{Flags, Link, Segment, SeqNum, Tuple, ethernet, ip, ipv4, ipv6, tcp};

/// Where a segment goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outward {
    /// The envelope.
    pub link: Link,
    /// The half that it goes out on: from `local` to `remote`.
    pub tuple: Tuple,
    /// Taken off the time to live: 1 as a router, 0 as a bridge.
    pub hops: u8,
}

/// Rewrites the frame that `seg` was parsed from and that begins `room`, which is the whole writable room.
/// Returns the new length; padding is cut off. With `whole`, the TCP checksum is made from all bytes: what is
/// in the frame may then be unfinished, as in frames of virtual devices that are good but never had one.
/// Otherwise the payload is not looked at, and may continue in another buffer where headers keep their length.
///
/// # Errors
/// [`Reason::TtlExpired`], the frame still as it was; [`Reason::NoBuffer`] where there is no room, the frame
/// then holds nothing useful.
#[inline]
pub fn translate(
    room: &mut [u8],
    seg: &Segment,
    out: &Outward,
    rewrite: &Rewrite,
    whole: bool,
) -> Result<usize, Reason> {
    let tagged = matches!(room, [_, _, _, _, _, _, _, _, _, _, _, _, 0x81, 0x00, ..]);
    let is_v4 = out.tuple.local.is_v4();
    let same_len = tagged == (out.link.vlan != 0)
        && seg.tuple.local.is_v4() == is_v4
        && !rewrite.ops.has(Ops::INSERT_STAMP);
    if !same_len {
        return rebuild::in_place(room, seg, out, rewrite);
    }
    let envelope = if tagged { 18 } else { 14 };
    let ip_len = usize::from(seg.payload_offset)
        .wrapping_sub(usize::from(seg.header_len))
        .wrapping_sub(envelope);
    let headers = room.get_mut(..usize::from(seg.payload_offset)).ok_or(Reason::NoBuffer)?;
    let (head, packet) = headers.split_at_mut_checked(envelope).ok_or(Reason::NoBuffer)?;
    let (ip, segment) = packet.split_at_mut_checked(ip_len).ok_or(Reason::NoBuffer)?;
    let no_ecn = rewrite.ops.has(Ops::CLEAR_ECN);
    let (addresses, ethertype) = if is_v4 {
        let addresses = Delta::of_v4(&seg.tuple, &out.tuple);
        rewrite_v4(ip, out, addresses, no_ecn)?;
        (addresses, ethernet::IPV4)
    } else {
        rewrite_v6(ip, out, no_ecn)?;
        (Delta::of_v6(&seg.tuple, &out.tuple), ethernet::IPV6)
    };
    let _ = ethernet::write(head, &out.link, ethertype).map_err(|_| Reason::NoBuffer)?;
    rewrite_tcp(segment, seg, out, rewrite, addresses)?;
    let end = usize::from(seg.payload_offset).wrapping_add(usize::from(seg.payload_len));
    if whole {
        let segment = room.get_mut(envelope.wrapping_add(ip_len)..end).ok_or(Reason::NoBuffer)?;
        finish(segment, &out.tuple)?;
    }
    Ok(end)
}

/// By how much a sum changes: new values, and the complements of old ones (RFC 1624 §3, equation 3). Values of
/// 32 bits are added up in 64, so that no carry is lost in the few that a segment has.
#[derive(Clone, Copy)]
struct Delta(u64);

impl Delta {
    const NONE: Self = Self(0);

    #[inline(always)]
    const fn word(self, old: u16, new: u16) -> Self {
        Self(self.0.wrapping_add(new as u64).wrapping_add(!old as u64))
    }

    #[inline(always)]
    const fn dword(self, old: u32, new: u32) -> Self {
        Self(self.0.wrapping_add(new as u64).wrapping_add(!old as u64))
    }

    /// For bytes as they lie in memory, at even offsets.
    #[inline(always)]
    const fn bytes(self, old: [u8; 4], new: [u8; 4]) -> Self {
        self.dword(u32::from_ne_bytes(old), u32::from_ne_bytes(new))
    }

    /// The sum of bytes as that of values (RFC 1071 §2(B)).
    #[inline(always)]
    const fn swapped(self) -> Self {
        Self(u16::from_be(self.folded()) as u64)
    }

    #[inline(always)]
    const fn folded(self) -> u16 {
        let sum = (self.0.wrapping_add(self.0.rotate_left(32)) >> 32) as u32;
        (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
    }

    #[inline(always)]
    const fn and(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// The checksum of what changed so.
    #[inline(always)]
    const fn applied_to(self, checksum: U16) -> U16 {
        let sum = Self(self.0.wrapping_add(!checksum.get() as u64)).folded();
        U16::new(!sum)
    }

    /// The change of both addresses.
    #[inline(always)]
    const fn of_v4(old: &Tuple, new: &Tuple) -> Self {
        let ([.., a, b, c, d], [.., e, f, g, h]) = (old.remote.0, old.local.0);
        let ([.., i, j, k, l], [.., m, n, o, p]) = (new.local.0, new.remote.0);
        let source = Self::NONE.bytes([a, b, c, d], [i, j, k, l]);
        source.bytes([e, f, g, h], [m, n, o, p]).swapped()
    }

    #[inline]
    fn of_v6(old: &Tuple, new: &Tuple) -> Self {
        let mut delta = Self::NONE;
        for (old, new) in [(&old.remote, &new.local), (&old.local, &new.remote)] {
            let ([a, b, c, d], []) = old.0.as_chunks::<4>() else { continue };
            let ([e, f, g, h], []) = new.0.as_chunks::<4>() else { continue };
            delta = delta.bytes(*a, *e).bytes(*b, *f).bytes(*c, *g).bytes(*d, *h);
        }
        delta.swapped()
    }
}

/// The time to live behind us.
pub(super) fn hop(ttl: u8, hops: u8) -> Result<u8, Reason> {
    ttl.checked_sub(hops).filter(|left| *left > 0).ok_or(Reason::TtlExpired)
}

/// The two ECN bits of TOS and traffic class (RFC 3168 §5).
pub(super) const ECN_BITS: u8 = 0b11;

#[inline]
fn rewrite_v4(
    packet: &mut [u8],
    out: &Outward,
    addresses: Delta,
    no_ecn: bool,
) -> Result<(), Reason> {
    let (header, _) = ipv4::Header::mut_from_prefix(packet).map_err(|_| Reason::NoBuffer)?;
    let ttl = hop(header.ttl, out.hops)?;
    let tos = if no_ecn { header.tos & !ECN_BITS } else { header.tos };
    let word = |high, low| u16::from_be_bytes([high, low]);
    let changed = addresses.word(word(header.ttl, header.tos), word(ttl, tos));
    header.checksum = changed.applied_to(header.checksum);
    header.ttl = ttl;
    header.tos = tos;
    let ([.., a, b, c, d], [.., e, f, g, h]) = (out.tuple.local.0, out.tuple.remote.0);
    (header.source, header.destination) = ([a, b, c, d], [e, f, g, h]);
    Ok(())
}

#[inline]
fn rewrite_v6(packet: &mut [u8], out: &Outward, no_ecn: bool) -> Result<(), Reason> {
    let (header, _) = ipv6::Header::mut_from_prefix(packet).map_err(|_| Reason::NoBuffer)?;
    header.hop_limit = hop(header.hop_limit, out.hops)?;
    if no_ecn {
        let class = header.version_class_flow.get() & !(u32::from(ECN_BITS) << 20);
        header.version_class_flow = class.into();
    }
    header.source = out.tuple.local.0;
    header.destination = out.tuple.remote.0;
    Ok(())
}

#[inline]
fn rewrite_tcp(
    segment: &mut [u8],
    seg: &Segment,
    out: &Outward,
    rewrite: &Rewrite,
    addresses: Delta,
) -> Result<(), Reason> {
    let (header, rest) = tcp::Header::mut_from_prefix(segment).map_err(|_| Reason::NoBuffer)?;
    let flags = seg.flags.0 & !rewrite.clear;
    let ack = if Flags(flags).has(Flags::ACK) { rewrite.ack.0 } else { 0 };
    let options_len = usize::from(seg.header_len).wrapping_sub(size_of::<tcp::Header>());
    let options = rest.get_mut(..options_len).ok_or(Reason::NoBuffer)?;
    let (old_ports, new_ports) = (
        ports(seg.tuple.remote_port, seg.tuple.local_port),
        ports(out.tuple.local_port, out.tuple.remote_port),
    );
    // From values: what is read back just after it was written piece by piece waits for it.
    let changed = addresses
        .and(rewrite_options(options, rewrite))
        .dword(old_ports, new_ports)
        .dword(seg.seq.0, rewrite.seq.0)
        .dword(header.ack.get(), ack)
        .word(u16::from(seg.flags.0), u16::from(flags))
        .word(seg.window, rewrite.window);
    header.source = out.tuple.local_port.into();
    header.destination = out.tuple.remote_port.into();
    header.seq = rewrite.seq.0.into();
    header.ack = ack.into();
    header.flags = flags;
    header.window = rewrite.window.into();
    header.checksum = changed.applied_to(header.checksum);
    Ok(())
}

#[inline(always)]
const fn ports(source: u16, destination: u16) -> u32 {
    (source as u32) << 16 | destination as u32
}

/// Rewrites the options and returns by how much their sum changed. Timestamps where nearly all segments have
/// them are recognised whole.
#[inline]
fn rewrite_options(options: &mut [u8], rewrite: &Rewrite) -> Delta {
    const ALIGNED: [u8; 4] = [NOP, NOP, TIMESTAMPS, 10];
    if options.is_empty() {
        return Delta::NONE;
    }
    if let Some(([a, b, c, d, stamps @ ..], rest)) = options.split_first_chunk_mut::<12>()
        && [*a, *b, *c, *d] == ALIGNED
        && rewrite.ops.has(Ops::STAMP)
    {
        let old = u64::from_be_bytes(*stamps);
        let new = u64::from(rewrite.ts_val) << 32 | u64::from(rewrite.ts_ecr);
        *stamps = new.to_be_bytes();
        let changed =
            Delta::NONE.dword((old >> 32) as u32, rewrite.ts_val).dword(old as u32, rewrite.ts_ecr);
        return if rest.is_empty() {
            changed
        } else {
            changed.and(rewrite_odd_options(rest, rewrite))
        };
    }
    rewrite_odd_options(options, rewrite)
}

/// Any layout; its loops would take the registers from those above.
#[inline(never)]
fn rewrite_odd_options(options: &mut [u8], rewrite: &Rewrite) -> Delta {
    let before = Sum::ZERO.bytes(options).partial();
    walk_options(options, rewrite);
    Delta::NONE.word(before.get(), Sum::ZERO.bytes(options).partial().get())
}

const END: u8 = 0;
const NOP: u8 = 1;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// Rewrites option by option; the parser has seen that none runs out of the header.
fn walk_options(mut options: &mut [u8], rewrite: &Rewrite) {
    loop {
        options = match options {
            [] | [END, ..] => return,
            [NOP, rest @ ..] => rest,
            [kind, len, ..] => {
                let (kind, len) = (*kind, usize::from((*len).max(2)));
                let Some((option, rest)) = options.split_at_mut_checked(len) else { return };
                rewrite_option(kind, option, rewrite);
                rest
            }
            [_] => return,
        }
    }
}

fn rewrite_option(kind: u8, option: &mut [u8], rewrite: &Rewrite) {
    match (kind, option) {
        (TIMESTAMPS, option) if option.len() == 10 && rewrite.ops.has(Ops::STRIP_STAMP) => {
            option.fill(NOP);
        }
        (TIMESTAMPS, [_, _, a, b, c, d, e, f, g, h]) if rewrite.ops.has(Ops::STAMP) => {
            [*a, *b, *c, *d] = rewrite.ts_val.to_be_bytes();
            [*e, *f, *g, *h] = rewrite.ts_ecr.to_be_bytes();
        }
        (SACK, option) => rewrite_sack(option, rewrite),
        _ => {}
    }
}

/// Moves every edge of every block (RFC 2018 §3). What lies within a PROXY header concerns only us: a block
/// that was nothing else spoils the option, which is then better not there.
fn rewrite_sack(option: &mut [u8], rewrite: &Rewrite) {
    let mut is_sound = !rewrite.ops.has(Ops::STRIP_SACK);
    if let Some(blocks) = option.get_mut(2..) {
        for block in blocks.as_chunks_mut::<8>().0 {
            let [a, b, c, d, e, f, g, h] = *block;
            let edges = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
            let (left, right) = moved(edges, rewrite);
            is_sound &= left.is_before(right);
            let ([a, b, c, d], [e, f, g, h]) = (left.0.to_be_bytes(), right.0.to_be_bytes());
            *block = [a, b, c, d, e, f, g, h];
        }
    }
    if !is_sound {
        option.fill(NOP);
    }
}

/// The edges of a block on the other half.
pub(super) fn moved((left, right): (u32, u32), rewrite: &Rewrite) -> (SeqNum, SeqNum) {
    let edge = |edge: u32| {
        let edge = SeqNum(edge).add(rewrite.sack_delta);
        if rewrite.ops.has(Ops::FLOOR_SACK) { edge.max(rewrite.sack_floor) } else { edge }
    };
    (edge(left), edge(right))
}

/// Makes the TCP checksum from all bytes.
#[inline(never)]
pub(super) fn finish(segment: &mut [u8], tuple: &Tuple) -> Result<(), Reason> {
    let len = u16::try_from(segment.len()).map_err(|_| Reason::NoBuffer)?;
    let (header, _) = tcp::Header::mut_from_prefix(segment).map_err(|_| Reason::NoBuffer)?;
    header.checksum = U16::ZERO;
    let sum = Sum::pseudo(&tuple.local, &tuple.remote, ip::TCP, len).bytes(segment).checksum();
    let (header, _) = tcp::Header::mut_from_prefix(segment).map_err(|_| Reason::NoBuffer)?;
    header.checksum = sum;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::super::split;
    use super::*;
    use crate::testing::{CLIENT_MAC, Envelope, OUR_MAC, TcpFrame, TcpRead, port, read_tcp, tcp};
    use crate::wire::{Mac, Parsed, PortView, RxChecksums, Timestamps, parse};

    const BACKEND_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x0b]);

    /// A segment in the terms of the test: what the builder is told, and again after translation.
    #[derive(Clone, Debug)]
    struct Words {
        ends: (SocketAddr, SocketAddr),
        vlan: u16,
        ttl: u8,
        tos: u8,
        numbers: (u32, u32),
        flags: u8,
        window: u16,
        stamps: Option<(u32, u32)>,
        sack: Vec<(u32, u32)>,
        /// NOPs in front of the options.
        shift: usize,
        payload: Vec<u8>,
    }

    impl Words {
        fn build(&self, from: Mac, to: Mac) -> Vec<u8> {
            let (seq, ack) = self.numbers;
            let base = tcp().from(self.ends.0).to(self.ends.1).ack(seq, ack);
            let base = base.flags(Flags(self.flags)).window(self.window).payload(&self.payload);
            let base = self.options(base).ttl(self.ttl).tos(self.tos).src_mac(from).dst_mac(to);
            if self.vlan == 0 { base.build() } else { base.vlan(self.vlan).build() }
        }

        fn options(&self, mut frame: TcpFrame) -> TcpFrame {
            for _ in 0..self.shift {
                frame = frame.option(&[1]);
            }
            if let Some((val, ecr)) = self.stamps {
                frame = frame.timestamps(val, ecr);
            }
            if self.sack.is_empty() { frame } else { frame.sack(&self.sack) }
        }

        fn parse(&self, frame: &[u8]) -> Segment {
            let port = PortView { vlan: self.vlan, ..port() };
            match parse(frame, &port, RxChecksums::default()) {
                Ok(Parsed::Tcp(seg)) => seg,
                other => panic!("{other:?}"),
            }
        }

        /// The frame's way through `translate`, and its length.
        fn through(
            &self,
            out: &Outward,
            rewrite: &Rewrite,
            whole: bool,
        ) -> Result<Vec<u8>, Reason> {
            let mut frame = self.build(CLIENT_MAC, OUR_MAC);
            let seg = self.parse(&frame);
            if whole {
                let at = usize::from(seg.payload_offset) - usize::from(seg.header_len) + 16;
                frame[at..at + 2].copy_from_slice(&[0xde, 0xad]);
            }
            frame.resize(frame.len() + 60, 0xee);
            let len = translate(&mut frame, &seg, out, rewrite, whole)?;
            frame.truncate(len);
            Ok(frame)
        }

        /// What must have become of it, field by field.
        fn expected(&self, out: &Outward, rewrite: &Rewrite) -> Self {
            let has = |ops| rewrite.ops.has(ops);
            let edge = |edge: u32| edge.wrapping_add(rewrite.sack_delta);
            let flags = self.flags & !rewrite.clear;
            let ack = if flags & Flags::ACK.0 != 0 { rewrite.ack.0 } else { 0 };
            let stamps = self.stamps.filter(|_| !has(Ops::STRIP_STAMP));
            let sack = self.sack.iter().map(|(left, right)| (edge(*left), edge(*right)));
            Self {
                ends: (
                    SocketAddr::new(out.tuple.local.into(), out.tuple.local_port),
                    SocketAddr::new(out.tuple.remote.into(), out.tuple.remote_port),
                ),
                vlan: out.link.vlan,
                ttl: self.ttl - out.hops,
                tos: if has(Ops::CLEAR_ECN) { self.tos & !3 } else { self.tos },
                numbers: (rewrite.seq.0, ack),
                flags,
                window: rewrite.window,
                stamps: stamps.map(|_| (rewrite.ts_val, rewrite.ts_ecr)),
                sack: if has(Ops::STRIP_SACK) { Vec::new() } else { sack.collect() },
                shift: self.shift,
                payload: self.payload.clone(),
            }
        }
    }

    fn socket(is_v4: bool) -> impl Strategy<Value = SocketAddr> {
        (any::<u32>(), 1..=u16::MAX).prop_map(move |(bits, port)| {
            let [a, b, c, d] = bits.to_be_bytes();
            let v6 = [0xfd00, 0, 0, 0, 0, 1, u16::from(a) << 8 | 1, u16::from_be_bytes([c, d])];
            if is_v4 {
                SocketAddr::new([10, b, c, d].into(), port)
            } else {
                SocketAddr::new(v6.into(), port)
            }
        })
    }

    fn ends(is_v4: bool) -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
        (socket(is_v4), socket(is_v4)).prop_filter("two hosts", |(a, b)| a.ip() != b.ip())
    }

    fn words(is_v4: bool, vlan: u16) -> impl Strategy<Value = Words> {
        let block =
            (any::<u32>(), 1..1u32 << 30).prop_map(|(left, len)| (left, left.wrapping_add(len)));
        let options = (
            prop::option::of(any::<(u32, u32)>()),
            prop::collection::vec(block, 0..=3),
            0..=3usize,
        );
        let flags = prop::sample::select(&[0x10u8, 0x18, 0x11, 0x04, 0xd0, 0x14, 0x50][..]);
        let ip = (ends(is_v4), 2u8.., 0..=3u8);
        let payload = prop::collection::vec(any::<u8>(), 0..300);
        (ip, any::<(u32, u32)>(), flags, any::<u16>(), options, payload).prop_map(
            move |((ends, ttl, tos), numbers, flags, window, (stamps, sack, shift), payload)| {
                let fits = stamps.map_or(0, |_| 10) + shift <= 40 - 2 - 8 * sack.len();
                let shift = if fits { shift } else { 0 };
                Words { ends, vlan, ttl, tos, numbers, flags, window, stamps, sack, shift, payload }
            },
        )
    }

    fn outward(is_v4: bool, vlan: u16) -> impl Strategy<Value = Outward> {
        (ends(is_v4), 0..=1u8).prop_map(move |((local, remote), hops)| Outward {
            link: Link { src: OUR_MAC, dst: BACKEND_MAC, vlan },
            tuple: Tuple {
                remote: remote.ip().into(),
                local: local.ip().into(),
                remote_port: remote.port(),
                local_port: local.port(),
                vlan,
                port: 1,
            },
            hops,
        })
    }

    fn rewrite() -> impl Strategy<Value = Rewrite> {
        (any::<[u32; 5]>(), any::<u16>(), any::<[bool; 3]>()).prop_map(
            |([seq, ack, ts_val, ts_ecr, sack_delta], window, [stamp, strip_sack, clear])| {
                let ops = Ops::default()
                    .with(Ops::STAMP, stamp)
                    .with(Ops::STRIP_STAMP, !stamp)
                    .with(Ops::STRIP_SACK, strip_sack)
                    .with(Ops::CLEAR_ECN, clear);
                let clear = if clear { Flags::ECE.0 | Flags::CWR.0 } else { 0 };
                Rewrite {
                    seq: SeqNum(seq),
                    ack: SeqNum(ack),
                    ts_val,
                    ts_ecr,
                    sack_delta,
                    sack_floor: SeqNum(0),
                    window,
                    ops,
                    clear,
                }
            },
        )
    }

    /// Everything for one translation: families and tags of either half as they come.
    fn cases() -> impl Strategy<Value = (Words, Outward, Rewrite)> {
        let vlan = || prop::sample::select(&[0u16, 7][..]);
        (any::<[bool; 2]>(), vlan(), vlan()).prop_flat_map(
            |([v4_in, v4_out], vlan_in, vlan_out)| {
                (words(v4_in, vlan_in), outward(v4_out, vlan_out), rewrite())
            },
        )
    }

    /// What a frame says, but for what only IPv4 has.
    fn sense(frame: &[u8]) -> TcpRead {
        TcpRead { id: 0, dont_fragment: true, ..read_tcp(frame) }
    }

    proptest! {
        /// RFC 1624: byte for byte what a slow builder makes from nothing, where no option is taken out.
        #[test]
        fn what_passes_in_place_equals_what_is_built_anew(
            whole: bool,
            (words, out, rewrite) in (any::<bool>(), prop::sample::select(&[0u16, 7][..])).prop_flat_map(|(v4, vlan)| {
                (words(v4, vlan), outward(v4, vlan), rewrite())
            }),
        ) {
            let ops = Ops(rewrite.ops.0 & Ops::CLEAR_ECN.0).with(Ops::STAMP, true);
            let rewrite = Rewrite { ops, ..rewrite };
            let frame = words.through(&out, &rewrite, whole).unwrap();
            prop_assert_eq!(frame, words.expected(&out, &rewrite).build(OUR_MAC, BACKEND_MAC));
        }

        /// Whatever changes in length or family: sound frames that say what they should.
        #[test]
        fn what_passes_says_what_it_should((words, out, rewrite) in cases()) {
            let frame = words.through(&out, &rewrite, false).unwrap();
            let expected = words.expected(&out, &rewrite);
            let built = expected.build(OUR_MAC, BACKEND_MAC);
            prop_assert_eq!(sense(&frame), sense(&built));
        }

        /// Timestamps that are put in leave room for as many SACK blocks as fit behind them.
        #[test]
        fn timestamps_are_put_in((words, out, rewrite) in cases()) {
            let words = Words { stamps: None, ..words };
            let ops = Ops::INSERT_STAMP.with(Ops::STRIP_STAMP, true);
            let rewrite = Rewrite { ops, clear: 0, ..rewrite };
            let frame = words.through(&out, &rewrite, false).unwrap();
            let is_reset = words.flags & Flags::RST.0 != 0;
            let stamps = (!is_reset).then_some((rewrite.ts_val, rewrite.ts_ecr));
            let expected = Words { stamps, ..words.expected(&out, &rewrite) };
            let expected = Words { shift: 0, stamps, ..expected };
            prop_assert_eq!(sense(&frame), sense(&expected.build(OUR_MAC, BACKEND_MAC)));
        }

        /// Whatever options a segment has, its translation is sound, and still the same segment.
        #[test]
        fn odd_options_do_no_harm(
            soup in prop::collection::vec(prop_oneof![0..12u8, any::<u8>()], 0..=40),
            (_, out, rewrite) in cases(), ops: u8, floor: u32, whole: bool,
        ) {
            let frame = tcp().ack(1, 2).option(&soup).payload(b"payload").ttl(9).build();
            let parsed = parse(&frame, &port(), RxChecksums::default());
            let Ok(Parsed::Tcp(seg)) = parsed else { return Ok(()) };
            let rewrite = Rewrite { ops: Ops(ops), sack_floor: SeqNum(floor), ..rewrite };
            let mut room = frame.clone();
            room.resize(frame.len() + 60, 0xee);
            let len = translate(&mut room, &seg, &out, &rewrite, whole).unwrap();
            let mut pieces = [Vec::from(&room[..len]), std::vec![0; 200]];
            let len = split(&frame, &seg, &out, &rewrite, 99).write_next(&mut pieces[1]);
            pieces[1].truncate(len.unwrap().unwrap());
            for mut piece in pieces {
                piece[..6].copy_from_slice(&OUR_MAC.0);
                piece[6..12].copy_from_slice(&CLIENT_MAC.0);
                let view = PortView { vlan: out.link.vlan, ..port() };
                let Ok(Parsed::Tcp(read)) = parse(&piece, &view, RxChecksums::default()) else {
                    panic!("a sound segment: {piece:02x?}")
                };
                prop_assert_eq!((read.seq, read.payload_len), (rewrite.seq, 7));
                prop_assert!(piece.ends_with(b"payload"));
                let stamps = read.options.timestamps.map(|ts| (ts.val, ts.ecr));
                let was = seg.options.timestamps.map(|ts| (ts.val, ts.ecr));
                let new = Some((rewrite.ts_val, rewrite.ts_ecr));
                prop_assert!(stamps.is_none() || stamps == was || stamps == new);
            }
        }

        /// The pieces of a segment are its payload in order, each sound, with FIN and PSH on the last and
        /// CWR on the first.
        #[test]
        fn pieces_make_the_whole((words, out, rewrite) in cases(), most in 1..120u16) {
            let words = Words { flags: 0xd9, ..words };
            let frame = words.build(CLIENT_MAC, OUR_MAC);
            let seg = words.parse(&frame);
            let rewrite = Rewrite { clear: 0, ..rewrite };
            let mut pieces = split(&frame, &seg, &out, &rewrite, most);
            let (mut whole, mut count) = (Vec::new(), 0);
            let all = pieces.left();
            let mut room = [0xee; 1000];
            while let Some(len) = pieces.write_next(&mut room) {
                let read = read_tcp(&room[..len.unwrap()]);
                count += 1;
                prop_assert_eq!(read.seq, rewrite.seq.0.wrapping_add(whole.len() as u32));
                prop_assert!(read.payload.len() <= most.into());
                let ends = Flags::FIN | Flags::PSH;
                prop_assert_eq!(read.flags.only(ends) == ends, count == all);
                prop_assert_eq!(read.flags.has(Flags::CWR), count == 1);
                prop_assert!(read.flags.has(Flags::ECE | Flags::ACK));
                whole.extend(read.payload);
            }
            prop_assert_eq!((whole, count), (words.payload, all));
        }
    }

    fn fixed() -> (Words, Outward, Rewrite) {
        let words = Words {
            ends: ("10.0.0.1:4000".parse().unwrap(), "10.0.0.2:80".parse().unwrap()),
            vlan: 0,
            ttl: 64,
            tos: 0,
            numbers: (10, 20),
            flags: 0x10,
            window: 100,
            stamps: None,
            sack: Vec::from([(u32::MAX - 5, 5), (100, 110)]),
            shift: 2,
            payload: b"abc".to_vec(),
        };
        let tuple = Tuple {
            remote: crate::wire::Addr::v4([10, 1, 0, 3]),
            local: crate::wire::Addr::v4([10, 1, 0, 2]),
            remote_port: 8080,
            local_port: 5000,
            vlan: 0,
            port: 1,
        };
        let out =
            Outward { link: Link { src: OUR_MAC, dst: BACKEND_MAC, vlan: 0 }, tuple, hops: 1 };
        (words, out, Rewrite { sack_delta: 10, ..Rewrite::default() })
    }

    #[test]
    fn a_time_to_live_that_ends_here_is_a_reason_to_drop() {
        let (words, out, rewrite) = fixed();
        for ttl in [0, 1] {
            let words = Words { ttl, ..words.clone() };
            assert_eq!(words.through(&out, &rewrite, false), Err(Reason::TtlExpired));
            let bridged = Outward { hops: 0, ..out };
            let passes = words.through(&bridged, &rewrite, false).is_ok();
            assert_eq!(passes, ttl == 1, "a bridge takes nothing off");
        }
    }

    #[test]
    fn sack_edges_move_across_the_wrap() {
        let (words, out, rewrite) = fixed();
        let frame = words.through(&out, &rewrite, false).unwrap();
        assert_eq!(read_tcp(&frame).sack, [(4, 15), (110, 120)]);
    }

    /// Timestamps twice, the second of which count: each changes the checksum by what it was.
    #[test]
    fn timestamps_that_come_twice_do_no_harm() {
        let (words, out, rewrite) = fixed();
        let rewrite = Rewrite { ops: Ops::STAMP, ts_val: 70, ts_ecr: 80, ..rewrite };
        let nops = [NOP, NOP];
        let frame = tcp().ack(1, 2).option(&nops).timestamps(3, 4).option(&nops).timestamps(5, 6);
        let mut frame = frame.build();
        let seg = words.parse(&frame);
        let len = translate(&mut frame, &seg, &out, &rewrite, false).unwrap();
        frame[..6].copy_from_slice(&OUR_MAC.0);
        frame[6..12].copy_from_slice(&CLIENT_MAC.0);
        let read = words.parse(&frame[..len]); // refuses a wrong checksum
        assert_eq!(read.options.timestamps, Some(Timestamps { val: 70, ecr: 80 }));
    }

    /// A block that lies partly within a PROXY header is cut; one that lies wholly in it spoils the option.
    #[test]
    fn sack_edges_stay_above_the_floor() {
        let (words, out, rewrite) = fixed();
        let floored =
            |floor| Rewrite { ops: Ops::FLOOR_SACK, sack_floor: SeqNum(floor), ..rewrite };
        let sack = |rewrite: &Rewrite| {
            let frame = words.through(&out, rewrite, false).unwrap();
            read_tcp(&frame).sack
        };
        assert_eq!(sack(&floored(10)), [(10, 15), (110, 120)]);
        assert_eq!(sack(&floored(15)), []);
        // With new headers the sound block is kept.
        let tagged = Outward { link: Link { vlan: 7, ..out.link }, ..out };
        let frame = words.through(&tagged, &floored(15), false).unwrap();
        assert_eq!(read_tcp(&frame).sack, [(110, 120)]);
    }

    /// RFC 791 §3.1, RFC 9293 §3.1: DF, the identification and the urgent pointer are the sender's, also with
    /// new headers and in pieces.
    #[test]
    fn what_is_the_senders_is_kept() {
        let (_, out, rewrite) = fixed();
        let tagged = Outward { link: Link { vlan: 7, ..out.link }, ..out };
        for fragment in [0x4000, 0] {
            let frame = tcp().ack(10, 20).urgent(4).fragment(fragment).payload(b"abcdef");
            let mut frame = frame.build();
            let Ok(Parsed::Tcp(seg)) = parse(&frame, &port(), RxChecksums::default()) else {
                panic!("a segment")
            };
            let mut pieces = split(&frame, &seg, &out, &rewrite, 3);
            for pointer in [4, 1] {
                let mut room = [0; 100];
                let len = pieces.write_next(&mut room).unwrap().unwrap();
                let piece = read_tcp(&room[..len]);
                assert_eq!((piece.flags.has(Flags::URG), piece.urgent), (true, pointer));
            }
            frame.resize(200, 0);
            let len = translate(&mut frame, &seg, &tagged, &rewrite, false).unwrap();
            let read = read_tcp(&frame[..len]);
            assert_eq!((read.id, read.dont_fragment), (0x1234, fragment != 0));
            assert_eq!((read.flags.has(Flags::URG), read.urgent), (true, 4));
        }
    }

    #[test]
    fn no_room_is_an_error() {
        let (words, out, rewrite) = fixed();
        let mut frame = words.build(CLIENT_MAC, OUR_MAC);
        let seg = words.parse(&frame);
        let tagged = Outward { link: Link { vlan: 7, ..out.link }, ..out };
        assert_eq!(translate(&mut frame, &seg, &tagged, &rewrite, false), Err(Reason::NoBuffer));
        let mut pieces = split(&frame, &seg, &out, &rewrite, 2);
        assert_eq!(pieces.write_next(&mut [0; 50]), Some(Err(Reason::NoBuffer)));
    }
}
