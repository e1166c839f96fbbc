//! Handshake offload engine.

pub mod config;
