//! From a reply to the bytes of a frame.

use zerocopy::FromBytes;
use zerocopy::network_endian::U32;

use super::checksum::{Numbers, Sum, TxChecksums};
use super::ethernet::Stations;
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
    let back = Stations::back(buf)?;
    write(buf, back, segment.tuple.vlan, &segment.tuple, reply, payload, checksums)
}

/// Writes `reply` from `tuple.local` to `tuple.remote`, with `payload`, into `buf`; returns the frame's
/// length. `payload` counts, not `reply.payload_len`. Short frames are not padded: that is for who sends them.
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
    write(buf, Stations::of(link), link.vlan, tuple, reply, payload, checksums)
}

/// What both do.
#[inline]
fn write(
    buf: &mut [u8],
    stations: Stations,
    vlan: u16,
    tuple: &Tuple,
    reply: &Reply,
    payload: &[u8],
    checksums: TxChecksums,
) -> Result<usize, TooSmall> {
    let words = tcp::option_words(&reply.options);
    let header_len = size_of::<tcp::Header>().wrapping_add(words.wrapping_mul(4));
    let tcp_len = header_len.wrapping_add(payload.len());
    let tcp_len16 = u16::try_from(tcp_len).map_err(|_| TooSmall)?;
    let room = buf.len();
    let (rest, addresses) = write_ip(buf, (stations, vlan), tuple, tcp_len16, checksums)?;
    let frame_len = room.wrapping_sub(rest.len()).wrapping_add(tcp_len);
    let segment = rest.get_mut(..tcp_len).ok_or(TooSmall)?;
    let (head, payload_room) = segment.split_at_mut_checked(header_len).ok_or(TooSmall)?;
    let (header, options) = tcp::Header::mut_from_prefix(head).map_err(|_| TooSmall)?;
    let options = tcp::write_options(options.as_chunks_mut().0, &reply.options);
    let pseudo = Numbers::ZERO.word(u16::from(ip::TCP)).word(tcp_len16);
    let mut new = tcp_header(tuple, reply, words);
    new.checksum = if checksums.l4 {
        addresses.numbers(pseudo).partial()
    } else {
        addresses.numbers(pseudo.and(new.sum()).and(options)).bytes(payload).checksum()
    };
    *header = new;
    if !payload.is_empty() {
        payload_room.copy_from_slice(payload);
    }
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

/// Writes envelope and IP header and returns the room behind them, and the sum of the addresses.
#[inline]
fn write_ip<'a>(
    buf: &'a mut [u8],
    (stations, vlan): (Stations, u16),
    tuple: &Tuple,
    payload_len: u16,
    checksums: TxChecksums,
) -> Result<(&'a mut [u8], Sum), TooSmall> {
    if let (Some(local), Some(remote)) = (tuple.local.as_v4(), tuple.remote.as_v4()) {
        let rest = ethernet::write_between(buf, stations, vlan, ethernet::IPV4)?;
        let (header, rest) = ipv4::Header::mut_from_prefix(rest).map_err(|_| TooSmall)?;
        let new = ipv4::Header::new(local, remote, ip::TCP, payload_len);
        *header = if checksums.ip { new } else { new.with_checksum() };
        let addresses = Numbers::ZERO.dword(u32::from_be_bytes(local));
        return Ok((rest, Sum::ZERO.numbers(addresses.dword(u32::from_be_bytes(remote)))));
    }
    let rest = ethernet::write_between(buf, stations, vlan, ethernet::IPV6)?;
    let (header, rest) = ipv6::Header::mut_from_prefix(rest).map_err(|_| TooSmall)?;
    *header = ipv6::Header::new(&tuple.local, &tuple.remote, ip::TCP, HOP_LIMIT, payload_len);
    Ok((rest, Sum::ZERO.addr(&tuple.local).addr(&tuple.remote)))
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

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    use super::*;
    use crate::testing::{CLIENT_MAC, Envelope, OUR_MAC, TcpFrame, TcpRead, port, read_tcp, tcp};
    use crate::wire::{
        Options, Parsed, PortView, ReplyOptions, RxChecksums, SeqNum, Timestamps, parse,
    };

    /// The SYN-ACK to `syn`, made in its own buffer of `room` bytes.
    fn answer(syn: TcpFrame, vlan: u16, reply: &Reply) -> TcpRead {
        let mut frame = syn.build();
        let port = PortView { vlan, ..port() };
        let Ok(Parsed::Tcp(segment)) = parse(&frame, &port, RxChecksums::default()) else {
            panic!("a SYN");
        };
        frame.resize(2048, 0xee);
        let checksums = TxChecksums::default();
        let len = answer_in_place(&mut frame, &segment, reply, &[], checksums).unwrap();
        read_tcp(&frame[..len])
    }

    fn syn_ack() -> Reply {
        let stamps = Timestamps { val: 9, ecr: 5 };
        Reply {
            seq: SeqNum(100),
            ack: SeqNum(8),
            flags: Flags::SYN | Flags::ACK,
            window: 29200,
            options: ReplyOptions {
                mss: Some(1460),
                window_scale: Some(7),
                sack_permitted: true,
                timestamps: Some(stamps),
            },
            ..Reply::default()
        }
    }

    #[test]
    fn an_answer_goes_back_where_the_question_came_from() {
        let read = answer(tcp().syn(7).linux(1460, 5, 8), 0, &syn_ack());
        assert_eq!((read.src_mac, read.dst_mac, read.vlan), (OUR_MAC, CLIENT_MAC, None));
        assert_eq!(read.from, "10.0.0.2:80".parse().unwrap());
        assert_eq!(read.to, "10.0.0.1:40000".parse().unwrap());
        assert_eq!((read.seq, read.ack, read.flags), (100, 8, Flags::SYN | Flags::ACK));
        assert_eq!((read.mss, read.window_scale, read.sack_permitted), (Some(1460), Some(7), true));
    }

    /// RFC 3168 §6.1.1: never ECT on a SYN-ACK. RFC 6864 §4.1: DF, so any identification will do.
    #[test]
    fn ip_headers_are_plain_whatever_the_question_had() {
        let read = answer(tcp().syn(7).tos(0x03).ttl(1).ip_options(&[148, 4, 0, 0]), 0, &syn_ack());
        assert_eq!((read.tos, read.ttl, read.dont_fragment, read.id), (0, 64, true, 0));
        let v6 = tcp().from("[fd00::1]:9").to("[fd00::2]:80").syn(7).tos(0x02);
        let read = answer(v6.extension(60, &[0, 1, 4, 0, 0, 0, 0]), 0, &syn_ack());
        assert_eq!((read.tos, read.ttl), (0, 64));
        assert_eq!(read.to, "[fd00::1]:9".parse().unwrap());
    }

    #[test]
    fn answers_keep_the_vlan_and_lose_an_empty_tag() {
        assert_eq!(answer(tcp().syn(7).tag(0x8100, 0x2005), 5, &syn_ack()).vlan, Some(5));
        assert_eq!(answer(tcp().syn(7).vlan(0), 0, &syn_ack()).vlan, None);
    }

    /// RFC 9293 §3.1: the acknowledgement number means something only with ACK.
    #[test]
    fn without_ack_the_number_is_zero() {
        let reply = Reply { flags: Flags::RST, ..syn_ack() };
        let reply = Reply { options: ReplyOptions::default(), ..reply };
        assert_eq!(answer(tcp().syn(7), 0, &reply).ack, 0);
    }

    /// A frame of a SYN-ACK with all options, byte by byte.
    #[test]
    fn golden_syn_ack() {
        let tuple = match parse(&tcp().syn(7).build(), &port(), RxChecksums::default()) {
            Ok(Parsed::Tcp(segment)) => segment.tuple,
            other => panic!("{other:?}"),
        };
        let link = Link { src: OUR_MAC, dst: CLIENT_MAC, vlan: 0 };
        let mut buf = [0; 128];
        let checksums = TxChecksums::default();
        let len = emit(&mut buf, &link, &tuple, &syn_ack(), &[], checksums).unwrap();
        insta::assert_snapshot!(hex(&buf[..len]), @"
        02 00 00 00 00 01 02 00 00 00 00 02 08 00 45 00
        00 3c 00 00 40 00 40 06 26 ba 0a 00 00 02 0a 00
        00 01 00 50 9c 40 00 00 00 64 00 00 00 08 a0 12
        72 10 24 d3 00 00 02 04 05 b4 04 02 08 0a 00 00
        00 09 00 00 00 05 01 03 03 07
        ");
    }

    /// Sixteen bytes a line.
    fn hex(bytes: &[u8]) -> String {
        let words = |line: &[u8]| line.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>();
        let lines: Vec<_> = bytes.chunks(16).map(|line| words(line).join(" ")).collect();
        lines.join("\n")
    }

    #[test]
    fn all_options_fit_whatever_their_combination() {
        for bits in 0..16u8 {
            let has = |bit: u8| bits & (1 << bit) != 0;
            let options = ReplyOptions {
                mss: has(0).then_some(536),
                window_scale: has(1).then_some(14),
                sack_permitted: has(2),
                timestamps: has(3).then_some(Timestamps { val: 1, ecr: 2 }),
            };
            let read = answer(tcp().syn(7), 0, &Reply { options, ..syn_ack() });
            let got = Options {
                mss: read.mss,
                window_scale: read.window_scale,
                sack_permitted: read.sack_permitted,
                timestamps: read.timestamps,
            };
            let ReplyOptions { mss, window_scale, sack_permitted, timestamps } = options;
            assert_eq!(got, Options { mss, window_scale, sack_permitted, timestamps });
        }
    }
}
