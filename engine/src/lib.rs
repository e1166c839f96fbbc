//! Handshake offload engine: it answers every TCP SYN itself, lets only clients through that complete the handshake, and
//! hands established connections on to backends, or to this program.
//!
//! The `usher` binary needs no program. This page is for those who write one: a balancer of their own, a front end of a
//! protocol, a scrubber. It takes *flows*, which are neither sockets nor raw packets: a flow is a connection whose client
//! is proven to be there, and whose TCP the engine does.
//!
//! # From nothing to an echo server
//!
//! A configuration says which port there is and which addresses a service listens to. `kind = "ring"` hands its
//! connections to the program, through one ring of events and one of commands for each worker:
//!
//! ```
//! use usher::Config;
//!
//! let config: Config = r#"
//!     [engine]
//!     cores = [1]                                 # a worker on each
//!
//!     [[port]]
//!     name = "wan"
//!     device = "net_af_packet0,iface=e0"          # or a PCI address
//!     addresses = ["10.10.0.2/16"]
//!
//!     [[service]]
//!     name = "echo"
//!     listen = ["10.10.0.10:7"]
//!     kind = "ring"
//! "#
//! .parse()?;                                      // or Config::load(path)
//! # Ok::<(), usher::ConfigError>(())
//! ```
//!
//! A [`Consumer`] hears what happens and says what to do. A new flow is *undecided*: what its client sends is shown
//! (`peeked`) and not acknowledged, until the consumer hands the flow on to a backend ([`Command::Proxy`]) or owns it
//! ([`Command::Own`]). An owned flow's bytes come in order, in the buffers that they were received in: a [`Lease`] is
//! read, passed on, and dropped wherever the program likes.
//!
//! ```
//! use usher::{Command, Commands, Consumer, Event, Payload};
//!
//! struct Echo;
//!
//! impl Consumer for Echo {
//!     fn event(&mut self, event: Event, commands: &mut Commands<'_>) {
//!         match event {
//!             Event::Established(new) => commands.own(new.flow),
//!             Event::Data { peeked: true, .. } => {}        // comes again once the flow is ours
//!             Event::Data { flow, data, .. } => {
//!                 commands.send(Command::Write { flow, data: Payload::Lease(data) });
//!             }
//!             Event::PeerClosed { flow } => commands.close(flow),
//!             _ => {}
//!         }
//!     }
//! }
//! ```
//!
//! The engine runs it, one for each worker, so that nothing in it is shared. Here with a port in memory and a host at its
//! other end instead of a device, which is how programs are tested:
//!
//! ```
//! # use usher::{Command, Commands, Consumer, Event, Payload};
//! # struct Echo;
//! # impl Consumer for Echo {
//! #     fn event(&mut self, event: Event, commands: &mut Commands<'_>) {
//! #         match event {
//! #             Event::Established(new) => commands.own(new.flow),
//! #             Event::Data { peeked: false, flow, data } => {
//! #                 commands.send(Command::Write { flow, data: Payload::Lease(data) });
//! #             }
//! #             Event::PeerClosed { flow } => commands.close(flow),
//! #             _ => {}
//! #         }
//! #     }
//! # }
//! # let config: usher::Config = r#"
//! #     [[port]]
//! #     name = "wan"
//! #     device = "net_null0"
//! #     addresses = ["10.10.0.2/16"]
//! #     [[service]]
//! #     name = "echo"
//! #     listen = ["10.10.0.10:7"]
//! #     kind = "ring"
//! # "#.parse()?;
//! use std::time::Duration;
//!
//! use usher::Engine;
//! use usher::port::memory;
//! use usher::testing::Host;
//!
//! let (port, wire) = memory::new("wan", &memory::Options::default());
//! let engine = Engine::builder(config)
//!     .ports(vec![port])                          // without this line: the device of the configuration
//!     .unpinned(1)                                // without this line: a worker on each of `engine.cores`
//!     .consumer("echo", |_worker| Echo)
//!     .start()?;
//!
//! let mut client = Host::new(wire, [10, 10, 0, 1].into(), 16);
//! assert_eq!(client.ask("10.10.0.10:7".parse()?, b"anybody?"), b"anybody?");
//!
//! let stats = engine.drain(Duration::from_secs(10));
//! assert_eq!(stats.services[0].name, "echo");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A loop of one's own
//!
//! Without [`Builder::consumer`], [`Engine::consumers`] hands the ends of the rings out. Each belongs to one thread at a
//! time; it is polled in bulk, without a lock or an allocation, and can sleep while nothing comes:
//!
//! ```
//! # use usher::Engine;
//! # use usher::port::memory;
//! # use usher::testing::Host;
//! # let config: usher::Config = r#"
//! #     [[port]]
//! #     name = "wan"
//! #     device = "net_null0"
//! #     addresses = ["10.10.0.2/16"]
//! #     [[service]]
//! #     name = "hello"
//! #     listen = ["10.10.0.10:80"]
//! #     kind = "ring"
//! # "#.parse()?;
//! # let (port, wire) = memory::new("wan", &memory::Options::default());
//! # let mut engine = Engine::builder(config).ports(vec![port]).unpinned(1).start()?;
//! use usher::Event;
//!
//! let mut consumer = engine.consumers("hello").remove(0);     // that of worker 0
//! let program = std::thread::spawn(move || {
//!     while !consumer.is_closed() {
//!         let mut new = Vec::new();
//!         consumer.poll(64, |event| {
//!             if let Event::Established(established) = event {
//!                 new.push(established.flow);
//!             }
//!         });
//!         for flow in new {
//!             assert!(consumer.respond(flow, b"hello"));      // own, write, close
//!         }
//!         consumer.wait(None);                                // until the next event
//!     }
//! });
//! # let mut client = Host::new(wire, [10, 10, 0, 1].into(), 16);
//! # let connection = client.connect("10.10.0.10:80".parse()?);
//! # assert_eq!(client.read(connection, usize::MAX), b"hello");
//! let stats = engine.stop();                                  // closes the consumer
//! program.join().expect("no panic");
//! # assert_eq!(stats.services.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Who may do what where
//!
//! | | moves to another thread | is used by several at once | blocks |
//! |---|---|---|---|
//! | [`Engine`] | yes | yes, what takes `&self` | `reload`, `attach`: a few ms; `drain`, `stop`, drop: until threads end |
//! | [`ConsumerEnd`], [`Runner`] | yes | no | `wait`, `rest`, `run` only |
//! | [`Commands`] | stays in the call that it was given to | no | never |
//! | [`Event`], [`Command`], [`Lease`] | yes | yes, for reading | never |
//!
//! Nothing that a program does late or wrongly is a panic. A command for a flow that has ended, or in the wrong phase, is
//! answered by [`Event::Refused`]. A program that does not keep up slows its clients down: a full ring leaves data
//! unacknowledged, leases that are not dropped close the window of their flow, and unanswered credit stops writes. One that
//! takes nothing for `consumer_timeout` is given up; [`Engine::attach`] makes a new end.
//!
//! Programs in other languages use the C face, `libusher.so` and `usher.h` of the crate `usher-capi`, which is this API
//! function by function. `engine/examples` has whole programs.

#![deny(unsafe_code)]

pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod engine;
pub mod face;
pub mod flow;
pub mod guarded;
pub mod handoff;
pub mod health;
pub mod port;
pub mod service;
pub mod stats;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod worker;

pub use config::{ConfigError, Plan as Config};
pub use face::{Builder, Commands, Consumer, Engine, Refusal, Runner, StartError};
pub use flow::FlowId;
pub use handoff::{
    Chunk, Command, CommandKind, ConsumerEnd, Established, Event, Full, Lease, Negotiated,
    Objection, Payload,
};
pub use usher_proto::verdict::End;
