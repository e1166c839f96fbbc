//! Questions that neighbours ask and what they get, read back by a second, slow reader.

use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::testing::{
    self, CLIENT_MAC, Envelope, OUR_MAC, addr, advertise, arp, echo, port, read_arp, read_icmp, tcp,
};
use crate::wire::{RxChecksums, parse};

/// Another station than the one that speaks for itself: a bridge or a proxy.
const RELAY: Mac = Mac([2, 0, 0, 0, 0, 9]);

/// Our addresses: two own ones and two VIPs.
fn ours(candidate: &Addr) -> bool {
    ["10.0.0.2", "10.0.0.80", "fd00::2", "fd00::80"].iter().any(|ours| addr(ours) == *candidate)
}

/// Answers `frame` in a buffer of `room` bytes; returns the outcome and the answer.
fn answer_in(frame: &[u8], port: &PortView, room: usize) -> (Outcome, Vec<u8>) {
    let parsed = parse(frame, port, RxChecksums::default()).expect("a frame for us");
    let mut buf = frame.to_vec();
    buf.resize(room.max(frame.len()), 0xee);
    let outcome = answer(&parsed, &mut buf, port, ours);
    buf.truncate(outcome.len);
    (outcome, buf)
}

fn answered(frame: &[u8]) -> (Outcome, Vec<u8>) {
    let (outcome, reply) = answer_in(frame, &port(), 256);
    assert_eq!(outcome.verdict, Verdict::Reflect);
    (outcome, reply)
}

/// What becomes of a frame that is not answered, and what it taught.
fn unanswered(frame: &[u8]) -> (Verdict, Option<Lesson>) {
    let (outcome, reply) = answer_in(frame, &port(), 256);
    assert_eq!(reply.len(), 0);
    (outcome.verdict, outcome.lesson)
}

fn lesson(who: &str, mac: Mac, confirms: bool, overrides: bool) -> Option<Lesson> {
    Some(Lesson { addr: addr(who), mac: Some(mac), confirms, overrides })
}

/// RFC 826: the answer goes to who asked, from our MAC; for own addresses and VIPs.
#[test]
fn arp_requests_for_our_addresses_are_answered() {
    for target in ["10.0.0.2", "10.0.0.80"] {
        let (outcome, reply) = answered(&arp().target(target).padding(18).build());
        let reply = read_arp(&reply);
        assert_eq!((reply.op, reply.src_mac, reply.dst_mac), (2, OUR_MAC, CLIENT_MAC));
        assert_eq!(reply.sender, (OUR_MAC, target.parse().unwrap()));
        assert_eq!(reply.target, (CLIENT_MAC, "10.0.0.1".parse().unwrap()));
        assert_eq!(outcome.lesson, lesson("10.0.0.1", CLIENT_MAC, false, true));
    }
    assert_eq!(
        unanswered(&arp().target("10.0.0.3").build()),
        (Verdict::Drop(Reason::OtherAddress), None)
    );
}

/// RFC 5227 §2.1.1: a probe says 0.0.0.0; its answer makes the prober give up, and it teaches nothing.
#[test]
fn arp_probes_are_answered() {
    let (outcome, reply) = answered(&arp().sender("0.0.0.0").build());
    assert_eq!(read_arp(&reply).target, (CLIENT_MAC, "0.0.0.0".parse().unwrap()));
    assert_eq!(outcome.lesson, None);
}

/// Answers go to the frame's own source, not to where the packet says that the sender is.
#[test]
fn answers_are_reflected_to_the_source_of_the_frame() {
    let (_, reply) = answered(&arp().src_mac(RELAY).build());
    assert_eq!(read_arp(&reply).dst_mac, RELAY);
    let (_, reply) = answered(&testing::solicit("fd00::2").src_mac(RELAY).build());
    assert_eq!(read_icmp(&reply).dst_mac, RELAY);
    let (_, reply) = answered(&echo().src_mac(RELAY).build());
    assert_eq!(read_icmp(&reply).dst_mac, RELAY);
}

/// RFC 5227 §2.4: nobody takes our address from us by claiming it.
#[test]
fn claims_of_our_addresses_are_dropped() {
    let bad_arp = (Verdict::Drop(Reason::BadArp), None);
    assert_eq!(unanswered(&arp().sender("10.0.0.80").target("10.0.0.80").build()), bad_arp);
    assert_eq!(unanswered(&arp().sender("10.0.0.2").reply_to(OUR_MAC).build()), bad_arp);
    let bad_ndp = (Verdict::Drop(Reason::BadNdp), None);
    assert_eq!(unanswered(&advertise("fd00::80").build()), bad_ndp);
    assert_eq!(unanswered(&testing::solicit("fd00::2").from("fd00::80").build()), bad_ndp);
}

#[test]
fn arp_replies_and_announcements_are_learned() {
    let reply = arp().sender("10.0.0.9").target("10.0.0.2").reply_to(OUR_MAC).build();
    let learned = lesson("10.0.0.9", CLIENT_MAC, true, true);
    assert_eq!(unanswered(&reply), (Verdict::Deliver, learned));
    let announcement = arp().sender("10.0.0.9").target("10.0.0.9").build();
    let learned = lesson("10.0.0.9", CLIENT_MAC, false, true);
    assert_eq!(unanswered(&announcement), (Verdict::Deliver, learned));
}

/// RFC 4861 §7.2.4: solicited, overriding, with the target's link-layer address.
#[test]
fn solicitations_for_our_addresses_are_answered() {
    for target in ["fd00::2", "fd00::80"] {
        let (outcome, reply) = answered(&testing::solicit(target).build());
        let reply = read_icmp(&reply);
        assert_eq!((reply.kind, reply.ttl, reply.src_mac), (136, 255, OUR_MAC));
        assert_eq!((reply.from, reply.to), (addr(target).into(), addr("fd00::1").into()));
        assert_eq!(reply.body[..4], [0x60, 0, 0, 0]);
        assert_eq!(reply.body[4..20], addr(target).0);
        assert_eq!(reply.body[20..], [2, 1, 2, 0, 0, 0, 0, 2]);
        assert_eq!(outcome.lesson, lesson("fd00::1", CLIENT_MAC, false, true));
    }
    let other = testing::solicit("fd00::3").build();
    assert_eq!(unanswered(&other), (Verdict::Drop(Reason::OtherAddress), None));
}

/// RFC 4861 §7.2.4, RFC 4862 §5.4.3: a probe for duplicates is answered to all nodes, not as solicited.
#[test]
fn probes_for_duplicates_are_answered_to_all_nodes() {
    let (outcome, reply) = answered(&testing::solicit("fd00::80").probe().build());
    let reply = read_icmp(&reply);
    assert_eq!((reply.to, reply.dst_mac), (addr("ff02::1").into(), CLIENT_MAC));
    assert_eq!((&reply.body[..4], outcome.lesson), (&[0x20, 0, 0, 0][..], None));
}

/// RFC 4861 §7.3.1: a solicitation to our own MAC checks whether we are still there; it may come
/// without the option.
#[test]
fn unicast_solicitations_are_answered() {
    let probe = testing::solicit("fd00::2").to("fd00::2").dst_mac(OUR_MAC).options(&[]);
    let (outcome, reply) = answered(&probe.build());
    assert_eq!(read_icmp(&reply).to, std::net::IpAddr::from(addr("fd00::1")));
    assert_eq!(outcome.lesson, None);
}

#[test]
fn advertisements_are_learned() {
    let flags = |flags| unanswered(&advertise("fd00::9").flags(flags).build()).1;
    assert_eq!(flags(0x6000_0000), lesson("fd00::9", CLIENT_MAC, true, true));
    assert_eq!(flags(0x4000_0000), lesson("fd00::9", CLIENT_MAC, true, false));
    assert_eq!(flags(0x2000_0000), lesson("fd00::9", CLIENT_MAC, false, true));
    let (verdict, learned) = unanswered(&advertise("fd00::9").options(&[]).build());
    assert_eq!((verdict, learned.unwrap().mac), (Verdict::Deliver, None));
}

/// RFC 792, RFC 4443 §4.2: identifier, sequence number and data come back as they were, up to the MTU.
#[test]
fn echo_is_answered_up_to_the_mtu() {
    for (from, to, kind, header) in
        [("10.0.0.1", "10.0.0.80", 0, 20), ("fd00::1", "fd00::80", 129, 40)]
    {
        for len in [0, 1, 8, 57, 1500 - 8 - header, 9000 - 8 - header] {
            let data: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let frame = echo().from(from).to(to).id(0xffff, 0xfffe).payload(&data).build();
            let (outcome, reply) = answer_in(&frame, &port(), 0);
            assert_eq!((outcome.verdict, outcome.len), (Verdict::Reflect, frame.len()));
            let reply = read_icmp(&reply);
            assert_eq!((reply.kind, reply.code, reply.ttl), (kind, 0, 64));
            assert_eq!((reply.from, reply.to), (addr(to).into(), addr(from).into()));
            assert_eq!((reply.src_mac, reply.dst_mac), (OUR_MAC, CLIENT_MAC));
            assert_eq!(
                (&reply.body[..4], &reply.body[4..]),
                (&[255, 255, 255, 254][..], &data[..])
            );
        }
    }
    let other = echo().to("10.0.0.3").build();
    assert_eq!(unanswered(&other), (Verdict::Drop(Reason::OtherAddress), None));
}

/// Padding, IP options, extension headers and priority tags of the request are not sent back.
#[test]
fn echo_replies_carry_nothing_but_the_message() {
    let plain = answered(&echo().build()).1;
    assert_eq!(answered(&echo().padding(10).build()).1, plain);
    assert_eq!(answered(&echo().vlan(0).build()).1, plain);
    assert_eq!(answered(&echo().ip_options(&[1, 1, 1, 0]).build()).1, plain);
    let plain = answered(&echo().from("fd00::1").to("fd00::2").build()).1;
    let extended = echo().from("fd00::1").to("fd00::2").extension(60, &[0, 1, 4, 0, 0, 0, 0]);
    assert_eq!(answered(&extended.build()).1, plain);
}

#[test]
fn a_tagged_port_answers_with_its_tag() {
    let tagged = PortView { vlan: 5, ..port() };
    let frames = [
        arp().vlan(5).build(),
        testing::solicit("fd00::2").vlan(5).build(),
        echo().vlan(5).build(),
    ];
    let tags = frames.map(|frame| {
        let (_, reply) = answer_in(&frame, &tagged, 256);
        match testing::read(&reply) {
            testing::Read::Arp(arp) => arp.vlan,
            testing::Read::Icmp(icmp) => icmp.vlan,
            testing::Read::Tcp(tcp) => tcp.vlan,
        }
    });
    assert_eq!(tags, [Some(5); 3]);
}

/// A probe for duplicates is shorter than its answer: without room for it there is none.
#[test]
fn without_room_there_is_no_answer() {
    let probe = testing::solicit("fd00::2").probe().build();
    let (outcome, _) = answer_in(&probe, &port(), 0);
    assert_eq!(outcome.verdict, Verdict::Drop(Reason::NoBuffer));
}

#[test]
fn tcp_is_not_for_us() {
    let syn = tcp().syn(1).build();
    assert_eq!(unanswered(&syn), (Verdict::Drop(Reason::OtherProtocol), None));
}

/// RFC 5227 §2.3 and RFC 4861 §7.2.6.
#[test]
fn announcements_reach_everybody() {
    let mut buf = [0; 128];
    let len = announce(&mut buf, &port(), &addr("10.0.0.80")).unwrap();
    let frame = read_arp(&buf[..len]);
    assert_eq!((frame.op, frame.dst_mac, frame.target.0), (1, Mac::BROADCAST, Mac::ZERO));
    assert_eq!((frame.sender.1, frame.target.1.octets()), (frame.target.1, [10, 0, 0, 80]));
    let len = announce(&mut buf, &port(), &addr("fd00::80")).unwrap();
    let frame = read_icmp(&buf[..len]);
    assert_eq!((frame.kind, frame.to, frame.ttl), (136, addr("ff02::1").into(), 255));
    assert_eq!(frame.dst_mac, Mac([0x33, 0x33, 0, 0, 0, 1]));
    assert_eq!(frame.body[..4], [0x20, 0, 0, 0]);
    assert_eq!(announce(&mut buf[..40], &port(), &addr("10.0.0.80")), Err(TooSmall));
}

/// A question of ours, to a station like us, gives an answer that teaches us what we asked.
#[test]
fn questions_are_understood() {
    let them = PortView { mac: CLIENT_MAC, ..port() };
    for (us, they) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
        for known in [None, Some(OUR_MAC)] {
            let mut buf = [0; 128];
            let len = solicit(&mut buf, &them, &addr(us), &addr(they), known).unwrap();
            let (_, reply) = answer_in(&buf[..len], &port(), 128);
            let parsed = parse(&reply, &them, RxChecksums::default()).unwrap();
            let outcome = answer(&parsed, &mut buf, &them, |a| *a == addr(us));
            assert_eq!(outcome.lesson, lesson(they, OUR_MAC, true, true));
        }
    }
}

/// RFC 4291 §2.7.1, RFC 2464 §7: and a solicitation for the address goes there.
#[test]
fn groups_are_those_of_solicitations() {
    let group = group_of(&addr("fd00::12:3456")).unwrap();
    assert_eq!(group, Mac([0x33, 0x33, 0xff, 0x12, 0x34, 0x56]));
    let mut buf = [0; 128];
    let (us, they) = (addr("fd00::1"), addr("fd00::12:3456"));
    let len = solicit(&mut buf, &port(), &us, &they, None).unwrap();
    assert_eq!(read_icmp(&buf[..len]).dst_mac, group);
    assert_eq!(group_of(&addr("10.0.0.1")), None);
}

proptest! {
    /// Whatever bytes come, whatever room there is: no panic, and an answer has the length it says.
    #[test]
    fn any_frame_is_answered_or_not(
        kind in 0usize..4, edits in prop::collection::vec((14usize..90, any::<u8>()), 0..4),
        room in 0usize..130,
    ) {
        let mut frame = [
            arp().build(), testing::solicit("fd00::2").build(), echo().build(),
            echo().from("fd00::1").to("fd00::2").build(),
        ][kind].clone();
        for (place, byte) in edits {
            if let Some(slot) = frame.get_mut(place) { *slot = byte; }
        }
        if let Ok(parsed) = parse(&frame, &port(), RxChecksums::default()) {
            frame.resize(room, 0);
            let outcome = answer(&parsed, &mut frame, &port(), ours);
            prop_assert_eq!(outcome.len > 0, outcome.verdict == Verdict::Reflect);
            prop_assert!(outcome.len <= room);
        }
    }

    /// Echo of any data, checksums 0 and 0xffff included, has a right checksum.
    #[test]
    fn any_echo_is_answered_soundly(
        data in prop::collection::vec(any::<u8>(), 0..64), id: u16, seq: u16, is_v4: bool,
    ) {
        let (from, to) = if is_v4 { ("10.0.0.1", "10.0.0.2") } else { ("fd00::1", "fd00::2") };
        let frame = echo().from(from).to(to).id(id, seq).payload(&data).build();
        let reply = read_icmp(&answered(&frame).1);
        prop_assert_eq!(&reply.body[4..], &data[..]);
    }
}
