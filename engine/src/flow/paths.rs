//! Second names: what a proxied flow is called on its backend half.
//!
//! A flow's record keeps two bytes for the path and two for our port instead of a second tuple.
#![forbid(unsafe_code)]

use usher_proto::wire::{Addr, Tuple};

/// A way to a backend, and what frames that come back by it are called.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Path {
    /// From an address of ours: the flow differs by our port.
    Translated {
        /// The backend's address.
        remote: Addr,
        /// Our address.
        local: Addr,
        /// The backend's TCP port.
        remote_port: u16,
        /// The VLAN of the port.
        vlan: u16,
        /// The index of the port (the device).
        port: u16,
    },
    /// With the client's own addresses and ports: the backend has the service's address.
    Direct {
        /// The VLAN of the port.
        vlan: u16,
        /// The index of the port (the device).
        port: u16,
    },
}

impl Path {
    /// The second name of the flow whose first is `client`, from `local_port` where addresses are
    /// translated.
    #[inline]
    #[must_use]
    pub const fn name(&self, client: &Tuple, local_port: u16) -> Tuple {
        match *self {
            Self::Translated { remote, local, remote_port, vlan, port } => {
                Tuple { remote, local, remote_port, local_port, vlan, port }
            }
            Self::Direct { vlan, port } => Tuple {
                remote: client.local,
                local: client.remote,
                remote_port: client.local_port,
                local_port: client.remote_port,
                vlan,
                port,
            },
        }
    }
}
