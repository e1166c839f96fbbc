//! `[[port]]`: devices and what we are on their links.

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use super::pcap;
use super::plan::{Device, Prefix};
use super::problem::At;
use super::section::Section;

/// A port as the file has it, each value right in itself.
pub(super) struct Port {
    pub(super) name: At<String>,
    /// As it is written, and what that means.
    pub(super) device: At<String>,
    pub(super) kind: Device,
    pub(super) queues: Option<At<u16>>,
    pub(super) addresses: Vec<At<Prefix>>,
    pub(super) gateways: Vec<At<IpAddr>>,
    pub(super) vlan: u16,
    pub(super) mtu: At<u16>,
}

/// Reads one `[[port]]`; `None` (recorded) if it has no usable name or device.
pub(super) fn read(section: &Section<'_>, dir: &Path) -> Option<Port> {
    section.require(&["name", "device"]);
    let name = name(section);
    let device = device(section, dir);
    let queues = section.integer("queues", 1..=64);
    let addresses = section.texts("addresses");
    let addresses = addresses.iter().filter_map(|text| prefix(section, text)).collect();
    let gateways = section.texts("gateways");
    let gateways = gateways.iter().filter_map(|text| gateway(section, text)).collect();
    let vlan = section.integer("vlan", 0..=4094).map_or(0, |at| at.value);
    let mtu = section.integer("mtu", 576..=9000).unwrap_or_else(|| section.place().with(1500));
    let (name, (device, kind)) = (name?, device?);
    Some(Port { name, device, kind, queues, addresses, gateways, vlan, mtu })
}

/// A name that can be a label of metrics and is easy to type.
pub(super) fn name(section: &Section<'_>) -> Option<At<String>> {
    let text = section.text("name")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if text.value.is_empty() || text.value.len() > 64 || !text.value.chars().all(plain) {
        let right = "1 to 64 letters, digits, `_`, `-` or `.`";
        section.problems().add(&text, format!("`{}` is no name", text.value), right);
        return None;
    }
    Some(text.with(text.value.to_owned()))
}

fn device(section: &Section<'_>, dir: &Path) -> Option<(At<String>, Device)> {
    let text = section.text("device")?;
    let written = text.with(text.value.to_owned());
    if let Some(arguments) = text.value.strip_prefix(pcap::PREFIX) {
        let files = pcap::read(section, &text, arguments, dir)?;
        return Some((written, Device::Pcap(files)));
    }
    let first = text.value.split(',').next().unwrap_or_default();
    if !is_pci(first) && !is_virtual(first) || text.value.contains(|c: char| c.is_whitespace()) {
        let what = format!("`{}` names no device", text.value);
        let right = "write a PCI address such as `0000:3b:00.0`, a virtual device such as \
                     `net_af_packet0,iface=e0`, or captures: `pcap:in=FILE,out=FILE`";
        section.problems().add(&text, what, right);
        return None;
    }
    let kind = Device::Dpdk(written.value.clone());
    Some((written, kind))
}

/// `0000:3b:00.0`, or without the domain.
pub(crate) fn is_pci(device: &str) -> bool {
    let Some((rest, function)) = device.rsplit_once('.') else { return false };
    let parts: Vec<&str> = rest.split(':').collect();
    let lengths: &[usize] = if parts.len() == 3 { &[4, 2, 2] } else { &[2, 2] };
    let hex = |part: &str| part.bytes().all(|b| b.is_ascii_hexdigit());
    parts.len() == lengths.len()
        && parts.iter().zip(lengths).all(|(part, length)| part.len() == *length && hex(part))
        && matches!(function.as_bytes(), [b'0'..=b'7'])
}

/// A driver's name and a number: `net_af_packet0`.
fn is_virtual(device: &str) -> bool {
    let driver = device.trim_end_matches(|c: char| c.is_ascii_digit());
    driver.len() < device.len()
        && driver.starts_with(|c: char| c.is_ascii_lowercase())
        && driver.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// An address of our own with its prefix length.
fn prefix(section: &Section<'_>, text: &At<&str>) -> Option<At<Prefix>> {
    let parsed = text.value.split_once('/').and_then(|(addr, len)| {
        let (addr, len): (IpAddr, u8) = (addr.parse().ok()?, len.parse().ok()?);
        (len <= if addr.is_ipv4() { 32 } else { 128 }).then_some(Prefix { addr, len })
    });
    let Some(prefix) = parsed else {
        let what = format!("`{}` is no address with a prefix length", text.value);
        section.problems().add(text, what, section.write("addresses"));
        return None;
    };
    if let Some(why) = unusable(prefix.addr).or_else(|| edge(&prefix)) {
        let what = format!("`{}` {why}", text.value);
        section.problems().add(
            text,
            what,
            "write the address of one station, and its prefix length",
        );
        return None;
    }
    Some(text.with(prefix))
}

fn gateway(section: &Section<'_>, text: &At<&str>) -> Option<At<IpAddr>> {
    let addr: Option<IpAddr> = text.value.parse().ok();
    let why = addr.map_or(Some("is no IP address"), unusable);
    if let Some(why) = why {
        section.problems().add(text, format!("`{}` {why}", text.value), section.write("gateways"));
    }
    addr.filter(|_| why.is_none()).map(|addr| text.with(addr))
}

/// Why a station cannot have this address, if it cannot.
pub(super) fn unusable(addr: IpAddr) -> Option<&'static str> {
    let mapped = |v6: Ipv6Addr| v6.to_ipv4_mapped().is_some();
    match addr {
        _ if addr.is_unspecified() => Some("is the unspecified address"),
        _ if addr.is_loopback() => Some("is a loopback address, which is never seen on a link"),
        _ if addr.is_multicast() => Some("is a multicast address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("is the broadcast address"),
        IpAddr::V4(v4) if v4.octets()[0] == 0 || v4.octets()[0] >= 240 => Some("is reserved"),
        IpAddr::V6(v6) if mapped(v6) => Some("is an IPv4 address in IPv6 form: write it as IPv4"),
        _ => None,
    }
}

/// Whether an IPv4 address is its network's own or its broadcast address.
fn edge(prefix: &Prefix) -> Option<&'static str> {
    let IpAddr::V4(v4) = prefix.addr else { return None };
    let host = u32::MAX.checked_shr(u32::from(prefix.len)).unwrap_or(0);
    match u32::from(v4) & host {
        _ if prefix.len >= 31 => None,
        0 => Some("is the network's address, not a station's"),
        bits if bits == host => Some("is the network's broadcast address"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_pci_addresses_or_drivers_with_a_number() {
        assert!(is_pci("0000:3b:00.0") && is_pci("3b:00.7"));
        assert!(!is_pci("0000:3b:00") && !is_pci("3b:00.8") && !is_pci("00:3b:00.0"));
        assert!(
            is_virtual("net_af_packet0")
                && is_virtual("virtio_user12")
                && is_virtual("net_af_xdp0")
        );
        assert!(!is_virtual("eth") && !is_virtual("net af") && !is_virtual(""));
    }
}
