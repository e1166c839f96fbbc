//! Echo replies (RFC 792, RFC 4443 §4.2), as large as the request.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Answer, back};
use crate::cause::Reason;
use crate::wire::icmp::{self, ECHO_REPLY, ECHO_REPLY_V6};
use crate::wire::{Addr, EchoView, Link, PortView, TooSmall, checksum, ethernet, ip, ipv4, ipv6};

/// Hop limit of a reply.
const HOP_LIMIT: u8 = 64;

/// Turns the request into the reply. Headers are written anew, without the request's options,
/// extension headers or priority tag; the message moves up if they were there and is otherwise left
/// where it is, only its type and checksum changed.
pub(super) fn answer(
    view: &EchoView,
    buf: &mut [u8],
    port: &PortView,
    ours: impl Fn(&Addr) -> bool,
) -> Answer {
    if !ours(&view.destination) {
        return Err(Reason::OtherAddress);
    }
    let (frame, _) = ethernet::Header::ref_from_prefix(buf).map_err(|_| Reason::Runt)?;
    let link = back(port, frame.src);
    let ip_len = match view.destination.as_v4() {
        Some(_) => size_of::<ipv4::Header>(),
        None => size_of::<ipv6::Header>(),
    };
    let start = ethernet::len(port.vlan).wrapping_add(ip_len);
    let end = start.wrapping_add(view.icmp_len.into());
    move_message(view, buf, start, end).ok_or(Reason::NoBuffer)?;
    let rest = write_ip(view, buf, &link)?;
    let (header, _) = icmp::Header::mut_from_prefix(rest).map_err(|_| Reason::BadIcmp)?;
    let kind = if view.destination.is_v4() { ECHO_REPLY } else { ECHO_REPLY_V6 };
    // The pseudo-header's addresses change places, which its sum does not notice: only the type counts.
    let [old, new] = [header.kind, kind].map(|kind| u16::from_be_bytes([kind, header.code]));
    header.kind = kind;
    header.checksum = checksum::update(header.checksum.get(), old, new).into();
    Ok(Some(end))
}

/// Moves the ICMP message to `start..end`; `None` if it is not in `buf` whole or there is no room.
fn move_message(view: &EchoView, buf: &mut [u8], start: usize, end: usize) -> Option<()> {
    let from = usize::from(view.icmp_offset);
    let message = from..from.checked_add(view.icmp_len.into())?;
    if message.end > buf.len() || end > buf.len() {
        return None;
    }
    if from != start {
        buf.copy_within(message, start);
    }
    Some(())
}

/// Writes envelope and IP header and returns the room behind them.
fn write_ip<'a>(view: &EchoView, buf: &'a mut [u8], link: &Link) -> Result<&'a mut [u8], TooSmall> {
    let (source, destination, len) = (&view.destination, &view.source, view.icmp_len);
    match source.as_v4().zip(destination.as_v4()) {
        Some((source, destination)) => {
            let header = ipv4::Header::new(source, destination, ip::ICMP, len).with_checksum();
            put(ethernet::write(buf, link, ethernet::IPV4)?, &header)
        }
        None => {
            let header = ipv6::Header::new(source, destination, ip::ICMPV6, HOP_LIMIT, len);
            put(ethernet::write(buf, link, ethernet::IPV6)?, &header)
        }
    }
}

fn put<'a, T: IntoBytes + Immutable>(
    room: &'a mut [u8],
    value: &T,
) -> Result<&'a mut [u8], TooSmall> {
    value.write_to_prefix(room).map_err(|_| TooSmall)?;
    room.get_mut(size_of::<T>()..).ok_or(TooSmall)
}
