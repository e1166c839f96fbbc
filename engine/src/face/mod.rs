//! An engine inside a program: what `usher::Engine` is.
//!
//! Everything here runs on the program's threads, or on threads of consumers, and never on the packet path.
//!
//! | file | holds |
//! |---|---|
//! | `builder` | from a configuration to a running engine |
//! | `consumer` | the trait [`Consumer`] and the loop that runs one |
//! | `crew` | the threads of consumers that the engine runs |
//! | `error` | what can go wrong at the start and at a reload |
//! | `ports` | opens what a configuration names, for programs and for `usher run` |
//! | `running` | engines of all kinds of ports as one type |

#![forbid(unsafe_code)]

mod builder;
mod consumer;
mod crew;
mod error;
pub(crate) mod ports;
mod running;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

pub use builder::Builder;
pub use consumer::{Commands, Consumer, Runner};
pub use error::{Refusal, StartError};

use crew::Crew;
use running::Running;

use crate::config::Plan;
use crate::control::HttpServer;
use crate::handoff::ConsumerEnd;
use crate::stats::Snapshot;

/// A running engine. Dropping it stops it.
///
/// It may move between threads and be shared by them; no method is needed on the path of a connection. What the engine
/// does, it does on threads of its own: a worker for each core of `engine.cores`, and one for each consumer that it runs.
/// It serves metrics if the configuration says where; it has no control socket, installs no signal handler and writes no
/// log but through `tracing`.
pub struct Engine {
    running: Box<dyn Running>,
    crew: Crew,
    metrics: Option<HttpServer>,
}

impl Engine {
    /// Begins an engine by `config`. Nothing is opened before [`Builder::start`].
    #[must_use]
    pub fn builder(config: Plan) -> Builder {
        Builder::new(config)
    }

    /// The consumer's ends of a `ring` service, one for each worker, in the workers' order. None if there is no such
    /// service, the engine runs its consumers, or they were taken before.
    ///
    /// The service takes connections from the start, and those that come before this wait in the rings: an end that is
    /// not polled for `consumer_timeout` while something waits counts as dead.
    pub fn consumers(&mut self, service: &str) -> Vec<ConsumerEnd> {
        self.running.take_consumers(service)
    }

    /// A new consumer's end for a service at a worker whose consumer is gone: dropped, or silent for `consumer_timeout`.
    /// It hears of new connections only. May be called from any thread.
    ///
    /// # Errors
    ///
    /// When there is no such `ring` service or worker, or its consumer is there.
    pub fn attach(&self, service: &str, worker: usize) -> Result<ConsumerEnd, Refusal> {
        self.running.attach(service, worker).map_err(Refusal)
    }

    /// Goes on with `config`: returns when every worker has it, after a few milliseconds. Connections that there are go on
    /// as they began. `ring` services that are new have their ends at [`Self::consumers`]; the engine runs consumers of
    /// services that it began with only.
    ///
    /// # Errors
    ///
    /// When it differs in what cannot change while the engine runs, or the engine drains: nothing has changed.
    pub fn reload(&mut self, config: &Plan) -> Result<(), Refusal> {
        self.running.reload(config).map_err(Refusal)
    }

    /// The counts of now, which workers publish about once a millisecond. May be called from any thread.
    #[must_use]
    pub fn stats(&self) -> Snapshot {
        self.running.stats()
    }

    /// How many workers there are, and so how many ends each `ring` service has.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.running.workers()
    }

    /// Where metrics are served.
    #[must_use]
    pub fn metrics(&self) -> Option<std::net::SocketAddr> {
        self.metrics.as_ref().and_then(HttpServer::address)
    }

    /// Takes no new connections from now on; those that there are finish, and what is left after `timeout` is reset.
    /// Consumers go on as before. Returns at once.
    pub fn begin_drain(&self, timeout: Duration) {
        self.running.drain(timeout);
    }

    /// Whether every worker has ended: after a drain, and never before one.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.running.is_finished()
    }

    /// Drains and stops: blocks until no connection is left, at most a little longer than `timeout`. Returns the last
    /// counts. Consumers must go on meanwhile, so this is not for the only thread of a program that polls.
    #[must_use = "for the counts; otherwise drop them"]
    pub fn drain(mut self, timeout: Duration) -> Snapshot {
        self.begin_drain(timeout);
        self.running.finish();
        self.stop()
    }

    /// Stops: nothing is said to the other ends of connections, whose segments find nobody any more. Returns the last
    /// counts when all threads have ended, which waits for a consumer's [`Consumer::event`] to return. Leases stay
    /// readable.
    #[must_use = "for the counts; otherwise drop the engine"]
    pub fn stop(mut self) -> Snapshot {
        self.halt();
        self.running.stats()
    }

    fn halt(&mut self) {
        // In this order: consumers end when their workers have.
        self.running.stop();
        self.crew.join();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.halt();
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({} workers)", self.workers())
    }
}
