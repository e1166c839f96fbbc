//! Configuration: a TOML file (DESIGN section 6) becomes a [`Plan`], or a list of everything that is
//! wrong with it.
//!
//! `section` reads typed values and records what is wrong with each; `global`, `port`, `service` and
//! `later` know the tables; `resolve` makes the parts fit. Called at start, on reload and by
//! `usher check`; never on the packet path.

mod cores;
#[cfg(feature = "dpdk")]
mod dpdk;
mod global;
mod later;
mod pcap;
mod plan;
mod port;
mod problem;
mod resolve;
mod schema;
mod secret;
mod section;
mod service;

#[cfg(test)]
mod tests;

use std::path::Path;

use toml::de::DeTable;

pub use cores::{CoreError, Topology};
pub use global::DEFAULT_SOCKET;
pub use plan::{
    Cookies, Cores, Device, DpdkPlan, EnginePlan, HandshakePlan, Memory, PcapFiles, Plan, PortPlan,
    Prefix, SecretPlan, ServiceKind, ServicePlan,
};
pub(crate) use port::is_pci;
pub use problem::ConfigError;

use problem::Problems;
use section::Section;

impl Plan {
    /// Reads and checks the file at `path` and the files that it names.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, at once.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|cause| ConfigError::unreadable(path, &cause))?;
        Self::check(&text, path, cfg!(feature = "dpdk"))
    }

    /// Checks `text` as the content of `file`; paths in it are relative to the directory of `file`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, at once.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        Self::check(text, file, true)
    }

    /// `devices`: whether this build can open DPDK's.
    fn check(text: &str, file: &Path, devices: bool) -> Result<Self, ConfigError> {
        let problems = Problems::default();
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let right = "mend the TOML first; the rest is checked after that";
            problems.add_key("TOML", error.span(), error.message(), right);
        }
        let plan = if errors.is_empty() {
            let dir = file.parent().unwrap_or_else(|| Path::new(""));
            Some(read(&Section::root(document.get_ref(), &problems), dir, devices))
        } else {
            None
        };
        match plan {
            Some(plan) if problems.is_empty() => Ok(plan),
            _ => Err(problems.into_error(file, text)),
        }
    }
}

/// Reads the whole file. What is missing or wrong is recorded; the plan counts only if nothing was.
fn read(root: &Section<'_>, dir: &Path, devices: bool) -> Plan {
    let problems = root.problems();
    root.require(&["port"]);
    let (engine, handshake) = (root.table("engine"), root.table("handshake"));
    let engine = global::engine(engine.as_ref(), dir);
    let flow_capacity = global::flow_capacity(root.table("flow_table").as_ref());
    let ports: Vec<_> = root.tables("port").iter().filter_map(|p| port::read(p, dir)).collect();
    let services = root.tables("service");
    let services: Vec<_> = services.iter().filter_map(|s| service::read(s, dir)).collect();
    resolve::ports(&ports, &engine.cores, problems);
    if !devices {
        resolve::no_dpdk(&ports, problems);
    }
    let services = resolve::services(&services, &ports, problems);
    Plan {
        engine,
        dpdk: global::dpdk(root.table("dpdk").as_ref()),
        flow_capacity,
        policy: global::policy(handshake.as_ref(), root.table("timeouts").as_ref()),
        handshake: global::handshake(handshake.as_ref(), flow_capacity, dir),
        ports: resolve::port_plans(ports, &services),
        services,
        metrics: global::metrics(root.table("metrics").as_ref()),
        notices: notices(root),
    }
}

/// What is right and yet has less effect than one might think.
fn notices(root: &Section<'_>) -> Vec<String> {
    let has =
        |table: &str, key: &str| root.raw(table).is_some_and(|raw| raw.value.get(key).is_some());
    let number = |table: &str, key: &str| {
        let value = root.raw(table)?.value.get(key)?.get_ref().as_integer()?.as_str();
        value.parse::<u64>().ok()
    };
    let connect = has("timeouts", "connect").then_some(
        "`timeouts.connect` has no effect: it is for `kind = \"proxy\"`, which is not in this version",
    );
    let (limit, capacity) =
        (number("handshake", "half_open_limit"), number("flow_table", "capacity"));
    let limit = limit.zip(capacity).is_some_and(|(limit, capacity)| limit > capacity).then_some(
        "`handshake.half_open_limit` is above `flow_table.capacity`, and the capacity is the limit",
    );
    let services = (!root.has("service")).then_some(
        "there is no [[service]]: connections are refused, and only ARP and ping are answered",
    );
    [connect, limit, services].into_iter().flatten().map(str::to_owned).collect()
}
