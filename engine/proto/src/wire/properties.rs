//! Properties that hold for all frames, with etherparse as a second opinion.

use std::net::{IpAddr, SocketAddr};
use std::vec::Vec;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::cause::Reason;
use crate::testing::{
    CLIENT_MAC, Envelope, OUR_MAC, advertise, arp, echo, icmp_error, port, read_tcp, solicit, tcp,
};

/// Reads a frame in both ways, which agree wherever the quick one reads it at all.
fn parse(frame: &[u8], port: &PortView, checksums: RxChecksums) -> Result<Parsed, Reason> {
    for known in [checksums, GOOD] {
        if let Some(segment) = parse_plain(frame, port, known) {
            assert_eq!(super::parse(frame, port, known), Ok(Parsed::Tcp(segment)));
        }
    }
    super::parse(frame, port, checksums)
}

/// An address that a host can have.
fn host(is_v4: bool) -> BoxedStrategy<IpAddr> {
    if is_v4 {
        let v4 = any::<[u8; 4]>().prop_filter("a host", |a| ipv4::is_host(*a));
        v4.prop_map(IpAddr::from).boxed()
    } else {
        let v6 = any::<[u8; 16]>().prop_filter("a host", |a| ipv6::is_host(&Addr(*a)));
        v6.prop_map(IpAddr::from).boxed()
    }
}

fn tuple() -> impl Strategy<Value = Tuple> {
    let ends = any::<bool>().prop_flat_map(|is_v4| (host(is_v4), host(is_v4)));
    let rest = (1..=u16::MAX, 1..=u16::MAX, prop_oneof![Just(0u16), 1..4095u16]);
    (ends, rest).prop_filter_map(
        "two hosts",
        |((remote, local), (remote_port, local_port, vlan))| {
            let (remote, local) = (Addr::from(remote), Addr::from(local));
            let tuple = Tuple { remote, local, remote_port, local_port, vlan, port: 0 };
            (remote != local).then_some(tuple)
        },
    )
}

fn timestamps() -> impl Strategy<Value = Option<Timestamps>> {
    prop::option::of(any::<(u32, u32)>().prop_map(|(val, ecr)| Timestamps { val, ecr }))
}

/// A segment as the engine sends them: options of a SYN on a SYN only.
fn reply() -> impl Strategy<Value = Reply> {
    let flags = prop_oneof![
        Just(Flags::SYN | Flags::ACK),
        Just(Flags::SYN | Flags::ACK | Flags::ECE),
        Just(Flags::ACK),
        Just(Flags::ACK | Flags::PSH | Flags::FIN),
        Just(Flags::RST),
        Just(Flags::RST | Flags::ACK),
    ];
    let syn = (prop::option::of(1..=u16::MAX), prop::option::of(0..=14u8), any::<bool>());
    (flags, any::<(u32, u32, u16)>(), syn, timestamps()).prop_map(
        |(flags, (seq, ack, window), (mss, window_scale, sack_permitted), timestamps)| {
            let options = if flags.has(Flags::SYN) {
                ReplyOptions { mss, window_scale, sack_permitted, timestamps }
            } else {
                ReplyOptions { timestamps, ..ReplyOptions::default() }
            };
            let ack = if flags.has(Flags::ACK) { ack } else { 0 };
            let (seq, ack) = (SeqNum(seq), SeqNum(ack));
            Reply { seq, ack, flags, window, options, ..Reply::default() }
        },
    )
}

/// A received frame of any kind that we look into, sound.
fn sound_frame() -> impl Strategy<Value = Vec<u8>> {
    let sent4 = tcp().from("10.0.0.2:80").to("10.9.9.9:4000").ack(77, 1).build();
    let sent6 = tcp().from("[fd00::2]:80").to("[fd00::9]:4000").ack(78, 1).build();
    let v6 = || tcp().from("[fd00::1]:40000").to("[fd00::2]:80");
    let pad = [0, 1, 4, 0, 0, 0, 0];
    let frames = Vec::from([
        tcp().syn(9).linux(1460, 5, 7).build(),
        tcp().ack(9, 8).option(&[1, 1]).timestamps(3, 4).payload(b"GET / HTTP/1.0").build(),
        tcp().syn(9).mss(1460).ip_options(&[148, 4, 0, 0]).vlan(0).build(),
        v6().syn(9).linux(1440, 5, 7).build(),
        v6().extension(0, &pad).extension(60, &pad).ack(1, 1).payload(b"x").build(),
        arp().build(),
        arp().reply_to(OUR_MAC).build(),
        solicit("fd00::2").build(),
        advertise("fd00::9").build(),
        echo().build(),
        echo().from("fd00::1").to("fd00::2").build(),
        icmp_error(3, 4, &sent4).build(),
        icmp_error(2, 0, &sent6).build(),
    ]);
    prop::sample::select(frames)
}

/// What etherparse makes of the TCP segment in `frame`.
fn second_opinion(frame: &[u8]) -> Option<(SocketAddr, SocketAddr, u32, u32, u16, Vec<u8>)> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let (from, to): (IpAddr, IpAddr) = match packet.net? {
        NetSlice::Ipv4(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        NetSlice::Ipv6(ip) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        NetSlice::Arp(_) => return None,
    };
    let TransportSlice::Tcp(tcp) = packet.transport? else { return None };
    Some((
        SocketAddr::new(from, tcp.source_port()),
        SocketAddr::new(to, tcp.destination_port()),
        tcp.sequence_number(),
        tcp.acknowledgment_number(),
        tcp.window_size(),
        tcp.payload().to_vec(),
    ))
}

/// What we make of it, in the same words.
fn our_opinion(
    frame: &[u8],
    segment: &Segment,
) -> (SocketAddr, SocketAddr, u32, u32, u16, Vec<u8>) {
    let at = usize::from(segment.payload_offset);
    (
        SocketAddr::new(segment.tuple.remote.into(), segment.tuple.remote_port),
        SocketAddr::new(segment.tuple.local.into(), segment.tuple.local_port),
        segment.seq.0,
        segment.ack.0,
        segment.window,
        frame[at..at + usize::from(segment.payload_len)].to_vec(),
    )
}

const GOOD: RxChecksums = RxChecksums { ip: Checked::Good, l4: Checked::Good };
const SOFTWARE: TxChecksums = TxChecksums { ip: false, l4: false };

/// The port of a client whose frames we send.
fn their_port(tuple: &Tuple) -> PortView {
    PortView { mac: CLIENT_MAC, vlan: tuple.vlan, index: tuple.port }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Any bytes, and any bytes behind a header that gets them past the door, never panic.
    #[test]
    fn any_bytes_are_parsed_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        ethertype in prop::sample::select(&[0x0800u16, 0x86dd, 0x0806, 0x8100][..]),
    ) {
        let _ = parse(&bytes, &port(), RxChecksums::default());
        let mut frame = [OUR_MAC.0, CLIENT_MAC.0].concat();
        frame.extend(ethertype.to_be_bytes());
        frame.extend(&bytes);
        let _ = parse(&frame, &port(), GOOD);
    }

    /// The frames that the next property mangles are good to begin with.
    #[test]
    fn sound_frames_are_taken(frame in sound_frame()) {
        let parsed = parse(&frame, &port(), RxChecksums::default());
        prop_assert!(parsed.is_ok());
        if let Ok(Parsed::Tcp(segment)) = parsed {
            prop_assert_eq!(our_opinion(&frame, &segment), second_opinion(&frame).unwrap());
        }
    }

    /// Sound frames with a few bytes changed and the end cut off get deeper. What is still taken for a
    /// segment, etherparse must see the same way, and it must be answerable.
    #[test]
    fn what_is_taken_of_a_mangled_frame_is_what_etherparse_sees(
        mut frame in sound_frame(),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<Index>()),
    ) {
        for (at, byte) in changes {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        frame.truncate(cut.map_or(frame.len(), |cut| cut.index(frame.len())));
        if let Ok(Parsed::Tcp(segment)) = parse(&frame, &port(), GOOD) {
            let ours = our_opinion(&frame, &segment);
            // Etherparse does not know routing headers that need no routing, and the like.
            if let Some(theirs) = second_opinion(&frame) {
                prop_assert_eq!(ours, theirs);
            }
            let mut room = frame.clone();
            room.resize(2048, 0);
            let reply = Reply { flags: Flags::RST, ..Reply::default() };
            let len = answer_in_place(&mut room, &segment, &reply, &[], SOFTWARE).unwrap();
            prop_assert_eq!(read_tcp(&room[..len]).tuple(), segment.tuple);
        }
    }

    /// What is written is read back as it was meant, by us, by the slow reader and by etherparse.
    #[test]
    fn parse_after_emit_is_the_identity(
        tuple in tuple(),
        reply in reply(),
        payload in prop::collection::vec(any::<u8>(), 0..1500),
    ) {
        let link = Link { src: OUR_MAC, dst: CLIENT_MAC, vlan: tuple.vlan };
        let mut buf = [0xee; 2048];
        let len = emit(&mut buf, &link, &tuple, &reply, &payload, SOFTWARE).unwrap();
        let frame = &buf[..len];
        let Ok(Parsed::Tcp(segment)) = parse(frame, &their_port(&tuple), RxChecksums::default())
        else { panic!("a segment") };
        let ReplyOptions { mss, window_scale, sack_permitted, timestamps } = reply.options;
        let mirrored = Tuple {
            remote: tuple.local,
            local: tuple.remote,
            remote_port: tuple.local_port,
            local_port: tuple.remote_port,
            ..tuple
        };
        let lens = header_lens(&tuple);
        prop_assert_eq!(segment, Segment {
            ce: false,
            tuple: mirrored,
            seq: reply.seq,
            ack: reply.ack,
            flags: reply.flags,
            window: reply.window,
            options: Options { mss, window_scale, sack_permitted, timestamps },
            header_len: (len - payload.len() - lens.0 - lens.1) as u8,
            payload_offset: (len - payload.len()) as u16,
            payload_len: payload.len() as u16,
        });
        let slow = read_tcp(frame);
        prop_assert_eq!((slow.mss, slow.window_scale), (mss, window_scale));
        prop_assert_eq!((slow.sack_permitted, slow.timestamps), (sack_permitted, timestamps));
        prop_assert_eq!((slow.tuple(), &slow.payload), (tuple, &payload));
        prop_assert_eq!(our_opinion(frame, &segment), second_opinion(frame).unwrap());
    }

    /// A buffer one byte too short is refused, whatever is in it.
    #[test]
    fn emit_never_writes_beyond_the_room(tuple in tuple(), reply in reply(), short in 0usize..100) {
        let link = Link { vlan: tuple.vlan, ..Link::default() };
        let mut buf = [0; 256];
        let len = emit(&mut buf, &link, &tuple, &reply, b"answer", SOFTWARE).unwrap();
        let room = &mut buf[..len.saturating_sub(1 + short)];
        prop_assert_eq!(emit(room, &link, &tuple, &reply, b"answer", SOFTWARE), Err(TooSmall));
    }

    /// The port completes what we began: adding the segment to the partial sum gives the checksum.
    #[test]
    fn offloaded_checksums_are_completed_by_the_port(tuple in tuple(), reply in reply()) {
        let link = Link { vlan: tuple.vlan, ..Link::default() };
        let (mut ours, mut theirs) = ([0; 256], [0; 256]);
        let len = emit(&mut ours, &link, &tuple, &reply, b"odd", SOFTWARE).unwrap();
        let offload = TxChecksums { ip: true, l4: true };
        emit(&mut theirs, &link, &tuple, &reply, b"odd", offload).unwrap();
        let (l2, l3) = header_lens(&tuple);
        let sum = crate::testing::slow_checksum(&theirs[l2 + l3..len]);
        theirs[l2 + l3 + 16..][..2].copy_from_slice(&sum.to_be_bytes());
        if tuple.local.is_v4() {
            let sum = crate::testing::slow_checksum(&theirs[l2..l2 + l3]);
            theirs[l2 + 10..][..2].copy_from_slice(&sum.to_be_bytes());
        }
        prop_assert_eq!(ours, theirs);
    }
}
