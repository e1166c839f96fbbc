//! What the handshake settles: options, windows, timers, cookies.

use super::*;
use crate::verdict::{CookieUse, End, Event, Reason};
use crate::wire::{ReplyOptions, Tuple};

fn by_cookie() -> Fixture {
    Fixture { admission: Admission::Cookie, ..Fixture::new() }
}

fn syn_ack(fixture: &Fixture, syn: &Segment) -> Reply {
    match listen(syn, &fixture.at(0)).verdict {
        Verdict::Answer(reply) => reply,
        other => panic!("a SYN-ACK, not {other:?}"),
    }
}

/// Every combination of the options that a SYN may have.
fn offers() -> impl Iterator<Item = Options> {
    (0..16u8).map(|bits| {
        let has = |bit: u8| bits & (1 << bit) != 0;
        Options {
            mss: has(0).then_some(1300),
            window_scale: has(1).then_some(9),
            sack_permitted: has(2),
            timestamps: has(3).then_some(Timestamps { val: 500, ecr: 0 }),
        }
    })
}

/// RFC 9293 §3.7.1, RFC 7323 §1.3, §2.2, §3.2, RFC 2018 §2: MSS always, the rest only if offered; the
/// timestamp is echoed; the window is not scaled.
#[test]
fn a_syn_ack_offers_what_was_offered() {
    for fixture in [Fixture::new(), by_cookie()] {
        for options in offers() {
            let reply = syn_ack(&fixture, &Segment { options, ..syn() });
            let ReplyOptions { mss, window_scale, sack_permitted, timestamps } = reply.options;
            assert_eq!((reply.flags, reply.ack), (Flags::SYN | Flags::ACK, SeqNum(IRS + 1)));
            assert_eq!(mss, Some(1460), "the port's, whatever the client's");
            assert_eq!(window_scale, options.window_scale.map(|_| 7));
            assert_eq!(sack_permitted, options.sack_permitted);
            assert_eq!(timestamps.map(|ts| ts.ecr), options.timestamps.map(|ts| ts.val));
            assert!(reply.window >= 65_408, "{} is scaled", reply.window);
        }
    }
}

/// RFC 9293 §3.7.1: a SYN without MSS means 536 or 1220; more than the port's is never sent, and options
/// are taken off (RFC 6691 §2).
#[test]
fn segments_fit_the_clients_mss_and_the_ports() {
    let v6 = Tuple { remote: Addr([0xfd; 16]), local: Addr([0xfe; 16]), ..syn().tuple };
    let fixture = Fixture::new();
    let mss = |options, tuple| {
        let syn = Segment { options, tuple, ..syn() };
        Talk::half_open(&fixture, &syn).0.tcb.mss
    };
    let named = |mss| Options { mss: Some(mss), ..Options::default() };
    assert_eq!(mss(Options::default(), syn().tuple), 536);
    assert_eq!(mss(Options::default(), v6), 1220);
    assert_eq!([100, 1300, 9000].map(|size| mss(named(size), v6)), [100, 1300, 1460]);
    assert_eq!(mss(linux(), v6), 1448);
    assert_eq!(mss(named(1), v6), 64, "smaller ones would only multiply segments");
}

/// RFC 7323 §2.2, §2.3: the SYN's window is not scaled, the third ACK's is, by 14 at most.
#[test]
fn the_clients_scale_holds_from_the_third_ack_on() {
    for fixture in [Fixture::new(), by_cookie()] {
        for (offered, scaled) in
            [(None, 500), (Some(0), 500), (Some(3), 4000), (Some(14), 8_192_000)]
        {
            let options = Options { window_scale: offered, ..Options::default() };
            let reply = syn_ack(&fixture, &Segment { options, ..syn() });
            let third = segment(Flags::ACK, SeqNum(IRS + 1), reply.seq.add(1));
            let third = Segment { window: 500, ..third };
            let (opened, half_open) = arrive(&Segment { options, ..syn() }, &fixture.at(0));
            let (_, tcb) = match opened.change {
                Change::Open => meet(&half_open, &third, &fixture.at(1)),
                Change::Keep | Change::Update | Change::End(_) => arrive(&third, &fixture.at(1)),
            };
            assert_eq!((tcb.state, tcb.snd_wnd), (State::Established, scaled), "{offered:?}");
        }
    }
}

/// RFC 3168 §6.1.1: ECE alone answers ECE and CWR, where that is configured; a cookie remembers it only
/// with timestamps.
#[test]
fn ecn_is_answered_by_ece_alone() {
    let asks = Flags::SYN | Flags::ECE | Flags::CWR;
    let agrees = |fixture: &Fixture, flags, options| {
        let reply = syn_ack(fixture, &Segment { flags, options, ..syn() });
        assert!(!reply.flags.has(Flags::CWR));
        reply.flags.has(Flags::ECE)
    };
    let stateful = Fixture::new();
    assert!(agrees(&stateful, asks, Options::default()) && agrees(&stateful, asks, linux()));
    assert!(!agrees(&stateful, Flags::SYN | Flags::ECE, linux()));
    assert!(!agrees(&stateful, Flags::SYN | Flags::CWR, linux()));
    assert!(agrees(&by_cookie(), asks, linux()));
    assert!(!agrees(&by_cookie(), asks, Options::default()));
    let mut without = Fixture::new();
    without.policy.ecn = false;
    assert!(!agrees(&without, asks, linux()));
}

/// RFC 6528 §3 in stateful mode; a SYN that comes again gets the same answer.
#[test]
fn a_stateful_isn_is_that_of_rfc_6528() {
    let fixture = Fixture::new();
    let (mut talk, first) = Talk::half_open(&fixture, &syn());
    let cx = fixture.at(0);
    assert_eq!(first.seq, cx.isn.isn(&syn().tuple, &cx.now).0);
    talk.ms = 700;
    let again = Segment { options: linux(), ..syn() };
    let replies = talk.hear(&again);
    assert_eq!((replies.len(), replies[0].seq, replies[0].ack), (1, first.seq, first.ack));
    assert_eq!(replies[0].options, first.options, "as the first SYN had it");
    assert_eq!(talk.tcb.heard_at, fixture.at(700).now.tick);
}

/// RFC 7323 §4.3: the SYN-ACK that is sent again echoes the newest of the SYNs' timestamps.
#[test]
fn a_repeated_syn_ack_echoes_the_newest_timestamp() {
    let fixture = Fixture::new();
    let (mut talk, _) = Talk::half_open(&fixture, &Segment { options: linux(), ..syn() });
    let timestamps = Some(Timestamps { val: 1500, ecr: 0 });
    let again = Segment { options: Options { timestamps, ..linux() }, ..syn() };
    let replies = talk.hear(&again);
    assert_eq!(replies[0].options.timestamps.map(|ts| ts.ecr), Some(1500));
}

/// RFC 6298 §5.5: 1, 2, 4, 8, 16 s apart, as often as configured; then the record is freed.
#[test]
fn a_syn_ack_is_sent_again_as_often_as_configured() {
    for (retries, times) in [(0, &[][..]), (2, &[1, 3]), (5, &[1, 3, 7, 15, 31])] {
        let mut fixture = Fixture::new();
        fixture.policy.syn_ack_retries = retries;
        let (mut talk, first) = Talk::half_open(&fixture, &syn());
        let said = talk.wait(70_000);
        assert_eq!(said.iter().map(|(ms, _)| ms / 1000).collect::<Vec<_>>(), times);
        assert!(said.iter().all(|(_, reply)| *reply == first));
        assert_eq!(talk.tcb.state, State::Closed);
    }
}

/// RFC 6298 §5.7: a SYN-ACK that timed out makes the first timeout of data 3 s; RFC 5681 §3.1 with RFC 6928
/// §2: two that did make the first flight one segment. A copy of the SYN alone does neither.
#[test]
fn data_begins_with_care_after_a_lost_syn_ack() {
    let fixture = Fixture { answer_len: 60_000, ..Fixture::new() };
    let begin = |waited, copies| {
        let options = Options { mss: Some(1460), ..Options::default() };
        let (mut talk, _) = Talk::half_open(&fixture, &Segment { options, ..syn() });
        talk.wait(waited);
        (0..copies).for_each(|_| drop(talk.hear(&Segment { options, ..syn() })));
        let request = data(talk.ack(0), 5);
        let flight = talk.hear(&request).len();
        (flight, talk.wait(5000)[0].0 - waited)
    };
    assert_eq!(begin(0, 0), (10, 1000));
    assert_eq!(begin(500, 2), (10, 1000));
    assert_eq!(begin(1500, 0), (10, 3000));
    assert_eq!(begin(3500, 0), (1, 3000));
}

/// RFC 9293 §3.10.7.4: the third ACK opens only with the exact number, in the window, with the timestamp
/// that was agreed on (RFC 7323 §3.2).
#[test]
fn only_the_exact_third_ack_opens() {
    let fixture = Fixture::new();
    let (talk, _) = Talk::half_open(&fixture, &Segment { options: linux(), ..syn() });
    let third = talk.ack(0);
    let decide = |seg: Segment| decide(&talk.tcb, &seg, &fixture.at(1));
    for ack in [third.ack.sub(1), third.ack.add(1), third.ack.add(1 << 31)] {
        let decision = decide(Segment { ack, ..third });
        assert_eq!(decision.verdict, Verdict::Drop(Reason::AckUnacceptable));
    }
    for seq in [third.seq.sub(1), third.seq.add(65_408), third.seq.add(1 << 31)] {
        let decision = decide(Segment { seq, ..third });
        assert!(matches!(decision.verdict, Verdict::Answer(reply) if reply.limited), "{seq:?}");
        assert_eq!(decision.change, Change::Keep);
    }
    let bare = Segment { options: Options::default(), ..third };
    assert_eq!(decide(bare).verdict, Verdict::Drop(Reason::TimestampMissing));
    let timestamps = Some(Timestamps { val: 499, ecr: 0 });
    let old = Segment { options: Options { timestamps, ..Options::default() }, ..third };
    assert!(matches!(decide(old).verdict, Verdict::Answer(reply) if reply.limited));
    assert_eq!(decide(old).change, Change::Keep);
    let event = Event::Established { by_cookie: false, handshake_us: Some(1000) };
    assert_eq!(decide(third).event, Some(event));
    assert_eq!(decide(third).verdict, Verdict::Deliver);
    let opened = step(&talk.tcb, &third, &fixture.at(1));
    assert_eq!(opened.opened_at, fixture.at(1).now.tick);
    let Verdict::Answer(ack) = super::decide(&opened, &data(third, 5), &fixture.at(2)).verdict
    else {
        panic!("the answer");
    };
    assert_eq!(ack.window, 511, "scaled by 7");
}

/// A cookie's ACK that meets the half-open flow of another SYN opens its own flow (a node that had answered
/// by cookie, a SYN that came twice with different numbers); nothing but an ACK does.
#[test]
fn a_cookie_supersedes_a_half_open_flow() {
    let (records, cookies) = (Fixture::new(), by_cookie());
    let (talk, _) = Talk::half_open(&records, &syn());
    for irs in [SeqNum(IRS + 500), SeqNum(IRS).sub(500), SeqNum(IRS + (1 << 30))] {
        let reply = syn_ack(&cookies, &Segment { seq: irs, ..syn() });
        let third = segment(Flags::ACK, irs.add(1), reply.seq.add(1));
        for more in [Flags::RST, Flags::SYN, Flags::RST | Flags::SYN] {
            let odd = Segment { flags: Flags::ACK | more, ..third };
            let decision = decide(&talk.tcb, &odd, &records.at(1));
            assert_ne!(decision.change, Change::Open, "{more:?}");
        }
        let mute = Segment { flags: Flags::PSH, ..data(third, 5) };
        assert_eq!(decide(&talk.tcb, &mute, &records.at(1)).change, Change::Keep);
        let (decision, tcb) = meet(&talk.tcb, &third, &records.at(1));
        assert_eq!((decision.change, decision.cookie), (Change::Open, Some(CookieUse::Accepted)));
        assert_eq!((tcb.irs, tcb.state), (irs, State::Established));
    }
}

/// Where nobody can have issued a cookie none is looked for.
#[test]
fn cookies_are_checked_only_where_there_may_be_some() {
    let fixture = by_cookie();
    let reply = syn_ack(&fixture, &syn());
    let third = segment(Flags::ACK, SeqNum(IRS + 1), reply.seq.add(1));
    let decision = listen(&third, &Context { check_cookies: false, ..fixture.at(1) });
    assert_eq!(decision.verdict, Verdict::Drop(Reason::InvalidAck));
    assert_eq!((decision.cookie, decision.change), (None, Change::Keep));
}

/// RFC 7323 §2.2: without the client's offer our windows are not scaled, either.
#[test]
fn windows_are_scaled_only_if_both_sides_offered_it() {
    let fixture = Fixture::new();
    let mut talk = Talk::established(&fixture, Options::default());
    let request = data(talk.ack(0), 5);
    assert_eq!(talk.hear(&request)[0].window, 65_535);
}

/// An ACK that the half-open flow cannot accept may be reset instead (RFC 9293 §3.10.7.4).
#[test]
fn a_wrong_third_ack_is_reset_where_policy_says_so() {
    let mut fixture = Fixture::new();
    fixture.policy.invalid_ack = Refusal::Reset;
    let (mut talk, _) = Talk::half_open(&fixture, &syn());
    let wrong = talk.ack(7);
    let replies = talk.hear(&wrong);
    assert_eq!((replies[0].flags, replies[0].seq), (Flags::RST, wrong.ack));
    assert_eq!(talk.tcb.state, State::SynRcvd);
}

/// The third ACK may be lost or overtaken: data opens, in order or not, and a copy of the ACK is harmless.
#[test]
fn data_opens_when_the_third_ack_is_missing() {
    let fixture = Fixture::new();
    let (mut talk, _) = Talk::half_open(&fixture, &syn());
    let third = talk.ack(0);
    let early = data(Segment { seq: third.seq.add(3), ..third }, 5);
    let replies = talk.hear(&early);
    assert_eq!((replies[0].ack, talk.tcb.state), (third.seq, State::Established));
    let replies = talk.hear(&data(third, 3));
    assert_eq!((replies[0].ack, replies[0].payload_len), (third.seq.add(3), 100));
    let before = talk.tcb;
    talk.hear(&third);
    assert_eq!((talk.tcb.state, talk.tcb.rcv_nxt), (before.state, before.rcv_nxt));
}

/// RFC 9293 §3.10.7.4: another SYN in the window returns to LISTEN, one outside draws an ACK.
#[test]
fn another_syn_ends_a_half_open_flow_only_in_its_window() {
    let fixture = Fixture::new();
    let (talk, _) = Talk::half_open(&fixture, &syn());
    let decide = |seq| decide(&talk.tcb, &Segment { seq, ..syn() }, &fixture.at(1));
    for inside in [talk.tcb.rcv_nxt, talk.tcb.rcv_nxt.add(60_000)] {
        assert_eq!(decide(inside).change, Change::End(End::Replaced));
    }
    let (stamped, _) = Talk::half_open(&fixture, &Segment { options: linux(), ..syn() });
    let bare = Segment { seq: stamped.tcb.rcv_nxt, ..syn() };
    let decision = super::decide(&stamped.tcb, &bare, &fixture.at(1));
    assert_eq!(decision.change, Change::End(End::Replaced), "another SYN may offer other options");
    for outside in [syn().seq.sub(1), syn().seq.add(70_000), syn().seq.add(1 << 31)] {
        let decision = decide(outside);
        assert!(matches!(decision.verdict, Verdict::Answer(reply) if reply.flags == Flags::ACK));
        assert_eq!(decision.change, Change::Keep);
    }
}

/// What a cookie brings back is what a record would have held, and the flow goes on alike.
#[test]
fn a_cookie_opens_the_same_flow() {
    for options in offers() {
        let offered = Segment { options, ..syn() };
        let (records, cookies) = (Fixture::new(), by_cookie());
        let stateful = Talk::established(&records, options).tcb;
        let reply = syn_ack(&cookies, &offered);
        let stamps = reply.options.timestamps.map(|ts| Timestamps { val: 501, ecr: ts.val });
        let third = segment(Flags::ACK, SeqNum(IRS + 1), reply.seq.add(1));
        let third =
            Segment { options: Options { timestamps: stamps, ..Options::default() }, ..third };
        let (decision, tcb) = arrive(&third, &cookies.at(5));
        assert_eq!(decision.cookie, Some(CookieUse::Accepted));
        assert_eq!(decision.change, Change::Open);
        let traits = Traits(tcb.traits.0 & !Traits::BY_COOKIE.0);
        assert_eq!((tcb.state, traits), (State::Established, stateful.traits));
        assert_eq!((tcb.snd_shift, tcb.rcv_shift), (stateful.snd_shift, stateful.rcv_shift));
        assert!(tcb.mss <= stateful.mss && tcb.traits.has(Traits::BY_COOKIE));
        let sent = cookies.at(5).now.ts_clock.wrapping_add(tcb.ts_offset);
        let stamps = reply.options.timestamps.map(|ts| (ts.val, 501));
        assert_eq!(stamps.unwrap_or((sent, 0)), (sent, tcb.ts_recent), "they go on from the echo");
    }
}

/// RFC 7323 §3.2: timestamps that the SYN did not have are ignored, by cookie as by record.
#[test]
fn timestamps_that_were_not_agreed_on_are_ignored() {
    let stamps = Some(Timestamps { val: 500, ecr: 77 });
    let stamped = |seg: Segment| Segment {
        options: Options { timestamps: stamps, ..Options::default() },
        ..seg
    };
    for fixture in [Fixture::new(), by_cookie()] {
        let reply = syn_ack(&fixture, &syn());
        let third = stamped(segment(Flags::ACK, SeqNum(IRS + 1), reply.seq.add(1)));
        let (opened, half_open) = arrive(&syn(), &fixture.at(0));
        let (_, tcb) = match opened.change {
            Change::Open => meet(&half_open, &third, &fixture.at(1)),
            Change::Keep | Change::Update | Change::End(_) => arrive(&third, &fixture.at(1)),
        };
        let Verdict::Answer(answer) = decide(&tcb, &data(third, 5), &fixture.at(2)).verdict else {
            panic!("the answer");
        };
        assert_eq!((answer.payload_len, answer.options.timestamps), (100, None));
    }
}

/// An ACK that proves nothing gets what policy says, and is counted as a rejected cookie.
#[test]
fn an_ack_that_proves_nothing_opens_nothing() {
    let mut fixture = by_cookie();
    let reply = syn_ack(&fixture, &syn());
    let third = segment(Flags::ACK, SeqNum(IRS + 1), reply.seq.add(1));
    let other = Tuple { remote_port: 4001, ..third.tuple };
    let forged = [
        Segment { ack: third.ack.add(1), ..third },
        Segment { seq: third.seq.add(1), ..third },
        Segment { tuple: other, ..third },
    ];
    for seg in forged {
        let decision = listen(&seg, &fixture.at(1));
        assert_eq!(decision.verdict, Verdict::Drop(Reason::InvalidAck));
        assert_eq!((decision.cookie, decision.change), (Some(CookieUse::Rejected), Change::Keep));
    }
    let late = listen(&third, &fixture.at(130_000));
    assert_eq!(late.cookie, Some(CookieUse::Rejected), "an old epoch");
    fixture.policy.invalid_ack = Refusal::Reset;
    let Verdict::Answer(reset) = listen(&forged[0], &fixture.at(1)).verdict else {
        panic!("a RST")
    };
    assert_eq!((reset.flags, reset.seq, reset.limited), (Flags::RST, forged[0].ack, true));
}

/// New SYNs are dropped and counted where there is no room for them, or no time.
#[test]
fn a_syn_may_find_no_room() {
    for (admission, reason) in
        [(Admission::Full, Reason::HalfOpenFull), (Admission::Draining, Reason::Draining)]
    {
        let fixture = Fixture { admission, ..Fixture::new() };
        let decision = listen(&syn(), &fixture.at(0));
        assert_eq!((decision.verdict, decision.change), (Verdict::Drop(reason), Change::Keep));
    }
}
