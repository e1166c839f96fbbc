//! P10: what an event costs that goes to another core in bulk, beside `rtrb` and crossbeam's `ArrayQueue`.
//!
//! Two threads, each on a core of its own; the producer is timed, and as the consumer follows it for millions of
//! events through a ring that holds a thousandth of them, what it cannot follow is part of the time. Batches are a
//! worker's burst of 32.
//!
//! `cargo bench -p usher-bench --no-default-features --bench ring`

use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam::queue::ArrayQueue;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use usher::handoff::{Producer, bell, channel};
use usher::port::Burst;

/// Events that a ring holds: an engine's default.
const RING: usize = 4096;
const BATCH: usize = 32;

/// An event of a cache line, as most are, or of two.
#[derive(Clone, Copy)]
struct Event<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Event<WORDS> {
    #[inline]
    fn new(n: u64) -> Self {
        Self([n; WORDS])
    }

    /// Looks at either end of it.
    #[inline]
    fn use_up(self) {
        black_box(self.0[0] ^ self.0[WORDS - 1]);
    }
}

/// Puts this thread on the `n`th of the cores that it may use; where there is one only, both share it.
fn pin(cores: &[usize], n: usize) {
    let mut set = CpuSet::new();
    set.set(cores[n % cores.len()]);
    sched_setaffinity(None, &set).expect("a core that the process has");
}

fn cores() -> Vec<usize> {
    let allowed = sched_getaffinity(None).expect("the process's cores");
    (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect()
}

/// Times `send`, which sends a batch that begins with number `n` as far as there is room and says how much it sent,
/// beside a thread that calls `receive` until the end.
fn time(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    mut send: impl FnMut(u64, usize) -> usize,
    mut receive: impl FnMut() -> usize + Send,
) {
    let cores = cores();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(&cores, 1);
            while receive() > 0 || !ended.load(Ordering::Acquire) {
                spin_loop();
            }
        });
        pin(&cores, 0);
        let mut n = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut sent = 0;
                while sent < BATCH {
                    sent += send(n + sent as u64, BATCH - sent);
                    if sent < BATCH {
                        spin_loop();
                    }
                }
                n += BATCH as u64;
            });
        });
        ended.store(true, Ordering::Release);
    });
    // The threads of the next bench inherit what this one may use.
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    sched_setaffinity(None, &set).expect("the cores that it had");
}

/// Ours, staged where it will be read and published once a batch.
fn staged<const WORDS: usize>(
    mut producer: Producer<Event<WORDS>>,
) -> impl FnMut(u64, usize) -> usize {
    move |n, wanted| {
        let sent =
            (n..).take(wanted).take_while(|n| producer.stage(Event::new(*n)).is_ok()).count();
        producer.publish();
        sent
    }
}

fn ours<const WORDS: usize>(group: &mut BenchmarkGroup<'_, WallTime>) {
    let (mut producer, mut consumer) = channel::<Event<WORDS>>(RING);
    let mut batch = Burst::<Event<WORDS>>::new();
    let push = |n: u64, wanted| {
        if batch.is_empty() {
            batch.extend((n..).take(wanted).map(Event::<WORDS>::new));
        }
        producer.push(&mut batch)
    };
    time(group, "usher, batch moved in", push, || consumer.drain(BATCH, Event::<WORDS>::use_up));

    let (producer, mut consumer) = channel::<Event<WORDS>>(RING);
    time(group, "usher, staged", staged::<WORDS>(producer), || {
        consumer.drain(BATCH, Event::<WORDS>::use_up)
    });

    let (ringer, _sleeper) = bell().expect("a file descriptor");
    let (producer, mut consumer) = channel::<Event<WORDS>>(RING);
    let producer = producer.with_bell(ringer);
    time(group, "usher, staged, with a bell", staged::<WORDS>(producer), || {
        consumer.drain(BATCH, Event::<WORDS>::use_up)
    });
}

fn rtrb<const WORDS: usize>(group: &mut BenchmarkGroup<'_, WallTime>) {
    let (mut producer, mut consumer) = rtrb::RingBuffer::<Event<WORDS>>::new(RING);
    let send = |n: u64, wanted: usize| {
        let Ok(chunk) = producer.write_chunk_uninit(wanted) else { return 0 };
        chunk.fill_from_iter((n..).map(Event::<WORDS>::new))
    };
    time(group, "rtrb, chunks", send, || {
        let count = consumer.slots().min(BATCH);
        let Ok(chunk) = consumer.read_chunk(count) else { return 0 };
        chunk.into_iter().for_each(Event::<WORDS>::use_up);
        count
    });
}

fn array_queue<const WORDS: usize>(group: &mut BenchmarkGroup<'_, WallTime>) {
    let queue = Arc::new(ArrayQueue::<Event<WORDS>>::new(RING));
    let send = |n: u64, wanted| {
        (n..).take(wanted).take_while(|n| queue.push(Event::new(*n)).is_ok()).count()
    };
    time(group, "ArrayQueue", send, || {
        std::iter::from_fn(|| queue.pop()).take(BATCH).map(Event::<WORDS>::use_up).count()
    });
}

fn events<const WORDS: usize>(c: &mut Criterion) {
    let mut group = c.benchmark_group(format!("ring/{} bytes", WORDS * 8));
    group.throughput(Throughput::Elements(BATCH as u64));
    ours::<WORDS>(&mut group);
    rtrb::<WORDS>(&mut group);
    array_queue::<WORDS>(&mut group);
    group.finish();
}

criterion_group!(benches, events<8>, events<16>);
criterion_main!(benches);
