//! ICMP and ICMPv6 through a worker: echo, and neighbour discovery.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::engine::{Engine, Setup, world};
use super::frame::{Mac, ones_sum, sum_with_pseudo_header};
use super::network::Weather;
use super::plan::SECOND;
use super::world::{SERVER_MAC, World};

const ASKER: Mac = [2, 9, 9, 9, 9, 9];
const OUR_V4: [&str; 2] = ["10.10.0.2", "10.10.0.11"];
const OUR_V6: [&str; 2] = ["fd00:10::2", "fd00:10::11"];
const ECHO_V4: (u8, u8) = (8, 0);
const ECHO_V6: (u8, u8) = (128, 129);

/// A message on its way, with everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    src_mac: Mac,
    dst_mac: Mac,
    src: IpAddr,
    dst: IpAddr,
    hop_limit: u8,
    kind: u8,
    body: Vec<u8>,
}

impl Message {
    fn write(&self) -> Vec<u8> {
        let mut message = vec![self.kind, 0, 0, 0];
        message.extend(&self.body);
        let sum = match self.dst {
            IpAddr::V4(_) => !ones_sum(&message),
            IpAddr::V6(_) => !sum_with_pseudo_header(self.src, self.dst, 58, &message),
        };
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut frame = [self.dst_mac, self.src_mac].concat();
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => frame.extend(self.header_v4(src, dst, &message)),
            (IpAddr::V6(src), IpAddr::V6(dst)) => frame.extend(self.header_v6(src, dst, &message)),
            _ => panic!("a packet has one family"),
        }
        frame.extend(message);
        frame.resize(frame.len().max(60), 0); // Ethernet's least length
        frame
    }

    fn header_v4(&self, src: Ipv4Addr, dst: Ipv4Addr, message: &[u8]) -> Vec<u8> {
        let mut header = vec![0x45, 0];
        header.extend((20 + message.len() as u16).to_be_bytes());
        header.extend([0, 0, 0x40, 0, self.hop_limit, 1, 0, 0]);
        header.extend(src.octets());
        header.extend(dst.octets());
        let sum = !ones_sum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        [vec![0x08, 0x00], header].concat()
    }

    fn header_v6(&self, src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) -> Vec<u8> {
        let mut header = vec![0x86, 0xdd, 0x60, 0, 0, 0];
        header.extend((message.len() as u16).to_be_bytes());
        header.extend([58, self.hop_limit]);
        header.extend(src.octets());
        header.extend(dst.octets());
        header
    }
}

fn quiet(setup: &Setup) -> World<Engine> {
    let mut world = world(710, Weather::CLEAR, setup);
    world.pass(5 * SECOND);
    world
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn asker(v6: bool) -> IpAddr {
    ip(if v6 { "fd00:10::99" } else { "10.10.0.99" })
}

/// Identifier 7, number 1, and `len` bytes that are not all alike.
fn echo(dst: &str, len: usize) -> Message {
    let dst = ip(dst);
    let mut body = vec![0, 7, 0, 1];
    body.extend((0..len).map(|at| (at % 251) as u8));
    let kind = if dst.is_ipv6() { ECHO_V6.0 } else { ECHO_V4.0 };
    let src = asker(dst.is_ipv6());
    Message { src_mac: ASKER, dst_mac: SERVER_MAC, src, dst, hop_limit: 64, kind, body }
}

fn reply(question: &Message) -> Message {
    let kind = if question.dst.is_ipv6() { ECHO_V6.1 } else { ECHO_V4.1 };
    let (src_mac, dst_mac) = (question.dst_mac, question.src_mac);
    let (src, dst) = (question.dst, question.src);
    Message { src_mac, dst_mac, src, dst, kind, ..question.clone() }
}

/// RFC 792, RFC 4443 §4.2: the same data, up to the MTU.
#[test]
fn echo_is_answered_up_to_the_mtu() {
    for mtu in [1500, 9000] {
        let mut world = quiet(&Setup { mtu, ..Setup::DEFAULT });
        let largest_v4 = usize::from(mtu) - 28;
        let largest_v6 = usize::from(mtu) - 48;
        for (addresses, largest) in [(OUR_V4, largest_v4), (OUR_V6, largest_v6)] {
            for len in [0, 1, 56, largest - 1, largest] {
                for address in addresses {
                    let question = echo(address, len);
                    let answers = world.turn(&[question.write()]);
                    assert_eq!(answers.len(), 1, "{address}, {len} bytes");
                    assert_eq!(without_id(&answers[0]), without_id(&reply(&question).write()));
                }
            }
        }
        world.finish(SECOND, 0);
    }
}

/// A frame without what a sender may choose: IPv4's identification, which the header's sum covers.
fn without_id(frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    if bytes[12..14] == [0x08, 0x00] {
        assert_eq!(ones_sum(&bytes[14..34]), 0xffff, "IPv4 checksum");
        bytes[18..20].fill(0);
        bytes[24..26].fill(0);
    }
    bytes
}

/// Spoilt messages, replies, and echo for others are met with silence.
#[test]
fn other_echo_is_not_answered() {
    let mut world = quiet(&Setup::DEFAULT);
    for address in [OUR_V4[0], OUR_V6[1]] {
        let question = echo(address, 56);
        let mut spoilt = question.write();
        *spoilt.last_mut().unwrap() ^= 1;
        assert!(world.turn(&[spoilt]).is_empty(), "a wrong checksum");
        let mut strange = question.clone();
        strange.dst_mac = [2, 2, 2, 2, 2, 2];
        assert!(world.turn(&[strange.write()]).is_empty(), "another MAC");
        let mut answer = question;
        answer.kind = if answer.dst.is_ipv6() { ECHO_V6.1 } else { ECHO_V4.1 };
        assert!(world.turn(&[answer.write()]).is_empty(), "a reply");
    }
    for address in ["10.10.0.12", "10.10.255.255", "fd00:10::12", "ff02::1"] {
        assert!(world.turn(&[echo(address, 56).write()]).is_empty(), "{address}");
    }
    world.finish(SECOND, 0);
}

/// Who has `target`? From `src` at its solicited-node group (RFC 4861 §4.3, RFC 4291 §2.7.1).
fn solicitation(src: &str, target: &str) -> Message {
    let target: Ipv6Addr = target.parse().unwrap();
    let [.., a, b, c] = target.octets();
    let mut group = "ff02::1:ff00:0".parse::<Ipv6Addr>().unwrap().octets();
    group[13..].copy_from_slice(&[a, b, c]);
    let mut body = vec![0; 4];
    body.extend(target.octets());
    if src != "::" {
        body.extend([1, 1]);
        body.extend(ASKER);
    }
    Message {
        src_mac: ASKER,
        dst_mac: [0x33, 0x33, 0xff, a, b, c],
        src: ip(src),
        dst: Ipv6Addr::from(group).into(),
        hop_limit: 255,
        kind: 135,
        body,
    }
}

/// We have it, at our MAC: solicited if somebody asked, overriding always (RFC 4861 §7.2.4). The frame goes to
/// whom the question came from, also where the packet goes to all nodes (RFC 6085).
fn advertisement(to: &str, target: &str) -> Message {
    let target: Ipv6Addr = target.parse().unwrap();
    let nobody = to == "::";
    let mut body = vec![if nobody { 0x20 } else { 0x60 }, 0, 0, 0];
    body.extend(target.octets());
    body.extend([2, 1]);
    body.extend(SERVER_MAC);
    Message {
        src_mac: SERVER_MAC,
        dst_mac: ASKER,
        src: target.into(),
        dst: ip(if nobody { "ff02::1" } else { to }),
        hop_limit: 255,
        kind: 136,
        body,
    }
}

/// Probes for duplicates come from nobody and are answered to all nodes.
#[test]
fn solicitations_for_our_addresses_only_are_answered() {
    let mut world = quiet(&Setup::DEFAULT);
    for from in ["fd00:10::99", "fe80::99", "::"] {
        for target in OUR_V6 {
            let answers = world.turn(&[solicitation(from, target).write()]);
            assert_eq!(answers, [advertisement(from, target).write()], "{from} asks for {target}");
        }
        let others = ["fd00:10::12", "fd00:11::2", "fe80::2"];
        for target in others {
            let answers = world.turn(&[solicitation(from, target).write()]);
            assert!(answers.is_empty(), "{from} asks for {target}");
        }
    }
    world.finish(SECOND, 0);
}

/// RFC 4861 §7.1.1: what came over a router, is spoilt, or asks for a group is not answered.
#[test]
fn broken_solicitations_are_not_answered() {
    let mut world = quiet(&Setup::DEFAULT);
    let good = solicitation("fd00:10::99", OUR_V6[0]);
    let changed = |change: fn(&mut Message)| {
        let mut message = good.clone();
        change(&mut message);
        message.write()
    };
    let mut spoilt = good.write();
    spoilt[60] ^= 1;
    let broken = [
        spoilt,
        changed(|m| m.hop_limit = 254),
        changed(|m| m.body[4] = 0xff),
        changed(|m| m.body[21] = 0),
        changed(|m| m.src = ip("::")), // with the option of a sender
        changed(|m| m.body.truncate(19)),
    ];
    for frame in broken {
        let answers = world.turn(std::slice::from_ref(&frame));
        assert!(answers.is_empty(), "{frame:02x?}");
    }
    assert_eq!(world.turn(&[good.write()]).len(), 1);
    world.finish(SECOND, 0);
}

/// Each port answers for its own addresses, whichever worker is asked.
#[test]
fn each_port_answers_for_itself() {
    let mut world = quiet(&Setup { ports: 2, workers: 2, ..Setup::DEFAULT });
    for (target, port) in [("fd00:10::11", 0), ("fd00:11::11", 1)] {
        let answers = world.turn(&[solicitation("fe80::99", target).write()]);
        assert_eq!(answers.len(), 1, "the switch asks both ports, one answers");
        assert_eq!(answers[0][6..12], super::world::server_mac(port));
    }
    world.finish(SECOND, 0);
}
