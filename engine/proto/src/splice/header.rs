//! The PROXY protocol, version 2 (haproxy's proxy-protocol.txt §2.2): what a backend is told of the client
//! in front of the client's data.

use crate::wire::Tuple;

/// The longest header that is written: two IPv6 addresses, and a checksum.
pub const MAX_HEADER: usize = 16 + 36 + CRC_LEN;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The TLV with the checksum: type, length, CRC32c.
const CRC_LEN: usize = 7;
const PP2_TYPE_CRC32C: u8 = 0x03;

/// On whose behalf a connection is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behalf {
    /// A client's.
    Proxy,
    /// Our own: a health check.
    Local,
}

/// Writes the header for the client's half `tuple` into `buf` and returns its length. It depends on nothing
/// else: it can be made again whenever it must be sent again. `crc` puts a CRC32c in.
#[must_use]
pub fn proxy_header(tuple: &Tuple, behalf: Behalf, crc: bool, buf: &mut [u8; MAX_HEADER]) -> usize {
    let (command, family, addresses) = match behalf {
        Behalf::Local => (0x20, 0x00, 0),
        Behalf::Proxy if tuple.remote.is_v4() => (0x21, 0x11, 12),
        Behalf::Proxy => (0x21, 0x21, 36),
    };
    let tlv = if crc { CRC_LEN } else { 0 };
    let body = (addresses as u16).wrapping_add(tlv as u16);
    let mut writer = Writer { buf, len: 0 };
    writer.put(&SIGNATURE);
    writer.put(&[command, family]);
    writer.put(&body.to_be_bytes());
    match (behalf, tuple.remote.as_v4(), tuple.local.as_v4()) {
        (Behalf::Local, ..) => {}
        (Behalf::Proxy, Some(client), Some(service)) => {
            writer.put(&client);
            writer.put(&service);
        }
        (Behalf::Proxy, ..) => {
            writer.put(&tuple.remote.0);
            writer.put(&tuple.local.0);
        }
    }
    if behalf == Behalf::Proxy {
        writer.put(&tuple.remote_port.to_be_bytes());
        writer.put(&tuple.local_port.to_be_bytes());
    }
    if crc {
        writer.put(&[PP2_TYPE_CRC32C, 0, 4]);
        let sum = writer.crc();
        writer.put(&sum.to_be_bytes());
    }
    writer.len
}

/// The length of the header that [`proxy_header`] writes for a client of this family.
#[must_use]
pub const fn proxy_header_len(is_v4: bool, crc: bool) -> u8 {
    let addresses = if is_v4 { 12 } else { 36 };
    let tlv = if crc { CRC_LEN as u8 } else { 0 };
    16u8.wrapping_add(addresses).wrapping_add(tlv)
}

struct Writer<'a> {
    buf: &'a mut [u8; MAX_HEADER],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.len.wrapping_add(bytes.len());
        if let Some(room) = self.buf.get_mut(self.len..end) {
            room.copy_from_slice(bytes);
            self.len = end;
        }
    }

    /// The CRC32c of what was written and of the four zeros in its own place (§2.2.3).
    fn crc(&self) -> u32 {
        let written = self.buf.get(..self.len).unwrap_or_default();
        !written.iter().chain(&[0; 4]).fold(u32::MAX, |crc, byte| crc_byte(crc ^ u32::from(*byte)))
    }
}

/// CRC32c (RFC 9260 appendix A) bit by bit: a header of 59 bytes a connection is worth no table.
fn crc_byte(crc: u32) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    (0..8).fold(crc, |crc, _| {
        let odd = 0u32.wrapping_sub(crc & 1);
        crc >> 1 ^ POLYNOMIAL & odd
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::addr;

    fn header(ends: (&str, &str), behalf: Behalf, crc: bool) -> std::vec::Vec<u8> {
        let tuple = Tuple {
            remote: addr(ends.0),
            local: addr(ends.1),
            remote_port: 0x1234,
            local_port: 443,
            ..Tuple::default()
        };
        let mut buf = [0xee; MAX_HEADER];
        let len = proxy_header(&tuple, behalf, crc, &mut buf);
        assert!(
            behalf == Behalf::Local
                || len == usize::from(proxy_header_len(tuple.remote.is_v4(), crc))
        );
        buf[..len].to_vec()
    }

    /// proxy-protocol.txt §2.2, byte by byte.
    #[test]
    fn headers_are_those_of_the_specification() {
        let start = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
        let v4 = header(("10.0.0.1", "10.0.0.2"), Behalf::Proxy, false);
        assert_eq!(v4[..12], start);
        assert_eq!(v4[12..16], [0x21, 0x11, 0, 12]);
        assert_eq!(v4[16..], [10, 0, 0, 1, 10, 0, 0, 2, 0x12, 0x34, 0x01, 0xbb]);
        let v6 = header(("fd00::1", "fd00::2"), Behalf::Proxy, false);
        assert_eq!((&v6[12..18], v6.len()), (&[0x21, 0x21, 0, 36, 0xfd, 0][..], 52));
        assert_eq!(v6[48..], [0x12, 0x34, 0x01, 0xbb]);
        let local = header(("10.0.0.1", "10.0.0.2"), Behalf::Local, false);
        assert_eq!(local[12..], [0x20, 0x00, 0, 0]);
    }

    /// §2.2.3: the checksum is that of the whole header with zeros in its place.
    #[test]
    fn the_checksum_covers_the_header() {
        for ends in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            for behalf in [Behalf::Proxy, Behalf::Local] {
                let mut bytes = header(ends, behalf, true);
                let at = bytes.len() - 4;
                assert_eq!(bytes[at - 3..at], [3, 0, 4]);
                let sum: [u8; 4] = bytes[at..].try_into().unwrap();
                bytes[at..].fill(0);
                assert_eq!(u32::from_be_bytes(sum), slow_crc32c(&bytes));
                let body = u16::from_be_bytes([bytes[14], bytes[15]]);
                assert_eq!(usize::from(body) + 16, bytes.len());
            }
        }
    }

    /// The polynomial division written out, most significant bit first, on reflected bytes.
    fn slow_crc32c(bytes: &[u8]) -> u32 {
        let mut rest = u32::MAX;
        for byte in bytes {
            rest ^= u32::from(byte.reverse_bits()) << 24;
            for _ in 0..8 {
                let top = rest >> 31 == 1;
                rest = rest << 1 ^ if top { 0x1edc_6f41 } else { 0 };
            }
        }
        !rest.reverse_bits()
    }

    /// RFC 9260 appendix A and everybody's test vector.
    #[test]
    fn the_checksum_is_crc32c() {
        let crc =
            |bytes: &[u8]| !bytes.iter().fold(u32::MAX, |crc, b| crc_byte(crc ^ u32::from(*b)));
        assert_eq!(crc(b"123456789"), 0xe306_9283);
        assert_eq!(slow_crc32c(b"123456789"), 0xe306_9283);
    }
}
