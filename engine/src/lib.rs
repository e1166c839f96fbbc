//! Handshake offload engine.

pub mod clock;
pub mod config;
pub mod port;
pub mod stats;
