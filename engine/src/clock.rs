//! The only reader of time. Everything else takes a [`Now`] as an argument.
//!
//! Workers read the processor's time stamp counter once a burst (10 ns against 23 ns for the system's
//! clock) where it is invariant, and compare it with the system's clock at housekeeping. Time never
//! goes backward: a correction only changes how fast it runs.
#![allow(unsafe_code, reason = "the time stamp counter is read by an instruction")]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use usher_proto::time::Now;

/// A source of the present.
pub trait Clock {
    /// The present. Never earlier than what it returned before.
    fn now(&mut self) -> Now;

    /// Called at housekeeping: compares with whatever is slower to read and more exact.
    fn discipline(&mut self) {}
}

/// The machine's clock. Copies made of one share its beginning, so that all workers agree.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
    /// Unix time at the start, in ms; TSvals run from here and never jump.
    start_unix_ms: u64,
    /// Unix time less `start_unix_ms` less the time that has passed: how far the system's clock was
    /// set since the start, in ms.
    stepped_ms: i64,
    base: Reading,
    /// Microseconds a tick of the counter, times 2³²; 0 where the counter is not used.
    scale: u64,
    last_us: u64,
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    counter: u64,
    us: u64,
}

/// How long the counter is compared with the system's clock at the start, in µs: 100 ppm are exact
/// enough until housekeeping corrects it; longer delays the start (P14).
const CALIBRATION_US: u64 = 2_000;

impl SystemClock {
    /// Starts time. Takes two milliseconds to learn the counter's rate.
    #[must_use]
    pub fn start() -> Self {
        let mut clock = Self {
            start: instant(),
            start_unix_ms: unix_ms(),
            stepped_ms: 0,
            base: Reading { counter: 0, us: 0 },
            scale: 0,
            last_us: 0,
        };
        if counter::is_invariant() {
            clock.calibrate();
        }
        clock
    }

    /// Learns the counter's rate by waiting.
    fn calibrate(&mut self) {
        let first = self.reading();
        let second = loop {
            let reading = self.reading();
            if reading.us >= first.us + CALIBRATION_US {
                break reading;
            }
            std::hint::spin_loop();
        };
        self.base = second;
        self.scale = rate(first, second).unwrap_or(0);
    }

    fn reading(&self) -> Reading {
        let us = instant().duration_since(self.start).as_micros() as u64;
        Reading { counter: counter::read(), us }
    }

    fn elapsed_us(&self) -> u64 {
        if self.scale == 0 {
            return self.reading().us;
        }
        let ticks = counter::read().wrapping_sub(self.base.counter);
        self.base.us + ((u128::from(ticks) * u128::from(self.scale)) >> 32) as u64
    }
}

impl Clock for SystemClock {
    #[inline]
    fn now(&mut self) -> Now {
        self.last_us = self.elapsed_us().max(self.last_us);
        let unix_ms = self.start_unix_ms + self.last_us / 1000;
        let wall_ms = unix_ms.saturating_add_signed(self.stepped_ms);
        Now { epoch: (wall_ms / 64_000) as u32, ..Now::new(self.last_us, unix_ms) }
    }

    fn discipline(&mut self) {
        let reading = self.reading();
        if self.scale != 0 {
            self.scale = rate(self.base, reading).unwrap_or(self.scale);
            if reading.us - self.base.us > 1 << 20 {
                self.base = reading;
            }
        }
        let expected = self.start_unix_ms + reading.us / 1000;
        self.stepped_ms = unix_ms() as i64 - expected as i64;
    }
}

/// Microseconds a tick times 2³² between two readings, if they are far enough apart to tell.
fn rate(from: Reading, to: Reading) -> Option<u64> {
    let (us, ticks) = (to.us.checked_sub(from.us)?, to.counter.checked_sub(from.counter)?);
    (us >= CALIBRATION_US && ticks > us)
        .then(|| ((u128::from(us) << 32) / u128::from(ticks)) as u64)
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads it")]
fn instant() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads it")]
fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

#[cfg(target_arch = "x86_64")]
mod counter {
    use std::arch::x86_64::{__cpuid, _rdtsc};

    /// Whether the counter runs at one rate in every power state, on all cores.
    pub(super) fn is_invariant() -> bool {
        const POWER: u32 = 0x8000_0007;
        __cpuid(0x8000_0000).eax >= POWER && __cpuid(POWER).edx & (1 << 8) != 0
    }

    pub(super) fn read() -> u64 {
        // SAFETY: every x86-64 processor has the instruction; it touches no memory.
        unsafe { _rdtsc() }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod counter {
    pub(super) const fn is_invariant() -> bool {
        false
    }

    pub(super) const fn read() -> u64 {
        0
    }
}

/// A clock that stands still until it is moved: for tests and simulations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FakeClock {
    /// Microseconds since the start.
    pub us: u64,
    /// Unix time at the start, in ms.
    pub start_unix_ms: u64,
}

impl Default for FakeClock {
    fn default() -> Self {
        Self { us: 0, start_unix_ms: 1_700_000_000_000 }
    }
}

impl FakeClock {
    /// Lets `us` microseconds pass.
    pub const fn advance_us(&mut self, us: u64) {
        self.us += us;
    }

    /// Lets `ms` milliseconds pass.
    pub const fn advance_ms(&mut self, ms: u64) {
        self.us += ms * 1000;
    }
}

impl Clock for FakeClock {
    fn now(&mut self) -> Now {
        Now::new(self.us, self.start_unix_ms + self.us / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_go_backward_across_corrections() {
        let mut clock = SystemClock::start();
        let mut before = clock.now();
        for _ in 0..1000 {
            clock.discipline();
            let now = clock.now();
            assert!(now.us >= before.us && before.tick.is_due(now.tick));
            before = now;
        }
    }

    #[test]
    fn the_rate_follows_from_two_readings() {
        let at = |counter, us| Reading { counter, us };
        assert_eq!(rate(at(0, 0), at(8_000_000, 4_000_000)), Some(1 << 31));
        assert_eq!(rate(at(0, 0), at(10, 4)), None);
        assert_eq!(rate(at(9, 9), at(0, 0)), None);
    }

    #[test]
    fn a_fake_clock_moves_when_told() {
        let mut clock = FakeClock::default();
        clock.advance_ms(64_000);
        assert_eq!(clock.now().tick.0, 64_000);
        assert_eq!(clock.now().epoch, ((1_700_000_000_000_u64 + 64_000) / 64_000) as u32);
    }
}
