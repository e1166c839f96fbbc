//! ARP: answers, questions, announcements (RFC 826, RFC 5227).

use super::{Answer, Lesson, back, write};
use crate::cause::Reason;
use crate::wire::arp::{Packet, REPLY, REQUEST};
use crate::wire::{Addr, ArpView, Link, Mac, PortView, TooSmall, ethernet};

/// RFC 5227 §2.1.1: a probe's sender is 0.0.0.0, which teaches nothing.
const NOBODY: Addr = Addr::v4([0; 4]);

pub(super) fn answer(
    view: &ArpView,
    buf: &mut [u8],
    port: &PortView,
    ours: impl Fn(&Addr) -> bool,
) -> (Answer, Option<Lesson>) {
    // RFC 5227 §2.4: a conflict. We keep the address and do not learn that it is elsewhere.
    if ours(&view.sender) {
        return (Err(Reason::BadArp), None);
    }
    let for_us = ours(&view.target);
    let announces = view.sender == view.target;
    if !for_us && !announces {
        return (Err(Reason::OtherAddress), None);
    }
    let lesson = (view.sender != NOBODY).then_some(Lesson {
        addr: view.sender,
        mac: Some(view.sender_mac),
        confirms: view.is_reply && for_us,
        overrides: true,
    });
    let answer = if for_us && !view.is_reply { reply(view, buf, port) } else { Ok(None) };
    (answer, lesson)
}

/// RFC 826: sender and target change places, ours filled in. A probe's answer says 0.0.0.0 back.
fn reply(view: &ArpView, buf: &mut [u8], port: &PortView) -> Answer {
    let (Some(target), Some(sender)) = (view.target.as_v4(), view.sender.as_v4()) else {
        return Err(Reason::BadArp);
    };
    let packet = Packet::new(REPLY, (port.mac, target), (view.sender_mac, sender));
    Ok(Some(write(buf, &back(port, view.source_mac), ethernet::ARP, &packet)?))
}

/// RFC 5227 §2.3: an announcement is a request for the sender's own address.
pub(super) fn announce(buf: &mut [u8], port: &PortView, addr: [u8; 4]) -> Result<usize, TooSmall> {
    request(buf, port, addr, addr, None)
}

pub(super) fn request(
    buf: &mut [u8],
    port: &PortView,
    source: [u8; 4],
    target: [u8; 4],
    known: Option<Mac>,
) -> Result<usize, TooSmall> {
    let packet = Packet::new(REQUEST, (port.mac, source), (Mac::ZERO, target));
    let dst = known.unwrap_or(Mac::BROADCAST);
    write(buf, &Link { src: port.mac, dst, vlan: port.vlan }, ethernet::ARP, &packet)
}
