//! Bytes on the wire: views, representations, sequence numbers, checksums.
//!
//! [`parse`] turns a frame into what it means or into the reason to drop it; [`answer_in_place`] and
//! [`emit`] turn a reply into a frame. The header structs are laid over the bytes by `zerocopy`.
//!
//! Nothing here panics on any input. A view checks lengths once; a representation can only hold
//! sensible values.

pub mod arp;
pub mod checksum;
mod emit;
pub mod ethernet;
mod flags;
pub mod icmp;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
mod link;
pub mod ndp;
mod parse;
mod plain;
#[cfg(test)]
mod properties;
mod segment;
mod seq;
pub mod tcp;
pub mod toeplitz;
mod tuple;

pub use arp::ArpView;
pub use checksum::{Checked, RxChecksums, TxChecksums};
pub use emit::{answer_in_place, emit, header_lens};
pub use flags::Flags;
pub use icmp::{EchoView, IcmpError, IcmpErrorKind};
pub use link::{Link, Mac, PortView, TooSmall};
pub use ndp::{NdpKind, NdpView};
pub use parse::{Parsed, parse};
pub use plain::parse_plain;
pub use segment::{Options, Reply, ReplyOptions, Segment, Timestamps};
pub use seq::SeqNum;
pub use tuple::{Addr, Tuple};
