//! SIGHUP: the configuration is read and checked again. This version applies nothing while it runs; it
//! says which tables differ from what runs, so that nobody thinks otherwise.

use std::path::Path;

use tracing::{error, info, warn};

use crate::config::Plan;

/// Checks `file` again and logs what of it would need a restart.
pub(super) fn reload(running: &Plan, file: &Path) {
    let plan = match Plan::load(file) {
        Ok(plan) => plan,
        Err(error) => {
            return error!("reload: the file is wrong and nothing was changed\n{error}");
        }
    };
    let differing = differing(running, &plan);
    if differing.is_empty() {
        info!("reload: {} says what runs already", file.display());
    } else {
        let tables = differing.join(", ");
        warn!(
            "reload: {tables} differ from what runs; this version applies them at a restart only"
        );
    }
}

/// The tables in which two plans differ.
fn differing(a: &Plan, b: &Plan) -> Vec<&'static str> {
    [
        ("[engine]", a.engine != b.engine),
        ("[dpdk]", a.dpdk != b.dpdk),
        ("[[port]]", a.ports != b.ports),
        ("[flow_table]", a.flow_capacity != b.flow_capacity),
        ("[handshake] or [timeouts]", a.policy != b.policy || a.handshake != b.handshake),
        ("[[service]]", a.services != b.services),
        ("[metrics]", a.metrics != b.metrics),
    ]
    .into_iter()
    .filter_map(|(table, differs)| differs.then_some(table))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_differ_are_named() {
        let text = "[[port]]\nname = \"wan\"\ndevice = \"net_null0\"\n";
        let plan = |more: &str| Plan::parse(&format!("{text}{more}"), Path::new("x")).unwrap();
        let running = plan("");
        assert!(differing(&running, &plan("")).is_empty());
        let other = plan("mtu = 1400\n[timeouts]\nidle = \"5s\"\n[engine]\ncores = [1]\n");
        assert_eq!(
            differing(&running, &other),
            ["[engine]", "[[port]]", "[handshake] or [timeouts]"]
        );
    }
}
