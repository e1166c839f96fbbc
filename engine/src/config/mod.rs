//! Configuration: a TOML file (DESIGN section 6) becomes a [`Plan`], or a list of everything that is
//! wrong with it.
//!
//! `section` reads typed values and records what is wrong with each; `global`, `port`, `service` and
//! `later` know the tables; `resolve` makes the parts fit. Called at start, on reload and by
//! `usher check`; never on the packet path.

mod cores;
mod global;
mod later;
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
    Cookies, Cores, DpdkPlan, EnginePlan, HandshakePlan, Memory, Plan, PortPlan, Prefix,
    SecretPlan, ServiceKind, ServicePlan,
};
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

    /// `devices`: whether this build can open any.
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
    let ports: Vec<_> = root.tables("port").iter().filter_map(port::read).collect();
    let services = root.tables("service");
    let services: Vec<_> = services.iter().filter_map(|s| service::read(s, dir)).collect();
    resolve::ports(&ports, &engine.cores, problems);
    if !devices {
        resolve::no_devices(&ports, problems);
    }
    let services = resolve::services(&services, &ports, problems);
    Plan {
        engine,
        dpdk: global::dpdk(root.table("dpdk").as_ref()),
        flow_capacity: global::flow_capacity(root.table("flow_table").as_ref()),
        policy: global::policy(handshake.as_ref(), root.table("timeouts").as_ref()),
        handshake: global::handshake(handshake.as_ref(), dir),
        ports: resolve::port_plans(ports, &services),
        services,
        metrics: global::metrics(root.table("metrics").as_ref()),
    }
}
