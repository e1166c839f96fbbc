//! A limit on RSTs and challenge ACKs that nobody outside can read off (RFC 5961 §7).
//!
//! A single counter for everybody tells an attacker whether somebody else's connection has drawn an
//! answer (CVE-2016-5696). Here each connection falls into one of many buckets by a keyed hash, and each
//! bucket has a random allowance a second, so neither who shares it nor how much it had is known.

#![forbid(unsafe_code)]

use ahash::RandomState;
use usher_proto::time::Now;
use usher_proto::wire::Tuple;
use zerocopy::IntoBytes;

use crate::flow::Seed;

/// Buckets. More let a flood of distinct tuples draw more answers; fewer let honest peers share one
/// with it.
const BUCKETS: usize = 256;
/// Answers a bucket and second, at least: 256 × 20 to 39 are 5,000 to 10,000 answers a second.
const LEAST: u16 = 20;

/// The limit of one kind of answer.
#[derive(Debug)]
pub(super) struct Limiter {
    key: RandomState,
    buckets: [Bucket; BUCKETS],
}

#[derive(Clone, Copy, Default, Debug)]
struct Bucket {
    second: u32,
    left: u16,
}

impl Limiter {
    /// A limit with this key, which is its alone.
    pub(super) const fn new(key: Seed) -> Self {
        Self { key: key.hasher(), buckets: [Bucket { second: u32::MAX, left: 0 }; BUCKETS] }
    }

    /// Whether the connection `tuple` may draw an answer now; if so, it is taken off its allowance.
    pub(super) fn allows(&mut self, tuple: &Tuple, now: &Now) -> bool {
        let place = self.key.hash_one(tuple.as_bytes()) as usize % BUCKETS;
        let second = now.tick.0 / 1000;
        let bucket = &mut self.buckets[place];
        if bucket.second != second {
            let random = self.key.hash_one((place, second)) as u16;
            *bucket = Bucket { second, left: LEAST + random % LEAST };
        }
        let allowed = bucket.left > 0;
        bucket.left -= u16::from(allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(remote_port: u16) -> Tuple {
        Tuple { remote_port, ..Tuple::default() }
    }

    /// RFC 5961 §7: bounded, and anew each second.
    #[test]
    fn a_connection_is_bounded_each_second() {
        let mut limiter = Limiter::new(Seed::from_bytes([7; 32]));
        for second in 0..3 {
            let now = Now::new(second * 1_000_000, 0);
            let drawn = (0..1000).filter(|_| limiter.allows(&tuple(1), &now)).count();
            assert!((20..40).contains(&drawn), "{drawn}");
        }
    }

    /// The allowance cannot be predicted, and one connection does not use up another's.
    #[test]
    fn allowances_differ_and_are_not_shared_by_all() {
        let mut limiter = Limiter::new(Seed::from_bytes([7; 32]));
        let now = Now::new(0, 0);
        let mut drawn: Vec<_> = (0..32)
            .map(|port| (0..100).filter(|_| limiter.allows(&tuple(port), &now)).count())
            .collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert!(drawn.len() > 3, "{drawn:?}");
    }
}
