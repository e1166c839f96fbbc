//! How things pass from one thread to another: events to a consumer, commands to a worker, frames to the worker
//! that they belong to.
//!
//! All of it is bounded, and nothing is lost silently: what does not fit stays with whoever brought it. Nothing here
//! parses a frame or decides about a flow.
//!
//! | file | holds |
//! |---|---|
//! | `apart` | a slice that shares no cache line with anything else |
//! | `ring` | one producer, one consumer, moved in bulk |
//! | `bell`, `wakeup` | for consumers that sleep while there is nothing to do |
//! | `lease` | buffers that are lent to other threads |
//! | `home` | the way home of what was lent |
//! | `event` | what a worker tells a consumer |
//! | `command` | what a consumer tells a worker |
//! | `consumer` | the two ends of a ring service |
//! | `chunk` | buffers that a consumer writes into |
//! | `sync` | the few atomic types under it, which `engine/tests/loom.rs` replaces by loom's |

mod apart;
mod bell;
mod chunk;
mod command;
mod consumer;
mod event;
mod home;
mod lease;
mod ring;
mod sync;
mod wakeup;

#[cfg(test)]
mod tests;

pub use apart::Apart;
pub use bell::{Ringer, Sleeper, bell};
#[cfg(test)]
pub(crate) use chunk::chunk_of;
pub use chunk::{CHUNK, Chunk};
pub use command::{Command, CommandKind, Payload};
pub use consumer::{ConsumerEnd, Full, WorkerEnd, ends, ends_with_bell};
pub use event::{Established, Event, Negotiated, Objection};
pub use lease::{Lease, Lender};
#[cfg(any(test, feature = "testing"))]
pub use ring::channel_from;
pub use ring::{Consumer, Producer, channel};
