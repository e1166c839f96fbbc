//! The engine with a `ring` service, a program at the other end of its ring, and a `respond` service beside it.

use std::path::Path;

use usher::config::Plan;
use usher::handoff::ends;
use usher::port::Frame;
use usher::port::memory::{self, MemoryQueue, Wire};
use usher::stats::{Counter, ServiceCounter, WorkerSnapshot};
use usher::testing;
use usher::worker::{Keyring, Worker};
use usher_proto::cookie::{IsnKey, Keys, Secret};
use usher_proto::time::Now;
use usher_proto::wire::{Mac, RxChecksums, TxChecksums};

use super::super::engine::Cookies;
use super::super::frame::{self, ACK, SYN};
use super::super::proxy::cable::Middle;
use super::super::proxy::engine::MACS;
use super::program::{Manner, Program};

/// The length of what the other service answers.
pub(crate) const ANSWER: usize = 3000;

/// What is configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) cookies: Cookies,
    pub(crate) buffers: usize,
    /// Events, and commands, that the ring has room for.
    pub(crate) ring: usize,
    pub(crate) manner: Manner,
}

impl Setup {
    pub(crate) const DEFAULT: Self =
        Self { cookies: Cookies::Auto, buffers: 4096, ring: 4096, manner: Manner::PROMPT };

    fn plan(&self) -> Plan {
        let text = format!(
            r#"
            [engine]
            cores = [1]
            [dpdk]
            mbufs_per_port = {buffers}
            [flow_table]
            capacity = 4096
            [handshake]
            cookies = "{cookies}"
            [[port]]
            name = "wan"
            device = "net_null0"
            addresses = ["10.10.0.2/16", "fd00:10::2/64"]
            [[service]]
            name = "echo"
            listen = ["10.10.0.10:80", "[fd00:10::10]:80"]
            port = "wan"
            kind = "ring"
            ring_size = {ring}
            consumer_timeout = "3600s"
            [[service]]
            name = "hello"
            listen = ["10.10.0.11:80"]
            port = "wan"
            kind = "respond"
            response = "{answer}"
            "#,
            buffers = self.buffers,
            cookies = format!("{:?}", self.cookies).to_lowercase(),
            ring = self.ring,
            answer = "x".repeat(ANSWER),
        );
        Plan::parse(&text, Path::new("owned.toml")).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// The engine, the other end of its port, and the program.
pub(crate) struct Engine {
    worker: Worker<MemoryQueue>,
    wire: Wire,
    pub(crate) program: Program,
    /// Windows of zero that clients were told.
    pub(crate) shut: u64,
    /// The most buffers that the program ever had.
    pub(crate) most_leases: u64,
    given: u64,
    taken: u64,
}

impl Engine {
    pub(crate) fn new(setup: &Setup, seed: u64) -> Self {
        let options = memory::Options {
            mac: Mac(MACS[0]),
            mtu: 1500,
            queues: 1,
            buffers: setup.buffers,
            ring: 2048,
            tx_checksums: TxChecksums::default(),
        };
        let (port, wire) = memory::new("a port", &options);
        let secret = Secret::from_bytes([0x5a; 32]);
        let keyring = Keyring::new(Keys::new(&secret), false, IsnKey::new(&secret));
        let mut workers =
            testing::workers(&setup.plan(), keyring, &mut [port], 1, present(0)).unwrap();
        let mut worker = workers.pop().unwrap();
        let (end, consumer) = ends(setup.ring);
        assert!(worker.attach(0, Box::new(end), present(0)).is_ok(), "the service is a ring");
        let program = Program::new(consumer, setup.manner, seed);
        Self { worker, wire, program, shut: 0, most_leases: 0, given: 0, taken: 0 }
    }

    pub(crate) fn stats(&self) -> WorkerSnapshot {
        self.worker.stats()
    }

    fn take(&mut self, out: &mut Vec<(usize, Vec<u8>)>) {
        while let Some(frame) = self.wire.receive(0) {
            self.taken += 1;
            if let Ok(packet) = frame::read(frame.bytes()) {
                let is_shut = packet.window == 0 && packet.has(ACK) && !packet.has(SYN);
                self.shut += u64::from(is_shut);
            }
            out.push((0, frame.bytes().to_vec()));
        }
    }

    /// What is left or does not add up, when all connections are over and the program keeps nothing.
    pub(crate) fn audit(&self) -> Vec<String> {
        let stats = self.stats();
        let count = |counter| stats.counter(counter);
        let sum =
            |counters: &[Counter]| counters.iter().map(|&counter| count(counter)).sum::<u64>();
        let verdicts = [
            Counter::Answered,
            Counter::Reflected,
            Counter::Delivered,
            Counter::Held,
            Counter::Dropped,
        ];
        let sent = [Counter::Answered, Counter::Reflected, Counter::Generated];
        let lost = [Counter::Dropped, Counter::Lost, Counter::Refused];
        let (early, written) = self.worker.kept();
        let chunks = self.program.end.chunks();
        let mut books = vec![
            ("flows", self.worker.records().into(), 0),
            ("handed flows", self.worker.handed() as u64, 0),
            ("held frames", self.worker.held() as u64, 0),
            ("early frames", early.into(), 0),
            ("payloads", written.into(), 0),
            ("leases", self.worker.leases() as u64, 0),
            ("leases in the statistics", count(Counter::LeasesOut), 0),
            ("chunks", chunks as u64, chunks.next_power_of_two() as u64),
            ("buffers", self.wire.total_buffers() as u64, self.wire.free_buffers() as u64),
            ("frames in", self.given, count(Counter::Received)),
            ("frames out", self.taken, count(Counter::Sent)),
            ("verdicts", count(Counter::Received), sum(&verdicts)),
            ("sent", sum(&[Counter::Sent, Counter::Refused]), sum(&sent)),
            ("drops", sum(&lost), stats.drops.iter().sum()),
        ];
        for service in &stats.services {
            let completed = service.counter(ServiceCounter::Completed);
            let failed = service.failed.iter().sum::<u64>();
            books.push((
                "handshakes",
                service.counter(ServiceCounter::Started),
                completed + failed,
            ));
            books.push(("ends", completed, service.ended.iter().sum()));
        }
        let wrong = books.iter().filter(|(_, left, right)| left != right);
        wrong.map(|(what, left, right)| format!("{what}: {left} is not {right}")).collect()
    }
}

/// The engine has run for five seconds when the world begins.
const fn present(now: u64) -> Now {
    Now::new(now + 5_000_000, 1_764_000_000_000 + now / 1000)
}

impl Middle for Engine {
    const POLLED: bool = true;

    fn turn(&mut self, now: u64, burst: Vec<(usize, Vec<u8>)>) -> Vec<(usize, Vec<u8>)> {
        for (_, frame) in burst {
            let given = self.wire.send_checked(0, &frame, RxChecksums::default());
            self.given += u64::from(given);
        }
        let mut out = Vec::new();
        loop {
            let received = self.worker.turn(present(now));
            self.take(&mut out);
            self.most_leases = self.most_leases.max(self.worker.leases() as u64);
            let busy = self.program.run(now);
            if received == 0 && !busy {
                return out;
            }
        }
    }
}
