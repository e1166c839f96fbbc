//! Leases: how many, what they show, and who frees what was lent.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use arrayvec::ArrayVec;

use super::super::{Lease, Lender, channel};
use crate::port::memory::{self, MemoryFrame, Options, Wire};
use crate::port::{BURST, Burst, Frame, Port};

fn wire(buffers: usize) -> Wire {
    let (mut port, wire) = memory::new("m", &Options { buffers, ..Options::default() });
    drop(port.start().expect("memory ports start"));
    wire
}

/// A frame of the pool's that holds `bytes`.
fn frame(wire: &Wire, bytes: &[u8]) -> MemoryFrame {
    let mut frame = wire.alloc().expect("a buffer");
    frame.room()[..bytes.len()].copy_from_slice(bytes);
    frame.set_len(bytes.len());
    frame
}

fn lend(lender: &mut Lender<MemoryFrame>, wire: &Wire, bytes: &[u8]) -> Lease {
    lender.lend(frame(wire, bytes), MemoryFrame::bytes).expect("within the budget")
}

#[test]
fn a_lease_shows_its_part_of_the_frame_until_it_is_dropped() {
    let wire = wire(4);
    let mut lender = Lender::new(2);
    let whole = frame(&wire, b"header and payload");
    let mut lease = lender.lend(whole, |frame| &frame.bytes()[11..]).expect("within the budget");
    assert_eq!(lease.bytes(), b"payload");
    lease.skip(3);
    lease.truncate(3);
    assert_eq!(&*lease, b"loa");
    lease.truncate(usize::MAX);
    lease.skip(usize::MAX);
    assert_eq!(lease.as_ref(), b"");

    let mut home = Burst::new();
    assert_eq!((lender.collect(&mut home), lender.out(), wire.free_buffers()), (0, 1, 3));
    drop(lease);
    assert_eq!((lender.collect(&mut home), lender.out()), (1, 0));
    assert_eq!(home[0].bytes(), b"header and payload");
}

#[test]
fn a_hoarder_meets_the_budget_and_the_pool_keeps_the_rest() {
    let wire = wire(8);
    let mut lender = Lender::new(3);
    let mut hoard: Vec<_> = (0..3).map(|n| lend(&mut lender, &wire, &[n])).collect();
    let refused = lender.lend(frame(&wire, &[9]), MemoryFrame::bytes).expect_err("the budget");
    assert_eq!((refused.bytes(), lender.out(), lender.budget()), (&[9][..], 3, 3));
    drop(refused);
    assert_eq!(wire.free_buffers(), 5);

    // A lease that was dropped counts until it is collected, and only it is free then.
    drop(hoard.remove(1));
    let refused = lender.lend(frame(&wire, &[9]), MemoryFrame::bytes);
    assert!(refused.is_err() && lender.out() == 3);
    assert_eq!(lender.collect(&mut Burst::<MemoryFrame>::new()), 1);
    hoard.push(lend(&mut lender, &wire, &[7]));
    assert_eq!(hoard.iter().map(|lease| lease[0]).collect::<Vec<_>>(), [0, 2, 7]);
}

#[test]
fn a_lender_without_budget_lends_nothing() {
    let wire = wire(1);
    let mut lender = Lender::new(0);
    assert!(lender.lend(frame(&wire, b"x"), MemoryFrame::bytes).is_err());
    assert_eq!((lender.collect(&mut Burst::new()), wire.free_buffers()), (0, 1));
}

#[test]
fn what_does_not_fit_is_collected_the_next_time() {
    let wire = wire(8);
    let mut lender = Lender::new(8);
    let leases: Vec<_> = (0..5).map(|n| lend(&mut lender, &wire, &[n])).collect();
    drop(leases);
    let mut home = ArrayVec::<_, 2>::new();
    let mut seen = Vec::new();
    for expected in [2, 2, 1, 0] {
        assert_eq!(lender.collect(&mut home), expected);
        seen.extend(home.drain(..).map(|frame| frame.bytes()[0]));
    }
    seen.sort_unstable();
    assert_eq!((seen.as_slice(), lender.out()), (&[0, 1, 2, 3, 4][..], 0));
}

#[test]
fn a_panic_while_lending_lends_nothing() {
    let wire = wire(2);
    let mut lender = Lender::new(1);
    let item = frame(&wire, b"x");
    let lending = std::panic::AssertUnwindSafe(|| lender.lend(item, |_| panic!("on purpose")));
    assert!(std::panic::catch_unwind(lending).is_err());
    assert_eq!(lender.out(), 0);
    assert_eq!(lend(&mut lender, &wire, b"y").bytes(), b"y");
}

/// The engine stops: port, queue and lender go, in whatever order, while leases are out.
#[test]
fn a_lease_outlives_the_engine_and_the_last_frees_all() {
    let (port, wire) = memory::new("m", &Options { buffers: 4, ..Options::default() });
    let mut lender = Lender::new(4);
    let mut leases: Vec<_> = (0..4).map(|n| lend(&mut lender, &wire, &[n; 9])).collect();
    drop(leases.pop());
    drop(port);
    drop(lender);
    assert_eq!(wire.free_buffers(), 1, "what was home when the lender went");
    while leases.len() > 1 {
        let lease = leases.pop().expect("a lease");
        let n = lease[0];
        assert_eq!(lease.bytes(), &[n; 9]);
        thread::spawn(move || drop(lease)).join().expect("its thread");
        assert_eq!(wire.free_buffers(), 1);
    }
    drop(leases);
    assert_eq!(wire.free_buffers(), 4);
}

#[test]
fn no_pool_is_left_behind_by_a_lease_that_outlives_it() {
    /// Counts how many of them are gone.
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let gone = Arc::new(AtomicUsize::new(0));
    let mut lender = Lender::new(2);
    let item = || (Counted(Arc::clone(&gone)), *b"bytes");
    let first = lender.lend(item(), |item| &item.1).map_err(|_| ()).expect("within the budget");
    let second = lender.lend(item(), |item| &item.1).map_err(|_| ()).expect("within the budget");
    drop(lender);
    drop(first);
    assert_eq!((gone.load(Ordering::Relaxed), second.bytes()), (0, &b"bytes"[..]));
    drop(second);
    assert_eq!(gone.load(Ordering::Relaxed), 2);
}

/// Leases go out over a ring each to two threads, which read and drop them while the worker lends on; `stay` says
/// whether the lender waits for them in the end.
fn lend_to_two(stay: bool) {
    const COUNT: u32 = 20_000;
    let wire = wire(64);
    let mut lender = Lender::new(48);
    let (mut rings, droppers): (Vec<_>, Vec<_>) = (0..2)
        .map(|_| {
            let (producer, mut consumer) = channel::<(u32, Lease)>(16);
            let dropper = thread::spawn(move || {
                let mut read = 0_u32;
                while !(consumer.is_abandoned() && consumer.is_empty()) {
                    let took = consumer.drain(BURST, |(n, lease)| {
                        let words = lease.chunks_exact(4);
                        assert!(
                            words.len() == 16 && words.eq([n.to_le_bytes(); 16]),
                            "overwritten"
                        );
                        read += 1;
                    });
                    if took == 0 {
                        thread::yield_now();
                    }
                }
                read
            });
            (producer, dropper)
        })
        .unzip();
    let (mut home, mut n) = (Burst::new(), 0);
    while n < COUNT {
        lender.collect(&mut home);
        home.clear();
        let ring = &mut rings[n as usize % 2];
        if lender.out() == lender.budget() || ring.is_full() {
            thread::yield_now();
            continue;
        }
        let bytes = [n.to_le_bytes(); 16].concat();
        let event = (n, lend(&mut lender, &wire, &bytes));
        assert!(ring.stage(event).is_ok() && ring.publish());
        n += 1;
    }
    drop(rings);
    let lender = stay.then_some(lender);
    let read: u32 = droppers.into_iter().map(|dropper| dropper.join().expect("no panic")).sum();
    assert_eq!(read, COUNT);
    drop(lender);
    assert_eq!(wire.free_buffers(), wire.total_buffers());
}

#[test]
fn two_threads_drop_what_a_third_lends() {
    lend_to_two(true);
    lend_to_two(false);
}
