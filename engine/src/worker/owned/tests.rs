//! A worker between a client and a consumer that owns the flow, step by step.

use usher_proto::testing::{TcpFrame, TcpRead};
use usher_proto::verdict::{End, Reason};
use usher_proto::wire::Flags;

use super::super::proxy::tests::{Bench, client, drain};
use super::{BUFFERS, CREDIT, WINDOW};
use crate::clock::Clock;
use crate::flow::FlowId;
use crate::handoff::{CHUNK, Command, CommandKind, ConsumerEnd, Event, Lease, Objection, ends};
use crate::testing::{self, Setup};

/// An event, as far as tests look at it.
#[derive(PartialEq, Eq, Debug)]
enum Heard {
    Established,
    Peeked(Vec<u8>),
    Data(Vec<u8>),
    Acknowledged(u32),
    PeerClosed,
    Ended(End, u64),
    Refused(CommandKind, Objection),
}

use Heard::{Acknowledged, Data, Ended, Established, Peeked, PeerClosed, Refused};

/// A client's connection, the worker, and the consumer.
struct Flow {
    bench: Bench,
    consumer: ConsumerEnd,
    id: FlowId,
    /// Our ISN, and one more.
    first: u32,
}

impl Flow {
    /// A flow of which the consumer has said nothing, whose client has sent `data` with its third ACK.
    fn undecided(ring: usize, service: &str, data: &[u8]) -> Self {
        let plan = testing::ring_plan(&Setup { capacity: 100, ..Setup::default() }, service);
        let mut bench = Bench::of(&plan);
        let (end, mut consumer) = ends(ring);
        let now = bench.clock.now();
        bench.worker.attach(0, Box::new(end), now).expect("there is no consumer");
        let (back, _) = bench.client_sends(&client().syn(99).mss(1000));
        let first = back.first().expect("a SYN-ACK").seq.wrapping_add(1);
        bench.client_sends(&client().ack(100, first).payload(data).window(60_000));
        let mut id = None;
        let mut events = 0;
        consumer.poll(9, |event| {
            id = Some(event.flow());
            events += 1;
        });
        assert_eq!(events, 1 + usize::from(!data.is_empty()));
        Self { bench, consumer, id: id.expect("an event"), first }
    }

    /// A flow without bytes that the consumer owns.
    fn owned(ring: usize, service: &str) -> Self {
        let mut flow = Self::undecided(ring, service, b"");
        let said = flow.say(Command::Own { flow: flow.id, skip_peeked: true });
        assert_eq!((said.len(), u32::from(said[0].window)), (1, WINDOW), "no longer what is held");
        flow
    }

    /// What a command draws at once.
    fn say(&mut self, command: Command) -> Vec<TcpRead> {
        self.consumer.send(command).expect("room");
        self.turn()
    }

    fn write(&mut self, bytes: &[u8]) -> Vec<TcpRead> {
        assert_eq!(self.consumer.write(self.id, bytes), bytes.len());
        self.turn()
    }

    fn turn(&mut self) -> Vec<TcpRead> {
        self.bench.turn();
        drain(&mut self.bench.wan)
    }

    /// What the client says, its numbers counted from its first byte and from ours, and what that draws.
    fn client(
        &mut self,
        seq: u32,
        ack: u32,
        change: impl FnOnce(TcpFrame) -> TcpFrame,
    ) -> Vec<TcpRead> {
        let frame = client().ack(100 + seq, self.first.wrapping_add(ack)).window(60_000);
        self.bench.client_sends(&change(frame)).0
    }

    fn heard(&mut self) -> Vec<Heard> {
        let mut all = Vec::new();
        let id = self.id;
        self.consumer.poll(usize::MAX, |event| {
            assert_eq!(event.flow(), id);
            all.push(match event {
                Event::Established(_) => Established,
                Event::Data { data, peeked: true, .. } => Peeked(data.to_vec()),
                Event::Data { data, .. } => Data(data.to_vec()),
                Event::Acknowledged { bytes, .. } => Acknowledged(bytes),
                Event::PeerClosed { .. } => PeerClosed,
                Event::Ended { why, lost, .. } => Ended(why, lost),
                Event::Refused { command, why, .. } => Refused(command, why),
            });
        });
        all
    }

    /// The same, with the buffers kept.
    fn keep(&mut self, kept: &mut Vec<Lease>) {
        self.consumer.poll(usize::MAX, |event| {
            if let Event::Data { data, .. } = event {
                kept.push(data);
            }
        });
    }

    /// Where pieces of our stream begin, what they are, and their flags.
    fn pieces(&self, said: &[TcpRead]) -> Vec<(u32, Vec<u8>, Flags)> {
        let piece =
            |seg: &TcpRead| (seg.seq.wrapping_sub(self.first), seg.payload.clone(), seg.flags);
        said.iter().map(piece).collect()
    }

    fn assert_nothing_is_left(&mut self) {
        self.turn();
        self.turn();
        let worker = &self.bench.worker;
        assert_eq!(
            (worker.records(), worker.handed(), worker.leases(), worker.kept()),
            (0, 0, 0, (0, 0))
        );
        assert_eq!(self.consumer.chunks(), self.consumer.chunks().next_power_of_two());
        self.bench.assert_balanced();
    }
}

const PUSH: Flags = Flags(Flags::ACK.0 | Flags::PSH.0);
const LAST: Flags = Flags(Flags::ACK.0 | Flags::FIN.0);

/// What was held is acknowledged, and given out unless it was peeked at and is not wanted again.
#[test]
fn what_was_held_is_acknowledged_and_given_as_asked() {
    for skip_peeked in [false, true] {
        let mut flow = Flow::undecided(64, "", b"GET");
        assert_eq!(flow.client(3, 0, |seg| seg.payload(b" /").fin()), []);
        assert_eq!(flow.heard(), [Peeked(b" /".to_vec())]);
        let said = flow.say(Command::Own { flow: flow.id, skip_peeked });
        assert_eq!((said.len(), said[0].ack), (1, 106));
        let mut expected = vec![Data(b"GET".to_vec()), Data(b" /".to_vec())];
        expected.truncate(if skip_peeked { 0 } else { 2 });
        expected.push(PeerClosed);
        assert_eq!(flow.heard(), expected);
        assert_eq!(flow.bench.worker.held(), 0);
        let said = flow.say(Command::Close { flow: flow.id });
        assert_eq!(flow.pieces(&said), [(0, vec![], LAST)]);
        assert_eq!(flow.client(6, 1, |seg| seg), []);
        assert_eq!(flow.heard(), [Ended(End::Closed, 0)]);
        flow.assert_nothing_is_left();
    }
}

/// Writes of one batch share segments, across chunks; what is acknowledged may be written again, and its chunks
/// are the consumer's.
#[test]
fn what_is_written_is_sent_and_goes_home_when_it_is_acknowledged() {
    let mut flow = Flow::owned(64, "");
    let bytes: Vec<u8> = (0..CHUNK + 500).map(|n| n as u8).collect();
    let said = flow.write(&bytes);
    let sizes: Vec<_> = said.iter().map(|seg| seg.payload.len()).collect();
    assert_eq!(sizes, [1000, 1000, 548], "the MSS, and what is left");
    assert_eq!(said.iter().flat_map(|seg| seg.payload.clone()).collect::<Vec<_>>(), bytes);
    assert_eq!((said[0].flags, said[2].flags), (Flags::ACK, PUSH));
    assert_eq!(flow.consumer.chunks(), 62);
    assert_eq!(flow.client(0, 2100, |seg| seg), []);
    assert_eq!((flow.heard(), flow.consumer.chunks()), (vec![Acknowledged(2100)], 63));
    assert_eq!(flow.client(0, 2548, |seg| seg), []);
    assert_eq!((flow.heard(), flow.consumer.chunks()), (vec![Acknowledged(448)], 64));
    flow.say(Command::Reset { flow: flow.id });
    assert_eq!(flow.heard(), [Ended(End::ResetByConsumer, 0)]);
    flow.assert_nothing_is_left();
}

/// An answer on a request's frame, in place: the bytes are the consumer's, not the request's.
#[test]
fn an_acknowledgement_that_opens_the_window_draws_the_next_bytes() {
    let mut flow = Flow::owned(64, "");
    let said = flow.write(&[7; 12 * 1000]);
    assert_eq!(said.len(), 10, "an initial window");
    let said = flow.client(0, 2000, |seg| seg.payload(b"more"));
    assert!(said.len() >= 2 && said.iter().all(|seg| seg.ack == 104));
    assert!(said.iter().all(|seg| seg.payload.iter().all(|byte| *byte == 7)));
    assert_eq!(flow.heard(), [Data(b"more".to_vec()), Acknowledged(2000)]);
}

/// What comes early waits for its turn, its FIN as well; the client hears at once what is missing.
#[test]
fn what_comes_early_waits_for_its_turn() {
    let mut flow = Flow::owned(64, "");
    for (seq, bytes) in [(6, &b"three"[..]), (3, b"two")] {
        let said = flow.client(seq, 0, |seg| {
            if seq == 6 { seg.payload(bytes).fin() } else { seg.payload(bytes) }
        });
        assert_eq!((said.len(), said[0].ack), (1, 100));
    }
    assert_eq!((flow.heard(), flow.bench.worker.kept()), (vec![], (2, 0)));
    let said = flow.client(0, 0, |seg| seg.payload(b"one"));
    assert_eq!((said.len(), said[0].ack), (1, 112), "one ACK of all");
    let data = [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()].map(Data);
    let heard = flow.heard();
    assert_eq!((&heard[..3], &heard[3..]), (&data[..], &[PeerClosed][..]));
    assert_eq!(flow.bench.worker.kept(), (0, 0));
    flow.say(Command::Reset { flow: flow.id });
    flow.client(3, 0, |seg| seg);
    assert_eq!(flow.heard(), [Ended(End::ResetByConsumer, 0)]);
    flow.assert_nothing_is_left();
}

#[test]
fn early_frames_go_when_their_flow_does() {
    let mut flow = Flow::owned(64, "");
    flow.client(3, 0, |seg| seg.payload(b"two"));
    assert_eq!(flow.bench.worker.kept(), (1, 0));
    flow.write(b"answer");
    assert_eq!(flow.client(0, 2, |seg| seg), []);
    assert_eq!(flow.client(0, 0, |seg| seg.with(Flags::RST)), []);
    assert_eq!(
        flow.heard(),
        [Acknowledged(2), Ended(End::ClosedByReset, 4)],
        "what is lost is told"
    );
    flow.assert_nothing_is_left();
}

/// Nothing of a refused command is done, and what it carried goes home.
#[test]
fn commands_out_of_place_are_refused_and_their_bytes_go_home() {
    let mut flow = Flow::undecided(64, "", b"");
    let id = flow.id;
    let refused = |flow: &mut Flow, kind, why| {
        assert_eq!(flow.heard(), [Refused(kind, why)]);
        assert_eq!(flow.consumer.chunks(), 64);
    };
    assert_eq!(flow.write(b"early"), []);
    refused(&mut flow, CommandKind::Write, Objection::WrongPhase);
    assert_eq!(flow.say(Command::Close { flow: id }), []);
    refused(&mut flow, CommandKind::Close, Objection::WrongPhase);

    flow.say(Command::Own { flow: id, skip_peeked: true });
    flow.say(Command::Own { flow: id, skip_peeked: true });
    refused(&mut flow, CommandKind::Own, Objection::WrongPhase);
    flow.say(Command::Proxy { flow: id, backend: None });
    refused(&mut flow, CommandKind::Proxy, Objection::WrongPhase);
    assert!(flow.consumer.respond(id, b"late"));
    assert_eq!(flow.turn(), []);
    refused(&mut flow, CommandKind::Respond, Objection::WrongPhase);

    let too_much = vec![1; CREDIT as usize + 1];
    assert_eq!(flow.consumer.write(id, &too_much), 64 * CHUNK, "all chunks there are");
}

#[test]
fn a_write_beyond_the_credit_is_refused() {
    let mut flow = Flow::owned(256, "");
    let id = flow.id;
    assert_eq!(flow.consumer.write(id, &vec![1; CREDIT as usize]), CREDIT as usize);
    for _ in 0..3 {
        flow.turn();
    }
    assert_eq!(
        (flow.write(b"x"), flow.heard()),
        (vec![], vec![Refused(CommandKind::Write, Objection::OverCredit)])
    );
    flow.client(0, 1, |seg| seg);
    assert_eq!(flow.heard(), [Acknowledged(1)]);
    flow.write(b"x");
    assert_eq!(flow.heard(), []);
    flow.say(Command::Close { flow: id });
    flow.say(Command::Close { flow: id });
    flow.write(b"y");
    let closed =
        [CommandKind::Close, CommandKind::Write].map(|kind| Refused(kind, Objection::WrongPhase));
    assert_eq!(flow.heard(), closed);
    flow.say(Command::Reset { flow: id });
    assert_eq!(flow.heard(), [Ended(End::ResetByConsumer, u64::from(CREDIT))]);
    flow.write(b"z");
    assert_eq!(flow.heard(), [Refused(CommandKind::Write, Objection::NoSuchFlow)]);
    flow.assert_nothing_is_left();
}

/// An answer and the end of it, in one segment.
#[test]
fn an_answer_is_written_and_closed() {
    let mut flow = Flow::undecided(64, "", b"GET");
    assert!(flow.consumer.respond(flow.id, b"hello"));
    let said = flow.turn();
    assert_eq!(flow.pieces(&said), [(0, b"hello".to_vec(), PUSH | Flags::FIN)]);
    assert_eq!(said[0].ack, 103, "with what was held");
    assert_eq!(flow.client(3, 6, |seg| seg.fin())[0].ack, 104);
    assert_eq!(flow.heard(), [PeerClosed, Acknowledged(5), Ended(End::Closed, 0)]);
}

/// RFC 9293 §3.8.6.2.2: bytes that the consumer keeps are no longer in the window; it opens again when they are let
/// go, in a step that is worth a segment.
#[test]
fn the_window_is_what_the_consumer_has_room_for() {
    let mut flow = Flow::owned(256, "");
    let mut kept = Vec::new();
    let mut sent = 0;
    while sent < WINDOW {
        let count = (WINDOW - sent).min(1000);
        let said = flow.client(sent, 0, |seg| seg.payload(&vec![3; count as usize]));
        sent += count;
        assert_eq!(
            (said.len(), said[0].ack, u32::from(said[0].window)),
            (1, 100 + sent, WINDOW - sent)
        );
        flow.keep(&mut kept);
    }
    let probe = flow.client(sent, 0, |seg| seg.payload(b"p"));
    assert_eq!((probe[0].ack, probe[0].window), (100 + sent, 0), "nothing of it is taken");
    kept.remove(0);
    assert_eq!(flow.turn(), [], "not worth saying");
    kept.remove(0);
    let said = flow.turn();
    assert_eq!((said.len(), said[0].ack, said[0].window), (1, 100 + sent, 2000));
    kept.clear();
    let windows: Vec<_> = (0..4).map(|_| flow.turn()).collect();
    assert!(windows.iter().all(|said| said.len() < 2), "one a turn: {windows:?}");
    assert_eq!(flow.bench.worker.leases(), 0);
    assert_eq!(windows.concat().last().map(|seg| u32::from(seg.window)), Some(WINDOW));
}

/// A client that sends single bytes pins no more buffers than another.
#[test]
fn single_bytes_pin_so_many_buffers() {
    let mut flow = Flow::owned(1024, "");
    let mut kept = Vec::new();
    for nth in 0..300 {
        flow.client(nth, 0, |seg| seg.payload(b"b"));
        flow.keep(&mut kept);
    }
    assert_eq!((kept.len(), flow.bench.worker.leases()), (BUFFERS.into(), BUFFERS.into()));
    assert_eq!(flow.bench.worker.stats().dropped(Reason::NoLease), 300 - u64::from(BUFFERS));
    kept.clear();
    flow.turn();
    let said = flow.client(BUFFERS.into(), 0, |seg| seg.payload(b"again"));
    assert_eq!(said.last().map(|seg| seg.ack), Some(100 + u32::from(BUFFERS) + 5));
}

/// What finds the ring full is not taken, and comes again; what cannot be refused is told when there is room, in
/// order and in one event of each kind.
#[test]
fn a_full_ring_delays_and_loses_nothing() {
    let mut flow = Flow::owned(4, "");
    flow.write(&[5; 900]);
    for nth in 0..4 {
        assert_eq!(flow.client(nth, 0, |seg| seg.payload(b"d"))[0].ack, 101 + nth);
    }
    assert_eq!(flow.client(4, 100, |seg| seg.payload(b"e")), [], "the ring is full");
    assert_eq!(flow.client(4, 300, |seg| seg.payload(b"e")), []);
    assert_eq!(flow.bench.worker.stats().dropped(Reason::RingFull), 2);
    assert_eq!(flow.client(4, 0, |seg| seg.with(Flags::RST)), []);
    assert_eq!((flow.bench.worker.records(), flow.bench.worker.handed()), (0, 1));
    assert_eq!(flow.heard().len(), 4);
    flow.turn();
    assert_eq!(flow.heard(), [Acknowledged(300), Ended(End::ClosedByReset, 600)]);
    flow.assert_nothing_is_left();
}

/// A consumer that is gone leaves what it has written: that is delivered and closed, and what the client still sends is
/// acknowledged and forgotten.
#[test]
fn what_a_lost_consumer_wrote_is_delivered() {
    let mut flow = Flow::owned(64, "consumer_gone = \"drain\"");
    flow.consumer.write(flow.id, b"last words");
    drop(flow.consumer);
    flow.bench.wait_ms(20);
    let said = drain(&mut flow.bench.wan);
    assert!(said.iter().any(|seg| seg.payload == b"last words"));
    assert!(said.last().is_some_and(|seg| seg.flags.has(Flags::FIN)));
    let more = client().ack(100, flow.first.wrapping_add(11)).payload(b"more");
    let (said, _) = flow.bench.client_sends(&more);
    assert_eq!(said[0].ack, 104);
    let last = client().ack(104, flow.first.wrapping_add(11)).fin();
    let (said, _) = flow.bench.client_sends(&last);
    assert_eq!(said[0].ack, 105);
    assert_eq!((flow.bench.worker.handed(), flow.bench.worker.leases()), (0, 0));
    assert_eq!(flow.bench.worker.kept(), (0, 0));
}

#[test]
fn a_lost_consumers_flows_are_reset_otherwise() {
    for (service, owns) in [("", true), ("consumer_gone = \"drain\"", false)] {
        let mut flow =
            if owns { Flow::owned(64, service) } else { Flow::undecided(64, service, b"") };
        drop(flow.consumer);
        flow.bench.wait_ms(20);
        let said = drain(&mut flow.bench.wan);
        assert!(said.iter().any(|seg| seg.flags.has(Flags::RST)), "{service} {owns}");
        assert_eq!((flow.bench.worker.records(), flow.bench.worker.handed()), (0, 0));
    }
}
