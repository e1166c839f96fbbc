//! What is counted: each worker in its own memory, published at housekeeping, read by whoever asks.
//!
//! | file | holds |
//! |---|---|
//! | `names` | the counters by name |
//! | `backend` | what is published of each backend |
//! | `tally` | a worker's own counts, and the board it publishes them on |
//! | `latency` | a histogram of handshake times |
//! | `snapshot` | everything at one moment, for the table at exit, `usher stats` and `/metrics` |
//!
//! A board has one writer; what a reader sees may be torn between two counters, never within one.

mod backend;
mod latency;
mod names;
mod snapshot;
mod tally;

pub use backend::{BackendCounter, BackendSnapshot, BackendState, WorkerBackend, forsaken};
pub use latency::Latency;
pub use names::{Counter, PortCounter, ServiceCounter};
pub use snapshot::{PortSnapshot, ServiceSnapshot, Snapshot, WorkerPort, WorkerSnapshot};
pub use tally::{Board, Layout, Tally};
