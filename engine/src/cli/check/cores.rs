//! Cores: there, and left alone by the kernel's scheduler.

use super::{Finding, fail, ok, warn};
use crate::config::{CoreError, Topology};

pub(super) fn check(cores: &Result<Vec<usize>, CoreError>, machine: &Topology) -> Vec<Finding> {
    let cores = match cores {
        Ok(cores) => cores,
        Err(error) => return vec![fail(error.to_string())],
    };
    let mut findings = vec![ok(format!("cores {cores:?}: one worker each"))];
    let shared: Vec<_> = cores.iter().filter(|core| !machine.isolated.contains(core)).collect();
    findings.push(if shared.is_empty() {
        ok(format!("cores {cores:?} are isolated"))
    } else {
        let why = "other programs can delay their workers; isolcpus= on the kernel's command line prevents it";
        warn(format!("cores {shared:?} are not isolated: {why}"))
    });
    if cores.len() == machine.usable.len() {
        let why = "workers poll without rest and leave no core to the rest of the system";
        findings.push(warn(format!("every core has a worker: {why}")));
    }
    findings
}
