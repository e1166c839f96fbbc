//! Frames that were rewritten, against the same frames built anew.

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
    fn through(&self, out: &Outward, rewrite: &Rewrite, whole: bool) -> Result<Vec<u8>, Reason> {
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
    let options =
        (prop::option::of(any::<(u32, u32)>()), prop::collection::vec(block, 0..=3), 0..=3usize);
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
    (any::<[bool; 2]>(), vlan(), vlan()).prop_flat_map(|([v4_in, v4_out], vlan_in, vlan_out)| {
        (words(v4_in, vlan_in), outward(v4_out, vlan_out), rewrite())
    })
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
    let out = Outward { link: Link { src: OUR_MAC, dst: BACKEND_MAC, vlan: 0 }, tuple, hops: 1 };
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
    let floored = |floor| Rewrite { ops: Ops::FLOOR_SACK, sack_floor: SeqNum(floor), ..rewrite };
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
