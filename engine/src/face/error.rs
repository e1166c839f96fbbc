//! What can go wrong at the start and at a reload.

#![forbid(unsafe_code)]

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::config::CoreError;
use crate::port::PortError;

/// Why an engine has not started. Whatever was started has been stopped.
#[derive(Debug)]
pub enum StartError {
    /// `engine.cores` names one that this process may not use.
    Cores(CoreError),
    /// A port does not open or start, or a worker cannot run.
    Port(PortError),
    /// A consumer was given for what is no `ring` service of the configuration.
    NoSuchService {
        /// What was named.
        service: String,
    },
    /// The configuration has the engine run consumers of this service (`consumer_cores`), and none was given.
    NoConsumer {
        /// Which.
        service: String,
    },
    /// A consumer's thread cannot be made.
    Thread(io::Error),
    /// A consumer's thread cannot be pinned to the core.
    Pin {
        /// Whose consumer.
        service: String,
        /// One of its `consumer_cores`.
        core: usize,
    },
    /// Nobody can listen at `metrics.listen`.
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why not.
        cause: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cores(cause) => cause.fmt(f),
            Self::Port(cause) => cause.fmt(f),
            Self::NoSuchService { service } => {
                write!(f, "the configuration has no ring service {service:?} to run a consumer of")
            }
            Self::NoConsumer { service } => write!(
                f,
                "service {service:?} has `consumer_cores`, and the program gives no consumer to run: give one, or leave the key out and poll"
            ),
            Self::Thread(cause) => write!(f, "a consumer's thread: {cause}"),
            Self::Pin { service, core } => write!(
                f,
                "cannot pin a consumer of {service:?} to core {core}: give a core that this process may use"
            ),
            Self::Metrics { address, cause } => write!(f, "metrics.listen {address}: {cause}"),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Thread(cause) | Self::Metrics { cause, .. } => Some(cause),
            Self::Cores(_)
            | Self::Port(_)
            | Self::NoSuchService { .. }
            | Self::NoConsumer { .. }
            | Self::Pin { .. } => None,
        }
    }
}

/// Why a running engine has not done what it was asked. Nothing has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal(pub(super) String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Refusal {}
