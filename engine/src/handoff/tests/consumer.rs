//! The two ends of a ring service, one step after the other.

#![forbid(unsafe_code)]

use arrayvec::ArrayVec;
use usher_proto::tcp::Tcb;
use usher_proto::time::Tick;
use usher_proto::verdict::End;
use usher_proto::wire::{Mac, Tuple};

use super::super::{
    CHUNK, Command, CommandKind, ConsumerEnd, Event, Lender, Payload, WorkerEnd, ends,
};
use crate::flow::{FlowId, NewFlow, Seed, Table};

/// The ids of flows that a table had one after the other in the same record.
fn ids<const N: usize>() -> [FlowId; N] {
    let mut table = Table::new(1, Seed::from_bytes([0; 32]), Tick(0));
    let tuple = Tuple::default();
    let (tcb, peer) = (Tcb::default(), Mac::ZERO);
    let flow = NewFlow { tuple, tcb, peer, edition: 0, started_us: 0 };
    std::array::from_fn(|_| {
        let index = table.insert(table.hash(&tuple), &flow).expect("a record is free");
        let id = table.id(index);
        table.remove(index);
        id
    })
}

const fn ended(flow: FlowId) -> Event {
    Event::Ended { flow, why: End::Closed, lost: 0 }
}

/// The flows of all events that wait.
fn heard(consumer: &mut ConsumerEnd) -> Vec<FlowId> {
    let mut flows = Vec::new();
    consumer.poll(usize::MAX, |event| flows.push(event.flow()));
    flows
}

/// The kinds of the next commands.
fn asked(worker: &mut WorkerEnd, max: usize) -> Vec<(CommandKind, FlowId)> {
    let mut commands = ArrayVec::<_, 8>::new();
    worker.commands(max, &mut commands);
    commands.iter().map(|command: &Command| (command.kind(), command.flow())).collect()
}

#[test]
fn events_are_seen_once_published_in_order_and_once() {
    let (mut worker, mut consumer) = ends(4);
    let flows = ids::<5>();
    for flow in &flows[..4] {
        worker.tell(ended(*flow)).expect("room");
    }
    assert_eq!(worker.tell(ended(flows[4])).expect_err("full").flow(), flows[4]);
    assert_eq!((worker.room(), worker.depth(), consumer.waiting()), (0, 4, 0));
    assert_eq!(heard(&mut consumer), []);
    worker.publish();
    let mut some = ArrayVec::<_, 3>::new();
    assert_eq!((consumer.waiting(), consumer.take(&mut some), worker.room()), (4, 3, 3));
    assert!(some.iter().map(Event::flow).eq(flows[..3].iter().copied()));
    assert_eq!(heard(&mut consumer), [flows[3]]);
    assert_eq!((heard(&mut consumer), worker.room()), (vec![], 4));
}

#[test]
fn commands_are_read_in_bounded_batches_and_a_full_ring_gives_them_back() {
    let (mut worker, mut consumer) = ends(2);
    let [a, b, c] = ids();
    consumer.send(Command::Proxy { flow: a, backend: Some(1) }).expect("room");
    consumer.send(Command::Own { flow: b, skip_peeked: true }).expect("room");
    let full = consumer.send(Command::Close { flow: c }).expect_err("full");
    assert!(full.to_string().contains("take events, then send the Close again"), "{full}");
    assert_eq!(asked(&mut worker, 1), [(CommandKind::Proxy, a)]);
    let mut batch = ArrayVec::<_, 2>::from([full.command, Command::Reset { flow: a }]);
    assert_eq!((consumer.send_all(&mut batch), batch.len()), (1, 1));
    assert_eq!(asked(&mut worker, 8), [(CommandKind::Own, b), (CommandKind::Close, c)]);
    assert_eq!(consumer.send_all(&mut batch), 1);
    assert_eq!(asked(&mut worker, 8), [(CommandKind::Reset, a)]);
    assert_eq!(asked(&mut worker, 8), []);
}

#[test]
fn what_a_command_carries_comes_home_with_it() {
    let (mut worker, mut consumer) = ends(2);
    let mut lender = Lender::new(2);
    let [flow] = ids();
    for text in ["written", "the answer"] {
        let data = lender.lend(text, |text| text.as_bytes()).expect("within the budget");
        worker.tell(Event::Data { flow, data, peeked: true }).expect("room");
    }
    worker.publish();
    let mut leases = ArrayVec::<_, 2>::new();
    consumer.poll(2, |event| match event {
        Event::Data { data, .. } => leases.push(Payload::Lease(data)),
        other => panic!("{other:?}"),
    });
    let [write, respond] = leases.into_inner().expect("two");
    assert_eq!((write.as_ref(), respond.as_ref()), (&b"written"[..], &b"the answer"[..]));
    consumer.send(Command::Write { flow, data: write }).expect("room");
    consumer.send(Command::Respond { flow, data: respond }).expect("room");
    assert_eq!(asked(&mut worker, 1), [(CommandKind::Write, flow)]);
    let mut home = ArrayVec::<_, 2>::new();
    assert_eq!((lender.collect(&mut home), &home[..]), (1, &["written"][..]));
    // Whoever is last drops what nobody read.
    drop((worker, consumer));
    assert_eq!((lender.collect(&mut home), lender.out()), (1, 0));
}

#[test]
fn a_consumer_that_goes_is_missed_once_its_commands_are_read() {
    let (mut worker, mut consumer) = ends(2);
    let [flow] = ids();
    consumer.send(Command::Reset { flow }).expect("room");
    assert!(!worker.is_abandoned());
    drop(consumer);
    assert!(!worker.is_abandoned());
    assert_eq!(asked(&mut worker, 8), [(CommandKind::Reset, flow)]);
    assert!(worker.is_abandoned());
}

#[test]
fn a_worker_that_goes_leaves_what_it_told() {
    let (mut worker, mut consumer) = ends(2);
    let [flow] = ids();
    worker.tell(ended(flow)).expect("room");
    drop(worker);
    assert!(!consumer.is_closed());
    assert_eq!(heard(&mut consumer), [flow]);
    assert!(consumer.is_closed());
}

#[test]
fn silence_is_events_that_wait_and_none_taken() {
    let (mut worker, mut consumer) = ends(4);
    let [a, b, c] = ids();
    assert!(!worker.is_silent(Tick(0), 10), "nothing waits");
    worker.tell(ended(a)).expect("room");
    worker.tell(ended(b)).expect("room");
    worker.publish();
    assert!(!worker.is_silent(Tick(100), 10), "nobody looked before");
    assert!(!worker.is_silent(Tick(109), 10) && worker.is_silent(Tick(110), 10));
    consumer.poll(1, drop);
    assert!(!worker.is_silent(Tick(111), 10), "one was taken");
    // One is taken and another told: as many wait as before.
    consumer.poll(1, drop);
    worker.tell(ended(c)).expect("room");
    worker.publish();
    assert!(!worker.is_silent(Tick(121), 10));
    assert!(!worker.is_silent(Tick(130), 10) && worker.is_silent(Tick(131), 10));
    consumer.poll(1, drop);
    assert!(!worker.is_silent(Tick(200), 10), "nothing waits");
}

/// The bytes that the next commands carry; what carried them goes home.
fn written(worker: &mut WorkerEnd) -> Vec<Vec<u8>> {
    let mut commands = ArrayVec::<_, 8>::new();
    worker.commands(8, &mut commands);
    let payloads = commands.into_iter().filter_map(|command| match command {
        Command::Write { data, .. } | Command::Respond { data, .. } => Some(data),
        _ => None,
    });
    let bytes = payloads.map(|data| {
        let bytes = data.as_ref().to_vec();
        worker.give_back(data);
        bytes
    });
    bytes.collect()
}

#[test]
fn what_is_written_travels_in_chunks_which_come_home() {
    let (mut worker, mut consumer) = ends(4);
    let [flow] = ids();
    let bytes: Vec<u8> = (0..3 * CHUNK + 10).map(|n| n as u8).collect();
    for _ in 0..3 {
        assert_eq!((consumer.chunks(), worker.chunks()), (4, 4));
        assert_eq!(consumer.write(flow, &bytes), bytes.len());
        assert_eq!(consumer.chunks(), 0);
        assert_eq!(consumer.write(flow, b"more"), 0, "no chunk and no room");
        let sent = written(&mut worker);
        assert!(sent[..3].iter().all(|piece| piece.len() == CHUNK));
        assert_eq!(sent.concat(), bytes);
        assert_eq!(consumer.write(flow, b"more"), 0, "not home yet");
        worker.publish();
    }
    assert!(consumer.send(Command::Close { flow }).is_ok());
    assert_eq!(consumer.write(flow, &bytes), 3 * CHUNK, "room for three commands");
    assert_eq!(consumer.chunks(), 1, "what was not sent is kept");
}

#[test]
fn an_answer_is_sent_whole_or_not_at_all() {
    let (mut worker, mut consumer) = ends(4);
    let [flow] = ids();
    assert!(consumer.respond(flow, b"short"));
    assert!(!consumer.respond(flow, &[7; CHUNK + 1]), "four commands, and room for three");
    assert_eq!(asked(&mut worker, 8), [(CommandKind::Respond, flow)]);
    assert!(consumer.respond(flow, &[7; CHUNK + 1]));
    let kinds = [CommandKind::Own, CommandKind::Write, CommandKind::Write, CommandKind::Close];
    assert_eq!(asked(&mut worker, 8), kinds.map(|kind| (kind, flow)));
    // Three chunks were lost with their commands.
    assert!(!consumer.respond(flow, &[7; CHUNK + 1]), "two chunks, and one is there");
    assert!(consumer.respond(flow, b""));
    assert_eq!(written(&mut worker), [Vec::<u8>::new()]);
}
