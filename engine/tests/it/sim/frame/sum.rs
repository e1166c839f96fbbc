//! The Internet checksum, slow and obvious.

use std::net::IpAddr;

use super::word;

/// The one's complement sum of 16-bit words, what is missing at the end being zero (RFC 1071 §1), taken
/// in pairs of words (§2(C)).
pub(crate) fn ones_sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u64;
    let mut pairs = bytes.chunks_exact(4);
    for pair in &mut pairs {
        sum += u64::from(word(pair, 0));
    }
    let mut rest = pairs.remainder().to_vec();
    rest.resize(4, 0);
    sum += u64::from(word(&rest, 0));
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

pub(super) fn tcp_sum(src: IpAddr, dst: IpAddr, segment: &[u8]) -> u16 {
    sum_with_pseudo_header(src, dst, 6, segment)
}

/// The sum over a message and its pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1).
pub(crate) fn sum_with_pseudo_header(
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    message: &[u8],
) -> u16 {
    let mut pseudo = Vec::with_capacity(40 + message.len());
    for address in [src, dst] {
        match address {
            IpAddr::V4(a) => pseudo.extend(a.octets()),
            IpAddr::V6(a) => pseudo.extend(a.octets()),
        }
    }
    pseudo.extend((message.len() as u32).to_be_bytes());
    pseudo.extend([0, 0, 0, protocol]);
    pseudo.extend(message);
    ones_sum(&pseudo)
}

#[test]
fn the_sum_is_that_of_the_worked_example() {
    // RFC 1071 §3
    assert_eq!(ones_sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
}
