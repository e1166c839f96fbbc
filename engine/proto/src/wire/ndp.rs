//! Neighbour solicitations and advertisements (RFC 4861 §4.3, §4.4).

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ip::Datagram;
use super::{Addr, Mac, ipv6};
use crate::cause::Reason;

/// ICMPv6 type of a neighbour solicitation.
pub const SOLICITATION: u8 = 135;
/// ICMPv6 type of a neighbour advertisement.
pub const ADVERTISEMENT: u8 = 136;
/// Option: the sender's link-layer address.
pub const SOURCE_LINK_LAYER: u8 = 1;
/// Option: the target's link-layer address.
pub const TARGET_LINK_LAYER: u8 = 2;
/// Flag R of an advertisement: the sender is a router.
pub const ROUTER: u32 = 1 << 31;
/// Flag S of an advertisement: it answers a solicitation.
pub const SOLICITED: u32 = 1 << 30;
/// Flag O of an advertisement: it overrides what was known.
pub const OVERRIDE: u32 = 1 << 29;

/// A solicitation or advertisement without options.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Message {
    /// [`SOLICITATION`] or [`ADVERTISEMENT`].
    pub kind: u8,
    /// 0.
    pub code: u8,
    /// Checksum of pseudo-header and message.
    pub checksum: U16,
    /// Flags of an advertisement; else 0.
    pub flags: U32,
    /// Whose link-layer address is asked for or told.
    pub target: [u8; 16],
}

/// A link-layer address option for Ethernet.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct LinkLayer {
    /// [`SOURCE_LINK_LAYER`] or [`TARGET_LINK_LAYER`].
    pub kind: u8,
    /// Length in units of 8 bytes: 1.
    pub len: u8,
    /// The address.
    pub mac: Mac,
}

/// What a neighbour discovery message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NdpKind {
    /// A question.
    Solicitation,
    /// An answer or an announcement.
    Advertisement {
        /// R: the sender is a router.
        router: bool,
        /// S: it answers a solicitation.
        solicited: bool,
        /// O: it overrides what was known.
        overriding: bool,
    },
}

/// A solicitation or advertisement that passed RFC 4861 §7.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NdpView {
    /// Which of the two.
    pub kind: NdpKind,
    /// The packet's source; unspecified when it probes for duplicates (RFC 4862 §5.4.2).
    pub source: Addr,
    /// The packet's destination.
    pub destination: Addr,
    /// Whose link-layer address is asked for or told.
    pub target: Addr,
    /// The source's address in a solicitation, the target's in an advertisement, if told.
    pub link_layer: Option<Mac>,
    /// Who sent the frame.
    pub source_mac: Mac,
    /// Where the IPv6 header begins in the frame.
    pub ip_offset: u16,
}

/// The group that a node with address `addr` listens to (RFC 4291 §2.7.1).
#[must_use]
pub const fn solicited_node(addr: &Addr) -> Addr {
    let [.., a, b, c] = addr.0;
    Addr([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// The MAC of the IPv6 group `addr` (RFC 2464 §7).
#[must_use]
pub const fn group_mac(addr: &Addr) -> Mac {
    let [.., a, b, c, d] = addr.0;
    Mac([0x33, 0x33, a, b, c, d])
}

/// Validates as RFC 4861 §7.1.1 and §7.1.2 say; the checksum has been verified.
pub(super) fn parse(datagram: Datagram<'_>) -> Result<NdpView, Reason> {
    let (message, options) =
        Message::ref_from_prefix(datagram.payload).map_err(|_| Reason::BadNdp)?;
    let (source, destination) = (datagram.header.source(), datagram.header.destination());
    let target = Addr(message.target);
    let flags = message.flags.get();
    let is_question = message.kind == SOLICITATION;
    let wanted = if is_question { SOURCE_LINK_LAYER } else { TARGET_LINK_LAYER };
    let link_layer = link_layer(options, wanted)?;
    let from_nobody = source == Addr::default();
    let to_group = ipv6::is_group(&destination);
    let is_source_valid = if from_nobody {
        let group = solicited_node(&target);
        is_question && link_layer.is_none() && destination == group
    } else {
        ipv6::is_host(&source)
    };
    let is_untrue = !is_question && to_group && flags & SOLICITED != 0;
    if datagram.header.hop_limit() != 255
        || message.code != 0
        || !ipv6::is_host(&target)
        || !is_source_valid
        || is_untrue
        || link_layer.is_some_and(|mac| !mac.is_station())
    {
        return Err(Reason::BadNdp);
    }
    let kind = if is_question {
        NdpKind::Solicitation
    } else {
        NdpKind::Advertisement {
            router: flags & ROUTER != 0,
            solicited: flags & SOLICITED != 0,
            overriding: flags & OVERRIDE != 0,
        }
    };
    Ok(NdpView {
        kind,
        source,
        destination,
        target,
        link_layer,
        source_mac: datagram.source_mac,
        ip_offset: datagram.ip_offset,
    })
}

/// The link-layer address in the option `wanted`; an option of length 0 spoils the message
/// (RFC 4861 §7.1.1), unknown ones are skipped.
fn link_layer(mut options: &[u8], wanted: u8) -> Result<Option<Mac>, Reason> {
    let mut found = None;
    loop {
        let [kind, len, ..] = *options else {
            return if options.is_empty() { Ok(found) } else { Err(Reason::BadNdp) };
        };
        let len = usize::from(len).wrapping_mul(8);
        let (option, rest) = options.split_at_checked(len).ok_or(Reason::BadNdp)?;
        if option.is_empty() {
            return Err(Reason::BadNdp);
        }
        if kind == wanted {
            let (option, _) = LinkLayer::ref_from_prefix(option).map_err(|_| Reason::BadNdp)?;
            found = Some(option.mac);
        }
        options = rest;
    }
}
