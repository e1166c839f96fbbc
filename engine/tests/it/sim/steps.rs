//! Single connections led step by step: half-open flows, reuse of a tuple, probes and closed windows.

use super::engine::{Cookies, Engine, Setup, world};
use super::frame::{ACK, FIN, PSH, RST, SYN};
use super::hand::{Hand, REQUEST};
use super::network::Weather;
use super::plan::{MILLI, SECOND};
use super::server::Server;
use super::world::World;

fn stateful() -> World<Engine> {
    world(30, Weather::CLEAR, &Setup { cookies: Cookies::Never, answer: 5000, ..Setup::default() })
}

fn by_cookie() -> World<Engine> {
    world(31, Weather::CLEAR, &Setup { cookies: Cookies::Always, answer: 5000, ..Setup::default() })
}

/// RFC 9293 §3.8.1 with the waits of the issue: 1, 2, 4, 8, 16 s, then the record is freed.
#[test]
fn the_syn_ack_is_sent_again_with_back_off_and_the_record_freed() {
    let mut world = stateful();
    let mut hand = Hand::new(0, true);
    let first = hand.knock(&mut world);
    let mut sent = Vec::new();
    for step in 1..=700 {
        let before = world.monitor.syn_acks;
        world.pass(100 * MILLI);
        if world.monitor.syn_acks > before {
            sent.push(step / 10);
        }
    }
    assert_eq!(sent, [1, 3, 7, 15, 31], "SYN-ACKs at these seconds; the first was {first:?}");
    assert_eq!(world.server.flows(), 0);
    world.finish(0, 0);
}

/// The issue: a repeated SYN is answered again with the same ISN.
#[test]
fn a_repeated_syn_has_the_same_answer() {
    let mut world = stateful();
    let mut hand = Hand::new(0, true);
    let syn = hand.syn(&world);
    let first = hand.knock(&mut world);
    for _ in 0..3 {
        world.pass(300 * MILLI);
        let again = world.inject(&syn);
        assert_eq!(again.len(), 1);
        assert_eq!((again[0].seq, again[0].ack, again[0].flags), (first.seq, first.ack, SYN | ACK));
    }
    let burst = world.inject_all(&[syn.clone(), syn]);
    assert!(burst.iter().all(|p| p.seq == first.seq) && burst.len() == 2);
    assert_eq!(world.server.flows(), 1);
    hand.fetch(&mut world);
    hand.say(&mut world, ACK | FIN, b"");
    world.finish(70 * SECOND, 0);
}

/// RFC 9293 §3.10.7.4: a SYN with another number in SYN_RCVD. Whatever becomes of it, the client gets in
/// by sending it again, and one record is held.
#[test]
fn a_syn_with_another_number_gets_in_in_the_end() {
    for offset in [1, 1000, 1 << 29, -1, -(1 << 29)] {
        let mut world = stateful();
        let mut hand = Hand::new(0, true);
        let old = hand.seq;
        hand.knock(&mut world);
        hand = Hand { seq: old.wrapping_add_signed(offset), ..Hand::new(0, true) };
        let syn = hand.syn(&world);
        let mut answers = world.inject(&syn);
        // A client in SYN_SENT resets what does not acknowledge its SYN (RFC 9293 §3.10.7.3).
        for answer in answers.iter().filter(|p| p.ack != syn.end() && p.has(ACK) && !p.has(RST)) {
            let mut rst = hand.segment(&world, RST, b"");
            rst.seq = answer.ack;
            rst.options.clear();
            assert!(world.inject(&rst).is_empty());
        }
        if !answers.iter().any(|p| p.flags == SYN | ACK && p.ack == syn.end()) {
            world.pass(SECOND);
            answers = world.inject(&syn);
        }
        let taken = answers.iter().find(|p| p.ack == syn.end()).expect("the new SYN is taken");
        hand.seq = syn.end();
        hand.ack = taken.end();
        hand.recent = taken.time().map_or(0, |(val, _)| val);
        assert_eq!(world.server.flows(), 1, "offset {offset}");
        hand.fetch(&mut world);
        hand.say(&mut world, ACK | FIN, b"");
        world.finish(70 * SECOND, 0);
    }
}

/// RFC 5961 §3.2 in SYN_RCVD: only the exact number frees the record.
#[test]
fn a_half_open_flow_is_freed_by_the_exact_rst() {
    let mut world = stateful();
    let mut hand = Hand::new(0, true);
    hand.knock(&mut world);
    for (offset, left) in [(5, 1), (-5, 1), (1 << 28, 1), (0, 0)] {
        let mut rst = hand.segment(&world, RST, b"");
        rst.seq = rst.seq.wrapping_add_signed(offset);
        let answers = world.inject(&rst);
        assert!(answers.iter().all(|p| p.flags == ACK), "{answers:?}");
        assert_eq!(world.server.flows(), left, "offset {offset}");
    }
    world.check_wire();
}

/// The third ACK opens only with the exact acknowledgement number.
#[test]
fn a_wrong_third_ack_opens_nothing() {
    let mut world = stateful();
    let mut hand = Hand::new(0, true);
    hand.knock(&mut world);
    for offset in [-1, 1, 1000, 1 << 30] {
        let mut third = hand.segment(&world, ACK, b"");
        third.ack = third.ack.wrapping_add_signed(offset);
        world.inject(&third);
        assert_eq!(world.server.established(), 0, "offset {offset}");
    }
    let mut far = hand.segment(&world, ACK, b"");
    far.seq = far.seq.wrapping_add(1 << 24);
    world.inject(&far);
    assert_eq!(world.server.established(), 0);
    hand.fetch(&mut world);
    assert_eq!(world.server.established(), 1);
}

/// RFC 6191 §2: TIME_WAIT gives way to a newer SYN, and to no other.
#[test]
fn time_wait_gives_way_to_a_newer_syn_only() {
    for timestamps in [false, true] {
        let mut world = stateful();
        let mut hand = Hand::new(0, timestamps);
        hand.connect(&mut world);
        hand.fetch(&mut world);
        hand.say(&mut world, ACK | FIN, b"");
        assert_eq!(world.server.flows(), 1, "TIME_WAIT");
        world.pass(SECOND);
        let mut old = hand.syn(&world);
        old.seq = hand.seq.wrapping_sub(5000);
        if timestamps {
            old.options.remove(0);
            old.options.insert(0, super::frame::Opt::Time(hand.clock - 5000, 0));
        }
        let answers = world.inject(&old);
        assert!(answers.iter().all(|p| p.flags == ACK), "an old SYN got {answers:?}");
        let mut fresh = Hand { seq: hand.seq.wrapping_add(1), ..Hand::new(0, timestamps) };
        fresh.connect(&mut world);
        fresh.fetch(&mut world);
        fresh.say(&mut world, ACK | FIN, b"");
        assert_eq!(world.server.established(), 2);
        assert_eq!(world.server.flows(), 1);
        world.finish(70 * SECOND, 0);
    }
}

/// RFC 1337: a RST does not end TIME_WAIT; a repeated FIN is acknowledged again.
#[test]
fn time_wait_stays_and_acknowledges_a_repeated_fin() {
    let mut world = stateful();
    let mut hand = Hand::new(0, true);
    hand.connect(&mut world);
    hand.fetch(&mut world);
    let fin = hand.segment(&world, ACK | FIN, b"");
    hand.say(&mut world, ACK | FIN, b"");
    let rst = hand.segment(&world, RST, b"");
    assert!(world.inject(&rst).is_empty());
    assert_eq!(world.server.flows(), 1);
    let again = world.inject(&fin);
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].flags, again[0].ack), (ACK, fin.end()));
    world.finish(70 * SECOND, 0);
}

/// In cookie mode such a SYN is answered by cookie and changes nothing until its ACK proves it.
#[test]
fn in_cookie_mode_the_ack_and_not_the_syn_replaces_time_wait() {
    let mut world = by_cookie();
    let mut hand = Hand::new(0, true);
    hand.connect(&mut world);
    hand.fetch(&mut world);
    hand.say(&mut world, ACK | FIN, b"");
    world.pass(SECOND);
    let mut fresh = Hand { seq: hand.seq.wrapping_add(70_000), ..Hand::new(0, true) };
    fresh.knock(&mut world);
    let fin_again =
        Hand { seq: hand.seq.wrapping_sub(1), ..hand.clone() }.segment(&world, ACK | FIN, b"");
    let answers = world.inject(&fin_again);
    assert!(
        answers.iter().all(|p| p.flags == ACK && p.ack == hand.seq) && answers.len() == 1,
        "{answers:?}"
    );
    fresh.fetch(&mut world);
    assert_eq!((world.server.established(), fresh.received), (2, 5000));
    fresh.say(&mut world, ACK | FIN, b"");
    world.finish(400 * SECOND, 0);
}

/// RFC 9293 §3.8.4
#[test]
fn keepalive_probes_are_acknowledged() {
    for mut world in [stateful(), by_cookie()] {
        let mut hand = Hand::new(0, true);
        hand.connect(&mut world);
        for payload in [&b""[..], b"x"] {
            world.pass(20 * SECOND);
            let mut probe = hand.segment(&world, ACK, payload);
            probe.seq = probe.seq.wrapping_sub(1);
            let answers = world.inject(&probe);
            assert_eq!(answers.len(), 1, "{payload:?}");
            assert_eq!((answers[0].flags, answers[0].ack), (ACK, hand.seq));
        }
        hand.fetch(&mut world);
        hand.say(&mut world, ACK | FIN, b"");
        world.finish(400 * SECOND, 0);
    }
}

/// RFC 9293 §3.8.6.1: a closed window is respected and probed for as long as the peer answers.
#[test]
fn a_closed_window_is_probed_until_it_opens() {
    for mut world in [stateful(), by_cookie()] {
        let mut hand = Hand { window: 0, ..Hand::new(0, true) };
        hand.knock(&mut world);
        let answers = hand.say(&mut world, ACK | PSH, REQUEST);
        assert!(answers.iter().all(|p| p.payload.len() <= 1), "{answers:?}");
        let before = world.monitor.data;
        for _ in 0..200 {
            world.pass(SECOND);
            let shut = hand.segment(&world, ACK, b"");
            world.inject(&shut);
        }
        let probes = world.monitor.data - before;
        assert!((3..=60).contains(&probes), "{probes} probes in 200 s");
        world.check_wire();
        hand.window = 60_000;
        hand.fetch(&mut world);
        assert_eq!(hand.received, 5000);
        hand.say(&mut world, ACK | FIN, b"");
        world.finish(400 * SECOND, 0);
    }
}

/// Found by `fools_break_no_rule`, seed 21601: the client's second piece was lost and the third arrived;
/// then the second, sent again, acknowledged more and closed the window. The server took the
/// acknowledgement, but not the window, as the third piece had the higher number (RFC 9293 §3.10.7.4 read
/// by the letter), and sent beyond what the client allowed.
#[test]
fn a_retransmission_that_acknowledges_more_closes_the_window() {
    for cookies in [Cookies::Never, Cookies::Always] {
        let mut world =
            world(32, Weather::CLEAR, &Setup { cookies, answer: 9000, ..Setup::default() });
        let mut hand = Hand { window: 5000, ..Hand::new(0, false) };
        hand.knock(&mut world);
        let first = hand.say(&mut world, ACK | PSH, REQUEST);
        assert!(!first.is_empty());
        let again = hand.seq;
        let third = Hand { seq: again.wrapping_add(100), ack: first[0].seq, ..hand.clone() };
        let third = third.segment(&world, ACK | PSH, REQUEST);
        world.inject(&third);
        hand.window = 0;
        let answers = hand.say(&mut world, ACK | PSH, &[b'y'; 100]);
        assert!(answers.iter().all(|p| p.payload.is_empty()), "the window is shut: {answers:?}");
        world.check_wire();
    }
}

/// The issue: idle flows end after a configured time, by RST to the client.
#[test]
fn an_idle_flow_ends_by_rst() {
    let mut world = stateful();
    let mut hand = Hand::new(0, true);
    hand.connect(&mut world);
    let before = world.monitor.resets;
    world.pass(310 * SECOND);
    assert_eq!(world.monitor.resets - before, 1);
    assert_eq!(world.server.flows(), 0);
    world.finish(0, 0);
}

/// RFC 9293 §3.8.1: our FIN is sent again until it is acknowledged, bounded.
#[test]
fn an_unanswered_answer_is_sent_again_and_given_up() {
    for mut world in [stateful(), by_cookie()] {
        let mut hand = Hand::new(0, true);
        hand.connect(&mut world);
        hand.say(&mut world, ACK | PSH, REQUEST);
        let before = world.monitor.data;
        world.pass(500 * SECOND);
        let again = world.monitor.data - before;
        assert!((5..=30).contains(&again), "sent again {again} times");
        world.finish(0, 0);
    }
}

/// DESIGN, contract: a drain meets new SYNs with silence, accepts ACKs of earlier handshakes, lets flows
/// finish, and resets what is left at its deadline; TIME_WAIT and markers do not count.
#[test]
fn a_drain_finishes_what_began() {
    for mut world in [stateful(), by_cookie()] {
        let (mut early, mut late, mut stuck) =
            (Hand::new(0, true), Hand::new(1, true), Hand::new(2, true));
        early.knock(&mut world);
        stuck.connect(&mut world);
        world.server.drain(world.now, 20_000);
        let syn = late.syn(&world);
        assert!(world.inject(&syn).is_empty(), "a new SYN gets silence");
        early.fetch(&mut world);
        assert_eq!(early.received, 5000);
        early.say(&mut world, ACK | FIN, b"");
        assert!(!world.server.is_idle(), "one is left");
        let before = world.monitor.resets;
        world.pass(21 * SECOND);
        assert_eq!(world.monitor.resets - before, 1, "the deadline resets it");
        assert!(world.server.is_idle());
        late.seq = late.seq.wrapping_add(1);
        let syn = late.syn(&world);
        assert!(world.inject(&syn).is_empty());
        world.finish(400 * SECOND, 0);
    }
}
