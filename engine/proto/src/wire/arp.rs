//! ARP for IPv4 over Ethernet (RFC 826), probes and announcements (RFC 5227).

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ethernet::{self, Arrival};
use super::{Addr, Mac, ipv4};
use crate::cause::Reason;

/// `op` of a request.
pub const REQUEST: u16 = 1;
/// `op` of a reply.
pub const REPLY: u16 = 2;

/// An ARP packet.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Packet {
    /// 1: Ethernet.
    pub hardware: U16,
    /// 0x0800: IPv4.
    pub protocol: U16,
    /// 6.
    pub hardware_len: u8,
    /// 4.
    pub protocol_len: u8,
    /// [`REQUEST`] or [`REPLY`].
    pub op: U16,
    /// The sender's MAC.
    pub sender_mac: Mac,
    /// The sender's address; 0.0.0.0 in a probe.
    pub sender: [u8; 4],
    /// The target's MAC; not looked at in a request.
    pub target_mac: Mac,
    /// The target's address.
    pub target: [u8; 4],
}

const _: () = assert!(size_of::<Packet>() == 28);

impl Packet {
    /// A packet with the constants of IPv4 over Ethernet.
    #[must_use]
    pub fn new(op: u16, sender: (Mac, [u8; 4]), target: (Mac, [u8; 4])) -> Self {
        Self {
            hardware: 1.into(),
            protocol: ethernet::IPV4.into(),
            hardware_len: 6,
            protocol_len: 4,
            op: op.into(),
            sender_mac: sender.0,
            sender: sender.1,
            target_mac: target.0,
            target: target.1,
        }
    }
}

/// What an ARP packet asks or says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArpView {
    /// Whether it is a reply; else a request.
    pub is_reply: bool,
    /// The sender's MAC, as the packet says.
    pub sender_mac: Mac,
    /// The sender's address; 0.0.0.0 in a probe (RFC 5227 §2.1.1).
    pub sender: Addr,
    /// The target's MAC; means something in a reply only.
    pub target_mac: Mac,
    /// The target's address.
    pub target: Addr,
    /// Who sent the frame.
    pub source_mac: Mac,
    /// Where the ARP packet begins in the frame.
    pub offset: u16,
}

/// Reads an ARP packet; refuses what is not IPv4 over Ethernet and senders that cannot be.
pub(super) fn parse(arrival: &Arrival<'_>) -> Result<ArpView, Reason> {
    let (packet, _padding) = Packet::ref_from_prefix(arrival.packet).map_err(|_| Reason::Runt)?;
    let kind =
        (packet.hardware.get(), packet.protocol.get(), packet.hardware_len, packet.protocol_len);
    let op = packet.op.get();
    let sender = Addr::v4(packet.sender);
    if kind != (1, ethernet::IPV4, 6, 4)
        || !matches!(op, REQUEST | REPLY)
        || !packet.sender_mac.is_station()
        || (packet.sender != [0; 4] && !ipv4::is_host(packet.sender))
    {
        return Err(Reason::BadArp);
    }
    Ok(ArpView {
        is_reply: op == REPLY,
        sender_mac: packet.sender_mac,
        sender,
        target_mac: packet.target_mac,
        target: Addr::v4(packet.target),
        source_mac: arrival.source,
        offset: arrival.offset,
    })
}
