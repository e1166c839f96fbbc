//! The ways to backends, as one worker goes them: which ports of ours are free on each path, and the
//! station that frames for a backend are handed to.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use usher_proto::time::Tick;
use usher_proto::wire::Mac;

use super::front::{SOURCES, Targets};
use crate::handoff::Apart;
use crate::service::{Ports, Position};

/// How long the station of a next hop is taken as known before the neighbour cache is asked again, in ms.
/// The cache keeps RFC 4861's times; this only spares it a look-up for every segment.
const KNOWN_MS: u32 = 1000;

/// Every path of the plan.
#[derive(Debug)]
pub(super) struct Ways {
    /// By the first of the paths that are alike: services with the same backend share its ports.
    ports: Box<[Option<Box<Ports>>]>,
    /// By path: the first that is alike.
    first: Box<[u16]>,
    /// By slot: all paths to a backend have the same next hop.
    stations: Apart<Option<Station>>,
}

#[derive(Clone, Copy, Debug)]
struct Station {
    mac: Mac,
    asked_at: Tick,
}

impl Ways {
    /// The ways to `targets`, all ports of this worker free.
    pub(super) fn new(targets: &Targets, position: Position) -> Self {
        let mut known = HashMap::new();
        let ids = 0..targets.paths().len() as u16;
        let first: Box<[u16]> = ids
            .zip(&**targets.paths())
            .map(|(id, path)| *known.entry(path).or_insert(id))
            .collect();
        let ports = |(id, first): (u16, &u16)| {
            let has_own = id == *first && targets.is_translated(id);
            has_own.then(|| Box::new(Ports::new(position.index(), position.count())))
        };
        Self {
            ports: (0..).zip(&first).map(ports).collect(),
            first,
            stations: Apart::new(
                std::iter::repeat_n(None, targets.paths().len().div_ceil(SOURCES)),
                &None,
            ),
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
        let first = *self.first.get(usize::from(path))?;
        self.ports.get_mut(usize::from(first))?.as_mut()?.take()
    }

    /// A port is free again.
    pub(super) fn give_back(&mut self, path: u16, port: u16) {
        let first = self.first.get(usize::from(path)).copied().unwrap_or(path);
        if let Some(Some(ports)) = self.ports.get_mut(usize::from(first)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Setup, proxy_plan};
    use crate::worker::{Station, View};

    /// Two services with the same backend: no port of ours is used twice towards it.
    #[test]
    fn services_with_the_same_backend_share_its_ports() {
        let other = r#"
            [[service]]
            name = "other"
            listen = ["10.10.0.11:80"]
            port = "wan"
            kind = "proxy"
            backends = ["10.20.0.2:80", "10.20.0.3:80"]
        "#;
        let plan = proxy_plan(&Setup::default(), other);
        let station = Station { mac: Mac::ZERO, mtu: 1500 };
        let view = View::new(&plan, &[station; 2], crate::testing::keyring(false));
        let slots = view.targets.slots();
        let path = |service, address: &str| {
            let slot = slots.get(service, address.parse().unwrap()).unwrap();
            view.targets.get(slot).unwrap().paths.start
        };
        let (one, two) = (path("web", "10.20.0.2:80"), path("other", "10.20.0.2:80"));
        let elsewhere = path("other", "10.20.0.3:80");
        let mut ways = Ways::new(&view.targets, Position::ALONE);
        let taken = [one, two, elsewhere].map(|path| ways.take_port(path).unwrap());
        assert_eq!(taken, [1024, 1025, 1024]);
        ways.give_back(two, 1024);
        assert_eq!(ways.taken(), 2);
    }
}
