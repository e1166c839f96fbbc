//! Stations on a link, and what the parser must know of the port that a frame came in by.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A MAC address.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Default,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(transparent)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Every station.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// No station: what an ARP request carries as its target.
    pub const ZERO: Self = Self([0; 6]);

    /// Whether this addresses a group (multicast or broadcast) and so cannot be a sender.
    #[must_use]
    pub const fn is_group(self) -> bool {
        let [first, ..] = self.0;
        first & 1 != 0
    }

    /// Whether a frame can come from this address: one station, and not all zeros.
    #[must_use]
    pub fn is_station(self) -> bool {
        !self.is_group() && self != Self::ZERO
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the parser must know of the port that a frame came in by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortView {
    /// The port's own MAC.
    pub mac: Mac,
    /// The VLAN that the port serves; 0 for untagged.
    pub vlan: u16,
    /// The port's index, which becomes part of the tuple.
    pub index: u16,
}

/// The link-layer envelope of a frame that we send.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// Our MAC.
    pub src: Mac,
    /// The next hop's MAC.
    pub dst: Mac,
    /// VLAN id; 0 for untagged.
    pub vlan: u16,
}

/// The buffer has no room for the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooSmall;

impl fmt::Display for TooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the buffer has no room for the frame")
    }
}

impl core::error::Error for TooSmall {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_are_stations() {
        assert!(Mac([2, 0, 0, 0, 0, 1]).is_station());
        assert!(!Mac::BROADCAST.is_station() && !Mac::ZERO.is_station());
        assert!(Mac([0x33, 0x33, 0, 0, 0, 1]).is_group());
        assert_eq!(std::format!("{:?}", Mac([2, 0, 0, 0, 0xab, 1])), "02:00:00:00:ab:01");
    }
}
