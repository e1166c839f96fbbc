//! What segments and timers do to a flow's data.

use super::*;
use crate::verdict::{End, Reason};

const MSS: u32 = 1460;

/// A service with an answer of many segments.
fn long_answer() -> Fixture {
    Fixture { answer_len: 60_000, ..Fixture::new() }
}

/// A client without options that asked for it, and the first flight.
fn asked(fixture: &Fixture) -> (Talk<'_>, Vec<Reply>) {
    let options = Options { mss: Some(MSS as u16), ..Options::default() };
    let mut talk = Talk::established(fixture, options);
    let request = data(talk.ack(0), 5);
    let flight = talk.hear(&request);
    (talk, flight)
}

/// The octets of the answer that a segment carries: where they begin, and how many.
fn octets(replies: &[Reply]) -> Vec<(u32, u16)> {
    replies.iter().map(|reply| (reply.payload_offset, reply.payload_len)).collect()
}

/// RFC 6928 §2: min(10 MSS, max(2 MSS, 14600)).
#[test]
fn the_first_flight_is_ten_segments() {
    let fixture = long_answer();
    let (talk, flight) = asked(&fixture);
    let expected: Vec<_> = (0..10).map(|n| (n * MSS, MSS as u16)).collect();
    assert_eq!(octets(&flight), expected);
    assert_eq!(talk.tcb.state, State::Established);
    let small = Options { mss: Some(536), ..Options::default() };
    let mut talk = Talk::established(&fixture, small);
    let request = data(talk.ack(0), 5);
    assert_eq!(talk.hear(&request).len(), 10);
}

/// RFC 5681 §3.1: one MSS more for each acknowledgement in slow start, one a window above the threshold.
#[test]
fn the_window_grows_by_what_is_acknowledged() {
    let fixture = long_answer();
    let (mut talk, _) = asked(&fixture);
    let ack = talk.ack(MSS);
    assert_eq!(octets(&talk.hear(&ack)), [(10 * MSS, 1460), (11 * MSS, 1460)]);
    let ack = talk.ack(MSS + 100);
    talk.hear(&ack);
    assert_eq!(talk.tcb.cwnd, 11 * MSS + 100, "by no more than was acknowledged");
    talk.tcb.ssthresh = MSS;
    let before = talk.tcb.cwnd;
    let ack = talk.ack(3 * MSS);
    talk.hear(&ack);
    assert_eq!(talk.tcb.cwnd, before + MSS * MSS / before);
}

/// RFC 5681 §3.2: the third duplicate ACK sends the hole again and halves the window; each further one
/// lets one more segment go; the ACK of all that was under way ends it.
#[test]
fn three_duplicate_acks_send_the_hole_again() {
    let fixture = long_answer();
    let (mut talk, _) = asked(&fixture);
    let ack = talk.ack(2 * MSS);
    talk.hear(&ack);
    let (in_flight, sent_to) = (talk.tcb.snd_max.since(talk.tcb.snd_una), talk.tcb.snd_max);
    assert!(talk.hear(&ack).is_empty() && talk.hear(&ack).is_empty(), "two may be reordering");
    assert_eq!(octets(&talk.hear(&ack)), [(2 * MSS, 1460)], "the hole and nothing else");
    assert_eq!(talk.tcb.ssthresh, in_flight / 2);
    assert_eq!(talk.tcb.cwnd, in_flight / 2 + 3 * MSS);
    let released: Vec<_> = (0..8).flat_map(|_| talk.hear(&ack)).collect();
    assert!(released.iter().all(|reply| reply.seq.0 >= sent_to.0), "the hole goes once");
    assert!(!released.is_empty(), "duplicates inflate the window");
    let full = talk.ack(sent_to.since(talk.tcb.iss.add(1)));
    talk.hear(&full);
    assert_eq!(talk.tcb.cwnd, talk.tcb.ssthresh, "deflated");
}

/// RFC 9293 §3.4: numbers wrap, wherever a connection begins.
#[test]
fn numbers_may_begin_anywhere() {
    let fixture = long_answer();
    for irs in [0, 1 << 30, 1 << 31, 3 << 30, u32::MAX - 3] {
        for port in 1..30 {
            let mut first = Segment { seq: SeqNum(irs), ..syn() };
            first.options.mss = Some(MSS as u16);
            first.tuple.remote_port = port;
            let (mut talk, _) = Talk::half_open(&fixture, &first);
            let request = data(talk.ack(0), 5);
            assert_eq!(talk.hear(&request).len(), 10);
            let smaller = Segment { window: 20_000, ..talk.ack(0) };
            talk.hear(&smaller);
            assert_eq!(talk.tcb.snd_wnd, 20_000, "from {irs}");
            let hole: Vec<_> = (0..3).flat_map(|_| talk.hear(&smaller)).collect();
            assert_eq!(octets(&hole), [(0, 1460)], "from {:?}", talk.tcb.iss);
        }
    }
}

/// RFC 6582 §3.2: an ACK of a part shows the next hole, which goes at once.
#[test]
fn a_partial_ack_in_recovery_sends_the_next_hole() {
    let fixture = long_answer();
    let (mut talk, _) = asked(&fixture);
    let ack = talk.ack(MSS);
    (0..4).for_each(|_| drop(talk.hear(&ack)));
    let before = talk.tcb.cwnd;
    let partial = talk.ack(4 * MSS);
    assert_eq!(octets(&talk.hear(&partial))[0], (4 * MSS, 1460));
    assert!(talk.tcb.traits.has(Traits::RECOVERING));
    assert_eq!(talk.tcb.cwnd, before - 3 * MSS + MSS, "deflated by what was acknowledged");
}

/// RFC 5681 §3.2: in a row, and for the same hole.
#[test]
fn duplicates_of_another_hole_do_not_count() {
    let fixture = long_answer();
    let (mut talk, _) = asked(&fixture);
    for n in 1..5 {
        let ack = talk.ack(n * MSS);
        (0..3).for_each(|_| drop(talk.hear(&ack)));
    }
    assert!(!talk.tcb.traits.has(Traits::RECOVERING));
}

/// RFC 6582 §3.2: after a timeout, duplicates of what was sent before it are no new loss.
#[test]
fn duplicates_after_a_timeout_are_no_new_loss() {
    let fixture = long_answer();
    let (mut talk, _) = asked(&fixture);
    talk.wait(1000);
    let ack = talk.ack(MSS);
    (0..5).for_each(|_| drop(talk.hear(&ack)));
    assert!(!talk.tcb.traits.has(Traits::RECOVERING));
}

/// RFC 5681 §2: an ACK with data, of another window or while nothing is under way is no duplicate.
#[test]
fn other_acks_are_no_duplicates() {
    let fixture = long_answer();
    let (mut talk, _) = asked(&fixture);
    let ack = talk.ack(MSS);
    talk.hear(&ack);
    for n in 1..8 {
        let moved = Segment { window: ack.window - n, ..talk.ack(MSS) };
        talk.hear(&moved);
    }
    for _ in 1..8 {
        let more = Segment { window: ack.window - 7, ..data(talk.ack(MSS), 1) };
        talk.hear(&more);
    }
    assert!(!talk.tcb.traits.has(Traits::RECOVERING) && talk.tcb.dup_acks == 0);
    let mut talk = Talk::established(&fixture, Options::default());
    let again = talk.ack(0);
    (0..5).for_each(|_| assert!(talk.hear(&again).is_empty()));
    assert_eq!(talk.tcb.dup_acks, 0);
}

/// RFC 6298 §5.4 to §5.6, RFC 5681 §3.1: a timeout sends one segment again, doubles the next one, and
/// begins anew with a window of one.
#[test]
fn a_timeout_sends_one_segment_and_backs_off() {
    let fixture = long_answer();
    let (mut talk, _) = asked(&fixture);
    let in_flight = talk.tcb.snd_max.since(talk.tcb.snd_una);
    let again = talk.wait(8000);
    assert_eq!(again.iter().map(|(ms, _)| *ms).collect::<Vec<_>>(), [1000, 3000, 7000]);
    assert!(again.iter().all(|(_, reply)| (reply.payload_offset, reply.payload_len) == (0, 1460)));
    assert_eq!((talk.tcb.cwnd, talk.tcb.ssthresh), (MSS, in_flight / 2));
    let ack = talk.ack(MSS);
    assert_eq!(
        octets(&talk.hear(&ack)),
        [(MSS, 1460), (2 * MSS, 1460)],
        "slow start from the hole"
    );
    let acknowledged_at = talk.ms;
    assert_eq!(talk.wait(2000)[0].0 - acknowledged_at, 1000, "an answer ends the back-off");
    let later = talk.ack(7 * MSS);
    assert_eq!(octets(&talk.hear(&later))[0].0, 7 * MSS, "what arrived is not sent again");
}

/// RFC 6298 §5.2: nothing to wait for, no timer.
#[test]
fn the_timer_stops_when_everything_is_acknowledged() {
    let fixture = long_answer();
    let (talk, flight) = asked(&fixture);
    for (octets, runs) in [(MSS, true), (flight.len() as u32 * MSS, false)] {
        let mut tcb = talk.tcb;
        tcb.acknowledged(&talk.ack(octets), &fixture.at(1));
        assert_eq!(tcb.traits.has(Traits::TIMED), runs);
    }
}

/// RFC 9293 §3.8.3: R2 is more than 100 s; then the flow is given up by RST.
#[test]
fn a_flow_without_answer_is_given_up_after_its_last_try() {
    let fixture = long_answer();
    let (mut talk, _) = asked(&fixture);
    let said = talk.wait(200_000);
    let (last, reply) = said.last().expect("a RST");
    assert!(reply.flags.has(Flags::RST) && (100_000..200_000).contains(last), "{last}");
    assert_eq!(said.len(), 7, "six tries before it");
}

/// RFC 6298 §2: SRTT and RTTVAR, and the timeout made of them, within its bounds.
#[test]
fn the_timeout_follows_the_round_trips() {
    let mut tcb = Tcb::default();
    tcb.measured(800_000);
    assert_eq!((tcb.srtt_us, tcb.rttvar_us), (800_000, 400_000));
    tcb.measured(1_600_000);
    assert_eq!((tcb.srtt_us, tcb.rttvar_us), (900_000, 500_000));
    let fixture = long_answer();
    let expires = |srtt_us, rttvar_us| {
        let (mut talk, _) = asked(&fixture);
        (talk.tcb.srtt_us, talk.tcb.rttvar_us) = (srtt_us, rttvar_us);
        talk.tcb.start_timer(&fixture.at(0));
        talk.wait(70_000)[0].0
    };
    assert_eq!(expires(900_000, 500_000), 2900);
    assert_eq!(expires(5000, 1000), 1000, "at least a second");
    assert_eq!(expires(60_000_000, 30_000_000), 60_000, "at most a minute");
}

/// RFC 6298 §3 (Karn): what was sent again measures nothing, unless the timestamps tell which it was.
#[test]
fn only_what_was_sent_once_is_measured() {
    let fixture = long_answer();
    let (mut talk, _) = asked(&fixture);
    let before = talk.tcb.srtt_us;
    talk.wait(1500);
    let ack = talk.ack(10 * MSS);
    talk.hear(&ack);
    assert_eq!(talk.tcb.srtt_us, before);
    let (mut talk, _) = asked(&fixture);
    let before = talk.tcb.srtt_us;
    talk.ms += 300;
    let (hole, all) = (talk.ack(0), talk.ack(10 * MSS));
    (0..3).for_each(|_| drop(talk.hear(&hole)));
    talk.hear(&all);
    assert_eq!(talk.tcb.srtt_us, before, "nor what was sent again for three duplicates");
    let mut talk = Talk::established(&fixture, linux());
    let request = data(talk.ack(0), 5);
    talk.hear(&request);
    let echo = talk.ack(0).options;
    talk.wait(1500);
    let ack = Segment { options: echo, ..talk.ack(1448) };
    talk.hear(&ack);
    assert!(talk.tcb.srtt_us > 100_000, "an eighth of 1.5 s");
    let before = talk.tcb.srtt_us;
    let timestamps = Some(Timestamps { val: 2000, ecr: 1 << 31 });
    let wild = Segment { options: Options { timestamps, ..ack.options }, ..talk.ack(2 * 1448) };
    talk.hear(&wild);
    assert_eq!(talk.tcb.srtt_us, before, "an echo of what was never sent");
}

/// RFC 9293 §3.8.6: nothing goes beyond the peer's window, whatever it shrinks to.
#[test]
fn the_peers_window_is_never_exceeded() {
    let fixture = long_answer();
    let options = Options { mss: Some(MSS as u16), ..Options::default() };
    let mut talk = Talk::established(&fixture, options);
    let request = Segment { window: 4000, ..data(talk.ack(0), 5) };
    assert_eq!(octets(&talk.hear(&request)), [(0, 1460), (1460, 1460)]);
    let shrunk = Segment { window: 500, ..talk.ack(MSS) };
    assert!(talk.hear(&shrunk).is_empty());
    talk.wait(500);
    let shut = Segment { window: 0, ..talk.ack(2 * MSS) };
    assert!(talk.hear(&shut).is_empty());
    let probes = talk.wait(4000);
    assert_eq!(probes.iter().map(|(ms, _)| *ms).collect::<Vec<_>>(), [1500, 3500]);
    assert!(probes.iter().all(|(_, reply)| reply.payload_len == 1));
    let open = Segment { window: 65_000, ..talk.ack(2 * MSS) };
    assert_eq!(octets(&talk.hear(&open))[0], (2 * MSS, 1460), "the probe's octet is sent again");
    let opened_at = talk.ms;
    assert_eq!(talk.wait(2000)[0].0 - opened_at, 1000, "and not with the probes' back-off");
}

/// RFC 9293 §3.10.7.4: an older segment's window does not count, unless it acknowledges more.
#[test]
fn the_newest_window_counts() {
    let fixture = long_answer();
    let (mut talk, _) = asked(&fixture);
    let newest = data(Segment { window: 9000, ..talk.ack(2 * MSS) }, 5);
    talk.hear(&newest);
    let overlapping = |window, octets, talk: &Talk<'_>| {
        data(Segment { window, seq: talk.tcb.rcv_nxt.sub(3), ..talk.ack(octets) }, 5)
    };
    let late = Segment { window: 8000, seq: talk.tcb.rcv_nxt.add(9), ..talk.ack(MSS) };
    talk.hear(&late);
    assert_eq!(talk.tcb.snd_wnd, 9000, "it acknowledges less: it was overtaken");
    for (window, octets, counts) in [(7000, 2 * MSS, false), (6000, 3 * MSS, true)] {
        talk.tcb.snd_wl1 = talk.tcb.rcv_nxt;
        let before = talk.tcb.snd_wnd;
        let older = overlapping(window, octets, &talk);
        talk.hear(&older);
        assert_eq!(talk.tcb.snd_wnd, if counts { window.into() } else { before });
    }
    let same = Segment { window: 5000, seq: talk.tcb.rcv_nxt, ..talk.ack(3 * MSS) };
    talk.tcb.snd_wl1 = same.seq;
    talk.hear(&same);
    assert_eq!(talk.tcb.snd_wnd, 5000, "of the same number, the later one");
}

/// RFC 9293 §3.8.6.2.1: no small piece goes only because the window has room for it.
#[test]
fn a_silly_window_draws_no_silly_segments() {
    let fixture = long_answer();
    let options = Options { mss: Some(MSS as u16), ..Options::default() };
    let mut talk = Talk::established(&fixture, options);
    let request = data(talk.ack(0), 5);
    let flight = talk.hear(&request).len() as u32;
    for _ in 0..5 {
        let silly = Segment { window: 100, ..talk.ack(flight * MSS) };
        assert!(talk.hear(&silly).is_empty());
    }
    let half = Segment { window: 700, ..talk.ack(flight * MSS) };
    talk.tcb.snd_wnd_max = 1400;
    assert_eq!(octets(&talk.hear(&half)), [(flight * MSS, 700)], "half of the largest window");
}

/// A window that was too small and grows ends the probes; what is lost then is lost for the first time.
#[test]
fn a_window_that_grows_ends_the_probes() {
    let fixture = long_answer();
    let options = Options { mss: Some(MSS as u16), ..Options::default() };
    let mut talk = Talk::established(&fixture, options);
    let request = data(Segment { window: 100, ..talk.ack(0) }, 5);
    assert_eq!(octets(&talk.hear(&request)), [(0, 0)], "an ACK");
    assert_eq!(octets(&[talk.wait(1500)[0].1]), [(0, 100)], "what fits the window");
    let ack = Segment { window: 8000, ..talk.ack(0) };
    assert_eq!(talk.hear(&ack).len(), 5);
    let began = talk.ms;
    assert_eq!(talk.wait(1000)[0].0 - began, 1000);
    assert_eq!(talk.tcb.ssthresh, 5 * MSS / 2);
}

/// RFC 6429 §3: a window that stays shut is no life; the flow ends by the idle time.
#[test]
fn a_shut_window_does_not_hold_a_flow() {
    let fixture = long_answer();
    let mut talk = Talk::established(&fixture, Options::default());
    let request = Segment { window: 0, ..data(talk.ack(0), 5) };
    talk.hear(&request);
    for _ in 0..fixture.policy.idle / 1000 + 70 {
        let shut = Segment { window: 0, ..talk.ack(0) };
        if talk.tcb.state != State::Closed {
            talk.hear(&shut);
        }
        if talk.wait(1000).iter().any(|(_, reply)| reply.flags.has(Flags::RST)) {
            assert_eq!(talk.ms / 1000, u64::from(fixture.policy.idle / 1000));
        }
    }
    assert_eq!(talk.tcb.state, State::Closed);
}

/// RFC 9293 §3.10.7.4: what was received before is acknowledged and not taken again.
#[test]
fn old_data_is_acknowledged_and_not_taken() {
    let fixture = Fixture::new();
    let mut talk = Talk::established(&fixture, Options::default());
    let request = data(talk.ack(0), 5);
    assert_eq!(octets(&talk.hear(&request)), [(0, 100)]);
    let after = talk.tcb;
    for (back, len) in [(0, 5), (1, 4), (4, 1), (0, 1)] {
        let old = data(Segment { seq: request.seq.add(back), ..request }, len);
        let replies = talk.hear(&old);
        assert_eq!((replies.len(), replies[0].ack, replies[0].payload_len), (1, after.rcv_nxt, 0));
        assert_eq!(talk.tcb, after, "{back} {len}");
    }
}

/// Of a segment that begins before and ends behind what was received, the rest is taken.
#[test]
fn the_new_part_of_a_segment_is_taken() {
    let fixture = Fixture::new();
    let mut talk = Talk::established(&fixture, Options::default());
    let request = data(talk.ack(0), 5);
    talk.hear(&request);
    let longer = data(Segment { flags: Flags::ACK | Flags::FIN, ..request }, 9);
    assert_eq!(talk.hear(&longer)[0].ack, request.seq.add(10), "nine octets and the FIN");
    assert_eq!(talk.tcb.state, State::Closing);
}

/// What lies behind the window's edge is not taken, and so is no FIN behind it.
#[test]
fn nothing_is_taken_beyond_the_window() {
    let fixture = Fixture::new();
    let scaled = Options { window_scale: Some(7), ..Options::default() };
    let mut talk = Talk::established(&fixture, scaled);
    let edge = talk.tcb.rcv_nxt.add(65_408);
    let large = data(talk.ack(0), 65_409);
    talk.hear(&Segment { flags: Flags::ACK | Flags::FIN, ..large });
    assert_eq!((talk.tcb.rcv_nxt, talk.tcb.state.peer_closed()), (edge, false));
}

/// RFC 9293 §3.10.7.4: behind the peer's FIN there is nothing.
#[test]
fn nothing_is_taken_behind_a_fin() {
    let fixture = Fixture::new();
    for state in [State::CloseWait, State::Closing, State::LastAck] {
        let tcb = flow(state, &fixture);
        let more = data(segment(Flags::ACK | Flags::FIN, tcb.rcv_nxt, tcb.snd_una), 5);
        let decision = decide(&tcb, &more, &fixture.at(20));
        let Verdict::Answer(reply) = decision.verdict else { panic!("an ACK: {decision:?}") };
        assert_eq!(reply.ack, tcb.rcv_nxt, "{}", state.name());
    }
}

/// RFC 5681 §4.2: a gap draws a duplicate ACK at once, whatever filled it later.
#[test]
fn a_gap_draws_a_duplicate_ack_at_once() {
    let fixture = Fixture::new();
    let mut talk = Talk::established(&fixture, Options::default());
    let expected = talk.tcb.rcv_nxt;
    for distance in [1, 700, 60_000] {
        let seg = data(talk.ack(0), 5);
        let replies = talk.hear(&Segment { seq: expected.add(distance), ..seg });
        assert_eq!((replies.len(), replies[0].ack, replies[0].limited), (1, expected, false));
        assert!(!talk.tcb.traits.has(Traits::ANSWERING), "no request yet");
    }
}

/// RFC 7323 §4.3: TS.Recent is that of the segment at the left edge, never of one behind a gap.
#[test]
fn timestamps_behind_a_gap_are_not_echoed() {
    let fixture = Fixture::new();
    let mut talk = Talk::established(&fixture, linux());
    talk.ms = 10;
    let first = data(talk.ack(0), 5);
    talk.ms = 20;
    let second = Segment { seq: first.seq.add(5), ..data(talk.ack(0), 5) };
    let gap = talk.hear(&second);
    assert_eq!(gap[0].options.timestamps.map(|ts| ts.ecr), Some(500));
    let replies = talk.hear(&first);
    assert_eq!(talk.tcb.rcv_nxt, first.end(), "an older stamp fills the gap and is not old");
    assert_eq!(replies[0].options.timestamps.map(|ts| ts.ecr), Some(510));
}

/// RFC 7323 §5.3: an older timestamp draws an ACK and nothing is taken; the same one is not older.
#[test]
fn an_old_timestamp_is_not_taken() {
    let fixture = Fixture::new();
    let mut talk = Talk { ms: 50, ..Talk::established(&fixture, linux()) };
    let now = talk.ack(0);
    talk.hear(&now);
    let before = talk.tcb;
    let stamps =
        |val| Options { timestamps: Some(Timestamps { val, ecr: 0 }), ..Options::default() };
    let old = Segment { options: stamps(549), ..data(now, 5) };
    let replies = talk.hear(&old);
    assert_eq!((replies.len(), replies[0].ack, replies[0].limited), (1, before.rcv_nxt, true));
    assert_eq!(talk.tcb, before);
    talk.hear(&Segment { options: stamps(550), ..old });
    assert_eq!(talk.tcb.rcv_nxt, old.end());
}

/// RFC 7323 §3.2: with timestamps agreed on, a segment without is dropped, but for a RST; without, they
/// are ignored.
#[test]
fn timestamps_are_demanded_or_ignored_as_agreed() {
    let fixture = Fixture::new();
    let talk = Talk::established(&fixture, linux());
    let bare = Segment { options: Options::default(), ..data(talk.ack(0), 5) };
    let decision = decide(&talk.tcb, &bare, &fixture.at(1));
    assert_eq!(decision.verdict, Verdict::Drop(Reason::TimestampMissing));
    assert_eq!(decision.change, Change::Keep);
    let rst = Segment { flags: Flags::RST, payload_len: 0, ..bare };
    let end = Change::End(End::ClosedByReset);
    assert_eq!(decide(&talk.tcb, &rst, &fixture.at(1)).change, end);
    let mut talk = Talk::established(&fixture, Options::default());
    let stamped = Segment { options: linux(), ..data(talk.ack(0), 5) };
    let replies = talk.hear(&stamped);
    assert_eq!((replies[0].payload_len, replies[0].options.timestamps), (100, None));
}

/// RFC 5961 §5.2: SND.UNA - MAX.SND.WND ≤ SEG.ACK ≤ SND.MAX, else a challenge and no belief.
#[test]
fn acks_too_old_or_of_the_unsent_are_not_believed() {
    let fixture = long_answer();
    let (mut talk, _) = asked(&fixture);
    let ack = talk.ack(3 * MSS);
    talk.hear(&ack);
    let (oldest, newest) = (talk.tcb.snd_una.sub(talk.tcb.snd_wnd_max), talk.tcb.snd_max);
    for (ack, believed) in
        [(oldest, true), (oldest.sub(1), false), (newest, true), (newest.add(1), false)]
    {
        let seg = data(Segment { ack, ..talk.ack(0) }, 5);
        let decision = decide(&talk.tcb, &seg, &fixture.at(1));
        let challenged = matches!(decision.verdict, Verdict::Answer(reply) if reply.limited);
        assert_eq!(
            (challenged, decision.change == Change::Keep),
            (!believed, !believed),
            "{ack:?}"
        );
    }
}

/// RFC 3168 §6.1.3: CE is echoed in every ACK until CWR.
#[test]
fn congestion_is_echoed_until_the_sender_slows_down() {
    let fixture = Fixture::new();
    let asks = Segment { flags: Flags::SYN | Flags::ECE | Flags::CWR, ..syn() };
    let (mut talk, _) = Talk::half_open(&fixture, &asks);
    let third = talk.ack(0);
    talk.hear(&third);
    let bare = Segment { ce: true, ..talk.ack(0) };
    talk.hear(&bare);
    assert!(!talk.tcb.traits.has(Traits::ECHO_CE), "a bare ACK has no business with a mark");
    let marked = Segment { ce: true, ..data(talk.ack(0), 5) };
    assert!(talk.hear(&marked)[0].flags.has(Flags::ECE));
    let plain = data(talk.ack(0), 5);
    assert!(talk.hear(&plain)[0].flags.has(Flags::ECE), "until CWR");
    let slower = data(talk.ack(0), 5);
    let slower = Segment { flags: slower.flags | Flags::CWR, ..slower };
    assert!(!talk.hear(&slower)[0].flags.has(Flags::ECE));
    let mut talk = Talk::established(&fixture, Options::default());
    let marked = Segment { ce: true, ..data(talk.ack(0), 5) };
    assert!(!talk.hear(&marked)[0].flags.has(Flags::ECE), "not agreed on");
}

/// RFC 9293 §3.8.4: a keepalive probe is acknowledged without limit, and the flow lives on.
#[test]
fn a_keepalive_probe_is_acknowledged_and_is_life() {
    let fixture = Fixture::new();
    for len in [0, 1] {
        let mut talk = Talk { ms: 1000, ..Talk::established(&fixture, linux()) };
        let probe = data(Segment { seq: talk.tcb.rcv_nxt.sub(1), ..talk.ack(0) }, len);
        let replies = talk.hear(&probe);
        assert_eq!((replies.len(), replies[0].flags, replies[0].limited), (1, Flags::ACK, false));
        assert_eq!(talk.tcb.heard_at, fixture.at(1000).now.tick);
        let timestamps = Some(Timestamps { val: 499, ecr: 0 });
        let old = Segment { options: Options { timestamps, ..Options::default() }, ..probe };
        talk.ms = 2000;
        assert!(talk.hear(&old)[0].limited, "an old one is no life");
        assert_eq!(talk.tcb.heard_at, fixture.at(1000).now.tick);
    }
}

/// The answer comes once, however often it is asked for, and ends with our FIN.
#[test]
fn an_answer_comes_once() {
    let fixture = Fixture::new();
    let mut talk = Talk::established(&fixture, Options::default());
    let request = data(talk.ack(0), 5);
    let answer = talk.hear(&request);
    assert_eq!((octets(&answer), answer[0].flags.has(Flags::FIN)), (Vec::from([(0, 100)]), true));
    for more in [request, data(talk.ack(0), 5), data(talk.ack(50), 5)] {
        assert!(talk.hear(&more).iter().all(|reply| reply.payload_len == 0));
    }
}
