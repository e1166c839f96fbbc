//! How a running engine is asked: a Unix socket for `usher stats`, HTTP for Prometheus and probes, and
//! the table at exit.
//!
//! Everything here reads a [`Snapshot`] of what the workers have published, or hands a [`Request`] to the
//! engine's own thread; nothing touches the packet path. Requests are bounded in size and time, and so is the number of them at once.

mod http;
mod json;
mod metrics;
mod socket;
mod table;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam::channel::Sender;

use crate::stats::Snapshot;

pub use http::HttpServer;
pub use json::{backends_json, stats_json};
pub use metrics::prometheus_text;
pub use socket::{ControlSocket, request};
pub use table::{backends_table, exit_table, stats_table};

/// What a client of the control socket wants done, for the engine's own thread to do.
#[derive(Debug)]
pub enum Request {
    /// The configuration file is to be read again; a sentence says what came of it.
    Reload(Sender<Result<String, String>>),
    /// A backend is to be taken out, or back in; a sentence says what came of it.
    Backend {
        /// The name of its service.
        service: String,
        /// Its address and TCP port.
        address: SocketAddr,
        /// Whether it gets no new connections.
        drained: bool,
        /// For the outcome.
        answer: Sender<Result<String, String>>,
    },
}

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
