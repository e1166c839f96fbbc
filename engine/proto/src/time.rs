//! What "now" is made of. Values only: nothing here reads a clock.

/// A point in time in milliseconds since the engine's start, wrapping after 49.7 days.
///
/// Ticks are compared by their distance, which must be less than 2³¹ ms (24.8 days); every timeout of
/// the engine is far below that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Tick(pub u32);

impl Tick {
    /// The tick `ms` milliseconds later.
    #[must_use]
    pub const fn after(self, ms: u32) -> Self {
        Self(self.0.wrapping_add(ms))
    }

    /// Whether this tick has come at `now`.
    #[must_use]
    pub const fn is_due(self, now: Self) -> bool {
        now.0.wrapping_sub(self.0) < 1 << 31
    }

    /// Milliseconds from `earlier` to this tick; 0 if `earlier` is in fact later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        let distance = self.0.wrapping_sub(earlier.0);
        if distance < 1 << 31 { distance } else { 0 }
    }

    /// The earlier of two ticks.
    #[must_use]
    pub const fn min(self, other: Self) -> Self {
        if self.is_due(other) { self } else { other }
    }
}

/// The present, read once a burst by the engine's clock and handed down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// Microseconds since the engine's start.
    pub us: u64,
    /// Milliseconds since the engine's start: what timers run on.
    pub tick: Tick,
    /// Unix time in milliseconds, its low 32 bits: the clock behind our TSval (RFC 7323 §5.4). The
    /// same on every node and across restarts, so TSvals do not go backward when a flow moves.
    pub ts_clock: u32,
    /// Unix time / 64 s: the cookie's epoch.
    pub epoch: u32,
}

impl Now {
    /// The present made of monotonic microseconds since start and Unix time in milliseconds.
    #[must_use]
    pub const fn new(us: u64, unix_ms: u64) -> Self {
        Self {
            us,
            tick: Tick((us / 1000) as u32),
            ts_clock: unix_ms as u32,
            epoch: (unix_ms / 64_000) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_compare_across_the_wrap() {
        let early = Tick(u32::MAX - 5);
        let late = early.after(10);
        assert!(early.is_due(late) && !late.is_due(early));
        assert_eq!(late.since(early), 10);
        assert_eq!(early.since(late), 0);
        assert_eq!(early.min(late), early);
    }

    #[test]
    fn now_is_derived_from_two_clocks() {
        let now = Now::new(5_000_999, 64_000 * 7 + 63_999);
        assert_eq!((now.tick, now.epoch), (Tick(5000), 7));
        assert_eq!(now.ts_clock, 64_000 * 7 + 63_999);
    }
}
