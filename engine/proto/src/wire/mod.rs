//! Bytes on the wire: views, representations, sequence numbers, checksums.
//!
//! Nothing here panics on any input. A view checks lengths once; a representation can only hold
//! sensible values.

mod flags;
mod segment;
mod seq;
mod tuple;

pub use flags::Flags;
pub use segment::{Options, Reply, ReplyOptions, Segment, Timestamps};
pub use seq::SeqNum;
pub use tuple::{Addr, Tuple};
