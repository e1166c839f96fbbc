//! What a worker needs of the plan, prepared for quick look-ups.
//!
//! Built by the engine's thread, shared by the workers, replaced whole at housekeeping. Nothing in it
//! changes. The view of a reloaded plan follows the one before it: what flows remember of a view, the index
//! of an [`Edition`], means the same in both.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::iter::zip;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ahash::RandomState;
use usher_proto::cookie::{IsnKey, Keys};
use usher_proto::tcp::{Kind, Policy};
use usher_proto::wire::{Addr, Mac, PortView, Tuple};

use super::front::{Front, Targets};
use super::listeners::{Listener, Listeners};
use super::owners::Owners;
use crate::config::{Cookies, Plan, PortPlan, Prefix, RingPlan, ServiceKind, ServicePlan};
use crate::guarded::Guarded;
use crate::health::Subjects;
use crate::stats::{Board, Layout, Tally};

/// What a started port is on its link, beside what the plan says of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Station {
    /// Its MAC.
    pub mac: Mac,
    /// The largest packet it takes and sends.
    pub mtu: u16,
}

/// The secrets of this process.
#[derive(Clone, Debug)]
pub struct Keyring {
    /// Keys of the cookies.
    pub cookies: Guarded<Keys>,
    /// Whether other nodes, or this one before its start, may have issued valid cookies.
    pub shared: bool,
    /// The key of stateful initial sequence numbers.
    pub isn: Guarded<IsnKey>,
}

impl Keyring {
    /// These keys, out of reach of core dumps.
    #[must_use]
    pub fn new(cookies: Keys, shared: bool, isn: IsnKey) -> Self {
        Self { cookies: Guarded::new(cookies), shared, isn: Guarded::new(isn) }
    }
}

/// A prepared plan.
#[derive(Debug)]
pub struct View {
    pub(super) policy: Policy,
    pub(super) cookies: Cookies,
    pub(super) half_open_limit: u32,
    /// Flows of each worker.
    pub(super) capacity: u32,
    /// Buffers of each port.
    pub(super) buffers: u32,
    pub(super) keyring: Keyring,
    pub(super) ports: Box<[PortSide]>,
    /// Every service that there has been since the start, by its name: counters have these indices.
    services: Box<[String]>,
    /// Flows have these indices.
    editions: Box<[Edition]>,
    /// The backends of all proxy services.
    pub(super) targets: Targets,
    /// How they are checked.
    pub(super) subjects: Subjects,
    listeners: Listeners,
    /// Whose frames are.
    pub(super) owners: Owners,
    /// Whether it has addresses that the view before had not.
    pub(super) has_new_addresses: bool,
}

/// A service as it was from one reload to another. Its flows keep it when the service is changed or
/// removed; its place is free once it is retired and the last of them has ended.
#[derive(Clone, Debug)]
struct Edition {
    service: u16,
    kind: ServiceKind,
    /// What a proxy service is, prepared.
    front: Option<Arc<Front>>,
    listeners: Vec<Listener>,
    is_retired: bool,
    /// Whether it takes no new connections.
    is_drained: bool,
}

/// What a service is at present.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// As in the file.
    pub kind: &'static str,
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// Whether it takes no new connections, as an operator has ordered.
    pub drained: bool,
}

impl Edition {
    fn new(service: u16, plan: &ServicePlan, targets: &Targets, ports: &[PortSide]) -> Self {
        let listener = |socket: &SocketAddr| Listener {
            addr: Addr::from(socket.ip()),
            tcp_port: socket.port(),
            port: plan.port as u16,
        };
        let listeners = plan.listen.iter().map(listener).collect();
        let front =
            plan.proxy().map(|proxy| Arc::new(Front::new(&plan.name, proxy, targets, ports)));
        let (kind, is_drained) = (plan.kind.clone(), plan.drained);
        Self { service, kind, front, listeners, is_retired: false, is_drained }
    }

    fn is_same(&self, other: &Self) -> bool {
        let Self { service, kind, listeners, front: _, is_retired: _, is_drained: _ } = self;
        (service, kind, listeners) == (&other.service, &other.kind, &other.listeners)
    }
}

/// One port's part of the view.
#[derive(Debug)]
pub(super) struct PortSide {
    pub(super) wire: PortView,
    /// What we announce and how large what we send may be, for each family.
    mss_v4: u16,
    mss_v6: u16,
    /// The largest packet that the started port takes.
    mtu: u16,
    ours: HashSet<Addr, RandomState>,
    /// Own addresses and VIPs, in the plan's order.
    pub(super) announced: Box<[Addr]>,
    /// Addresses of retired editions: ours for as long as one of their flows lives.
    pub(super) lingering: Vec<(Addr, u16)>,
    networks: Box<[Prefix]>,
    gateways: Box<[IpAddr]>,
}

impl View {
    /// Prepares `plan`; `stations` are the started ports, in the plan's order.
    #[must_use]
    pub fn new(plan: &Plan, stations: &[Station], keyring: Keyring) -> Self {
        let sides = zip(&plan.ports, stations).enumerate();
        let sides = sides.map(|(index, (port, at))| PortSide::new(index, port, *at));
        Self::of(plan, sides.collect(), keyring).with(&plan.services, |_| false)
    }

    /// Without any service.
    fn of(plan: &Plan, ports: Box<[PortSide]>, keyring: Keyring) -> Self {
        Self {
            policy: plan.policy,
            cookies: plan.handshake.cookies,
            half_open_limit: plan.handshake.half_open_limit,
            capacity: plan.flow_capacity,
            buffers: plan.dpdk.mbufs_per_port,
            keyring,
            ports,
            services: [].into(),
            editions: [].into(),
            targets: Targets::default(),
            subjects: Subjects::default(),
            listeners: Listeners::new(&[]),
            owners: Owners::default(),
            has_new_addresses: false,
        }
    }

    /// The view of a reloaded plan, whose ports are those of this one. `in_use` says whether a flow has an
    /// edition.
    ///
    /// # Errors
    ///
    /// [`Exhausted`] when there have been too many services since the start.
    pub fn following(
        &self,
        plan: &Plan,
        keyring: Keyring,
        in_use: impl Fn(u16) -> bool,
    ) -> Result<Self, Exhausted> {
        let taken = self.services.len().max(self.editions.len());
        if taken + plan.services.len() > usize::from(u16::MAX) {
            return Err(Exhausted);
        }
        let side = |(index, (port, old)): (usize, (&PortPlan, &PortSide))| {
            PortSide::new(index, port, Station { mac: old.wire.mac, mtu: old.mtu })
        };
        let ports: Box<[_]> = zip(&plan.ports, &self.ports).enumerate().map(side).collect();
        let gains = |(new, old): (&PortSide, &PortSide)| !new.ours.is_subset(&old.ours);
        let has_new_addresses = zip(&ports, &self.ports).any(gains);
        let view = Self {
            services: self.services.clone(),
            editions: self.editions.clone(),
            targets: self.targets.clone(),
            has_new_addresses,
            ..Self::of(plan, ports, keyring)
        };
        Ok(view.with(&plan.services, in_use))
    }

    /// The same with these services; editions that are none of theirs are retired.
    fn with(mut self, services: &[ServicePlan], in_use: impl Fn(u16) -> bool) -> Self {
        // The configuration sees to it that there are not too many.
        self.targets = self.targets.following(services, &self.ports).unwrap_or_default();
        self.subjects = Subjects::new(services, self.targets.slots());
        let mut names = Vec::from(std::mem::take(&mut self.services));
        let mut editions = Vec::from(std::mem::take(&mut self.editions));
        // Only what was retired before can be free: workers still open flows of all the others.
        let is_free = |index: &usize| editions[*index].is_retired && !in_use(*index as u16);
        let mut free: Vec<usize> = (0..editions.len()).filter(is_free).collect();
        editions.iter_mut().for_each(|edition| edition.is_retired = true);
        let mut listeners = Vec::new();
        for plan in services {
            let known = names.iter().position(|name| *name == plan.name);
            let service = known.unwrap_or(names.len());
            if known.is_none() {
                names.push(plan.name.clone());
            }
            let edition = Edition::new(service as u16, plan, &self.targets, &self.ports);
            let same = editions.iter().position(|old| old.is_same(&edition));
            let index = same.or_else(|| free.pop()).unwrap_or(editions.len());
            free.retain(|other| *other != index);
            listeners.extend(edition.listeners.iter().map(|at| (*at, index as u16)));
            if index == editions.len() {
                editions.push(edition);
            } else {
                editions[index] = edition;
            }
        }
        self.listeners = Listeners::new(&listeners);
        let lingers =
            |(index, edition): &(usize, &Edition)| edition.is_retired && !free.contains(index);
        for (index, edition) in editions.iter().enumerate().filter(lingers) {
            for at in &edition.listeners {
                self.ports[usize::from(at.port)].lingering.push((at.addr, index as u16));
            }
        }
        let all = editions.iter().flat_map(|edition| &edition.listeners);
        self.owners = Owners::new(&self.ports, self.targets.paths(), all);
        (self.services, self.editions) = (names.into(), editions.into());
        self
    }

    /// How many ports there are.
    #[must_use]
    pub fn port_count(&self) -> usize {
        self.ports.len()
    }

    /// Every service that there has been since the start, by name; those of the first plan come first, in
    /// its order.
    #[must_use]
    pub fn services(&self) -> &[String] {
        &self.services
    }

    /// What the service of this index is at present; `None` for one that is configured no more.
    #[must_use]
    pub fn standing(&self, service: usize) -> Option<Standing> {
        let is_it = |edition: &&Edition| usize::from(edition.service) == service;
        let edition = self.editions.iter().filter(is_it).find(|edition| !edition.is_retired)?;
        let kind = match edition.kind {
            ServiceKind::Respond(_) => "respond",
            ServiceKind::Proxy(_) => "proxy",
            ServiceKind::Ring(_) => "ring",
        };
        let socket = |at: &Listener| SocketAddr::new(at.addr.into(), at.tcp_port);
        let listen = edition.listeners.iter().map(socket).collect();
        Some(Standing { kind, listen, drained: edition.is_drained })
    }

    /// Zeros for a worker with this view to count with.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally::new(self.layout())
    }

    /// A board for that worker's counts.
    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        Arc::new(Board::new(self.layout()))
    }

    fn layout(&self) -> Layout {
        Layout {
            ports: self.ports.len(),
            services: self.services.len(),
            editions: self.editions.len(),
            backends: self.backends().last().map_or(0, |(slot, ..)| usize::from(slot) + 1),
        }
    }

    /// Every backend that is configured: its slot, its service's name, its address.
    pub fn backends(&self) -> impl Iterator<Item = (u16, &str, SocketAddr)> {
        let owners = self.targets.slots().iter();
        owners.map(|(slot, owner)| (slot, owner.service.as_str(), owner.address))
    }

    /// How the flows of each service are handed over, by its number; `None` for those that are no `ring` in this plan.
    pub(super) fn rings(&self) -> impl Iterator<Item = Option<Arc<RingPlan>>> {
        let of = |service| {
            let current = |edition: &&Edition| !edition.is_retired && edition.service == service;
            match &self.editions.iter().find(current)?.kind {
                ServiceKind::Ring(plan) => Some(Arc::clone(plan)),
                ServiceKind::Respond(_) | ServiceKind::Proxy(_) => None,
            }
        };
        (0..self.services.len() as u16).map(of)
    }

    /// Where every address is ours or may be, of each port.
    pub fn addresses(&self) -> impl Iterator<Item = Vec<Addr>> {
        let of = |side: &PortSide| {
            let lingering = side.lingering.iter().map(|(addr, _)| *addr);
            side.announced.iter().copied().chain(lingering).collect()
        };
        self.ports.iter().map(of)
    }

    /// The secrets it was made with.
    #[must_use]
    pub const fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The edition that listens where `tuple` goes.
    #[inline]
    pub(super) fn edition(&self, tuple: &Tuple) -> Option<u16> {
        self.listeners.find(tuple)
    }

    /// The service that an edition is one of.
    pub(super) fn service(&self, edition: u16) -> usize {
        self.editions.get(usize::from(edition)).map_or(0, |edition| edition.service.into())
    }

    /// The bytes that an edition of a service sends.
    #[inline]
    pub(super) fn answer(&self, edition: u16) -> &[u8] {
        match self.editions.get(usize::from(edition)).map(|edition| &edition.kind) {
            Some(ServiceKind::Respond(bytes)) => bytes,
            Some(ServiceKind::Proxy(_) | ServiceKind::Ring(_)) | None => &[],
        }
    }

    /// How many editions there are.
    pub(super) fn edition_count(&self) -> usize {
        self.editions.len()
    }

    /// A proxy service's edition; `None` for one of another kind.
    #[inline]
    pub(super) fn front(&self, edition: u16) -> Option<&Front> {
        self.editions.get(usize::from(edition))?.front.as_deref()
    }

    /// Whether an edition takes no new connections.
    #[inline]
    pub(super) fn is_drained(&self, edition: u16) -> bool {
        self.editions.get(usize::from(edition)).is_some_and(|edition| edition.is_drained)
    }

    /// What becomes of an edition's flows once their handshakes are complete.
    #[inline]
    pub(super) fn kind(&self, edition: u16) -> Kind {
        match self.editions.get(usize::from(edition)).map(|edition| &edition.kind) {
            Some(ServiceKind::Respond(bytes)) => Kind::Respond { answer_len: bytes.len() as u32 },
            Some(ServiceKind::Proxy(_)) => Kind::Proxy,
            Some(ServiceKind::Ring(_)) => Kind::Ring,
            None => Kind::Respond { answer_len: 0 },
        }
    }
}

impl PortSide {
    fn new(index: usize, plan: &PortPlan, at: Station) -> Self {
        let mtu = plan.mtu.min(at.mtu);
        let own = plan.addresses.iter().map(|prefix| prefix.addr);
        let announced: Box<[Addr]> = own.chain(plan.vips.iter().copied()).map(Addr::from).collect();
        Self {
            wire: PortView { mac: at.mac, vlan: plan.vlan, index: index as u16 },
            mss_v4: mtu.saturating_sub(40),
            mss_v6: mtu.saturating_sub(60),
            mtu: at.mtu,
            ours: announced.iter().copied().collect(),
            announced,
            lingering: Vec::new(),
            networks: plan.addresses.iter().copied().collect(),
            gateways: plan.gateways.iter().copied().collect(),
        }
    }

    /// The MSS we announce to `remote`.
    pub(super) fn mss(&self, remote: &Addr) -> u16 {
        if remote.is_v4() { self.mss_v4 } else { self.mss_v6 }
    }

    /// Our own addresses of one family.
    pub(super) fn own_addresses(&self, v4: bool) -> impl Iterator<Item = Addr> {
        let own = self.networks.iter().filter(move |net| net.addr.is_ipv4() == v4);
        own.map(|net| Addr::from(net.addr))
    }

    /// Whether `addr` is an own address or a VIP of this port.
    pub(super) fn is_ours(&self, addr: &Addr) -> bool {
        self.ours.contains(addr)
    }

    /// The neighbour by which `remote` is reached, and our address to ask for it; `None` if the plan
    /// does not say.
    pub(super) fn next_hop(&self, remote: &Addr) -> Option<(Addr, Addr)> {
        let remote = IpAddr::from(*remote);
        let network_of = |hop: &IpAddr| self.networks.iter().find(|net| net.contains(*hop));
        let hop = match network_of(&remote) {
            Some(_) => remote,
            None => *self.gateways.iter().find(|gate| gate.is_ipv4() == remote.is_ipv4())?,
        };
        let source = network_of(&hop)?.addr;
        Some((Addr::from(hop), Addr::from(source)))
    }
}

/// There is no number left for another service or edition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exhausted;

impl std::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("there have been too many services since the start: restart the engine")
    }
}

#[cfg(test)]
mod tests {
    use usher_proto::testing::CLIENT_MAC;

    use super::*;
    use crate::testing::{Setup, keyring, plan};

    fn first(plan: &Plan) -> View {
        View::new(plan, &[Station { mac: CLIENT_MAC, mtu: 1500 }], keyring(false))
    }

    fn next(view: &View, plan: &Plan, used: &[u16]) -> View {
        let in_use = |edition| used.contains(&edition);
        view.following(plan, keyring(false), in_use).unwrap()
    }

    fn answering(answer: &str) -> Plan {
        plan(&Setup { answer: answer.as_bytes(), ..Setup::default() })
    }

    fn without_services() -> Plan {
        let mut plan = answering("");
        plan.services.clear();
        plan.ports[0].vips.clear();
        plan
    }

    fn listening(view: &View) -> Option<u16> {
        let (remote, local) = (Addr::v4([10, 10, 0, 1]), Addr::v4([10, 10, 0, 10]));
        let (remote_port, local_port) = (4000, 80);
        view.edition(&Tuple { remote, local, remote_port, local_port, vlan: 0, port: 0 })
    }

    #[test]
    fn a_changed_service_is_a_new_edition_of_the_same_service() {
        let old = first(&answering("old"));
        let view = next(&old, &answering("new"), &[0]);
        assert_eq!((view.answer(0), view.answer(1)), (&b"old"[..], &b"new"[..]));
        assert_eq!((view.service(0), view.service(1), listening(&view)), (0, 0, Some(1)));
        assert_eq!(view.services(), ["hello"]);
        let same = next(&view, &answering("new"), &[0, 1]);
        assert_eq!((listening(&same), same.editions.len()), (Some(1), 2));
        let back = next(&view, &answering("old"), &[0]);
        assert_eq!((listening(&back), back.editions.len()), (Some(0), 2));
    }

    /// A worker opens flows of an edition until it has the next view: its place is not free before.
    #[test]
    fn a_place_is_free_once_it_was_retired_before_and_has_no_flow() {
        let one = first(&answering("1"));
        let two = next(&one, &answering("2"), &[]);
        assert_eq!((listening(&two), two.answer(0)), (Some(1), &b"1"[..]));
        let three = next(&two, &answering("3"), &[0]);
        assert_eq!((listening(&three), three.editions.len()), (Some(2), 3));
        let four = next(&three, &answering("4"), &[1, 2]);
        assert_eq!((listening(&four), four.answer(0)), (Some(0), &b"4"[..]));
        assert_eq!((four.answer(1), four.answer(2)), (&b"2"[..], &b"3"[..]));
    }

    #[test]
    fn a_removed_service_keeps_its_name_and_its_addresses_linger() {
        let view = next(&first(&answering("a")), &without_services(), &[0]);
        assert_eq!((listening(&view), view.services()), (None, ["hello".to_owned()].as_slice()));
        let vip = Addr::v4([10, 10, 0, 10]);
        assert!(!view.ports[0].is_ours(&vip) && view.ports[0].lingering.contains(&(vip, 0)));
        assert!(view.addresses().all(|ours| ours.contains(&vip)));
        let later = next(&view, &without_services(), &[]);
        assert!(later.ports[0].lingering.is_empty());
        let mut other = answering("b");
        other.services[0].name = "other".into();
        let other = next(&later, &other, &[]);
        assert_eq!((listening(&other), other.service(0), other.editions.len()), (Some(0), 1, 1));
        assert!(other.has_new_addresses && !view.has_new_addresses);
    }

    #[test]
    fn numbers_do_not_wrap() {
        let plan = answering("a");
        let names = |count: usize| vec![String::new(); count].into();
        let view = View { services: names(0xfffe), ..first(&plan) };
        let last = next(&view, &plan, &[]);
        assert_eq!(last.services.len(), 0xffff);
        assert_eq!(last.following(&plan, keyring(false), |_| true).unwrap_err(), Exhausted);
    }
}
