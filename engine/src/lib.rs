//! Handshake offload engine.
