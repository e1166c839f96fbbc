//! Two kernels with a middle between them: clients on one side, backends on the other, each side with its
//! own network and weather. The middle is a cable, which holds kernels and networks to account, or the
//! engine.

pub(crate) use icmp::Trouble;

pub(crate) mod cable;
mod consumers;
pub(crate) mod crowds;
mod direct;
pub(crate) mod drawn;
pub(crate) mod engine;
mod handed;
mod header;
pub(crate) mod host;
mod icmp;
mod judge;
mod monitor;
mod neighbours;
mod operated;
mod routed;
mod spliced;
mod workers;
pub(crate) mod world;
