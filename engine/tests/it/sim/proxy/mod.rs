//! Two kernels with a middle between them: clients on one side, backends on the other, each side with its
//! own network and weather. The middle is a cable, which holds kernels and networks to account, or the
//! engine.

pub(crate) use icmp::Trouble;

mod cable;
mod consumers;
mod crowds;
mod direct;
mod drawn;
mod engine;
mod handed;
mod header;
mod host;
mod icmp;
mod judge;
mod monitor;
mod neighbours;
mod operated;
mod routed;
mod spliced;
mod workers;
mod world;
