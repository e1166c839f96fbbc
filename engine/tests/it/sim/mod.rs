//! A deterministic simulated network of independent clients against the engine.
//!
//! `frame`, `client`, `peer` and `monitor` share no code with the engine: a mistake in the engine's parser,
//! builders or protocol is not repeated here. Time is fake, chance is seeded: a seed is a run. A seed that
//! ever failed stays as a test with a name.

mod arrival;
mod chaos;
mod client;
mod crowds;
mod engine;
mod frame;
mod groups;
mod hand;
mod icmp;
mod injections;
mod monitor;
mod neighbours;
mod network;
mod owned;
mod peer;
mod plan;
mod proxy;
mod reference;
mod replays;
mod rng;
mod server;
mod steps;
mod workers;
mod world;
