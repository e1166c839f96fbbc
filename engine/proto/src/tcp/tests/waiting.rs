//! Flows that wait for their consumer: what is held, and what ends them.

use super::*;
use crate::verdict::{End, Reason};

const HOLD: u16 = 20_000;
const FIRST: SeqNum = SeqNum(IRS + 1);

/// A service that hands its flows to a consumer.
fn ring(fixture: &Fixture) -> Context<'_> {
    let offer = Terms { window: HOLD, ..Terms::default() };
    Context { kind: Kind::Ring, offer, ..fixture.at(10) }
}

/// A flow that waits, and a segment of its client with `len` octets from `offset` on.
fn waiting<'f>(fixture: &'f Fixture) -> (Tcb, Context<'f>, impl Fn(u32, u16) -> Segment) {
    let cx = ring(fixture);
    let (_, half_open) = arrive(&syn(), &cx);
    let una = half_open.iss.add(1);
    let octets = move |offset, len| data(segment(Flags::ACK, FIRST.add(offset), una), len);
    let (decision, tcb) = meet(&half_open, &octets(0, 0), &cx);
    assert_eq!(decision.verdict, Verdict::Connect);
    (tcb, cx, octets)
}

fn fin(seg: Segment) -> Segment {
    Segment { flags: seg.flags | Flags::FIN, ..seg }
}

/// The window of the SYN-ACK is what is held; nothing of the third ACK is taken, whoever remembered the
/// handshake.
#[test]
fn a_third_ack_begins_to_wait_and_takes_nothing() {
    let fixture = Fixture::new();
    for admission in [Admission::Stateful, Admission::Cookie] {
        let cx = Context { admission, ..ring(&fixture) };
        let (asked, half_open) = arrive(&full_syn(), &cx);
        let Verdict::Answer(syn_ack) = asked.verdict else { panic!("a SYN is answered") };
        assert_eq!(syn_ack.window, HOLD);
        let seg = third_ack(&syn_ack);
        let (answered, tcb) = match asked.change {
            Change::Open => meet(&half_open, &seg, &cx),
            _ => arrive(&seg, &cx),
        };
        assert_eq!(answered.verdict, Verdict::Connect);
        assert!(matches!(answered.event, Some(Event::Established { .. })));
        assert!(tcb.traits.has(Traits::AWAITING));
        assert_eq!((tcb.rcv_nxt, tcb.held_to), (FIRST, FIRST));

        let (again, tcb) = meet(&tcb, &seg, &cx);
        assert_eq!(again.verdict, Verdict::Hold, "the same segment, once the flow is known");
        assert_eq!((tcb.rcv_nxt, tcb.held_to), (FIRST, seg.end()));
    }
}

/// What goes on where the held ends is held, as far as it fits the window; the rest is the client's to send
/// again. Nothing is acknowledged.
#[test]
fn what_fits_is_held_in_order_and_never_acknowledged() {
    let fixture = Fixture::new();
    let (mut tcb, cx, octets) = waiting(&fixture);
    let deliver = Verdict::Deliver;
    for (seg, verdict, held) in [
        (octets(0, 0), deliver, 0),
        (octets(10, 5), deliver, 0),
        (octets(0, 10), Verdict::Hold, 10),
        (octets(0, 10), deliver, 10),
        (octets(5, 10), Verdict::Hold, 15),
        (octets(15, HOLD - 14), deliver, 15),
        (octets(15, HOLD - 16), Verdict::Hold, u32::from(HOLD) - 1),
        (fin(octets(u32::from(HOLD) - 1, 1)), deliver, u32::from(HOLD) - 1),
        (fin(octets(u32::from(HOLD) - 1, 0)), Verdict::Hold, HOLD.into()),
        (octets(u32::from(HOLD) - 1, 1), deliver, HOLD.into()),
    ] {
        let (decision, mut next) = meet(&tcb, &seg, &cx);
        assert_eq!(decision.verdict, verdict, "{seg:?}");
        assert_eq!(next.held_to, FIRST.add(held));
        assert_eq!((next.rcv_nxt, next.state), (FIRST, State::Established));
        assert_eq!(next.next_segment(&cx), None);
        tcb = next;
    }
    assert!(tcb.traits.has(Traits::HELD_FIN));
    let (decision, _) = meet(&tcb, &octets(u32::from(HOLD), 5), &cx);
    let Verdict::Answer(ack) = decision.verdict else { panic!("out of the window: {decision:?}") };
    assert_eq!((ack.ack, ack.window, ack.limited), (FIRST, HOLD, true), "no scale was agreed on");
}

#[test]
fn what_could_not_be_held_may_come_again() {
    let fixture = Fixture::new();
    let (tcb, cx, octets) = waiting(&fixture);
    let tcb = step(&tcb, &octets(0, 7), &cx);
    let last = fin(octets(7, 3));
    let mut held = step(&tcb, &last, &cx);
    held.not_held(tcb.held_to);
    assert_eq!((held.held_to, held.traits), (tcb.held_to, tcb.traits));
    assert_eq!(decide(&held, &last, &cx).verdict, Verdict::Hold);
}

/// RFC 5961 §3.2: what we acknowledged is one number that a RST may have; what the client has sent is the
/// other.
#[test]
fn a_waiting_flow_is_reset_at_either_of_its_numbers() {
    let fixture = Fixture::new();
    let (tcb, cx, octets) = waiting(&fixture);
    let tcb = step(&tcb, &octets(0, 100), &cx);
    let rst = |offset| decide(&tcb, &Segment { flags: Flags::RST, ..octets(offset, 0) }, &cx);
    for offset in [0, 100] {
        assert_eq!(rst(offset).change, Change::End(End::ClosedByReset));
    }
    assert!(matches!(rst(50).verdict, Verdict::Answer(reply) if reply.limited));
    assert_eq!(rst(HOLD.into()).verdict, Verdict::Drop(Reason::ResetOutOfWindow));
    let owned = Tcb { traits: Traits::default(), ..tcb };
    let later = Segment { flags: Flags::RST, ..octets(100, 0) };
    assert_eq!(decide(&owned, &later, &cx).change, Change::Keep, "nobody waits any more");
}

/// A keepalive probe shows that the client lives, and is told that nothing was taken; silence ends the flow.
#[test]
fn a_waiting_flow_lives_and_dies_as_an_established_one() {
    let fixture = Fixture::new();
    let (tcb, cx, octets) = waiting(&fixture);
    let tcb = step(&tcb, &octets(0, 100), &cx);
    let probe = Segment { seq: FIRST.sub(1), ..octets(0, 0) };
    let later = Context { now: fixture.at(5000).now, ..cx };
    let (decision, probed) = meet(&tcb, &probe, &later);
    let Verdict::Answer(ack) = decision.verdict else { panic!("an ACK") };
    assert_eq!((ack.ack, probed.heard_at), (FIRST, later.now.tick));
    let silent = Context { now: fixture.at(5000 + 300_000).now, ..cx };
    let (reset, change, _) = { probed }.on_timer(&silent);
    assert_eq!(change, Change::End(End::IdleTimeout));
    assert!(reset.is_some_and(|reply| reply.flags.has(Flags::RST)));
}

/// The transition table of a flow that waits, without and with something held.
#[test]
fn a_waiting_flow_meets_every_kind_of_segment() {
    let fixture = Fixture::new();
    let (fresh, cx, octets) = waiting(&fixture);
    let holding = step(&fresh, &octets(0, 20), &cx);
    let closed = step(&holding, &fin(octets(20, 0)), &cx);
    let mut table = String::new();
    for (name, tcb) in [("nothing held", fresh), ("data held", holding), ("FIN held", closed)] {
        let _ = writeln!(table, "{name}");
        let behind = Tcb { rcv_nxt: tcb.held_to, ..tcb };
        for (kind, seg) in kinds(&behind) {
            let (decision, next) = meet(&tcb, &seg, &cx);
            let held = next.held_to.since(FIRST);
            let _ = writeln!(table, "  {kind:<20} {}, held {held}", describe(&decision, &next));
        }
    }
    insta::assert_snapshot!(table);
}
