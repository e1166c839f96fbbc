//! What is served, by clients as they are.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::json;
use usher_proto::tcp::State;
use usher_proto::tcp::client::Learned;
use usher_proto::verdict::{End, Reason};

use super::*;
use crate::stats::{
    BackendSnapshot, BackendState, Counter, Layout, PortCounter, PortSnapshot, ServiceCounter,
    Tally, WorkerBackend,
};

mod dashboards;
mod socket;

/// An engine that has seen a little of everything.
struct Seen;

impl Source for Seen {
    fn snapshot(&self) -> Snapshot {
        let mut tally = Tally::new(Layout { ports: 1, services: 1, editions: 1, backends: 1 });
        tally.add(Counter::Received, 12);
        tally.add(Counter::CookiesSent, 3);
        tally.add(Counter::Forwarded, 6);
        tally.add(Counter::BackendRetries, 2);
        tally.add(Counter::TimeUs, 100);
        tally.add(Counter::BusyUs, 25);
        tally.drop_reason(Reason::Land, 2);
        tally.set_flows(State::TimeWait, 4);
        tally.set_flows(State::Closed, 1);
        tally.add_port(0, PortCounter::Received, 12);
        tally.add_service(0, ServiceCounter::Started);
        tally.add_service(0, ServiceCounter::Completed);
        tally.handshake_failed(0, End::HandshakeTimeout);
        tally.flow_ended(0, End::Closed);
        tally.handshake_time(0, 1500);
        let learned = Learned { scale: Some(7), sack: true, mss: 1460, ..Learned::default() };
        let state = BackendState { up: true, drained: true, learned: Some(learned) };
        let backend = WorkerBackend { state, connections: 5, counters: [9, 1, 2, 3, 40, 4] };
        tally.set_backend(0, &backend);
        let worker = crate::stats::WorkerSnapshot { core: 1, ..tally.snapshot() };
        let service = crate::stats::ServiceSnapshot {
            name: "hello".into(),
            kind: "respond",
            listen: vec!["10.10.0.10:80".parse().unwrap()],
            ..worker.services[0].clone()
        };
        let port = PortSnapshot { name: "wan".into(), link_up: true, ..PortSnapshot::default() };
        Snapshot {
            uptime_us: 2_500_000,
            workers: vec![worker],
            services: vec![service],
            backends: vec![BackendSnapshot {
                service: "web".into(),
                address: "10.20.0.2:80".parse().unwrap(),
                sum: backend,
            }],
            ports: vec![port],
        }
    }

    fn not_ready(&self) -> Option<String> {
        Some("the link of port `wan` is down".into())
    }
}

#[test]
fn stats_are_one_object_with_causes_as_keys() {
    let stats = stats_json(&Seen.snapshot());
    let worker = &stats["workers"][0];
    assert_eq!((&stats["uptime_s"], &worker["core"]), (&2.5.into(), &1.into()));
    assert_eq!((&worker["received"], &worker["drop_land"]), (&12.into(), &2.into()));
    assert_eq!((&worker["flows"]["TIME_WAIT"], &worker["flows"]["SPENT"]), (&4.into(), &1.into()));
    assert_eq!((&worker["handshakes_completed"], &worker["flows_ended"]), (&1.into(), &1.into()));
    assert_eq!(stats["services"][0]["failed_handshake_timeout"], 1);
    assert_eq!(stats["services"][0]["handshake_times"], json!([[1536, 1]]));
    assert_eq!(stats["ports"][0]["link_up"], true);
    assert_eq!(
        stats["backends"],
        json!([{
            "service": "web", "address": "10.20.0.2:80", "up": true, "drained": true, "connections": 5,
            "connected": 9, "refused": 1, "timed_out": 2, "mismatched": 3, "checks_passed": 40,
            "checks_failed": 4,
            "learned": {
                "mss": 1460, "window_scale": 7, "sack": true, "timestamps": false, "ecn": false,
                "window": 2144,
            },
        }])
    );
}

/// Of `ring` services alone, by the service's name.
#[test]
fn rings_have_metrics() {
    let mut snapshot = Seen.snapshot();
    assert!(!prometheus_text(snapshot.clone()).contains("ring=\"hello\""));
    snapshot.services[0].kind = "ring";
    for (counter, value) in ServiceCounter::ALL.iter().zip(10..) {
        snapshot.workers[0].services[0].counters[counter.index()] = value;
    }
    snapshot.workers[0].counters[Counter::LeasesOut.index()] = 7;
    let text = prometheus_text(snapshot);
    for sample in [
        "ring_full_total{worker=\"0\",ring=\"hello\"} 13",
        "ring_commands_refused_total{worker=\"0\",ring=\"hello\"} 14",
        "ring_consumers_lost_total{worker=\"0\",ring=\"hello\"} 15",
        "ring_depth{worker=\"0\",ring=\"hello\"} 16",
        "ring_flows_undecided{worker=\"0\",ring=\"hello\"} 17",
        "leases_out{worker=\"0\"} 7",
    ] {
        assert!(
            text.lines().any(|line| line.starts_with(&format!("usher_{sample}"))),
            "{sample}\n{text}"
        );
    }
}

#[test]
fn metrics_have_the_names_of_the_contract() {
    let text = prometheus_text(Seen.snapshot());
    let present: String =
        text.lines().filter(|l| !l.ends_with(" 0")).map(|l| format!("{l}\n")).collect();
    insta::assert_snapshot!(present.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    for reason in Reason::ALL {
        let sample =
            format!("usher_frames_dropped_total{{worker=\"0\",reason=\"{}\"}} ", reason.name());
        assert!(text.contains(&sample), "{sample}");
    }
}

/// What is served of each metric: name, type, labels.
fn served(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let row = |(name, kind): (&str, &str)| {
        let suffix = if kind == "histogram" { "_count" } else { "" };
        let sample = format!("{name}{suffix}");
        let is_one = |line: &&str| {
            line.strip_prefix(&*sample).is_some_and(|rest| rest.starts_with(['{', ' ']))
        };
        let sample = text.lines().find(is_one).unwrap_or_else(|| panic!("no sample of {name}"));
        let labels = sample.split_once('{').map_or("", |(_, rest)| rest.split_once('}').unwrap().0);
        let names: Vec<&str> = labels
            .split(',')
            .filter_map(|label| label.split_once('='))
            .map(|(name, _)| name)
            .collect();
        format!("{name} {kind} {}", names.join(" "))
    };
    types.map(row).collect()
}

/// `docs/METRICS.md` has every metric that is served, with its type and labels, and no other.
#[test]
fn every_metric_is_documented() {
    let page = include_str!("../../../docs/METRICS.md");
    let rows = page.lines().filter(|line| line.starts_with("| `usher_"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, means, _, ""] = cells[..] else { panic!("{line}") };
        assert!(!means.is_empty(), "{line}");
        let labels: Vec<&str> = labels.split('`').skip(1).step_by(2).collect();
        format!("{} {kind} {}", name.trim_matches('`'), labels.join(" "))
    };
    let documented: Vec<String> = rows.map(row).collect();
    let set: BTreeSet<String> = documented.iter().cloned().collect();
    assert_eq!(set.len(), documented.len(), "each once");
    let mut snapshot = Seen.snapshot();
    // Every service has these but for the metrics of rings.
    snapshot.services[0].kind = "ring";
    let served = served(&prometheus_text(snapshot));
    let unserved: Vec<_> = set.difference(&served).collect();
    let undocumented: Vec<_> = served.difference(&set).collect();
    assert!(unserved.is_empty() && undocumented.is_empty(), "{unserved:?} {undocumented:?}");
}

#[test]
fn tables_show_what_happened() {
    insta::assert_snapshot!(
        stats_table(&stats_json(&Seen.snapshot())).replace(env!("CARGO_PKG_VERSION"), "VERSION")
    );
    insta::assert_snapshot!(exit_table(&Seen.snapshot()));
    insta::assert_snapshot!(backends_table(&backends_json(&Seen.snapshot())));
    insta::assert_snapshot!(services_table(&services_json(&Seen.snapshot())));
}

fn get(server: &HttpServer, request: &str) -> String {
    let mut stream = TcpStream::connect(server.address().unwrap()).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// TEST-NET-1 and the documentation prefix are nobody's: as 127.0.0.1 is not where `lo` is down.
#[test]
fn http_waits_for_an_address_that_is_not_there_yet() {
    for address in ["192.0.2.1:0", "[2001:db8::1]:0"] {
        let server = HttpServer::listen(address.parse().unwrap(), Arc::new(Seen)).unwrap();
        assert!(!server.has_address());
        assert_eq!(server.address().unwrap().ip(), address.parse::<SocketAddr>().unwrap().ip());
    }
    let server = HttpServer::listen("127.0.0.1:0".parse().unwrap(), Arc::new(Seen)).unwrap();
    assert!(server.has_address());
    let taken = HttpServer::listen(server.address().unwrap(), Arc::new(Seen)).unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
}

#[test]
fn http_serves_metrics_and_probes() {
    let server = HttpServer::listen("127.0.0.1:0".parse().unwrap(), Arc::new(Seen)).unwrap();
    let metrics = get(&server, "GET /metrics");
    assert!(metrics.starts_with("HTTP/1.1 200") && metrics.contains("text/plain; version=0.0.4"));
    assert!(metrics.contains("usher_cookies_sent_total{worker=\"0\"} 3"));
    assert!(get(&server, "GET /healthz").starts_with("HTTP/1.1 200"));
    let ready = get(&server, "GET /readyz");
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("link of port `wan` is down"));
    assert!(get(&server, "GET /").starts_with("HTTP/1.1 404"));
    assert!(get(&server, "POST /metrics").starts_with("HTTP/1.1 405"));
}
