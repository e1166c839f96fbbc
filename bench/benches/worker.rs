//! What a worker costs on a memory port, software checksums: P1, a SYN answered by cookie, in ns a packet;
//! P4, a whole connection to a `respond` service, in ns a connection. Only the worker's turns are timed,
//! not the clients beside them.
//!
//! `cargo bench -p usher-bench --no-default-features --bench worker`

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use usher::clock::{Clock, FakeClock};
use usher::config::Cookies;
use usher::port::memory::{self, MemoryFrame, MemoryQueue, Options, Wire};
use usher::port::{BURST, Burst, Frame};
use usher::testing::{self, Setup};
use usher::worker::Worker;
use usher_proto::testing::OUR_MAC;
use usher_proto::time::Now;
use usher_proto::wire::{
    Addr, Checked, Flags, Link, Mac, Parsed, PortView, Reply, ReplyOptions, RxChecksums, SeqNum,
    Timestamps, Tuple, TxChecksums, emit, parse,
};

/// Flows that fit: TIME_WAIT of the connections, of which the newest evict the oldest.
const CAPACITY: u32 = 1 << 16;

struct Bench {
    worker: Worker<MemoryQueue>,
    wire: Wire,
    clock: FakeClock,
    spent: Duration,
    sent: Burst<MemoryFrame>,
}

impl Bench {
    fn new(cookies: Cookies) -> Self {
        let options = Options { mac: OUR_MAC, ..Options::default() };
        let (mut port, wire) = memory::new("wan", &options);
        let mut clock = FakeClock::default();
        let (half_open_limit, capacity) = (1 << 20, CAPACITY);
        let setup = Setup { cookies, half_open_limit, capacity, shared: true, answer: ANSWER };
        let worker = testing::worker(&setup, &mut port, clock.now()).expect("it starts");
        let mut bench = Self { worker, wire, clock, spent: Duration::ZERO, sent: Burst::new() };
        for _ in 0..4 {
            bench.turn(1_000_000); // announcements
            bench.receive();
        }
        bench.spent = Duration::ZERO;
        bench
    }

    /// A turn, timed.
    fn turn(&mut self, us: u64) {
        self.clock.advance_us(us);
        let now: Now = self.clock.now();
        let start = instant();
        self.worker.turn(now);
        self.spent += start.elapsed();
    }

    /// What the worker sent is in `sent`.
    fn receive(&mut self) {
        self.sent.clear();
        self.wire.receive_burst(0, &mut self.sent);
    }

    /// A frame of the client's in a buffer of the port's. The emitter writes from local to remote: `tuple`
    /// is the client's own view.
    fn say(&self, tuple: &Tuple, reply: &Reply, payload: &[u8]) {
        let link = Link { src: CLIENT, dst: OUR_MAC, vlan: 0 };
        let mut frame = self.wire.alloc().expect("a buffer");
        let len = emit(frame.room(), &link, tuple, reply, payload, TxChecksums::default());
        frame.set_len(len.expect("room"));
        self.wire.give(0, frame).expect("the ring has room");
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn instant() -> Instant {
    Instant::now()
}

/// The client's MAC.
const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 9]);

/// A client's connection number `n` as the client sees it: `local` is its own end.
fn tuple(n: u32) -> Tuple {
    let [_, a, b, c] = (n >> 14).to_be_bytes();
    Tuple {
        local: Addr::v4([10, a | 1, b, c]),
        remote: Addr::v4([10, 10, 0, 10]),
        local_port: 1024 + (n & 0x3fff) as u16,
        remote_port: 80,
        ..Tuple::default()
    }
}

/// A Linux client's SYN: 74 bytes.
fn syn(isn: u32) -> Reply {
    let options = ReplyOptions {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some(Timestamps { val: 7, ecr: 0 }),
    };
    Reply { seq: SeqNum(isn), flags: Flags::SYN, window: 64_240, options, ..Reply::default() }
}

/// P1: bursts of 32 SYNs, each of another client.
fn syn_to_cookie(c: &mut Criterion) {
    let mut group = c.benchmark_group("worker");
    group.throughput(Throughput::Elements(1));
    group.bench_function("P1 SYN to cookie SYN-ACK, a packet", |b| {
        let mut bench = Bench::new(Cookies::Always);
        let mut number = 0;
        b.iter_custom(|packets| {
            bench.spent = Duration::ZERO;
            let bursts = packets.div_ceil(BURST as u64);
            for _ in 0..bursts {
                for _ in 0..BURST {
                    number += 1;
                    bench.say(&tuple(number), &syn(number), b"");
                }
                bench.turn(2);
                bench.receive();
                assert_eq!(bench.sent.len(), BURST);
            }
            bench.spent.mul_f64(packets as f64 / (bursts * BURST as u64) as f64)
        });
    });
    group.finish();
}

/// P4: 32 connections side by side: SYN, third ACK with the request, answer with FIN, FIN, last ACK.
fn connection(c: &mut Criterion) {
    let mut group = c.benchmark_group("worker");
    group.throughput(Throughput::Elements(1));
    for (name, cookies) in [("stateful", Cookies::Never), ("by cookie", Cookies::Always)] {
        group.bench_function(format!("P4 whole connection {name}"), |b| {
            let mut bench = Bench::new(cookies);
            let mut number = 0;
            b.iter_custom(|connections| {
                bench.spent = Duration::ZERO;
                let rounds = connections.div_ceil(BURST as u64);
                for _ in 0..rounds {
                    bench.round(number);
                    number += BURST as u32;
                }
                bench.spent.mul_f64(connections as f64 / (rounds * BURST as u64) as f64)
            });
        });
    }
    group.finish();
}

impl Bench {
    /// Connections `first..first + 32`, from the first SYN to the last ACK.
    fn round(&mut self, first: u32) {
        for number in first..first + BURST as u32 {
            self.say(&tuple(number), &syn(number), b"");
        }
        for _ in 0..3 {
            self.turn(10);
            self.receive();
            let sent = std::mem::take(&mut self.sent);
            assert_eq!(sent.len(), BURST);
            sent.iter().for_each(|frame| self.respond(frame.bytes()));
        }
    }

    /// What the client says to a frame: the request to a SYN-ACK, its FIN to the answer.
    fn respond(&self, frame: &[u8]) {
        let port = PortView { mac: CLIENT, vlan: 0, index: 0 };
        let known = RxChecksums { ip: Checked::Good, l4: Checked::Good };
        let Ok(Parsed::Tcp(seg)) = parse(frame, &port, known) else { panic!("not TCP") };
        let ts = seg.options.timestamps.map(|ts| Timestamps { val: ts.ecr, ecr: ts.val });
        let (flags, payload) = match seg.flags {
            flags if flags.has(Flags::SYN) => (Flags::ACK | Flags::PSH, REQUEST),
            flags if flags.has(Flags::FIN) => (Flags::ACK | Flags::FIN, b"".as_slice()),
            _ => return,
        };
        let options = ReplyOptions { timestamps: ts, ..ReplyOptions::default() };
        let reply =
            Reply { seq: seg.ack, ack: seg.end(), flags, window: 502, options, ..Reply::default() };
        self.say(&seg.tuple, &reply, payload);
    }
}

const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

const ANSWER: &[u8] = b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";

criterion_group!(benches, syn_to_cookie, connection);
criterion_main!(benches);
