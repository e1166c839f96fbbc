//! What a worker costs on a memory port, software checksums: P1, a SYN answered by cookie, in ns a packet;
//! P4, a whole connection to a `respond` service, in ns a connection; P5, a segment of a proxied flow, and P6,
//! a whole proxied connection. Only the worker's turns are timed, not the clients and backends beside them.
//!
//! `cargo bench -p usher-bench --no-default-features --bench worker`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use usher::config::Cookies;
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

criterion_group!(benches, syn_to_cookie, connection, proxied);
criterion_main!(benches);
