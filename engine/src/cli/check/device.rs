//! Devices: there, bound, up, near their workers.

use super::{Finding, Host, fail, ok, warn};
use crate::config::{Device, PcapFiles, PortPlan, Topology, is_pci};
use crate::port::pcap;

/// Kernel drivers that hand a PCI device to user space.
const USER_SPACE: &[&str] = &["vfio-pci", "uio_pci_generic", "igb_uio"];

/// Kernel drivers that DPDK works beside.
const BIFURCATED: &[&str] = &["mlx4_core", "mlx5_core", "mana"];

/// Most that an interface's name can have.
const NAME_MAX: usize = 15;

pub(super) fn check(
    port: &PortPlan,
    host: &Host,
    machine: &Topology,
    cores: &[usize],
) -> Vec<Finding> {
    let device = match &port.device {
        Device::Dpdk(device) => device.as_str(),
        Device::Pcap(files) => return captures(port, files),
    };
    let first = device.split(',').next().unwrap_or_default();
    if is_pci(first) {
        return pci(port, first, host, machine, cores);
    }
    match interface(device) {
        Some(name) => kernel_interface(port, name, host),
        None if needs_interface(first) => {
            vec![fail(format!("port {}: `{}` lacks `iface=NAME`", port.name, device))]
        }
        None => vec![ok(format!("port {}: virtual device {device}", port.name))],
    }
}

/// What is played is there and can be, and what is sent can be written somewhere.
fn captures(port: &PortPlan, files: &PcapFiles) -> Vec<Finding> {
    let name = &port.name;
    let input = match pcap::count_frames(&files.input) {
        Ok(count) => ok(format!("port {name}: capture {}: {count} frames", files.input.display())),
        Err(cause) => fail(format!("port {name}: {cause}")),
    };
    let output = files.output.display();
    let directory =
        files.output.parent().is_none_or(|dir| dir.as_os_str().is_empty() || dir.is_dir());
    let output = match directory {
        true if files.output.exists() => warn(format!("port {name}: {output} will be replaced")),
        true => ok(format!("port {name}: {output} will be written")),
        false => {
            fail(format!("port {name}: {output} cannot be written: its directory is not there"))
        }
    };
    vec![input, output]
}

/// The kernel interface that a virtual device takes, if it takes one. What net_vhost calls so is a socket.
pub(super) fn interface(device: &str) -> Option<&str> {
    if device.starts_with("net_vhost") {
        return None;
    }
    device.split(',').skip(1).find_map(|argument| argument.strip_prefix("iface="))
}

fn needs_interface(device: &str) -> bool {
    device.starts_with("net_af_packet") || device.starts_with("net_af_xdp")
}

fn pci(
    port: &PortPlan,
    address: &str,
    host: &Host,
    machine: &Topology,
    cores: &[usize],
) -> Vec<Finding> {
    let name = &port.name;
    let full = if address.len() == 7 { format!("0000:{address}") } else { address.to_lowercase() };
    let dir = host.sys.join("bus/pci/devices").join(&full);
    if !dir.exists() {
        return vec![fail(format!("port {name}: there is no PCI device {full}; see lspci -D"))];
    }
    let driver = std::fs::read_link(dir.join("driver")).ok();
    let driver = driver.and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let bound = match driver.as_deref() {
        Some(driver) if USER_SPACE.contains(&driver) || BIFURCATED.contains(&driver) => {
            ok(format!("port {name}: {full} is bound to {driver}"))
        }
        Some(driver) => {
            let what =
                format!("port {name}: {full} is bound to {driver}, which keeps it in the kernel");
            fail(format!("{what}; bind it to vfio-pci with scripts/bind {full}"))
        }
        None => {
            let what = format!("port {name}: {full} has no driver");
            fail(format!("{what}; bind it to vfio-pci with scripts/bind {full}"))
        }
    };
    let node = host.sys(&format!("bus/pci/devices/{full}/numa_node"));
    let node = node.and_then(|text| text.parse::<usize>().ok());
    let far = |node: &usize| {
        let other = |core: &&usize| machine.node(**core).is_some_and(|own| own != *node);
        cores.iter().filter(other).copied().collect::<Vec<_>>()
    };
    let numa = node.map(|node| match far(&node).as_slice() {
        [] => ok(format!("port {name}: on NUMA node {node} like its workers")),
        far => warn(format!("port {name}: on NUMA node {node}, and cores {far:?} are on another")),
    });
    std::iter::once(bound).chain(numa).collect()
}

fn kernel_interface(port: &PortPlan, interface: &str, host: &Host) -> Vec<Finding> {
    let name = &port.name;
    let here = host.sys.join("class/net").join(interface);
    if interface.is_empty()
        || interface.len() > NAME_MAX
        || interface.contains('/')
        || !here.exists()
    {
        let what =
            format!("port {name}: there is no interface `{interface}` in this network namespace");
        return vec![fail(format!("{what}; see ip link"))];
    }
    let mut findings = vec![ok(format!("port {name}: interface {interface} exists"))];
    let read = |what: &str| host.sys(&format!("class/net/{interface}/{what}"));
    findings.push(match read("operstate").as_deref() {
        Some("up" | "unknown") => ok(format!("port {name}: {interface} is up")),
        state => {
            let state = state.unwrap_or("unreadable");
            warn(format!("port {name}: {interface} is {state}: no traffic until it is up (ip link set {interface} up)"))
        }
    });
    if let Some(mtu) =
        read("mtu").and_then(|mtu| mtu.parse::<u16>().ok()).filter(|mtu| *mtu < port.mtu)
    {
        let ours = port.mtu;
        findings.push(warn(format!(
            "port {name}: {interface} has an MTU of {mtu}, the file says {ours}"
        )));
    }
    findings
}
