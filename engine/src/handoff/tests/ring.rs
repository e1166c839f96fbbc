//! The ring on one thread, step by step, and on two with payloads that betray a torn or repeated item.

#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use arrayvec::ArrayVec;

use super::super::{channel, channel_from};

/// Where indices are begun: at 0, and so that they wrap at 2³² and at 2⁶⁴ on the way.
const STARTS: [usize; 3] = [0, u32::MAX as usize - 2, usize::MAX - 2];

#[test]
fn what_does_not_fit_stays_in_the_batch() {
    for start in STARTS {
        let (mut producer, mut consumer) = channel_from(start, 4);
        let mut batch: ArrayVec<u32, 8> = (0..6).collect();
        assert_eq!((producer.push(&mut batch), batch.as_slice()), (4, &[4, 5][..]));
        assert!(producer.is_full() && consumer.is_full());
        assert_eq!((producer.push(&mut batch), producer.stage(9)), (0, Err(9)));

        let mut out = ArrayVec::<u32, 3>::new();
        assert_eq!((consumer.pop(&mut out), out.as_slice()), (3, &[0, 1, 2][..]));
        assert_eq!((producer.push(&mut batch), batch.len(), producer.len()), (2, 0, 3));
        let mut rest = Vec::new();
        assert_eq!(consumer.drain(8, |item| rest.push(item)), 3);
        assert_eq!(rest, [3, 4, 5]);
        assert!(consumer.is_empty() && producer.is_empty());
        assert_eq!(consumer.drain(8, |_| ()), 0);
    }
}

#[test]
fn what_is_staged_is_seen_when_it_is_published() {
    let (mut producer, mut consumer) = channel(4);
    assert!(!producer.publish(), "nothing was staged");
    assert!(producer.stage('a').is_ok() && producer.stage('b').is_ok());
    assert_eq!((producer.len(), consumer.len()), (2, 0));
    assert_eq!(consumer.drain(4, |_| ()), 0);
    assert!(producer.publish());
    let mut out = String::new();
    assert_eq!(consumer.drain(1, |item| out.push(item)), 1);
    assert_eq!((consumer.drain(4, |item| out.push(item)), out.as_str()), (1, "ab"));
}

#[test]
fn capacities_are_powers_of_two() {
    for (asked, made) in [(0, 1), (1, 1), (3, 4), (4, 4), (1000, 1024)] {
        let (producer, consumer) = channel::<u8>(asked);
        assert_eq!((producer.capacity(), consumer.capacity()), (made, made));
    }
}

#[test]
fn each_end_sees_the_other_go_and_what_was_published_remains() {
    let (mut producer, mut consumer) = channel(4);
    assert!(!producer.is_abandoned() && !consumer.is_abandoned());
    producer.stage(7).expect("room");
    drop(producer);
    assert!(consumer.is_abandoned());
    assert_eq!(consumer.drain(4, |item| assert_eq!(item, 7)), 1, "staged when its producer went");

    let (producer, consumer) = channel::<u8>(4);
    drop(consumer);
    assert!(producer.is_abandoned());
}

#[test]
fn items_are_dropped_once_whoever_goes_last() {
    for start in STARTS {
        for producer_first in [true, false] {
            let item = Arc::new(());
            let (mut producer, mut consumer) = channel_from(start, 4);
            let mut batch: ArrayVec<_, 4> = (0..4).map(|_| Arc::clone(&item)).collect();
            assert_eq!((producer.push(&mut batch), consumer.drain(1, drop)), (4, 1));
            assert_eq!(Arc::strong_count(&item), 4);
            if producer_first {
                drop(producer);
                drop(consumer);
            } else {
                drop(consumer);
                drop(producer);
            }
            assert_eq!(Arc::strong_count(&item), 1);
        }
    }
}

#[test]
fn a_panic_while_taking_shows_no_item_twice() {
    let item = Arc::new(());
    let (mut producer, mut consumer) = channel(4);
    let mut batch: ArrayVec<_, 4> = (0..4).map(|n| (n, Arc::clone(&item))).collect();
    producer.push(&mut batch);
    let taking = || consumer.drain(4, |(n, _)| assert!(n < 1, "on purpose"));
    assert!(catch_unwind(AssertUnwindSafe(taking)).is_err());
    let mut left = Vec::new();
    assert_eq!((producer.len(), consumer.drain(4, |(n, _)| left.push(n))), (2, 2));
    assert_eq!((left.as_slice(), Arc::strong_count(&item)), (&[2, 3][..], 1));
}

/// An event's size, filled so that a byte of another item would show.
struct Payload {
    words: [u64; 8],
}

impl Payload {
    fn new(n: u64) -> Self {
        let mut words = [0; 8];
        let mut sum = 0_u64;
        for (word, k) in words[..7].iter_mut().zip(0..) {
            *word = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(k);
            sum = sum.wrapping_add(*word);
        }
        words[7] = sum ^ n;
        Self { words }
    }

    /// The number that it was made of, if it is whole.
    fn number(&self) -> u64 {
        let sum = self.words[..7].iter().fold(0_u64, |sum, word| sum.wrapping_add(*word));
        let n = sum ^ self.words[7];
        assert_eq!(self.words, Self::new(n).words, "torn");
        n
    }
}

/// Passes `count` payloads between two threads in batches of changing lengths.
fn pass(start: usize, capacity: usize, count: u64) {
    let (mut producer, mut consumer) = channel_from(start, capacity);
    let sender = thread::spawn(move || {
        let mut next = 0..count;
        let mut batch = ArrayVec::<Payload, 32>::new();
        while !(batch.is_empty() && next.is_empty()) {
            let more = 1 + (next.start as usize * 7) % batch.capacity();
            batch
                .extend(next.by_ref().take(more.min(batch.remaining_capacity())).map(Payload::new));
            if producer.push(&mut batch) == 0 {
                thread::yield_now();
            }
        }
    });
    let mut expected = 0;
    while expected < count {
        let max = 1 + (expected as usize * 5) % 48;
        let took = consumer.drain(max, |payload| {
            assert_eq!(payload.number(), expected, "lost, repeated or out of order");
            expected += 1;
        });
        if took == 0 {
            thread::yield_now();
        }
    }
    sender.join().expect("the producer's thread");
    assert!(consumer.is_abandoned() && consumer.is_empty());
}

#[test]
fn two_threads_pass_every_payload_whole_and_in_order() {
    for start in STARTS {
        for capacity in [1, 2, 64] {
            pass(start, capacity, 20_000);
        }
    }
}
