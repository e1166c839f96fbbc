//! Neighbour discovery: answers, questions, announcements (RFC 4861, RFC 4862).

use zerocopy::{Immutable, IntoBytes, Unaligned};

use super::{Answer, Lesson, back, write};
use crate::cause::Reason;
use crate::wire::checksum::Sum;
use crate::wire::ndp::{self, LinkLayer, Message};
use crate::wire::{Addr, Link, Mac, NdpKind, NdpView, PortView, TooSmall, ethernet, ip, ipv6};

/// RFC 4291 §2.7.1: all nodes of the link, ff02::1.
const ALL_NODES: Addr = Addr([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// RFC 4861 §4.3, §4.4: shows that no router passed the message on.
const HOP_LIMIT: u8 = 255;

/// A whole packet: either message, with the link-layer address of its sender.
#[derive(IntoBytes, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct Packet {
    ip: ipv6::Header,
    message: Message,
    option: LinkLayer,
}

const MESSAGE_LEN: u16 = (size_of::<Message>() + size_of::<LinkLayer>()) as u16;

impl Packet {
    fn new(source: &Addr, destination: &Addr, kind: u8, flags: u32, told: (Addr, Mac)) -> Self {
        let (target, mac) = told;
        let ip = ipv6::Header::new(source, destination, ip::ICMPV6, HOP_LIMIT, MESSAGE_LEN);
        let mut message =
            Message { kind, code: 0, checksum: 0.into(), flags: flags.into(), target: target.0 };
        let told =
            if kind == ndp::SOLICITATION { ndp::SOURCE_LINK_LAYER } else { ndp::TARGET_LINK_LAYER };
        let option = LinkLayer { kind: told, len: 1, mac };
        message.checksum = Sum::pseudo(source, destination, ip::ICMPV6, MESSAGE_LEN)
            .bytes(message.as_bytes())
            .bytes(option.as_bytes())
            .checksum();
        Self { ip, message, option }
    }
}

pub(super) fn answer(
    view: &NdpView,
    buf: &mut [u8],
    port: &PortView,
    ours: impl Fn(&Addr) -> bool,
) -> (Answer, Option<Lesson>) {
    match view.kind {
        // Our own address speaks from elsewhere: a conflict, from which we learn nothing.
        _ if ours(&view.source) => (Err(Reason::BadNdp), None),
        NdpKind::Solicitation if ours(&view.target) => (advertise(view, buf, port), heard(view)),
        NdpKind::Solicitation => (Err(Reason::OtherAddress), None),
        NdpKind::Advertisement { .. } if ours(&view.target) => (Err(Reason::BadNdp), None),
        NdpKind::Advertisement { solicited, overriding, router: _ } => {
            let (addr, mac) = (view.target, view.link_layer);
            (Ok(None), Some(Lesson { addr, mac, confirms: solicited, overrides: overriding }))
        }
    }
}

/// RFC 4861 §7.2.3: what a solicitation says of its sender, unless it is a probe from nobody.
fn heard(view: &NdpView) -> Option<Lesson> {
    let mac = view.link_layer.filter(|_| view.source != Addr::default())?;
    Some(Lesson { addr: view.source, mac: Some(mac), confirms: false, overrides: true })
}

/// RFC 4861 §7.2.4: the target's advertisement. The answer to a probe for duplicates (RFC 4862 §5.4.3)
/// is addressed to all nodes and not called solicited; its frame goes to the prober alone, as RFC 6085
/// allows where only one station cares.
fn advertise(view: &NdpView, buf: &mut [u8], port: &PortView) -> Answer {
    let (destination, flags) = if view.source == Addr::default() {
        (ALL_NODES, ndp::OVERRIDE)
    } else {
        (view.source, ndp::OVERRIDE | ndp::SOLICITED)
    };
    let told = (view.target, port.mac);
    let packet = Packet::new(&view.target, &destination, ndp::ADVERTISEMENT, flags, told);
    Ok(Some(write(buf, &back(port, view.source_mac), ethernet::IPV6, &packet)?))
}

/// RFC 4861 §7.2.6: an unsolicited advertisement, to all nodes.
pub(super) fn announce(buf: &mut [u8], port: &PortView, addr: &Addr) -> Result<usize, TooSmall> {
    let told = (*addr, port.mac);
    let packet = Packet::new(addr, &ALL_NODES, ndp::ADVERTISEMENT, ndp::OVERRIDE, told);
    let link = Link { src: port.mac, dst: ndp::group_mac(&ALL_NODES), vlan: port.vlan };
    write(buf, &link, ethernet::IPV6, &packet)
}

/// RFC 4861 §7.2.2: to the target's solicited-node group, or to the target itself where it is `known`.
pub(super) fn solicit(
    buf: &mut [u8],
    port: &PortView,
    source: &Addr,
    target: &Addr,
    known: Option<Mac>,
) -> Result<usize, TooSmall> {
    let group = ndp::solicited_node(target);
    let (destination, dst) = known.map_or((group, ndp::group_mac(&group)), |mac| (*target, mac));
    let told = (*target, port.mac);
    let packet = Packet::new(source, &destination, ndp::SOLICITATION, 0, told);
    write(buf, &Link { src: port.mac, dst, vlan: port.vlan }, ethernet::IPV6, &packet)
}
