//! What the process may do: no more than its devices need once they are open.
//!
//! Capabilities belong to threads, and DPDK has threads of its own: each is interrupted by a signal whose
//! handler lowers the thread's own, which is the only way there is (`libpsx` does it so, too).
#![allow(unsafe_code, reason = "a signal handler, and a signal to one thread")]

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::park_timeout;
use std::time::Duration;

use nix::libc::{SIGURG, SYS_tgkill, c_long, syscall};
use rustix::process::{Pid, getpid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

/// What handlers leave to their threads.
static KEPT: AtomicU64 = AtomicU64::new(0);

/// How often threads are looked at, and the pause between; a thread that has a signal blocked for longer keeps what it has.
const LOOKS: u32 = 500;
const PAUSE: Duration = Duration::from_millis(2);

/// What a driver needs of a process once its device is open. A virtual device on one of the kernel's interfaces
/// sets it anew when a reload adds multicast groups, and takes down at the end what it put up; Mellanox NICs, which stay
/// with the kernel, also ask it for each flow rule and queue; the others map memory for DMA, which is locked. Sockets,
/// shared memory and files need nothing any more.
pub(super) fn kept(driver: &str) -> CapabilitySet {
    match driver {
        "net_af_packet" | "net_af_xdp" | "net_tap" => CapabilitySet::NET_ADMIN,
        "" | "net_memif" | "net_null" | "net_pcap" | "net_ring" | "net_vhost"
        | "net_virtio_user" => CapabilitySet::empty(),
        _ if driver.starts_with("mlx") => {
            CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW | CapabilitySet::IPC_LOCK
        }
        _ => CapabilitySet::IPC_LOCK,
    }
}

/// Nothing that this thread or those that it starts may execute gives them more rights.
pub(super) fn gain_none() -> io::Result<()> {
    Ok(set_no_new_privs(true)?)
}

/// Lowers every thread of the process to `kept`, as far as it has that. Returns the threads that did not obey.
///
/// # Errors
///
/// When the threads cannot be listed or a handler cannot be installed.
pub(super) fn keep_only(kept: CapabilitySet) -> io::Result<Vec<Pid>> {
    // Relaxed: the system call that sends the signal orders it for the handler.
    KEPT.store(kept.bits(), Ordering::Relaxed);
    // SAFETY: `lower` makes system calls and reads an atomic, no more.
    let handler = unsafe { signal_hook::low_level::register(SIGURG, lower) }?;
    let left = lower_all(kept);
    signal_hook::low_level::unregister(handler);
    left
}

fn lower_all(kept: CapabilitySet) -> io::Result<Vec<Pid>> {
    for _ in 0..LOOKS {
        // one that started another meanwhile may have given it its own: looked at until there is none
        let left = beyond(kept)?;
        if left.is_empty() {
            return Ok(left);
        }
        left.iter().for_each(|thread| interrupt(*thread));
        park_timeout(PAUSE);
    }
    beyond(kept)
}

/// The threads that may do more than `kept`.
fn beyond(kept: CapabilitySet) -> io::Result<Vec<Pid>> {
    let mut threads = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task")? {
        let name = entry?.file_name();
        let Some(thread) = name.to_str().and_then(|text| text.parse().ok()).and_then(Pid::from_raw)
        else {
            continue;
        };
        // one that has just ended may do nothing
        if capabilities(Some(thread)).is_ok_and(|has| !kept.contains(has.permitted)) {
            threads.push(thread);
        }
    }
    Ok(threads)
}

/// Sends the signal to one thread of ours; if it has just ended, nothing happens.
fn interrupt(thread: Pid) {
    let [group, thread] = [getpid(), thread].map(|id| c_long::from(id.as_raw_nonzero().get()));
    // SAFETY: the call takes three numbers and touches no memory.
    let _ = unsafe { syscall(SYS_tgkill, group, thread, c_long::from(SIGURG)) };
}

/// The handler: on whichever thread, its own capabilities become those that it shares with [`KEPT`].
fn lower() {
    // Relaxed: see `keep_only`.
    let kept = CapabilitySet::from_bits_retain(KEPT.load(Ordering::Relaxed));
    if let Ok(has) = capabilities(None) {
        let (permitted, effective) = (has.permitted & kept, has.effective & kept);
        let lowered = CapabilitySets { effective, permitted, inheritable: CapabilitySet::empty() };
        // giving rights up is never refused
        let _ = set_capabilities(None, lowered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_keeps_what_it_needs() {
        assert_eq!(kept("net_memif") | kept(""), CapabilitySet::empty());
        assert_eq!(kept("net_af_packet"), CapabilitySet::NET_ADMIN);
        assert_eq!(kept("net_ixgbe"), CapabilitySet::IPC_LOCK);
        assert!(kept("mlx5_pci").contains(CapabilitySet::NET_RAW));
    }
}
