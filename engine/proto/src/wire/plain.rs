//! The frames that nearly all are: untagged, IPv4 without options, TCP with the usual options, sound.
//!
//! A second way to the same result, for speed alone (a SYN is read in a third of the time): whatever is
//! unusual or wrong is left to [`super::parse()`], which alone says why.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::{Checked, RxChecksums, Sum};
use super::{Flags, Mac, PortView, Segment, SeqNum, Tuple, ethernet, ip, ipv4, tcp};

/// The headers of such a frame.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Headers {
    ethernet: ethernet::Header,
    ip: ipv4::Header,
    tcp: tcp::Header,
}

const ENVELOPE: usize = size_of::<ethernet::Header>();
const IP_HEADER: usize = size_of::<ipv4::Header>();
const TCP_HEADER: usize = size_of::<tcp::Header>();

/// Reads the frame as [`super::parse()`] does, if it is such a one.
///
/// Inlined for certain: the segment then comes into being where it is wanted. To write it in pieces and
/// copy it whole waits for the pieces, which takes as long as to read it.
#[inline(always)]
#[must_use]
pub fn parse_plain(frame: &[u8], port: &PortView, checksums: RxChecksums) -> Option<Segment> {
    let (Headers { ethernet, ip, tcp }, _) = Headers::ref_from_prefix(frame).ok()?;
    let packet = frame.get(ENVELOPE..)?.get(..ip.total_len.get().into())?;
    let segment = packet.get(IP_HEADER..)?;
    let header_len = usize::from(tcp.data_offset >> 4).wrapping_mul(4);
    let (head, payload) = segment.split_at_checked(header_len)?;
    let options = head.get(TCP_HEADER..)?;
    let flags = Flags(tcp.flags);
    let is_plain = is_for_station(ethernet, port)
        && ip.is_plain()
        && ip.protocol == ip::TCP
        && ipv4::is_host(ip.source)
        && ipv4::is_host(ip.destination)
        && ip.source != ip.destination
        && tcp.source.get() != 0
        && tcp.destination.get() != 0;
    if !is_plain || !is_sound(ip, segment, checksums) {
        return None;
    }
    Some(Segment {
        tuple: Tuple::v4(
            (ip.source, tcp.source.get()),
            (ip.destination, tcp.destination.get()),
            port.index,
        ),
        seq: SeqNum(tcp.seq.get()),
        ack: SeqNum(tcp.ack.get()),
        flags,
        window: tcp.window.get(),
        options: tcp::usual_options(options, flags.has(Flags::SYN))?,
        ce: ip::Header::V4(ip).is_marked(),
        header_len: header_len as u8,
        payload_offset: (ENVELOPE as u16)
            .wrapping_add(IP_HEADER as u16)
            .wrapping_add(header_len as u16),
        payload_len: payload.len() as u16,
    })
}

/// Whether one station sent it untagged to this one.
#[inline(always)]
fn is_for_station(header: &ethernet::Header, port: &PortView) -> bool {
    let (own, source) = (word(port.mac), word(header.src));
    word(header.dst) == own
        && source != own
        && source != 0
        && !header.src.is_group()
        && header.ethertype.get() == ethernet::IPV4
        && port.vlan == 0
}

/// A MAC as a number, to be compared at once.
#[inline(always)]
fn word(mac: Mac) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

/// Whether both checksums are right, as the NIC says or by sum.
#[inline(always)]
fn is_sound(header: &ipv4::Header, segment: &[u8], checksums: RxChecksums) -> bool {
    let ip = match checksums.ip {
        Checked::Good | Checked::Unfinished => true,
        Checked::Bad => false,
        Checked::Unknown => Sum::ZERO.bytes(header.as_bytes()).is_sound(),
    };
    let l4 = match checksums.l4 {
        Checked::Good | Checked::Unfinished => true,
        Checked::Bad => false,
        Checked::Unknown => {
            let addresses = ip::Header::V4(header).addresses();
            let pseudo = addresses.word(u16::from(ip::TCP)).word(segment.len() as u16);
            pseudo.bytes(segment).is_sound()
        }
    };
    ip && l4
}
