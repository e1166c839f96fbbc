//! What tests are built with: frames that clients send, sound or broken on purpose, and a slow reader of
//! what we answer.
//!
//! ```
//! use usher_proto::testing::{Envelope, tcp};
//! let syn = tcp().from("10.0.0.1:40000").to("10.0.0.2:80").syn(1000).mss(1460).window_scale(7).build();
//! let tagged = tcp().vlan(5).ack(1001, 2001).payload(b"GET /").bad_checksum().build();
//! # assert!(syn.len() < tagged.len());
//! ```
//!
//! Nothing here uses the code under test: the layouts and the checksum are written out a second time, in
//! the most obvious way, so that builder and parser cannot be wrong together. Everything panics with a
//! sentence when a frame is not what it should be.

mod arp;
mod envelope;
mod icmp;
mod read;
mod tcp;

use std::net::SocketAddr;

pub use arp::{ArpFrame, arp};
pub use envelope::{Envelope, Outer};
pub use icmp::{EchoFrame, ErrorFrame, NdpFrame, advertise, echo, icmp_error, solicit};
pub use read::{ArpRead, IcmpRead, Read, TcpRead, read, read_arp, read_icmp, read_tcp, try_read};
pub use tcp::{TcpFrame, tcp};

use crate::wire::{Addr, Mac, PortView};

/// The MAC that frames come from unless a test says otherwise.
pub const CLIENT_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x01]);
/// The MAC of the port under test.
pub const OUR_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x02]);

/// The port under test: untagged, index 0.
#[must_use]
pub const fn port() -> PortView {
    PortView { mac: OUR_MAC, vlan: 0, index: 0 }
}

/// The address written as `text`.
#[must_use]
pub fn addr(text: &str) -> Addr {
    text.parse::<std::net::IpAddr>().expect("an IP address").into()
}

/// What names one end of a connection: `"10.0.0.1:80"`, `"[fd00::1]:80"`, a `SocketAddr`, or address and port.
pub trait End {
    /// Address and port.
    fn end(self) -> (Addr, u16);
}

impl End for &str {
    fn end(self) -> (Addr, u16) {
        self.parse::<SocketAddr>().expect("an address and a port").end()
    }
}

impl End for SocketAddr {
    fn end(self) -> (Addr, u16) {
        (self.ip().into(), self.port())
    }
}

impl End for (Addr, u16) {
    fn end(self) -> (Addr, u16) {
        self
    }
}

/// The Internet checksum, word by word (RFC 1071 §1).
#[must_use]
pub fn slow_checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// [`slow_checksum`] of `payload` behind the pseudo-header of its family.
#[must_use]
pub fn slow_pseudo_checksum(from: &Addr, to: &Addr, protocol: u8, payload: &[u8]) -> u16 {
    let mut bytes = std::vec::Vec::new();
    match (from.as_v4(), to.as_v4()) {
        (Some(from), Some(to)) => {
            bytes.extend(from);
            bytes.extend(to);
            bytes.extend([0, protocol]);
            bytes.extend((payload.len() as u16).to_be_bytes());
        }
        _ => {
            bytes.extend(from.0);
            bytes.extend(to.0);
            bytes.extend((payload.len() as u32).to_be_bytes());
            bytes.extend([0, 0, 0, protocol]);
        }
    }
    bytes.extend(payload);
    slow_checksum(&bytes)
}
