//! From values that are right in themselves to a plan in which they fit together.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::plan::{Cores, Device, PortPlan, RingPlan, ServiceKind, ServicePlan};
use super::port::Port;
use super::problem::{At, Problems};
use super::proxy::{self, Proxy};
use super::service::{Kind, Service};

/// Checks the ports against each other and against the workers.
pub(super) fn ports(ports: &[Port], cores: &Cores, problems: &Problems) {
    unique(ports.iter().map(|port| &port.name), "port", problems);
    let mut devices = HashSet::new();
    for port in ports {
        // captures are as different as their arguments
        let device = match &port.kind {
            Device::Dpdk(device) => device.split(',').next().unwrap_or_default(),
            Device::Pcap(_) => &port.device.value,
        };
        if !devices.insert(device) {
            let what = format!("device `{device}` is another port's already");
            problems.add(&port.device, what, "name each device once");
        }
        addresses(port, problems);
        gateways(port, problems);
        queues(port, cores, problems);
    }
    captures(ports, problems);
    if ports.len() > 64 {
        problems.add(&ports[64].name, "too many ports", "an engine has at most 64");
    }
}

/// Ports that play captures: by themselves, with one queue each, and none writes what another reads or writes.
fn captures(ports: &[Port], problems: &Problems) {
    let mut files = HashSet::new();
    for port in ports {
        let Device::Pcap(pcap) = &port.kind else { continue };
        if ports.iter().any(|other| other.kind.dpdk().is_some()) {
            let what = "captures and DPDK's devices do not run together";
            let right =
                "give all ports captures, or use DPDK's `net_pcap0,rx_pcap=FILE,tx_pcap=FILE` here";
            problems.add(&port.device, what, right);
        }
        if let Some(queues) = port.queues.as_ref().filter(|queues| queues.value > 1) {
            problems.add(queues, "captures have one queue", "remove `queues`");
        }
        let is_read = ports
            .iter()
            .any(|other| matches!(&other.kind, Device::Pcap(other) if other.input == pcap.output));
        if is_read || !files.insert(&pcap.output) {
            let what = format!("another port uses {} too", pcap.output.display());
            problems.add(&port.device, what, "give each port an `out` of its own");
        }
    }
}

/// Refuses DPDK's devices: this build can open none.
pub(super) fn no_dpdk(ports: &[Port], problems: &Problems) {
    for port in ports.iter().filter(|port| port.kind.dpdk().is_some()) {
        let what = format!("`{}` needs DPDK, and this build of usher has none", port.device.value);
        let right = "build usher with its default features; without, ports play captures: `pcap:in=FILE,out=FILE`";
        problems.add(&port.device, what, right);
    }
}

fn addresses(port: &Port, problems: &Problems) {
    let mut seen = HashSet::new();
    for address in port.addresses.iter().filter(|address| !seen.insert(address.value.addr)) {
        let what = format!("address {} is named twice", address.value.addr);
        problems.add(address, what, "name each address once");
    }
    if port.addresses.iter().any(|address| address.value.addr.is_ipv6()) {
        room_for_ipv6(port, problems);
    }
}

fn gateways(port: &Port, problems: &Problems) {
    for gateway in &port.gateways {
        let addr = gateway.value;
        let link_local = matches!(addr, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if port.addresses.iter().any(|own| own.value.addr == addr) {
            problems.add(
                gateway,
                format!("gateway {addr} is our own address"),
                "name the router's",
            );
        } else if !link_local && !port.addresses.iter().any(|own| own.value.contains(addr)) {
            let what = format!("gateway {addr} is in none of the networks of `addresses`");
            problems.add(gateway, what, "a gateway is a neighbour: add our address in its network");
        }
    }
}

fn queues(port: &Port, cores: &Cores, problems: &Problems) {
    let (Some(queues), Cores::These(cores)) = (&port.queues, cores) else { return };
    if usize::from(queues.value) > cores.len() {
        let what = format!("{} queues for {} worker(s)", queues.value, cores.len());
        problems.add(
            queues,
            what,
            "at most one queue a worker: remove `queues`, or add to `engine.cores`",
        );
    }
}

/// Checks the services against each other and against the ports; those that fit make plans.
pub(super) fn services(
    services: &[Service],
    ports: &[Port],
    problems: &Problems,
) -> Vec<ServicePlan> {
    unique(services.iter().map(|service| &service.name), "service", problems);
    proxy::not_too_many(services, problems);
    let mut taken: HashSet<(usize, SocketAddr)> = HashSet::new();
    let mut plans = Vec::new();
    for service in services {
        let Some(port) = port_of(service, ports, problems) else { continue };
        for listen in &service.listen {
            if !taken.insert((port, listen.value)) {
                let what = format!("{} is taken by an earlier entry", listen.value);
                problems.add(listen, what, "each address and TCP port has one service");
            }
            if listen.value.is_ipv6() {
                room_for_ipv6(&ports[port], problems);
            }
        }
        let kind = match &service.kind {
            Some(Kind::Respond(bytes)) => ServiceKind::Respond(Arc::clone(bytes)),
            Some(Kind::Proxy(proxy)) => {
                ServiceKind::Proxy(proxy.resolve(service, port, services, ports, problems))
            }
            Some(Kind::Ring(ring)) => {
                let resolve =
                    |proxy: &Proxy| proxy.resolve(service, port, services, ports, problems);
                let proxy = ring.proxy.as_ref().map(resolve);
                ServiceKind::Ring(Arc::new(RingPlan { proxy, ..ring.plan.clone() }))
            }
            None => continue,
        };
        plans.push(ServicePlan {
            name: service.name.value.clone(),
            listen: service.listen.iter().map(|listen| listen.value).collect(),
            port,
            kind,
            drained: false,
        });
    }
    plans
}

fn port_of(service: &Service, ports: &[Port], problems: &Problems) -> Option<usize> {
    let known =
        || ports.iter().map(|port| format!("`{}`", port.name.value)).collect::<Vec<_>>().join(", ");
    match &service.port {
        Some(name) => {
            let found = ports.iter().position(|port| port.name.value == name.value);
            if found.is_none() && !ports.is_empty() {
                let right = format!("name one of the ports of this file: {}", known());
                problems.add(name, format!("there is no port `{}`", name.value), right);
            }
            found
        }
        None if ports.len() == 1 => Some(0),
        None => {
            if ports.len() > 1 {
                let at = At { key: "service.port".into(), ..service.place.clone() };
                let right = format!("say on which port it listens: {}", known());
                problems.add(&at, "this key is missing", right);
            }
            None
        }
    }
}

/// RFC 8200 §5: a link that carries IPv6 has an MTU of at least 1280.
pub(super) fn room_for_ipv6(port: &Port, problems: &Problems) {
    if port.mtu.value < 1280 {
        let what = format!("an MTU of {} is too small for IPv6", port.mtu.value);
        problems.add(&port.mtu, what, "at least 1280 where there are IPv6 addresses");
    }
}

fn unique<'a>(names: impl Iterator<Item = &'a At<String>>, what: &str, problems: &Problems) {
    let mut seen = HashSet::new();
    for name in names.filter(|name| !seen.insert(name.value.clone())) {
        let what = format!("there is another {what} named `{}`", name.value);
        problems.add(name, what, "give each its own name");
    }
}

/// The ports' plans, with the service addresses that each answers for.
pub(super) fn port_plans(ports: Vec<Port>, services: &[ServicePlan]) -> Vec<PortPlan> {
    let vips = |index: usize, port: &Port| {
        let mut vips: Vec<IpAddr> = Vec::new();
        for service in services.iter().filter(|service| service.port == index) {
            for ip in service.listen.iter().map(SocketAddr::ip) {
                let own = port.addresses.iter().any(|address| address.value.addr == ip);
                if !own && !vips.contains(&ip) {
                    vips.push(ip);
                }
            }
        }
        vips
    };
    let plan = |(index, port): (usize, Port)| PortPlan {
        vips: vips(index, &port),
        name: port.name.value,
        device: port.kind,
        queues: port.queues.map(|at| at.value),
        addresses: port.addresses.iter().map(|at| at.value).collect(),
        gateways: port.gateways.iter().map(|at| at.value).collect(),
        vlan: port.vlan,
        mtu: port.mtu.value,
    };
    ports.into_iter().enumerate().map(plan).collect()
}
