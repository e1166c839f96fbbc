//! The C face of usher: what `usher.h` declares.
//!
//! Every function says in its comment what it asks of its caller; the words are in the header, too. A function that can
//! fail says so in what it returns, and [`usher_error`] tells the cause. No panic crosses into C: one that gets to the
//! boundary, which would be a defect of usher, ends the process there with its message, as Rust does for `extern "C"`.

mod consumer;
mod engine;
mod error;
mod event;

pub use consumer::*;
pub use engine::*;
pub use error::*;
pub use event::*;
