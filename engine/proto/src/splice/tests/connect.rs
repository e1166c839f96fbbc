//! The backend half's handshake: refusals, strangers, early data, and what a backend does not agree to.

use super::*;

/// A refusal, a memory of an earlier connection twice, and silence lead to the next backend.
#[test]
fn a_backend_that_refuses_gives_way_to_the_next() {
    let fixture = Fixture::new();
    let mut splice = Splice::open(&tcb(), &choice(), &fixture.at(0));
    let refusal = backend(Flags::RST | Flags::ACK, u32::MAX, 0, 0);
    let step = splice.pass(Half::Backend, &refusal, &fixture.at(1));
    let next =
        Step { passage: Passage::Deliver, then: Then::NextTry(TryEnd::Refused), event: None };
    assert_eq!(step, next);
    for _ in 0..2 {
        splice.retry(&choice(), &fixture.at(2));
    }
    let step = splice.pass(Half::Backend, &refusal, &fixture.at(3));
    let end = End::BackendRefused;
    let last = Step { then: Then::Abort(end), event: Some(Event::Ended(end)), ..next };
    assert_eq!(step, last);
}

/// RFC 9293 §3.10.7.3, RFC 6191: a backend in TIME_WAIT answers our SYN with an ACK, gets a RST at its own
/// number and the SYN again; if it ignored the RST (RFC 1337 §3), another try must do.
#[test]
fn a_backend_in_time_wait_is_reset_once() {
    let fixture = Fixture::new();
    let mut splice = Splice::open(&tcb(), &choice(), &fixture.at(0));
    let stale = backend(Flags::ACK, 500, 7000, 0);
    for then in [Then::SynAgain, Then::NextTry(TryEnd::InTimeWait)] {
        let step = splice.pass(Half::Backend, &stale, &fixture.at(1));
        let reset = answer(step);
        assert_eq!((reset.flags, reset.seq), (Flags::RST, stale.ack));
        assert_eq!(step.then, then);
    }
    assert_eq!(splice.syn().seq, UP);
    splice.retry(&choice(), &fixture.at(2));
    let step = splice.pass(Half::Backend, &stale, &fixture.at(3));
    assert_eq!(step.then, Then::SynAgain, "another port has its own chance");
}

/// A late SYN-ACK of an earlier try is told apart by the ISN of each, and reset.
#[test]
fn a_late_answer_of_an_earlier_try_is_reset() {
    let fixture = Fixture::new();
    let mut splice = Splice::open(&tcb(), &choice(), &fixture.at(0));
    splice.retry(&Choice { iss: UP.add(5000), ..choice() }, &fixture.at(1));
    let step = splice.pass(Half::Backend, &syn_ack(&full()), &fixture.at(2));
    let reset = answer(step);
    assert_eq!((reset.flags, reset.seq, step.then), (Flags::RST, UP.add(1), Then::Stay));
    assert_eq!(splice.state(), State::SynSent);
}

/// Early data is held in order and within the window, never acknowledged; the rest is the client's to send
/// again. What was held goes on with numbers of the other half.
#[test]
fn early_data_is_held_in_order_and_never_acknowledged() {
    let fixture = Fixture::new();
    let mut splice = Splice::open(&tcb(), &choice(), &fixture.at(0));
    let fin = Flags::FIN | Flags::ACK;
    let mut say = |seg| splice.pass(Half::Client, &seg, &fixture.at(1)).passage;
    assert_eq!(say(client(Flags::ACK, 0, 0, 0)), Passage::Deliver);
    assert_eq!(say(client(Flags::ACK, 0, 0, 4000)), Passage::Hold);
    assert_eq!(say(client(Flags::ACK, 0, 0, 4000)), Passage::Deliver, "repeated");
    assert_eq!(say(client(Flags::ACK, 5000, 0, 100)), Passage::Deliver, "out of order");
    assert_eq!(say(client(Flags::ACK, 4000, 0, 6001)), Passage::Deliver, "beyond the window");
    assert_eq!(say(client(Flags::ACK, 4000, 0, 1000)), Passage::Hold);
    let unkept = client(Flags::ACK, 5000, 0, 1000);
    assert_eq!(say(unkept), Passage::Hold);
    splice.not_held(&unkept);
    let mut say = |seg| splice.pass(Half::Client, &seg, &fixture.at(1)).passage;
    assert_eq!(say(unkept), Passage::Hold, "it came again");
    let last = client(fin, 6000, 0, 0);
    assert_eq!(say(last), Passage::Hold);
    assert_eq!(say(client(Flags::ACK, 6001, 0, 5)), Passage::Deliver, "behind the FIN is nothing");

    let step = splice.pass(Half::Backend, &syn_ack(&full()), &fixture.at(9));
    assert_eq!((step.passage, step.then), (Passage::Deliver, Then::Opened), "data acknowledges it");
    for (seg, seq) in [(unkept, 5001), (last, 6001)] {
        let Passage::Forward(rewrite) = splice.pass_held(&seg, &fixture.at(10)) else {
            panic!("it goes on")
        };
        assert_eq!((rewrite.seq, rewrite.ack), (UP.add(seq), DOWN.add(1)));
        assert_eq!((rewrite.ts_val, rewrite.ts_ecr), (CLOCK + 77, BACKEND_CLOCK));
    }
    assert_eq!(splice.state(), State::CloseWait);
}

/// A flow that waited for its consumer brings what is held along: what comes goes on behind it, and all of it
/// reaches the backend, the FIN as well.
#[test]
fn what_was_held_before_a_backend_was_asked_is_not_asked_for_again() {
    let fixture = Fixture::new();
    let data_held = Tcb { held_to: IRS.add(1 + 4000), ..tcb() };
    let mut splice = Splice::open(&data_held, &choice(), &fixture.at(0));
    let mut say = |seg| splice.pass(Half::Client, &seg, &fixture.at(1)).passage;
    assert_eq!(say(client(Flags::ACK, 0, 0, 4000)), Passage::Deliver, "held already");
    assert_eq!(say(client(Flags::ACK, 4000, 0, 100)), Passage::Hold);
    let step = splice.pass(Half::Backend, &syn_ack(&full()), &fixture.at(9));
    assert_eq!((step.passage, step.then), (Passage::Deliver, Then::Opened), "data acknowledges it");
    assert_eq!(splice.state(), State::Established);

    let mut fin_held = data_held;
    fin_held.held_to = fin_held.held_to.add(1);
    fin_held.traits.set(Traits::HELD_FIN, true);
    let mut splice = Splice::open(&fin_held, &choice(), &fixture.at(0));
    let late = client(Flags::ACK, 4001, 0, 5);
    assert_eq!(splice.pass(Half::Client, &late, &fixture.at(1)).passage, Passage::Deliver);
    splice.pass(Half::Backend, &syn_ack(&full()), &fixture.at(9));
    assert_eq!(splice.state(), State::CloseWait);
}

/// A client that gives up takes its backend with it: by the one number that a half-open backend believes.
#[test]
fn a_client_may_give_up_early() {
    let fixture = Fixture::new();
    let splice = Splice::open(&tcb(), &Choice { header_len: 28, ..choice() }, &fixture.at(0));
    let say = |seg| {
        let mut splice = splice;
        splice.pass(Half::Client, &seg, &fixture.at(1))
    };
    let step = say(client(Flags::RST | Flags::ACK, 0, 0, 0));
    let rewrite = forwarded(step);
    assert_eq!((rewrite.seq, rewrite.clear), (UP.add(1), Flags::ACK.0));
    assert_eq!(step.then, Then::End(End::ClosedByReset));
    assert_eq!(answer(say(client(Flags::RST, 9, 0, 0))).flags, Flags::ACK, "RFC 5961 §3.2");
    let outside = Passage::Drop(Reason::ResetOutOfWindow);
    assert_eq!(say(client(Flags::RST, 20_000, 0, 0)).passage, outside);
    let abort = splice.abort(&fixture.at(1));
    assert_eq!(abort.0.map(|r| (r.flags, r.seq)), Some((Flags::RST | Flags::ACK, ISS.add(1))));
    assert_eq!(abort.1.map(|r| (r.flags, r.seq)), Some((Flags::RST, UP.add(1))));
}

/// A backend that did not hear our ACK repeats its SYN-ACK and gets it again, with an echo that it sent.
#[test]
fn a_repeated_syn_ack_is_answered_by_us() {
    let fixture = Fixture::new();
    let mut splice = opened(&full(), &choice(), &fixture);
    let _ = splice.pass(Half::Client, &client(Flags::ACK, 0, 0, 500), &fixture.at(2));
    let mut again = syn_ack(&full());
    again.options.timestamps =
        again.options.timestamps.map(|ts| Timestamps { val: ts.val + 9, ..ts });
    let ack = answer(splice.pass(Half::Backend, &again, &fixture.at(3)));
    assert_eq!((ack.seq, ack.ack, ack.limited), (UP.add(1), DOWN.add(1), false));
    assert_eq!(ack.options.timestamps.map(|ts| ts.ecr), Some(BACKEND_CLOCK + 9));
}

/// What only the client agreed to is translated, and the difference is learned.
#[test]
fn a_backend_that_agrees_to_less_is_translated_and_learned() {
    let fixture = Fixture::new();
    let poor = Learned {
        mss: 1000,
        scale: None,
        sack: false,
        timestamps: false,
        ecn: false,
        window: 5000,
    };
    let known = full();
    let mut splice = opened(&poor, &choice(), &fixture);
    assert_eq!(splice.learned(&known, &syn_ack(&poor)), poor);

    let seg = Segment { window: 65_535, ..client(Flags::ACK | Flags::ECE, 0, 0, 700) };
    let up = forwarded(splice.pass(Half::Client, &seg, &fixture.at(2)));
    assert!(up.ops.has(Ops::STRIP_STAMP) && up.ops.has(Ops::STRIP_SACK));
    assert!(up.ops.has(Ops::CLEAR_ECN) && !up.ops.has(Ops::STAMP));
    assert_eq!((up.clear, up.window), (Flags::ECE.0 | Flags::CWR.0, 65_535), "512 times as much");
    let large = client(Flags::ACK, 700, 0, 1400);
    let step = splice.pass(Half::Client, &large, &fixture.at(3)).passage;
    assert!(matches!(step, Passage::Split(_, 988)), "what became padding counts: {step:?}");

    let seg = Segment {
        header_len: 20,
        options: Options::default(),
        window: 5000,
        ..backend(Flags::ACK, 0, 0, 900)
    };
    let down = forwarded(splice.pass(Half::Backend, &seg, &fixture.at(40)));
    assert!(down.ops.has(Ops::INSERT_STAMP));
    assert_eq!((down.ts_val, down.ts_ecr), (ECHOED.wrapping_add(39), CLIENT_CLOCK));
    assert_eq!(down.window, 5000 >> 7);
    let large = Segment { payload_len: 1460, seq: seg.end(), ..seg };
    let step = splice.pass(Half::Backend, &large, &fixture.at(41)).passage;
    assert!(matches!(step, Passage::Split(_, 1448)), "12 bytes of timestamps more: {step:?}");
}

/// What the client did not agree to is not asked for, and nothing is learned of it.
#[test]
fn nothing_is_learned_of_what_was_not_asked_for() {
    let fixture = Fixture::new();
    let plain = Tcb { traits: Traits::default(), snd_shift: 0, rcv_shift: 0, ..tcb() };
    let mut splice = Splice::open(&plain, &choice(), &fixture.at(0));
    let syn = splice.syn();
    assert_eq!((syn.flags, syn.options.window_scale), (Flags::SYN, None));
    assert_eq!((syn.options.sack_permitted, syn.options.timestamps), (false, None));
    let bare = Learned { scale: None, sack: false, timestamps: false, ecn: false, ..full() };
    let ack = answer(splice.pass(Half::Backend, &syn_ack(&bare), &fixture.at(1)));
    assert_eq!(ack.options.timestamps, None);
    assert_eq!(splice.learned(&full(), &syn_ack(&bare)), full());
    let seg = Segment { options: Options::default(), ..backend(Flags::ACK, 0, 0, 900) };
    let down = forwarded(splice.pass(Half::Backend, &seg, &fixture.at(2)));
    assert!(!down.ops.has(Ops::INSERT_STAMP));
    assert_eq!(down.window, 100);
}

/// The MSS of our SYN: what the client and the way take, less what translation may put in.
#[test]
fn the_syns_mss_leaves_room_for_what_translation_puts_in() {
    let fixture = Fixture::new();
    let unknown = Learned::default();
    for (client_mss, way, learned, mss) in [
        (1448, 1460, full(), 1460),
        (1448, 1460, unknown, 1448),
        (1448, 1440, full(), 1440),
        (524, 1460, unknown, 524),
        (52, 1460, unknown, 88),
        (8948, 8960, full(), 8960),
    ] {
        let tcb = Tcb { mss: client_mss, ..tcb() };
        let choice = Choice { mss: way, learned, ..choice() };
        let splice = Splice::open(&tcb, &choice, &fixture.at(0));
        assert_eq!(splice.syn().options.mss, Some(mss), "{client_mss} {way}");
    }
}

/// The answer to a repeated SYN-ACK is the header, where that was lost with our ACK; a SYN-ACK of another
/// connection is a stranger's.
#[test]
fn a_repeated_syn_ack_gets_the_header_again() {
    let fixture = Fixture::new();
    let header = Choice { header_len: 28, ..choice() };
    let mut splice = opened(&full(), &header, &fixture);
    let again = answer(splice.pass(Half::Backend, &syn_ack(&full()), &fixture.at(2)));
    assert_eq!((again.seq, again.payload_len), (UP.add(1), 28));
    let stranger = Segment { ack: UP.add(9), ..syn_ack(&full()) };
    assert!(answer(splice.pass(Half::Backend, &stranger, &fixture.at(3))).limited);
    let _ = splice.pass(Half::Backend, &backend(Flags::ACK, 0, 28, 0), &fixture.at(4));
    let late = answer(splice.pass(Half::Backend, &syn_ack(&full()), &fixture.at(5)));
    assert_eq!((late.seq, late.payload_len), (UP.add(1), 0));
}

/// Our own ACKs echo the newest TSval, whatever came late.
#[test]
fn our_own_acks_echo_the_newest() {
    let fixture = Fixture::new();
    let mut splice = opened(&full(), &choice(), &fixture);
    let at = |seg: Segment, val: u32| {
        let timestamps = seg.options.timestamps.map(|ts| Timestamps { val, ..ts });
        Segment { options: Options { timestamps, ..seg.options }, ..seg }
    };
    for ms in [20, 10] {
        let up = at(client(Flags::ACK, 0, 0, 5), CLIENT_CLOCK.wrapping_add(ms));
        let down = at(backend(Flags::ACK, 0, 0, 5), BACKEND_CLOCK.wrapping_add(ms));
        forwarded(splice.pass(Half::Client, &up, &fixture.at(ms)));
        forwarded(splice.pass(Half::Backend, &down, &fixture.at(ms)));
    }
    let unsent = client(Flags::ACK, 5, 99, 0);
    let to_client = answer(splice.pass(Half::Client, &unsent, &fixture.at(30)));
    let newest = Timestamps { val: ECHOED.wrapping_add(20), ecr: CLIENT_CLOCK.wrapping_add(20) };
    assert_eq!(to_client.options.timestamps, Some(newest));
    let unsent = backend(Flags::ACK, 5, 99, 0);
    let to_backend = answer(splice.pass(Half::Backend, &unsent, &fixture.at(30)));
    let newest = Timestamps { val: CLOCK + 77 + 20, ecr: BACKEND_CLOCK + 20 };
    assert_eq!(to_backend.options.timestamps, Some(newest));
}

/// RFC 5681 §3.2, RFC 6675 §5: a header that was lost goes again when acknowledgements show it, the third without
/// SACK blocks or the first with them, once each time that it was sent; the client hears nothing of that one.
#[test]
fn a_header_that_is_missed_goes_again() {
    let fixture = Fixture::new();
    let header = Choice { header_len: 28, ..choice() };
    let repeats = |splice: &mut Splice, header_len: u8, ms: u32| {
        let seg = Segment { header_len, ..backend(Flags::ACK, 0, 0, 0) };
        match splice.pass(Half::Backend, &seg, &fixture.at(ms)).passage {
            Passage::Answer(reply) => (reply.seq, reply.payload_len) == (UP.add(1), 28),
            other => {
                assert!(matches!(other, Passage::Forward(_)), "{other:?}");
                false
            }
        }
    };
    for (header_len, nth) in [(32, 3), (44, 1)] {
        let mut splice = opened(&full(), &header, &fixture);
        assert!((0..5).all(|ms| !repeats(&mut splice, header_len, ms)), "nothing is behind it");
        forwarded(splice.pass(Half::Client, &client(Flags::ACK, 0, 0, 500), &fixture.at(5)));
        let answers = [(); 6].map(|()| repeats(&mut splice, header_len, 6));
        let expected: [bool; 6] = std::array::from_fn(|at| at + 1 == nth);
        assert_eq!(answers, expected, "{header_len}");
        let due = splice.deadline(&fixture.at(7)).0;
        assert!(splice.on_timer(&fixture.at(due)).to_backend.is_some());
        let answers = [(); 6].map(|()| repeats(&mut splice, header_len, due + 1));
        assert_eq!(answers, expected, "{header_len}, after its timer");
        let whole = backend(Flags::ACK, 0, 28 + 500, 0);
        forwarded(splice.pass(Half::Backend, &whole, &fixture.at(due + 2)));
        assert!((0..6).all(|ms| !repeats(&mut splice, header_len, due + 3 + ms)), "it has arrived");
    }
}

/// What the client still sees of a header's numbers ends long after it was acknowledged.
#[test]
fn a_header_is_forgotten_in_time() {
    let fixture = Fixture::new();
    let header = Choice { header_len: 28, ..choice() };
    let mut splice = opened(&full(), &header, &fixture);
    let mut floored = |acked: u32| {
        let first = UP.add(1).add(28);
        splice.up.nxt = splice.irs.add(1).add(acked);
        let seg = Segment { ack: first.add(acked), ..backend(Flags::ACK, 0, 0, 0) };
        forwarded(splice.pass(Half::Backend, &seg, &fixture.at(2))).ops.has(Ops::FLOOR_SACK)
    };
    assert!(floored(0) && floored(1 << 24) && floored((1 << 24) + 1));
    assert!(!floored((1 << 24) + 2), "a segment later");
}

/// What the client was let send it may send, though the backend takes less at first (RFC 9293 §3.8.6: a
/// window that shrinks).
#[test]
fn a_window_once_offered_is_kept() {
    let fixture = Fixture::new();
    let mut splice = opened(&Learned { window: 5000, ..full() }, &choice(), &fixture);
    forwarded(splice.pass(Half::Client, &client(Flags::ACK, 9000, 0, 100), &fixture.at(2)));
    let beyond = splice.pass(Half::Client, &client(Flags::ACK, 10_001, 0, 100), &fixture.at(2));
    assert!(answer(beyond).limited);
}

/// The client's window is followed while no backend has answered.
#[test]
fn an_early_window_reaches_the_backend() {
    let fixture = Fixture::new();
    let mut splice = Splice::open(&tcb(), &choice(), &fixture.at(0));
    let wider = Segment { window: 300, ..client(Flags::ACK, 0, 0, 0) };
    let _ = splice.pass(Half::Client, &wider, &fixture.at(1));
    let ack = answer(splice.pass(Half::Backend, &syn_ack(&full()), &fixture.at(2)));
    assert_eq!(ack.window, 300);
}

/// No segment is larger than the way takes, whatever the backend would.
#[test]
fn the_way_limits_segments_too() {
    let fixture = Fixture::new();
    let mut splice = opened(&full(), &Choice { mss: 1000, ..choice() }, &fixture);
    for (len, fits) in [(988, true), (989, false)] {
        let step = splice.pass(Half::Client, &client(Flags::ACK, 0, 0, len), &fixture.at(2));
        assert_eq!(matches!(step.passage, Passage::Forward(_)), fits, "{len}");
        assert_eq!(matches!(step.passage, Passage::Split(_, 988)), !fits, "{len}");
    }
}

/// Where the client's tuple is used, the backend knows its clock from earlier connections: TSvals pass as they
/// are, from the SYN on.
#[test]
fn a_bridged_clients_clock_is_its_own() {
    let fixture = Fixture::new();
    let bridged = Choice { ts_offset: None, ..choice() };
    let mut splice = Splice::open(&tcb(), &bridged, &fixture.at(0));
    assert_eq!(splice.syn().options.timestamps.map(|ts| ts.val), Some(CLIENT_CLOCK));
    let ack = answer(splice.pass(Half::Backend, &syn_ack(&full()), &fixture.at(1)));
    assert_eq!(ack.options.timestamps.map(|ts| ts.val), Some(CLIENT_CLOCK));
    let up = forwarded(splice.pass(Half::Client, &client(Flags::ACK, 0, 0, 5), &fixture.at(2)));
    assert_eq!((up.ts_val, up.ts_ecr), (CLIENT_CLOCK, BACKEND_CLOCK));
    let echoed = Some(Timestamps { val: BACKEND_CLOCK, ecr: CLIENT_CLOCK });
    let seg = backend(Flags::ACK, 0, 5, 0);
    let seg = Segment { options: Options { timestamps: echoed, ..seg.options }, ..seg };
    let down = forwarded(splice.pass(Half::Backend, &seg, &fixture.at(3)));
    assert_eq!((down.ts_val, down.ts_ecr), (ECHOED, CLIENT_CLOCK));
}

/// RFC 6691 §2: options count, SACK blocks too. What an end sends is within the MSS that it was told; what
/// another MSS or timestamps make too large goes in pieces.
#[test]
fn options_are_part_of_a_segments_size() {
    let fixture = Fixture::new();
    let smaller = Learned { mss: 1400, ..full() };
    let mut splice = opened(&smaller, &choice(), &fixture);
    let one_block =
        |payload_len| Segment { header_len: 44, ..client(Flags::ACK, 0, 0, payload_len) };
    for (len, fits) in [(1376, true), (1377, false)] {
        let step = splice.pass(Half::Client, &one_block(len), &fixture.at(2));
        assert_eq!(matches!(step.passage, Passage::Forward(_)), fits, "{len}");
        assert_eq!(matches!(step.passage, Passage::Split(_, 1376)), !fits, "{len}");
    }
    let without = Learned { timestamps: false, ..full() };
    let mut splice = opened(&without, &choice(), &fixture);
    let one_block = |payload_len| {
        let seg = backend(Flags::ACK, 0, 0, payload_len);
        Segment { header_len: 32, options: Options::default(), ..seg }
    };
    for (len, fits) in [(1436, true), (1437, false)] {
        let step = splice.pass(Half::Backend, &one_block(len), &fixture.at(2));
        assert_eq!(matches!(step.passage, Passage::Forward(_)), fits, "{len}");
        assert_eq!(matches!(step.passage, Passage::Split(_, 1436)), !fits, "{len}");
    }
}
