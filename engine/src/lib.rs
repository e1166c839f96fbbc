//! Handshake offload engine.

#![deny(unsafe_code)]

pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod engine;
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
