//! Source ports of the connections from one of our addresses to one backend: a *path*.

#![forbid(unsafe_code)]

use crate::handoff::Apart;

/// The lowest port that connections to backends come from: lower ones are for services.
pub const LOWEST_PORT: u16 = 1024;
const LOWEST: u32 = LOWEST_PORT as u32;
/// How many ports there are.
const HIGHEST: u32 = u16::MAX as u32;
/// Words of the summary: a bit for each word of the largest bitmap.
const SUMMARY: usize = ((HIGHEST - LOWEST) as usize / 64 + 1).div_ceil(64);

/// The free ports of a path that belong to one worker: those from 1024 on whose remainder by the number of
/// workers is its own, so that the worker an answer belongs to follows from the port alone. 8 kB at most.
///
/// Ports are handed out in turn: none is handed out again while another has been free since before.
#[derive(Clone, Debug)]
#[repr(align(128))]
pub struct Ports {
    /// A bit for each port that is free.
    free: Apart<u64>,
    /// A bit for each word of `free` that is not 0.
    summary: [u64; SUMMARY],
    /// Where the search for the next one begins.
    cursor: usize,
    /// The port of bit 0, and how far apart those of neighbouring bits are.
    base: u32,
    stride: u32,
    count: usize,
    taken: usize,
}

impl Ports {
    /// All ports of `worker` out of `workers`, free.
    ///
    /// # Panics
    ///
    /// If `worker` is not below `workers`, or there are more workers than ports.
    #[must_use]
    pub fn new(worker: u16, workers: u16) -> Self {
        assert!(worker < workers && u32::from(workers) < LOWEST, "worker {worker} of {workers}");
        let (worker, stride) = (u32::from(worker), u32::from(workers));
        let base = LOWEST + (worker + stride - LOWEST % stride) % stride;
        let count = ((HIGHEST - base) / stride + 1) as usize;
        let word = |at: usize| match count - at * 64 {
            64.. => u64::MAX,
            rest => (1 << rest) - 1,
        };
        let free = Apart::new((0..count.div_ceil(64)).map(word), &0);
        let mut summary = [0; SUMMARY];
        (0..free.len()).for_each(|word| summary[word / 64] |= 1 << (word % 64));
        Self { free, summary, cursor: 0, base, stride, count, taken: 0 }
    }

    /// Takes the next free port, if there is one.
    #[inline]
    pub fn take(&mut self) -> Option<u16> {
        let bit = self.next_free()?;
        self.set_free(bit, false);
        self.taken += 1;
        self.cursor = (bit + 1) % self.count;
        // `base + count * stride` is at most 65535 + stride
        Some((self.base + bit as u32 * self.stride) as u16)
    }

    /// Gives back a port whose flow has ended or lingers in TIME_WAIT: our own ISNs and timestamps let it
    /// be used again at once (RFC 6191). `false`, and nothing is done, if it was not taken.
    #[inline]
    pub fn give_back(&mut self, port: u16) -> bool {
        let Some(offset) = u32::from(port).checked_sub(self.base) else { return false };
        let bit = (offset / self.stride) as usize;
        if offset % self.stride != 0 || self.is_free(bit) {
            return false;
        }
        self.set_free(bit, true);
        self.taken -= 1;
        true
    }

    /// How many ports are taken.
    #[must_use]
    pub const fn taken(&self) -> usize {
        self.taken
    }

    /// How many ports there are, taken or not.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The first free port from the cursor on, round the end.
    fn next_free(&self) -> Option<usize> {
        let (word, bit) = (self.cursor / 64, self.cursor % 64);
        let rest = self.free[word] & (u64::MAX << bit);
        if rest != 0 {
            return Some(word * 64 + rest.trailing_zeros() as usize);
        }
        let word = self.next_word(word + 1).or_else(|| self.next_word(0))?;
        Some(word * 64 + self.free[word].trailing_zeros() as usize)
    }

    /// The first word from `from` on that is not 0.
    fn next_word(&self, from: usize) -> Option<usize> {
        let (mut at, mut mask) = (from / 64, u64::MAX << (from % 64));
        while at < SUMMARY {
            let rest = self.summary[at] & mask;
            if rest != 0 {
                return Some(at * 64 + rest.trailing_zeros() as usize);
            }
            (at, mask) = (at + 1, u64::MAX);
        }
        None
    }

    fn is_free(&self, bit: usize) -> bool {
        self.free[bit / 64] & 1 << (bit % 64) != 0
    }

    fn set_free(&mut self, bit: usize, free: bool) {
        let (word, mask) = (bit / 64, 1 << (bit % 64));
        self.free[word] = if free { self.free[word] | mask } else { self.free[word] & !mask };
        let (at, mask) = (word / 64, 1 << (word % 64));
        let some = self.free[word] != 0;
        self.summary[at] = if some { self.summary[at] | mask } else { self.summary[at] & !mask };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_port_is_handed_out_once() {
        for workers in [1, 2, 3, 7, 64] {
            let mut all = BTreeSet::new();
            for worker in 0..workers {
                let mut ports = Ports::new(worker, workers);
                let taken: Vec<u16> = std::iter::from_fn(|| ports.take()).collect();
                assert!(taken.iter().all(|port| port % workers == worker), "{worker} of {workers}");
                assert_eq!((taken.len(), ports.taken()), (ports.count(), ports.count()));
                all.extend(taken);
            }
            assert!(all.iter().copied().eq(1024..=u16::MAX), "{workers} workers");
        }
    }

    #[test]
    fn the_last_port_comes_back() {
        let mut ports = Ports::new(1, 2);
        while ports.take().is_some() {}
        for port in [u16::MAX, 1025, 33_333] {
            assert!(ports.give_back(port));
            assert_eq!((ports.take(), ports.take()), (Some(port), None));
        }
    }

    #[test]
    fn what_was_not_taken_is_not_given_back() {
        let mut ports = Ports::new(1, 2);
        let first = ports.take().unwrap();
        for port in [0, 80, 1023, first - 1, first + 1, first + 2, u16::MAX] {
            assert!(!ports.give_back(port), "{port}");
        }
        assert!(ports.give_back(first) && !ports.give_back(first));
        assert_eq!(ports.taken(), 0);
    }

    /// The ports with the times they were last handed out and given back.
    #[derive(Clone, Copy, Default)]
    struct Life {
        taken_at: u32,
        free_since: u32,
        taken: bool,
    }

    proptest! {
        /// Against a list: a port is handed out once at a time, and only when none has been free for
        /// longer than since its own last turn.
        #[test]
        fn the_oldest_comes_first(
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..2000),
        ) {
            // few ports, so that turns come round, and several words of them
            let (worker, workers, first) = (5, 300, 1205);
            let mut ports = Ports::new(worker, workers);
            let mut lives = vec![Life::default(); ports.count()];
            for (now, (takes, which)) in (1..).zip(steps) {
                let held: Vec<usize> = (0..lives.len()).filter(|at| lives[*at].taken).collect();
                if takes || held.is_empty() {
                    let Some(port) = ports.take() else {
                        prop_assert_eq!(held.len(), lives.len());
                        continue;
                    };
                    prop_assert_eq!(port % workers, worker);
                    let at = usize::from((port - first) / workers);
                    prop_assert!(!lives[at].taken);
                    let before = lives[at].taken_at;
                    let passed_over = lives.iter().enumerate().any(|(other, life)| {
                        other != at && !life.taken && life.free_since < before
                            && life.taken_at < before
                    });
                    prop_assert!(!passed_over, "port {} again", port);
                    lives[at] = Life { taken_at: now, taken: true, ..lives[at] };
                } else {
                    let at = held[which.index(held.len())];
                    let port = first + at as u16 * workers;
                    prop_assert!(ports.give_back(port));
                    lives[at] = Life { free_since: now, taken: false, ..lives[at] };
                }
                prop_assert_eq!(ports.taken(), lives.iter().filter(|life| life.taken).count());
            }
        }
    }
}
