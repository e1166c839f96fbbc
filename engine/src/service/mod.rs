//! The balancer's choice, what is known of the backends, and the ports that connections to them come
//! from.
//!
//! Tables and slots are made by the engine's thread and do not change; what changes (ports, states) is one
//! worker's own. Nothing here sends, receives or reads a clock, and nothing allocates once it is made.
//!
//! | file | holds |
//! |---|---|
//! | `maglev` | which backend a connection gets, and which ones after it |
//! | `slots` | the numbers by which backends are known |
//! | `backends` | what a worker knows of each |
//! | `position` | which worker it is, of how many, and what is its alone |
//! | `snat` | the source ports of one path |

#![forbid(unsafe_code)]

mod backends;
mod maglev;
mod position;
mod slots;
mod snat;

pub use backends::{Backend, Backends, Counts, HOLD};
pub use maglev::{Maglev, Member, Order, hash};
pub use position::Position;
pub use slots::{Owner, SLOTS, Slots, TooMany};
pub use snat::{LOWEST_PORT, Ports};
