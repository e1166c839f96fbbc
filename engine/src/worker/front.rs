//! Proxy services and their backends, prepared: which backend a connection gets, and by which paths it is
//! reached.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use usher_proto::wire::Addr;

use super::view::PortSide;
use crate::config::{BackendPlan, Forward, ProxyPlan, ServicePlan};
use crate::flow::Path;
use crate::service::{Maglev, Member, Slots, TooMany};

/// Own addresses from which one backend is reached: the first of its port. With 64,512 ports each, more
/// than a million connections to each backend at once.
pub(super) const SOURCES: usize = 16;

/// A proxy service.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) plan: Arc<ProxyPlan>,
    /// Its backends by slot.
    pub(super) table: Maglev,
    /// Their slots.
    pub(super) slots: Box<[u16]>,
    /// The largest segment that all their ways take.
    pub(super) mss: u16,
}

/// A backend, and how it is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    /// The index of the port (the device) that it is reached by.
    pub(super) port: usize,
    /// The neighbour that frames for it are handed to.
    pub(super) hop: Addr,
    /// Its paths: one for each of our addresses, or one without translation.
    pub(super) paths: Range<u16>,
}

/// The backends of all proxy services.
#[derive(Clone, Debug, Default)]
pub(super) struct Targets {
    slots: Slots,
    /// By slot. Those that are configured no more stay for their flows.
    targets: Vec<Option<Target>>,
    paths: Arc<[Path]>,
}

impl Front {
    /// A service named `name`; `targets` has its backends.
    pub(super) fn new(
        name: &str,
        plan: &Arc<ProxyPlan>,
        targets: &Targets,
        ports: &[PortSide],
    ) -> Self {
        let member = |backend: &BackendPlan| {
            let slot = targets.slots.get(name, backend.address)?;
            Some(Member { address: backend.address, weight: backend.weight, slot })
        };
        let members: Vec<Member> = plan.backends.iter().filter_map(member).collect();
        let mss = |backend: &BackendPlan| {
            ports.get(backend.port).map(|port| port.mss(&Addr::from(backend.address.ip())))
        };
        Self {
            plan: Arc::clone(plan),
            table: Maglev::new(&members),
            slots: members.iter().map(|member| member.slot).collect(),
            mss: plan.backends.iter().filter_map(mss).min().unwrap_or(u16::MAX),
        }
    }
}

impl Targets {
    /// The backends of a reloaded plan: those that were there before keep their slots and paths.
    ///
    /// # Errors
    ///
    /// When there are more than an engine has slots.
    pub(super) fn following(
        &self,
        services: &[ServicePlan],
        ports: &[PortSide],
    ) -> Result<Self, TooMany> {
        let slots = self.slots.renew(services)?;
        let mut next =
            Self { slots, targets: self.targets.clone(), paths: Arc::clone(&self.paths) };
        let mut paths = self.paths.to_vec();
        for service in services {
            let Some(plan) = service.proxy() else { continue };
            for backend in &plan.backends {
                if let Some(slot) = next.slots.get(&service.name, backend.address) {
                    next.place(slot, backend, plan.forward, &ports[backend.port], &mut paths);
                }
            }
        }
        next.paths = paths.into();
        Ok(next)
    }

    fn place(
        &mut self,
        slot: u16,
        backend: &BackendPlan,
        forward: Forward,
        port: &PortSide,
        paths: &mut Vec<Path>,
    ) {
        let first = usize::from(slot) * SOURCES;
        let (vlan, index) = (port.wire.vlan, port.wire.index);
        let unused = Path::Direct { vlan, port: index };
        if paths.len() < first + SOURCES {
            paths.resize(first + SOURCES, unused);
        }
        let remote = Addr::from(backend.address.ip());
        let hop = match forward {
            Forward::L2 => remote,
            Forward::Snat => port.next_hop(&remote).map_or(remote, |(hop, _)| hop),
        };
        let ways: Vec<Path> = match forward {
            Forward::L2 => vec![unused],
            Forward::Snat => port
                .own_addresses(remote.is_v4())
                .map(|local| {
                    let remote_port = backend.address.port();
                    Path::Translated { remote, local, remote_port, vlan, port: index }
                })
                .take(SOURCES)
                .collect(),
        };
        paths[first..first + ways.len()].copy_from_slice(&ways);
        if self.targets.len() <= usize::from(slot) {
            self.targets.resize(usize::from(slot) + 1, None);
        }
        self.targets[usize::from(slot)] = Some(Target {
            address: backend.address,
            port: backend.port,
            hop,
            paths: first as u16..(first + ways.len()) as u16,
        });
    }

    /// Who has which slot.
    pub(super) const fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The backend that has, or had, this slot.
    #[inline]
    pub(super) fn get(&self, slot: u16) -> Option<&Target> {
        self.targets.get(usize::from(slot))?.as_ref()
    }

    /// What second names of flows are made of.
    pub(super) const fn paths(&self) -> &Arc<[Path]> {
        &self.paths
    }

    /// Whether a path is one that addresses are translated on.
    pub(super) fn is_translated(&self, path: u16) -> bool {
        matches!(self.paths.get(usize::from(path)), Some(Path::Translated { .. }))
    }
}
