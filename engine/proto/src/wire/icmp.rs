//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echo, and errors about our own segments.

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::Sum;
use super::ip::{self, Datagram};
use super::ndp;
use super::parse::Parsed;
use super::{Addr, PortView, SeqNum, Tuple, ipv4, ipv6};
use crate::cause::Reason;

/// Type of an ICMP echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Type of an ICMP echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Type of an ICMPv6 echo request.
pub const ECHO_REQUEST_V6: u8 = 128;
/// Type of an ICMPv6 echo reply.
pub const ECHO_REPLY_V6: u8 = 129;

/// The header common to all messages.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum of the message; in ICMPv6 of the pseudo-header too.
    pub checksum: U16,
    /// What the type makes of it.
    pub rest: U32,
}

/// An echo request for us (or for whoever `destination` is).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EchoView {
    /// Who asks.
    pub source: Addr,
    /// Who is asked.
    pub destination: Addr,
    /// Where the IP header begins in the frame.
    pub ip_offset: u16,
    /// Where the ICMP message begins in the frame.
    pub icmp_offset: u16,
    /// Length of the ICMP message in bytes; what follows it is padding.
    pub icmp_len: u16,
}

/// What an ICMP error says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IcmpErrorKind {
    /// The destination cannot be reached; the code says why.
    Unreachable {
        /// The code as on the wire; its meaning depends on the family.
        code: u8,
    },
    /// The segment was too big for a link.
    TooBig {
        /// The link's MTU; 0 from routers older than RFC 1191.
        mtu: u32,
    },
    /// The hop limit ran out on the way.
    TimeExceeded,
    /// A router did not understand the header.
    ParameterProblem,
}

/// An ICMP error about a segment that somebody says we sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IcmpError {
    /// Who complains.
    pub source: Addr,
    /// The flow as its own segments name it: `local` sent the segment.
    pub tuple: Tuple,
    /// The segment's sequence number, to be believed only within the window (RFC 5927 §4.1).
    pub seq: SeqNum,
    /// What it says.
    pub kind: IcmpErrorKind,
}

/// Reads an ICMP message.
pub(super) fn parse_v4(datagram: Datagram<'_>, port: &PortView) -> Result<Parsed, Reason> {
    let (header, body) = header(datagram.payload)?;
    if !Sum::ZERO.bytes(datagram.payload).is_sound() {
        return Err(Reason::BadIcmp);
    }
    let mtu = header.rest.get() & 0xffff;
    let kind = match (header.kind, header.code) {
        (ECHO_REQUEST, 0) => return echo(datagram),
        (3, 4) => IcmpErrorKind::TooBig { mtu },
        (3, code) => IcmpErrorKind::Unreachable { code },
        (11, 0) => IcmpErrorKind::TimeExceeded,
        (12, _) => IcmpErrorKind::ParameterProblem,
        _ => return Err(Reason::OtherProtocol),
    };
    let (ip, rest) = ipv4::Header::ref_from_prefix(body).map_err(|_| Reason::BadIcmp)?;
    let options = usize::from(ip.version_ihl & 0x0f).wrapping_mul(4).checked_sub(20);
    let quoted = options.and_then(|len| rest.get(len..)).ok_or(Reason::BadIcmp)?;
    let ends = (Addr::v4(ip.source), Addr::v4(ip.destination));
    error(datagram, port, kind, ends, (ip.protocol, quoted))
}

/// Reads an ICMPv6 message; neighbour discovery goes on to its own module.
pub(super) fn parse_v6(datagram: Datagram<'_>, port: &PortView) -> Result<Parsed, Reason> {
    let (header, body) = header(datagram.payload)?;
    let is_ndp = matches!(header.kind, ndp::SOLICITATION | ndp::ADVERTISEMENT);
    if !datagram.is_sound() {
        return Err(if is_ndp { Reason::BadNdp } else { Reason::BadIcmp });
    }
    let kind = match (header.kind, header.code) {
        _ if is_ndp => return ndp::parse(datagram).map(Parsed::Ndp),
        (ECHO_REQUEST_V6, 0) => return echo(datagram),
        (1, code) => IcmpErrorKind::Unreachable { code },
        (2, _) => IcmpErrorKind::TooBig { mtu: header.rest.get() },
        (3, 0) => IcmpErrorKind::TimeExceeded,
        (4, _) => IcmpErrorKind::ParameterProblem,
        // Multicast listener discovery: RFC 2710, RFC 3810.
        (130..=132 | 143, _) => return Err(Reason::Multicast),
        _ => return Err(Reason::OtherProtocol),
    };
    let (ip, quoted) = ipv6::Header::ref_from_prefix(body).map_err(|_| Reason::BadIcmp)?;
    let ends = (Addr(ip.source), Addr(ip.destination));
    error(datagram, port, kind, ends, (ip.next_header, quoted))
}

fn header(message: &[u8]) -> Result<(&Header, &[u8]), Reason> {
    Header::ref_from_prefix(message).map_err(|_| Reason::BadIcmp)
}

/// An echo request; to a group it would make us an amplifier (RFC 1122 §3.2.2.6 lets us be silent).
fn echo(datagram: Datagram<'_>) -> Result<Parsed, Reason> {
    datagram.check_source()?;
    if datagram.is_to_group() {
        return Err(Reason::GroupAddressed);
    }
    Ok(Parsed::Echo(EchoView {
        source: datagram.header.source(),
        destination: datagram.header.destination(),
        ip_offset: datagram.ip_offset,
        icmp_offset: datagram.offset,
        icmp_len: datagram.payload_len(),
    }))
}

/// An error about the segment of which `quoted` is the beginning.
fn error(
    datagram: Datagram<'_>,
    port: &PortView,
    kind: IcmpErrorKind,
    (source, destination): (Addr, Addr),
    (protocol, quoted): (u8, &[u8]),
) -> Result<Parsed, Reason> {
    datagram.check_source()?;
    if protocol != ip::TCP {
        return Err(Reason::OtherProtocol);
    }
    let [a, b, c, d, e, f, g, h, ..] = *quoted else { return Err(Reason::BadIcmp) };
    Ok(Parsed::Icmp(IcmpError {
        source: datagram.header.source(),
        tuple: Tuple {
            remote: destination,
            local: source,
            remote_port: u16::from_be_bytes([c, d]),
            local_port: u16::from_be_bytes([a, b]),
            vlan: port.vlan,
            port: port.index,
        },
        seq: SeqNum(u32::from_be_bytes([e, f, g, h])),
        kind,
    }))
}
