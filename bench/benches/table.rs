//! The flow table: a segment's look-up with real work per packet at 10 k and 10 M flows (P8), how much
//! of that is saved by staging and prefetching, a flow's life, and the time to take the memory (P14).
//!
//! Times are for a burst of 32; the throughput column is segments a second. A bare loop of look-ups
//! would overlap its own misses and show nothing: hence the work, a keyed hash that waits for the record.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use usher::flow::{Body, NewFlow, Seed, Table};
use usher_proto::cookie::{IsnKey, Secret};
use usher_proto::tcp::{State, Tcb};
use usher_proto::time::{Now, Tick};
use usher_proto::wire::{Addr, Mac, SeqNum, Tuple};

const BURST: usize = 32;

/// The `n`th client.
fn tuple(n: u32) -> Tuple {
    let [a, b, c, d] = n.to_be_bytes();
    Tuple {
        remote: Addr::v4([10_u8.wrapping_add(a), b, c, d]),
        local: Addr::v4([192, 0, 2, 1]),
        remote_port: 40_000,
        local_port: 80,
        ..Tuple::default()
    }
}

fn flow(n: u32) -> NewFlow {
    NewFlow {
        tuple: tuple(n),
        tcb: Tcb { state: State::Established, iss: SeqNum(n), ..Tcb::default() },
        peer: Mac::ZERO,
        edition: 0,
        started_us: 0,
    }
}

const SEED: Seed = Seed::from_bytes([7; 32]);

fn filled(flows: u32) -> Table {
    let mut table = Table::new(flows, SEED, Tick(0));
    for n in 0..flows {
        let new = flow(n);
        table.insert(table.hash(&new.tuple), &new).expect("there is room for all");
    }
    table
}

/// Clients in an order that no cache foresees (xorshift, scaled).
struct Clients {
    state: u32,
    count: u32,
}

impl Clients {
    fn new(count: u32) -> Self {
        Self { state: 0x9e37_79b9, count }
    }

    fn burst(&mut self) -> [Tuple; BURST] {
        std::array::from_fn(|_| tuple(self.next()))
    }

    fn next(&mut self) -> u32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        ((u64::from(self.state) * u64::from(self.count)) >> 32) as u32
    }
}

/// About 20 ns of work that needs the record.
struct Work(IsnKey);

impl Work {
    fn new() -> Self {
        Self(IsnKey::new(&Secret::from_bytes([7; 32])))
    }

    fn on(&self, tuple: &Tuple, tcb: &Tcb) -> u32 {
        let port = tuple.remote_port ^ tcb.iss.0 as u16;
        let (isn, offset) = self.0.isn(&Tuple { remote_port: port, ..*tuple }, &Now::default());
        isn.0 ^ offset
    }

    fn find_and_do(&self, table: &Table, hash: u64, tuple: &Tuple) -> u32 {
        table.find(hash, tuple).map_or(0, |(index, _)| match table.body(index) {
            Body::Own(tcb) => self.on(tuple, tcb),
            Body::Spliced(_) => 0,
        })
    }
}

fn one_at_a_time(table: &Table, work: &Work, burst: &[Tuple; BURST]) -> u32 {
    burst.iter().map(|t| work.find_and_do(table, table.hash(t), t)).fold(0, u32::wrapping_add)
}

fn staged(table: &Table, work: &Work, burst: &[Tuple; BURST]) -> u32 {
    let hashes = burst.each_ref().map(|tuple| table.hash(tuple));
    hashes.iter().for_each(|&hash| table.prefetch_bucket(hash));
    hashes.iter().for_each(|&hash| table.prefetch_record(hash));
    let lanes = hashes.iter().zip(burst);
    lanes.map(|(&hash, t)| work.find_and_do(table, hash, t)).fold(0, u32::wrapping_add)
}

/// Whether this is a smoke run, which must not take gigabytes.
fn smoke() -> bool {
    std::env::args().any(|arg| arg == "--test")
}

fn look_up(c: &mut Criterion) {
    let mut group = c.benchmark_group("look_up");
    group.throughput(Throughput::Elements(BURST as u64));
    let work = Work::new();
    let mut clients = Clients::new(10_000);
    group.bench_function("generate", |b| b.iter(|| black_box(clients.burst())));
    group.bench_function("work", |b| {
        b.iter(|| black_box(clients.burst()).each_ref().map(|t| work.on(t, &Tcb::default())));
    });
    for (name, flows) in [("10k", 10_000), ("10M", if smoke() { 20_000 } else { 10_000_000 })] {
        let (table, mut clients) = (filled(flows), Clients::new(flows));
        group.bench_function(format!("{name}/one_at_a_time"), |b| {
            b.iter(|| one_at_a_time(&table, &work, black_box(&clients.burst())));
        });
        group.bench_function(format!("{name}/staged"), |b| {
            b.iter(|| staged(&table, &work, black_box(&clients.burst())));
        });
        let mut strangers = Clients::new(u32::MAX - flows);
        group.bench_function(format!("{name}/staged_strangers"), |b| {
            b.iter(|| {
                let burst = std::array::from_fn(|_| tuple(flows + strangers.next()));
                staged(&table, &work, black_box(&burst))
            });
        });
    }
    group.finish();
}

/// A flow's life as the table sees it, in a full table: the oldest TIME_WAIT gives way, a SYN's timer,
/// the states, TIME_WAIT's timer. In bursts whose buckets were fetched.
fn life(c: &mut Criterion) {
    let mut group = c.benchmark_group("life");
    group.throughput(Throughput::Elements(BURST as u64));
    for (name, flows) in [("10k", 10_000), ("10M", if smoke() { 20_000 } else { 10_000_000 })] {
        let (mut table, mut begun) = (Table::new(flows, SEED, Tick(0)), 0);
        let mut burst = || {
            let names = begun..begun + BURST as u32;
            names.clone().for_each(|n| table.prefetch_bucket(table.hash(&tuple(n))));
            names.for_each(|n| live(&mut table, n, Tick(n / 1000)));
            begun += BURST as u32;
        };
        (0..flows.div_ceil(BURST as u32)).for_each(|_| burst());
        group.bench_function(name, |b| b.iter(&mut burst));
    }
    group.finish();
}

fn live(table: &mut Table, n: u32, now: Tick) {
    let mut new = flow(n);
    new.tcb.state = State::SynRcvd;
    if table.len() == table.capacity() {
        let oldest = table.evict_candidate().expect("all but one are in TIME_WAIT");
        table.remove(oldest);
    }
    let index = table.insert(table.hash(&new.tuple), &new).expect("one gave way");
    table.schedule(index, now.after(1000));
    for state in [State::Established, State::FinWait1, State::TimeWait] {
        new.tcb.state = state;
        table.update(index, |tcb| *tcb = new.tcb);
    }
    let mut budget = 64;
    while let Some(due) = table.next_due(now, &mut budget) {
        table.schedule(due, now.after(60_000));
    }
}

fn allocate(c: &mut Criterion) {
    let mut group = c.benchmark_group("allocate");
    group.sample_size(10);
    group.bench_function("1M", |b| b.iter_with_large_drop(|| Table::new(1_000_000, SEED, Tick(0))));
    group.finish();
}

criterion_group!(benches, look_up, life, allocate);
criterion_main!(benches);
