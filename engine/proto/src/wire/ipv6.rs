//! IPv6 headers and the extension headers in front of a payload (RFC 8200).

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Addr;
use super::ethernet::Arrival;
use super::ip::{self, Datagram};
use crate::cause::Reason;

/// The fixed header.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    /// Version 6, traffic class, flow label.
    pub version_class_flow: U32,
    /// Length of what follows this header, in bytes.
    pub payload_len: U16,
    /// Protocol of what follows.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source.
    pub source: [u8; 16],
    /// Destination.
    pub destination: [u8; 16],
}

const _: () = assert!(size_of::<Header>() == 40);

impl Header {
    /// The header of a packet of ours: no traffic class (never ECT), no flow label.
    #[must_use]
    pub fn new(
        source: &Addr,
        destination: &Addr,
        next: u8,
        hop_limit: u8,
        payload_len: u16,
    ) -> Self {
        Self {
            version_class_flow: 0x6000_0000.into(),
            payload_len: payload_len.into(),
            next_header: next,
            hop_limit,
            source: source.0,
            destination: destination.0,
        }
    }
}

/// Whether a host can have this address: not unspecified, loopback or multicast (RFC 4291 §2.5, §2.7),
/// nor an IPv4 address in disguise, which no packet carries (RFC 4291 §2.5.5.2).
#[must_use]
pub const fn is_host(addr: &Addr) -> bool {
    let is_unspecified_or_loopback = u128::from_be_bytes(addr.0) <= 1;
    !is_unspecified_or_loopback && !is_group(addr) && !addr.is_v4()
}

/// Whether this addresses a group.
#[must_use]
pub const fn is_group(addr: &Addr) -> bool {
    let [first, ..] = addr.0;
    first == 0xff
}

/// Reads the header, walks the extension headers and cuts the packet to its payload length.
#[inline]
pub(super) fn parse<'a>(arrival: &Arrival<'a>) -> Result<Datagram<'a>, Reason> {
    let (header, rest) = Header::ref_from_prefix(arrival.packet).map_err(|_| Reason::Runt)?;
    if header.version_class_flow.get() >> 28 != 6 {
        return Err(Reason::BadIpHeader);
    }
    let body = rest.get(..header.payload_len.get().into()).ok_or(Reason::BadIpHeader)?;
    if Addr(header.source).is_v4() {
        return Err(Reason::BadSource);
    }
    if Addr(header.destination).is_v4() {
        return Err(Reason::OtherAddress);
    }
    let (protocol, payload) = walk(header.next_header, body)?;
    let skipped = body.len().wrapping_sub(payload.len());
    let header_len = u16::try_from(skipped.wrapping_add(size_of::<Header>()));
    let offset = header_len.ok().and_then(|len| arrival.offset.checked_add(len));
    Ok(Datagram {
        header: ip::Header::V6(header),
        protocol,
        ip_offset: arrival.offset,
        offset: offset.ok_or(Reason::ExtensionHeaders)?,
        payload,
        source_mac: arrival.source,
        is_link_group: arrival.to_group,
    })
}

/// How many extension headers are walked. RFC 8200 §4.1 knows of five besides the fragment header, each once
/// but destination options; more are only met in attacks on parsers.
const MAX_EXTENSIONS: usize = 4;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const ENCRYPTED: u8 = 50;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// The protocol and the bytes behind the extension headers.
fn walk(first: u8, body: &[u8]) -> Result<(u8, &[u8]), Reason> {
    let (mut next, mut rest) = (first, body);
    for index in 0..=MAX_EXTENSIONS {
        match next {
            FRAGMENT => return Err(Reason::Fragment),
            ENCRYPTED | AUTHENTICATION => return Err(Reason::ExtensionHeaders),
            // RFC 8200 §4.3: hop-by-hop options come first or not at all.
            HOP_BY_HOP if index != 0 => return Err(Reason::ExtensionHeaders),
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                (next, rest) = skip(next, rest)?;
            }
            _ => return Ok((next, rest)),
        }
    }
    Err(Reason::ExtensionHeaders)
}

/// Steps over one extension header, if RFC 8200 lets a node do so that does not know what is in it.
fn skip(kind: u8, header: &[u8]) -> Result<(u8, &[u8]), Reason> {
    let [next, len, ..] = *header else { return Err(Reason::ExtensionHeaders) };
    let len = usize::from(len).wrapping_add(1).wrapping_mul(8);
    let (header, rest) = header.split_at_checked(len).ok_or(Reason::ExtensionHeaders)?;
    match (kind, header) {
        // RFC 8200 §4.4: an unknown routing header is skipped when no segments are left.
        (ROUTING, [_, _, _, 0, ..]) => Ok((next, rest)),
        (HOP_BY_HOP | DESTINATION_OPTIONS, [_, _, options @ ..]) => {
            check_options(options)?;
            Ok((next, rest))
        }
        _ => Err(Reason::ExtensionHeaders),
    }
}

/// RFC 8200 §4.2: an unknown option is skipped only if its two highest bits are clear.
fn check_options(mut options: &[u8]) -> Result<(), Reason> {
    loop {
        options = match options {
            [] => return Ok(()),
            [0, rest @ ..] => rest,
            [kind, len, rest @ ..] if kind & 0xc0 == 0 => {
                rest.get(usize::from(*len)..).ok_or(Reason::ExtensionHeaders)?
            }
            [..] => return Err(Reason::ExtensionHeaders),
        }
    }
}
