//! From the bytes of a frame to what they mean to us, or to the reason why they mean nothing.
//!
//! `parse` knows the port but not which addresses are ours: whoever calls it looks up the local address.
//! It accepts only frames whose headers and checksums it has verified, or the NIC has.

use super::arp::ArpView;
use super::checksum::RxChecksums;
use super::icmp::{EchoView, IcmpError};
use super::ndp::NdpView;
use super::{PortView, Segment, arp, ethernet, icmp, ip, ipv4, ipv6, tcp};
use crate::cause::Reason;

/// What a frame is. Nothing in it borrows from the frame: places in it are offsets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// A TCP segment.
    Tcp(Segment),
    /// An ARP request or reply.
    Arp(ArpView),
    /// A neighbour solicitation or advertisement.
    Ndp(NdpView),
    /// An ICMP or ICMPv6 echo request.
    Echo(EchoView),
    /// An ICMP or ICMPv6 error about a TCP segment.
    Icmp(IcmpError),
}

/// Reads a frame that came in by `port`.
///
/// # Errors
/// The reason to drop it: [`Reason::is_malformed`] tells what is broken from what is only not for us.
#[inline]
pub fn parse(frame: &[u8], port: &PortView, checksums: RxChecksums) -> Result<Parsed, Reason> {
    let arrival = ethernet::parse(frame, port)?;
    match arrival.ethertype {
        ethernet::IPV4 => {
            let datagram = ipv4::parse(&arrival, checksums.ip)?;
            match datagram.protocol {
                ip::TCP => tcp::parse(datagram, port, checksums.l4),
                ip::ICMP => icmp::parse_v4(datagram, port),
                ip::IGMP => Err(Reason::Multicast),
                _ => Err(Reason::OtherProtocol),
            }
        }
        ethernet::IPV6 => {
            let datagram = ipv6::parse(&arrival)?;
            match datagram.protocol {
                ip::TCP => tcp::parse(datagram, port, checksums.l4),
                ip::ICMPV6 => icmp::parse_v6(datagram, port),
                _ => Err(Reason::OtherProtocol),
            }
        }
        ethernet::ARP => arp::parse(&arrival).map(Parsed::Arp),
        _ => Err(Reason::OtherEthertype),
    }
}

#[cfg(test)]
mod tests;
