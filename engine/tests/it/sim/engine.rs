//! The engine under test: a worker on a memory port, as the simulated network sees it.

use std::path::Path;
use std::sync::Arc;

use usher::config::Plan;
use usher::port::memory::{self, MemoryQueue, Wire};
use usher::port::{Frame, Port};
use usher::stats::{Board, Counter, ServiceCounter, WorkerSnapshot};
use usher::worker::{Keyring, LastIssued, Seeds, Station, View, Worker};
use usher_proto::cookie::{IsnKey, Keys, Secret};
use usher_proto::tcp::State;
use usher_proto::time::Now;
use usher_proto::wire::{Checked, Mac, RxChecksums, TxChecksums};

use super::frame;
use super::network::Weather;
use super::reference::answer;
use super::rng::Rng;
use super::server::Server;
use super::world::{MTU, SERVER_MAC, World};

/// When SYNs are answered by cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cookies {
    Always,
    Never,
    Auto,
}

/// What is configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) cookies: Cookies,
    pub(crate) half_open_limit: usize,
    pub(crate) capacity: usize,
    /// Length of the answer.
    pub(crate) answer: usize,
    /// Whether the port checks and completes checksums.
    pub(crate) offloads: bool,
    /// The port's VLAN; the clients know nothing of it, the switch tags.
    pub(crate) vlan: u16,
    pub(crate) buffers: usize,
    pub(crate) ring: usize,
    /// The engine has run for so many milliseconds when the world begins, and Unix time is this.
    pub(crate) uptime_ms: u64,
    pub(crate) unix_ms: u64,
}

impl Setup {
    pub(crate) const DEFAULT: Self = Self {
        cookies: Cookies::Auto,
        half_open_limit: 65_536,
        capacity: 4096,
        answer: 2000,
        offloads: false,
        vlan: 0,
        buffers: 2048,
        ring: 1024,
        uptime_ms: 5000,
        unix_ms: 1_764_000_000_000,
    };
}

impl Default for Setup {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The engine, and the other end of its port.
pub(crate) struct Engine {
    setup: Setup,
    worker: Worker<MemoryQueue>,
    wire: Wire,
    given: u64,
    taken: u64,
}

/// A world whose server is an engine that is set up so.
pub(crate) fn world(seed: u64, weather: Weather, setup: &Setup) -> World<Engine> {
    World::new(seed, weather, answer(setup.answer), Engine::new(seed, setup))
}

fn plan(setup: &Setup) -> Plan {
    let cookies = format!("{:?}", setup.cookies).to_lowercase();
    let text = format!(
        r#"
        [engine]
        cores = [1]
        [[port]]
        name = "wan"
        device = "net_null0"
        addresses = ["10.10.0.2/16", "fd00:10::2/64"]
        mtu = {MTU}
        vlan = {vlan}
        [flow_table]
        capacity = {capacity}
        [handshake]
        cookies = "{cookies}"
        half_open_limit = {limit}
        [[service]]
        name = "hello"
        listen = ["10.10.0.11:80", "[fd00:10::11]:80"]
        port = "wan"
        kind = "respond"
        response = "{answer}"
        "#,
        vlan = setup.vlan,
        capacity = setup.capacity,
        limit = setup.half_open_limit,
        answer = String::from_utf8(answer(setup.answer)).unwrap(),
    );
    Plan::parse(&text, Path::new("sim.toml")).unwrap_or_else(|error| panic!("{error}"))
}

impl Engine {
    fn new(seed: u64, setup: &Setup) -> Self {
        let (mac, mtu) = (Mac(SERVER_MAC), MTU);
        let (buffers, ring) = (setup.buffers, setup.ring);
        let tx_checksums = TxChecksums { ip: setup.offloads, l4: setup.offloads };
        let options = memory::Options { mac, mtu, queues: 1, buffers, ring, tx_checksums };
        let (mut port, wire) = memory::new("wan", &options);
        let secret = Secret::from_bytes([0x5a; 32]);
        let keyring =
            Keyring { cookies: Keys::new(&secret), shared: false, isn: IsnKey::new(&secret) };
        let view = View::new(&plan(setup), &[Station { mac, mtu }], keyring);
        let board = Arc::new(Board::new(view.port_count(), view.service_count()));
        let queues = port.start().unwrap().into_iter().map(Some).collect();
        let now = present(setup, 0);
        let worker = Worker::new(
            Arc::new(view),
            queues,
            setup.capacity as u32,
            board,
            LastIssued::default(),
            seeds(&mut Rng::new(!seed)),
            now,
        );
        Self { setup: *setup, worker, wire, given: 0, taken: 0 }
    }

    fn stats(&self) -> WorkerSnapshot {
        self.worker.stats()
    }

    /// Handshakes that were completed, ever.
    pub(crate) fn established(&self) -> u64 {
        self.stats().services[0].counter(ServiceCounter::Completed)
    }

    pub(crate) fn half_open(&self) -> usize {
        self.worker.flows(State::SynRcvd) as usize
    }

    pub(crate) const fn capacity(&self) -> usize {
        self.setup.capacity
    }

    /// Takes no new connections from `now` on; what is left in `ms` is reset.
    pub(crate) fn drain(&mut self, now: u64, ms: u32) {
        self.worker.drain(present(&self.setup, now).tick, ms);
    }

    /// Whether a drain would be over.
    pub(crate) fn is_idle(&self) -> bool {
        self.worker.is_idle()
    }

    fn give(&mut self, frame: &[u8]) {
        let word = match frame::read(frame) {
            _ if !self.setup.offloads => Checked::Unknown,
            Ok(_) => Checked::Good,
            Err(_) => Checked::Bad,
        };
        let checksums = RxChecksums { ip: word, l4: word };
        let mut tagged = frame.to_vec();
        if self.setup.vlan > 0 && frame.len() >= 12 {
            let [high, low] = (self.setup.vlan | 0x6000).to_be_bytes();
            tagged.splice(12..12, [0x81, 0x00, high, low]);
        }
        self.given += u64::from(self.wire.send_checked(0, &tagged, checksums));
    }

    fn take(&mut self, out: &mut Vec<Vec<u8>>) {
        while let Some(frame) = self.wire.receive(0) {
            self.taken += 1;
            let mut bytes = frame.bytes().to_vec();
            if self.setup.vlan > 0 {
                let tag: Vec<u8> = bytes.drain(12..16).collect();
                assert_eq!(
                    (&tag[..2], u16::from_be_bytes([tag[2], tag[3]]) & 0xfff),
                    (&[0x81, 0][..], self.setup.vlan)
                );
            }
            out.push(bytes);
        }
    }
}

fn seeds(rng: &mut Rng) -> Seeds {
    Seeds::from_bytes([(); 3].map(|()| [(); 32].map(|()| rng.next() as u8)))
}

fn present(setup: &Setup, now: u64) -> Now {
    Now::new(now + setup.uptime_ms * 1000, setup.unix_ms + now / 1000)
}

impl Server for Engine {
    fn turn(&mut self, now: u64, burst: &[Vec<u8>]) -> Vec<Vec<u8>> {
        for frame in burst {
            self.give(frame);
        }
        let mut out = Vec::new();
        loop {
            let received = self.worker.turn(present(&self.setup, now));
            self.take(&mut out);
            if received == 0 {
                return out;
            }
        }
    }

    fn flows(&self) -> usize {
        self.worker.records() as usize
    }

    /// No buffer is lost, verdicts add up to the frames, and flows to their ends.
    fn audit(&mut self) -> Vec<String> {
        let stats = self.stats();
        let count = |counter| stats.counter(counter);
        let sum =
            |counters: &[Counter]| counters.iter().map(|&counter| count(counter)).sum::<u64>();
        let service = &stats.services[0];
        let verdicts =
            [Counter::Answered, Counter::Reflected, Counter::Delivered, Counter::Dropped];
        let books = [
            ("buffers", self.wire.total_buffers() as u64, self.wire.free_buffers() as u64),
            ("frames in", self.given, count(Counter::Received)),
            ("frames out", self.taken, count(Counter::Sent)),
            ("verdicts", count(Counter::Received), sum(&verdicts)),
            (
                "sent",
                sum(&[Counter::Sent, Counter::Refused]),
                sum(&[Counter::Answered, Counter::Reflected, Counter::Generated]),
            ),
            ("drops", sum(&[Counter::Dropped, Counter::Refused]), stats.drops.iter().sum()),
            (
                "handshakes",
                service.counter(ServiceCounter::Started),
                service.counter(ServiceCounter::Completed) + service.failed.iter().sum::<u64>(),
            ),
            ("ends", service.counter(ServiceCounter::Completed), service.ended.iter().sum()),
        ];
        let wrong = books.iter().filter(|(_, left, right)| left != right);
        wrong
            .map(|(what, left, right)| format!("{what}: {left} is not {right}: {stats:?}"))
            .collect()
    }
}
