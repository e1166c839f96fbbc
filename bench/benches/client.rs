//! What a connection costs the client that `usher-bench cps` loads servers with, in ns, on a memory port: if it were more
//! than what it costs the server, the client would be what is measured. Only the client's turns are timed.
//!
//! `cargo bench -p usher-bench --no-default-features --bench client`

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use usher::clock::{Clock, FakeClock};
use usher::config::Cookies;
use usher::port::memory::{self, MemoryQueue, Options};
use usher::testing::{self, VIP};
use usher::worker::Worker;
use usher_bench::client::{Client, Close, Moment, Pace, Script, Setup, Sources, Stack};
use usher_bench::time::Stopwatch;
use usher_bench::wire_queue::WireQueue;
use usher_proto::testing::{CLIENT_MAC, OUR_MAC};
use usher_proto::wire::Link;

/// A client and the worker that serves it.
struct Pair {
    client: Client<WireQueue>,
    worker: Worker<MemoryQueue>,
    clock: FakeClock,
}

impl Pair {
    fn new() -> Self {
        let options = Options { mac: OUR_MAC, buffers: 4096, ring: 1024, ..Options::default() };
        let (mut port, wire) = memory::new("wan", &options);
        let mut clock = FakeClock::default();
        let (cookies, capacity) = (Cookies::Never, 1 << 17);
        let half_open_limit = capacity;
        let setup = testing::Setup {
            cookies,
            capacity,
            half_open_limit,
            answer: b"x",
            ..Default::default()
        };
        let worker = testing::worker(&setup, &mut port, clock.now()).expect("it starts");
        let prefix = "10.10.128.0/17".parse().expect("a prefix");
        let script = Script {
            stack: Stack::Linux,
            requests: 1,
            request_len: 1,
            answer_len: Some(1),
            close: Close::Server,
            rto_ns: 1_000_000_000,
            syn_retries: 3,
            timeout_ns: 10_000_000_000,
        };
        let setup = Setup {
            to: (VIP, 80).into(),
            link: Link { src: CLIENT_MAC, dst: OUR_MAC, vlan: 0 },
            sources: Sources::new(prefix, 1, &(1024..=65_535)).expect("enough"),
            script,
            request: [b'y'].into(),
            mss: 1460,
        };
        Self { client: Client::new(WireQueue::new(wire, 0), setup), worker, clock }
    }

    /// The client's time for so many connections, 32 at a time.
    fn connections(&mut self, count: u64) -> Duration {
        let mut spent = Duration::ZERO;
        let moment =
            |clock: &FakeClock| Moment { ns: clock.us * 1000, unix_ms: (clock.us / 1000) as u32 };
        self.client.begin(Pace::Closed(32), count, moment(&self.clock));
        while !self.client.is_done() {
            let now = moment(&self.clock);
            let watch = Stopwatch::start();
            self.client.turn(now);
            spent += watch.elapsed();
            self.clock.advance_us(10);
            self.worker.turn(self.clock.now());
        }
        assert_eq!(self.client.tally.closed, count);
        spent
    }
}

fn connection(c: &mut Criterion) {
    let mut group = c.benchmark_group("client");
    group.throughput(Throughput::Elements(1));
    group.bench_function("a connection, the client's part", |b| {
        let mut pair = Pair::new();
        b.iter_custom(|count| pair.connections(count));
    });
    group.finish();
}

criterion_group!(benches, connection);
criterion_main!(benches);
