//! How things pass from one thread to another: events to a consumer, commands to a worker, frames to the worker
//! that they belong to.
//!
//! All of it is bounded, and nothing is lost silently: what does not fit stays with whoever brought it. Nothing here
//! parses a frame or decides about a flow.
//!
//! | file | holds |
//! |---|---|
//! | `ring` | one producer, one consumer, moved in bulk |
//! | `sync` | the few atomic types under it, which `engine/tests/loom.rs` replaces by loom's |

mod ring;
mod sync;

#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "testing"))]
pub use ring::channel_from;
pub use ring::{Consumer, Producer, channel};
