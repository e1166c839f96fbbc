//! A raw socket that sends whole frames out of one interface and receives none.
//!
//! Opened only inside a named network namespace that is not the caller's, so that no mistake in an argument can put a
//! frame on a real wire. Used by [`crate::flood`].

use std::fs::{File, metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, bind, netdevice, send, socket_with,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The prefix of every namespace that our scripts make, and of no other's.
const OURS: &str = "usher-";

/// An `AF_PACKET` socket bound to one interface.
pub(crate) struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Moves this thread into the namespace `name` and opens the socket on its `interface`.
    ///
    /// # Errors
    /// When the namespace is not one of ours or is the caller's, when the interface is not in it, or without CAP_NET_RAW.
    pub(crate) fn open(name: &str, interface: &str) -> io::Result<Self> {
        enter(name)?;
        let socket =
            socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        let index = netdevice::name_to_index(&socket, interface).map_err(|error| {
            because(format!("no interface '{interface}' in namespace '{name}': {error}"))
        })?;
        bind(&socket, &LinkAddress::of(index))?;
        Ok(Self(socket))
    }

    /// Sends one frame. `false` when the interface's queue is full.
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<bool> {
        match send(&self.0, frame, SendFlags::empty()) {
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::AGAIN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn enter(name: &str) -> io::Result<()> {
    if !name.starts_with(OURS) || name.contains('/') {
        return Err(because(format!(
            "namespace '{name}' is not ours: its name must start with '{OURS}'"
        )));
    }
    let path = Path::new("/run/netns").join(name);
    let namespace =
        File::open(&path).map_err(|error| because(format!("{}: {error}", path.display())))?;
    if identity(&path)? == identity(Path::new("/proc/self/ns/net"))? {
        return Err(because(format!(
            "namespace '{name}' is where this was started: it must be one apart"
        )));
    }
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

/// Two paths name one namespace exactly when device and inode agree (namespaces(7)).
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    metadata(path).map(|found| (found.dev(), found.ino()))
}

fn because(why: String) -> io::Error {
    io::Error::other(why)
}

/// `struct sockaddr_ll` of packet(7).
#[repr(C)]
#[derive(Default)]
struct LinkAddress {
    family: u16,
    /// Zero: the socket receives nothing.
    protocol: u16,
    index: u32,
    hardware: u16,
    packet: u8,
    length: u8,
    address: [u8; 8],
}

const _: () = assert!(size_of::<LinkAddress>() == 20 && align_of::<LinkAddress>() == 4);

impl LinkAddress {
    fn of(index: u32) -> Self {
        Self { family: AddressFamily::PACKET.as_raw(), index, ..Self::default() }
    }
}

// SAFETY: `f` gets a pointer to a whole `sockaddr_ll`, which lives until it returns, and that structure's size.
unsafe impl SocketAddrArg for LinkAddress {
    unsafe fn with_sockaddr<R>(
        &self,
        f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R,
    ) -> R {
        f(std::ptr::from_ref(self).cast(), size_of::<Self>() as SocketAddrLen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str) -> String {
        PacketSocket::open(name, "lo").err().expect("refused").to_string()
    }

    #[test]
    fn a_namespace_of_another_name_is_refused() {
        assert!(refusal("prod").contains("not ours"));
        assert!(refusal("usher-/../../1").contains("not ours"));
    }

    #[test]
    fn a_namespace_that_does_not_exist_is_refused() {
        assert!(refusal("usher-nowhere").contains("usher-nowhere"));
    }
}
