//! What passes between threads, tried in all interleavings and with all values that a load may return.
//!
//! The files of `engine/src/handoff` are compiled here once more, against loom's atomics and cells, so that no build
//! of the engine knows of loom. Loom fails a model in which a cell is touched by two threads at once or without order,
//! in which threads wait for each other for ever, and in which an assertion fails. Models are small, because the
//! interleavings are many.

#[path = "../src/handoff/bell.rs"]
pub mod bell;
#[path = "../src/handoff/home.rs"]
mod home;
#[path = "../src/handoff/lease.rs"]
pub mod lease;
#[path = "../src/handoff/ring.rs"]
pub mod ring;

/// What `engine/src/handoff/sync.rs` takes from the standard library.
mod sync {
    pub(super) use loom::cell::UnsafeCell;
    pub(super) use loom::sync::Arc;
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};

    /// Loom (0.7) remembers the last access of a value only: a load that goes before an exchange hides an earlier load
    /// by another thread, and what that would have seen after the exchange is never tried. So each access goes behind
    /// one that conflicts with all others and orders nothing.
    #[derive(Debug)]
    pub(super) struct AtomicU64 {
        turn: AtomicUsize,
        value: loom::sync::atomic::AtomicU64,
    }

    impl AtomicU64 {
        pub(super) fn new(value: u64) -> Self {
            Self { turn: AtomicUsize::new(0), value: loom::sync::atomic::AtomicU64::new(value) }
        }

        fn turn(&self) -> &loom::sync::atomic::AtomicU64 {
            self.turn.fetch_add(1, Ordering::Relaxed);
            &self.value
        }

        pub(super) fn load(&self, order: Ordering) -> u64 {
            self.turn().load(order)
        }

        pub(super) fn swap(&self, value: u64, order: Ordering) -> u64 {
            self.turn().swap(value, order)
        }

        pub(super) fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
            self.turn().fetch_sub(value, order)
        }

        pub(super) fn compare_exchange_weak(
            &self,
            from: u64,
            to: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            self.turn().compare_exchange_weak(from, to, success, failure)
        }
    }
}

/// An eventfd, on which nobody's patience ends.
mod wakeup {
    use std::io;
    use std::time::Duration;

    use loom::sync::{Condvar, Mutex};

    #[derive(Debug)]
    pub(super) struct Wakeup {
        set: Mutex<bool>,
        changed: Condvar,
    }

    impl Wakeup {
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self { set: Mutex::new(false), changed: Condvar::new() })
        }

        pub(super) fn set(&self) {
            *self.set.lock().expect("no panic") = true;
            self.changed.notify_one();
        }

        pub(super) fn wait(&self, _: Option<Duration>) -> bool {
            let mut set = self.set.lock().expect("no panic");
            while !*set {
                set = self.changed.wait(set).expect("no panic");
            }
            std::mem::take(&mut *set)
        }
    }
}

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrayvec::ArrayVec;
use loom::cell::UnsafeCell;
use loom::thread;

use bell::bell;
use lease::{Lease, Lender};
use ring::{Consumer, Producer, channel_from};

/// Counts how many of them were dropped: the test's own book, which orders nothing.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Tries all interleavings in which threads are interrupted at most three times where they could go on, or as often as
/// `LOOM_MAX_PREEMPTIONS` says: all of them take minutes.
fn bounded(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(model);
}

fn push(producer: &mut Producer<u32>, numbers: std::ops::Range<u32>) -> u32 {
    let mut batch: ArrayVec<u32, 4> = numbers.collect();
    producer.push(&mut batch) as u32
}

fn take(consumer: &mut Consumer<u32>, max: usize, expected: &mut u32) {
    consumer.drain(max, |n| {
        assert_eq!(n, *expected, "lost, repeated or out of order");
        *expected += 1;
    });
}

/// Pushes in two batches beside a consumer that takes twice; what is left is taken afterwards.
fn ring_of(capacity: usize, start: usize) {
    loom::model(move || {
        let (mut producer, mut consumer) = channel_from(start, capacity);
        let sender = thread::spawn(move || {
            let sent = push(&mut producer, 0..2);
            sent + push(&mut producer, sent..sent + 2)
        });
        let mut taken = 0;
        take(&mut consumer, 2, &mut taken);
        take(&mut consumer, 3, &mut taken);
        let sent = sender.join().expect("no panic");
        assert!(consumer.is_abandoned());
        take(&mut consumer, 4, &mut taken);
        assert_eq!(taken, sent);
        assert!(sent as usize >= capacity.min(4));
    });
}

#[test]
fn a_ring_passes_all_in_order() {
    ring_of(1, 0);
    ring_of(2, 0);
    ring_of(4, 0);
}

#[test]
fn a_ring_passes_all_in_order_where_its_indices_wrap() {
    ring_of(2, u32::MAX as usize);
    ring_of(2, usize::MAX);
}

#[test]
fn who_sees_the_producer_gone_sees_all_that_it_sent() {
    loom::model(|| {
        let (mut producer, mut consumer) = channel_from(0, 2);
        let sender = thread::spawn(move || {
            producer.stage(0).expect("room");
            producer.publish();
            producer.stage(1).expect("room");
        });
        let mut taken = 0;
        if consumer.is_abandoned() {
            take(&mut consumer, 2, &mut taken);
            assert_eq!(taken, 2);
        }
        sender.join().expect("no panic");
    });
}

#[test]
fn what_nobody_took_is_dropped_once() {
    loom::model(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let (mut producer, mut consumer) = channel_from(usize::MAX, 2);
        let counted = || Counted(Arc::clone(&dropped));
        let mut batch = ArrayVec::from([counted(), counted(), counted()]);
        let sender = thread::spawn(move || producer.push(&mut batch));
        consumer.drain(1, drop);
        drop(consumer);
        assert_eq!(sender.join().expect("no panic"), 2);
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
    });
}

/// `ringers` threads do something and ring, while one sleeps until all is done. Whoever sleeps though there is
/// something to see sleeps for ever: loom calls it a deadlock.
fn bell_with(ringers: usize) {
    bounded(move || {
        let (ringer, mut sleeper) = bell().expect("loom's");
        let done = sync::Arc::new(sync::AtomicUsize::new(0));
        let threads: Vec<_> = (0..ringers)
            .map(|_| {
                let (ringer, done) = (ringer.clone(), sync::Arc::clone(&done));
                thread::spawn(move || {
                    done.fetch_add(1, Ordering::Relaxed);
                    ringer.ring();
                })
            })
            .collect();
        let mut seen = 0;
        while seen < ringers {
            sleeper.sleep(None, || done.load(Ordering::Relaxed) > seen);
            seen = done.load(Ordering::Relaxed);
        }
        for thread in threads {
            thread.join().expect("no panic");
        }
    });
}

#[test]
fn nobody_sleeps_through_the_bell() {
    bell_with(1);
}

#[test]
fn two_that_ring_at_once_wake_for_both() {
    bell_with(2);
}

#[test]
fn a_producer_rings_for_what_it_publishes_and_when_it_goes() {
    bounded(|| {
        let (ringer, mut sleeper) = bell().expect("loom's");
        let (producer, mut consumer) = channel_from(0, 1);
        let mut producer = producer.with_bell(ringer);
        let sender = thread::spawn(move || {
            push(&mut producer, 0..1);
            producer
        });
        let mut taken = 0;
        sleeper.sleep(None, || consumer.is_ready());
        take(&mut consumer, 1, &mut taken);
        assert_eq!(taken, 1);
        let producer = sender.join().expect("no panic");
        let sender = thread::spawn(move || drop(producer));
        while !consumer.is_abandoned() {
            sleeper.sleep(None, || consumer.is_ready());
        }
        sender.join().expect("no panic");
    });
}

/// A buffer: its bytes are read by who has the lease and written by whoever uses it next, which loom watches.
#[derive(Clone)]
struct Buffer(Arc<Watched>);

struct Watched(UnsafeCell<u8>);

// SAFETY: loom fails the model if the cell is touched by two threads at once.
unsafe impl Sync for Watched {}

impl Buffer {
    fn new() -> Self {
        Self(Arc::new(Watched(UnsafeCell::new(0))))
    }

    fn read(&self) {
        self.0.0.with(|_| ());
    }

    fn write(&self) {
        self.0.0.with_mut(|_| ());
    }
}

/// What a lender parks: a buffer that is used again when it is freed.
struct Parked {
    buffer: Buffer,
    _counted: Counted,
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.buffer.write();
    }
}

/// A lender with two leases out, what they are of, and how many of these were freed.
fn two_leases() -> (Lender<Parked>, [(Lease, Buffer); 2], Arc<AtomicUsize>) {
    let freed = Arc::new(AtomicUsize::new(0));
    let mut lender = Lender::new(2);
    let leases = [(); 2].map(|()| {
        let buffer = Buffer::new();
        let counted = Counted(Arc::clone(&freed));
        let parked = Parked { buffer: buffer.clone(), _counted: counted };
        let lease = lender.lend(parked, |_| b"bytes").map_err(drop).expect("within the budget");
        (lease, buffer)
    });
    (lender, leases, freed)
}

/// Reads what was lent, and drops the lease.
fn use_up((lease, buffer): (Lease, Buffer)) {
    buffer.read();
    assert_eq!(lease.bytes(), b"bytes");
    drop(lease);
}

fn collect(lender: &mut Lender<Parked>) -> usize {
    let mut home = ArrayVec::<_, 2>::new();
    lender.collect(&mut home)
}

#[test]
fn two_droppers_bring_both_slots_home() {
    bounded(|| {
        let (mut lender, leases, freed) = two_leases();
        let droppers = leases.map(|lease| thread::spawn(move || use_up(lease)));
        let collected = collect(&mut lender);
        assert_eq!((freed.load(Ordering::Relaxed), lender.out()), (collected, 2 - collected));
        for dropper in droppers {
            dropper.join().expect("no panic");
        }
        assert_eq!((collected + collect(&mut lender), lender.out()), (2, 0));
        assert_eq!(freed.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn a_slot_is_lent_again_while_another_comes_home() {
    bounded(|| {
        let (mut lender, leases, freed) = two_leases();
        let droppers = leases.map(|lease| thread::spawn(move || use_up(lease)));
        let collected = collect(&mut lender);
        if collected > 0 {
            let buffer = Buffer::new();
            let parked = Parked { buffer: buffer.clone(), _counted: Counted(Arc::clone(&freed)) };
            let lease = lender.lend(parked, |_| b"bytes").map_err(drop).expect("a slot");
            use_up((lease, buffer));
        }
        for dropper in droppers {
            dropper.join().expect("no panic");
        }
        collect(&mut lender);
        assert_eq!((lender.out(), freed.load(Ordering::Relaxed)), (0, 2 + collected.min(1)));
    });
}

#[test]
fn whoever_is_last_frees_all_when_the_lender_goes() {
    bounded(|| {
        let (lender, leases, freed) = two_leases();
        let droppers = leases.map(|lease| thread::spawn(move || use_up(lease)));
        drop(lender);
        for dropper in droppers {
            dropper.join().expect("no panic");
        }
        assert_eq!(freed.load(Ordering::Relaxed), 2, "freed twice, or never");
    });
}
