//! What TCP and ICMP need to know of the packet around them, whichever family it is of.

use super::checksum::Sum;
use super::{Addr, Mac, ipv4, ipv6};
use crate::cause::Reason;

/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of IGMP.
pub const IGMP: u8 = 2;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;

/// The IP header of a packet. Addresses stay in the frame until they are wanted: a copy of them that is
/// written and read back at once stalls the processor for longer than all the rest takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Header<'a> {
    V4(&'a ipv4::Header),
    V6(&'a ipv6::Header),
}

impl Header<'_> {
    #[inline]
    pub(super) const fn source(self) -> Addr {
        match self {
            Self::V4(header) => Addr::v4(header.source),
            Self::V6(header) => Addr(header.source),
        }
    }

    #[inline]
    pub(super) const fn destination(self) -> Addr {
        match self {
            Self::V4(header) => Addr::v4(header.destination),
            Self::V6(header) => Addr(header.destination),
        }
    }

    pub(super) const fn hop_limit(self) -> u8 {
        match self {
            Self::V4(header) => header.ttl,
            Self::V6(header) => header.hop_limit,
        }
    }

    /// Whether a router marked the packet: congestion experienced (CE, RFC 3168 §5).
    #[inline]
    pub(super) const fn is_marked(self) -> bool {
        const CE: u8 = 0b11;
        let class = match self {
            Self::V4(header) => header.tos,
            Self::V6(header) => (header.version_class_flow.get() >> 20) as u8,
        };
        class & CE == CE
    }

    #[inline]
    const fn is_to_group(self) -> bool {
        match self {
            Self::V4(header) => ipv4::is_group(header.destination),
            Self::V6(header) => ipv6::is_group(&Addr(header.destination)),
        }
    }

    #[inline]
    const fn is_from_host(self) -> bool {
        match self {
            Self::V4(header) => ipv4::is_host(header.source),
            Self::V6(header) => ipv6::is_host(&Addr(header.source)),
        }
    }

    #[inline]
    fn is_to_itself(self) -> bool {
        match self {
            Self::V4(header) => header.source == header.destination,
            Self::V6(header) => header.source == header.destination,
        }
    }

    /// The sum of both addresses.
    #[inline]
    pub(super) const fn addresses(self) -> Sum {
        match self {
            Self::V4(header) => Sum::ZERO
                .dword(u32::from_be_bytes(header.source))
                .dword(u32::from_be_bytes(header.destination)),
            Self::V6(header) => {
                Sum::ZERO.addr(&Addr(header.source)).addr(&Addr(header.destination))
            }
        }
    }
}

/// A packet whose IP header passed every check but that of its source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram<'a> {
    pub(super) header: Header<'a>,
    /// The protocol of `payload`, behind all extension headers.
    pub(super) protocol: u8,
    /// Where the IP header begins in the frame.
    pub(super) ip_offset: u16,
    /// Where `payload` begins in the frame.
    pub(super) offset: u16,
    /// What the IP header says belongs to the packet: Ethernet padding is cut off.
    pub(super) payload: &'a [u8],
    /// Who sent the frame.
    pub(super) source_mac: Mac,
    /// Whether the frame was sent to a group.
    pub(super) is_link_group: bool,
}

impl Datagram<'_> {
    /// The length of `payload`, which an IP header cannot make larger than 65535.
    pub(super) const fn payload_len(&self) -> u16 {
        self.payload.len() as u16
    }

    /// Whether the frame or the packet is addressed to a group.
    #[inline]
    pub(super) const fn is_to_group(&self) -> bool {
        self.is_link_group || self.header.is_to_group()
    }

    /// Whether the checksum in `payload` is right, the pseudo-header included.
    #[inline]
    pub(super) fn is_sound(&self) -> bool {
        let addresses = self.header.addresses();
        let pseudo = addresses.word(u16::from(self.protocol)).word(self.payload_len());
        pseudo.bytes(self.payload).is_sound()
    }

    /// Refuses sources that cannot be (RFC 1122 §3.2.1.3, RFC 4291 §2.5) and packets to their own sender.
    #[inline]
    pub(super) fn check_source(&self) -> Result<(), Reason> {
        if !self.header.is_from_host() {
            return Err(Reason::BadSource);
        }
        if self.header.is_to_itself() { Err(Reason::Land) } else { Ok(()) }
    }
}
