//! When connections are to begin.

/// Open loop: by the clock, whatever the server does. Closed loop: when another has ended.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pace {
    /// Connections a second, which are reached after a ramp.
    Open {
        /// A second, in the end; above 0.
        rate: f64,
        /// How long it rises from 0 to that, in ns.
        ramp_ns: u64,
    },
    /// So many at a time.
    Closed(u32),
}

impl Pace {
    /// How many connections are to have begun `ns` after the start, where `active` are under way and `begun` have
    /// begun.
    #[must_use]
    #[inline]
    pub fn due(&self, ns: u64, begun: u64, active: u32) -> u64 {
        match *self {
            Self::Open { rate, ramp_ns } => {
                let (ns, ramp) = (ns as f64, ramp_ns as f64);
                let per_ns = rate / 1e9;
                // the area below the rate: a triangle, then a rectangle; the first begins at once
                let area = if ns < ramp {
                    per_ns * ns * ns / ramp / 2.0
                } else {
                    per_ns * (ns - ramp / 2.0)
                };
                area as u64 + 1
            }
            Self::Closed(limit) => begun + u64::from(limit.saturating_sub(active)),
        }
    }

    /// When connection `number` is to begin, in ns after the start; `ns`, now, where the clock does not say.
    #[must_use]
    #[inline]
    pub fn intended(&self, number: u64, ns: u64) -> u64 {
        match *self {
            Self::Open { rate, ramp_ns } => {
                let (number, ramp, per_ns) = (number as f64, ramp_ns as f64, rate / 1e9);
                let in_ramp = per_ns * ramp / 2.0;
                let at = if number < in_ramp {
                    (2.0 * number * ramp / per_ns).sqrt()
                } else {
                    (number - in_ramp) / per_ns + ramp
                };
                (at as u64).min(ns)
            }
            Self::Closed(_) => ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn an_open_loop_begins_at_its_rate() {
        let pace = Pace::Open { rate: 1000.0, ramp_ns: 0 };
        assert_eq!((pace.due(0, 0, 0), pace.due(SECOND, 0, 9)), (1, 1001));
        assert_eq!(pace.intended(500, SECOND), SECOND / 2);
    }

    #[test]
    fn a_ramp_begins_half_as_many() {
        let pace = Pace::Open { rate: 1000.0, ramp_ns: 2 * SECOND };
        assert_eq!(pace.due(SECOND, 0, 0), 251);
        assert_eq!(pace.due(2 * SECOND, 0, 0), 1001);
        assert_eq!(pace.due(3 * SECOND, 0, 0), 2001);
        for number in [1, 250, 999, 1000, 1500] {
            let at = pace.intended(number, u64::MAX);
            assert!((number..=number + 1).contains(&(pace.due(at + 10, 0, 0) - 1)), "{number}");
        }
    }

    #[test]
    fn a_closed_loop_replaces_what_has_ended() {
        let pace = Pace::Closed(10);
        assert_eq!((pace.due(7, 100, 8), pace.due(7, 100, 10)), (102, 100));
        assert_eq!(pace.intended(100, 7), 7);
    }
}
