//! What names a connection: both addresses, both ports and the VLAN.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IP address of either family in 16 bytes; IPv4 is kept mapped (`::ffff:a.b.c.d`).
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Addr(pub [u8; 16]);

impl Addr {
    /// The IPv4 address `a`.
    #[must_use]
    pub const fn v4(a: [u8; 4]) -> Self {
        Self((0xffff << 32 | u32::from_be_bytes(a) as u128).to_be_bytes())
    }

    /// The four bytes of an IPv4 address, or `None` for IPv6.
    #[must_use]
    pub const fn as_v4(&self) -> Option<[u8; 4]> {
        let [.., a, b, c, d] = self.0;
        if self.is_v4() { Some([a, b, c, d]) } else { None }
    }

    /// Whether this is an IPv4 address.
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        // Two comparisons; a pattern of twelve bytes becomes as many branches.
        let [low, high]: [u64; 2] = zerocopy::transmute!(self.0);
        low == 0 && u64::from_be(high) >> 32 == 0xffff
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::v4(v4.octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

impl From<Addr> for IpAddr {
    fn from(addr: Addr) -> Self {
        match addr.as_v4() {
            Some(v4) => Self::V4(Ipv4Addr::from(v4)),
            None => Self::V6(Ipv6Addr::from(addr.0)),
        }
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

/// The name of a connection as we see it: `remote` is the sender of what we receive, `local` is ours.
///
/// 40 bytes without padding, so that it can be hashed and compared as bytes.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Tuple {
    /// The peer's address.
    pub remote: Addr,
    /// Our address.
    pub local: Addr,
    /// The peer's TCP port.
    pub remote_port: u16,
    /// Our TCP port.
    pub local_port: u16,
    /// VLAN id, 0 for untagged.
    pub vlan: u16,
    /// Index of the port (the device) that the connection came in by.
    pub port: u16,
}

const _: () = assert!(size_of::<Tuple>() == 40);

impl Tuple {
    /// The name of an untagged IPv4 connection that comes in by `port`: the peer's address and port, then
    /// ours.
    #[must_use]
    #[inline(always)]
    pub(super) const fn v4(remote: ([u8; 4], u16), local: ([u8; 4], u16), port: u16) -> Self {
        Self {
            remote: Addr::v4(remote.0),
            local: Addr::v4(local.0),
            remote_port: remote.1,
            local_port: local.1,
            vlan: 0,
            port,
        }
    }
}

impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{} > {:?}:{}", self.remote, self.remote_port, self.local, self.local_port)?;
        if self.vlan == 0 { Ok(()) } else { write!(f, " vlan {}", self.vlan) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_convert_both_ways() {
        for text in ["10.1.2.3", "fd00::1"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Addr::from(ip)), ip);
        }
        assert!(Addr::v4([1, 2, 3, 4]).is_v4() && !Addr::default().is_v4());
    }
}
