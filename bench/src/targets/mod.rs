//! Rows of the targets that need more than a criterion bench: one subcommand each.

mod latency;
mod memory;
mod scale;
mod soak;
mod start;

pub use self::latency::{Arrivals, LatencyUnderLoad};
pub use self::memory::Memory;
pub use self::scale::{Scaling, Task};
pub use self::soak::Soak;
pub use self::start::Start;

#[cfg(test)]
mod tests;
