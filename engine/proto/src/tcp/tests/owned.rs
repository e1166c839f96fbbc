//! A consumer's flow: its bytes in order, its window, and a stream that grows.

use super::*;
use crate::verdict::{End, Event};

const MSS: u32 = 1000;
const WINDOW: u32 = 10_000;
const FIRST: SeqNum = SeqNum(IRS + 1);

fn fin(seg: Segment) -> Segment {
    Segment { flags: seg.flags | Flags::FIN, ..seg }
}

/// A consumer's flow whose consumer has read and written nothing.
fn owned<'f>(fixture: &'f Fixture, options: Options) -> Talk<'f> {
    let ring = Context { kind: Kind::Ring, ..fixture.at(0) };
    let (_, half_open) = arrive(&Segment { options, ..syn() }, &ring);
    let talk = Talk { fixture, tcb: half_open, ms: 0 };
    let (decision, mut tcb) = meet(&half_open, &talk.ack(0), &ring);
    assert_eq!(decision.verdict, Verdict::Connect);
    tcb.own();
    let source = Source { end: tcb.iss.add(1), closed: false, edge: FIRST.add(WINDOW) };
    fixture.source.set(Some(source));
    Talk { tcb, ..talk }
}

fn plain() -> Options {
    Options { mss: Some(MSS as u16), ..Options::default() }
}

impl Talk<'_> {
    fn change(&mut self, change: impl FnOnce(&mut Source)) -> Vec<Reply> {
        let mut source = self.fixture.source.get().expect("a consumer's flow");
        change(&mut source);
        self.fixture.source.set(Some(source));
        self.tcb.stream_grew(&self.fixture.at(self.ms));
        self.say()
    }

    fn write(&mut self, len: u32) -> Vec<Reply> {
        self.change(|source| source.end = source.end.add(len))
    }

    fn close(&mut self) -> Vec<Reply> {
        self.change(|source| source.closed = true)
    }

    /// What `seg` gives the consumer, and what it draws.
    fn read(&mut self, seg: &Segment) -> (Taken, Vec<Reply>) {
        let before = self.tcb.rcv_nxt;
        let said = self.hear(seg);
        (Taken::of(seg, before, self.tcb.rcv_nxt), said)
    }
}

/// Where pieces of the stream begin, how long they are, and what their flags are.
fn pieces(replies: &[Reply]) -> Vec<(u32, u16, Flags)> {
    replies.iter().map(|reply| (reply.payload_offset, reply.payload_len, reply.flags)).collect()
}

const ACK: Flags = Flags::ACK;
const PUSH: Flags = Flags(Flags::ACK.0 | Flags::PSH.0);
const LAST: Flags = Flags(Flags::ACK.0 | Flags::FIN.0);

/// RFC 9293 §3.9.1.2: nothing waits for more to be written, and the last octets written are pushed. The FIN
/// goes only when the consumer has closed, with the last octets or behind them.
#[test]
fn what_is_written_goes_at_once_and_the_fin_when_it_is_closed() {
    let fixture = Fixture::new();
    let mut talk = owned(&fixture, plain());
    assert!(talk.say().is_empty());
    assert_eq!(pieces(&talk.write(10)), [(0, 10, PUSH)]);
    assert_eq!(pieces(&talk.write(2 * MSS)), [(10, 1000, ACK), (1010, 1000, PUSH)]);
    assert_eq!(talk.tcb.state, State::Established);
    assert_eq!(pieces(&talk.close()), [(2010, 0, LAST)]);
    assert_eq!(talk.tcb.state, State::FinWait1);
    assert!(talk.say().is_empty() && talk.close().is_empty());

    let mut talk = owned(&fixture, plain());
    let both = talk.change(|source| {
        source.end = source.end.add(5);
        source.closed = true;
    });
    assert_eq!(pieces(&both), [(0, 5, PUSH | Flags::FIN)]);
}

/// A hole is filled with what was sent, not with what was written since: the client's acknowledgement of it
/// would not be believed; nor is a FIN part of it that was not sent.
#[test]
fn what_is_sent_again_is_what_was_sent() {
    let fixture = Fixture::new();
    let mut talk = owned(&fixture, plain());
    talk.tcb.cwnd = 30;
    for _ in 0..3 {
        assert_eq!(talk.write(10).len(), 1);
    }
    talk.write(500);
    let ack = talk.ack(0);
    let said: Vec<_> = (0..3).flat_map(|_| talk.hear(&ack)).collect();
    assert_eq!(pieces(&said)[0], (0, 30, ACK), "three segments in one");

    let mut talk = owned(&fixture, plain());
    talk.write(10);
    talk.tcb.traits.set(Traits::RESEND, true);
    assert_eq!(pieces(&talk.close()), [(0, 10, PUSH), (10, 0, LAST)]);
    talk.tcb.traits.set(Traits::RESEND, true);
    assert_eq!(pieces(&talk.say()), [(0, 10, PUSH | Flags::FIN)]);
}

/// RFC 6298 §5.4: after a timeout it goes from the hole on, with whatever has been written meanwhile.
#[test]
fn a_timeout_goes_on_from_the_hole() {
    let fixture = Fixture::new();
    let mut talk = owned(&fixture, plain());
    talk.tcb.cwnd = 10;
    assert_eq!(talk.write(10).len(), 1);
    assert!(talk.write(20).is_empty(), "the congestion window is full");
    let said = talk.wait(1000);
    assert_eq!(said.len(), 1);
    assert_eq!((said[0].0, pieces(&[said[0].1])), (1000, std::vec![(0, 30, PUSH)]));
    let ack = talk.ack(30);
    assert!(talk.hear(&ack).is_empty());
    assert_eq!((talk.tcb.snd_una, talk.tcb.snd_max), (ack.ack, ack.ack), "believed");
}

/// RFC 9293 §3.8.6.1: what is written at a shut window is probed for, though no segment came to begin it.
/// Our FIN is no part of a probe.
#[test]
fn what_is_written_at_a_shut_window_is_probed_for() {
    let fixture = Fixture::new();
    let mut talk = owned(&fixture, plain());
    let shut = Segment { window: 0, ..talk.ack(0) };
    assert!(talk.hear(&shut).is_empty());
    assert!(talk.wait(5000).is_empty(), "nothing to probe with");
    let written = talk.change(|source| {
        source.end = source.end.add(1);
        source.closed = true;
    });
    assert!(written.is_empty());
    let said = talk.wait(1000);
    assert_eq!(said.len(), 1);
    assert_eq!((said[0].0, pieces(&[said[0].1])), (6000, std::vec![(0, 1, PUSH)]));
    let taken = Segment { window: 0, ..talk.ack(1) };
    let rest = talk.hear(&taken);
    assert_eq!(pieces(&rest), [(1, 0, LAST)], "a FIN takes no room");
    assert_eq!(talk.tcb.state, State::FinWait1);
}

/// RFC 5681 §4.1: after a pause longer than the timeout, what was learned about the path is out of date.
#[test]
fn a_pause_begins_with_the_initial_window() {
    let fixture = Fixture::new();
    for (pause, flight) in [(900, 20), (1100, 10)] {
        let mut talk = owned(&fixture, plain());
        talk.write(10);
        let ack = talk.ack(10);
        talk.hear(&ack);
        talk.tcb.cwnd = 20 * MSS;
        talk.wait(pause);
        assert_eq!(talk.write(40 * MSS).len(), flight);
    }
}

/// What may be written again is counted without our FIN.
#[test]
fn what_was_delivered_is_counted_in_octets() {
    let fixture = Fixture::new();
    let mut talk = owned(&fixture, plain());
    talk.write(30);
    talk.close();
    for (octets, delivered) in [(0, 0), (12, 12), (30, 30), (31, 30)] {
        let ack = talk.ack(octets);
        talk.hear(&ack);
        assert_eq!(talk.tcb.delivered(&fixture.at(0)), delivered);
    }
    assert_eq!(talk.tcb.state, State::FinWait2);
}

/// The new part of a segment is taken, and its FIN when its turn has come.
#[test]
fn what_is_taken_is_said() {
    let fixture = Fixture::new();
    let mut talk = owned(&fixture, plain());
    let octets =
        |talk: &Talk<'_>, offset, len| data(Segment { seq: FIRST.add(offset), ..talk.ack(0) }, len);
    let taken = |skip, len, fin| Taken { skip, len, fin };
    let seg = octets(&talk, 0, 10);
    assert_eq!(talk.read(&seg).0, taken(0, 10, false));
    let (nothing, said) = talk.read(&seg);
    assert!(nothing.is_nothing());
    assert_eq!(said[0].ack, FIRST.add(10), "a repetition is acknowledged");
    let seg = octets(&talk, 4, 10);
    assert_eq!(talk.read(&seg).0, taken(6, 4, false));
    let seg = fin(octets(&talk, 10, 4));
    assert_eq!(talk.read(&seg).0, taken(4, 0, true));
    assert_eq!(talk.tcb.state, State::CloseWait);
    assert!(talk.read(&seg).0.is_nothing(), "a FIN is taken once");
    let seg = octets(&talk, 15, 5);
    assert!(talk.read(&seg).0.is_nothing(), "nothing follows it");
}

/// RFC 9293 §3.10.7.4, RFC 5681 §4.2: what comes after a gap draws an ACK at once, and is taken when the
/// gap is filled, if somebody kept it; the FIN, too.
#[test]
fn what_was_kept_is_absorbed_when_its_turn_has_come() {
    let fixture = Fixture::new();
    let mut talk = owned(&fixture, plain());
    let octets =
        |talk: &Talk<'_>, offset, len| data(Segment { seq: FIRST.add(offset), ..talk.ack(0) }, len);
    let (second, third) = (octets(&talk, 10, 10), fin(octets(&talk, 15, 15)));
    for seg in [&third, &second] {
        let (taken, said) = talk.read(seg);
        assert!(taken.is_nothing());
        assert_eq!((said.len(), said[0].ack), (1, FIRST));
    }
    let cx = fixture.at(0);
    assert!(talk.tcb.absorb(&second, &cx).is_nothing(), "not yet");
    let first = octets(&talk, 0, 12);
    assert_eq!(talk.read(&first).0.len, 12);
    assert_eq!(talk.tcb.absorb(&second, &cx), Taken { skip: 2, len: 8, fin: false });
    assert_eq!(talk.tcb.absorb(&third, &cx), Taken { skip: 5, len: 10, fin: true });
    assert_eq!(talk.tcb.state, State::CloseWait);
    assert_eq!(talk.tcb.acknowledge(&cx).ack, FIRST.add(31));
    assert!(talk.tcb.absorb(&second, &cx).is_nothing());
}

/// RFC 9293 §3.8.6, RFC 7323 §2.4: what was announced is taken, though the consumer has no more room; the
/// window that is announced is what is left of it, rounded down.
#[test]
fn the_window_ends_where_the_consumers_room_does() {
    let fixture = Fixture::new();
    let mut talk = owned(&fixture, linux());
    assert_eq!(talk.tcb.rcv_shift, 7);
    let seg = data(talk.ack(0), 1000);
    let (_, said) = talk.read(&seg);
    assert_eq!((said[0].ack, said[0].window), (seg.end(), ((WINDOW - 1000) >> 7) as u16));
    let seg = data(talk.ack(0), 9400);
    let (taken, said) = talk.read(&seg);
    assert_eq!(
        (taken.len, said[0].window),
        (9000, 0),
        "up to the edge, beyond what a unit can say"
    );
    talk.change(|source| source.edge = source.edge.add(WINDOW));
    let opened = talk.tcb.acknowledge(&fixture.at(0));
    assert_eq!((opened.ack, opened.window), (FIRST.add(WINDOW), (WINDOW >> 7) as u16));
}

/// RFC 9293 §3.10.7.4: at a shut window acknowledgements count and probes are answered, without limit; what
/// they hold is not taken.
#[test]
fn a_shut_window_takes_acknowledgements_only() {
    let fixture = Fixture::new();
    let mut talk = owned(&fixture, plain());
    let fill = data(talk.ack(0), WINDOW as u16);
    assert_eq!(talk.read(&fill).1[0].window, 0);
    talk.write(10);
    let probe = data(talk.ack(10), 1);
    let (taken, said) = talk.read(&probe);
    assert!(taken.is_nothing());
    assert_eq!((said.len(), said[0].ack, said[0].limited), (1, FIRST.add(WINDOW), false));
    assert_eq!(talk.tcb.delivered(&fixture.at(0)), 10);
    let beyond = data(Segment { seq: talk.tcb.rcv_nxt.add(1), ..talk.ack(0) }, 1);
    assert!(
        matches!(decide(&talk.tcb, &beyond, &fixture.at(0)).verdict, Verdict::Answer(reply) if reply.limited)
    );
    let last = fin(talk.ack(10));
    assert_eq!(talk.read(&last).0, Taken { skip: 0, len: 0, fin: true }, "a FIN takes no room");
}

/// RFC 9293 §3.6, cases 1 and 2: either side closes first, and the other goes on for as long as it likes.
#[test]
fn either_side_goes_on_after_the_other_has_closed() {
    let fixture = Fixture::new();
    let mut talk = owned(&fixture, plain());
    talk.write(10);
    talk.close();
    let ack = talk.ack(11);
    talk.hear(&ack);
    assert_eq!(talk.tcb.state, State::FinWait2);
    let late = data(talk.ack(11), 7);
    assert_eq!(talk.read(&late).0.len, 7);
    let last = fin(data(talk.ack(11), 3));
    let decision = decide(&talk.tcb, &last, &fixture.at(0));
    assert_eq!(decision.event, Some(Event::Ended(End::Closed)));
    assert_eq!(talk.read(&last).0, Taken { skip: 0, len: 3, fin: true });
    assert_eq!(talk.tcb.state, State::TimeWait);

    let mut talk = owned(&fixture, plain());
    let last = fin(data(talk.ack(0), 3));
    assert_eq!(talk.read(&last).1.len(), 1);
    assert_eq!(talk.tcb.state, State::CloseWait);
    assert!(talk.say().is_empty(), "our side is open");
    assert_eq!(pieces(&talk.write(10)), [(0, 10, PUSH)]);
    assert_eq!(pieces(&talk.close()), [(10, 0, LAST)]);
    assert_eq!(talk.tcb.state, State::LastAck);
    let ack = talk.ack(11);
    assert_eq!(decide(&talk.tcb, &ack, &fixture.at(0)).change, Change::End(End::Closed));
}

/// A flow in `state`, brought there by segments and by its consumer.
fn owned_in(state: State, fixture: &Fixture) -> Tcb {
    let mut talk = owned(fixture, Options::default());
    let peer_closes = |talk: &mut Talk<'_>, octets| {
        let last = fin(talk.ack(octets));
        talk.hear(&last);
    };
    talk.write(100);
    match state {
        State::Established => {}
        State::FinWait1 => drop(talk.close()),
        State::FinWait2 => {
            talk.close();
            let ack = talk.ack(101);
            talk.hear(&ack);
        }
        State::CloseWait => peer_closes(&mut talk, 0),
        State::Closing => {
            talk.close();
            peer_closes(&mut talk, 0);
        }
        State::LastAck => {
            peer_closes(&mut talk, 0);
            talk.close();
        }
        other => panic!("no consumer's flow is in {}", other.name()),
    }
    talk.tcb
}

#[test]
fn a_consumers_flow_meets_every_kind_of_segment() {
    let fixture = Fixture::new();
    let mut table = String::new();
    for state in [
        State::Established,
        State::FinWait1,
        State::FinWait2,
        State::CloseWait,
        State::Closing,
        State::LastAck,
    ] {
        let tcb = owned_in(state, &fixture);
        assert_eq!(tcb.state, state);
        let _ = writeln!(table, "{}", state.name());
        for (kind, seg) in kinds(&tcb) {
            let (decision, next) = meet(&tcb, &seg, &fixture.at(20));
            let taken = match decision.change {
                Change::Update => Taken::of(&seg, tcb.rcv_nxt, next.rcv_nxt),
                Change::Keep | Change::Open | Change::End(_) => Taken::default(),
            };
            let fin = if taken.fin { " FIN" } else { "" };
            let _ = writeln!(
                table,
                "  {kind:<20} {}, takes {}{fin}",
                describe(&decision, &next),
                taken.len
            );
        }
    }
    insta::assert_snapshot!(table);
}
