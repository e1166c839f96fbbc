//! The questions to the kernel that have no file: an interface's name, its driver, and whether it
//! leaves checksums of what it sends to the device.
#![allow(unsafe_code, reason = "an ioctl that no crate of ours wraps")]

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketType, netdevice, socket};

/// `SIOCETHTOOL`, Linux's `sockios.h`.
const SIOCETHTOOL: u32 = 0x8946;

/// `ETHTOOL_GDRVINFO` and `ETHTOOL_GTXCSUM`, Linux's `ethtool.h`.
const GDRVINFO: u32 = 0x3;
const GTXCSUM: u32 = 0x16;

/// A command and the room for its answer: `struct ethtool_value` needs 8 bytes, the larger one,
/// `struct ethtool_drvinfo`, 196.
#[repr(C)]
struct Answer {
    command: u32,
    data: [u8; 192],
}

const _: () = assert!(size_of::<Answer>() == 196);

/// `struct ifreq` with a pointer in its union, which is 24 bytes long.
#[repr(C)]
struct Request {
    name: [u8; 16],
    data: *mut Answer,
    rest: [u64; 2],
}

const _: () = assert!(size_of::<Request>() == 40);

nix::ioctl_readwrite_bad!(siocethtool, SIOCETHTOOL, Request);

fn any_socket() -> Option<OwnedFd> {
    socket(AddressFamily::INET, SocketType::DGRAM, None).ok()
}

/// The name of the interface of this thread's network namespace that has `index`.
pub(super) fn name_of(index: u32) -> Option<String> {
    netdevice::index_to_name(any_socket()?, index).ok()
}

/// Whether `interface` leaves checksums of what it sends to the device.
pub(super) fn tx_checksums(interface: &str) -> Option<bool> {
    ask(interface, GTXCSUM).map(|data| data[..4] != [0; 4])
}

/// Whether `interface` is one end of a veth pair.
pub(super) fn is_veth(interface: &str) -> bool {
    ask(interface, GDRVINFO).is_some_and(|data| data.starts_with(b"veth\0"))
}

/// What follows the command in the kernel's answer.
fn ask(interface: &str, command: u32) -> Option<[u8; 192]> {
    let mut answer = Answer { command, data: [0; 192] };
    let mut request = Request { name: [0; 16], data: &raw mut answer, rest: [0; 2] };
    // the last byte stays 0
    request.name[..15].iter_mut().zip(interface.bytes()).for_each(|(to, from)| *to = from);
    let socket = any_socket()?;
    // SAFETY: the request has the kernel's layout (asserted) and lives through the call, as does the
    // answer that it points to, in which the kernel writes at most the 196 bytes of the larger command.
    let done = unsafe { siocethtool(socket.as_raw_fd(), &raw mut request) };
    done.ok().map(|_| answer.data)
}
