//! The Toeplitz hash by which NICs spread flows over queues, in software.

use super::Tuple;

/// A key under which both directions of a tuple hash alike: a pattern that repeats every 16 bits, so that
/// swapping addresses and swapping ports changes nothing.
pub const SYMMETRIC_KEY: [u8; 40] = {
    let mut key = [0x6d; 40];
    let (words, _) = key.as_chunks_mut::<2>();
    let mut rest: &mut [[u8; 2]] = words;
    while let [word, others @ ..] = rest {
        *word = [0x6d, 0x5a];
        rest = others;
    }
    key
};

/// The hash of `input` under `key`, as NICs compute it.
#[must_use]
pub fn hash(key: &[u8; 40], input: &[u8]) -> u32 {
    let mut hash = 0;
    let [a, b, c, d, rest @ ..] = *key;
    let mut window = u32::from_be_bytes([a, b, c, d]);
    let mut key_bytes = rest.iter().chain(core::iter::repeat(&0));
    for byte in input {
        let next = u64::from(*key_bytes.next().unwrap_or(&0));
        let wide = u64::from(window) << 8 | next;
        for bit in 0..8u32 {
            if byte & (0x80 >> bit) != 0 {
                hash ^= (wide >> 8u32.wrapping_sub(bit)) as u32;
            }
        }
        window = wide as u32;
    }
    hash
}

/// The hash of a tuple as its received frames give it: source, destination, both ports.
#[must_use]
pub fn hash_tuple(key: &[u8; 40], tuple: &Tuple) -> u32 {
    let [a, b] = tuple.remote_port.to_be_bytes();
    let [c, d] = tuple.local_port.to_be_bytes();
    let ports = [a, b, c, d];
    match (tuple.remote.as_v4(), tuple.local.as_v4()) {
        (Some(remote), Some(local)) => hash(key, [remote, local, ports].as_flattened()),
        _ => {
            let mut input = [0; 36];
            let (chunks, tail) = input.as_chunks_mut::<16>();
            for (chunk, addr) in chunks.iter_mut().zip([tuple.remote, tuple.local]) {
                *chunk = addr.0;
            }
            tail.copy_from_slice(&ports);
            hash(key, &input)
        }
    }
}

/// [`hash_tuple`] under [`SYMMETRIC_KEY`], in a few steps.
///
/// The hash is linear and this key repeats every 16 bits, so that all words of the input meet the same bits
/// of it: the hash of their sum is the sum of their hashes.
#[inline]
#[must_use]
pub fn symmetric(tuple: &Tuple) -> u32 {
    let ports = tuple.remote_port ^ tuple.local_port;
    // An IPv4 address is mapped into IPv6 in both: what they have in common cancels out.
    let addresses = u128::from_ne_bytes(tuple.remote.0) ^ u128::from_ne_bytes(tuple.local.0);
    let folded = (addresses >> 64) as u64 ^ addresses as u64;
    let folded = (folded >> 32) as u32 ^ folded as u32;
    let [a, b] = (((folded >> 16) ^ folded) as u16).to_ne_bytes();
    let [high, low] = (u16::from_be_bytes([a, b]) ^ ports).to_be_bytes();
    let part = |table: &[u16; 256], byte: u8| table.get(usize::from(byte)).copied().unwrap_or(0);
    let half = u32::from(part(&HIGH, high) ^ part(&LOW, low));
    half << 16 | half
}

/// The hashes' lower halves of words with one byte set: the first, or the second.
const HIGH: [u16; 256] = table(0);
const LOW: [u16; 256] = table(8);

/// Of words whose one byte begins at this bit, the most significant being 0.
const fn table(first: u32) -> [u16; 256] {
    let mut table = [0; 256];
    let mut rest: &mut [u16] = &mut table;
    let mut byte = 0_u8;
    while let [entry, others @ ..] = rest {
        let mut bit = 0;
        while bit < 8 {
            if byte & (0x80 >> bit) != 0 {
                *entry ^= 0x6d5a_u16.rotate_left(first.wrapping_add(bit));
            }
            bit = bit.wrapping_add(1);
        }
        byte = byte.wrapping_add(1);
        rest = others;
    }
    table
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::Addr;

    /// The key of Microsoft's verification suite for RSS.
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    fn tuple(remote: &str, local: &str) -> Tuple {
        let (remote, local): (std::net::SocketAddr, std::net::SocketAddr) =
            (remote.parse().unwrap(), local.parse().unwrap());
        Tuple {
            remote: Addr::from(remote.ip()),
            local: Addr::from(local.ip()),
            remote_port: remote.port(),
            local_port: local.port(),
            ..Tuple::default()
        }
    }

    #[test]
    fn verification_suite_of_rss() {
        for (remote, local, expected) in [
            ("66.9.149.187:2794", "161.142.100.80:1766", 0x51cc_c178),
            ("199.92.111.2:14230", "65.69.140.83:4739", 0xc626_b0ea),
            ("[3ffe:2501:200:1fff::7]:2794", "[3ffe:2501:200:3::1]:1766", 0x4020_7d3d),
        ] {
            assert_eq!(hash_tuple(&KEY, &tuple(remote, local)), expected, "{remote}");
        }
    }

    #[test]
    fn symmetric_key_hashes_both_directions_alike() {
        for (a, b) in [("10.0.0.1:1234", "10.9.8.7:80"), ("[fd00::1]:1234", "[fd00::2]:80")] {
            let key = &SYMMETRIC_KEY;
            assert_eq!(hash_tuple(key, &tuple(a, b)), hash_tuple(key, &tuple(b, a)));
        }
    }

    proptest! {
        #[test]
        fn the_short_way_gives_the_same_hash(
            remote: u128, local: u128, v4: bool, remote_port: u16, local_port: u16, vlan: u16, port: u16,
        ) {
            let addr = |bits: u128| match v4 {
                true => Addr::v4((bits as u32).to_be_bytes()),
                false => Addr(bits.to_be_bytes()),
            };
            let (remote, local) = (addr(remote), addr(local));
            let tuple = Tuple { remote, local, remote_port, local_port, vlan, port };
            prop_assert_eq!(symmetric(&tuple), hash_tuple(&SYMMETRIC_KEY, &tuple));
        }
    }
}
