//! The engine in the middle: workers that proxy between memory ports.

use std::net::IpAddr;
use std::path::Path;

use usher::config::Plan;
use usher::port::Frame;
use usher::port::memory::{self, MemoryQueue, Wire};
use usher::stats::{Counter, ServiceCounter, WorkerBackend, WorkerSnapshot};
use usher::testing;
use usher::worker::{Keyring, Worker};
use usher_proto::cookie::{IsnKey, Keys, Secret};
use usher_proto::time::Now;
use usher_proto::wire::{Checked, Mac, RxChecksums, TxChecksums};

use super::super::arrival::Arrival;
use super::super::engine::Cookies;
use super::super::frame;
use super::cable::Middle;

/// What is configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) cookies: Cookies,
    /// Without: `snat`.
    pub(crate) l2: bool,
    /// Backends are at the clients' port.
    pub(crate) one_armed: bool,
    /// Backends that are configured, at 10.20.0.2 and following, or the like in IPv6.
    pub(crate) backends: usize,
    pub(crate) backends_v6: bool,
    pub(crate) mtu: u16,
    pub(crate) workers: usize,
    /// How frames come to them.
    pub(crate) arrival: Arrival,
    pub(crate) capacity: usize,
    /// Whether the ports check and complete checksums.
    pub(crate) offloads: bool,
    pub(crate) connect: &'static str,
    pub(crate) balance: &'static str,
    /// As in the configuration: `false`, `true` or `"crc32c"`.
    pub(crate) proxy_protocol: &'static str,
}

impl Setup {
    pub(crate) const DEFAULT: Self = Self {
        cookies: Cookies::Auto,
        l2: false,
        one_armed: false,
        backends: 2,
        backends_v6: false,
        mtu: 1500,
        workers: 1,
        arrival: Arrival::Rss,
        capacity: 4096,
        offloads: false,
        connect: "15s",
        balance: "maglev",
        proxy_protocol: "false",
    };

    /// The port where backends are.
    pub(crate) const fn lan(&self) -> usize {
        if self.one_armed { 0 } else { 1 }
    }

    fn plan(&self) -> Plan {
        Plan::parse(&self.text(), Path::new("proxy.toml")).unwrap_or_else(|error| panic!("{error}"))
    }

    fn text(&self) -> String {
        let wan = r#""10.10.0.2/16", "fd00:10::2/64""#;
        let lan = r#""10.20.0.1/16", "fd00:20::1/64""#;
        let mtu = self.mtu;
        let port = |name: &str, number: u8, addresses: &str| {
            format!(
                "[[port]]\nname = \"{name}\"\ndevice = \"net_null{number}\"\naddresses = [{addresses}]\nmtu = {mtu}\n"
            )
        };
        let ports = if self.one_armed {
            port("wan", 0, &format!("{wan}, {lan}"))
        } else {
            port("wan", 0, wan) + &port("lan", 1, lan)
        };
        let listen = match (self.l2, self.backends_v6) {
            (true, false) => r#""10.10.0.10:80""#,
            (true, true) => r#""[fd00:10::10]:80""#,
            (false, _) => r#""10.10.0.10:80", "[fd00:10::10]:80""#,
        };
        format!(
            r#"
            [engine]
            cores = {cores:?}
            [flow_table]
            capacity = {capacity}
            [handshake]
            cookies = "{cookies}"
            [timeouts]
            connect = "{connect}"
            {ports}
            [[service]]
            name = "web"
            listen = [{listen}]
            port = "wan"
            kind = "proxy"
            forward = "{forward}"
            balance = "{balance}"
            proxy_protocol = {header}
            backends = {backends:?}
            "#,
            cores = (0..self.workers).collect::<Vec<_>>(),
            capacity = self.capacity,
            cookies = format!("{:?}", self.cookies).to_lowercase(),
            connect = self.connect,
            balance = self.balance,
            header = self.proxy_protocol,
            forward = if self.l2 { "l2" } else { "snat" },
            backends = (0..self.backends)
                .map(|n| format!("{}:80", backend(n, self.backends_v6)))
                .collect::<Vec<_>>(),
        )
    }
}

/// The `nth` backend's own address.
pub(crate) fn backend(nth: usize, v6: bool) -> String {
    if v6 { format!("[fd00:20::{:x}]", nth + 2) } else { format!("10.20.0.{}", nth + 2) }
}

/// The engine's own addresses, from which backends hear it.
const OWN: [&str; 4] = ["10.10.0.2", "fd00:10::2", "10.20.0.1", "fd00:20::1"];

fn own(address: &str) -> IpAddr {
    address.parse().expect("an address")
}

pub(crate) const MACS: [frame::Mac; 2] = [[2, 0x75, 0, 0, 0, 1], [2, 0x75, 0, 0, 0, 2]];

/// The engine, and the other ends of its ports.
pub(crate) struct Engine {
    pub(crate) setup: Setup,
    workers: Vec<Worker<MemoryQueue>>,
    wires: Vec<Wire>,
    given: u64,
    taken: u64,
}

impl Engine {
    pub(crate) fn new(setup: &Setup) -> Self {
        let count = setup.lan() + 1;
        let options = |port: usize| memory::Options {
            mac: Mac(MACS[port]),
            mtu: setup.mtu,
            queues: setup.arrival.queues(setup.workers),
            buffers: 4096,
            ring: 2048,
            tx_checksums: TxChecksums { ip: setup.offloads, l4: setup.offloads },
        };
        let (mut ports, wires): (Vec<_>, Vec<_>) =
            (0..count).map(|port| memory::new("a port", &options(port))).unzip();
        let plan = setup.plan();
        let secret = Secret::from_bytes([0x5a; 32]);
        let keyring = Keyring::new(Keys::new(&secret), false, IsnKey::new(&secret));
        let count = setup.workers as u16;
        let workers = testing::workers(&plan, keyring, &mut ports, count, present(0)).unwrap();
        Self { setup: *setup, workers, wires, given: 0, taken: 0 }
    }

    /// Each worker's counts.
    pub(crate) fn stats(&self) -> Vec<WorkerSnapshot> {
        self.workers.iter().map(Worker::stats).collect()
    }

    /// What all have counted together.
    pub(crate) fn total(&self, counter: Counter) -> u64 {
        self.stats().iter().map(|stats| stats.counter(counter)).sum()
    }

    /// Goes on with another configuration, whose ports are the same.
    pub(crate) fn reload(&mut self, now: u64, setup: &Setup) {
        testing::reload(&mut self.workers, &setup.plan(), present(now));
    }

    /// Takes the `nth` backend of the first configuration out, or back in.
    pub(crate) fn set_drained(&mut self, nth: u16, drained: bool) {
        self.workers.iter_mut().for_each(|worker| worker.set_drained(nth, drained));
    }

    /// What was counted of each backend.
    pub(crate) fn backends(&self) -> Vec<WorkerBackend> {
        let mut workers = self.workers.iter().map(|worker| worker.board().read().backends);
        let first = workers.next().expect("there is a worker");
        workers.fold(first, |mut sum, one| {
            sum.iter_mut().zip(&one).for_each(|(sum, one)| sum.merge(one));
            sum
        })
    }

    pub(crate) fn flows(&self) -> u32 {
        self.workers.iter().map(Worker::records).sum()
    }

    fn give(&mut self, port: usize, frame: &[u8]) {
        let packet = frame::read(frame);
        let word = match &packet {
            _ if !self.setup.offloads => Checked::Unknown,
            Ok(_) => Checked::Good,
            Err(_) => Checked::Bad,
        };
        let checksums = RxChecksums { ip: word, l4: word };
        let Setup { arrival, workers, .. } = self.setup;
        let queue = packet.map_or(0, |packet| arrival.queue(&packet, workers, &OWN.map(own)));
        self.given += u64::from(self.wires[port].send_checked(queue, frame, checksums));
    }

    fn take(&mut self, out: &mut Vec<(usize, Vec<u8>)>) {
        for (port, wire) in self.wires.iter().enumerate() {
            for queue in 0..self.setup.arrival.queues(self.setup.workers) {
                while let Some(frame) = wire.receive(queue) {
                    self.taken += 1;
                    out.push((port, frame.bytes().to_vec()));
                }
            }
        }
    }

    /// What is left or does not add up, when all connections are over.
    pub(crate) fn audit(&self) -> Vec<String> {
        let stats = self.stats();
        let left = |count: fn(&Worker<MemoryQueue>) -> usize| {
            self.workers.iter().map(count).sum::<usize>() as u64
        };
        let buffers =
            |count: fn(&Wire) -> usize| self.wires.iter().map(count).sum::<usize>() as u64;
        let mut books = vec![
            ("flows", self.flows().into(), 0),
            ("held frames", left(Worker::held), 0),
            ("ports taken", left(Worker::ports_taken), 0),
            ("buffers", buffers(Wire::total_buffers), buffers(Wire::free_buffers)),
            ("frames in", self.given, self.total(Counter::Received)),
            ("frames out", self.taken, self.total(Counter::Sent)),
            (
                "frames handed on",
                self.total(Counter::RedirectedOut),
                self.total(Counter::RedirectedIn),
            ),
        ];
        stats.iter().for_each(|stats| books.extend(own_books(stats)));
        let wrong = books.iter().filter(|(_, left, right)| left != right);
        wrong.map(|(what, left, right)| format!("{what}: {left} is not {right}")).collect()
    }
}

/// What must be equal in one worker's counts.
fn own_books(stats: &WorkerSnapshot) -> [(&'static str, u64, u64); 5] {
    let sum = |counters: &[Counter]| -> u64 {
        counters.iter().map(|&counter| stats.counter(counter)).sum()
    };
    let verdicts = [
        Counter::Answered,
        Counter::Reflected,
        Counter::Delivered,
        Counter::Forwarded,
        Counter::Held,
        Counter::Dropped,
        Counter::RedirectedOut,
    ];
    let to_send = [
        Counter::Answered,
        Counter::Reflected,
        Counter::Forwarded,
        Counter::Generated,
        Counter::Released,
        Counter::RelayedIn,
    ];
    let service = &stats.services[0];
    let completed = service.counter(ServiceCounter::Completed);
    let lost = [Counter::Dropped, Counter::Lost, Counter::Refused];
    [
        ("verdicts", sum(&[Counter::Received, Counter::RedirectedIn]), sum(&verdicts)),
        ("sent", sum(&[Counter::Sent, Counter::Refused, Counter::RelayedOut]), sum(&to_send)),
        ("drops", sum(&lost), stats.drops.iter().sum()),
        (
            "handshakes",
            service.counter(ServiceCounter::Started),
            completed + service.failed.iter().sum::<u64>(),
        ),
        ("ends", completed, service.ended.iter().sum()),
    ]
}

/// The engine has run for five seconds when the world begins.
const fn present(now: u64) -> Now {
    Now::new(now + 5_000_000, 1_764_000_000_000 + now / 1000)
}

impl Middle for Engine {
    const POLLED: bool = true;

    fn turn(&mut self, now: u64, burst: Vec<(usize, Vec<u8>)>) -> Vec<(usize, Vec<u8>)> {
        for (port, frame) in burst {
            self.give(port, &frame);
        }
        let mut out = Vec::new();
        let mut quiet = 0;
        // What the last worker hands on in one round, others take in the next.
        while quiet < self.workers.len().min(2) {
            let now = present(now);
            let received: usize = self.workers.iter_mut().map(|worker| worker.turn(now)).sum();
            self.take(&mut out);
            quiet = if received == 0 { quiet + 1 } else { 0 };
        }
        out
    }
}
