//! What a stranger who knows the tuple, but not the numbers, can do to a connection: nothing
//! (RFC 5961); and the rules about RSTs and strays.

use super::engine::{Cookies, Engine, Setup, world};
use super::frame::{ACK, FIN, PSH, Packet, RST, SYN};
use super::hand::{Hand, REQUEST};
use super::network::Weather;
use super::plan::SECOND;
use super::server::Server;
use super::world::World;

fn worlds() -> Vec<World<Engine>> {
    let setup = |cookies| Setup { cookies, answer: 5000, ..Setup::default() };
    [Cookies::Always, Cookies::Never]
        .map(|cookies| world(20, Weather::CLEAR, &setup(cookies)))
        .into()
}

/// Every answer must be a bare ACK with the connection's numbers.
fn assert_challenges(hand: &Hand, answers: &[Packet]) {
    for answer in answers {
        assert_eq!((answer.flags, answer.ack), (ACK, hand.seq), "{answer:?}");
        assert!(answer.payload.is_empty());
    }
}

fn survives(mut hand: Hand, world: &mut World<Engine>) {
    world.pass(SECOND);
    hand.fetch(world);
    assert_eq!(hand.received, 5000);
    hand.say(world, ACK | FIN, b"");
    world.finish(400 * SECOND, 0);
}

/// RFC 5961 §3.2
#[test]
fn only_the_exact_rst_resets() {
    for mut world in worlds() {
        let mut hand = Hand::new(0, true);
        hand.connect(&mut world);
        for (offset, inside) in
            [(1, true), (1000, true), (-1, false), (-5000, false), (1 << 30, false)]
        {
            let mut rst = hand.segment(&world, RST, b"");
            rst.seq = rst.seq.wrapping_add_signed(offset);
            let answers = world.inject(&rst);
            assert!(answers.len() <= usize::from(inside), "offset {offset}: {answers:?}");
            assert_challenges(&hand, &answers);
        }
        survives(hand, &mut world);
    }
}

/// RFC 5961 §3.2
#[test]
fn the_exact_rst_ends_at_once() {
    for mut world in worlds() {
        let mut hand = Hand::new(0, true);
        hand.connect(&mut world);
        let rst = hand.segment(&world, RST, b"");
        assert!(world.inject(&rst).is_empty());
        let request = hand.segment(&world, ACK | PSH, REQUEST);
        assert!(world.inject(&request).iter().all(|p| p.payload.is_empty()));
        world.finish(400 * SECOND, 0);
    }
}

/// RFC 5961 §4.2
#[test]
fn a_syn_in_a_connection_is_challenged() {
    for mut world in worlds() {
        let mut hand = Hand::new(0, true);
        hand.connect(&mut world);
        for offset in [-1, 0, 1, 1000, 1 << 30] {
            for flags in [SYN, SYN | ACK] {
                let mut syn = hand.segment(&world, flags, b"");
                syn.seq = syn.seq.wrapping_add_signed(offset);
                let answers = world.inject(&syn);
                assert_challenges(&hand, &answers);
            }
        }
        survives(hand, &mut world);
    }
}

/// RFC 5961 §5.2
#[test]
fn data_with_an_impossible_ack_is_not_believed() {
    for mut world in worlds() {
        let mut hand = Hand::new(0, true);
        hand.connect(&mut world);
        for offset in [1, 1000, 1 << 30, -(1 << 30), i32::MIN] {
            let mut data = hand.segment(&world, ACK | PSH, b"inject");
            data.ack = data.ack.wrapping_add_signed(offset);
            let answers = world.inject(&data);
            assert_challenges(&hand, &answers);
        }
        survives(hand, &mut world);
    }
}

/// RFC 9293 §3.10.7.4, RFC 7323 §5.3: out of the window or with an old timestamp, it is acknowledged
/// and dropped.
#[test]
fn data_outside_the_window_or_of_the_past_is_not_taken() {
    for mut world in worlds() {
        let mut hand = Hand::new(0, true);
        hand.connect(&mut world);
        let mut far = hand.segment(&world, ACK | PSH, b"inject");
        far.seq = far.seq.wrapping_add(1 << 24);
        let mut old = Hand { clock: hand.clock - 100_000, ..hand.clone() }.segment(
            &world,
            ACK | PSH,
            b"inject",
        );
        let mut bare = hand.segment(&world, ACK | PSH, b"inject");
        bare.options.clear();
        old.seq = hand.seq;
        for packet in [far, old, bare] {
            let answers = world.inject(&packet);
            assert_challenges(&hand, &answers);
        }
        survives(hand, &mut world);
    }
}

/// Challenge ACKs are limited, so that they cannot be used to amplify or to count (RFC 5961 §7).
#[test]
fn challenges_are_limited() {
    for mut world in worlds() {
        let mut hand = Hand::new(0, true);
        hand.connect(&mut world);
        let mut rst = hand.segment(&world, RST, b"");
        rst.seq = rst.seq.wrapping_add(10);
        let answered: usize = (0..1000).map(|_| world.inject(&rst).len()).sum();
        assert!(answered < 300, "{answered} challenges for 1000 RSTs");
        survives(hand, &mut world);
    }
}

/// RFC 9293 §3.10.7.1: a RST is never answered; a stray gets nothing or a RST with the right numbers.
#[test]
fn strays_open_and_end_nothing() {
    for mut world in worlds() {
        let hand = Hand { seq: 1000, ack: 2000, ..Hand::new(0, false) };
        let rst = hand.segment(&world, RST, b"");
        assert!(world.inject(&rst).is_empty());
        for flags in [ACK, ACK | FIN, ACK | PSH, FIN, 0, SYN | FIN, SYN | RST, PSH, SYN | ACK] {
            let stray = hand.segment(&world, flags, b"");
            let answers = world.inject(&stray);
            assert!(
                answers.iter().all(|p| p.has(RST) && p.seq == 2000 && flags & ACK != 0),
                "{flags:02x}: {answers:?}"
            );
        }
        assert_eq!((world.server.established(), world.server.flows()), (0, 0));
    }
}

/// RFC 9293 §3.10.7.1: to a port without service.
#[test]
fn an_unknown_port_refuses_with_the_right_numbers() {
    for mut world in worlds() {
        let mut hand = Hand { seq: 1000, ack: 2000, ..Hand::new(0, false) };
        hand.ends.remote.set_port(81);
        let syn = hand.syn(&world);
        let answers = world.inject(&syn);
        assert_eq!(answers.len(), 1);
        assert_eq!((answers[0].flags, answers[0].seq, answers[0].ack), (RST | ACK, 0, 1001));
        let data = hand.segment(&world, ACK, b"abc");
        let answers = world.inject(&data);
        assert_eq!(answers.len(), 1);
        assert_eq!((answers[0].flags, answers[0].seq, answers[0].ack), (RST, 2000, 0));
        for (flags, end) in [(0, 1003), (PSH, 1003), (FIN, 1004), (SYN | FIN, 1005)] {
            let odd = hand.segment(&world, flags, b"abc");
            let answers = world.inject(&odd);
            assert_eq!(answers.len(), 1, "{flags:02x}");
            assert_eq!((answers[0].flags, answers[0].seq, answers[0].ack), (RST | ACK, 0, end));
        }
        let rst = hand.segment(&world, RST, b"");
        assert!(world.inject(&rst).is_empty());
        world.check_wire();
    }
}
