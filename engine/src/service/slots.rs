//! The backends of all services, by slot: a number that stays a backend's own for as long as it is
//! configured.

#![forbid(unsafe_code)]

use std::fmt;
use std::net::SocketAddr;

use crate::config::{BACKENDS, ServicePlan};

/// Slots of an engine: as many as a plan has backends, at most.
pub const SLOTS: usize = BACKENDS;

/// Who has which slot. Made by the engine's thread for each plan, from that for the plan before.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Slots {
    owners: Vec<Owner>,
    generation: u32,
}

/// The backend that has a slot, or was the last to have it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owner {
    /// Name of the service.
    pub service: String,
    /// Address and TCP port.
    pub address: SocketAddr,
    /// The generation that it got the slot in.
    pub since: u32,
    /// The generation that it was left out of.
    left: Option<u32>,
}

impl Slots {
    /// The slots for the backends of `services`. Those that have one keep it. Others take one that nobody
    /// has had, as there may be flows yet of those that were left out; or else the one left first.
    ///
    /// # Errors
    ///
    /// If there are more backends than slots.
    pub fn renew(&self, services: &[ServicePlan]) -> Result<Self, TooMany> {
        let mut next = Self { owners: self.owners.clone(), generation: self.generation + 1 };
        let proxies = services.iter().filter_map(|service| Some((&service.name, service.proxy()?)));
        let wanted: Vec<(&String, SocketAddr)> = proxies
            .flat_map(|(name, plan)| {
                plan.backends.iter().map(move |backend| (name, backend.address))
            })
            .collect();
        for owner in next.owners.iter_mut().filter(|owner| owner.left.is_none()) {
            let stays = wanted.iter().any(|(service, address)| owner.is(service, *address));
            owner.left = (!stays).then_some(next.generation);
        }
        let count = wanted.len();
        for (service, address) in wanted {
            next.place(service, address).ok_or(TooMany(count))?;
        }
        Ok(next)
    }

    /// Gives a backend a slot, unless it has one.
    fn place(&mut self, service: &str, address: SocketAddr) -> Option<()> {
        if self.get(service, address).is_some() {
            return Some(());
        }
        let owner = Owner { service: service.into(), address, since: self.generation, left: None };
        if self.owners.len() < SLOTS {
            self.owners.push(owner);
        } else {
            let old = self.owners.iter_mut().filter(|old| old.left.is_some());
            *old.min_by_key(|old| old.left)? = owner;
        }
        Some(())
    }

    /// The slot of a service's backend.
    #[must_use]
    pub fn get(&self, service: &str, address: SocketAddr) -> Option<u16> {
        let mut present = self.iter().filter(|(_, owner)| owner.is(service, address));
        present.next().map(|(slot, _)| slot)
    }

    /// Every backend that is configured.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &Owner)> {
        let all = self.owners.iter().enumerate().map(|(slot, owner)| (slot as u16, owner));
        all.filter(|(_, owner)| owner.left.is_none())
    }
}

impl Owner {
    fn is(&self, service: &str, address: SocketAddr) -> bool {
        self.address == address && self.service == service
    }
}

/// There are more backends than slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooMany(usize);

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} backends in all services together: an engine has at most {SLOTS}", self.0)
    }
}

impl std::error::Error for TooMany {}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use super::*;
    use crate::config::Plan;

    /// Services `a`, `b`, … with backends of these numbers.
    fn services(backends: &[&[u16]]) -> Vec<ServicePlan> {
        let mut text = String::from(
            "[engine]\ncores = [1]\n[[port]]\nname = \"wan\"\ndevice = \"net_null0\"\n\
             addresses = [\"10.10.0.2/16\"]\n",
        );
        for (index, numbers) in backends.iter().enumerate() {
            let list: Vec<String> = numbers
                .iter()
                .map(|n| format!("\"10.10.{}.{}:80\"", 1 + n / 250, 1 + n % 250))
                .collect();
            let name = char::from(b'a' + index as u8);
            let _ = writeln!(
                text,
                "[[service]]\nname = \"{name}\"\nlisten = [\"10.10.0.1{index}:80\"]\n\
                 kind = \"proxy\"\nbackends = [{}]",
                list.join(", ")
            );
        }
        Plan::parse(&text, Path::new("a.toml")).unwrap_or_else(|e| panic!("{e}")).services
    }

    fn slot(slots: &Slots, service: &str, number: u16) -> Option<u16> {
        slots.get(service, SocketAddr::from(([10, 10, 1, 1 + number as u8], 80)))
    }

    #[test]
    fn a_slot_is_a_backend_s_own_across_plans() {
        let first = Slots::default().renew(&services(&[&[1, 2, 3], &[2]])).unwrap();
        let places = [("a", 1), ("a", 2), ("a", 3), ("b", 2)];
        assert_eq!(places.map(|(name, n)| slot(&first, name, n)), [0, 1, 2, 3].map(Some));
        // 1 and 2 of `a` go, 4 comes, 3 and that of `b` stay, in another order
        let second = first.renew(&services(&[&[4, 3], &[2]])).unwrap();
        assert_eq!(places.map(|(name, n)| slot(&second, name, n)), [None, None, Some(2), Some(3)]);
        assert_eq!(slot(&second, "a", 4), Some(4));
        let since: Vec<u32> = second.iter().map(|(_, owner)| owner.since).collect();
        assert_eq!(since, [1, 1, 2]);
        // what returns is new
        let third = second.renew(&services(&[&[1, 3, 4], &[2]])).unwrap();
        assert_eq!(slot(&third, "a", 1), Some(5));
    }

    #[test]
    fn when_all_were_used_the_one_left_first_is_used_again() {
        let range = |from: u16, to: u16| (from..to).collect::<Vec<_>>();
        let two = |from: u16| services(&[&range(from, from + 500), &range(0, 500)]);
        let first = Slots::default().renew(&two(0)).unwrap();
        let second = first.renew(&services(&[&range(0, 490), &range(1, 500)])).unwrap();
        let third = second.renew(&services(&[&range(0, 490), &range(3, 500)])).unwrap();
        let all = services(&[&range(0, 490), &range(3, 500), &range(0, 30)]);
        let fourth = third.renew(&all).unwrap();
        let mut of_c: Vec<u16> =
            fourth.iter().filter(|(_, owner)| owner.service == "c").map(|(slot, _)| slot).collect();
        of_c.sort_unstable();
        // 24 that nobody had, and six of the eleven that were left out of the second plan
        assert!(of_c[6..].iter().copied().eq(1000..1024), "{of_c:?}");
        assert!(of_c[..6].iter().all(|slot| (490..501).contains(slot)), "{of_c:?}");
    }

    #[test]
    fn more_backends_than_slots_are_refused() {
        let all: Vec<u16> = (0..512).collect();
        let mut services = services(&[&all, &all]);
        let full = Slots::default().renew(&services).unwrap();
        assert_eq!(full.iter().count(), SLOTS);
        services.push(ServicePlan { name: "c".into(), ..services[0].clone() });
        let error = full.renew(&services).unwrap_err().to_string();
        assert_eq!(error, "1536 backends in all services together: an engine has at most 1024");
    }
}
