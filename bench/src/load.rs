//! Who else used the machine while something was measured: foreign processor time and time that the hypervisor
//! took away (steal), from `/proc`.
//!
//! Own is this process and all that descend from it. Interrupts are nobody's and not counted: on a veth they are
//! the measured work itself. `/proc` counts in hundredths of a second, so a [`Meter`] that ran for less than half a
//! second says little.

use std::collections::HashMap;
use std::fs;

use serde::Serialize;

use crate::time::Stopwatch;

/// Processor time between two moments, in cores: 1.0 is one core all the time.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Load {
    /// Between the two moments, in seconds.
    pub seconds: f64,
    /// Used by us.
    pub own: f64,
    /// Used by others on this machine.
    pub foreign: f64,
    /// Taken by the hypervisor for other machines.
    pub steal: f64,
}

impl Load {
    /// What others took from us, if they took it where we wanted it.
    #[must_use]
    pub fn lost(&self) -> f64 {
        self.foreign + self.steal
    }
}

/// Measures the load since it was started.
#[derive(Debug)]
pub struct Meter {
    since: Stopwatch,
    machine: Ticks,
    own: u64,
}

impl Meter {
    /// Starts now.
    #[must_use]
    pub fn start() -> Self {
        let (machine, own) = now();
        Self { since: Stopwatch::start(), machine, own }
    }

    /// Seconds since it was started.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.since.elapsed().as_secs_f64()
    }

    /// The load since it was started.
    #[must_use]
    pub fn load(&self) -> Load {
        let (machine, own) = now();
        between(self.seconds(), (self.machine, self.own), (machine, own))
    }
}

/// Ticks a second in `/proc`: `USER_HZ`, which Linux has never let be anything else on the machines that we run on.
const TICKS: f64 = 100.0;

/// Ticks of all processors since boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Ticks {
    busy: u64,
    steal: u64,
}

fn now() -> (Ticks, u64) {
    let machine = fs::read_to_string("/proc/stat").unwrap_or_default();
    (machine_ticks(&machine), own_ticks(std::process::id(), &processes()))
}

fn between(seconds: f64, before: (Ticks, u64), after: (Ticks, u64)) -> Load {
    let cores = |from: u64, to: u64| to.saturating_sub(from) as f64 / TICKS / seconds.max(1e-9);
    let busy = cores(before.0.busy, after.0.busy);
    let own = cores(before.1, after.1);
    let steal = cores(before.0.steal, after.0.steal);
    Load { seconds, own, foreign: (busy - own).max(0.0), steal }
}

/// From `/proc/stat`: user, nice and system; steal. Guests are in user already (proc(5)).
fn machine_ticks(stat: &str) -> Ticks {
    let line = stat.lines().next().unwrap_or_default();
    let fields: Vec<u64> =
        line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    let at = |index: usize| fields.get(index).copied().unwrap_or_default();
    Ticks { busy: at(0) + at(1) + at(2), steal: at(7) }
}

/// A process, from its `/proc/PID/stat`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Process {
    parent: u32,
    /// Its own, and those of its children that it has waited for.
    ticks: u64,
}

fn processes() -> HashMap<u32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, process(&fs::read_to_string(entry.path().join("stat")).ok()?)?))
        })
        .collect()
}

/// Fields as proc_pid_stat(5) numbers them; the name, field 2, may hold anything but ends at the last parenthesis.
fn process(stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let at = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Process {
        parent: u32::try_from(at(4)?).ok()?,
        ticks: (14..=17).map(at).sum::<Option<u64>>()?,
    })
}

/// The ticks of `root` and all that descend from it.
fn own_ticks(root: u32, processes: &HashMap<u32, Process>) -> u64 {
    let descends = |mut pid: u32| {
        // as deep as there are processes: the list was not read at one moment, and might hold a circle
        for _ in 0..=processes.len() {
            if pid == root {
                return true;
            }
            match processes.get(&pid) {
                Some(process) => pid = process.parent,
                None => return false,
            }
        }
        false
    };
    let own = processes.iter().filter(|(pid, _)| descends(**pid));
    own.map(|(_, process)| process.ticks).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_ticks_leave_out_waiting_and_interrupts() {
        let text = "cpu  100 20 30 4000 50 6 7 80 90 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(machine_ticks(text), Ticks { busy: 150, steal: 80 });
        assert_eq!(machine_ticks(""), Ticks::default());
    }

    #[test]
    fn a_process_may_be_called_anything() {
        let stat = "7 (a) b (c) S 3 7 7 0 -1 4194304 1 2 3 4 10 20 300 4000 20 0 1 0 9";
        assert_eq!(process(stat), Some(Process { parent: 3, ticks: 4330 }));
        assert_eq!(process("7 (x"), None);
    }

    #[test]
    fn own_is_whoever_descends_from_us() {
        let process = |parent, ticks| Process { parent, ticks };
        let all = HashMap::from([
            (1, process(0, 1)),
            (7, process(1, 10)),
            (8, process(7, 100)),
            (9, process(8, 1000)),
            (5, process(1, 10_000)),
            (20, process(21, 1)),
            (21, process(20, 1)),
        ]);
        assert_eq!(own_ticks(7, &all), 1110);
    }

    #[test]
    fn what_is_not_own_is_foreign() {
        let before = (Ticks { busy: 1000, steal: 10 }, 500);
        let after = (Ticks { busy: 1300, steal: 30 }, 700);
        let load = between(2.0, before, after);
        assert_eq!((load.own, load.foreign, load.steal), (1.0, 0.5, 0.1));
        assert!((load.lost() - 0.6).abs() < 1e-9);
    }

    #[test]
    fn this_process_is_among_those_that_run() {
        assert!(processes().contains_key(&std::process::id()));
        assert!(now().0.busy > 0);
    }
}
