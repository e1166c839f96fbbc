//! The passing of time, and the ends of flows that nobody closed.

use super::*;
use crate::cookie::COOKIE_LIFE_MS;
use crate::time::Tick;

/// What happens at the flow's own deadlines until it is over: when, and what.
fn wait(splice: &mut Splice, fixture: &Fixture, mut at: u32) -> std::vec::Vec<(u32, TimerStep)> {
    let mut steps = std::vec::Vec::new();
    loop {
        let due = splice.deadline(&fixture.at(at)).0;
        assert_eq!(splice.on_timer(&fixture.at(due - 1)).then, Then::Stay, "nothing is early");
        at = due;
        let step = splice.on_timer(&fixture.at(at));
        steps.push((at, step));
        if !matches!(step.then, Then::Stay) {
            return steps;
        }
    }
}

/// The SYN is sent again within its share of the time; then the next backend has its turn, at another ISN;
/// the last one has what is left.
#[test]
fn a_silent_backend_gives_way_to_the_next() {
    let mut fixture = Fixture::new();
    fixture.policy.connect = 6000;
    let mut splice = Splice::open(&tcb(), &choice(), &fixture.at(0));
    let mut at = 0;
    for (number, iss) in [(1, UP), (2, UP.add(1000)), (3, UP.add(2000))] {
        let steps = wait(&mut splice, &fixture, at);
        let (when, last) = *steps.last().unwrap();
        let syns: std::vec::Vec<_> = steps.iter().filter_map(|(_, step)| step.to_backend).collect();
        assert_eq!((syns[0].seq, steps[0].0), (iss, at + 1000));
        assert_eq!(syns[0].flags, Flags::SYN, "RFC 3168 §6.1.1.1: without ECN");
        let reset = last.to_backend.unwrap();
        assert_eq!(
            (reset.flags, reset.seq),
            (Flags::RST, iss.add(1)),
            "a late answer finds nobody"
        );
        assert_eq!(when, at + 2000);
        at = when;
        if number < 3 {
            assert_eq!(last.then, Then::NextTry(TryEnd::TimedOut));
            assert_eq!((last.to_client, last.event), (None, None), "the client does not notice");
            splice.retry(&Choice { iss: iss.add(1000), ..choice() }, &fixture.at(at));
            let asks = Flags::SYN | Flags::ECE | Flags::CWR;
            assert_eq!((splice.syn().seq, splice.syn().flags), (iss.add(1000), asks));
        } else {
            assert_eq!(last.then, Then::End(End::ConnectTimeout));
            assert_eq!(last.event, Some(Event::Ended(End::ConnectTimeout)));
            let told = last.to_client.unwrap();
            assert_eq!((told.flags, told.seq), (Flags::RST | Flags::ACK, ISS.add(1)));
        }
    }
}

/// What quick refusals left of the time is the last backend's.
#[test]
fn the_last_try_has_what_is_left() {
    let fixture = Fixture::new();
    let mut splice = Splice::open(&tcb(), &choice(), &fixture.at(0));
    splice.retry(&choice(), &fixture.at(10));
    splice.retry(&choice(), &fixture.at(20));
    let steps = wait(&mut splice, &fixture, 20);
    assert_eq!(steps.iter().map(|(at, _)| *at).collect::<std::vec::Vec<_>>(), [1020, 3000]);
}

/// Silence ends a flow for both, half-closed by either end or not.
#[test]
fn silence_ends_a_flow_for_both() {
    let fixture = Fixture::new();
    let fin = Flags::FIN | Flags::ACK;
    let (after, end) = (fixture.policy.idle, End::IdleTimeout);
    for segments in [
        std::vec![],
        std::vec![(Half::Client, client(fin, 0, 0, 0))],
        std::vec![
            (Half::Backend, backend(fin, 0, 0, 0)),
            (Half::Client, client(Flags::ACK, 0, 1, 0)),
        ],
    ] {
        let mut splice = opened(&full(), &choice(), &fixture);
        for (half, seg) in &segments {
            let _ = splice.pass(*half, seg, &fixture.at(500));
        }
        let heard = if segments.is_empty() { 1 } else { 500 };
        let (up, down) = (splice.up.nxt, splice.down.nxt);
        let steps = wait(&mut splice, &fixture, 500);
        let [(at, step)] = steps[..] else { panic!("{steps:?}") };
        assert_eq!((at, step.then), (heard + after, Then::End(end)));
        let (client, backend) = (step.to_client.unwrap(), step.to_backend.unwrap());
        let both = Flags::RST | Flags::ACK;
        assert_eq!((client.flags, client.seq, client.ack), (both, down, IRS.add(1)));
        assert_eq!((backend.flags, backend.seq), (both, up.add(splice.up_delta)));
        assert_eq!(step.event, Some(Event::Ended(end)));
    }
}

/// A segment of either half keeps a flow alive.
#[test]
fn segments_of_either_half_show_life() {
    let fixture = Fixture::new();
    let mut splice = opened(&full(), &choice(), &fixture);
    for (half, seg, at) in [
        (Half::Client, client(Flags::ACK, 0, 0, 5), 1000),
        (Half::Backend, backend(Flags::ACK, 0, 5, 0), 2000),
    ] {
        let _ = splice.pass(half, &seg, &fixture.at(at));
        assert_eq!(splice.deadline(&fixture.at(at)), Tick(at + fixture.policy.idle));
    }
}

/// TIME_WAIT, and what lingers after a RST, end without a word; a repeated FIN makes TIME_WAIT begin anew.
#[test]
fn what_is_over_ends_in_silence() {
    let fixture = Fixture::new();
    let fin = Flags::FIN | Flags::ACK;
    let mut splice = opened(&full(), &choice(), &fixture);
    let _ = splice.pass(Half::Client, &client(fin, 0, 0, 0), &fixture.at(10));
    let _ = splice.pass(Half::Backend, &backend(fin, 0, 1, 0), &fixture.at(20));
    let _ = splice.pass(Half::Client, &client(Flags::ACK, 1, 1, 0), &fixture.at(30));
    assert_eq!(splice.deadline(&fixture.at(30)), Tick(30 + fixture.policy.time_wait));
    forwarded(splice.pass(Half::Client, &client(Flags::ACK, 1, 1, 0), &fixture.at(40)));
    assert_eq!(splice.deadline(&fixture.at(40)), Tick(30 + fixture.policy.time_wait));
    forwarded(splice.pass(Half::Backend, &backend(fin, 0, 1, 0), &fixture.at(50)));
    assert_eq!(splice.abort(&fixture.at(60)), (None, None));
    let steps = wait(&mut splice, &fixture, 60);
    let over =
        TimerStep { to_client: None, to_backend: None, then: Then::End(End::Closed), event: None };
    assert_eq!(steps, [(50 + fixture.policy.time_wait, over)]);

    let mut reset = opened(&full(), &choice(), &fixture);
    let step = reset.pass(Half::Backend, &backend(Flags::RST, 0, 0, 0), &fixture.at(10));
    assert_eq!(step.event, Some(Event::Ended(End::ClosedByReset)));
    assert_eq!(wait(&mut reset, &fixture, 10), [(10_010, over)]);
}

/// A cookie's flow leaves a marker for as long as the cookie is valid; others leave nothing.
#[test]
fn cookies_leave_a_marker() {
    let fixture = Fixture::new();
    let mut by_cookie = tcb();
    by_cookie.traits.set(Traits::BY_COOKIE, true);
    let splice = Splice::open(&by_cookie, &choice(), &fixture.at(0));
    let spent = splice.spent(Tick(COOKIE_LIFE_MS - 1)).unwrap();
    assert_eq!((spent.state, spent.irs, spent.iss), (State::Closed, IRS, ISS));
    assert!(spent.traits.has(Traits::BY_COOKIE));
    assert_eq!(splice.spent(Tick(COOKIE_LIFE_MS)), None);
    assert_eq!(Splice::open(&tcb(), &choice(), &fixture.at(0)).spent(Tick(0)), None);
}

/// The header is ours to repeat: with back-off until it is acknowledged, and not for ever.
#[test]
fn a_header_is_sent_until_it_is_acknowledged() {
    let fixture = Fixture::new();
    let with_header = Choice { header_len: 28, ..choice() };
    let mut splice = opened(&full(), &with_header, &fixture);
    let steps = wait(&mut splice, &fixture, 1);
    let sent: std::vec::Vec<_> = steps.iter().map(|(at, _)| *at).collect();
    assert_eq!(sent, [1001, 3001, 7001, 15_001, 31_001, 63_001, 127_001]);
    let header = steps[0].1.to_backend.unwrap();
    assert_eq!((header.seq, header.payload_len), (UP.add(1), 28));
    assert_eq!(steps[6].1.then, Then::End(End::RetransmissionTimeout));

    let mut splice = opened(&full(), &with_header, &fixture);
    let step = splice.pass(Half::Backend, &backend(Flags::ACK, 0, 28, 0), &fixture.at(500));
    assert_eq!(step.then, Then::Moved);
    assert_eq!(splice.deadline(&fixture.at(500)), Tick(500 + fixture.policy.idle));
}
