//! A raw socket that sends whole frames out of one interface and receives none.
//!
//! Opened only inside a named network namespace that is not the caller's, so that no mistake in an argument can put a
//! frame on a real wire. Used by [`crate::flood`].

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;

use arrayvec::ArrayVec;
use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{
    AddressFamily, MMsgHdr, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, bind,
    netdevice, sendmmsg, socket_with,
};

use crate::netns::enter;

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
            io::Error::other(format!("no interface '{interface}' in namespace '{name}': {error}"))
        })?;
        bind(&socket, &LinkAddress::of(index))?;
        Ok(Self(socket))
    }

    /// Sends frames from the front, [`BURST`] at most; how many the interface's queue took.
    pub(crate) fn send<'a>(&self, frames: impl Iterator<Item = &'a [u8]>) -> io::Result<usize> {
        let slices: ArrayVec<[IoSlice<'_>; 1], BURST> =
            frames.take(BURST).map(|frame| [IoSlice::new(frame)]).collect();
        let mut controls = [(); BURST].map(|()| SendAncillaryBuffer::default());
        let mut messages: ArrayVec<MMsgHdr<'_>, BURST> = slices
            .iter()
            .zip(&mut controls)
            .map(|(slice, control)| MMsgHdr::new(slice, control))
            .collect();
        match sendmmsg(&self.0, &mut messages, SendFlags::empty()) {
            Ok(sent) => Ok(sent),
            Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::AGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

/// Frames of one system call.
pub(crate) const BURST: usize = 32;

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
