//! Load for Usher and its peers: what drives them, and what measures them.
//!
//! The `usher-bench` binary is the face of it; criterion benches stand in `benches/`.
//!
//! | module | holds |
//! |---|---|
//! | [`report`] | what a subcommand found: a table, a JSON object, a page with plots |
//! | [`rounds`], [`load`] | repeated measurements, and what others did to the machine meanwhile |
//! | [`latency`] | histograms |
//! | [`fresh`] | rounds of which each starts a server and a client of its own |
//! | [`machine`], [`progress`], [`time`] | what a figure was taken on, how far a run is, the only clock |
//! | [`mac`], [`netns`], [`prefix`] | arguments that several subcommands have; where load may go |
//! | [`pin`], [`random`] | threads on cores; numbers by a seed |
//! | [`cps`], [`flood`], [`replay`], [`targets`], [`work`] | subcommands |
//! | [`client`], [`wire_queue`] | a TCP client for load, and a memory port's other end for it |
//! | [`honest`] | clients of the kernel's, and what they see |
//! | [`rig`], [`front`] | a worker on memory ports with its peers beside it |
//!
//! # A new subcommand
//!
//! 1. A module with a struct of its arguments (`clap::Args`, `serde::Serialize`) and `run(&arguments, progress) ->
//!    Result<Report, Failure>`. Rounds are [`rounds::Rounds`], flattened into the arguments; several arms are
//!    measured by turns within a round, so that a busy moment meets all of them.
//! 2. It fills a [`report::Report`]: `figure` or `median_of` for numbers, `latency` for histograms, `plot` for the page,
//!    `note` for what a reader must know; `rounds` is [`rounds::Outcome::record`].
//! 3. A variant of `Command` and a line in `main` run it; `--json` and `--html` come by themselves.
//! 4. A row in `docs/PERFORMANCE.md`, method.
//!
//! What generates load takes time as an argument and allocates nothing per packet. What it sends stays on this
//! machine or goes where its user has said that it may.

use std::error::Error;

pub mod client;
pub mod cps;
pub mod flood;
pub mod fresh;
pub mod front;
pub mod honest;
pub mod latency;
pub mod load;
pub mod mac;
pub mod machine;
pub mod netns;
mod packet_socket;
pub mod pin;
pub mod prefix;
pub mod progress;
pub mod random;
pub mod replay;
pub mod report;
pub mod rig;
pub mod rounds;
pub mod targets;
pub mod time;
pub mod wire_queue;
pub mod work;

/// Why a subcommand gave no report: one sentence, and what to do.
pub type Failure = Box<dyn Error + Send + Sync>;
