//! Memory: huge pages for packet buffers, and enough for buffers and flows.

use super::{Finding, Host, fail, ok, warn};
use crate::config::{Memory, Plan};

/// What a packet buffer takes: 128 B of header, 128 B of headroom, 2 kB of data, and the pool's share.
const BUFFER: u64 = 2432;

/// What a flow takes in the table, everything counted.
const FLOW: u64 = 192;

const MB: u64 = 1 << 20;

pub(super) fn check(plan: &Plan, workers: usize, host: &Host) -> Vec<Finding> {
    let flows = workers as u64 * u64::from(plan.flow_capacity) * FLOW;
    if plan.ports.iter().all(|port| port.device.dpdk().is_none()) {
        return vec![available(flows, host)];
    }
    let buffers = plan.ports.len() as u64 * u64::from(plan.dpdk.mbufs_per_port) * BUFFER;
    let huge = free_huge(host);
    let needed = plan.dpdk.memory_mb.map_or(buffers, |mb| u64::from(mb) * MB).div_ceil(MB);
    let free = huge / MB;
    let ordinary = "ordinary pages do for virtual devices; scripts/hugepages makes huge ones";
    let enough = huge > 0 && free >= needed;
    let what = format!("packet buffers need {needed} MB, and {free} MB of huge pages are free");
    let remedy = "make more with scripts/hugepages, or lower dpdk.mbufs_per_port";
    let (finding, from_ordinary) = match plan.dpdk.memory {
        Memory::None => (ok("packet buffers: ordinary pages, as dpdk.memory says"), needed * MB),
        Memory::Auto | Memory::Huge if enough => {
            (ok(format!("packet buffers: {needed} of {free} MB of free huge pages")), 0)
        }
        Memory::Auto => (warn(format!("{what}; {ordinary}")), needed * MB),
        Memory::Huge => (fail(format!("{what}; {remedy}")), 0),
    };
    vec![finding, available(flows + from_ordinary, host)]
}

/// Bytes of free huge pages of all sizes.
fn free_huge(host: &Host) -> u64 {
    let Ok(sizes) = std::fs::read_dir(host.sys.join("kernel/mm/hugepages")) else { return 0 };
    let free = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let size: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let count = host.sys(&format!("kernel/mm/hugepages/{name}/free_hugepages"))?;
        Some(size * 1024 * count.parse::<u64>().ok()?)
    };
    sizes.flatten().filter_map(free).sum()
}

fn available(needed: u64, host: &Host) -> Finding {
    let needed = needed.div_ceil(MB);
    let available = host.proc("meminfo").and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?.to_owned();
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kb| kb / 1024)
    });
    match available {
        Some(free) if free < needed => {
            let what = format!(
                "flows and buffers need {needed} MB, and {free} MB of memory are available"
            );
            fail(format!("{what}; lower flow_table.capacity or dpdk.mbufs_per_port"))
        }
        Some(free) => ok(format!("flows and buffers: {needed} of {free} MB of available memory")),
        None => warn("how much memory is available cannot be read from /proc/meminfo"),
    }
}
