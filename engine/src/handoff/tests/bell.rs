//! The bell with a real eventfd. Whether it can ring unheard is asked in `engine/tests/loom.rs`.

#![forbid(unsafe_code)]

use std::thread;
use std::time::Duration;

use super::super::{Consumer, bell, channel};

#[test]
fn a_sleeper_wakes_for_the_bell_and_for_time() {
    let (ringer, mut sleeper) = bell().expect("an eventfd");
    ringer.ring();
    assert!(!sleeper.sleep(Some(Duration::ZERO), || false), "nobody slept when it rang");
    assert!(sleeper.sleep(None, || true), "there is something to do");
    // Rung between the last look and the sleep, and twice.
    let ring_twice = || {
        ringer.ring();
        ringer.ring();
        false
    };
    assert!(sleeper.sleep(None, ring_twice));
    assert!(!sleeper.sleep(Some(Duration::ZERO), || false), "heard already");
}

/// Two producers, one of which rings for each item, and one consumer that sleeps for as long as it takes.
#[test]
fn one_bell_serves_many_rings_and_is_rung_by_the_last_word() {
    const COUNT: u32 = 2_000;
    let (ringer, mut sleeper) = bell().expect("an eventfd");
    let (mut rings, producers): (Vec<_>, Vec<_>) = (0..2)
        .map(|_| {
            let (producer, consumer) = channel(8);
            let mut producer = producer.with_bell(ringer.clone());
            let send = move || {
                for n in 0..COUNT {
                    while producer.stage(n).is_err() {
                        thread::yield_now();
                    }
                    producer.publish();
                }
            };
            (consumer, thread::spawn(send))
        })
        .unzip();
    let mut taken = 0;
    while !rings.is_empty() {
        sleeper.sleep(None, || rings.iter().any(Consumer::is_ready));
        rings.iter_mut().for_each(|ring| taken += ring.drain(8, drop));
        rings.retain(|ring| !(ring.is_abandoned() && ring.is_empty()));
    }
    assert_eq!(taken, 2 * COUNT as usize);
    producers.into_iter().for_each(|producer| producer.join().expect("no panic"));
}
