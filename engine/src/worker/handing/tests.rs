//! A worker between a client, a backend and a consumer, step by step.

use usher_proto::testing::{TcpFrame, TcpRead};
use usher_proto::verdict::{End, Reason};
use usher_proto::wire::{Addr, Flags};

use super::super::proxy::tests::{Bench, backend, client, drain};
use crate::clock::Clock;
use crate::config::{Cookies, Plan};
use crate::flow::FlowId;
use crate::handoff::{Command, CommandKind, ConsumerEnd, Event, Objection, ends};
use crate::stats::{Counter, ServiceCounter};
use crate::testing::{self, Setup};
use crate::worker::State;

/// A bench whose consumer has rings for so many events and commands.
fn bench(ring: usize, service: &str) -> (Bench, ConsumerEnd) {
    let mut bench =
        Bench::of(&testing::ring_plan(&Setup { capacity: 100, ..Setup::default() }, service));
    let consumer = attach(&mut bench, ring);
    (bench, consumer)
}

fn attach(bench: &mut Bench, ring: usize) -> ConsumerEnd {
    let (end, consumer) = ends(ring);
    let now = bench.clock.now();
    bench.worker.attach(0, Box::new(end), now).expect("there is no consumer");
    consumer
}

/// An event, as far as tests look at it.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Heard {
    Established(u16),
    Peeked(Vec<u8>),
    Ended(End),
    Refused(CommandKind, Objection),
}

/// All events that wait, and whose they are.
fn heard(consumer: &mut ConsumerEnd) -> Vec<(FlowId, Heard)> {
    let mut all = Vec::new();
    consumer.poll(usize::MAX, |event| {
        let flow = event.flow();
        let what = match event {
            Event::Established(new) => Heard::Established(new.client().port()),
            Event::Data { data, peeked: true, .. } => Heard::Peeked(data.to_vec()),
            Event::Ended { why, lost: 0, .. } => Heard::Ended(why),
            Event::Refused { command, why, .. } => Heard::Refused(command, why),
            other => panic!("{other:?}"),
        };
        all.push((flow, what));
    });
    all
}

fn whats(consumer: &mut ConsumerEnd) -> Vec<Heard> {
    heard(consumer).into_iter().map(|(_, what)| what).collect()
}

fn one(consumer: &mut ConsumerEnd) -> (FlowId, Heard) {
    let mut all = heard(consumer);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn from(port: u16) -> TcpFrame {
    client().from((Addr::v4([10, 10, 0, 1]), port))
}

/// A handshake from this TCP port, without timestamps, up to a third ACK with `data`; returns our ISN.
fn shake(bench: &mut Bench, port: u16, data: &[u8]) -> u32 {
    let (back, _) = bench.client_sends(&from(port).syn(99).mss(1460));
    let iss = back.first().expect("a SYN-ACK").seq;
    let (to_client, to_backend) =
        bench.client_sends(&from(port).ack(100, iss.wrapping_add(1)).payload(data));
    assert_eq!((to_client, to_backend), (vec![], vec![]), "nothing is acknowledged by us");
    iss
}

/// One flow without data, and its id.
fn flow(bench: &mut Bench, consumer: &mut ConsumerEnd, port: u16) -> FlowId {
    shake(bench, port, b"");
    let (id, what) = one(consumer);
    assert_eq!(what, Heard::Established(port));
    id
}

fn send(
    bench: &mut Bench,
    consumer: &mut ConsumerEnd,
    command: Command,
) -> (Vec<TcpRead>, Vec<TcpRead>) {
    consumer.send(command).expect("room");
    bench.turn();
    (drain(&mut bench.wan), drain(&mut bench.lan))
}

fn assert_left_nothing(bench: &mut Bench) {
    bench.turn();
    drop((drain(&mut bench.wan), drain(&mut bench.lan)));
    assert_eq!((bench.worker.records(), bench.worker.handed(), bench.worker.leases()), (0, 0, 0));
    bench.assert_balanced();
}

/// A request in two segments, the second one twice and the first overlapped: shown once, in order; then a backend is
/// asked, gets it, and the consumer hears no more than the end.
#[test]
fn a_consumer_peeks_and_a_backend_gets_what_was_held() {
    let (mut bench, mut consumer) = bench(64, "");
    let iss = shake(&mut bench, 40_000, b"GET");
    let more = |seq: u32, data: &[u8]| client().ack(seq, iss.wrapping_add(1)).payload(data);
    for segment in [more(103, b" /"), more(103, b" /"), more(102, b"T / H"), more(110, b"gap")] {
        let (to_client, _) = bench.client_sends(&segment);
        assert_eq!(to_client, [], "nothing is acknowledged");
    }
    let events = heard(&mut consumer);
    let flow = events[0].0;
    assert!(events.iter().all(|(id, _)| *id == flow));
    let whats: Vec<_> = events.into_iter().map(|(_, what)| what).collect();
    let peeked = |bytes: &[u8]| Heard::Peeked(bytes.to_vec());
    assert_eq!(whats, [Heard::Established(40_000), peeked(b"GET"), peeked(b" /"), peeked(b" H")]);
    assert_eq!(bench.worker.held(), 3);

    let (_, to_backend) = send(&mut bench, &mut consumer, Command::Proxy { flow, backend: None });
    let syn = &to_backend[0];
    assert_eq!((syn.flags, syn.to.to_string()), (Flags::SYN, "10.20.0.2:80".into()));
    let opened = backend(syn).ack(7000, syn.seq.wrapping_add(1)).with(Flags::SYN).mss(1460);
    let (to_client, to_backend) = bench.backend_sends(&opened);
    assert_eq!(to_client, []);
    let sent: Vec<_> =
        to_backend.iter().map(|seg| (seg.seq.wrapping_sub(syn.seq), seg.payload.clone())).collect();
    let at = |seq: u32, bytes: &[u8]| (seq, bytes.to_vec());
    assert_eq!(sent, [at(1, b"GET"), at(4, b" /"), at(3, b"T / H")]);
    assert_eq!(
        send(&mut bench, &mut consumer, Command::Proxy { flow, backend: None }),
        (vec![], vec![])
    );
    assert_eq!(one(&mut consumer).1, Heard::Refused(CommandKind::Proxy, Objection::WrongPhase));

    let (to_client, to_backend) = send(&mut bench, &mut consumer, Command::Reset { flow });
    assert!(to_client[0].flags.has(Flags::RST) && to_backend[0].flags.has(Flags::RST));
    assert_eq!(one(&mut consumer), (flow, Heard::Ended(End::ResetByConsumer)));
    assert_left_nothing(&mut bench);
}

/// What is known of a flow when it is new.
#[test]
fn a_new_flow_is_described() {
    let (mut bench, mut consumer) = bench(64, "");
    let (back, _) = bench.client_sends(&client().syn(99).linux(1400, 5000, 7));
    let (iss, stamp) = (back[0].seq, back[0].timestamps.expect("timestamps").val);
    bench.clock.advance_ms(3);
    bench.client_sends(&client().ack(100, iss.wrapping_add(1)).timestamps(5001, stamp));
    let mut events = Vec::new();
    consumer.poll(9, |event| events.push(event));
    let [Event::Established(new)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(
        (new.client().to_string(), new.service().to_string()),
        ("10.10.0.1:40000".into(), "10.10.0.10:80".into())
    );
    assert_eq!((new.irs.0, new.iss.0, new.by_cookie), (99, iss, false));
    assert_eq!((new.handshake_us, new.at_us), (Some(3000), bench.clock.now().us));
    let options = new.options;
    assert_eq!((options.mss, options.window_scales), (1400 - 12, Some((7, 7))));
    assert!(options.sack && options.timestamps && !options.ecn);
}

/// A client that resets ends its flow; whoever still names it is answered.
#[test]
fn stale_ids_are_refused() {
    let (mut bench, mut consumer) = bench(64, "");
    let id = flow(&mut bench, &mut consumer, 40_000);
    bench.client_sends(&client().rst(100));
    assert_eq!(one(&mut consumer), (id, Heard::Ended(End::ClosedByReset)));
    send(&mut bench, &mut consumer, Command::Reset { flow: id });
    let refused = |kind| Heard::Refused(kind, Objection::NoSuchFlow);
    assert_eq!(one(&mut consumer), (id, refused(CommandKind::Reset)));
    // the next flow has the same record
    let next = flow(&mut bench, &mut consumer, 40_001);
    assert_eq!(consumer.write(id, b"lost"), 4);
    let (to_client, _) = send(&mut bench, &mut consumer, Command::Close { flow: id });
    assert_eq!(to_client, []);
    let answers = heard(&mut consumer);
    assert_eq!(answers, [(id, refused(CommandKind::Write)), (id, refused(CommandKind::Close))]);
    let refusals = bench.worker.stats().services[0].counter(ServiceCounter::RingRefused);
    assert_eq!((refusals, bench.worker.flows(State::Established)), (3, 1));
    send(&mut bench, &mut consumer, Command::Reset { flow: next });
    assert_eq!(one(&mut consumer).1, Heard::Ended(End::ResetByConsumer));
    assert_left_nothing(&mut bench);
}

/// A command that cannot be done changes nothing: the next one can.
#[test]
fn a_backend_that_is_not_there_is_refused_and_another_is_not() {
    let (mut bench, mut consumer) = bench(64, "");
    let id = flow(&mut bench, &mut consumer, 40_000);
    bench.client_sends(&client().ack(100, 0).payload(b"x"));
    send(&mut bench, &mut consumer, Command::Proxy { flow: id, backend: Some(1) });
    let refused = Heard::Refused(CommandKind::Proxy, Objection::NoBackend);
    assert_eq!(whats(&mut consumer), [refused]);
    let (_, to_backend) =
        send(&mut bench, &mut consumer, Command::Proxy { flow: id, backend: Some(0) });
    assert_eq!(to_backend[0].flags, Flags::SYN);
    let refusal = TcpFrame::ack(backend(&to_backend[0]), 0, to_backend[0].seq.wrapping_add(1));
    let (to_client, to_backend) = bench.backend_sends(&refusal.with(Flags::RST));
    assert!(to_client[0].flags.has(Flags::RST));
    assert!(to_backend.iter().all(|seg| seg.flags.has(Flags::RST)), "nothing is tried again");
    assert_eq!(one(&mut consumer), (id, Heard::Ended(End::BackendRefused)));
    assert_left_nothing(&mut bench);
}

/// A ring of four events: what cannot be told is not accepted, or told later; the ends of flows are not lost.
#[test]
fn a_full_ring_makes_clients_wait_and_loses_nothing() {
    let (mut bench, mut consumer) = bench(4, "");
    let iss: Vec<u32> = (0..3).map(|n| shake(&mut bench, 40_000 + n, b"")).collect();
    // Room for one event: two are needed.
    let data = from(40_000).ack(100, iss[0].wrapping_add(1)).payload(b"data");
    let (to_client, _) = bench.client_sends(&data);
    assert_eq!(to_client, []);
    let (to_client, _) = bench.client_sends(&from(50_000).syn(5));
    assert_eq!(to_client, [], "a new client waits");
    // Three flows end; one of them finds room.
    for n in 0..3 {
        bench.client_sends(&from(40_000 + n).rst(100));
    }
    let stats = bench.worker.stats();
    assert_eq!((stats.dropped(Reason::RingFull), bench.worker.handed()), (2, 2));
    assert_eq!(stats.services[0].counter(ServiceCounter::RingFull), 2);
    assert_eq!(bench.worker.flows(State::Established), 0);
    assert!(!bench.worker.is_idle(), "the consumer is still to hear of them");

    let mut events = heard(&mut consumer);
    bench.turn();
    assert!(bench.worker.is_idle());
    events.extend(heard(&mut consumer));
    let established = [40_000, 40_001, 40_002].map(Heard::Established);
    let (new, ended) = events.split_at(3);
    assert!(new.iter().map(|(_, what)| what).eq(&established));
    assert!(ended.iter().all(|(_, what)| *what == Heard::Ended(End::ClosedByReset)));
    let ids = |events: &[(FlowId, Heard)]| events.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    assert_eq!(ids(new), ids(ended));
    let id = flow(&mut bench, &mut consumer, 50_000);
    send(&mut bench, &mut consumer, Command::Reset { flow: id });
    assert_left_nothing(&mut bench);
}

/// No more is lent than may be, nor held than fits the window, nor anything without a buffer.
#[test]
fn what_cannot_be_shown_is_not_held() {
    let (mut bench, mut consumer) = bench(64, "");
    let iss = shake(&mut bench, 40_000, b"");
    let mut hoard = Vec::new();
    while bench.wan.free_buffers() > 1 {
        hoard.push(bench.wan.alloc().expect("a buffer"));
    }
    let data = client().ack(100, iss.wrapping_add(1)).payload(b"data");
    bench.client_sends(&data);
    assert_eq!(bench.worker.stats().dropped(Reason::NoBuffer), 1);
    drop(hoard);
    bench.client_sends(&data);
    let events = whats(&mut consumer);
    assert_eq!(events, [Heard::Established(40_000), Heard::Peeked(b"data".to_vec())]);
    assert_eq!(bench.worker.held(), 1);
}

/// The consumer goes: its flows are reset, new clients get nothing until another one comes, for whom the old flows
/// do not exist.
#[test]
fn a_consumer_that_is_gone_is_replaced_by_another() {
    let (mut bench, mut consumer) = bench(64, "");
    let old = flow(&mut bench, &mut consumer, 40_000);
    let proxied = flow(&mut bench, &mut consumer, 40_001);
    send(&mut bench, &mut consumer, Command::Proxy { flow: proxied, backend: None });
    let (refused, _kept) = ends(64);
    let now = bench.clock.now();
    assert!(bench.worker.attach(0, Box::new(refused), now).is_err(), "there is one");
    drop(consumer);
    bench.clock.advance_ms(1);
    bench.turn();
    let to_client = drain(&mut bench.wan);
    assert!(to_client[0].flags.has(Flags::RST) && to_client.len() == 1, "the undecided one");
    let (to_client, _) = bench.client_sends(&client().syn(7));
    assert_eq!(to_client, []);
    let stats = bench.worker.stats();
    let service = &stats.services[0];
    assert_eq!((stats.dropped(Reason::NoConsumer), service.ended(End::ConsumerGone)), (1, 1));
    assert_eq!(service.counter(ServiceCounter::ConsumersLost), 1);

    let mut consumer = attach(&mut bench, 64);
    for id in [old, proxied] {
        send(&mut bench, &mut consumer, Command::Reset { flow: id });
        assert_eq!(one(&mut consumer).1, Heard::Refused(CommandKind::Reset, Objection::NoSuchFlow));
    }
    let id = flow(&mut bench, &mut consumer, 40_002);
    send(&mut bench, &mut consumer, Command::Reset { flow: id });
    bench.wait_ms(4000);
    assert_eq!(whats(&mut consumer), [Heard::Ended(End::ResetByConsumer)], "not those of others");
    assert_left_nothing(&mut bench);
}

/// A consumer that takes nothing for `consumer_timeout` is as good as gone, and is told.
#[test]
fn a_silent_consumer_is_given_up() {
    let (mut bench, mut consumer) = bench(64, "consumer_timeout = \"200ms\"");
    bench.wait_ms(1000);
    let id = flow(&mut bench, &mut consumer, 40_000);
    bench.wait_ms(1000);
    assert_eq!(bench.worker.flows(State::Established), 1, "it has nothing to take");
    bench.client_sends(&client().ack(100, 0).payload(b"x"));
    shake(&mut bench, 40_001, b"");
    bench.wait_ms(150);
    assert_eq!(bench.worker.flows(State::Established), 2);
    bench.wait_ms(100);
    assert_eq!(bench.worker.flows(State::Established), 0);
    assert!(!consumer.is_closed(), "what it was told is still there");
    assert!(!heard(&mut consumer).is_empty());
    assert!(consumer.is_closed());
    consumer.send(Command::Reset { flow: id }).expect("nobody reads it");
    drop(consumer);
    assert_left_nothing(&mut bench);
}

/// A drain resets what is left at its end, and the consumer hears of it.
#[test]
fn a_drain_ends_with_its_flows_and_their_news() {
    let (mut bench, mut consumer) = bench(4, "");
    let id = flow(&mut bench, &mut consumer, 40_000);
    let now = bench.clock.now();
    bench.worker.drain(now.tick, 100);
    let (to_client, _) = bench.client_sends(&from(40_001).syn(5));
    assert_eq!(to_client, []);
    bench.wait_ms(200);
    assert_eq!(one(&mut consumer), (id, Heard::Ended(End::Drained)));
    assert!(bench.worker.is_idle());
    assert_left_nothing(&mut bench);
}

/// Flows and their consumer go over to the next plan; a service that is no more ends when its last flow does.
#[test]
fn rings_outlive_reloads_until_their_service_is_gone() {
    let (mut bench, mut consumer) = bench(64, "");
    let id = flow(&mut bench, &mut consumer, 40_000);
    let setup = Setup { capacity: 100, ..Setup::default() };
    let reload = |bench: &mut Bench, plan: &Plan| {
        let now = bench.clock.now();
        testing::reload(std::slice::from_mut(&mut bench.worker), plan, now);
    };
    let next = testing::ring_plan(&setup, "consumer_gone = \"drain\"");
    reload(&mut bench, &next);
    let second = flow(&mut bench, &mut consumer, 40_001);
    let mut without = testing::ring_plan(&setup, "");
    without.services.clear();
    reload(&mut bench, &without);
    send(&mut bench, &mut consumer, Command::Reset { flow: id });
    bench.wait_ms(50);
    assert_eq!(one(&mut consumer), (id, Heard::Ended(End::ResetByConsumer)));
    assert!(!consumer.is_closed());
    send(&mut bench, &mut consumer, Command::Reset { flow: second });
    bench.wait_ms(50);
    assert_eq!(one(&mut consumer), (second, Heard::Ended(End::ResetByConsumer)));
    assert!(consumer.is_closed());
    assert_eq!(bench.worker.stats().services[0].counter(ServiceCounter::ConsumersLost), 0);
    assert_left_nothing(&mut bench);
}

/// Cookies, too: the third ACK that opens the flow may hold data.
#[test]
fn a_cookie_opens_a_flow_with_its_first_data() {
    let setup = Setup { capacity: 100, cookies: Cookies::Always, ..Setup::default() };
    let mut bench = Bench::of(&testing::ring_plan(&setup, ""));
    let mut consumer = attach(&mut bench, 64);
    shake(&mut bench, 40_000, b"GET /");
    let events = heard(&mut consumer);
    assert_eq!(events[1].1, Heard::Peeked(b"GET /".to_vec()));
    send(&mut bench, &mut consumer, Command::Reset { flow: events[0].0 });
    assert_eq!(one(&mut consumer).1, Heard::Ended(End::ResetByConsumer));
    assert_eq!(
        (bench.worker.flows(State::Closed), bench.worker.handed()),
        (1, 0),
        "a spent marker"
    );
    assert_eq!(bench.worker.stats().counter(Counter::CookiesAccepted), 1);
}

/// Two events are all that there is room for: the flow and its first data. Who is told of and then silent ends by time.
#[test]
fn the_last_room_is_for_a_flow_and_its_first_data() {
    let (mut bench, mut consumer) = bench(2, "");
    shake(&mut bench, 40_000, b"GET /");
    let events = whats(&mut consumer);
    assert_eq!(events, [Heard::Established(40_000), Heard::Peeked(b"GET /".to_vec())]);
    bench.wait_ms(310_000);
    assert_eq!(whats(&mut consumer), [Heard::Ended(End::IdleTimeout)]);
    assert_left_nothing(&mut bench);
}
