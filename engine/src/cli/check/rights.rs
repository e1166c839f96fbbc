//! Rights: what opening a device takes, and this process lacks.

use std::path::Path;

use rustix::fs::{Access, access};
use rustix::thread::{CapabilitySet, capabilities};

use super::Host;
use crate::config::{PortPlan, is_pci};

/// The capabilities of this process.
pub(super) fn present() -> CapabilitySet {
    capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective)
}

/// What a process with these capabilities cannot do that `port` needs, and how it could; `None` if nothing is known.
pub(super) fn lacking(port: &PortPlan, host: &Host, has: CapabilitySet) -> Option<String> {
    let name = port.device.dpdk()?.split(',').next().unwrap_or_default();
    if is_pci(name) {
        return closed_group(port, name, host);
    }
    let lacks = needed(name).difference(has);
    (!lacks.is_empty()).then(|| {
        let (port, names) = (&port.name, names(lacks));
        format!(
            "port {port}: no permission: `{name}` needs {names}, which this process does not have; \
             run it as root, or grant that (AmbientCapabilities= of systemd, setpriv, setcap)"
        )
    })
}

/// What opening a virtual device takes.
fn needed(device: &str) -> CapabilitySet {
    let is = |driver: &str| device.starts_with(driver);
    if is("net_af_packet") || is("net_af_xdp") {
        CapabilitySet::NET_RAW | CapabilitySet::NET_ADMIN
    } else if is("net_tap") {
        CapabilitySet::NET_ADMIN
    } else {
        CapabilitySet::empty()
    }
}

/// A NIC is opened by the file of its IOMMU group.
fn closed_group(port: &PortPlan, address: &str, host: &Host) -> Option<String> {
    let full = if address.len() == 7 { format!("0000:{address}") } else { address.to_lowercase() };
    let link = host.sys.join("bus/pci/devices").join(full).join("iommu_group");
    let group = Path::new("/dev/vfio").join(std::fs::read_link(link).ok()?.file_name()?);
    let closed = group.exists() && access(&group, Access::READ_OK | Access::WRITE_OK).is_err();
    closed.then(|| {
        let (port, group) = (&port.name, group.display());
        format!(
            "port {port}: no permission: {group} belongs to others; run it as root, or give the file to its user \
             (chown, and a udev rule for SUBSYSTEM==\"vfio\")"
        )
    })
}

/// As the kernel's manual calls them, or "none".
pub(in crate::cli) fn names(set: CapabilitySet) -> String {
    let names: Vec<_> = set.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    if names.is_empty() { "none".into() } else { names.join(" and ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_named() {
        assert_eq!(names(needed("net_af_packet0")), "CAP_NET_ADMIN and CAP_NET_RAW");
        assert_eq!(names(needed("net_tap3")), "CAP_NET_ADMIN");
        assert_eq!(names(needed("net_memif0") | needed("net_pcap0")), "none");
    }
}
