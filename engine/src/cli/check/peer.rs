//! The other end of a veth. If it leaves TCP checksums to the device, they are never computed, because a
//! veth has none to compute them: its frames arrive with wrong ones and are dropped as `bad_tcp_checksum`.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::device::interface;
use super::{Finding, Host, ethtool, fail, ok, warn};
use crate::config::PortPlan;

/// Where `ip netns` keeps the namespaces that have names.
const NAMED: &str = "/run/netns";

/// What is found about the other end of the port's interface; nothing if that is no veth.
pub(super) fn check(port: &PortPlan, host: &Host) -> Option<Finding> {
    let interface =
        interface(port.device.dpdk()?).filter(|interface| ethtool::is_veth(interface))?;
    let read = |what: &str| host.sys(&format!("class/net/{interface}/{what}"))?.parse::<u32>().ok();
    let (own, peer) = (read("ifindex")?, read("iflink")?);
    let start = format!("port {}: ", port.name);
    let end = format!("the other end of {interface}");
    let here = ethtool::name_of(peer).filter(|name| {
        peer != own && host.sys(&format!("class/net/{name}/iflink")) == Some(own.to_string())
    });
    if let Some(name) = here {
        return Some(match ethtool::tx_checksums(&name) {
            Some(true) => {
                fail(format!("{start}{name}, {end}, {}; ethtool -K {name} tx off", undone()))
            }
            Some(false) => ok(format!("{start}{name}, {end}, computes checksums")),
            None => {
                warn(format!("{start}whether {name}, {end}, computes checksums cannot be read"))
            }
        });
    }
    let candidates = elsewhere(peer);
    let lazy: Vec<_> = candidates.iter().filter(|(_, _, offload)| *offload).collect();
    Some(match (candidates.as_slice(), lazy.as_slice()) {
        ([], _) => warn(format!(
            "{start}{end} is in a network namespace without a name: it needs `ethtool -K PEER tx off` there"
        )),
        (_, []) => ok(format!("{start}{end}, in another network namespace, computes checksums")),
        ([_], [(space, name, _)]) => fail(format!(
            "{start}{name} in {space}, {end}, {}; ip netns exec {space} ethtool -K {name} tx off",
            undone()
        )),
        (_, [(space, name, _), ..]) => warn(format!(
            "{start}{name} in {space} may be {end}, and {}; if so: ip netns exec {space} ethtool -K {name} tx off",
            undone()
        )),
    })
}

const fn undone() -> &'static str {
    "leaves TCP checksums undone, so its connections would be dropped"
}

/// The veths with that index in the other named namespaces: namespace, name, and whether checksums are left to
/// the device. Indices are numbered anew in each namespace, so there may be several.
fn elsewhere(index: u32) -> Vec<(String, String, bool)> {
    let spaces = std::fs::read_dir(NAMED).into_iter().flatten().flatten();
    let look = |space: std::fs::DirEntry| {
        let path = space.path();
        if number(&path) == number(Path::new("/proc/self/ns/net")) {
            return None;
        }
        // a thread of its own enters the namespace, so that this one stays where it is
        let seen = std::thread::spawn(move || inside(&path, index)).join().ok()??;
        Some((space.file_name().to_string_lossy().into_owned(), seen.0, seen.1))
    };
    spaces.filter_map(look).collect()
}

/// What tells one namespace from another.
fn number(space: &Path) -> Option<u64> {
    std::fs::metadata(space).ok().map(|meta| meta.ino())
}

fn inside(space: &Path, index: u32) -> Option<(String, bool)> {
    let space = open(space, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network)).ok()?;
    let name = ethtool::name_of(index).filter(|name| ethtool::is_veth(name))?;
    let offload = ethtool::tx_checksums(&name)?;
    Some((name, offload))
}
