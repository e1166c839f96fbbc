//! What TCP and ICMP need to know of the packet around them, whichever family it is of.

use super::checksum::Sum;
use super::ethernet::Arrival;
use super::{Addr, Mac};
use crate::cause::Reason;

/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of IGMP.
pub const IGMP: u8 = 2;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;

/// A packet whose IP header passed every check but that of its source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram<'a> {
    pub(super) source: Addr,
    pub(super) destination: Addr,
    /// The protocol of `payload`, behind all extension headers.
    pub(super) protocol: u8,
    pub(super) hop_limit: u8,
    /// Where the IP header begins in the frame.
    pub(super) ip_offset: u16,
    /// Where `payload` begins in the frame.
    pub(super) offset: u16,
    /// What the IP header says belongs to the packet: Ethernet padding is cut off.
    pub(super) payload: &'a [u8],
    /// Who sent the frame.
    pub(super) source_mac: Mac,
    /// Whether the frame or the packet is addressed to a group.
    pub(super) to_group: bool,
    /// Whether a router marked the packet (CE, RFC 3168 §5).
    pub(super) ce: bool,
}

/// The two ECN bits of a traffic class that say congestion experienced (RFC 3168 §5).
pub(super) const CE: u8 = 0b11;

impl<'a> Datagram<'a> {
    /// The packet in `arrival` whose payload begins `header_len` bytes behind its start.
    pub(super) fn new(
        arrival: &Arrival<'a>,
        (source, destination): (Addr, Addr),
        (protocol, hop_limit): (u8, u8),
        header_len: usize,
        payload: &'a [u8],
    ) -> Result<Self, Reason> {
        let header_len = u16::try_from(header_len).map_err(|_| Reason::BadIpHeader)?;
        Ok(Self {
            source,
            destination,
            protocol,
            hop_limit,
            ip_offset: arrival.offset,
            offset: arrival.offset.checked_add(header_len).ok_or(Reason::BadIpHeader)?,
            payload,
            source_mac: arrival.source,
            to_group: arrival.to_group || is_group(&destination),
            ce: false,
        })
    }

    /// The length of `payload`, which an IP header cannot make larger than 65535.
    pub(super) fn payload_len(&self) -> u16 {
        u16::try_from(self.payload.len()).unwrap_or(u16::MAX)
    }

    /// Whether the checksum in `payload` is right, the pseudo-header included.
    pub(super) fn is_sound(&self) -> bool {
        Sum::pseudo(&self.source, &self.destination, self.protocol, self.payload_len())
            .bytes(self.payload)
            .is_sound()
    }

    /// Refuses sources that cannot be (RFC 1122 §3.2.1.3, RFC 4291 §2.5) and packets to their own sender.
    pub(super) fn check_source(&self) -> Result<(), Reason> {
        if !is_host(&self.source) {
            return Err(Reason::BadSource);
        }
        if self.source == self.destination { Err(Reason::Land) } else { Ok(()) }
    }
}

/// Whether `addr` is one that a host can have. An IPv6 header with a mapped IPv4 address would be taken for
/// another packet and is refused before it gets here.
pub(super) fn is_host(addr: &Addr) -> bool {
    match addr.as_v4() {
        Some(v4) => super::ipv4::is_host(v4),
        None => super::ipv6::is_host(addr),
    }
}

fn is_group(addr: &Addr) -> bool {
    match addr.as_v4() {
        Some(v4) => super::ipv4::is_group(v4),
        None => addr.0.first() == Some(&0xff),
    }
}
