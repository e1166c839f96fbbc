//! P9: the memory of a flow, everything counted: what this process grows by when a worker is made and its table is
//! filled with connections, the port's buffers included.

use std::fs;

use clap::Args;
use serde::Serialize;
use usher::config::Cookies;

use crate::Failure;
use crate::progress::Progress;
use crate::report::{Report, Unit};
use crate::rig::Rig;

/// How many flows.
#[derive(Args, Clone, Copy, Debug, Serialize)]
pub struct Memory {
    /// Flows of the table, all of them in use
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1000..=100_000_000))]
    pub flows: u32,
}

impl Memory {
    /// Measures it.
    ///
    /// # Errors
    /// When `/proc` does not tell.
    pub fn run(&self, progress: &Progress) -> Result<Report, Failure> {
        let before = resident()?;
        let mut rig = Rig::with_capacity(Cookies::Never, self.flows);
        let made = resident()?;
        progress.say(&format!("opening {} connections", self.flows));
        let open = rig.open(self.flows);
        let filled = resident()?;
        let mut report = Report::new("memory", self);
        report.figure("flows", f64::from(open), Unit::Count);
        let each = |bytes: u64| bytes.saturating_sub(before) as f64 / f64::from(self.flows);
        report.figure("a flow, in use", each(filled), Unit::Bytes);
        report.figure("a flow, when the worker is made", each(made), Unit::Bytes);
        report.figure("all", filled.saturating_sub(before) as f64, Unit::Bytes);
        if open < self.flows {
            report.note(format!("only {open} of {} connections found room", self.flows));
        }
        Ok(report)
    }
}

/// Memory of this process that is there, in bytes.
pub(super) fn resident() -> Result<u64, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    parse(&status).ok_or_else(|| "/proc/self/status does not tell VmRSS".into())
}

fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_resident_is_read() {
        assert_eq!(parse("Name:\tx\nVmRSS:\t    1234 kB\n"), Some(1234 * 1024));
        assert_eq!(parse("Name:\tx\n"), None);
    }

    #[test]
    fn a_full_table_is_told_with_all_its_flows() {
        let report = Memory { flows: 5000 }.run(&Progress::silent()).expect("it runs");
        assert_eq!(report.results.figures[0].value, 5000.0);
        assert!(report.notes.is_empty());
    }
}
