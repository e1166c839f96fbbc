//! IPv4 headers (RFC 791, RFC 1122).

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::{Checked, Numbers, Sum};
use super::ethernet::Arrival;
use super::ip::{self, Datagram};
use crate::cause::Reason;

/// The header without options.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    /// Version 4, and the header's length in words.
    pub version_ihl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Length of header and payload in bytes.
    pub total_len: U16,
    /// Identification.
    pub id: U16,
    /// Flags (reserved, DF, MF) and fragment offset.
    pub fragment: U16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Checksum of the header.
    pub checksum: U16,
    /// Source.
    pub source: [u8; 4],
    /// Destination.
    pub destination: [u8; 4],
}

const _: () = assert!(size_of::<Header>() == 20);
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS_AND_OFFSET: u16 = 0x3fff;

impl Header {
    /// The header of a packet of ours, its checksum still 0: TTL 64, DF, identification 0 (RFC 6864 §4.1),
    /// never ECT.
    #[must_use]
    #[inline(always)]
    pub fn new(source: [u8; 4], destination: [u8; 4], protocol: u8, payload_len: u16) -> Self {
        Self {
            version_ihl: 0x45,
            tos: 0,
            total_len: payload_len.saturating_add(20).into(),
            id: 0.into(),
            fragment: DONT_FRAGMENT.into(),
            ttl: 64,
            protocol,
            checksum: 0.into(),
            source,
            destination,
        }
    }

    /// Whether this is a whole packet with a header of this size: version 4, no options, no fragment.
    #[inline]
    pub(super) const fn is_plain(&self) -> bool {
        self.version_ihl == 0x45 && self.fragment.get() & MORE_FRAGMENTS_AND_OFFSET == 0
    }

    /// This header with its checksum, which is summed from the fields: bytes that were just written piece by
    /// piece are slow to read back. Inlined for certain, as the header itself would be written and read back.
    #[must_use]
    #[inline(always)]
    pub fn with_checksum(mut self) -> Self {
        self.checksum = Sum::ZERO.numbers(self.sum()).checksum();
        self
    }

    /// The sum of all fields but the checksum.
    #[inline]
    const fn sum(&self) -> Numbers {
        Numbers::ZERO
            .word(u16::from_be_bytes([self.version_ihl, self.tos]))
            .word(self.total_len.get())
            .word(self.id.get())
            .word(self.fragment.get())
            .word(u16::from_be_bytes([self.ttl, self.protocol]))
            .dword(u32::from_be_bytes(self.source))
            .dword(u32::from_be_bytes(self.destination))
    }
}

/// Whether a host can have this address: not "this network", loopback, multicast or broadcast
/// (RFC 1122 §3.2.1.3). Directed broadcasts are known only to who knows the netmask.
#[must_use]
pub const fn is_host(addr: [u8; 4]) -> bool {
    !matches!(addr, [0 | 127 | 224..=239, ..] | [255, 255, 255, 255])
}

/// Whether this addresses a group: multicast or limited broadcast.
#[must_use]
pub const fn is_group(addr: [u8; 4]) -> bool {
    matches!(addr, [224..=239, ..] | [255, 255, 255, 255])
}

/// Reads the header and cuts the packet to its total length.
#[inline]
pub(super) fn parse<'a>(arrival: &Arrival<'a>, checked: Checked) -> Result<Datagram<'a>, Reason> {
    let packet = arrival.packet;
    let (header, _) = Header::ref_from_prefix(packet).map_err(|_| Reason::Runt)?;
    let header_len = usize::from(header.version_ihl & 0x0f).wrapping_mul(4);
    if header.version_ihl >> 4 != 4 || header_len < size_of::<Header>() {
        return Err(Reason::BadIpHeader);
    }
    let packet = packet.get(..header.total_len.get().into()).ok_or(Reason::BadIpHeader)?;
    let (head, payload) = packet.split_at_checked(header_len).ok_or(Reason::BadIpHeader)?;
    let sound = match checked {
        Checked::Good | Checked::Unfinished => true,
        Checked::Bad => false,
        Checked::Unknown if head.len() == size_of::<Header>() => {
            Sum::ZERO.bytes(header.as_bytes()).is_sound()
        }
        Checked::Unknown => Sum::ZERO.bytes(head).is_sound(),
    };
    if !sound {
        return Err(Reason::BadIpChecksum);
    }
    if header.fragment.get() & MORE_FRAGMENTS_AND_OFFSET != 0 {
        return Err(Reason::Fragment);
    }
    check_options(head.get(size_of::<Header>()..).unwrap_or_default())?;
    Ok(Datagram {
        header: ip::Header::V4(header),
        protocol: header.protocol,
        ip_offset: arrival.offset,
        offset: arrival.offset.saturating_add(header_len as u16),
        payload,
        source_mac: arrival.source,
        is_link_group: arrival.to_group,
    })
}

/// Skips options but refuses source routes (RFC 7126 §4.3, §4.4) and chains that run out of the header.
fn check_options(mut options: &[u8]) -> Result<(), Reason> {
    const END: u8 = 0;
    const NOP: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    loop {
        options = match options {
            [] | [END, ..] => return Ok(()),
            [LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE, ..] => return Err(Reason::IpOptions),
            [NOP, rest @ ..] => rest,
            [_, len @ 2..=u8::MAX, ..] => {
                options.get(usize::from(*len)..).ok_or(Reason::BadIpHeader)?
            }
            [_, ..] => return Err(Reason::BadIpHeader),
        }
    }
}
