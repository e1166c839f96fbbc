//! The flow table: every connection a worker knows, found by its tuple, woken by its timer, named by
//! an id that goes stale.
//!
//! One worker owns one [`Table`] and calls it for each frame; nothing here is shared. All memory is
//! taken by [`Table::new`]; afterwards nothing allocates, and an insertion fails only when every record
//! is in use. There is no protocol here: a `Tcb` or `Splice` is stored and its state read, never decided
//! upon. A proxied flow is found by two names, its client's and its backend's.
//!
//! | file | holds |
//! |---|---|
//! | `memory` | huge pages and prefetching: all the `unsafe` there is |
//! | `id` | [`Index`], and [`FlowId`] with its generation |
//! | `record` | what is kept of a flow: a hot line and a cold part |
//! | `seed` | what its hash is keyed with |
//! | `paths` | what a proxied flow is called on its backend half |
//! | `list` | FIFO lists through the records |
//! | `wheel` | timers, a list through the records for each slot |
//! | `bucket`, `directory` | from hash to index |
//! | `table` | all of it together |

mod bucket;
mod directory;
mod id;
mod list;
mod memory;
mod paths;
mod record;
mod seed;
mod table;
mod wheel;

#[cfg(test)]
mod tests;

pub use id::{FlowId, Index};
pub use paths::Path;
pub use record::Body;
pub use seed::Seed;
pub use table::{Full, NewFlow, Table};
