//! What a worker needs of the plan, prepared for quick look-ups.
//!
//! Built by the engine's thread, shared by the workers, replaced whole at housekeeping. Nothing in it
//! changes.

#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use ahash::RandomState;
use usher_proto::cookie::{IsnKey, Keys};
use usher_proto::tcp::Policy;
use usher_proto::wire::{Addr, Mac, PortView, Tuple};

use crate::config::{Cookies, HandshakePlan, Plan, PortPlan, Prefix, ServicePlan};

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
    pub cookies: Keys,
    /// Whether other nodes, or this one before its start, may have issued valid cookies.
    pub shared: bool,
    /// The key of stateful initial sequence numbers.
    pub isn: IsnKey,
}

/// A prepared plan.
#[derive(Debug)]
pub struct View {
    pub(super) policy: Policy,
    pub(super) cookies: Cookies,
    pub(super) half_open_limit: u32,
    pub(super) keyring: Keyring,
    pub(super) ports: Box<[PortSide]>,
    answers: Box<[Arc<[u8]>]>,
    listeners: HashMap<Listener, u16, RandomState>,
}

/// One port's part of the view.
#[derive(Debug)]
pub(super) struct PortSide {
    pub(super) wire: PortView,
    /// What we announce and how large what we send may be, for each family.
    mss_v4: u16,
    mss_v6: u16,
    ours: HashSet<Addr, RandomState>,
    /// Own addresses and VIPs, in the plan's order.
    pub(super) announced: Box<[Addr]>,
    networks: Box<[Prefix]>,
    gateways: Box<[IpAddr]>,
}

/// Where a service listens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Listener {
    addr: Addr,
    tcp_port: u16,
    port: u16,
}

impl View {
    /// Prepares `plan`; `stations` are the started ports, in the plan's order.
    #[must_use]
    pub fn new(plan: &Plan, stations: &[Station], keyring: Keyring) -> Self {
        Self::of(plan.policy, &plan.handshake, &plan.ports, &plan.services, stations, keyring)
    }

    /// The same from the parts of a plan that a worker needs.
    #[must_use]
    pub fn of(
        policy: Policy,
        handshake: &HandshakePlan,
        ports: &[PortPlan],
        services: &[ServicePlan],
        stations: &[Station],
        keyring: Keyring,
    ) -> Self {
        let sides = ports.iter().zip(stations).enumerate();
        Self {
            policy,
            cookies: handshake.cookies,
            half_open_limit: handshake.half_open_limit,
            keyring,
            ports: sides.map(|(index, (port, at))| PortSide::new(index, port, *at)).collect(),
            answers: services
                .iter()
                .map(|service| service.answer().cloned().unwrap_or_default())
                .collect(),
            listeners: listeners(services),
        }
    }

    /// How many ports there are.
    #[must_use]
    pub fn port_count(&self) -> usize {
        self.ports.len()
    }

    /// How many services there are.
    #[must_use]
    pub fn service_count(&self) -> usize {
        self.answers.len()
    }

    /// The secrets it was made with.
    #[must_use]
    pub const fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The service that listens where `tuple` goes.
    pub(super) fn service(&self, tuple: &Tuple) -> Option<u16> {
        let (addr, tcp_port, port) = (tuple.local, tuple.local_port, tuple.port);
        self.listeners.get(&Listener { addr, tcp_port, port }).copied()
    }

    /// The bytes that a service sends; none for a service that is no more.
    pub(super) fn answer(&self, service: u16) -> &[u8] {
        self.answers.get(usize::from(service)).map_or(&[], |bytes| bytes)
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
            ours: announced.iter().copied().collect(),
            announced,
            networks: plan.addresses.iter().copied().collect(),
            gateways: plan.gateways.iter().copied().collect(),
        }
    }

    /// The MSS we announce to `remote`.
    pub(super) fn mss(&self, remote: &Addr) -> u16 {
        if remote.is_v4() { self.mss_v4 } else { self.mss_v6 }
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

fn listeners(services: &[ServicePlan]) -> HashMap<Listener, u16, RandomState> {
    let services = services.iter().enumerate();
    let each = services.flat_map(|(index, service)| {
        service.listen.iter().map(move |socket| {
            let (addr, tcp_port) = (Addr::from(socket.ip()), socket.port());
            (Listener { addr, tcp_port, port: service.port as u16 }, index as u16)
        })
    });
    each.collect()
}
