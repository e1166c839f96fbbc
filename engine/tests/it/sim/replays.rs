//! Handshakes by cookie that must open nothing: replayed, altered, expired.

use super::engine::{Cookies, Engine, Setup, world};
use super::frame::{ACK, FIN, Opt, PSH, Packet, RST};
use super::hand::{Hand, REQUEST};
use super::network::Weather;
use super::plan::SECOND;
use super::world::World;

fn cookie_world(seed: u64) -> World<Engine> {
    world(
        seed,
        Weather::CLEAR,
        &Setup { cookies: Cookies::Always, answer: 3000, ..Setup::default() },
    )
}

/// How a connection that was opened by cookie ends before its ACK is replayed.
#[derive(Clone, Copy, Debug)]
enum Ending {
    ServerFirst,
    ClientFirst,
    Together,
    Reset,
    ResetAtOnce,
    /// It does not end: the replay meets the living connection.
    Open,
}

const ENDINGS: [Ending; 6] = [
    Ending::ServerFirst,
    Ending::ClientFirst,
    Ending::Together,
    Ending::Reset,
    Ending::ResetAtOnce,
    Ending::Open,
];

fn end(hand: &mut Hand, world: &mut World<Engine>, ending: Ending) {
    match ending {
        Ending::ServerFirst => {
            hand.fetch(world);
            hand.say(world, ACK | FIN, b"");
        }
        Ending::ClientFirst => {
            hand.say(world, ACK | PSH | FIN, REQUEST);
            hand.say(world, ACK, b"");
            hand.say(world, ACK, b"");
        }
        Ending::Together => {
            hand.say(world, ACK | PSH, REQUEST);
            let fin = hand.segment(world, ACK | FIN, b"");
            world.inject(&fin);
            hand.seq = fin.end();
            hand.say(world, ACK, b"");
        }
        Ending::Reset => {
            hand.fetch(world);
            hand.say(world, ACK | RST, b"");
        }
        Ending::ResetAtOnce => drop(hand.say(world, RST, b"")),
        Ending::Open => drop(hand.say(world, ACK | PSH, REQUEST)),
    }
}

/// DESIGN "Cookie": a flow opened by cookie leaves a marker until its cookie has expired.
#[test]
fn a_replayed_third_ack_opens_nothing_whatever_the_end() {
    for timestamps in [false, true] {
        for (index, ending) in ENDINGS.into_iter().enumerate() {
            let mut world = cookie_world(index as u64);
            let mut hand = Hand::new(index, timestamps);
            hand.knock(&mut world);
            let third = hand.segment(&world, ACK, b"");
            let request = hand.segment(&world, ACK | PSH, REQUEST);
            world.inject(&third);
            end(&mut hand, &mut world, ending);
            assert_eq!(world.server.established(), 1, "{ending:?}");
            replay_for_long(&mut world, &[third, request], ending);
        }
    }
}

/// Replays every five seconds until the cookie's two epochs are over, then once more.
fn replay_for_long(world: &mut World<Engine>, replay: &[Packet], ending: Ending) {
    for round in 0..40 {
        let answers = world.inject_all(replay);
        let data = answers
            .iter()
            .filter(|p| p.payload.len() > 1 && !matches!(ending, Ending::Open))
            .count();
        assert_eq!(data, 0, "{ending:?} round {round}: the replay was answered with data");
        assert_eq!(
            world.server.established(),
            1,
            "{ending:?} round {round}: the replay opened a flow"
        );
        world.pass(5 * SECOND);
    }
    world.pass(500 * SECOND);
    world.inject_all(replay);
    assert_eq!(world.server.established(), 1, "{ending:?}: an expired cookie opened a flow");
    world.finish(10 * SECOND, 0);
}

/// A cookie from which anything was changed is none.
#[test]
fn altered_cookies_open_nothing() {
    for timestamps in [false, true] {
        let mut world = cookie_world(7);
        let mut hand = Hand::new(1, timestamps);
        hand.knock(&mut world);
        let third = hand.segment(&world, ACK, b"");
        for bit in 0..32 {
            for forged in alterations(&third, 1 << bit) {
                let answers = world.inject(&forged);
                assert!(answers.is_empty(), "bit {bit}: {forged:?} was answered {answers:?}");
                assert_eq!(world.server.established(), 0, "bit {bit}: {forged:?} opened a flow");
            }
        }
        // What was not altered still opens.
        world.inject(&third);
        assert_eq!(world.server.established(), 1);
    }
}

fn alterations(third: &Packet, mask: u32) -> Vec<Packet> {
    let mut forged = vec![third.clone(); 3];
    forged[0].ack ^= mask;
    forged[1].seq ^= mask;
    let port = third.src.port() ^ (mask as u16 | (mask >> 16) as u16);
    forged[2].src.set_port(port);
    if let Some((val, ecr)) = third.time() {
        let mut echo = third.clone();
        echo.options = vec![Opt::Time(val, ecr ^ mask)];
        let mut stripped = third.clone();
        stripped.options = Vec::new();
        forged.extend([echo, stripped]);
    }
    forged
}

/// RFC 7323 §3.2: timestamps in the ACK alone are no alteration, but an option that was not agreed on.
#[test]
fn timestamps_that_the_syn_had_not_are_ignored() {
    let mut world = cookie_world(12);
    let mut hand = Hand::new(1, false);
    hand.knock(&mut world);
    for (val, ecr) in [(7, 0), (8, 0x1234)] {
        let mut third = hand.segment(&world, ACK, b"");
        third.options = vec![Opt::Time(val, ecr)];
        assert!(world.inject(&third).is_empty());
        assert_eq!(world.server.established(), 1);
    }
    hand.fetch(&mut world);
    assert_eq!(hand.received, 3000);
    hand.say(&mut world, ACK | FIN, b"");
    world.finish(300 * SECOND, 0);
}

/// The third ACK may be lost: the first data proves as much, and the cookie still opens only once.
#[test]
fn data_opens_when_the_third_ack_was_lost() {
    let mut world = cookie_world(8);
    let mut hand = Hand::new(2, true);
    hand.knock(&mut world);
    let late = hand.segment(&world, ACK, b"");
    hand.fetch(&mut world);
    assert_eq!(hand.received, 3000);
    world.inject(&late);
    assert_eq!(world.server.established(), 1);
    hand.say(&mut world, ACK | FIN, b"");
    world.finish(300 * SECOND, 0);
}

/// In one burst: third ACK, its copy, request, its copy.
#[test]
fn copies_in_one_burst_open_one_flow() {
    let mut world = cookie_world(9);
    let mut hand = Hand::new(3, true);
    hand.knock(&mut world);
    let third = hand.segment(&world, ACK, b"");
    let request = hand.segment(&world, ACK | PSH, REQUEST);
    let answers = world.inject_all(&[third.clone(), third, request.clone(), request]);
    assert_eq!(world.server.established(), 1);
    let data: usize = answers.iter().map(|p| p.payload.len()).sum();
    assert!(data <= 3000, "{data} bytes were sent for two copies of a request");
}

/// A client that comes back with the same port while its marker lives is a new client.
#[test]
fn a_marker_yields_to_a_newer_handshake() {
    let mut world = cookie_world(10);
    let mut hand = Hand::new(4, true);
    for round in 1..=3 {
        hand.connect(&mut world);
        hand.fetch(&mut world);
        hand.say(&mut world, ACK | FIN, b"");
        assert_eq!(world.server.established(), round);
        world.pass(SECOND);
        let next = Hand { seq: hand.seq.wrapping_add(100_000), ..Hand::new(4, true) };
        hand = next;
    }
    world.finish(300 * SECOND, 0);
}

/// A third ACK that comes two epochs late is refused; within one it is accepted.
#[test]
fn old_cookies_open_nothing() {
    let mut world = cookie_world(11);
    for (wait, opens) in [(50, true), (63, true), (129, false), (1000, false)] {
        let mut hand = Hand::new(wait as usize, true);
        hand.knock(&mut world);
        let third = hand.segment(&world, ACK, b"");
        let before = world.server.established();
        world.pass(wait * SECOND);
        world.inject(&third);
        assert_eq!(world.server.established() - before, u64::from(opens), "after {wait} s");
    }
}
