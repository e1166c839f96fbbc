//! Numbers that look random and are the same for the same seed.

/// Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators (2014). Good enough for noise, and reproducible.
#[derive(Clone, Copy, Debug)]
pub struct SplitMix(pub u64);

impl SplitMix {
    /// 64 bits.
    #[inline]
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Above 0 and at most 1.
    pub fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// A time between two of many independent events, of this mean.
    pub fn gap(&mut self, mean: f64) -> f64 {
        -self.unit().ln() * mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_sequence() {
        let three = |seed| {
            let mut random = SplitMix(seed);
            [(); 3].map(|()| random.next())
        };
        assert_eq!(three(1), three(1));
        assert_ne!(three(1), three(2));
    }

    #[test]
    fn gaps_have_their_mean() {
        let mut random = SplitMix(7);
        let sum: f64 = (0..10_000).map(|_| random.gap(100.0)).sum();
        assert!((970_000.0..1_030_000.0).contains(&sum), "{sum}");
    }
}
