//! A rewrite done to a frame, in place: envelope, addresses, ports, numbers, options, and both checksums by
//! what changed (RFC 1624).
//!
//! Frames whose headers change their length (another family, a tag more or less, timestamps put in) are
//! written anew in front of their payload, see `rebuild`.

#[cfg(test)]
mod tests;

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
