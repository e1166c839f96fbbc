//! The protocol of Usher: bytes, cookies and TCP as pure functions.
//!
//! Everything here takes bytes, a time and a policy and returns values. There is no clock, random
//! number generator, table or I/O inside, so that the same code runs in the engine, in the fuzzers, in
//! the simulated network and on machines without DPDK.
//!
//! Modules are floors: each uses only those named above it in this list.
//!
//! | floor | knows |
//! |---|---|
//! | [`time`] | what "now" is made of |
//! | [`cause`] | why frames are dropped and flows end |
//! | [`wire`] | bytes on the wire, sequence numbers, checksums |
//! | [`verdict`] | what becomes of a frame, and why |
//! | [`cookie`] | SYN cookies and initial sequence numbers |
//! | [`neighbor`] | ARP, neighbour discovery, echo |
//! | [`tcp`] | the handshake, the transfer of data, the close |
//! | [`splice`] | a client's connection and a backend's as one |

#![no_std]
#![forbid(unsafe_code)]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm
)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::wildcard_enum_match_arm,
        reason = "a test may fail loudly"
    )
)]

#[cfg(any(test, feature = "testing"))]
extern crate std;

pub mod cause;
pub mod cookie;
pub mod neighbor;
pub mod splice;
pub mod tcp;
#[cfg(any(test, feature = "testing"))]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "what tests are built with may fail loudly"
)]
pub mod testing;
pub mod time;
pub mod verdict;
pub mod wire;
