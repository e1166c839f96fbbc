//! What passes between threads, on one thread step by step and on several for real. All interleavings of few steps are
//! the business of `engine/tests/loom.rs`.

#![forbid(unsafe_code)]

mod bell;
mod consumer;
mod lease;
mod ring;
