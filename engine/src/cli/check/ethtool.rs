//! The two questions to the kernel that have no file: an interface's name, and whether it leaves
//! checksums of what it sends to the device.
#![allow(unsafe_code, reason = "an ioctl that no crate of ours wraps")]

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketType, netdevice, socket};

/// `SIOCETHTOOL`, Linux's `sockios.h`.
const SIOCETHTOOL: u32 = 0x8946;

/// `ETHTOOL_GTXCSUM`, Linux's `ethtool.h`.
const ETHTOOL_GTXCSUM: u32 = 0x16;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ifreq` with a pointer in its union, which is 24 bytes long.
#[repr(C)]
struct Request {
    name: [u8; 16],
    data: *mut Value,
    rest: [u64; 2],
}

const _: () = assert!(size_of::<Request>() == 40);

nix::ioctl_readwrite_bad!(siocethtool, SIOCETHTOOL, Request);

fn any_socket() -> Option<OwnedFd> {
    socket(AddressFamily::INET, SocketType::DGRAM, None).ok()
}

/// The name of the interface of this network namespace that has `index`.
pub(super) fn name_of(index: u32) -> Option<String> {
    netdevice::index_to_name(any_socket()?, index).ok()
}

/// Whether `interface` leaves checksums of what it sends to the device.
pub(super) fn tx_checksums(interface: &str) -> Option<bool> {
    let mut value = Value { command: ETHTOOL_GTXCSUM, data: 0 };
    let mut request = Request { name: [0; 16], data: &raw mut value, rest: [0; 2] };
    // the last byte stays 0
    request.name[..15].iter_mut().zip(interface.bytes()).for_each(|(to, from)| *to = from);
    let socket = any_socket()?;
    // SAFETY: the request has the kernel's layout (asserted) and lives through the call, as does the
    // value that it points to, which the kernel reads and writes within its 8 bytes.
    let answer = unsafe { siocethtool(socket.as_raw_fd(), &raw mut request) };
    answer.ok().map(|_| value.data != 0)
}
