//! How backends are reached: what an operator has to make true on the network.

use std::net::{IpAddr, SocketAddr};

use super::{Finding, ok};
use crate::config::{BackendPlan, Forward, Plan, PortPlan, ServicePlan};

/// How many backends a line names.
const NAMED: usize = 4;

/// A line for each way by which backends of a service are reached.
pub(super) fn check(plan: &Plan) -> Vec<Finding> {
    plan.services.iter().flat_map(|service| ways(service, &plan.ports)).map(ok).collect()
}

fn ways(service: &ServicePlan, ports: &[PortPlan]) -> Vec<String> {
    let Some(proxy) = service.proxy() else { return Vec::new() };
    let mut ways: Vec<(String, Vec<SocketAddr>)> = Vec::new();
    for backend in &proxy.backends {
        let way = way(backend, proxy.forward, &ports[backend.port]);
        match ways.iter_mut().find(|(known, _)| *known == way) {
            Some((_, those)) => those.push(backend.address),
            None => ways.push((way, vec![backend.address])),
        }
    }
    let line = |(way, those): (String, Vec<SocketAddr>)| {
        format!("service {}: backends {} {way}", service.name, named(&those))
    };
    ways.into_iter().map(line).collect()
}

/// By which port and next hop, and from which addresses of ours.
fn way(backend: &BackendPlan, forward: Forward, port: &PortPlan) -> String {
    let ip = backend.address.ip();
    let same_family = |other: &IpAddr| other.is_ipv4() == ip.is_ipv4();
    let is_near = port.addresses.iter().any(|net| net.contains(ip));
    let gateway = port.gateways.iter().find(|gateway| same_family(gateway));
    let hop = match gateway.filter(|_| !is_near) {
        Some(gateway) => format!("gateway {gateway}"),
        None => "its own link".into(),
    };
    let from = match forward {
        Forward::L2 => "with the service's address, which they must have on their loopback".into(),
        Forward::Snat => {
            let own = port.addresses.iter().map(|net| net.addr).filter(same_family);
            let own: Vec<String> = own.map(|own| own.to_string()).collect();
            format!("from {}", own.join(", "))
        }
    };
    format!("by port {} and {hop}, {from}", port.name)
}

fn named(all: &[SocketAddr]) -> String {
    let names: Vec<String> = all.iter().take(NAMED).map(ToString::to_string).collect();
    match all.len().saturating_sub(NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The lines about a service with these backends.
    fn lines(service: &str) -> Vec<String> {
        let text = format!(
            "[[port]]\nname = \"wan\"\ndevice = \"net_null0\"\n\
             addresses = [\"10.10.0.2/16\", \"10.10.0.3/16\", \"fd00::2/64\"]\ngateways = [\"10.10.0.1\"]\n\
             [[service]]\nname = \"web\"\nlisten = [\"10.10.0.10:80\"]\nkind = \"proxy\"\n{service}"
        );
        let plan = Plan::parse(&text, Path::new("a.toml")).unwrap_or_else(|e| panic!("{e}"));
        check(&plan).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_way_to_backends_is_a_line() {
        let told = lines("backends = [\"10.10.1.1:80\", \"10.30.0.1:80\", \"10.10.1.2:80\"]");
        assert_eq!(
            told,
            [
                "ok   service web: backends 10.10.1.1:80, 10.10.1.2:80 by port wan and its own link, \
                 from 10.10.0.2, 10.10.0.3",
                "ok   service web: backends 10.30.0.1:80 by port wan and gateway 10.10.0.1, \
                 from 10.10.0.2, 10.10.0.3",
            ]
        );
        let told = lines("forward = \"l2\"\nbackends = [\"10.10.1.1:80\"]");
        assert_eq!(
            told,
            ["ok   service web: backends 10.10.1.1:80 by port wan and its own link, \
              with the service's address, which they must have on their loopback"]
        );
    }

    #[test]
    fn many_backends_are_counted() {
        let many: Vec<String> = (1..=6).map(|n| format!("\"10.10.1.{n}:80\"")).collect();
        let told = lines(&format!("backends = [{}]", many.join(", ")));
        assert!(told[0].contains("10.10.1.4:80 and 2 more by port wan"), "{told:?}");
    }
}
