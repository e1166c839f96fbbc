//! When a backend is checked, and what the results come to.

#![forbid(unsafe_code)]

use usher_proto::time::Tick;

use crate::config::HealthPlan;

/// `service.health_check` in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// From the beginning of one check to that of the next, on average.
    pub interval: u32,
    /// A check that takes longer has failed.
    pub timeout: u32,
    /// So many good results in a row bring a backend up.
    pub rise: u8,
    /// So many bad ones, or connections that failed, bring it down.
    pub fall: u8,
}

impl From<&HealthPlan> for Timing {
    fn from(plan: &HealthPlan) -> Self {
        let ms = |time: std::time::Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        Self {
            interval: ms(plan.interval),
            timeout: ms(plan.timeout),
            rise: plan.rise,
            fall: plan.fall,
        }
    }
}

/// What is to be done at [`Watch::deadline`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// Begin a check, and report its end by [`Watch::passed`] or [`Watch::failed`].
    Check,
    /// The check under way has taken too long: abort it and report [`Watch::failed`].
    TimedOut,
}

/// A backend's health has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// It may be used.
    Up,
    /// It may not.
    Down,
}

/// One backend's health. It is presumed to be up until it is shown to be down, so that an engine that
/// has just started serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watch {
    up: bool,
    /// Results in a row that contradict `up`.
    streak: u8,
    /// Connections in a row that failed.
    strikes: u8,
    /// When the check that is under way began.
    begun: Option<Tick>,
    /// When the next one begins.
    next: Tick,
    /// Where the jitter comes from.
    dice: u64,
}

impl Watch {
    /// A backend that is first checked at `now`. Watches of different seeds drift apart.
    #[must_use]
    pub const fn new(seed: u64, now: Tick) -> Self {
        Self { up: true, streak: 0, strikes: 0, begun: None, next: now, dice: seed }
    }

    /// Whether the backend is up.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.up
    }

    /// When [`Watch::on_timer`] has something to say.
    #[must_use]
    pub const fn deadline(&self, timing: &Timing) -> Tick {
        match self.begun {
            Some(begun) => begun.after(timing.timeout),
            None => self.next,
        }
    }

    /// What is due at `now`; nothing if it was called early.
    pub fn on_timer(&mut self, timing: &Timing, now: Tick) -> Option<Due> {
        if !self.deadline(timing).is_due(now) {
            return None;
        }
        if self.begun.is_some() {
            return Some(Due::TimedOut);
        }
        self.begun = Some(now);
        self.next = now.after(self.jittered(timing.interval));
        Some(Due::Check)
    }

    /// The check under way has passed.
    pub fn passed(&mut self, timing: &Timing) -> Option<Turn> {
        self.begun = None;
        self.result(true, timing.rise)
    }

    /// The check under way has failed.
    pub fn failed(&mut self, timing: &Timing) -> Option<Turn> {
        self.begun = None;
        self.result(false, timing.fall)
    }

    /// The check under way was given up, or could not be made: that says nothing.
    pub const fn given_up(&mut self) {
        self.begun = None;
    }

    /// Somebody else has found the backend to be up, or down.
    pub const fn follow(&mut self, up: bool) {
        if self.up != up {
            let _ = self.turn();
        }
    }

    /// A connection reached the backend.
    pub const fn connected(&mut self) {
        self.strikes = 0;
    }

    /// A connection was refused or not answered. As many in a row as checks would have to fail bring the
    /// backend down, unless it is the `last` one that is up: whatever is wrong with it, nobody does better.
    pub fn struck(&mut self, timing: &Timing, last: bool) -> Option<Turn> {
        self.strikes = self.strikes.saturating_add(1);
        (self.up && self.strikes >= timing.fall && !last).then(|| self.turn())
    }

    /// Counts a result; `enough` in a row that contradict what is believed change it.
    fn result(&mut self, good: bool, enough: u8) -> Option<Turn> {
        if good == self.up {
            self.streak = 0;
            return None;
        }
        self.streak = self.streak.saturating_add(1);
        (self.streak >= enough).then(|| self.turn())
    }

    const fn turn(&mut self) -> Turn {
        self.up = !self.up;
        self.streak = 0;
        self.strikes = 0;
        if self.up { Turn::Up } else { Turn::Down }
    }

    /// `interval` more or less an eighth, so that the checks of many backends, and of many nodes, do not
    /// stay together (Floyd, Jacobson 1994). Less would take them longer to part; more makes "interval" a lie.
    const fn jittered(&mut self, interval: u32) -> u32 {
        // xorshift64* (Marsaglia 2003), kept off zero, where it would stay
        let mut dice = self.dice | 1 << 63;
        dice ^= dice >> 12;
        dice ^= dice << 25;
        dice ^= dice >> 27;
        self.dice = dice;
        let draw = (dice.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32;
        let spread = interval / 4;
        interval - spread / 2 + ((draw as u64 * spread as u64) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIMING: Timing = Timing { interval: 1000, timeout: 500, rise: 2, fall: 3 };

    fn watch() -> Watch {
        Watch::new(7, Tick(0))
    }

    /// Reports results until the first change, which it returns with the number of results.
    fn until_turn(watch: &mut Watch, good: bool) -> (usize, Turn) {
        (1..)
            .find_map(|n| {
                let turn = if good { watch.passed(&TIMING) } else { watch.failed(&TIMING) };
                turn.map(|turn| (n, turn))
            })
            .expect("it turns in the end")
    }

    #[test]
    fn results_in_a_row_change_the_verdict() {
        let mut watch = watch();
        assert!(watch.is_up());
        assert_eq!(until_turn(&mut watch, false), (3, Turn::Down));
        assert!(!watch.is_up());
        assert_eq!(until_turn(&mut watch, true), (2, Turn::Up));
        // not in a row
        for good in [false, false, true, false, false] {
            let turn = if good { watch.passed(&TIMING) } else { watch.failed(&TIMING) };
            assert_eq!(turn, None);
        }
        assert_eq!(watch.failed(&TIMING), Some(Turn::Down));
    }

    #[test]
    fn a_check_that_takes_too_long_times_out() {
        let mut watch = watch();
        assert_eq!(watch.on_timer(&TIMING, Tick(0)), Some(Due::Check));
        assert_eq!(watch.deadline(&TIMING), Tick(500));
        assert_eq!(watch.on_timer(&TIMING, Tick(499)), None);
        assert_eq!(watch.on_timer(&TIMING, Tick(500)), Some(Due::TimedOut));
        watch.failed(&TIMING);
        let next = watch.deadline(&TIMING);
        assert_eq!(watch.on_timer(&TIMING, Tick(next.0 - 1)), None);
        assert_eq!(watch.on_timer(&TIMING, next), Some(Due::Check));
    }

    #[test]
    fn failed_connections_bring_down_all_but_the_last() {
        let mut watch = watch();
        assert_eq!([false; 2].map(|last| watch.struck(&TIMING, last)), [None, None]);
        watch.connected();
        assert_eq!([false; 2].map(|last| watch.struck(&TIMING, last)), [None, None]);
        assert_eq!([true; 300].map(|last| watch.struck(&TIMING, last)), [None; 300]);
        assert_eq!(watch.struck(&TIMING, false), Some(Turn::Down));
        assert_eq!([false; 9].map(|last| watch.struck(&TIMING, last)), [None; 9]);
        // only checks bring it back, and then failures count from the beginning
        assert!(!watch.is_up());
        assert_eq!(until_turn(&mut watch, true), (2, Turn::Up));
        assert_eq!(watch.struck(&TIMING, false), None);
    }

    #[test]
    fn checks_of_many_backends_drift_apart() {
        let mut watches: Vec<Watch> = (0..100).map(|seed| Watch::new(seed, Tick(0))).collect();
        for watch in &mut watches {
            for _ in 0..20 {
                let now = watch.deadline(&TIMING);
                assert_eq!(watch.on_timer(&TIMING, now), Some(Due::Check));
                watch.passed(&TIMING);
            }
        }
        let mut times: Vec<u32> = watches.iter().map(|watch| watch.next.0).collect();
        times.sort_unstable();
        times.dedup();
        assert!(times.len() > 80, "{times:?}");
    }

    proptest! {
        /// One check at a time; the next begins within an eighth of the interval after the last one began,
        /// and never before its end.
        #[test]
        fn checks_follow_the_interval(
            seed: u64, start: u32, interval in 10..100_000_u32, share in 1..=100_u32,
            lasts in prop::collection::vec(any::<u32>(), 1..50),
        ) {
            let timing = Timing { interval, timeout: (interval * share / 100).max(1), ..TIMING };
            let mut watch = Watch::new(seed, Tick(start));
            let mut begun: Option<Tick> = None;
            for last in lasts {
                let now = watch.deadline(&timing);
                prop_assert_eq!(watch.on_timer(&timing, now), Some(Due::Check));
                if let Some(begun) = begun {
                    let pause = now.since(begun);
                    prop_assert!(pause >= interval - interval / 8 && pause <= interval + interval / 8);
                }
                let end = now.after(last % (timing.timeout + 1));
                match watch.on_timer(&timing, end) {
                    Some(due) => prop_assert!(
                        due == Due::TimedOut && end == now.after(timing.timeout)
                    ),
                    None => prop_assert!(!now.after(timing.timeout).is_due(end)),
                };
                watch.passed(&timing);
                begun = Some(now);
            }
        }
    }
}
