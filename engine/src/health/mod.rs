//! Whether backends work, and what they can do: checks, and what connections show.
//!
//! Pure state machines: time and segments come in as arguments, and what is to be sent comes out. The
//! worker that owns a backend drives them through its own ports, at housekeeping and for frames that
//! answer a check.
//!
//! | file | holds |
//! |---|---|
//! | `watch` | when to check, and when results change a backend's state |

#![forbid(unsafe_code)]

mod watch;

pub use watch::{Due, Timing, Turn, Watch};
