//! A PROXY header of version 2 as it must be (haproxy, proxy-protocol.txt §2.2).

use std::net::IpAddr;

use super::super::client::Ends;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// PP2_TYPE_CRC32C
const SUM: u8 = 3;

/// The header that tells of this client's connection.
pub(crate) fn of(client: &Ends, with_sum: bool) -> Vec<u8> {
    let octets = |ip| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let mut body = [octets(client.local.ip()), octets(client.remote.ip())].concat();
    body.extend(client.local.port().to_be_bytes());
    body.extend(client.remote.port().to_be_bytes());
    if with_sum {
        body.extend([SUM, 0, 4, 0, 0, 0, 0]);
    }
    let mut header = SIGNATURE.to_vec();
    header.extend([0x21, if client.local.is_ipv4() { 0x11 } else { 0x21 }]);
    header.extend((body.len() as u16).to_be_bytes());
    header.extend(body);
    if with_sum {
        let sum = crc32c(&header).to_be_bytes();
        let at = header.len() - 4;
        header[at..].copy_from_slice(&sum);
    }
    header
}

/// RFC 3720 §12.1 and appendix B.4, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !sum
}

#[test]
fn the_sum_is_that_of_the_examples() {
    // RFC 3720, appendix B.4; as read in network order the bytes are aa 36 91 8a.
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
}
