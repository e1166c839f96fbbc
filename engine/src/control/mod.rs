//! How a running engine is asked: a Unix socket for `usher stats`, HTTP for Prometheus and probes, and
//! the table at exit.
//!
//! Everything here reads a [`Snapshot`] of what the workers have published, or hands an [`Errand`] to the
//! engine's own thread; nothing touches the packet path. Requests are bounded in size and time, and so is the number of
//! clients at once.
//!
//! | file | holds |
//! |---|---|
//! | `socket` | the control socket's place, and the way of commands to it |
//! | `server`, `client` | its thread, which serves many and waits for none |
//! | `request` | what may be asked there |
//! | `flows` | which flows are wanted, and what is found |
//! | `json`, `table` | answers, for programs and for people |
//! | `http`, `metrics` | `/metrics`, `/healthz`, `/readyz` |

mod client;
mod flows;
mod http;
mod json;
mod metrics;
mod request;
mod server;
mod socket;
mod table;

use std::fmt;
use std::sync::Arc;

use crate::stats::Snapshot;

pub use flows::{Flow, FlowQuery, Flows, flows_json};
pub use http::HttpServer;
pub use json::{backends_json, services_json, stats_json};
pub use metrics::prometheus_text;
pub use request::{Errand, Outcome, PROTOCOL, Request, done};
pub use socket::{Connection, ControlSocket, request};
pub(crate) use table::said;
pub use table::{backends_table, exit_table, flows_table, services_table, stats_table};

/// What is asked of the engine.
pub trait Source: Send + Sync {
    /// The counts of now.
    fn snapshot(&self) -> Snapshot;

    /// Why the engine should get no traffic at this moment, if so: a link is down, it drains, a service
    /// has no usable backend.
    fn not_ready(&self) -> Option<String>;
}

/// A source that is shared by the servers.
pub type SharedSource = Arc<dyn Source>;

impl fmt::Debug for dyn Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

/// How a state is printed: flows in CLOSED are markers of spent cookies.
const fn state_name(state: usher_proto::tcp::State) -> &'static str {
    match state {
        usher_proto::tcp::State::Closed => "SPENT",
        other => other.name(),
    }
}

#[cfg(test)]
mod tests;
