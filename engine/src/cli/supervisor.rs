//! What the program that started the engine is told of it: readiness, reloads, the end, and that workers
//! turn (`sd_notify(3)`, systemd's protocol, which others speak, too).
//!
//! Without `NOTIFY_SOCKET` in the environment nobody is told, and a socket that does not take a message is
//! no reason to end. Everything is said by the engine's own thread.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::clock::{Clock, SystemClock};

/// How much longer than its drain the engine may take to end: what is left is reset, ports stop.
const FAREWELL: Duration = Duration::from_secs(5);

/// Who supervises this process.
pub(super) struct Supervisor {
    watchdog: Option<Watchdog>,
    /// What it shows of a healthy engine.
    status: String,
}

impl Supervisor {
    /// The one named in the environment, if there is one.
    pub(super) fn of_environment() -> Self {
        let watchdog = sd_notify::watchdog_enabled().map(Watchdog::new);
        Self { watchdog, status: String::new() }
    }

    /// Clients are served; `status` says which.
    pub(super) fn ready(&mut self, status: String) {
        tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
        self.status = status;
    }

    /// A reload has begun; [`Self::ready`] ends it.
    pub(super) fn reloading(&self) {
        // supervisors that wait for reloads tell by the time which one this is
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    /// The engine ends, within `drain` and a little.
    pub(super) fn stopping(&mut self, drain: Duration, status: String) {
        let within = drain.saturating_add(FAREWELL).as_micros();
        let within = u32::try_from(within).unwrap_or(u32::MAX);
        let within = NotifyState::ExtendTimeoutUsec(within);
        tell(&[NotifyState::Stopping, within, NotifyState::Status(&status)]);
        self.status = status;
    }

    /// Feeds the watchdog if it is time and every worker has turned since it was fed last. `turns` are the
    /// rounds of each worker that has not ended.
    pub(super) fn watch(&mut self, turns: impl FnOnce() -> Vec<u64>) {
        let Some(watchdog) = &mut self.watchdog else { return };
        let now_us = watchdog.clock.now().us;
        match watchdog.look(now_us, turns) {
            Look::Early => {}
            Look::AllTurn => tell(&[NotifyState::Watchdog]),
            Look::AllTurnAgain => {
                tell(&[NotifyState::Watchdog, NotifyState::Status(&self.status)]);
            }
            Look::Stuck(worker) => {
                tell(&[NotifyState::Status(&format!("worker {worker} does not turn"))]);
            }
        }
    }
}

/// What a look at the workers has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Look {
    /// It is not time yet.
    Early,
    /// Every worker has turned since the last time.
    AllTurn,
    /// The same, after one had stood still.
    AllTurnAgain,
    /// This one has not.
    Stuck(usize),
}

/// Counts how long no worker may stand still.
struct Watchdog {
    clock: SystemClock,
    /// Half of what the supervisor waits for, as `sd_watchdog_enabled(3)` advises.
    every_us: u64,
    next_us: u64,
    /// The workers' rounds when it was fed last.
    fed_at: Vec<u64>,
    starved: bool,
}

impl Watchdog {
    fn new(patience: Duration) -> Self {
        let every_us = u64::try_from(patience.as_micros() / 2).unwrap_or(u64::MAX);
        Self {
            clock: SystemClock::start(),
            every_us,
            next_us: 0,
            fed_at: Vec::new(),
            starved: false,
        }
    }

    fn look(&mut self, now_us: u64, turns: impl FnOnce() -> Vec<u64>) -> Look {
        if now_us < self.next_us {
            return Look::Early;
        }
        let turns = turns();
        // a worker that was not there or has ended makes the lists differ in length, once
        let stuck = turns.iter().zip(&self.fed_at).position(|(now, then)| now == then);
        if let Some(worker) = stuck.filter(|_| turns.len() == self.fed_at.len()) {
            // looked at again soon: it may only have been late
            self.next_us = now_us.saturating_add(self.every_us / 4);
            self.starved = true;
            return Look::Stuck(worker);
        }
        self.fed_at = turns;
        self.next_us = now_us.saturating_add(self.every_us);
        if std::mem::take(&mut self.starved) { Look::AllTurnAgain } else { Look::AllTurn }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(cause) = sd_notify::notify(states) {
        tracing::debug!("the supervisor was not told {states:?}: {cause}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_while_every_worker_turns() {
        let mut watchdog = Watchdog::new(Duration::from_micros(200));
        assert_eq!(watchdog.look(0, || vec![0, 0]), Look::AllTurn);
        assert_eq!(watchdog.look(99, || panic!("nobody needs them")), Look::Early);
        assert_eq!(watchdog.look(100, || vec![5, 1]), Look::AllTurn);
        assert_eq!(watchdog.look(200, || vec![6, 2]), Look::AllTurn);
    }

    #[test]
    fn a_worker_that_stands_still_starves_the_watchdog_until_it_turns() {
        let mut watchdog = Watchdog::new(Duration::from_micros(200));
        assert_eq!(watchdog.look(0, || vec![1, 1]), Look::AllTurn);
        assert_eq!(watchdog.look(100, || vec![2, 1]), Look::Stuck(1));
        assert_eq!(watchdog.look(125, || vec![3, 1]), Look::Stuck(1));
        assert_eq!(watchdog.look(150, || vec![4, 2]), Look::AllTurnAgain);
        assert_eq!(watchdog.look(151, || panic!("nobody needs them")), Look::Early);
        assert_eq!(watchdog.look(250, || vec![5, 3]), Look::AllTurn);
    }

    /// At the end of a drain one worker is done before the other.
    #[test]
    fn a_worker_that_has_ended_is_not_waited_for() {
        let mut watchdog = Watchdog::new(Duration::from_micros(200));
        assert_eq!(watchdog.look(0, || vec![1, 7]), Look::AllTurn);
        assert_eq!(watchdog.look(100, || vec![7]), Look::AllTurn);
        assert_eq!(watchdog.look(200, || vec![7]), Look::Stuck(0));
    }
}
