//! An engine's threads on memory ports.

use std::path::Path;

use usher_proto::testing::{OUR_MAC, read_tcp, tcp};

use super::*;
use crate::port::Frame;
use crate::port::memory::{self, Options};
use crate::stats::{Counter, ServiceCounter};

const CONFIG: &str = r#"
[engine]
cores = [0]
[[port]]
name = "wan"
device = "net_null0"
addresses = ["10.10.0.2/16"]
vlan = 0
[[service]]
name = "hello"
listen = ["10.10.0.10:80"]
port = "wan"
kind = "respond"
response = "hello"
"#;

/// A thread answers, is drained and ends; its counts are there afterwards.
#[test]
fn an_engine_starts_answers_and_drains() {
    let plan = Plan::parse(CONFIG, Path::new("test.toml")).expect("a good configuration");
    let (port, wire) = memory::new("wan", &Options { mac: OUR_MAC, ..Options::default() });
    let engine = Engine::start(&plan, vec![port], &[None]).expect("memory ports start");
    assert_eq!(engine.source().not_ready(), None);
    let answer = knock(&wire, "10.10.0.1:4000", "10.10.0.10:80");
    assert_eq!(answer.ack, 2);
    engine.drain(Duration::ZERO);
    assert!(engine.source().not_ready().is_some());
    while !engine.is_finished() {
        std::thread::yield_now();
    }
    let stats = engine.stats();
    assert_eq!((stats.total(Counter::SynAcks), stats.services[0].name.as_str()), (1, "hello"));
    assert_eq!(stats.workers[0].services[0].failed(usher_proto::verdict::End::Drained), 1);
}

/// Sends a SYN and waits for what comes back to that TCP port.
fn knock(wire: &memory::Wire, from: &str, to: &str) -> usher_proto::testing::TcpRead {
    assert!(wire.send(0, &tcp().from(from).to(to).syn(1).build()));
    loop {
        match wire.receive(0) {
            Some(frame) if frame.bytes().get(12..14) == Some(&[8, 0]) => {
                return read_tcp(frame.bytes());
            }
            _ => std::thread::yield_now(),
        }
    }
}

/// Workers go on with the reloaded plan; what they counted stays, under its name.
#[test]
fn an_engine_reloads() {
    let plan = Plan::parse(CONFIG, Path::new("test.toml")).expect("a good configuration");
    let (port, wire) = memory::new("wan", &Options { mac: OUR_MAC, ..Options::default() });
    let mut engine = Engine::start(&plan, vec![port], &[None]).expect("memory ports start");
    knock(&wire, "10.10.0.1:4000", "10.10.0.10:80");
    let text = CONFIG.replace("hello", "other").replace("10.10.0.10:80", "10.10.0.20:80");
    let other = Plan::parse(&text, Path::new("test.toml")).expect("a good configuration");
    engine.reload(&other).expect("services may change");
    assert_eq!(engine.plan(), &other);
    assert_eq!(engine.stats().total(Counter::SynAcks), 1, "counts are there at once");
    assert_eq!(knock(&wire, "10.10.0.1:4001", "10.10.0.20:80").ack, 2);
    let text = text.replace("vlan = 0", "vlan = 3");
    let refused = Plan::parse(&text, Path::new("test.toml")).expect("a good configuration");
    let error = engine.reload(&refused).unwrap_err();
    assert_eq!(error, "`port.vlan` cannot change while the engine runs: restart it");
    assert_eq!(engine.plan(), &other);
    engine.drain(Duration::ZERO);
    assert_eq!(engine.reload(&other).unwrap_err(), "the engine is draining");
    while !engine.is_finished() {
        std::thread::yield_now();
    }
    let stats = engine.stats();
    let started: Vec<_> = stats
        .services
        .iter()
        .map(|s| (s.name.as_str(), s.counter(ServiceCounter::Started)))
        .collect();
    assert_eq!(started, [("hello", 1), ("other", 1)]);
}
