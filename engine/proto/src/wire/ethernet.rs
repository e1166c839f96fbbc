//! Ethernet II frames, with at most one 802.1Q tag.

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian};

use super::{Link, Mac, PortView, TooSmall};
use crate::cause::Reason;

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of an 802.1Q tag.
pub const VLAN: u16 = 0x8100;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// EtherType of an 802.1ad service tag.
pub const SERVICE_VLAN: u16 = 0x88a8;

/// The header of a frame.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    /// Destination.
    pub dst: Mac,
    /// Source.
    pub src: Mac,
    /// EtherType.
    pub ethertype: U16,
}

/// An 802.1Q tag, as it follows its EtherType.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Tag {
    /// Priority (3 bits), drop eligibility (1), VLAN id (12).
    pub control: U16,
    /// EtherType of what follows.
    pub ethertype: U16,
}

/// A frame for this port: its header read, its packet still to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    /// Who sent it.
    pub(super) source: Mac,
    /// Whether it was sent to a group and not to the port's own MAC.
    pub(super) to_group: bool,
    pub(super) ethertype: u16,
    /// Where the packet begins in the frame.
    pub(super) offset: u16,
    pub(super) packet: &'a [u8],
}

/// Reads the envelope. Passes what is for another station or VLAN; a tag with VLAN id 0 carries only a
/// priority and counts as none (802.1Q §6.9).
#[inline]
pub(super) fn parse<'a>(frame: &'a [u8], port: &PortView) -> Result<Arrival<'a>, Reason> {
    let (header, rest) = Header::ref_from_prefix(frame).map_err(|_| Reason::Runt)?;
    let to_group = header.dst.is_group();
    if header.dst != port.mac && !to_group {
        return Err(Reason::OtherMac);
    }
    let (vlan, ethertype, offset, packet) = match header.ethertype.get() {
        VLAN => {
            let (tag, packet) = Tag::ref_from_prefix(rest).map_err(|_| Reason::Runt)?;
            (tag.control.get() & 0xfff, tag.ethertype.get(), 18, packet)
        }
        ethertype => (0, ethertype, 14, rest),
    };
    if vlan != port.vlan || matches!(ethertype, VLAN | SERVICE_VLAN) {
        return Err(Reason::OtherVlan);
    }
    if !header.src.is_station() || header.src == port.mac {
        return Err(Reason::BadSource);
    }
    Ok(Arrival { source: header.src, to_group, ethertype, offset, packet })
}

/// Destination and source of a header as two numbers: moved as six bytes each they are written in pieces and
/// read whole, which waits for the pieces (5 ns an answer). Native numbers, as these are handed on in registers.
#[derive(Clone, Copy)]
pub(super) struct Stations {
    low: u64,
    high: u32,
}

/// The same in a frame.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct StationBytes {
    low: little_endian::U64,
    high: little_endian::U32,
}

impl Stations {
    /// From us to the next hop.
    #[inline]
    pub(super) fn of(link: &Link) -> Self {
        let [a, b, c, d, e, f] = link.dst.0;
        let [g, h, i, j, k, l] = link.src.0;
        let low = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        Self { low, high: u32::from_le_bytes([i, j, k, l]) }
    }

    /// Back to where the frame came from.
    #[inline]
    pub(super) fn back(frame: &[u8]) -> Result<Self, TooSmall> {
        let (there, _) = StationBytes::ref_from_prefix(frame).map_err(|_| TooSmall)?;
        let (low, high) = (there.low.get(), u64::from(there.high.get()));
        // 48 bits each: the source begins in the last 16 of `low`.
        let (source, destination) = (low >> 48 | high << 16, low & 0xffff_ffff_ffff);
        let high = (destination >> 16) as u32;
        Ok(Self { low: source | destination << 48, high })
    }
}

/// Writes the envelope for a packet of type `ethertype` and returns the room behind it.
///
/// # Errors
/// When there is no room for it.
#[inline]
pub fn write<'a>(buf: &'a mut [u8], link: &Link, ethertype: u16) -> Result<&'a mut [u8], TooSmall> {
    write_between(buf, Stations::of(link), link.vlan, ethertype)
}

/// The same between two stations.
#[inline]
pub(super) fn write_between(
    buf: &mut [u8],
    stations: Stations,
    vlan: u16,
    ethertype: u16,
) -> Result<&mut [u8], TooSmall> {
    let (there, rest) = StationBytes::mut_from_prefix(buf).map_err(|_| TooSmall)?;
    *there = StationBytes { low: stations.low.into(), high: stations.high.into() };
    let outer = if vlan == 0 { ethertype } else { VLAN };
    let (there, rest) = U16::mut_from_prefix(rest).map_err(|_| TooSmall)?;
    *there = outer.into();
    if vlan == 0 {
        return Ok(rest);
    }
    let (tag, rest) = Tag::mut_from_prefix(rest).map_err(|_| TooSmall)?;
    *tag = Tag { control: (vlan & 0xfff).into(), ethertype: ethertype.into() };
    Ok(rest)
}

/// The length of the envelope that [`write()`] makes.
#[must_use]
pub const fn len(vlan: u16) -> usize {
    if vlan == 0 { 14 } else { 18 }
}
