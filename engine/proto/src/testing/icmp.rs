//! Builders of ICMP and ICMPv6: echo, errors, neighbour discovery.

use std::vec::Vec;

use super::envelope::{Envelope, Outer};
use super::{CLIENT_MAC, addr, slow_checksum, slow_pseudo_checksum};
use crate::wire::Mac;

/// An echo message to be; a request unless told otherwise.
#[derive(Clone, Debug)]
pub struct EchoFrame {
    message: Message,
    id: u16,
    seq: u16,
    payload: Vec<u8>,
}

/// An echo request from 10.0.0.1 to 10.0.0.2, id 7, sequence number 1, with 8 bytes.
#[must_use]
pub fn echo() -> EchoFrame {
    EchoFrame { message: Message::new(8, 128), id: 7, seq: 1, payload: b"12345678".to_vec() }
}

/// An ICMP error to be.
#[derive(Clone, Debug)]
pub struct ErrorFrame {
    message: Message,
    rest: u32,
    quoted: Vec<u8>,
}

/// An error of type `kind` and `code` (as on the wire) about `frame`, which we sent. Goes from 10.0.0.1 (or
/// as `from` says) to the sender of `frame`.
#[must_use]
pub fn icmp_error(kind: u8, code: u8, frame: &[u8]) -> ErrorFrame {
    let mut message = Message::new(kind, kind);
    message.code = code;
    let packet = &frame[14..];
    let is_v4 = packet[0] >> 4 == 4;
    if is_v4 {
        message.outer.to = crate::wire::Addr::v4(packet[12..16].try_into().unwrap());
    } else {
        message.outer.from = addr("fd00::1");
        message.outer.to = crate::wire::Addr(packet[8..24].try_into().unwrap());
    }
    let quoted = if is_v4 { &packet[..28] } else { packet };
    ErrorFrame { message, rest: 0, quoted: quoted.to_vec() }
}

/// A neighbour solicitation or advertisement to be.
#[derive(Clone, Debug)]
pub struct NdpFrame {
    message: Message,
    flags: u32,
    target: [u8; 16],
    options: Vec<u8>,
}

/// fd00::1 asks for the MAC of `target`, with its own MAC in the option, at the solicited-node group.
#[must_use]
pub fn solicit(target: &str) -> NdpFrame {
    let target = addr(target).0;
    let mut group = addr("ff02::1:ff00:0").0;
    group[13..].copy_from_slice(&target[13..]);
    let mac = Mac([0x33, 0x33, 0xff, target[13], target[14], target[15]]);
    let frame = NdpFrame { message: Message::new(135, 135), flags: 0, target, options: Vec::new() };
    let mut frame = frame.link_layer(1, CLIENT_MAC).dst_mac(mac).ttl(255);
    frame.message.outer.from = addr("fd00::1");
    frame.message.outer.to = crate::wire::Addr(group);
    frame
}

/// `target` tells its MAC to fd00::2, solicited and overriding.
#[must_use]
pub fn advertise(target: &str) -> NdpFrame {
    let from = addr(target);
    let message = Message::new(136, 136);
    let frame = NdpFrame { message, flags: 0x6000_0000, target: from.0, options: Vec::new() };
    let mut frame = frame.link_layer(2, CLIENT_MAC).ttl(255);
    frame.message.outer.from = from;
    frame.message.outer.to = addr("fd00::2");
    frame
}

/// An ICMP message of either family: which one shows in the addresses.
#[derive(Clone, Debug)]
struct Message {
    outer: Outer,
    kinds: (u8, u8),
    code: u8,
    bad_checksum: bool,
}

impl Message {
    fn new(v4: u8, v6: u8) -> Self {
        Self { outer: Outer::default(), kinds: (v4, v6), code: 0, bad_checksum: false }
    }

    fn build(&self, body: &[u8]) -> Vec<u8> {
        let is_v4 = self.outer.from.is_v4();
        let kind = if is_v4 { self.kinds.0 } else { self.kinds.1 };
        let mut bytes = Vec::from([kind, self.code, 0, 0]);
        bytes.extend(body);
        let sum = if is_v4 {
            slow_checksum(&bytes)
        } else {
            slow_pseudo_checksum(&self.outer.from, &self.outer.to, 58, &bytes)
        };
        let sum = sum ^ u16::from(self.bad_checksum);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        self.outer.wrap_ip(if is_v4 { 1 } else { 58 }, &bytes)
    }
}

/// Setters that all messages have.
macro_rules! message {
    ($name:ident) => {
        impl Envelope for $name {
            fn outer(&mut self) -> &mut Outer {
                &mut self.message.outer
            }
        }

        impl $name {
            /// Sent by this address.
            #[must_use]
            pub fn from(mut self, ip: &str) -> Self {
                self.message.outer.from = addr(ip);
                self
            }

            /// Sent to this address.
            #[must_use]
            pub fn to(mut self, ip: &str) -> Self {
                self.message.outer.to = addr(ip);
                self
            }

            /// Of this type instead of the right one.
            #[must_use]
            pub fn kind(mut self, kind: u8) -> Self {
                self.message.kinds = (kind, kind);
                self
            }

            /// With this code.
            #[must_use]
            pub fn code(mut self, code: u8) -> Self {
                self.message.code = code;
                self
            }

            /// With a wrong ICMP checksum.
            #[must_use]
            pub fn bad_checksum(mut self) -> Self {
                self.message.bad_checksum = true;
                self
            }
        }
    };
}

message!(EchoFrame);
message!(ErrorFrame);
message!(NdpFrame);

impl EchoFrame {
    /// With this identifier and sequence number.
    #[must_use]
    pub fn id(mut self, id: u16, seq: u16) -> Self {
        (self.id, self.seq) = (id, seq);
        self
    }

    /// With this payload.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// The frame.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut body = self.id.to_be_bytes().to_vec();
        body.extend(self.seq.to_be_bytes());
        body.extend(&self.payload);
        self.message.build(&body)
    }
}

impl ErrorFrame {
    /// With this MTU (or pointer, or whatever the second word means).
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.rest = mtu;
        self
    }

    /// Quoting only `len` bytes of the packet.
    #[must_use]
    pub fn quoting(mut self, len: usize) -> Self {
        self.quoted.truncate(len);
        self
    }

    /// The frame.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut body = self.rest.to_be_bytes().to_vec();
        body.extend(&self.quoted);
        self.message.build(&body)
    }
}

impl NdpFrame {
    /// A probe for duplicates: from nobody, without a link-layer address (RFC 4862 §5.4.2).
    #[must_use]
    pub fn probe(self) -> Self {
        self.from("::").options(&[])
    }

    /// With the flags R, S and O of an advertisement in the upper three bits.
    #[must_use]
    pub fn flags(mut self, flags: u32) -> Self {
        self.flags = flags;
        self
    }

    /// With another target than the one built for.
    #[must_use]
    pub fn target(mut self, target: &str) -> Self {
        self.target = addr(target).0;
        self
    }

    /// With this link-layer address option alone: `kind` 1 is the source's, 2 the target's.
    #[must_use]
    pub fn link_layer(self, kind: u8, mac: Mac) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        self.options(&[kind, 1, a, b, c, d, e, f])
    }

    /// With exactly these options.
    #[must_use]
    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    /// The frame.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut body = self.flags.to_be_bytes().to_vec();
        body.extend(self.target);
        body.extend(&self.options);
        self.message.build(&body)
    }
}
