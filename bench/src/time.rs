//! The bench's only reader of time. What generates load takes time as an argument: whole nanoseconds since a
//! start, from a [`Stopwatch`] here or from a test.

use std::time::{Duration, Instant, SystemTime};

/// Nanoseconds since it was started.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts one.
    #[must_use]
    pub fn start() -> Self {
        Self(instant())
    }

    /// What has passed, in ns: 584 years at most.
    #[must_use]
    #[inline]
    pub fn ns(&self) -> u64 {
        self.elapsed().as_nanos() as u64
    }

    /// What has passed.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Today and the time of day, UTC, as RFC 3339 writes it.
#[must_use]
pub fn date() -> String {
    humantime::format_rfc3339_seconds(system_time()).to_string()
}

/// Unix time in ms.
#[must_use]
pub fn unix_ms() -> u64 {
    system_time().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Lets time pass without work: between two looks at the clock of whoever is paced by it.
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time, and this is where")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a report says when it was made")]
fn system_time() -> SystemTime {
    SystemTime::now()
}
