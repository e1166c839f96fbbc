//! SYNs from a template: everything that connections share is written and summed once.

use std::net::{IpAddr, SocketAddr};

use etherparse::PacketBuilder;
use usher_proto::wire::checksum::Sum;
use usher_proto::wire::{Addr, Link, SeqNum, TooSmall};

use super::Stack;

/// What differs between SYNs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Syn {
    /// Where it comes from; of the target's family.
    pub from: (Addr, u16),
    /// Its number.
    pub seq: SeqNum,
    /// Its TSval, which stacks without timestamps leave out.
    pub ts_val: u32,
}

/// The frame of a SYN to one target.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    is_v4: bool,
    /// Where the TSval stands.
    stamp: Option<usize>,
    /// Of the IPv4 header, without source and checksum.
    header: Sum,
    /// Of the segment and its pseudo-header, without what differs.
    segment: Sum,
}

const ETHERNET: usize = 14;
const TCP: u8 = 6;

impl Template {
    /// A stack's SYN to `to`.
    ///
    /// # Panics
    /// Never: options of every stack fit, and a vector takes every byte.
    #[must_use]
    pub fn new(stack: Stack, link: &Link, to: SocketAddr, mss: u16) -> Self {
        let envelope = PacketBuilder::ethernet2(link.src.0, link.dst.0);
        let packet = match to.ip() {
            IpAddr::V4(to) => envelope.ipv4([0; 4], to.octets(), 64),
            IpAddr::V6(to) => envelope.ipv6([0; 16], to.octets(), 64),
        };
        let options = stack.options(mss);
        let syn = packet.tcp(0, to.port(), 0, stack.window()).syn();
        let syn = syn.options(&options).expect("forty bytes at most");
        let mut bytes = Vec::new();
        syn.write(&mut bytes, &[]).expect("a vector takes every byte");
        let is_v4 = to.is_ipv4();
        let tcp = tcp_at(is_v4);
        if is_v4 {
            bytes[ETHERNET + 10..ETHERNET + 12].fill(0);
        }
        bytes[tcp + 16..tcp + 18].fill(0);
        let (headers, segment) = bytes.split_at(tcp);
        let len = u16::try_from(segment.len()).unwrap_or(u16::MAX);
        let header = Sum::ZERO.bytes(&headers[ETHERNET..]);
        let segment = Sum::pseudo(&Addr::default(), &to.ip().into(), TCP, len).bytes(segment);
        let stamp = stack.ts_offset().map(|offset| tcp + 20 + offset);
        Self { bytes, is_v4, stamp, header, segment }
    }

    /// Writes a SYN with both checksums; returns the frame's length.
    ///
    /// # Errors
    /// When `room` is too small for it.
    #[inline]
    pub fn write(&self, room: &mut [u8], syn: &Syn) -> Result<usize, TooSmall> {
        let len = self.bytes.len();
        let frame = room.get_mut(..len).ok_or(TooSmall)?;
        frame.copy_from_slice(&self.bytes);
        let (tcp, (from, port)) = (tcp_at(self.is_v4), syn.from);
        let mut segment = self.segment.addr(&from).word(port).dword(syn.seq.0);
        if let Some(at) = self.stamp {
            frame[at..at + 4].copy_from_slice(&syn.ts_val.to_be_bytes());
            segment = segment.dword(syn.ts_val);
        }
        if let Some(from) = from.as_v4() {
            let checksum = self.header.dword(u32::from_be_bytes(from)).checksum();
            frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&checksum.to_bytes());
            frame[ETHERNET + 12..ETHERNET + 16].copy_from_slice(&from);
        } else {
            frame[ETHERNET + 8..ETHERNET + 24].copy_from_slice(&from.0);
        }
        frame[tcp..tcp + 2].copy_from_slice(&port.to_be_bytes());
        frame[tcp + 4..tcp + 8].copy_from_slice(&syn.seq.0.to_be_bytes());
        frame[tcp + 16..tcp + 18].copy_from_slice(&segment.checksum().to_bytes());
        Ok(len)
    }
}

const fn tcp_at(is_v4: bool) -> usize {
    ETHERNET + if is_v4 { 20 } else { 40 }
}

#[cfg(test)]
mod tests {
    use usher_proto::testing::{CLIENT_MAC, OUR_MAC, TcpRead, read_tcp};
    use usher_proto::wire::{Flags, Timestamps};

    use super::*;

    fn written(stack: Stack, from: &str, to: &str) -> (TcpRead, usize) {
        let link = Link { src: CLIENT_MAC, dst: OUR_MAC, vlan: 0 };
        let template = Template::new(stack, &link, to.parse().expect("an address"), 1460);
        let from: SocketAddr = from.parse().expect("an address");
        let syn = Syn {
            from: (from.ip().into(), from.port()),
            seq: SeqNum(0xfeed_beef),
            ts_val: 0x1234_5678,
        };
        let mut room = [0xaa; 128];
        let len = template.write(&mut room, &syn).expect("room");
        assert_eq!(template.write(&mut room[..len - 1], &syn), Err(TooSmall));
        (read_tcp(&room[..len]), len) // which verifies checksums and lengths
    }

    #[test]
    fn a_syn_says_who_sends_it() {
        for (from, to) in [("10.1.2.3:4567", "10.10.0.10:80"), ("[fd00::9]:65535", "[fd00::10]:80")]
        {
            let (read, _) = written(Stack::Linux, from, to);
            assert_eq!((read.from, read.to), (from.parse().unwrap(), to.parse().unwrap()));
            assert_eq!((read.seq, read.flags, read.window), (0xfeed_beef, Flags::SYN, 64_240));
            assert_eq!((read.src_mac, read.dst_mac), (CLIENT_MAC, OUR_MAC));
        }
    }

    #[test]
    fn stacks_differ_in_their_options_and_windows() {
        let stamps = Some(Timestamps { val: 0x1234_5678, ecr: 0 });
        for (stack, len, scale, sack, timestamps) in [
            (Stack::Linux, 74, Some(7), true, stamps),
            (Stack::Windows, 66, Some(8), true, None),
            (Stack::Macos, 78, Some(6), true, stamps),
            (Stack::Iot, 54, None, false, None),
        ] {
            let (read, found) = written(stack, "10.1.2.3:4567", "10.10.0.10:80");
            assert_eq!(
                (read.window_scale, read.sack_permitted, read.timestamps),
                (scale, sack, timestamps)
            );
            assert_eq!(
                (found, read.mss),
                (len, (stack != Stack::Iot).then_some(1460)),
                "{stack:?}"
            );
            assert_eq!((read.window, scale), (stack.window(), stack.window_scale()));
        }
    }

    #[test]
    fn later_windows_are_scaled_where_that_was_agreed_on() {
        assert_eq!(Stack::Linux.open_window(true), 501);
        assert_eq!(Stack::Linux.open_window(false), 64_240);
        assert_eq!(Stack::Iot.open_window(true), 5_840);
    }
}
