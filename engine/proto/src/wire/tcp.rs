//! TCP headers and options (RFC 9293 §3.1, §3.2).

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::{Checked, Numbers};
use super::ip::Datagram;
use super::parse::Parsed;
use super::{Flags, Options, PortView, ReplyOptions, Segment, SeqNum, Timestamps, Tuple};
use crate::cause::Reason;

/// The header without options.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    /// Source port.
    pub source: U16,
    /// Destination port.
    pub destination: U16,
    /// Sequence number.
    pub seq: U32,
    /// Acknowledgement number.
    pub ack: U32,
    /// Data offset in words, in the upper four bits.
    pub data_offset: u8,
    /// Control bits.
    pub flags: u8,
    /// Window.
    pub window: U16,
    /// Checksum of pseudo-header, header and payload.
    pub checksum: U16,
    /// Urgent pointer.
    pub urgent: U16,
}

const _: () = assert!(size_of::<Header>() == 20);

impl Header {
    /// The sum of all fields but the checksum, from the values and not from bytes just written.
    #[must_use]
    pub const fn sum(&self) -> Numbers {
        Numbers::ZERO
            .word(self.source.get())
            .word(self.destination.get())
            .dword(self.seq.get())
            .dword(self.ack.get())
            .word(u16::from_be_bytes([self.data_offset, self.flags]))
            .word(self.window.get())
            .word(self.urgent.get())
    }
}

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// RFC 7323 §2.3: a larger shift is read as this.
const MAX_WINDOW_SCALE: u8 = 14;

/// Reads a segment and verifies all that can be known without the flow.
#[inline]
pub(super) fn parse(
    datagram: Datagram<'_>,
    port: &PortView,
    checked: Checked,
) -> Result<Parsed, Reason> {
    if datagram.is_to_group() {
        return Err(Reason::GroupAddressed);
    }
    datagram.check_source()?;
    let segment = datagram.payload;
    let (header, _) = Header::ref_from_prefix(segment).map_err(|_| Reason::BadTcpHeader)?;
    let header_len = usize::from(header.data_offset >> 4).wrapping_mul(4);
    let (head, payload) = segment.split_at_checked(header_len).ok_or(Reason::BadTcpHeader)?;
    let options = head.get(size_of::<Header>()..).ok_or(Reason::BadTcpHeader)?;
    let sound = match checked {
        Checked::Good | Checked::Unfinished => true,
        Checked::Bad => false,
        Checked::Unknown => datagram.is_sound(),
    };
    if !sound {
        return Err(Reason::BadTcpChecksum);
    }
    if header.source.get() == 0 || header.destination.get() == 0 {
        return Err(Reason::ZeroPort);
    }
    let flags = Flags(header.flags);
    Ok(Parsed::Tcp(Segment {
        tuple: Tuple {
            remote: datagram.header.source(),
            local: datagram.header.destination(),
            remote_port: header.source.get(),
            local_port: header.destination.get(),
            vlan: port.vlan,
            port: port.index,
        },
        seq: SeqNum(header.seq.get()),
        ack: SeqNum(header.ack.get()),
        flags,
        window: header.window.get(),
        options: parse_options(options, flags.has(Flags::SYN))?,
        ce: datagram.header.is_marked(),
        // A header is at most 60 bytes and a packet at most 65535.
        header_len: header_len as u8,
        payload_offset: datagram.offset.saturating_add(header_len as u16),
        payload_len: payload.len() as u16,
    }))
}

/// The options of a segment; see `walk_options` for what counts.
#[inline]
fn parse_options(bytes: &[u8], is_syn: bool) -> Result<Options, Reason> {
    match usual_options(bytes, is_syn) {
        Some(options) => Ok(options),
        None => walk_options(bytes, is_syn),
    }
}

/// The options of a segment that has one of the layouts that nearly all have, recognised whole: none,
/// timestamps alone or before SACK blocks, Linux's SYN. Compared as words; as bytes each would be a branch. Inlined for certain, as
/// what is returned would be written in pieces and copied whole.
#[inline(always)]
pub(super) fn usual_options(bytes: &[u8], is_syn: bool) -> Option<Options> {
    const ALIGNED_TIMESTAMPS: u32 = u32::from_be_bytes([NOP, NOP, TIMESTAMPS, 10]);
    const SACK_AND_TIMESTAMPS: u32 = u32::from_be_bytes([SACK_PERMITTED, 2, TIMESTAMPS, 10]);
    const ALIGNED_SACK: u32 = u32::from_be_bytes([NOP, NOP, SACK, 0]);
    const MSS_AND_LEN: u32 = u32::from_be_bytes([MSS, 4, 0, 0]);
    const SCALE: u32 = u32::from_be_bytes([NOP, WINDOW_SCALE, 3, 0]);
    let word = u32::from_be_bytes;
    match *bytes.as_chunks().0 {
        [] => Some(Options::default()),
        [kinds, val, ecr] if word(kinds) == ALIGNED_TIMESTAMPS => {
            Some(Options { timestamps: Some(timestamps(val, ecr)), ..Options::default() })
        }
        [kinds, val, ecr, sack, ref blocks @ ..]
            if word(kinds) == ALIGNED_TIMESTAMPS
                && word(sack) == ALIGNED_SACK | sack_len(blocks) =>
        {
            Some(Options { timestamps: Some(timestamps(val, ecr)), ..Options::default() })
        }
        [first, second, val, ecr, last]
            if is_syn
                && word(first) & 0xffff_0000 == MSS_AND_LEN
                && word(second) == SACK_AND_TIMESTAMPS
                && word(last) & 0xffff_ff00 == SCALE =>
        {
            let [.., m, n] = first;
            let [.., shift] = last;
            Some(Options {
                mss: mss(m, n),
                window_scale: Some(shift.min(MAX_WINDOW_SCALE)),
                sack_permitted: true,
                timestamps: Some(timestamps(val, ecr)),
            })
        }
        _ => None,
    }
}

/// The length of a SACK option with these words of blocks.
#[inline(always)]
const fn sack_len(blocks: &[[u8; 4]]) -> u32 {
    (blocks.len() as u32).wrapping_mul(4).wrapping_add(2)
}

/// Walks the options one by one. Unknown ones and known ones of an unknown length are skipped; an option
/// that runs out of the header spoils the segment (RFC 9293 §3.1, MUST-7). MSS, window scale and
/// SACK-permitted count in a SYN only.
#[inline(never)]
fn walk_options(mut bytes: &[u8], is_syn: bool) -> Result<Options, Reason> {
    let mut options = Options::default();
    loop {
        bytes = match *bytes {
            [] | [END, ..] => return Ok(options),
            [NOP, ref rest @ ..] => rest,
            [kind, len @ 2..=u8::MAX, ..] => {
                let (option, rest) =
                    bytes.split_at_checked(len.into()).ok_or(Reason::BadTcpHeader)?;
                take_option(&mut options, (kind, option), is_syn);
                rest
            }
            [..] => return Err(Reason::BadTcpHeader),
        }
    }
}

fn take_option(options: &mut Options, option: (u8, &[u8]), is_syn: bool) {
    match option {
        (MSS, &[_, _, m, n]) if is_syn => options.mss = mss(m, n),
        (WINDOW_SCALE, &[_, _, shift]) if is_syn => {
            options.window_scale = Some(shift.min(MAX_WINDOW_SCALE));
        }
        (SACK_PERMITTED, &[_, _]) if is_syn => options.sack_permitted = true,
        (TIMESTAMPS, &[_, _, a, b, c, d, e, f, g, h]) => {
            options.timestamps = Some(timestamps([a, b, c, d], [e, f, g, h]));
        }
        _ => {}
    }
}

/// An MSS of 0 says nothing and counts as absent.
fn mss(m: u8, n: u8) -> Option<u16> {
    Some(u16::from_be_bytes([m, n])).filter(|mss| *mss != 0)
}

fn timestamps(val: [u8; 4], ecr: [u8; 4]) -> Timestamps {
    Timestamps { val: u32::from_be_bytes(val), ecr: u32::from_be_bytes(ecr) }
}

/// How many words [`write_options`] writes.
#[inline]
pub(super) fn option_words(options: &ReplyOptions) -> usize {
    let has = |is: bool| usize::from(is);
    let ts = options.timestamps.is_some();
    has(options.mss.is_some())
        .wrapping_add(has(options.sack_permitted || ts))
        .wrapping_add(if ts { 2 } else { 0 })
        .wrapping_add(has(options.window_scale.is_some()))
}

/// Writes the options of a segment we send, word by word into the beginning of `room`, and sums them.
///
/// The order is Linux's, which every middlebox has seen: MSS, SACK-permitted, timestamps, window scale.
#[inline]
pub(super) fn write_options(room: &mut [[u8; 4]], options: &ReplyOptions) -> Numbers {
    let mut slots = room.iter_mut();
    let mut sum = Numbers::ZERO;
    let mut put = |word: [u8; 4]| {
        if let Some(slot) = slots.next() {
            *slot = word;
            sum = sum.dword(u32::from_be_bytes(word));
        }
    };
    if let Some(mss) = options.mss {
        let [m, n] = mss.to_be_bytes();
        put([MSS, 4, m, n]);
    }
    match (options.sack_permitted, options.timestamps) {
        (true, Some(_)) => put([SACK_PERMITTED, 2, TIMESTAMPS, 10]),
        (true, None) => put([NOP, NOP, SACK_PERMITTED, 2]),
        (false, Some(_)) => put([NOP, NOP, TIMESTAMPS, 10]),
        (false, None) => {}
    }
    if let Some(Timestamps { val, ecr }) = options.timestamps {
        put(val.to_be_bytes());
        put(ecr.to_be_bytes());
    }
    if let Some(shift) = options.window_scale {
        put([NOP, WINDOW_SCALE, 3, shift]);
    }
    sum
}
