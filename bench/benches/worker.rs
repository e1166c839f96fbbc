//! What a worker costs on a memory port, software checksums: P1, a SYN answered by cookie, in ns a packet;
//! P4, a whole connection to a `respond` service, in ns a connection; P5, a segment of a proxied flow, and P6,
//! a whole proxied connection; a connection that a consumer answers; and housekeeping with many backends. Only the worker's turns are timed, not the clients and backends beside them.
//!
//! `cargo bench -p usher-bench --no-default-features --bench worker`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use usher::clock::{Clock, FakeClock};
use usher::config::Cookies;
use usher::port::memory::{self, MemoryQueue, Options};
use usher::testing::{self, Setup};
use usher::worker::Worker;
use usher_bench::front::{Front, Kind};
use usher_bench::rig::Rig;

fn syn_to_cookie(c: &mut Criterion) {
    let mut group = c.benchmark_group("worker");
    group.throughput(Throughput::Elements(1));
    group.bench_function("P1 SYN to cookie SYN-ACK, a packet", |b| {
        let mut rig = Rig::new(Cookies::Always);
        b.iter_custom(|packets| rig.syns(packets));
    });
    group.finish();
}

fn connection(c: &mut Criterion) {
    let mut group = c.benchmark_group("worker");
    group.throughput(Throughput::Elements(1));
    for (name, cookies) in [("stateful", Cookies::Never), ("by cookie", Cookies::Always)] {
        group.bench_function(format!("P4 whole connection {name}"), |b| {
            let mut rig = Rig::new(cookies);
            b.iter_custom(|connections| rig.connections(connections));
        });
    }
    group.bench_function("whole connection answered by a consumer", |b| {
        let mut rig = Rig::with_consumer(Cookies::Never);
        b.iter_custom(|connections| rig.answered_connections(connections));
    });
    group.finish();
}

fn proxied(c: &mut Criterion) {
    let mut group = c.benchmark_group("worker");
    group.throughput(Throughput::Elements(1));
    let mut front = Front::new(Cookies::Never);
    front.establish(10_000);
    for (name, kind) in [("data", Kind::Data), ("an ACK with SACK", Kind::Sack)] {
        group.bench_function(format!("P5 a segment of 10,000 proxied flows, {name}"), |b| {
            b.iter_custom(|segments| front.segments(kind, segments));
        });
    }
    for (name, cookies) in [("stateful", Cookies::Never), ("by cookie", Cookies::Always)] {
        group.bench_function(format!("P6 whole proxied connection {name}"), |b| {
            let mut front = Front::new(cookies);
            b.iter_custom(|connections| front.connections(connections));
        });
    }
    group.finish();
}

/// A worker that proxies to so many backends, none of which is there.
fn quiet(backends: usize) -> (Worker<MemoryQueue>, FakeClock) {
    let list = |from: usize| {
        let host = |n: usize| format!("\"10.20.0.{}:{}\"", 3 + n % 250, 80 + n / 250);
        (from..backends.min(from + 500)).map(host).collect::<Vec<_>>().join(", ")
    };
    let service = |(nth, from): (usize, usize)| {
        format!(
            "[[service]]\nname = \"more{nth}\"\nlisten = [\"10.10.0.10:{}\"]\nport = \"wan\"\n\
             kind = \"proxy\"\nbackends = [{}]\nhealth_check = {{ type = \"tcp\", interval = \"600s\", \
             timeout = \"300s\" }}\n",
            81 + nth,
            list(from)
        )
    };
    let more: String = (0..backends).step_by(500).enumerate().map(service).collect();
    let [mut wan, mut lan] = ["wan", "lan"].map(|name| memory::new(name, &Options::default()).0);
    let mut clock = FakeClock::default();
    let plan = testing::proxy_plan(&Setup::default(), &more);
    let worker = testing::proxy_worker(&plan, [&mut wan, &mut lan], clock.now());
    (worker.expect("memory ports start"), clock)
}

/// A turn without frames in which housekeeping is due, and what all backends' counts would add to it.
fn housekeeping(c: &mut Criterion) {
    let mut group = c.benchmark_group("worker");
    for backends in [1, 1000] {
        let (mut worker, mut clock) = quiet(backends);
        group.bench_function(format!("a turn with housekeeping, {backends} more backends"), |b| {
            b.iter(|| {
                clock.advance_ms(1);
                worker.turn(clock.now())
            });
        });
        group.bench_function(format!("all counts published, {backends} more backends"), |b| {
            b.iter(|| worker.publish());
        });
    }
    group.finish();
}

criterion_group!(benches, syn_to_cookie, connection, proxied, housekeeping);
criterion_main!(benches);
