//! From a reply to the bytes of a frame.

use zerocopy::network_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

use super::checksum::{Sum, TxChecksums};
use super::{Flags, Link, Reply, Segment, TooSmall, Tuple, ethernet, ip, ipv4, ipv6, tcp};

/// Hop limit of what we send.
const HOP_LIMIT: u8 = 64;

/// Turns the frame that `segment` was parsed from into `reply`, with `payload`, back to where it came from:
/// the frame's own source MAC. `buf` is the whole writable room of the frame. Returns the new length.
///
/// # Errors
/// When there is no room for it; `buf` then holds nothing useful.
#[inline]
pub fn answer_in_place(
    buf: &mut [u8],
    segment: &Segment,
    reply: &Reply,
    payload: &[u8],
    checksums: TxChecksums,
) -> Result<usize, TooSmall> {
    let (header, _) = ethernet::Header::ref_from_prefix(buf).map_err(|_| TooSmall)?;
    let link = Link { src: header.dst, dst: header.src, vlan: segment.tuple.vlan };
    emit(buf, &link, &segment.tuple, reply, payload, checksums)
}

/// Writes `reply` from `tuple.local` to `tuple.remote`, with `payload`, into `buf`; returns the frame's
/// length. `payload` counts, not `reply.payload_len`. Short frames are not padded: that is the port's work.
///
/// # Errors
/// When there is no room for it; `buf` then holds nothing useful.
#[inline]
pub fn emit(
    buf: &mut [u8],
    link: &Link,
    tuple: &Tuple,
    reply: &Reply,
    payload: &[u8],
    checksums: TxChecksums,
) -> Result<usize, TooSmall> {
    let (options, words) = tcp::write_options(&reply.options);
    let options = options.get(..words).unwrap_or_default().as_bytes();
    let tcp_len = options.len().wrapping_add(size_of::<tcp::Header>()).wrapping_add(payload.len());
    let tcp_len16 = u16::try_from(tcp_len).map_err(|_| TooSmall)?;
    let room = buf.len();
    let rest = write_ip(buf, link, tuple, tcp_len16, checksums)?;
    let frame_len = room.wrapping_sub(rest.len()).wrapping_add(tcp_len);
    let segment = rest.get_mut(..tcp_len).ok_or(TooSmall)?;
    let (header, rest) = tcp::Header::mut_from_prefix(segment).map_err(|_| TooSmall)?;
    let (option_room, payload_room) = rest.split_at_mut_checked(options.len()).ok_or(TooSmall)?;
    option_room.copy_from_slice(options);
    payload_room.copy_from_slice(payload);
    *header = tcp_header(tuple, reply, words);
    let pseudo = Sum::pseudo(&tuple.local, &tuple.remote, ip::TCP, tcp_len16);
    header.checksum = if checksums.l4 {
        pseudo.partial()
    } else {
        pseudo.bytes(header.as_bytes()).bytes(options).bytes(payload).checksum()
    };
    Ok(frame_len)
}

/// The lengths of the headers of layers 2 and 3 of a frame for `tuple`: what a port must be told that
/// completes checksums.
#[must_use]
pub fn header_lens(tuple: &Tuple) -> (usize, usize) {
    let ip =
        if tuple.local.is_v4() { size_of::<ipv4::Header>() } else { size_of::<ipv6::Header>() };
    (ethernet::len(tuple.vlan), ip)
}

/// Writes envelope and IP header and returns the room behind them.
#[inline]
fn write_ip<'a>(
    buf: &'a mut [u8],
    link: &Link,
    tuple: &Tuple,
    payload_len: u16,
    checksums: TxChecksums,
) -> Result<&'a mut [u8], TooSmall> {
    if let (Some(local), Some(remote)) = (tuple.local.as_v4(), tuple.remote.as_v4()) {
        let rest = ethernet::write(buf, link, ethernet::IPV4)?;
        let (header, rest) = ipv4::Header::mut_from_prefix(rest).map_err(|_| TooSmall)?;
        let new = ipv4::Header::new(local, remote, ip::TCP, payload_len);
        *header = if checksums.ip { new } else { new.with_checksum() };
        return Ok(rest);
    }
    let rest = ethernet::write(buf, link, ethernet::IPV6)?;
    let (header, rest) = ipv6::Header::mut_from_prefix(rest).map_err(|_| TooSmall)?;
    *header = ipv6::Header::new(&tuple.local, &tuple.remote, ip::TCP, HOP_LIMIT, payload_len);
    Ok(rest)
}

/// The TCP header, its checksum still 0.
#[inline]
fn tcp_header(tuple: &Tuple, reply: &Reply, option_words: usize) -> tcp::Header {
    let has_ack = reply.flags.has(Flags::ACK);
    tcp::Header {
        source: tuple.local_port.into(),
        destination: tuple.remote_port.into(),
        seq: reply.seq.0.into(),
        ack: if has_ack { reply.ack.0.into() } else { U32::ZERO },
        data_offset: (5u8).wrapping_add(option_words as u8) << 4,
        flags: reply.flags.0,
        window: reply.window.into(),
        checksum: 0.into(),
        urgent: 0.into(),
    }
}
