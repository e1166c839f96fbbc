//! What the host's kernel would do on our links: answer for our addresses, or forward our packets.

use std::collections::BTreeMap;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;

use super::device::interface;
use super::{Finding, Host, fail, ok, warn};
use crate::config::{Plan, PortPlan};

/// The addresses of the kernel's interfaces, in this network namespace.
type Addresses = BTreeMap<String, Vec<IpAddr>>;

pub(super) fn check(plan: &Plan, host: &Host) -> Vec<Finding> {
    let addresses = kernel_addresses();
    plan.ports.iter().flat_map(|port| check_port(port, &addresses, host)).collect()
}

fn check_port(port: &PortPlan, addresses: &Addresses, host: &Host) -> Vec<Finding> {
    let Some(interface) = port.device.dpdk().and_then(interface) else { return Vec::new() };
    let mut findings = owned(port, interface, addresses);
    findings.extend(["ipv4", "ipv6"].iter().filter_map(|family| {
        let switch = host.proc(&format!("sys/net/{family}/conf/{interface}/forwarding"))?;
        (switch == "1").then(|| {
            let what = format!("the kernel forwards packets that come in by {interface}, ours too");
            warn(format!(
                "port {}: {what}; sysctl -w net.{family}.conf.{interface}.forwarding=0",
                port.name
            ))
        })
    }));
    findings
}

/// The kernel sees a copy of every frame. For an address of its own, on whatever interface, it answers
/// too: SYNs with RSTs, because no program of its listens there.
pub(super) fn owned(port: &PortPlan, interface: &str, addresses: &Addresses) -> Vec<Finding> {
    let ours = port.addresses.iter().map(|prefix| prefix.addr).chain(port.vips.iter().copied());
    let mut findings = Vec::new();
    for addr in ours {
        for holder in
            addresses.iter().filter(|(_, held)| held.contains(&addr)).map(|(name, _)| name)
        {
            let what = format!("port {}: the kernel has {addr} on {holder}", port.name);
            let why = "it would answer in our place and reset connections";
            let remedy = format!("ip address del {addr} dev {holder}");
            findings.push(fail(format!("{what} and hears {interface}: {why}; {remedy}")));
        }
    }
    if findings.is_empty() {
        let what = "the kernel has none of our addresses";
        findings.push(ok(format!("port {}: {what}", port.name)));
    }
    findings
}

fn kernel_addresses() -> Addresses {
    let mut found = Addresses::new();
    for entry in getifaddrs().into_iter().flatten() {
        let Some(address) = entry.address else { continue };
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        let v6 = address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()));
        if let Some(ip) = v4.or(v6) {
            found.entry(entry.interface_name).or_default().push(ip);
        }
    }
    found
}
