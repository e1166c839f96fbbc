//! Which frames are taken, for what, and why the others are not.

use std::vec::Vec;

use super::*;
use crate::testing::{
    CLIENT_MAC, Envelope, OUR_MAC, addr, advertise, arp, echo, icmp_error, port, solicit, tcp,
};
use crate::wire::{
    Checked, Flags, IcmpErrorKind, Mac, NdpKind, Options, SeqNum, Timestamps, Tuple, parse_plain,
};

/// Reads a frame in both ways, which agree wherever the quick one reads it at all.
fn parse(frame: &[u8]) -> Result<Parsed, Reason> {
    let parsed = super::parse(frame, &port(), RxChecksums::default());
    if let Some(segment) = parse_plain(frame, &port(), RxChecksums::default()) {
        assert_eq!(parsed, Ok(Parsed::Tcp(segment)));
    }
    parsed
}

/// What most traffic consists of goes the quick way, and a checksum is not forgotten there.
#[test]
fn usual_frames_are_plain() {
    let plain = |frame: &[u8]| parse_plain(frame, &port(), RxChecksums::default()).is_some();
    for frame in [
        tcp().syn(7).linux(1460, 5, 8),
        tcp().ack(8, 9).padding(6),
        tcp().ack(8, 9).option(&[1, 1]).timestamps(1, 2).payload(b"GET /"),
        tcp().ack(8, 9).option(&[1, 1]).timestamps(1, 2).option(&[1, 1]).sack(&[(3, 4)]),
        tcp().ack(8, 9).option(&[1, 1]).timestamps(1, 2).option(&[1, 1]).sack(&[
            (3, 4),
            (6, 7),
            (9, 11),
        ]),
    ] {
        let mut frame = frame.build();
        assert!(plain(&frame));
        for at in [24, 50] {
            frame[at] ^= 1;
            assert!(!plain(&frame), "a wrong checksum at {at}");
            frame[at] ^= 1;
        }
    }
    let stamped = || tcp().ack(8, 9).option(&[1, 1]).timestamps(1, 2);
    let unusual = [
        syn6(),
        syn4().vlan(0),
        syn4().ip_options(&[1, 1, 1, 0]),
        syn4().mss(1460),
        stamped().option(&[1, 1, 5, 10]),
        stamped().option(&[1, 1, 5, 2, 1, 1, 8, 10, 0, 0, 0, 3, 0, 0, 0, 4]),
    ];
    assert!(unusual.into_iter().all(|frame| !plain(&frame.build())));
}

fn segment(frame: &[u8]) -> Segment {
    match parse(frame) {
        Ok(Parsed::Tcp(segment)) => segment,
        other => panic!("{other:?}"),
    }
}

/// A SYN between two hosts of either family.
fn syn4() -> crate::testing::TcpFrame {
    tcp().syn(1)
}

fn syn6() -> crate::testing::TcpFrame {
    tcp().from("[fd00::1]:40000").to("[fd00::2]:80").syn(1)
}

#[test]
fn a_segment_is_read_whole() {
    let frame = tcp().ack(10, 20).window(7).timestamps(3, 4).payload(b"GET /").build();
    let seg = segment(&frame);
    let tuple = Tuple {
        remote: addr("10.0.0.1"),
        local: addr("10.0.0.2"),
        remote_port: 40000,
        local_port: 80,
        vlan: 0,
        port: 0,
    };
    assert_eq!((seg.tuple, seg.seq, seg.ack), (tuple, SeqNum(10), SeqNum(20)));
    assert_eq!((seg.flags, seg.window), (Flags::ACK, 7));
    assert_eq!(seg.options.timestamps, Some(Timestamps { val: 3, ecr: 4 }));
    assert_eq!(&frame[seg.payload_offset.into()..][..seg.payload_len.into()], b"GET /");
}

#[test]
fn a_segment_over_ipv6_behind_extension_headers_is_read_whole() {
    let frame = syn6().extension(0, &[0, 1, 4, 0, 0, 0, 0]).extension(60, &[0, 1, 4, 0, 0, 0, 0]);
    let frame = frame.payload(b"hi").build();
    let seg = segment(&frame);
    assert_eq!((seg.tuple.remote, seg.tuple.local), (addr("fd00::1"), addr("fd00::2")));
    assert_eq!(&frame[seg.payload_offset.into()..], b"hi");
}

/// RFC 3168 §5: only both bits say that a router met congestion.
#[test]
fn congestion_marks_are_seen() {
    for tos in 0..4 {
        assert_eq!(segment(&syn4().tos(tos).build()).ce, tos == 3);
        assert_eq!(segment(&syn6().tos(tos).build()).ce, tos == 3);
    }
}

/// Ethernet pads short frames, and the padding is never data.
#[test]
fn padding_is_no_payload() {
    for frame in [tcp().ack(1, 1).padding(6).build(), syn6().padding(9).build()] {
        assert_eq!(segment(&frame).payload_len, 0);
    }
}

#[test]
fn tags_name_the_vlan_of_the_tuple() {
    let ours = PortView { vlan: 5, ..port() };
    let tagged = syn4().tag(0x8100, 0xe005).build();
    let Ok(Parsed::Tcp(seg)) = super::parse(&tagged, &ours, RxChecksums::default()) else {
        panic!("a frame of the port's VLAN");
    };
    assert_eq!(seg.tuple.vlan, 5);
    let other = Err(Reason::OtherVlan);
    for frame in [syn4().vlan(6).build(), syn4().build(), syn4().vlan(5).vlan(5).build()] {
        assert_eq!(super::parse(&frame, &ours, RxChecksums::default()), other);
    }
    assert_eq!(segment(&syn4().tag(0x8100, 0xe000).build()).tuple.vlan, 0);
}

#[test]
fn neighbours_are_heard() {
    let Ok(Parsed::Arp(view)) = parse(&arp().sender("0.0.0.0").padding(18).build()) else {
        panic!("an ARP probe (RFC 5227 §2.1.1)");
    };
    assert_eq!((view.is_reply, view.target), (false, addr("10.0.0.2")));
    assert_eq!((view.source_mac, view.sender_mac, view.offset), (CLIENT_MAC, CLIENT_MAC, 14));
    let Ok(Parsed::Ndp(view)) = parse(&solicit("fd00::2").build()) else { panic!("solicited") };
    assert_eq!((view.kind, view.link_layer), (NdpKind::Solicitation, Some(CLIENT_MAC)));
    assert_eq!((view.source, view.target), (addr("fd00::1"), addr("fd00::2")));
    let Ok(Parsed::Ndp(probe)) = parse(&solicit("fd00::2").probe().build()) else {
        panic!("a probe for duplicates (RFC 4862 §5.4.2)");
    };
    assert_eq!((probe.source, probe.link_layer), (addr("::"), None));
    let Ok(Parsed::Ndp(view)) = parse(&advertise("fd00::9").build()) else { panic!("told") };
    let kind = NdpKind::Advertisement { router: false, solicited: true, overriding: true };
    assert_eq!(
        (view.kind, view.target, view.link_layer),
        (kind, addr("fd00::9"), Some(CLIENT_MAC))
    );
}

#[test]
fn echo_requests_are_read_without_their_padding() {
    let Ok(Parsed::Echo(view)) = parse(&echo().padding(4).build()) else { panic!("an echo") };
    assert_eq!((view.ip_offset, view.icmp_offset, view.icmp_len), (14, 34, 16));
    let v6 = echo().from("fd00::1").to("fd00::2");
    let Ok(Parsed::Echo(view)) = parse(&v6.build()) else { panic!("an echo") };
    assert_eq!((view.source, view.icmp_offset, view.icmp_len), (addr("fd00::1"), 54, 16));
}

/// RFC 792 quotes the header and eight bytes, RFC 4443 as much as fits.
#[test]
fn icmp_errors_name_the_flow_they_are_about() {
    let sent = tcp().from("10.0.0.2:80").to("10.9.9.9:4000").ack(77, 1).build();
    let Ok(Parsed::Icmp(error)) = parse(&icmp_error(3, 4, &sent).mtu(1400).build()) else {
        panic!("an error");
    };
    assert_eq!((error.kind, error.seq), (IcmpErrorKind::TooBig { mtu: 1400 }, SeqNum(77)));
    assert_eq!((error.tuple.local, error.tuple.local_port), (addr("10.0.0.2"), 80));
    assert_eq!((error.tuple.remote, error.tuple.remote_port), (addr("10.9.9.9"), 4000));
    let sent = tcp().from("[fd00::2]:80").to("[fd00::9]:4000").ack(78, 1).build();
    let Ok(Parsed::Icmp(error)) = parse(&icmp_error(1, 4, &sent).build()) else {
        panic!("an error");
    };
    assert_eq!((error.kind, error.seq), (IcmpErrorKind::Unreachable { code: 4 }, SeqNum(78)));
    assert_eq!((error.tuple.remote, error.tuple.local_port), (addr("fd00::9"), 80));
}

/// Every frame of `cases` is dropped for its reason.
fn drops(cases: impl IntoIterator<Item = (&'static str, Vec<u8>, Reason)>) {
    for (what, frame, reason) in cases {
        assert_eq!(parse(&frame), Err(reason), "{what}");
    }
}

#[test]
fn frames_for_others_are_passed() {
    let group = Mac([0x33, 0x33, 0, 0, 0, 1]);
    drops([
        ("another MAC", syn4().dst_mac(Mac([2, 0, 0, 0, 0, 9])).build(), Reason::OtherMac),
        ("a tag", syn4().vlan(7).build(), Reason::OtherVlan),
        ("a service tag", syn4().tag(0x88a8, 0).build(), Reason::OtherVlan),
        ("a tag behind a priority", syn4().vlan(0).vlan(0).build(), Reason::OtherVlan),
        ("LLDP", syn4().ethertype(0x88cc).build(), Reason::OtherEthertype),
        ("an 802.3 length", syn4().ethertype(60).build(), Reason::OtherEthertype),
        ("UDP", syn4().protocol(17).build(), Reason::OtherProtocol),
        ("UDP over IPv6", syn6().protocol(17).build(), Reason::OtherProtocol),
        ("ICMPv6 over IPv4", syn4().protocol(58).build(), Reason::OtherProtocol),
        ("an echo reply", echo().kind(0).build(), Reason::OtherProtocol),
        ("a router solicitation", solicit("fd00::2").kind(133).build(), Reason::OtherProtocol),
        ("IGMP", syn4().protocol(2).to("224.0.0.22:1").build(), Reason::Multicast),
        ("MLD", solicit("fd00::2").kind(143).build(), Reason::Multicast),
        ("TCP by broadcast", syn4().dst_mac(Mac::BROADCAST).build(), Reason::GroupAddressed),
        ("TCP by multicast", syn6().dst_mac(group).build(), Reason::GroupAddressed),
        ("TCP to everybody", syn4().to("255.255.255.255:80").build(), Reason::GroupAddressed),
        ("TCP to a group", syn6().to("[ff02::1]:80").build(), Reason::GroupAddressed),
        ("echo by broadcast", echo().dst_mac(Mac::BROADCAST).build(), Reason::GroupAddressed),
        ("echo to a group", echo().to("224.0.0.1").build(), Reason::GroupAddressed),
    ]);
}

#[test]
fn senders_that_cannot_be_are_refused() {
    let from = |ip| syn4().from(ip).build();
    drops([
        ("a group's MAC", syn4().src_mac(Mac::BROADCAST).build(), Reason::BadSource),
        ("no MAC", syn4().src_mac(Mac::ZERO).build(), Reason::BadSource),
        ("our own MAC", syn4().src_mac(OUR_MAC).build(), Reason::BadSource),
        ("nobody", from("0.0.0.0:9"), Reason::BadSource),
        ("this network", from("0.1.2.3:9"), Reason::BadSource),
        ("loopback", from("127.0.0.1:9"), Reason::BadSource),
        ("multicast", from("224.0.0.1:9"), Reason::BadSource),
        ("broadcast", from("255.255.255.255:9"), Reason::BadSource),
        ("nobody", syn6().from("[::]:9").build(), Reason::BadSource),
        ("loopback", syn6().from("[::1]:9").build(), Reason::BadSource),
        ("multicast", syn6().from("[ff02::1]:9").build(), Reason::BadSource),
        ("IPv4 in disguise", syn6().from("[::ffff:1.2.3.4]:9").build(), Reason::BadSource),
        ("echo from loopback", echo().from("127.0.0.1").build(), Reason::BadSource),
        ("LAND", syn4().from("10.0.0.2:80").build(), Reason::Land),
        ("LAND", syn6().from("[fd00::2]:80").build(), Reason::Land),
        ("IPv4 in disguise", syn6().to("[::ffff:1.2.3.4]:80").build(), Reason::OtherAddress),
    ]);
}

#[test]
fn broken_ip_headers_are_refused() {
    drops([
        ("nothing", Vec::new(), Reason::Runt),
        ("half an Ethernet header", syn4().cut(13).build(), Reason::Runt),
        ("half a tag", syn4().vlan(0).cut(17).build(), Reason::Runt),
        ("half an IPv4 header", syn4().cut(33).build(), Reason::Runt),
        ("half an IPv6 header", syn6().cut(53).build(), Reason::Runt),
        ("a wrong version", syn4().bad_ip_version().build(), Reason::BadIpHeader),
        ("a wrong version", syn6().bad_ip_version().build(), Reason::BadIpHeader),
        ("IHL 4", syn4().ihl(4).build(), Reason::BadIpHeader),
        ("IHL beyond the packet", syn4().ihl(15).build(), Reason::BadIpHeader),
        ("total length beyond the frame", syn4().ip_len(41).build(), Reason::BadIpHeader),
        ("total length below IHL", syn4().ip_len(19).build(), Reason::BadIpHeader),
        ("payload length beyond the frame", syn6().ip_len(21).build(), Reason::BadIpHeader),
        ("a cut frame", syn4().cut(50).build(), Reason::BadIpHeader),
        ("a wrong checksum", syn4().bad_ip_checksum().build(), Reason::BadIpChecksum),
        ("more fragments", syn4().fragment(0x2000).build(), Reason::Fragment),
        ("the last fragment", syn4().fragment(0x0001).build(), Reason::Fragment),
        ("an IPv6 fragment", syn6().extension(44, &[0; 7]).build(), Reason::Fragment),
    ]);
}

/// RFC 7126 §4.3, §4.4: source routes are refused; what else there is is skipped.
#[test]
fn ip_options_are_skipped_but_for_source_routes() {
    let with = |options| syn4().ip_options(options).build();
    drops([
        ("a loose source route", with(&[131, 3, 4, 0]), Reason::IpOptions),
        ("a strict one behind others", with(&[1, 7, 2, 137, 3, 4, 0, 0]), Reason::IpOptions),
        ("length 0", with(&[7, 0, 0, 0]), Reason::BadIpHeader),
        ("length beyond the header", with(&[7, 5, 0, 0]), Reason::BadIpHeader),
        ("no length", with(&[1, 1, 1, 7]), Reason::BadIpHeader),
    ]);
    for skipped in [&[148, 4, 0, 0][..], &[7, 3, 4, 1], &[1, 1, 0, 131]] {
        assert_eq!(segment(&with(skipped)).seq, SeqNum(1));
    }
}

/// RFC 8200 §4: known headers are stepped over within a bound, all others refused.
#[test]
fn extension_headers_are_walked_within_a_bound() {
    let pad = [0, 1, 4, 0, 0, 0, 0];
    let chain = |n: usize| (0..n).fold(syn6(), |frame, _| frame.extension(60, &pad)).build();
    assert_eq!(segment(&chain(4)).seq, SeqNum(1));
    let with = |kind, rest: &[u8]| syn6().extension(kind, rest).build();
    assert_eq!(segment(&with(43, &[0, 0, 0, 0, 0, 0, 0])).seq, SeqNum(1));
    let refused = Reason::ExtensionHeaders;
    drops([
        ("five headers", chain(5), refused),
        ("hop-by-hop behind", syn6().extension(60, &pad).extension(0, &pad).build(), refused),
        ("a routing header with segments left", with(43, &[0, 0, 1, 0, 0, 0, 0]), refused),
        ("an option that says discard", with(60, &[0, 0xc9, 4, 0, 0, 0, 0]), refused),
        ("an option beyond its header", with(60, &[0, 1, 5, 0, 0, 0, 0]), refused),
        ("a header beyond the packet", with(60, &[200, 1, 4, 0, 0, 0, 0]), refused),
        ("authentication", with(51, &[0; 7]), refused),
        ("a header cut short", syn6().extension(60, &pad).ip_len(1).build(), refused),
        ("no next header", syn6().extension(60, &pad).protocol(59).build(), Reason::OtherProtocol),
    ]);
}

#[test]
fn broken_segments_are_refused() {
    drops([
        ("half a header", syn4().ip_len(39).build(), Reason::BadTcpHeader),
        ("data offset 4", syn4().data_offset(4).build(), Reason::BadTcpHeader),
        ("data offset beyond the segment", syn4().data_offset(6).build(), Reason::BadTcpHeader),
        ("a wrong checksum", syn4().bad_checksum().build(), Reason::BadTcpChecksum),
        ("a wrong checksum", syn6().bad_checksum().build(), Reason::BadTcpChecksum),
        ("source port 0", syn4().from("10.0.0.1:0").build(), Reason::ZeroPort),
        ("destination port 0", syn4().to("10.0.0.2:0").build(), Reason::ZeroPort),
        ("an option without length", syn4().option(&[1, 1, 1, 2]).build(), Reason::BadTcpHeader),
        ("an option of length 0", syn4().option(&[99, 0, 0, 0]).build(), Reason::BadTcpHeader),
        ("an option beyond the header", syn4().option(&[2, 5, 0, 0]).build(), Reason::BadTcpHeader),
    ]);
}

/// RFC 9293 §3.10.7: what flags mean together depends on the state that they meet.
#[test]
fn any_flags_are_read() {
    for flags in (0..=u8::MAX).map(Flags) {
        assert_eq!(segment(&tcp().flags(flags).build()).flags, flags);
    }
}

#[test]
fn broken_neighbour_messages_are_refused() {
    let ask = || solicit("fd00::2");
    drops([
        ("a short ARP packet", arp().cut(41).build(), Reason::Runt),
        ("not Ethernet", arp().kind([0, 6, 8, 0, 6, 4]).build(), Reason::BadArp),
        ("not IPv4", arp().kind([0, 1, 8, 6, 6, 4]).build(), Reason::BadArp),
        ("wrong lengths", arp().kind([0, 1, 8, 0, 8, 4]).build(), Reason::BadArp),
        ("RARP", arp().op(3).build(), Reason::BadArp),
        ("a group as sender", arp().sender_mac(Mac::BROADCAST).build(), Reason::BadArp),
        ("a group as sender", arp().sender("224.0.0.1").build(), Reason::BadArp),
        ("hop limit 254", ask().ttl(254).build(), Reason::BadNdp),
        ("a wrong checksum", ask().bad_checksum().build(), Reason::BadNdp),
        ("code 1", ask().code(1).build(), Reason::BadNdp),
        ("a short message", ask().options(&[]).ip_len(23).build(), Reason::BadNdp),
        ("a group as target", ask().target("ff02::1").build(), Reason::BadNdp),
        ("an option of length 0", ask().options(&[1, 0, 0, 0]).build(), Reason::BadNdp),
        ("an option cut short", ask().options(&[1, 1, 0, 0]).build(), Reason::BadNdp),
        ("half an option", ask().options(&[1]).build(), Reason::BadNdp),
        ("a probe with an address", ask().from("::").build(), Reason::BadNdp),
        ("a probe to one node", ask().probe().to("fd00::2").build(), Reason::BadNdp),
        ("a group's MAC", ask().link_layer(1, Mac::BROADCAST).build(), Reason::BadNdp),
        ("news from nobody", advertise("fd00::9").from("::").build(), Reason::BadNdp),
        ("solicited, to all", advertise("fd00::9").to("ff02::1").build(), Reason::BadNdp),
    ]);
}

#[test]
fn broken_icmp_is_refused() {
    let sent = tcp().from("10.0.0.2:80").to("10.9.9.9:4000").ack(77, 1).build();
    let udp = tcp().from("10.0.0.2:80").to("10.9.9.9:4000").protocol(17).build();
    drops([
        ("a wrong checksum", echo().bad_checksum().build(), Reason::BadIcmp),
        ("half a header", echo().ip_len(27).build(), Reason::BadIcmp),
        ("27 bytes quoted", icmp_error(3, 1, &sent).quoting(27).build(), Reason::BadIcmp),
        ("19 bytes quoted", icmp_error(3, 1, &sent).quoting(19).build(), Reason::BadIcmp),
        ("about somebody's UDP", icmp_error(3, 1, &udp).build(), Reason::OtherProtocol),
    ]);
}

/// What the NIC has verified is not verified again, and what it found wrong is believed.
#[test]
fn the_nics_word_counts() {
    let of = |frame: Vec<u8>, ip, l4| super::parse(&frame, &port(), RxChecksums { ip, l4 });
    let broken = syn4().bad_ip_checksum().bad_checksum().build();
    assert!(of(broken, Checked::Good, Checked::Good).is_ok());
    let bad_ip = Err(Reason::BadIpChecksum);
    assert_eq!(of(syn4().build(), Checked::Bad, Checked::Good), bad_ip);
    let bad_tcp = Err(Reason::BadTcpChecksum);
    assert_eq!(of(syn4().build(), Checked::Good, Checked::Bad), bad_tcp);
    assert_eq!(of(syn6().build(), Checked::Unknown, Checked::Bad), bad_tcp);
}

#[test]
fn options_are_read_in_any_order_and_only_where_they_count() {
    let all = Options {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some(Timestamps { val: 5, ecr: 0 }),
    };
    let read = |frame: crate::testing::TcpFrame| segment(&frame.build()).options;
    assert_eq!(read(syn4().linux(1460, 5, 7)), all);
    assert_eq!(
        read(syn4().window_scale(7).timestamps(5, 0).option(&[1]).mss(1460).sack_permitted()),
        all
    );
    let stamps = Options { timestamps: all.timestamps, ..Options::default() };
    assert_eq!(read(tcp().ack(1, 1).linux(1460, 5, 7)), stamps, "these belong on a SYN");
    assert_eq!(read(tcp().ack(1, 1).option(&[1, 1]).timestamps(5, 0)), stamps);
}

#[test]
fn odd_options_do_no_harm() {
    let read = |option: &[u8]| segment(&syn4().option(option).mss(700).build()).options;
    let mss = Options { mss: Some(700), ..Options::default() };
    for unknown in [
        &[254, 4, 1, 2][..],
        &[30, 2],
        &[2, 3, 9],
        &[8, 4, 1, 2],
        &[4, 3, 0],
        &[5, 10, 0, 0, 0, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(read(unknown), mss, "skipped: {unknown:?}");
    }
    assert_eq!(read(&[0]).mss, None, "nothing counts behind the end of options");
    assert_eq!(segment(&syn4().mss(0).build()).options.mss, None);
    // RFC 7323 §2.3.
    assert_eq!(segment(&syn4().window_scale(15).build()).options.window_scale, Some(14));
    assert_eq!(segment(&syn4().linux(1, 1, 200).build()).options.window_scale, Some(14));
}
