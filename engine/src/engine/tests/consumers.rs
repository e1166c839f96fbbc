//! Consumers' ends that come out of a running engine, on threads of their own.

use std::thread;

use usher_proto::verdict::End;

use super::*;
use crate::flow::FlowId;
use crate::handoff::{Command, ConsumerEnd, Event};

fn ring(name: &str) -> Plan {
    let respond = "kind = \"respond\"\nresponse = \"hello\"";
    let text = CONFIG
        .replace(respond, "kind = \"ring\"\nconsumer_timeout = \"1h\"")
        .replace("hello", name);
    Plan::parse(&text, Path::new("test.toml")).expect("a good configuration")
}

/// Completes a handshake.
fn open(wire: &memory::Wire, from: &str) {
    let syn_ack = knock(wire, from, "10.10.0.10:80");
    let ack = tcp().from(from).to("10.10.0.10:80").ack(2, syn_ack.seq.wrapping_add(1));
    assert!(wire.send(0, &ack.build()));
}

/// Waits for the next event.
fn next(consumer: &mut ConsumerEnd) -> Event {
    loop {
        let mut next = None;
        if consumer.poll(1, |event| next = Some(event)) == 1 {
            return next.expect("an event");
        }
        assert!(!consumer.is_closed());
        consumer.wait(None);
    }
}

fn established(consumer: &mut ConsumerEnd) -> FlowId {
    match next(consumer) {
        Event::Established(new) => new.flow,
        other => panic!("{other:?}"),
    }
}

/// A consumer sleeps on its own thread until a flow comes, and hears of its end and of the engine's.
#[test]
fn a_consumer_is_woken_by_its_flows_and_by_the_end() {
    let (port, wire) = memory::new("wan", &Options { mac: OUR_MAC, ..Options::default() });
    let mut engine = Engine::start(&ring("hello"), vec![port], &[None]).expect("it starts");
    assert!(engine.take_consumers("other").is_empty());
    let mut consumers = engine.take_consumers("hello");
    assert_eq!((consumers.len(), engine.take_consumers("hello").len()), (1, 0));
    let mut consumer = consumers.remove(0);
    let program = thread::spawn(move || {
        let flow = established(&mut consumer);
        consumer.send(Command::Reset { flow }).expect("room");
        let Event::Ended { why, .. } = next(&mut consumer) else { panic!("not the end") };
        while !consumer.is_closed() {
            consumer.wait(None);
        }
        why
    });
    open(&wire, "10.10.0.1:4000");
    heard(&wire, |segment| segment.flags.has(usher_proto::wire::Flags::RST));
    drop(engine);
    assert_eq!(program.join().expect("no panic"), End::ResetByConsumer);
}

/// Who is gone can be replaced; who is there cannot.
#[test]
fn a_consumer_can_be_replaced_when_it_is_gone() {
    let (port, wire) = memory::new("wan", &Options { mac: OUR_MAC, ..Options::default() });
    let mut engine = Engine::start(&ring("hello"), vec![port], &[None]).expect("it starts");
    let first = engine.take_consumers("hello").remove(0);
    assert!(engine.attach("hello", 0).expect_err("it is there").contains("is there"));
    assert!(engine.attach("hello", 1).expect_err("one worker").contains("there are 1"));
    let unknown = engine.attach("web", 0).expect_err("unknown");
    assert_eq!(unknown, "there is no ring service \"web\": there are \"hello\"");
    drop(first);
    let mut second = engine.attach("hello", 0).expect("the first is gone");
    open(&wire, "10.10.0.1:4000");
    established(&mut second);
}

/// A reload that adds a service makes its ends; one that removes it closes them.
#[test]
fn reloads_add_and_remove_rings() {
    let (port, wire) = memory::new("wan", &Options { mac: OUR_MAC, ..Options::default() });
    let respond = Plan::parse(CONFIG, Path::new("test.toml")).expect("a good configuration");
    let mut engine = Engine::start(&respond, vec![port], &[None]).expect("it starts");
    assert!(engine.take_consumers("hello").is_empty());
    engine.reload(&ring("hello")).expect("services may change");
    let mut consumer = engine.take_consumers("hello").remove(0);
    open(&wire, "10.10.0.1:4000");
    let flow = established(&mut consumer);
    engine.reload(&ring("hello")).expect("nothing changes");
    engine.reload(&respond).expect("services may change");
    consumer.send(Command::Reset { flow }).expect("room");
    assert!(matches!(next(&mut consumer), Event::Ended { .. }));
    while !consumer.is_closed() {
        consumer.wait(None);
    }
}
