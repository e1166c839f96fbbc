//! The ways to backends, as one worker goes them: which ports of ours are free on each path, and the
//! station that frames for a backend are handed to.

#![forbid(unsafe_code)]

use usher_proto::time::Tick;
use usher_proto::wire::Mac;

use super::front::{SOURCES, Targets};
use crate::service::Ports;

/// How long the station of a next hop is taken as known before the neighbour cache is asked again, in ms.
/// The cache keeps RFC 4861's times; this only spares it a look-up for every segment.
const KNOWN_MS: u32 = 1000;

/// Every path of the plan.
#[derive(Debug, Default)]
pub(super) struct Ways {
    ports: Box<[Option<Box<Ports>>]>,
    /// By slot: all paths to a backend have the same next hop.
    stations: Box<[Option<Station>]>,
}

#[derive(Clone, Copy, Debug)]
struct Station {
    mac: Mac,
    asked_at: Tick,
}

impl Ways {
    /// The ways to `targets`, all ports free, for one of so many workers.
    pub(super) fn new(targets: &Targets, worker: u16, workers: u16) -> Self {
        let ports = |path: usize| {
            targets.is_translated(path as u16).then(|| Box::new(Ports::new(worker, workers)))
        };
        Self {
            ports: (0..targets.paths().len()).map(ports).collect(),
            stations: vec![None; targets.paths().len().div_ceil(SOURCES)].into(),
        }
    }

    /// Takes over what is known of the ways that there were before.
    pub(super) fn adopt(&mut self, before: &mut Self) {
        for (new, old) in self.ports.iter_mut().zip(&mut before.ports) {
            if new.is_some() && old.is_some() {
                std::mem::swap(new, old);
            }
        }
    }

    /// A free port of a path; `None` if it has none left.
    pub(super) fn take_port(&mut self, path: u16) -> Option<u16> {
        self.ports.get_mut(usize::from(path))?.as_mut()?.take()
    }

    /// A port is free again.
    pub(super) fn give_back(&mut self, path: u16, port: u16) {
        if let Some(Some(ports)) = self.ports.get_mut(usize::from(path)) {
            ports.give_back(port);
        }
    }

    /// How many ports are taken, on all paths.
    pub(super) fn taken(&self) -> usize {
        self.ports.iter().flatten().map(|ports| ports.taken()).sum()
    }

    /// The station that frames for the backend in `slot` are handed to, if it was asked for lately.
    #[inline]
    pub(super) fn station(&self, slot: u16, now: Tick) -> Option<Mac> {
        let station = self.stations.get(usize::from(slot)).copied().flatten()?;
        (now.since(station.asked_at) < KNOWN_MS).then_some(station.mac)
    }

    /// The same, whenever it was asked for.
    #[inline]
    pub(super) fn last_station(&self, slot: u16) -> Option<Mac> {
        self.stations.get(usize::from(slot)).copied().flatten().map(|station| station.mac)
    }

    /// The neighbour cache was asked for it.
    pub(super) fn set_station(&mut self, slot: u16, mac: Mac, now: Tick) {
        if let Some(station) = self.stations.get_mut(usize::from(slot)) {
            *station = Some(Station { mac, asked_at: now });
        }
    }
}
