//! A histogram of microseconds: four buckets an octave, so a bucket is at most a quarter too wide.

/// Buckets: the last one begins at 58.7 s and takes everything above.
pub(super) const BUCKETS: usize = 100;

/// The bucket of `us`.
pub(super) const fn bucket(us: u32) -> usize {
    let index = if us < 4 {
        us as usize
    } else {
        let octave = us.ilog2() as usize;
        (octave - 1) * 4 + (us as usize >> (octave - 2) & 3)
    };
    if index < BUCKETS { index } else { BUCKETS - 1 }
}

/// How long handshakes took, in microseconds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Latency {
    /// Handshakes in each bucket.
    pub buckets: [u64; BUCKETS],
    /// Sum of all in microseconds.
    pub sum_us: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], sum_us: 0 }
    }
}

impl Latency {
    /// The first number of microseconds that is above bucket `index`.
    #[must_use]
    pub const fn upper_us(index: usize) -> u64 {
        let next = index as u64 + 1;
        if next < 4 { next } else { (4 + next % 4) << (next / 4 - 1) }
    }

    /// The buckets with handshakes: the first number of microseconds above each, and how many it has.
    pub fn filled(&self) -> impl Iterator<Item = (u64, u64)> {
        let ends = (0..BUCKETS).map(Self::upper_us);
        ends.zip(self.buckets).filter(|(_, count)| *count > 0)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The upper end of the bucket that the fraction `q` (0 to 1) of all does not exceed; `None` if
    /// there are none.
    #[must_use]
    pub fn quantile_us(&self, q: f64) -> Option<u64> {
        let count = self.count();
        let rank = ((count as f64 * q).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        let found = self.buckets.iter().position(|&n| {
            seen += n;
            seen >= rank
        });
        found.map(Self::upper_us)
    }

    /// Adds another worker's.
    pub fn merge(&mut self, other: &Self) {
        self.sum_us += other.sum_us;
        self.buckets.iter_mut().zip(other.buckets).for_each(|(mine, theirs)| *mine += theirs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_below_its_bucket_s_end_and_not_below_its_beginning() {
        for us in (0..10_000).chain((14..26).map(|shift| (1 << shift) + 12_345)) {
            let index = bucket(us);
            assert!(u64::from(us) < Latency::upper_us(index), "{us}");
            assert!(index == 0 || u64::from(us) >= Latency::upper_us(index - 1), "{us}");
        }
        assert_eq!(bucket(u32::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_ends_of_buckets() {
        let mut latency = Latency::default();
        assert_eq!(latency.quantile_us(0.5), None);
        latency.buckets[bucket(100)] = 9;
        latency.buckets[bucket(5000)] = 1;
        assert_eq!(latency.quantile_us(0.5), Some(112));
        assert_eq!(latency.quantile_us(0.99), Some(5120));
        assert_eq!(latency.filled().collect::<Vec<_>>(), [(112, 9), (5120, 1)]);
    }
}
