//! Whom a plan has checked, and how.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::Arc;

use usher_proto::splice::{Behalf, MAX_HEADER, proxy_header};
use usher_proto::wire::Tuple;

use super::{Script, Timing};
use crate::config::{Forward, ProxyPlan, ServicePlan};
use crate::service::Slots;

/// A backend to be checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subject {
    /// Whom a check speaks to: the backend, or the service's address on the backend where nothing is
    /// translated (`forward = "l2"`).
    pub remote: SocketAddr,
    /// When it is checked, and what results come to.
    pub timing: Timing,
    /// What a check says.
    pub script: Script,
    /// The slots of its service, its own included.
    pub peers: Arc<[u16]>,
    /// The generation in which it got its slot.
    pub(super) since: u32,
}

/// The backends of a plan, by slot. Made by the engine's thread.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Subjects(Box<[Option<Subject>]>);

impl Subjects {
    /// Those of `services`, which have these slots.
    #[must_use]
    pub fn new(services: &[ServicePlan], slots: &Slots) -> Self {
        let mut all: Vec<Option<Subject>> = Vec::new();
        for service in services {
            let Some(plan) = service.proxy() else { continue };
            let own = || slots.iter().filter(|(_, owner)| owner.service == service.name);
            let peers: Arc<[u16]> = own().map(|(slot, _)| slot).collect();
            for (slot, owner) in own() {
                let slot = usize::from(slot);
                all.resize(all.len().max(slot + 1), None);
                let peers = Arc::clone(&peers);
                all[slot] = Some(subject(service, plan, owner.address, peers, owner.since));
            }
        }
        Self(all.into())
    }

    /// The backend in a slot, if the plan has one there.
    #[must_use]
    pub fn get(&self, slot: u16) -> Option<&Subject> {
        self.0.get(usize::from(slot))?.as_ref()
    }
}

fn subject(
    service: &ServicePlan,
    plan: &ProxyPlan,
    address: SocketAddr,
    peers: Arc<[u16]>,
    since: u32,
) -> Subject {
    let remote = match plan.forward {
        Forward::Snat => address,
        Forward::L2 => service.listen.first().copied().unwrap_or(address),
    };
    let mut room = [0; MAX_HEADER];
    let len = plan.proxy_protocol.map_or(0, |header| {
        proxy_header(&Tuple::default(), Behalf::Local, header.crc32c, &mut room)
    });
    let check = &plan.health_check;
    Subject {
        remote,
        timing: Timing::from(check),
        script: Script::new(&check.check, remote, &room[..len]),
        peers,
        since,
    }
}
