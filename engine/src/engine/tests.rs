//! An engine's threads on memory ports.

mod consumers;

use std::path::Path;

use usher_proto::tcp::State;
use usher_proto::testing::{OUR_MAC, TcpRead, read_tcp, tcp};
use usher_proto::verdict::Reason;

use super::*;
use crate::control::FlowQuery;
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

/// Two threads and one queue: whoever a client belongs to answers, and a drain waits for both.
#[test]
fn workers_on_threads_hand_frames_on() {
    let text = CONFIG.replace("cores = [0]", "cores = [0, 1]");
    let plan = Plan::parse(&text, Path::new("test.toml")).expect("a good configuration");
    let (port, wire) = memory::new("wan", &Options { mac: OUR_MAC, ..Options::default() });
    let engine = Engine::start(&plan, vec![port], &[None, None]).expect("memory ports start");
    for client in 4000..4040 {
        let answer = knock(&wire, &format!("10.10.0.1:{client}"), "10.10.0.10:80");
        assert_eq!((answer.ack, answer.to.port()), (2, client));
    }
    engine.drain(Duration::ZERO);
    while !engine.is_finished() {
        std::thread::yield_now();
    }
    let stats = engine.stats();
    let drained = |worker: &crate::stats::WorkerSnapshot| {
        worker.services[0].failed(usher_proto::verdict::End::Drained)
    };
    let shares: Vec<u64> = stats.workers.iter().map(drained).collect();
    assert!(
        shares.iter().sum::<u64>() == 40 && shares.iter().all(|share| *share > 5),
        "{shares:?}"
    );
    assert_eq!(stats.workers[1].counter(Counter::RedirectedIn), shares[1]);
    assert_eq!(wire.total_buffers() - wire.free_buffers(), wire.in_flight());
}

/// Sends a SYN and waits for what comes back to where it came from.
fn knock(wire: &memory::Wire, from: &str, to: &str) -> TcpRead {
    assert!(wire.send(0, &tcp().from(from).to(to).syn(1).build()));
    heard(wire, |segment| segment.to.to_string() == from)
}

/// Waits for a segment of this kind; on a busy machine, SYN-ACKs are repeated meanwhile.
fn heard(wire: &memory::Wire, is_it: impl Fn(&TcpRead) -> bool) -> TcpRead {
    loop {
        match wire.receive(0) {
            Some(frame) if frame.bytes().get(12..14) == Some(&[8, 0]) => {
                let segment = read_tcp(frame.bytes());
                if is_it(&segment) {
                    return segment;
                }
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
    assert_eq!(error, "`port.vlan` of \"wan\" cannot change while the engine runs: restart it");
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

/// Flows are sampled from a running worker: by filter, by limit, all of them in the end. Half-open, they wait for hours,
/// so that on a busy machine, too, none gives up before it is counted.
#[test]
fn an_engine_shows_its_flows() {
    let text = format!("{CONFIG}[handshake]\nsyn_ack_retries = 12\n");
    let plan = Plan::parse(&text, Path::new("test.toml")).expect("a good configuration");
    let (port, wire) = memory::new("wan", &Options { mac: OUR_MAC, ..Options::default() });
    let engine = Engine::start(&plan, vec![port], &[None]).expect("memory ports start");
    for client in 0..700 {
        let from = format!("10.10.{}.{}:4000", 1 + client / 250, 1 + client % 250);
        knock(&wire, &from, "10.10.0.10:80");
    }
    let all = FlowQuery { limit: Some(1000), ..FlowQuery::default() };
    let flows = engine.flows(&all).expect("a good query");
    assert_eq!((flows.flows.len(), flows.looked, flows.complete), (700, 700, true));
    let mut clients: Vec<_> = flows.flows.iter().map(|flow| flow.client).collect();
    clients.sort();
    clients.dedup();
    assert_eq!(clients.len(), 700, "none is shown twice");
    let one = &flows.flows[0];
    assert_eq!((one.worker, &*one.service, &*one.port), (0, "hello", "wan"));
    assert_eq!((one.state, one.local), (State::SynRcvd, "10.10.0.10:80".parse().unwrap()));
    assert_eq!((one.backend, one.source), (None, None));

    let found = |query: FlowQuery| {
        let found = engine.flows(&query).expect("a good query");
        (found.flows.len(), found.complete)
    };
    assert_eq!(found(FlowQuery { limit: Some(7), ..FlowQuery::default() }), (7, false));
    assert_eq!(found(FlowQuery { limit: Some(700), ..FlowQuery::default() }), (700, true));
    let of = |client: &str| FlowQuery { client: Some(client.into()), ..all.clone() };
    assert_eq!(found(of("10.10.1.0/24")), (250, true));
    assert_eq!(found(of("10.10.3.7")), (1, true));
    let state = |state: &str| FlowQuery { state: Some(state.into()), ..all.clone() };
    assert_eq!(found(state("syn_rcvd")), (700, true));
    assert_eq!(found(state("ESTABLISHED")), (0, true));
    let service = |name: &str| FlowQuery { service: Some(name.into()), ..all.clone() };
    assert_eq!(found(service("hello")), (700, true));
    let error = engine.flows(&service("hullo")).unwrap_err();
    assert_eq!(error, "there is no service \"hullo\": there are \"hello\"");
    let backend = FlowQuery { backend: Some("10.20.0.2:80".parse().unwrap()), ..all };
    let error = engine.flows(&backend).unwrap_err();
    assert!(error.starts_with("no service has a backend 10.20.0.2:80"), "{error}");
}

const PROXY: &str = r#"
[engine]
cores = [0]
[[port]]
name = "wan"
device = "net_null0"
addresses = ["10.10.0.2/16"]
[[service]]
name = "web"
listen = ["10.10.0.10:80"]
port = "wan"
kind = "proxy"
backends = ["10.10.1.1:80", "10.10.1.2:80"]
"#;

/// Orders about backends reach the workers before they are answered, and hold over reloads.
#[test]
fn an_engine_drains_and_enables_backends() {
    let plan = Plan::parse(PROXY, Path::new("test.toml")).expect("a good configuration");
    let (port, _wire) = memory::new("wan", &Options { mac: OUR_MAC, ..Options::default() });
    let mut engine = Engine::start(&plan, vec![port], &[None]).expect("memory ports start");
    let [first, second] = ["10.10.1.1:80", "10.10.1.2:80"].map(|at| at.parse().unwrap());
    let drained = |engine: &Engine<_>| {
        let backends = engine.stats().backends;
        backends.iter().map(|one| (one.address, one.sum.state.drained)).collect::<Vec<_>>()
    };
    let done = engine.set_drained("web", first, true).expect("it is there");
    assert_eq!(done, "10.10.1.1:80 of \"web\" gets no new connections; it has 0");
    assert_eq!(drained(&engine), [(first, true), (second, false)]);
    assert_eq!(engine.source().not_ready(), None);
    let done = engine.set_drained("web", second, true).expect("it is there");
    assert!(done.ends_with("no other is usable, so new clients are turned away"), "{done}");
    let reason = engine.source().not_ready();
    assert_eq!(reason.as_deref(), Some("no backend of service \"web\" is usable"));

    let text = PROXY.replace("\"10.10.1.2:80\"", "\"10.10.1.3:80\"");
    let other = Plan::parse(&text, Path::new("test.toml")).expect("a good configuration");
    engine.reload(&other).expect("services may change");
    let third = "10.10.1.3:80".parse().unwrap();
    assert_eq!(drained(&engine), [(first, true), (third, false)]);
    engine.set_drained("web", first, false).expect("it is there");
    assert_eq!(drained(&engine), [(first, false), (third, false)]);

    let error = engine.set_drained("web", second, true).unwrap_err();
    assert_eq!(
        error,
        "service \"web\" has no backend 10.10.1.2:80: there are 10.10.1.1:80, 10.10.1.3:80"
    );
    let error = engine.set_drained("wbe", first, true).unwrap_err();
    assert_eq!(error, "there is no proxy service \"wbe\": there are \"web\"");
}

/// A weight holds over reloads until the file says another; what is wrong with an order is said.
#[test]
fn an_engine_weighs_backends() {
    let plan = Plan::parse(PROXY, Path::new("test.toml")).expect("a good configuration");
    let (port, _wire) = memory::new("wan", &Options { mac: OUR_MAC, ..Options::default() });
    let mut engine = Engine::start(&plan, vec![port], &[None]).expect("memory ports start");
    let [first, nowhere] = ["10.10.1.1:80", "10.10.1.9:80"].map(|at| at.parse().unwrap());
    let applied = |engine: &Engine<_>, plan: &Plan| {
        let applied = engine.overrides.applied_to(plan);
        let proxy = applied.services[0].proxy().expect("a proxy").clone();
        proxy.backends.iter().map(|backend| backend.weight).collect::<Vec<_>>()
    };
    let done = engine.set_weight("web", first, 7).expect("it is there");
    assert_eq!(done, "10.10.1.1:80 of \"web\" weighs 7, until its file says another than 1");
    assert_eq!(applied(&engine, &plan), [7, 1]);
    assert_eq!(engine.plan(), &plan, "the file is what it was");

    let text = PROXY.replace("kind = \"proxy\"", "kind = \"proxy\"\nbackend_retries = 1");
    let other = Plan::parse(&text, Path::new("test.toml")).expect("a good configuration");
    engine.reload(&other).expect("services may change");
    assert_eq!(applied(&engine, &other), [7, 1]);
    let text = PROXY.replace("\"10.10.1.1:80\"", "{ address = \"10.10.1.1:80\", weight = 3 }");
    let other = Plan::parse(&text, Path::new("test.toml")).expect("a good configuration");
    engine.reload(&other).expect("services may change");
    assert_eq!(applied(&engine, &other), [3, 1]);
    engine.set_weight("web", first, 9).expect("it is there");
    let done = engine.set_weight("web", first, 3).expect("it is there");
    assert_eq!(done, "10.10.1.1:80 of \"web\" weighs 3, as the file says");
    assert_eq!(engine.overrides, Overrides::default());

    for (address, weight, says) in [
        (nowhere, 2, "service \"web\" has no backend 10.10.1.9:80"),
        (first, 0, "a weight of 0 is not between 1 and 1000; `usher backend drain`"),
        (first, 1001, "a weight of 1001 is not"),
    ] {
        let error = engine.set_weight("web", address, weight).unwrap_err();
        assert!(error.starts_with(says), "{error}");
    }
}

/// A drained service answers no SYN, keeps its flows, stays out over a reload and comes back; others are not
/// concerned.
#[test]
fn an_engine_drains_and_enables_services() {
    let text = format!(
        "{CONFIG}[[service]]\nname = \"other\"\nlisten = [\"10.10.0.20:80\"]\nport = \"wan\"\n\
         kind = \"respond\"\nresponse = \"other\"\n"
    );
    let plan = Plan::parse(&text, Path::new("test.toml")).expect("a good configuration");
    let (port, wire) = memory::new("wan", &Options { mac: OUR_MAC, ..Options::default() });
    let mut engine = Engine::start(&plan, vec![port], &[None]).expect("memory ports start");
    let iss = knock(&wire, "10.10.0.1:4000", "10.10.0.10:80").seq;
    let done = engine.set_service_drained("hello", true).expect("it is there");
    assert_eq!(done, "service \"hello\" takes no new connections; those that it has go on");
    let drained = |engine: &Engine<_>| {
        engine.stats().services.iter().map(|one| one.drained).collect::<Vec<_>>()
    };
    assert_eq!(drained(&engine), [true, false]);
    assert_eq!(engine.source().not_ready(), None);

    // silence for the first, and what was begun before goes on
    assert!(wire.send(0, &tcp().from("10.10.0.1:4001").to("10.10.0.10:80").syn(1).build()));
    let ack = tcp().from("10.10.0.1:4000").to("10.10.0.10:80").ack(2, iss.wrapping_add(1));
    assert!(wire.send(0, &ack.payload(b"GET /").build()));
    let answer = heard(&wire, |segment| !segment.payload.is_empty());
    assert_eq!((answer.to.port(), answer.payload.as_slice()), (4000, &b"hello"[..]));
    assert_eq!(knock(&wire, "10.10.0.1:4002", "10.10.0.20:80").to.port(), 4002);
    while engine.stats().dropped(Reason::Draining) == 0 {
        std::thread::yield_now();
    }

    let text = text.replace("response = \"hello\"", "response = \"hullo\"");
    let other = Plan::parse(&text, Path::new("test.toml")).expect("a good configuration");
    engine.reload(&other).expect("services may change");
    assert_eq!(drained(&engine), [true, false]);
    engine.set_service_drained("hello", false).expect("it is there");
    assert_eq!(drained(&engine), [false, false]);
    assert_eq!(knock(&wire, "10.10.0.1:4003", "10.10.0.10:80").to.port(), 4003);
    let error = engine.set_service_drained("hullo", true).unwrap_err();
    assert_eq!(error, "there is no service \"hullo\": there are \"hello\", \"other\"");
}

/// A service that is out on purpose does not make the engine unready; one that nobody serves does.
#[test]
fn a_drained_service_is_not_missed() {
    let plan = Plan::parse(PROXY, Path::new("test.toml")).expect("a good configuration");
    let (port, _wire) = memory::new("wan", &Options { mac: OUR_MAC, ..Options::default() });
    let mut engine = Engine::start(&plan, vec![port], &[None]).expect("memory ports start");
    for at in ["10.10.1.1:80", "10.10.1.2:80"] {
        engine.set_drained("web", at.parse().unwrap(), true).expect("it is there");
    }
    assert!(engine.source().not_ready().is_some());
    engine.set_service_drained("web", true).expect("it is there");
    assert_eq!(engine.source().not_ready(), None);
    engine.set_service_drained("web", false).expect("it is there");
    assert!(engine.source().not_ready().is_some());
}

/// What a reload would refuse is told without changing anything.
#[test]
fn a_refusal_is_known_beforehand() {
    let plan = Plan::parse(CONFIG, Path::new("test.toml")).expect("a good configuration");
    let (port, _wire) = memory::new("wan", &Options { mac: OUR_MAC, ..Options::default() });
    let engine = Engine::start(&plan, vec![port], &[None]).expect("memory ports start");
    let changed = |edit: &str| {
        let text = CONFIG.replace("vlan = 0", edit);
        engine.refusal(&Plan::parse(&text, Path::new("test.toml")).expect("a good configuration"))
    };
    assert_eq!(changed("vlan = 0"), None);
    let refused = "`port.vlan` of \"wan\", `port.mtu` of \"wan\" cannot change while the engine runs: restart it";
    assert_eq!(changed("vlan = 3\nmtu = 1400").as_deref(), Some(refused));
    engine.drain(Duration::from_secs(10));
    assert_eq!(changed("vlan = 0").as_deref(), Some("the engine is draining"));
}
