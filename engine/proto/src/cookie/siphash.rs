//! SipHash-2-4 (Aumasson, Bernstein 2012) over a fixed number of 64-bit words.
//!
//! Our inputs have two lengths, so the general byte-wise state machine is left out: the compiler
//! unrolls each length, and cutting a tuple into words and hashing them takes what `siphasher` takes to
//! hash as many bytes (21 ns for IPv4, 32 for IPv6; `bench/benches/cookie.rs`). The result equals that of any
//! SipHash-2-4 over the words' little-endian bytes, which the tests show.

use zeroize::Zeroize;

use crate::wire::{Addr, Tuple};

/// A 128-bit SipHash key.
#[derive(Clone, Copy, PartialEq, Eq, Zeroize)]
pub(super) struct Key(pub(super) u64, pub(super) u64);

impl Key {
    /// SipHash-2-4 of `words`, read as little-endian bytes.
    #[inline]
    pub(super) fn hash<const N: usize>(self, words: [u64; N]) -> u64 {
        // "somepseudorandomlygeneratedbytes", the initial state of the paper.
        let mut v = [
            self.0 ^ 0x736f_6d65_7073_6575,
            self.1 ^ 0x646f_7261_6e64_6f6d,
            self.0 ^ 0x6c79_6765_6e65_7261,
            self.1 ^ 0x7465_6462_7974_6573,
        ];
        for word in words {
            v = compress(v, word);
        }
        // The last block holds the length in bytes, modulo 256, in its highest byte.
        let [a, b, c, d] = compress(v, (N as u64) << 59);
        let [a, b, c, d] = round(round(round(round([a, b, c ^ 0xff, d]))));
        a ^ b ^ c ^ d
    }

    /// The hash of a connection's addresses and ports and of `extra`. Nothing else of the tuple
    /// enters: neither VLAN nor port index, which another node may number differently.
    ///
    /// Inlined for certain: out of line, a refused cookie, which takes two hashes, cost 77 ns and not about 68.
    #[inline(always)]
    pub(super) fn hash_tuple(self, tuple: &Tuple, irs: u32, extra: u64) -> u64 {
        let ports = u64::from(tuple.remote_port) | u64::from(tuple.local_port) << 16;
        let ports = ports | u64::from(irs) << 32;
        let (remote, local) = (halves(tuple.remote), halves(tuple.local));
        match (v4(remote), v4(local)) {
            (Some(remote), Some(local)) => self.hash([remote | local << 32, ports, extra]),
            _ => self.hash([remote.0, remote.1, local.0, local.1, ports, extra]),
        }
    }
}

/// The two halves of an address as little-endian words.
#[inline]
fn halves(addr: Addr) -> (u64, u64) {
    let [low, high]: [u64; 2] = zerocopy::transmute!(addr.0);
    (u64::from_le(low), u64::from_le(high))
}

/// The four bytes of a mapped IPv4 address (`::ffff:a.b.c.d`), if it is one.
#[inline]
fn v4((low, high): (u64, u64)) -> Option<u64> {
    (low == 0 && high as u32 == 0xffff_0000).then_some(high >> 32)
}

#[inline]
fn compress([a, b, c, d]: [u64; 4], word: u64) -> [u64; 4] {
    let [a, b, c, d] = round(round([a, b, c, d ^ word]));
    [a ^ word, b, c, d]
}

#[inline]
fn round([a, b, c, d]: [u64; 4]) -> [u64; 4] {
    let (a, c) = (a.wrapping_add(b), c.wrapping_add(d));
    let (b, d) = (b.rotate_left(13) ^ a, d.rotate_left(16) ^ c);
    let a = a.rotate_left(32);
    let (c, a) = (c.wrapping_add(b), a.wrapping_add(d));
    let (b, d) = (b.rotate_left(17) ^ c, d.rotate_left(21) ^ a);
    [a, b, c.rotate_left(32), d]
}

#[cfg(test)]
mod tests {
    use core::hash::Hasher;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn oracle(key: Key, bytes: &[u8]) -> u64 {
        let mut hasher = siphasher::sip::SipHasher24::new_with_keys(key.0, key.1);
        hasher.write(bytes);
        hasher.finish()
    }

    fn bytes(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// The vector for 8 bytes from the reference implementation: key 00..0f, message 00..07.
    #[test]
    fn reference_vector() {
        let key = Key(0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        assert_eq!(key.hash([0x0706_0504_0302_0100]), 0x93f5_f579_9a93_2462);
    }

    proptest! {
        #[test]
        fn equals_siphasher(k0: u64, k1: u64, three: [u64; 3], six: [u64; 6]) {
            let key = Key(k0, k1);
            prop_assert_eq!(key.hash(three), oracle(key, &bytes(&three)));
            prop_assert_eq!(key.hash(six), oracle(key, &bytes(&six)));
        }

        /// The bytes hashed are addresses in network order, then ports, ISN and the rest in
        /// little-endian order: what a verifier in another language has to reproduce.
        #[test]
        fn a_tuple_is_hashed_in_a_fixed_layout(
            remote: [u8; 16], local: [u8; 16], ports: (u16, u16), irs: u32, extra: u64, is_v4: bool,
        ) {
            let key = Key(1, 2);
            let tail = [
                &ports.0.to_le_bytes()[..], &ports.1.to_le_bytes(), &irs.to_le_bytes(),
                &extra.to_le_bytes(),
            ].concat();
            let cut = if is_v4 { 12 } else { 0 };
            let addr = |raw: [u8; 16]| {
                if is_v4 { Addr::v4(raw[12..].try_into().unwrap()) } else { Addr(raw) }
            };
            let tuple = Tuple {
                remote: addr(remote), local: addr(local),
                remote_port: ports.0, local_port: ports.1, vlan: 9, port: 9,
            };
            let message = [&remote[cut..], &local[cut..], &tail].concat();
            prop_assert_eq!(key.hash_tuple(&tuple, irs, extra), oracle(key, &message));
        }
    }
}
