//! What operators have ordered beyond what the configuration file says: weights, and services that are taken out.
//!
//! An order holds over reloads. It ends with the engine, with what it is about, and a weight with a file that gives the
//! backend another one than it did.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::{Engine, listed};
use crate::config::{BackendPlan, Plan, ServiceKind};
use crate::port::Port;

/// What a backend may weigh.
const WEIGHTS: RangeInclusive<u16> = 1..=1000;

/// All orders that hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Overrides {
    weights: Vec<Weight>,
    /// Names of services that take no new connections.
    drained: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Weight {
    service: String,
    address: SocketAddr,
    /// What the file said when the order came.
    configured: u16,
    weight: u16,
}

impl Overrides {
    /// Those that still hold when the file says `plan`.
    pub(super) fn following(&self, plan: &Plan) -> Self {
        let mut next = self.clone();
        next.weights.retain(|order| {
            let backend = backend(plan, &order.service, order.address);
            backend.is_some_and(|backend| backend.weight == order.configured)
        });
        next.drained.retain(|name| plan.services.iter().any(|service| service.name == *name));
        next
    }

    /// `plan` with the orders carried out.
    pub(super) fn applied_to(&self, plan: &Plan) -> Plan {
        let mut plan = plan.clone();
        for service in &mut plan.services {
            service.drained = self.drained.contains(&service.name);
            let ServiceKind::Proxy(proxy) = &mut service.kind else { continue };
            for order in self.weights.iter().filter(|order| order.service == service.name) {
                let backends = Arc::make_mut(proxy).backends.iter_mut();
                let own = backends.filter(|backend| backend.address == order.address);
                own.for_each(|backend| backend.weight = order.weight);
            }
        }
        plan
    }
}

impl<P: Port + 'static> Engine<P> {
    /// Gives a service's backend another weight, 1 to 1000: connections that there are stay where they are. It holds
    /// until the file gives the backend another weight than now, or the engine ends.
    ///
    /// # Errors
    ///
    /// When there is no such service or backend, or the weight is none: one sentence, and nothing has changed.
    pub fn set_weight(
        &mut self,
        service: &str,
        address: SocketAddr,
        weight: u16,
    ) -> Result<String, String> {
        if !WEIGHTS.contains(&weight) {
            let (low, high) = (WEIGHTS.start(), WEIGHTS.end());
            return Err(format!(
                "a weight of {weight} is not between {low} and {high}; `usher backend drain` takes a backend out"
            ));
        }
        self.slot(service, address)?;
        let configured = backend(&self.plan, service, address).map_or(weight, |one| one.weight);
        let mut overrides = self.overrides.clone();
        overrides.weights.retain(|order| (&*order.service, order.address) != (service, address));
        if weight != configured {
            let service = service.to_owned();
            overrides.weights.push(Weight { service, address, configured, weight });
        }
        self.override_by(overrides)?;
        let until = match weight == configured {
            true => "as the file says".to_owned(),
            false => format!("until its file says another than {configured}"),
        };
        Ok(format!("{address} of {service:?} weighs {weight}, {until}"))
    }

    /// Takes a service out, or back in: one that is out answers no new SYN; handshakes that have begun and flows go on.
    ///
    /// # Errors
    ///
    /// When there is no such service: one sentence, with those that there are.
    pub fn set_service_drained(&mut self, name: &str, drained: bool) -> Result<String, String> {
        let services = &self.plan.services;
        if !services.iter().any(|service| service.name == name) {
            let there = listed(services.iter().map(|service| format!("{:?}", service.name)));
            let there = there.map_or("none".into(), |there| format!("there are {there}"));
            return Err(format!("there is no service {name:?}: {there}"));
        }
        let mut overrides = self.overrides.clone();
        overrides.drained.retain(|other| other != name);
        if drained {
            overrides.drained.push(name.to_owned());
        }
        self.override_by(overrides)?;
        Ok(match drained {
            true => format!("service {name:?} takes no new connections; those that it has go on"),
            false => format!("service {name:?} takes new connections"),
        })
    }

    fn override_by(&mut self, overrides: Overrides) -> Result<(), String> {
        if self.shared.is_draining() {
            return Err("the engine is draining".into());
        }
        let keyring = self.view.keyring().clone();
        self.go_on(&overrides.applied_to(&self.plan), keyring)?;
        self.overrides = overrides;
        Ok(())
    }
}

fn backend<'a>(plan: &'a Plan, service: &str, address: SocketAddr) -> Option<&'a BackendPlan> {
    let service = plan.services.iter().find(|one| one.name == service)?;
    service.proxy()?.backends.iter().find(|backend| backend.address == address)
}
