//! Handshake offload engine.

#![deny(unsafe_code)]

pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod engine;
pub mod face;
pub mod flow;
pub mod guarded;
pub mod handoff;
pub mod health;
pub mod port;
pub mod service;
pub mod stats;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod worker;

pub use config::{ConfigError, Plan as Config};
pub use face::{Builder, Commands, Consumer, Engine, Refusal, Runner, StartError};
pub use flow::FlowId;
pub use handoff::{
    Chunk, Command, CommandKind, ConsumerEnd, Established, Event, Full, Lease, Negotiated,
    Objection, Payload,
};
pub use usher_proto::verdict::End;
