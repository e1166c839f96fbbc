//! Segments whose headers change their length, and segments in pieces: headers written anew in front of the
//! payload.
//!
//! IP options and extension headers are not carried over, nor TCP options other than timestamps and SACK; a
//! segment without SYN has no other that means anything.

use arrayvec::ArrayVec;
use zerocopy::FromBytes;

use super::rewrite::{Ops, Rewrite};
use super::translate::{ECN_BITS, Outward, finish, hop, moved};
use crate::cause::Reason;
use crate::wire::{Flags, Segment, SeqNum, Timestamps, ethernet, ip, ipv4, ipv6, tcp};

/// The longest headers: envelope with tag, IPv6, TCP with all the options it can have.
const MOST: usize = 18 + 40 + 60;
const DONT_FRAGMENT: u16 = 0x4000;

/// What is carried over from the old headers.
struct Carried {
    ttl: u8,
    class: u8,
    /// IPv4's identification and flags.
    id: u16,
    fragment: u16,
    urgent: u16,
    options: ArrayVec<u8, 40>,
}

/// One segment of what a frame becomes.
struct Piece {
    seq: SeqNum,
    flags: Flags,
    urgent: u16,
    payload_len: usize,
}

/// As `translate`, for headers of another length.
#[cold]
pub(super) fn in_place(
    room: &mut [u8],
    seg: &Segment,
    out: &Outward,
    rewrite: &Rewrite,
) -> Result<usize, Reason> {
    let carried = Carried::read(room, seg, out, rewrite)?;
    let piece = Piece {
        seq: rewrite.seq,
        flags: Flags(seg.flags.0 & !rewrite.clear),
        urgent: carried.urgent,
        payload_len: usize::from(seg.payload_len),
    };
    let mut headers = [0; MOST];
    let len = carried.write(&mut headers, &piece, out, rewrite)?;
    let from = usize::from(seg.payload_offset);
    let payload = from..from.wrapping_add(piece.payload_len);
    let end = len.wrapping_add(piece.payload_len);
    if payload.end > room.len() || end > room.len() {
        return Err(Reason::NoBuffer);
    }
    room.copy_within(payload, len);
    copy(room, &headers, len)?;
    seal(room, len, end, &carried, out)
}

/// A segment that is too large for its receiver, in pieces.
#[derive(Debug)]
pub struct Pieces<'a> {
    frame: &'a [u8],
    seg: &'a Segment,
    out: &'a Outward,
    rewrite: &'a Rewrite,
    most: u16,
    done: u16,
}

/// The pieces of the segment `seg` of `frame`, each with at most `most` bytes of payload: as
/// [`super::Passage::Split`] says.
#[must_use]
pub const fn split<'a>(
    frame: &'a [u8],
    seg: &'a Segment,
    out: &'a Outward,
    rewrite: &'a Rewrite,
    most: u16,
) -> Pieces<'a> {
    Pieces { frame, seg, out, rewrite, most, done: 0 }
}

impl Pieces<'_> {
    /// How many pieces are left.
    #[must_use]
    pub fn left(&self) -> usize {
        let bytes = self.seg.payload_len.saturating_sub(self.done);
        usize::from(bytes.div_ceil(self.most.max(1)))
    }

    /// Writes the next piece into `room` and returns its length; `None` when there is none left. FIN and PSH
    /// are on the last, CWR is on the first (RFC 3168 §6.1.2: it is said once).
    ///
    /// # Errors
    /// As `translate`; the piece is then lost.
    pub fn write_next(&mut self, room: &mut [u8]) -> Option<Result<usize, Reason>> {
        let left = self.seg.payload_len.saturating_sub(self.done);
        if left == 0 {
            return None;
        }
        let (at, len) = (self.done, left.min(self.most.max(1)));
        self.done = self.done.saturating_add(len);
        Some(self.write(room, at, len))
    }

    fn write(&self, room: &mut [u8], at: u16, payload_len: u16) -> Result<usize, Reason> {
        let carried = Carried::read(self.frame, self.seg, self.out, self.rewrite)?;
        let mut flags = Flags(self.seg.flags.0 & !self.rewrite.clear);
        if at > 0 {
            flags = Flags(flags.0 & !Flags::CWR.0);
        }
        if at.saturating_add(payload_len) < self.seg.payload_len {
            flags = Flags(flags.0 & !(Flags::FIN.0 | Flags::PSH.0));
        }
        let urgent = carried.urgent.saturating_sub(at);
        if urgent == 0 {
            flags = Flags(flags.0 & !Flags::URG.0);
        }
        let piece = Piece {
            seq: self.rewrite.seq.add(u32::from(at)),
            flags,
            urgent,
            payload_len: usize::from(payload_len),
        };
        let mut headers = [0; MOST];
        let len = carried.write(&mut headers, &piece, self.out, self.rewrite)?;
        let from = usize::from(self.seg.payload_offset).wrapping_add(usize::from(at));
        let payload = self.frame.get(from..from.wrapping_add(piece.payload_len));
        let end = len.wrapping_add(piece.payload_len);
        let target = room.get_mut(len..end).ok_or(Reason::NoBuffer)?;
        target.copy_from_slice(payload.ok_or(Reason::NoBuffer)?);
        copy(room, &headers, len)?;
        seal(room, len, end, &carried, self.out)
    }
}

fn copy(room: &mut [u8], headers: &[u8; MOST], len: usize) -> Result<(), Reason> {
    let (target, source) = (room.get_mut(..len), headers.get(..len));
    target
        .zip(source)
        .map(|(target, source)| target.copy_from_slice(source))
        .ok_or(Reason::NoBuffer)
}

/// The TCP checksum, last of all; returns the frame's length.
fn seal(
    room: &mut [u8],
    len: usize,
    end: usize,
    carried: &Carried,
    out: &Outward,
) -> Result<usize, Reason> {
    let header_len = size_of::<tcp::Header>().wrapping_add(carried.options.len());
    let segment = room.get_mut(len.wrapping_sub(header_len)..end).ok_or(Reason::NoBuffer)?;
    finish(segment, &out.tuple)?;
    Ok(end)
}

impl Carried {
    fn read(frame: &[u8], seg: &Segment, out: &Outward, rewrite: &Rewrite) -> Result<Self, Reason> {
        let segment_at = usize::from(seg.payload_offset).wrapping_sub(usize::from(seg.header_len));
        let tagged = matches!(frame, [_, _, _, _, _, _, _, _, _, _, _, _, 0x81, 0x00, ..]);
        let packet = frame.get(ethernet::len(u16::from(tagged))..).ok_or(Reason::NoBuffer)?;
        let segment = frame.get(segment_at..).ok_or(Reason::NoBuffer)?;
        let (header, rest) = tcp::Header::ref_from_prefix(segment).map_err(|_| Reason::NoBuffer)?;
        let options_len = usize::from(seg.header_len).wrapping_sub(size_of::<tcp::Header>());
        let options = rest.get(..options_len).ok_or(Reason::NoBuffer)?;
        let (ttl, class, id, fragment) = if seg.tuple.local.is_v4() {
            let (ip, _) = ipv4::Header::ref_from_prefix(packet).map_err(|_| Reason::NoBuffer)?;
            (ip.ttl, ip.tos, ip.id.get(), ip.fragment.get())
        } else {
            let (ip, _) = ipv6::Header::ref_from_prefix(packet).map_err(|_| Reason::NoBuffer)?;
            let class = (ip.version_class_flow.get() >> 20) as u8;
            (ip.hop_limit, class, 0, DONT_FRAGMENT)
        };
        let no_ecn = rewrite.ops.has(Ops::CLEAR_ECN);
        Ok(Self {
            ttl: hop(ttl, out.hops)?,
            class: if no_ecn { class & !ECN_BITS } else { class },
            id,
            fragment: fragment & DONT_FRAGMENT,
            urgent: header.urgent.get(),
            options: new_options(options, seg, rewrite),
        })
    }

    /// Writes all headers and returns their length; the TCP checksum is still 0.
    fn write(
        &self,
        buf: &mut [u8; MOST],
        piece: &Piece,
        out: &Outward,
        rewrite: &Rewrite,
    ) -> Result<usize, Reason> {
        let header_len = size_of::<tcp::Header>().wrapping_add(self.options.len());
        let len = header_len.wrapping_add(piece.payload_len);
        let len = u16::try_from(len).map_err(|_| Reason::NoBuffer)?;
        let rest = self.write_ip(buf, out, len).ok_or(Reason::NoBuffer)?;
        let ip_end = MOST.wrapping_sub(rest.len());
        let (header, options) = tcp::Header::mut_from_prefix(rest).map_err(|_| Reason::NoBuffer)?;
        let has_ack = piece.flags.has(Flags::ACK);
        *header = tcp::Header {
            source: out.tuple.local_port.into(),
            destination: out.tuple.remote_port.into(),
            seq: piece.seq.0.into(),
            ack: if has_ack { rewrite.ack.0 } else { 0 }.into(),
            data_offset: ((header_len >> 2) as u8) << 4,
            flags: piece.flags.0,
            window: rewrite.window.into(),
            checksum: 0.into(),
            urgent: piece.urgent.into(),
        };
        let options = options.get_mut(..self.options.len()).ok_or(Reason::NoBuffer)?;
        options.copy_from_slice(&self.options);
        Ok(ip_end.wrapping_add(header_len))
    }

    fn write_ip<'a>(
        &self,
        buf: &'a mut [u8; MOST],
        out: &Outward,
        len: u16,
    ) -> Option<&'a mut [u8]> {
        let (local, remote) = (&out.tuple.local, &out.tuple.remote);
        if let (Some(source), Some(destination)) = (local.as_v4(), remote.as_v4()) {
            let rest = ethernet::write(buf, &out.link, ethernet::IPV4).ok()?;
            let (header, rest) = ipv4::Header::mut_from_prefix(rest).ok()?;
            let new = ipv4::Header {
                tos: self.class,
                ttl: self.ttl,
                id: self.id.into(),
                fragment: self.fragment.into(),
                ..ipv4::Header::new(source, destination, ip::TCP, len)
            };
            *header = new.with_checksum();
            return Some(rest);
        }
        let rest = ethernet::write(buf, &out.link, ethernet::IPV6).ok()?;
        let (header, rest) = ipv6::Header::mut_from_prefix(rest).ok()?;
        let new = ipv6::Header::new(local, remote, ip::TCP, self.ttl, len);
        let class = u32::from(self.class) << 20;
        let version_class_flow = (new.version_class_flow.get() | class).into();
        *header = ipv6::Header { version_class_flow, ..new };
        Some(rest)
    }
}

/// Timestamps and SACK as the receiver wants them, padded to words.
fn new_options(old: &[u8], seg: &Segment, rewrite: &Rewrite) -> ArrayVec<u8, 40> {
    let mut options = ArrayVec::new();
    let stamp = Timestamps { val: rewrite.ts_val, ecr: rewrite.ts_ecr };
    let keeps = rewrite.ops.has(Ops::STAMP) && seg.options.timestamps.is_some();
    // A RST needs none (RFC 7323 §3.2).
    let inserts = rewrite.ops.has(Ops::INSERT_STAMP) && !seg.flags.has(Flags::RST);
    if keeps || inserts {
        append(&mut options, &[1, 1, 8, 10]);
        append(&mut options, &stamp.val.to_be_bytes());
        append(&mut options, &stamp.ecr.to_be_bytes());
    }
    if !rewrite.ops.has(Ops::STRIP_SACK) {
        append_sack(&mut options, old, rewrite);
    }
    options
}

/// As many SACK blocks as there is room for: the first ones are the newest (RFC 2018 §4).
fn append_sack(options: &mut ArrayVec<u8, 40>, old: &[u8], rewrite: &Rewrite) {
    let Some(blocks) = find_sack(old) else { return };
    let room = options.remaining_capacity().saturating_sub(4) >> 3;
    let mut moved: ArrayVec<_, 4> = blocks
        .as_chunks::<8>()
        .0
        .iter()
        .take(room.min(4))
        .map(|[a, b, c, d, e, f, g, h]| {
            let edges =
                (u32::from_be_bytes([*a, *b, *c, *d]), u32::from_be_bytes([*e, *f, *g, *h]));
            moved(edges, rewrite)
        })
        .collect();
    moved.retain(|(left, right)| left.is_before(*right));
    if moved.is_empty() {
        return;
    }
    let len = moved.len().wrapping_mul(8).wrapping_add(2) as u8;
    append(options, &[1, 1, 5, len]);
    for (left, right) in moved {
        append(options, &left.0.to_be_bytes());
        append(options, &right.0.to_be_bytes());
    }
}

/// The blocks of the SACK option, if there is one.
fn find_sack(mut options: &[u8]) -> Option<&[u8]> {
    loop {
        options = match options {
            [] | [0, ..] | [_] => return None,
            [1, rest @ ..] => rest,
            [kind, len, ..] => {
                let (option, rest) = options.split_at_checked(usize::from((*len).max(2)))?;
                if *kind == 5 {
                    return option.get(2..);
                }
                rest
            }
        }
    }
}

fn append(options: &mut ArrayVec<u8, 40>, bytes: &[u8]) {
    // What does not fit was counted before.
    let _ = options.try_extend_from_slice(bytes);
}
