//! Around TCP: who is asked for our addresses, and what is not for us.

use std::net::Ipv4Addr;

use super::engine::{Engine, Setup, world};
use super::frame::{self, ACK, Mac, Packet, SYN};
use super::hand::Hand;
use super::network::Weather;
use super::plan::SECOND;
use super::server::Server;
use super::world::{SERVER_MAC, World};

const ASKER: Mac = [2, 9, 9, 9, 9, 9];

fn quiet() -> World<Engine> {
    let mut world = world(700, Weather::CLEAR, &Setup::default());
    world.pass(5 * SECOND);
    world
}

fn arp(operation: u8, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut request = vec![0xff; 6];
    request.extend(ASKER);
    request.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, operation]);
    request.extend(ASKER);
    request.extend(sender.octets());
    request.extend([0; 6]);
    request.extend(target.octets());
    request.resize(60, 0);
    request
}

/// RFC 826; a probe has no sender (RFC 5227 §2.1.1).
#[test]
fn arp_is_answered_for_our_addresses_only() {
    let mut world = quiet();
    let asker = Ipv4Addr::new(10, 10, 0, 99);
    for sender in [asker, Ipv4Addr::UNSPECIFIED] {
        for (target, ours) in
            [([10, 10, 0, 2], true), ([10, 10, 0, 11], true), ([10, 10, 0, 12], false)]
        {
            let answers = world.turn(&[arp(1, sender, target.into())]);
            assert_eq!(answers.len(), usize::from(ours), "{target:?}");
            for answer in answers {
                assert_eq!(answer[..14], [&ASKER[..], &SERVER_MAC, &[0x08, 0x06]].concat());
                assert_eq!(answer[14..22], [0, 1, 0x08, 0, 6, 4, 0, 2]);
                assert_eq!(answer[22..32], [&SERVER_MAC[..], &target].concat());
                assert_eq!(answer[32..42], [&ASKER[..], &sender.octets()].concat());
            }
        }
    }
    assert!(world.turn(&[arp(2, asker, [10, 10, 0, 2].into())]).is_empty(), "a reply");
    world.finish(SECOND, 0);
}

/// The issue: frames to other MACs, broadcast TCP, other addresses, LAND, impossible sources.
#[test]
fn what_is_not_for_us_is_met_with_silence() {
    let mut world = quiet();
    let hand = Hand::new(0, true);
    let syn = hand.syn(&world);
    let changed = |change: fn(&mut Packet)| {
        let mut packet = syn.clone();
        change(&mut packet);
        packet
    };
    let strange = [
        changed(|p| p.dst_mac = [2, 2, 2, 2, 2, 2]),
        changed(|p| p.dst_mac = [0xff; 6]),
        changed(|p| p.dst.set_ip([10, 10, 0, 77].into())),
        changed(|p| p.dst.set_ip([10, 10, 255, 255].into())),
        changed(|p| p.dst.set_ip([224, 0, 0, 1].into())),
        changed(|p| p.src.set_ip([127, 0, 0, 1].into())),
        changed(|p| p.src.set_ip([224, 0, 0, 1].into())),
        changed(|p| p.src.set_ip([255, 255, 255, 255].into())),
        changed(|p| p.src.set_ip([0, 0, 0, 0].into())),
        changed(|p| p.src = p.dst),
        changed(|p| p.src.set_port(0)),
    ];
    for packet in &strange {
        assert!(world.inject(packet).is_empty(), "{packet:?}");
    }
    assert_eq!(world.server.flows(), 0);
    assert_eq!(world.inject(&syn)[0].flags, SYN | ACK);
    world.finish(70 * SECOND, 0);
}

/// Any bytes, and any frame of which a byte was changed, end in one verdict and nothing worse.
#[test]
fn noise_is_counted() {
    let mut world = quiet();
    let mut rng = super::rng::Rng::new(701);
    let syn = Hand::new(0, true).syn(&world).write();
    for round in 0..3000 {
        let mut noise = if round % 3 == 0 {
            arp(1, [10, 10, 0, 9].into(), [10, 10, 0, 2].into())
        } else {
            syn.clone()
        };
        noise.resize(rng.below(200) as usize, 0);
        for _ in 0..rng.below(4) {
            let at = rng.below(noise.len() as u64) as usize;
            if let Some(byte) = noise.get_mut(at) {
                *byte = rng.next() as u8;
            }
        }
        world.turn(&[noise]);
    }
    world.pass(100 * SECOND);
    world.check_wire();
    assert_eq!(world.server.audit(), Vec::<String>::new());
}

/// An answer to a frame that was padded has no padding in its data.
#[test]
fn padding_is_not_data() {
    let mut world = quiet();
    let mut hand = Hand::new(0, false);
    hand.knock(&mut world);
    let third = hand.segment(&world, ACK, b"");
    assert_eq!(third.write().len(), 60, "padded");
    assert!(world.inject(&third).is_empty(), "the padding was taken for a request");
    assert!(frame::read(&third.write()).unwrap().payload.is_empty());
    hand.fetch(&mut world);
    assert_eq!(hand.received, 2000);
}
