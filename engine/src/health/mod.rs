//! Whether backends work, and what they can do: checks, and what connections show.
//!
//! Pure state machines: time and segments come in as arguments, and what is to be sent comes out. The
//! worker that owns a backend drives them through its own ports, at housekeeping and for frames that
//! answer a check.
//!
//! | file | holds |
//! |---|---|
//! | `checks` | all checks of a worker |
//! | `subjects` | whom a plan has checked, and how |
//! | `probe` | one check, segment by segment |
//! | `script` | what it says and wants to hear |
//! | `watch` | when to check, and when results change a backend's state |

#![forbid(unsafe_code)]

mod checks;
mod probe;
mod script;
mod subjects;
mod watch;

#[cfg(test)]
mod tests;

pub use checks::{Checks, Ended, Said, Taken, Task};
pub use probe::{Failure, Probe, Step};
pub use script::Script;
pub use subjects::{Subject, Subjects};
pub use watch::{Due, Timing, Turn, Watch};
