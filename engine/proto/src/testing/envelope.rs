//! What all builders share: the Ethernet and IP headers around a payload, and ways to spoil them.

use std::vec::Vec;

use super::{CLIENT_MAC, OUR_MAC, addr, slow_checksum};
use crate::wire::{Addr, Mac};

/// Headers of layers 2 and 3, as they will be written.
#[derive(Clone, Debug)]
pub struct Outer {
    src_mac: Mac,
    dst_mac: Mac,
    tags: Vec<(u16, u16)>,
    ethertype: Option<u16>,
    pub(super) from: Addr,
    pub(super) to: Addr,
    ip_version: u8,
    ihl: Option<u8>,
    ip_len: Option<u16>,
    protocol: Option<u8>,
    tos: u8,
    fragment: u16,
    pub(super) ttl: u8,
    ip_options: Vec<u8>,
    extensions: Vec<(u8, Vec<u8>)>,
    bad_ip_checksum: bool,
    padding: usize,
    cut: Option<usize>,
}

impl Default for Outer {
    fn default() -> Self {
        Self {
            src_mac: CLIENT_MAC,
            dst_mac: OUR_MAC,
            tags: Vec::new(),
            ethertype: None,
            from: addr("10.0.0.1"),
            to: addr("10.0.0.2"),
            ip_version: 0,
            ihl: None,
            ip_len: None,
            protocol: None,
            tos: 0,
            fragment: 0x4000,
            ttl: 64,
            ip_options: Vec::new(),
            extensions: Vec::new(),
            bad_ip_checksum: false,
            padding: 0,
            cut: None,
        }
    }
}

impl Outer {
    /// Wraps `payload` of `protocol` in IP and Ethernet.
    pub(super) fn wrap_ip(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let protocol = self.protocol.unwrap_or(protocol);
        match (self.from.as_v4(), self.to.as_v4()) {
            (Some(from), Some(to)) => self.wrap(0x0800, &self.ipv4(from, to, protocol, payload)),
            _ => self.wrap(0x86dd, &self.ipv6(protocol, payload)),
        }
    }

    /// Wraps `packet` in Ethernet.
    pub(super) fn wrap(&self, ethertype: u16, packet: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.extend(self.dst_mac.0);
        frame.extend(self.src_mac.0);
        for (tag, control) in &self.tags {
            frame.extend(tag.to_be_bytes());
            frame.extend(control.to_be_bytes());
        }
        frame.extend(self.ethertype.unwrap_or(ethertype).to_be_bytes());
        frame.extend(packet);
        frame.resize(frame.len() + self.padding, 0xa5);
        frame.truncate(self.cut.unwrap_or(usize::MAX));
        frame
    }

    fn ipv4(&self, from: [u8; 4], to: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
        let header_len = 20 + self.ip_options.len();
        let ihl = self.ihl.unwrap_or((header_len / 4) as u8);
        let len = self.ip_len.unwrap_or((header_len + payload.len()) as u16);
        let mut packet = Vec::from([(4 ^ self.ip_version) << 4 | ihl, self.tos]);
        packet.extend(len.to_be_bytes());
        packet.extend([0x12, 0x34]);
        packet.extend(self.fragment.to_be_bytes());
        packet.extend([self.ttl, protocol, 0, 0]);
        packet.extend(from);
        packet.extend(to);
        packet.extend(&self.ip_options);
        let sum = slow_checksum(&packet) ^ u16::from(self.bad_ip_checksum);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(payload);
        packet
    }

    fn ipv6(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        let mut kinds = self.extensions.iter().map(|e| e.0).chain([protocol]);
        let first = kinds.next().unwrap_or(protocol);
        for ((_, rest), next) in self.extensions.iter().zip(kinds) {
            body.push(next);
            body.extend(rest);
        }
        body.extend(payload);
        let len = self.ip_len.unwrap_or(body.len() as u16);
        let mut packet =
            Vec::from([(6 ^ self.ip_version) << 4 | self.tos >> 4, self.tos << 4, 0, 0]);
        packet.extend(len.to_be_bytes());
        packet.extend([first, self.ttl]);
        packet.extend(self.from.0);
        packet.extend(self.to.0);
        packet.extend(body);
        packet
    }
}

/// What every builder can say about the headers around its payload.
pub trait Envelope: Sized {
    /// The headers.
    fn outer(&mut self) -> &mut Outer;

    /// Sent by this station.
    #[must_use]
    fn src_mac(mut self, mac: Mac) -> Self {
        self.outer().src_mac = mac;
        self
    }

    /// Sent to this station.
    #[must_use]
    fn dst_mac(mut self, mac: Mac) -> Self {
        self.outer().dst_mac = mac;
        self
    }

    /// With an 802.1Q tag for VLAN `id` (0: priority only); again for a second tag behind it.
    #[must_use]
    fn vlan(self, id: u16) -> Self {
        self.tag(0x8100, id)
    }

    /// With a tag of this EtherType and control field.
    #[must_use]
    fn tag(mut self, ethertype: u16, control: u16) -> Self {
        self.outer().tags.push((ethertype, control));
        self
    }

    /// With this EtherType instead of the right one.
    #[must_use]
    fn ethertype(mut self, ethertype: u16) -> Self {
        self.outer().ethertype = Some(ethertype);
        self
    }

    /// With this TTL or hop limit.
    #[must_use]
    fn ttl(mut self, ttl: u8) -> Self {
        self.outer().ttl = ttl;
        self
    }

    /// With this TOS or traffic class.
    #[must_use]
    fn tos(mut self, tos: u8) -> Self {
        self.outer().tos = tos;
        self
    }

    /// With this protocol number instead of the right one.
    #[must_use]
    fn protocol(mut self, protocol: u8) -> Self {
        self.outer().protocol = Some(protocol);
        self
    }

    /// With these IPv4 flags and fragment offset, as on the wire (default: DF).
    #[must_use]
    fn fragment(mut self, field: u16) -> Self {
        self.outer().fragment = field;
        self
    }

    /// With these IPv4 options, a multiple of four bytes.
    #[must_use]
    fn ip_options(mut self, options: &[u8]) -> Self {
        self.outer().ip_options = options.to_vec();
        self
    }

    /// With an IPv6 extension header of type `kind`: `rest` is what follows its next-header byte.
    #[must_use]
    fn extension(mut self, kind: u8, rest: &[u8]) -> Self {
        self.outer().extensions.push((kind, rest.to_vec()));
        self
    }

    /// With a wrong IP version.
    #[must_use]
    fn bad_ip_version(mut self) -> Self {
        self.outer().ip_version = 0x3;
        self
    }

    /// With this IPv4 header length in words instead of the right one.
    #[must_use]
    fn ihl(mut self, words: u8) -> Self {
        self.outer().ihl = Some(words);
        self
    }

    /// With this total (IPv4) or payload (IPv6) length instead of the right one.
    #[must_use]
    fn ip_len(mut self, len: u16) -> Self {
        self.outer().ip_len = Some(len);
        self
    }

    /// With a wrong IPv4 header checksum.
    #[must_use]
    fn bad_ip_checksum(mut self) -> Self {
        self.outer().bad_ip_checksum = true;
        self
    }

    /// With `len` bytes of Ethernet padding, which are not zero as they should be.
    #[must_use]
    fn padding(mut self, len: usize) -> Self {
        self.outer().padding = len;
        self
    }

    /// Cut off behind `len` bytes.
    #[must_use]
    fn cut(mut self, len: usize) -> Self {
        self.outer().cut = Some(len);
        self
    }
}
