//! Opens what a configuration names, in its order.

#![forbid(unsafe_code)]

use crate::config::Plan;
use crate::port::PortError;
use crate::port::pcap::{PcapPort, PcapSetup};

/// Opens ports that play captures.
pub(crate) fn play(captures: &[PcapSetup]) -> Result<Vec<PcapPort>, PortError> {
    captures.iter().map(PcapPort::open).collect()
}

/// Opens DPDK's ports.
#[cfg(feature = "dpdk")]
pub(crate) fn open(
    plan: &Plan,
    cores: &[usize],
) -> Result<Vec<crate::port::dpdk::DpdkPort>, PortError> {
    let ports = crate::port::dpdk::open(&plan.dpdk_setup(cores))?;
    for port in &ports {
        let pages = if port.has_huge_pages() { "huge" } else { "ordinary" };
        let name = crate::port::Port::name(port);
        let driver = crate::port::Port::driver(port);
        tracing::info!("port `{name}`: driver {driver}, buffers in {pages} pages");
    }
    Ok(ports)
}

/// Without DPDK there are no devices.
#[cfg(not(feature = "dpdk"))]
pub(crate) fn open(
    _: &Plan,
    _: &[usize],
) -> Result<Vec<crate::port::memory::MemoryPort>, PortError> {
    Err("this build of usher has no DPDK; build it with its default features".into())
}
