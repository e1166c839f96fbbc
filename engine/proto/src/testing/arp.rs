//! A builder of ARP packets.

use std::vec::Vec;

use super::envelope::{Envelope, Outer};
use super::{CLIENT_MAC, addr};
use crate::wire::Mac;

/// An ARP packet to be; a request unless told otherwise.
#[derive(Clone, Debug)]
pub struct ArpFrame {
    outer: Outer,
    op: u16,
    sender: (Mac, [u8; 4]),
    target: (Mac, [u8; 4]),
    kind: [u8; 6],
}

/// A broadcast request for the MAC of 10.0.0.2 by 10.0.0.1.
#[must_use]
pub fn arp() -> ArpFrame {
    let frame = ArpFrame {
        outer: Outer::default(),
        op: 1,
        sender: (CLIENT_MAC, [10, 0, 0, 1]),
        target: (Mac::ZERO, [10, 0, 0, 2]),
        kind: [0, 1, 8, 0, 6, 4],
    };
    frame.dst_mac(Mac::BROADCAST)
}

impl Envelope for ArpFrame {
    fn outer(&mut self) -> &mut Outer {
        &mut self.outer
    }
}

impl ArpFrame {
    /// The address of the sender.
    #[must_use]
    pub fn sender(mut self, ip: &str) -> Self {
        self.sender.1 = addr(ip).as_v4().expect("an IPv4 address");
        self
    }

    /// The address asked for.
    #[must_use]
    pub fn target(mut self, ip: &str) -> Self {
        self.target.1 = addr(ip).as_v4().expect("an IPv4 address");
        self
    }

    /// The MAC that the packet claims for the sender.
    #[must_use]
    pub fn sender_mac(mut self, mac: Mac) -> Self {
        self.sender.0 = mac;
        self
    }

    /// A reply to this station.
    #[must_use]
    pub fn reply_to(mut self, mac: Mac) -> Self {
        self.target.0 = mac;
        self.op(2).dst_mac(mac)
    }

    /// With this operation.
    #[must_use]
    pub fn op(mut self, op: u16) -> Self {
        self.op = op;
        self
    }

    /// With these hardware and protocol types and lengths instead of Ethernet's and IPv4's.
    #[must_use]
    pub fn kind(mut self, kind: [u8; 6]) -> Self {
        self.kind = kind;
        self
    }

    /// The frame.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut packet = self.kind.to_vec();
        packet.extend(self.op.to_be_bytes());
        for (mac, ip) in [self.sender, self.target] {
            packet.extend(mac.0);
            packet.extend(ip);
        }
        self.outer.wrap(0x0806, &packet)
    }
}
