//! Whose a frame is: one worker's, by its tuple alone, wherever it came in.
//!
//! | frame | its worker follows from |
//! |---|---|
//! | of a client, or of a backend without translation | the symmetric hash of addresses and ports: the same both ways |
//! | to a source port of ours: of a backend, or an answer to a check | that port |
//! | an ICMP error | the tuple of the segment that it is about |
//! | ARP, neighbour discovery, echo; what was dropped | nothing: it stays where it came in |
//!
//! The same question has the same answer on every worker, and before and after a reload: own addresses do not change
//! while an engine runs, and a service that listens on one of them is remembered for as long as it has flows.

#![forbid(unsafe_code)]

use std::collections::HashSet;

use usher_proto::wire::{Addr, Tuple, toeplitz};

use super::listeners::Listener;
use super::view::PortSide;
use crate::flow::Path;
use crate::port::Spread;
use crate::service::{LOWEST_PORT, Position};

/// What decides beside the tuple.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// By port: the addresses that connections to backends come from.
    sources: Box<[Box<[Addr]>]>,
    /// Services on such addresses whose TCP ports are source ports, too.
    sockets: HashSet<(Addr, u16, u16)>,
    /// Ways to backends, if there are such services: they tell their clients from backends.
    paths: HashSet<Path>,
}

impl Owners {
    /// For these ports and ways to backends, with everything that listens or listened and may have flows.
    pub(super) fn new<'a>(
        ports: &[PortSide],
        paths: &[Path],
        listeners: impl Iterator<Item = &'a Listener>,
    ) -> Self {
        let own =
            |side: &PortSide| side.own_addresses(true).chain(side.own_addresses(false)).collect();
        let sources: Box<[Box<[Addr]>]> = ports.iter().map(own).collect();
        let is_source = |at: &&Listener| {
            at.tcp_port >= LOWEST_PORT && sources[usize::from(at.port)].contains(&at.addr)
        };
        let sockets: HashSet<_> =
            listeners.filter(is_source).map(|at| (at.addr, at.tcp_port, at.port)).collect();
        let translated = |path: &&Path| matches!(path, Path::Translated { .. });
        let paths = match sockets.is_empty() {
            true => HashSet::new(),
            false => paths.iter().filter(translated).copied().collect(),
        };
        Self { sources, sockets, paths }
    }

    /// The worker whose `tuple` is. `hash` is its symmetric hash, if the device has made it.
    #[inline]
    pub(super) fn of(&self, tuple: &Tuple, spread: &Spread, hash: Option<u32>) -> u16 {
        if self.is_to_source(tuple) {
            return Position::of_port(tuple.local_port, spread.count());
        }
        spread.worker(hash.unwrap_or_else(|| toeplitz::symmetric(tuple)))
    }

    /// Whether it goes to a source port of ours.
    #[inline]
    fn is_to_source(&self, tuple: &Tuple) -> bool {
        tuple.local_port >= LOWEST_PORT
            && self.sources[usize::from(tuple.port)].contains(&tuple.local)
            && (self.sockets.is_empty() || self.is_none_of_a_service(tuple))
    }

    /// Where a service listens on a source port of ours, only backends' frames are to the port.
    #[cold]
    fn is_none_of_a_service(&self, tuple: &Tuple) -> bool {
        let Tuple { remote, local, remote_port, local_port, vlan, port } = *tuple;
        !self.sockets.contains(&(local, local_port, port))
            || self.paths.contains(&Path::Translated { remote, local, remote_port, vlan, port })
    }
}
