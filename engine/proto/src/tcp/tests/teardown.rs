//! The close in every order, what it leaves, and what gives way to whom.

use super::*;
use crate::cookie::COOKIE_LIFE_MS;
use crate::verdict::{End, Event, Reason};

fn fin(seg: Segment) -> Segment {
    Segment { flags: seg.flags | Flags::FIN, ..seg }
}

/// A flow that asked and has the answer, our FIN included; the client has not closed.
fn answered(fixture: &Fixture, options: Options) -> Talk<'_> {
    let mut talk = Talk::established(fixture, options);
    let request = data(talk.ack(0), 5);
    assert!(talk.hear(&request)[0].flags.has(Flags::FIN));
    talk
}

/// A flow in TIME_WAIT, closed by us first.
fn waiting(fixture: &Fixture, options: Options) -> Talk<'_> {
    let mut talk = answered(fixture, options);
    let last = fin(talk.ack(ANSWER + 1));
    assert_eq!(talk.hear(&last)[0].ack, last.end());
    assert_eq!(talk.tcb.state, State::TimeWait);
    talk
}

/// A flow that a cookie opened, and the ACK that did.
fn by_cookie(fixture: &Fixture) -> (Talk<'_>, Segment) {
    let issued = Context { admission: Admission::Cookie, ..fixture.at(0) };
    let Verdict::Answer(reply) = listen(&syn(), &issued).verdict else { panic!("a SYN-ACK") };
    let third = segment(Flags::ACK, SeqNum(IRS + 1), reply.seq.add(1));
    let (opened, tcb) = arrive(&third, &fixture.at(0));
    assert_eq!(opened.change, Change::Open);
    (Talk { fixture, tcb, ms: 0 }, third)
}

/// RFC 9293 §3.6, case 1: FIN, ACK, FIN, ACK, ours first.
#[test]
fn we_close_first() {
    let fixture = Fixture::new();
    let mut talk = answered(&fixture, Options::default());
    assert_eq!(talk.tcb.state, State::FinWait1);
    let ack = talk.ack(ANSWER + 1);
    assert!(talk.hear(&ack).is_empty());
    assert_eq!(talk.tcb.state, State::FinWait2);
    let last = fin(talk.ack(ANSWER + 1));
    let decision = decide(&talk.tcb, &last, &fixture.at(0));
    assert_eq!(decision.event, Some(Event::Ended(End::Closed)));
    assert_eq!(talk.hear(&last)[0].ack, last.end());
    assert_eq!(talk.tcb.state, State::TimeWait);
    assert!(talk.wait(59_999).is_empty());
    assert_eq!(talk.tcb.state, State::TimeWait, "for 60 s");
    talk.wait(1);
    assert_eq!(talk.tcb, Tcb::default(), "freed");
}

/// RFC 9293 §3.6, case 2: the client's FIN first, alone or with the request.
#[test]
fn the_client_closes_first() {
    let fixture = Fixture::new();
    for request in [0, 5] {
        let mut talk = Talk::established(&fixture, Options::default());
        let first = fin(data(talk.ack(0), request));
        let replies = talk.hear(&first);
        assert_eq!((replies.len(), replies[0].ack), (1, first.end()));
        assert!(replies[0].flags.has(Flags::FIN));
        assert_eq!(u32::from(replies[0].payload_len), if request > 0 { ANSWER } else { 0 });
        assert_eq!(talk.tcb.state, State::LastAck);
        let last = talk.ack(replies[0].payload_len.into());
        assert!(talk.hear(&last).is_empty(), "the FIN is not acknowledged");
        assert_eq!(talk.tcb.state, State::LastAck);
        let last = talk.ack(u32::from(replies[0].payload_len) + 1);
        let decision = decide(&talk.tcb, &last, &fixture.at(0));
        assert_eq!(decision.change, Change::End(End::Closed));
        assert_eq!(decision.event, Some(Event::Ended(End::Closed)));
    }
}

/// RFC 9293 §3.6, case 3: both FINs under way at once.
#[test]
fn both_close_at_once() {
    let fixture = Fixture::new();
    let mut talk = answered(&fixture, Options::default());
    let crossing = fin(talk.ack(0));
    assert_eq!(talk.hear(&crossing)[0].ack, crossing.end());
    assert_eq!(talk.tcb.state, State::Closing);
    let last = talk.ack(ANSWER + 1);
    assert!(talk.hear(&last).is_empty());
    assert_eq!(talk.tcb.state, State::TimeWait);
}

/// RFC 9293 §3.8.1: our FIN is sent again until it is acknowledged, with back-off, and in the end given up
/// by RST.
#[test]
fn an_unacknowledged_fin_is_sent_again_and_given_up() {
    let fixture = Fixture::new();
    let mut talk = Talk::established(&fixture, Options::default());
    let first = fin(talk.ack(0));
    talk.hear(&first);
    let said = talk.wait(200_000);
    let (last, again) = said.split_last().expect("it was sent again");
    assert!(again.iter().all(|(_, reply)| reply.flags == Flags::FIN | Flags::ACK));
    assert_eq!(again.iter().map(|(ms, _)| ms / 1000).collect::<Vec<_>>(), [1, 3, 7, 15, 31, 63]);
    assert!(last.1.flags.has(Flags::RST));
    assert_eq!(talk.tcb.state, State::Closed);
}

/// A client that never closes its side is reset after the configured silence; an idle one, too.
#[test]
fn silence_ends_by_reset() {
    let fixture = Fixture::new();
    let mut half = answered(&fixture, Options::default());
    let ack = half.ack(ANSWER + 1);
    half.hear(&ack);
    let idle = Talk::established(&fixture, Options::default());
    let (half_closed, never) = (fixture.policy.half_closed, fixture.policy.idle);
    for (mut talk, after, end) in
        [(half, half_closed, End::HalfClosedTimeout), (idle, never, End::IdleTimeout)]
    {
        let mut over = talk.tcb;
        let (_, _, event) = over.on_timer(&fixture.at(after.into()));
        assert_eq!(event, Some(Event::Ended(end)));
        let said = talk.wait(u64::from(after) + 1000);
        assert_eq!((said.len(), said[0].0), (1, u64::from(after)));
        assert_eq!((said[0].1.flags, said[0].1.window), (Flags::RST | Flags::ACK, 0));
        assert_eq!(talk.tcb.state, State::Closed);
    }
}

/// RFC 9293 §3.10.7.4: a repeated FIN is acknowledged again and restarts TIME_WAIT; RFC 1337: a RST does
/// nothing.
#[test]
fn time_wait_acknowledges_the_fin_again_and_ignores_resets() {
    let fixture = Fixture::new();
    let mut talk = waiting(&fixture, Options::default());
    talk.wait(50_000);
    let again = Segment { seq: talk.tcb.rcv_nxt.sub(1), ..fin(talk.ack(ANSWER + 1)) };
    assert_eq!(talk.hear(&again)[0].ack, talk.tcb.rcv_nxt);
    talk.wait(50_000);
    let rst = Segment { flags: Flags::RST, ..talk.ack(0) };
    let decision = decide(&talk.tcb, &rst, &fixture.at(talk.ms));
    assert_eq!(decision.verdict, Verdict::Drop(Reason::ResetInTimeWait));
    assert_eq!(decision.change, Change::Keep);
    assert_eq!(talk.tcb.state, State::TimeWait);
    talk.wait(10_000);
    assert_eq!(talk.tcb, Tcb::default());
}

/// RFC 9293 §3.10.7.4: what is old draws an ACK, and prolongs nothing.
#[test]
fn old_segments_in_time_wait_are_acknowledged() {
    let fixture = Fixture::new();
    let mut talk = waiting(&fixture, linux());
    talk.ms = 500;
    let fits = talk.ack(ANSWER + 1);
    let late = decide(&talk.tcb, &fits, &fixture.at(500));
    assert_eq!((late.verdict, late.change), (Verdict::Deliver, Change::Keep));
    let timestamps = Some(Timestamps { val: 499, ecr: 0 });
    let of_the_past = Options { timestamps, ..Options::default() };
    let repeated = Segment { seq: talk.tcb.rcv_nxt.sub(1), ..fin(fits) };
    for old in [
        Segment { seq: fits.seq.sub(1), ..fits },
        Segment { options: of_the_past, ..fits },
        Segment { options: of_the_past, ..repeated },
        Segment { seq: fits.seq.sub(3), ..fin(fits) },
        data(fits, 5),
    ] {
        let decision = decide(&talk.tcb, &old, &fixture.at(500));
        let Verdict::Answer(reply) = decision.verdict else { panic!("an ACK: {decision:?}") };
        assert!(reply.limited && decision.change == Change::Keep, "{old:?}");
        assert_eq!(reply.ack, talk.tcb.rcv_nxt);
    }
}

/// TIME_WAIT begins with the peer's FIN, also where that shuts the window.
#[test]
fn time_wait_begins_with_the_last_fin() {
    let fixture = Fixture::new();
    let mut talk = answered(&fixture, Options::default());
    let ack = talk.ack(ANSWER + 1);
    talk.hear(&ack);
    talk.wait(30_000);
    let last = Segment { window: 0, ..fin(talk.ack(ANSWER + 1)) };
    talk.hear(&last);
    talk.wait(59_999);
    assert_eq!(talk.tcb.state, State::TimeWait);
    talk.wait(1);
    assert_eq!(talk.tcb, Tcb::default());
}

/// RFC 6191 §2: by timestamp where both incarnations have one, else by sequence number; a first timestamp
/// is enough. The new ISN is ahead of all that the old flow sent.
#[test]
fn time_wait_gives_way_to_what_is_surely_newer() {
    let fixture = Fixture::new();
    let none = Options::default();
    for (before, stamp, step, yields) in [
        (none, None, 1, true),
        (none, None, 0, false),
        (none, None, -1, false),
        (none, Some(1), -5000, true),
        (linux(), Some(501), -5000, true),
        (linux(), Some(500), 1, true),
        (linux(), Some(500), 0, false),
        (linux(), Some(499), 5000, false),
        (linux(), None, 1, true),
        (linux(), None, -1, false),
    ] {
        let talk = waiting(&fixture, before);
        let timestamps = stamp.map(|val| Timestamps { val, ecr: 0 });
        let options = Options { timestamps, ..Options::default() };
        let seq = SeqNum(talk.tcb.rcv_nxt.0.wrapping_add_signed(step));
        let fresh = Segment { seq, options, ..syn() };
        let what = std::format!("{:?} {stamp:?} {step}", before.timestamps);
        let (decision, tcb) = meet(&talk.tcb, &fresh, &fixture.at(100));
        match decision {
            Decision { change: Change::Open, verdict: Verdict::Answer(reply), .. } => {
                assert!(yields && reply.flags == Flags::SYN | Flags::ACK, "{what}");
                assert!(!tcb.iss.is_before(talk.tcb.snd_max.add(64_000)), "{what}");
            }
            Decision { change: Change::Keep, verdict: Verdict::Answer(reply), .. } => {
                assert!(!yields && reply.flags == Flags::ACK && reply.limited, "{what}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

/// In cookie mode a SYN changes nothing in TIME_WAIT; the ACK that proves its cookie replaces the record.
#[test]
fn a_cookie_replaces_time_wait_and_its_syn_does_not() {
    let fixture = Fixture { admission: Admission::Cookie, ..Fixture::new() };
    let stateful = Fixture::new();
    let talk = waiting(&stateful, Options::default());
    let fresh = Segment { seq: talk.tcb.rcv_nxt.add(9), ..syn() };
    let decision = decide(&talk.tcb, &fresh, &fixture.at(1));
    let Verdict::Answer(reply) = decision.verdict else { panic!("a SYN-ACK: {decision:?}") };
    assert_eq!((reply.ack, decision.change), (fresh.end(), Change::Keep));
    let third = segment(Flags::ACK, fresh.end(), reply.seq.add(1));
    assert!(decide(&talk.tcb, &third, &fixture.at(2)).change == Change::Open);
    let forged = Segment { ack: third.ack.add(1), ..third };
    assert_eq!(decide(&talk.tcb, &forged, &fixture.at(2)).change, Change::Keep);
}

/// DESIGN "Cookie": whatever its end, a flow that a cookie opened leaves a marker for as long as that is
/// valid; its ACK, with the request or without, opens nothing.
#[test]
fn a_spent_cookie_opens_nothing_again() {
    let fixture = Fixture::new();
    let rst = |talk: &Talk<'_>| Segment { flags: Flags::RST, ..talk.ack(0) };
    let ends: [fn(&mut Talk<'_>); 2] = [
        |talk| {
            let first = fin(talk.ack(0));
            talk.hear(&first);
            let last = talk.ack(1);
            talk.hear(&last);
        },
        |talk| {
            let request = data(talk.ack(0), 5);
            talk.hear(&request);
            let last = fin(talk.ack(ANSWER + 1));
            talk.hear(&last);
            assert_eq!(talk.tcb.state, State::TimeWait);
            let third = segment(Flags::ACK, talk.tcb.irs.add(1), talk.tcb.iss.add(1));
            for replay in [third, data(third, 5), data(third, 9)] {
                let change = decide(&talk.tcb, &replay, &talk.fixture.at(talk.ms)).change;
                assert_ne!(change, Change::Open);
            }
            talk.wait(60_000);
        },
    ];
    for end in ends.into_iter().map(Some).chain([None]) {
        let (mut talk, third) = by_cookie(&fixture);
        match end {
            Some(end) => end(&mut talk),
            None => {
                let rst = rst(&talk);
                talk.hear(&rst);
            }
        }
        assert_eq!(talk.tcb.state, State::Closed);
        assert!(talk.tcb.traits.has(Traits::BY_COOKIE), "a marker is left");
        for replay in [third, data(third, 5)] {
            let decision = decide(&talk.tcb, &replay, &fixture.at(talk.ms));
            assert_eq!(decision.verdict, Verdict::Drop(Reason::CookieReplayed));
            assert_eq!(decision.change, Change::Keep);
        }
        let newer = Segment { seq: SeqNum(IRS + 9), ..syn() };
        let decision = decide(&talk.tcb, &newer, &fixture.at(talk.ms));
        assert!(decision.change == Change::Open, "it yields to a newer SYN");
        assert_eq!(talk.tcb.deadline(&fixture.policy), fixture.at(COOKIE_LIFE_MS.into()).now.tick);
        talk.wait(u64::from(COOKIE_LIFE_MS) - talk.ms);
        assert_eq!(talk.tcb, Tcb::default(), "gone with its cookie");
    }
}

/// What a record opened leaves nothing, and neither does a cookie that is no longer valid.
#[test]
fn only_a_living_cookie_leaves_a_marker() {
    let fixture = Fixture::new();
    let mut talk = Talk::established(&fixture, Options::default());
    let rst = Segment { flags: Flags::RST, ..talk.ack(0) };
    talk.hear(&rst);
    assert_eq!(talk.tcb, Tcb::default());
    let (mut talk, _) = by_cookie(&fixture);
    talk.ms = COOKIE_LIFE_MS.into();
    let rst = Segment { flags: Flags::RST, ..talk.ack(0) };
    talk.hear(&rst);
    assert_eq!(talk.tcb, Tcb::default());
}

/// The drain's deadline: everybody is told but who has nobody to tell.
#[test]
fn a_drain_resets_what_is_left() {
    let fixture = Fixture::new();
    for state in OWN {
        let tcb = flow(state, &fixture);
        let (reply, change, event) = tcb.drained(&fixture.at(20));
        let told = !matches!(state, State::Closed | State::TimeWait);
        assert_eq!(reply.is_some_and(|reply| reply.flags.has(Flags::RST)), told);
        assert_eq!(change, Change::End(End::Drained));
        let failed = state == State::SynRcvd;
        let expected =
            if failed { Event::HandshakeFailed(End::Drained) } else { Event::Ended(End::Drained) };
        assert_eq!(event, Some(expected));
    }
}
