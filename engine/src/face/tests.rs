//! Programs on memory ports, and a host that talks to them.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::*;
use crate::handoff::{Command, Event, Payload};
use crate::port::memory::{self, MemoryPort};
use crate::stats::ServiceCounter;
use crate::testing::Host;

const VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 10, 0, 10), 80);

fn config(service: &str) -> Plan {
    let text = format!(
        "[engine]\ncores = [0]\n[flow_table]\ncapacity = 64\n\
         [[port]]\nname = \"wan\"\ndevice = \"net_null0\"\naddresses = [\"10.10.0.2/16\"]\n\
         [[service]]\nname = \"echo\"\nlisten = [\"10.10.0.10:80\"]\nkind = \"ring\"\n{service}\n"
    );
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn wan() -> (Vec<MemoryPort>, Host) {
    let (port, wire) = memory::new("wan", &memory::Options::default());
    (vec![port], Host::new(wire, Ipv4Addr::new(10, 10, 0, 1), 16))
}

/// Sends back what it hears.
struct Echo;

impl Consumer for Echo {
    fn event(&mut self, event: Event, commands: &mut Commands<'_>) {
        match event {
            Event::Established(new) => commands.own(new.flow),
            Event::Data { peeked: true, .. } => {}
            Event::Data { flow, data, .. } => {
                commands.send(Command::Write { flow, data: Payload::Lease(data) });
            }
            Event::PeerClosed { flow } => commands.close(flow),
            Event::Acknowledged { .. } | Event::Ended { .. } | Event::Refused { .. } => {}
        }
    }
}

#[test]
fn the_engine_runs_a_consumer() {
    let (ports, mut host) = wan();
    let builder = Engine::builder(config("")).ports(ports).unpinned(1);
    let engine = builder.consumer("echo", |_| Echo).start().expect("it starts");
    assert_eq!(host.ask(VIP, b"who is there?"), b"who is there?");
    let stats = engine.drain(Duration::from_secs(20));
    assert_eq!(stats.services[0].counter(ServiceCounter::Completed), 1);
}

/// More than the windows and rings hold at once.
#[test]
fn a_consumer_of_the_engine_echoes_a_megabyte() {
    let (ports, mut host) = wan();
    let builder = Engine::builder(config("")).ports(ports).unpinned(1);
    let _engine = builder.consumer("echo", |_| Echo).start().expect("it starts");
    let all: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    assert!(host.ask(VIP, &all) == all);
}

/// A program that polls by itself, on the thread that also is the client.
#[test]
fn a_program_polls_and_answers() {
    let (ports, mut host) = wan();
    let mut engine =
        Engine::builder(config("")).ports(ports).unpinned(1).start().expect("it starts");
    let mut consumers = engine.consumers("echo");
    let mut consumer = consumers.pop().expect("one a worker");
    assert!(engine.consumers("echo").is_empty(), "taken");
    let connection = host.connect(VIP);
    let flow = host.wait(|_| {
        let mut flow = None;
        consumer.poll(8, |event| flow = Some(event.flow()));
        flow
    });
    assert!(consumer.respond(flow, b"bye"));
    assert_eq!(host.read(connection, usize::MAX), b"bye");
    drop(consumer);
    assert!(engine.attach("echo", 0).is_ok());
    assert_eq!(
        engine.attach("web", 0).unwrap_err().to_string(),
        "there is no ring service \"web\": there are \"echo\""
    );
    let _ = engine.stop();
}

#[test]
fn what_does_not_fit_together_does_not_start() {
    let start = |service: &str, named: Option<&str>, ports: bool| {
        let builder = Engine::builder(config(service)).unpinned(1);
        let builder = builder.ports(if ports { wan().0 } else { Vec::new() });
        let builder = match named {
            Some(named) => builder.consumer(named, |_| Echo),
            None => builder,
        };
        builder.start().expect_err("it does not start").to_string()
    };
    assert_eq!(
        start("", Some("web"), true),
        "the configuration has no ring service \"web\" to run a consumer of"
    );
    assert_eq!(
        start("consumer_cores = [0]", None, true),
        "service \"echo\" has `consumer_cores`, and the program gives no consumer to run: give one, or leave the key out and poll"
    );
    assert_eq!(start("", None, false), "the configuration has 1 ports, and 0 were given");
}

#[test]
fn a_consumer_runs_on_its_core_or_not_at_all() {
    let (ports, _host) = wan();
    let mut config = config("consumer_cores = [1023]");
    let core = crate::config::Topology::read().usable[0];
    config.engine.cores = crate::config::Cores::These(vec![core]);
    let error = Engine::builder(config).ports(ports).consumer("echo", |_| Echo).start();
    assert!(matches!(error, Err(StartError::Pin { core: 1023, .. })), "{error:?}");
}
