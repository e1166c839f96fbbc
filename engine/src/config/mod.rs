//! Configuration: a TOML file (DESIGN section 6) becomes a [`Plan`], or a list of everything that is
//! wrong with it.
//!
//! `section` reads typed values and records what is wrong with each; `global`, `port`, `service`, `proxy`
//! and `ring` know the tables; `resolve` makes the parts fit. Called at start, on reload and by
//! `usher check`; never on the packet path.

mod changes;
mod cores;
#[cfg(feature = "dpdk")]
mod dpdk;
mod global;
mod pcap;
mod plan;
mod port;
mod problem;
mod proxy;
mod reload;
mod resolve;
mod ring;
mod schema;
mod secret;
mod section;
mod service;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::str::FromStr;

use toml::de::DeTable;

pub use cores::{CoreError, Topology};
pub use global::{DEFAULT_SOCKET, LOG_LEVELS, is_log_level};
pub use plan::{
    BackendPlan, Balance, Check, ConsumerGone, Cookies, Cores, Device, DpdkPlan, EnginePlan,
    Forward, HandshakePlan, HealthPlan, LogFormat, Memory, PcapFiles, Plan, PortPlan, Prefix,
    ProxyHeader, ProxyPlan, RingPlan, SecretPlan, Secrets, ServiceKind, ServicePlan,
};
pub(crate) use port::is_pci;
pub use problem::ConfigError;
pub use proxy::BACKENDS;
pub use secret::{begin_of, read_secrets, write_secrets};

use problem::Problems;
use section::Section;

impl Plan {
    /// Reads and checks the file at `path` and the files that it names, for a program that takes the flows of its `ring`
    /// services.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, at once.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::read(path, true)
    }

    /// The same for an engine of its own, as `usher run` is: a `ring` service is an error, as nobody would take its
    /// flows.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, at once.
    pub fn load_without_consumers(path: &Path) -> Result<Self, ConfigError> {
        Self::read(path, false)
    }

    fn read(path: &Path, consumers: bool) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|cause| ConfigError::unreadable(path, &cause))?;
        Self::check(&text, path, Means { devices: cfg!(feature = "dpdk"), consumers })
    }

    /// Checks `text` as the content of `file`; paths in it are relative to the directory of `file`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, at once.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        Self::check(text, file, Means { devices: true, consumers: true })
    }

    fn check(text: &str, file: &Path, means: Means) -> Result<Self, ConfigError> {
        let problems = Problems::default();
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let right = "mend the TOML first; the rest is checked after that";
            let span = error.span().unwrap_or_default();
            problems.add_key("TOML", Some(span), error.message(), right);
        }
        let plan = if errors.is_empty() {
            let dir = file.parent().unwrap_or_else(|| Path::new(""));
            Some(read(&Section::root(document.get_ref(), &problems), dir, means))
        } else {
            None
        };
        match plan {
            Some(plan) if problems.is_empty() => Ok(plan),
            _ => Err(problems.into_error(file, text)),
        }
    }
}

/// Reads a configuration from text; paths in it are relative to the directory that the process is in.
impl FromStr for Plan {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        Self::parse(text, Path::new("configuration"))
    }
}

/// What there is beside the file.
#[derive(Clone, Copy)]
struct Means {
    /// This build can open DPDK's devices.
    devices: bool,
    /// There is a program that takes flows.
    consumers: bool,
}

/// Reads the whole file. What is missing or wrong is recorded; the plan counts only if nothing was.
fn read(root: &Section<'_>, dir: &Path, means: Means) -> Plan {
    let problems = root.problems();
    root.require(&["port"]);
    let (table, handshake) = (root.table("engine"), root.table("handshake"));
    let engine = global::engine(table.as_ref(), dir);
    let flow_capacity = global::flow_capacity(root.table("flow_table").as_ref());
    let ports: Vec<_> = root.tables("port").iter().filter_map(|p| port::read(p, dir)).collect();
    let services = root.tables("service");
    let services: Vec<_> = services.iter().filter_map(|s| service::read(s, dir)).collect();
    resolve::ports(&ports, &engine.cores, problems);
    if !means.devices {
        resolve::no_dpdk(&ports, problems);
    }
    if !means.consumers {
        ring::no_consumer(&services, problems);
    }
    let services = resolve::services(&services, &ports, problems);
    let ports = resolve::port_plans(ports, &services);
    Plan {
        dpdk: global::dpdk(root.table("dpdk").as_ref()),
        flow_capacity,
        policy: global::policy(handshake.as_ref(), root.table("timeouts").as_ref()),
        handshake: global::handshake(handshake.as_ref(), flow_capacity, dir),
        metrics: global::metrics(root.table("metrics").as_ref()),
        notices: notices(root, &ports, &services),
        ports,
        services,
        engine,
    }
}

/// What is right and yet has less effect than one might think.
fn notices(root: &Section<'_>, ports: &[PortPlan], services: &[ServicePlan]) -> Vec<String> {
    let proxies = services.iter().any(|service| service.proxy().is_some());
    let has =
        |table: &str, key: &str| root.raw(table).is_some_and(|raw| raw.value.get(key).is_some());
    let number = |table: &str, key: &str| {
        let value = root.raw(table)?.value.get(key)?.get_ref().as_integer()?.as_str();
        value.parse::<u64>().ok()
    };
    let connect = (has("timeouts", "connect") && !proxies)
        .then_some("`timeouts.connect` has no effect: no service has backends");
    let (limit, capacity) =
        (number("handshake", "half_open_limit"), number("flow_table", "capacity"));
    let limit = limit.zip(capacity).is_some_and(|(limit, capacity)| limit > capacity).then_some(
        "`handshake.half_open_limit` is above `flow_table.capacity`, and the capacity is the limit",
    );
    let services = (!root.has("service")).then_some(
        "there is no [[service]]: connections are refused, and only ARP and ping are answered",
    );
    let dpdk = (root.has("dpdk") && ports.iter().all(|port| port.device.dpdk().is_none()))
        .then_some("`[dpdk]` has no effect: every port plays captures");
    [connect, limit, dpdk, services].into_iter().flatten().map(str::to_owned).collect()
}
