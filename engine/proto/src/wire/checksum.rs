//! The Internet checksum (RFC 1071), whole and incremental (RFC 1624), and who computes it.
//!
//! Sums are kept in the machine's own byte order, which the one's complement sum does not mind
//! (RFC 1071 §2(B)), and are turned into wire order only when they are written.

use zerocopy::network_endian::U16;

use super::Addr;

/// The NIC's word on a checksum of a received frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Checked {
    /// Verified.
    Good,
    /// Not computed, but the data is good, as virtio says of frames that never left the machine: what is in
    /// the frame is unfinished.
    Unfinished,
    /// Wrong.
    Bad,
    /// Not looked at: the software verifies it.
    #[default]
    Unknown,
}

/// The NIC's word on both checksums of a received frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RxChecksums {
    /// The IPv4 header checksum.
    pub ip: Checked,
    /// The TCP checksum. (ICMP is always verified in software.)
    pub l4: Checked,
}

/// Which checksums the port computes when it sends; the others are computed here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TxChecksums {
    /// The IPv4 header checksum: the field is left 0.
    pub ip: bool,
    /// The TCP checksum: the field holds the sum of the pseudo-header.
    pub l4: bool,
}

/// A one's complement sum in progress. Pieces must begin at even offsets of what is summed.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sum(u64);

/// The sum of fewer than 2³² fields by their values: without a swap and without a carry for each.
#[derive(Clone, Copy, Default, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// This sum and the 16-bit value `word`.
    #[must_use]
    #[inline]
    pub const fn word(self, word: u16) -> Self {
        self.dword(word as u32)
    }

    /// This sum and the 32-bit value `word`.
    #[must_use]
    #[inline]
    pub const fn dword(self, word: u32) -> Self {
        Self(self.0.wrapping_add(word as u64))
    }

    /// This sum and another one.
    #[must_use]
    #[inline]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }
}

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// This sum and `bytes`; an odd last byte is padded with zero. Inlined for certain: most lengths are known.
    #[must_use]
    #[inline(always)]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        // Whole blocks first: their loop becomes vector code, which headers are too short for.
        let (blocks, rest) = bytes.as_chunks::<64>();
        let mut sum = 0u64;
        for block in blocks {
            let (words, _) = block.as_chunks::<4>();
            for word in words {
                sum = sum.wrapping_add(u64::from(u32::from_ne_bytes(*word)));
            }
        }
        let (words, tail) = rest.as_chunks::<8>();
        let mut sum = self.qword(sum);
        for word in words {
            sum = sum.qword(u64::from_ne_bytes(*word));
        }
        if tail.is_empty() { sum } else { sum.tail(tail) }
    }

    /// This sum and eight bytes, with the carry around.
    #[inline]
    const fn qword(self, word: u64) -> Self {
        let (sum, carry) = self.0.overflowing_add(word);
        Self(sum.wrapping_add(carry as u64))
    }

    /// This sum and fewer than eight bytes.
    #[inline]
    fn tail(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<2>();
        let mut sum = self;
        for word in words {
            sum = sum.qword(u64::from(u16::from_ne_bytes(*word)));
        }
        match *rest {
            [last] => sum.qword(u64::from(u16::from_ne_bytes([last, 0]))),
            _ => sum,
        }
    }

    /// This sum and the 16-bit value `word`.
    #[must_use]
    pub const fn word(self, word: u16) -> Self {
        self.qword(word.to_be() as u64)
    }

    /// This sum and the 32-bit value `word`.
    #[must_use]
    pub const fn dword(self, word: u32) -> Self {
        self.qword(word.to_be() as u64)
    }

    /// This sum and another one.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        self.qword(other.0)
    }

    /// This sum and that of `numbers`. Two bytes more or less of shift do not change a sum modulo 2¹⁶ − 1, so
    /// one swap of the whole brings each into wire order.
    #[must_use]
    #[inline]
    pub const fn numbers(self, numbers: Numbers) -> Self {
        self.qword(numbers.0.to_be())
    }

    /// This sum and `addr`.
    #[must_use]
    pub const fn addr(self, addr: &Addr) -> Self {
        let bits = u128::from_ne_bytes(addr.0);
        self.qword(bits as u64).qword((bits >> 64) as u64)
    }

    /// The pseudo-header of RFC 9293 §3.1 and RFC 8200 §8.1. One formula does for both families: the
    /// 0xffff in a mapped IPv4 address is zero in one's complement.
    #[must_use]
    pub const fn pseudo(source: &Addr, destination: &Addr, protocol: u8, len: u16) -> Self {
        Self::ZERO.addr(source).addr(destination).word(protocol as u16).word(len)
    }

    /// The sum in 16 bits, in the machine's byte order.
    const fn fold(self) -> u16 {
        // The upper half of x + rotated x is the sum of both halves with its carry around.
        let sum = (self.0.wrapping_add(self.0.rotate_left(32)) >> 32) as u32;
        (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
    }

    /// The sum itself, not complemented: what a port expects that completes the checksum.
    #[must_use]
    pub const fn partial(self) -> U16 {
        U16::from_bytes(self.fold().to_ne_bytes())
    }

    /// The checksum to write.
    #[must_use]
    #[inline]
    pub const fn checksum(self) -> U16 {
        U16::from_bytes((!self.fold()).to_ne_bytes())
    }

    /// Whether data that includes its checksum is sound.
    #[must_use]
    pub const fn is_sound(self) -> bool {
        self.fold() == 0xffff
    }
}

/// The checksum after one of the words it covers changed from `old` to `new` (RFC 1624 §3, equation 3).
#[must_use]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = (!checksum as u32).wrapping_add(!old as u32).wrapping_add(new as u32);
    let sum = (sum & 0xffff).wrapping_add(sum >> 16);
    !((sum & 0xffff).wrapping_add(sum >> 16) as u16)
}

/// [`update`] for a 32-bit value at an even offset.
#[must_use]
pub const fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    let high = update(checksum, (old >> 16) as u16, (new >> 16) as u16);
    update(high, old as u16, new as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::slow_checksum as slow;

    /// RFC 1071 §3: the example sums to ddf2.
    #[test]
    fn example_of_rfc_1071() {
        let sum = Sum::default().bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!((sum.partial().get(), sum.checksum().get()), (0xddf2, 0x220d));
    }

    /// RFC 1624 §4: the case that RFC 1141 gets wrong.
    #[test]
    fn example_of_rfc_1624() {
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    proptest! {
        #[test]
        fn sums_equal_the_slow_one(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(Sum::default().bytes(&bytes).checksum().get(), slow(&bytes));
        }

        #[test]
        fn pieces_sum_to_the_whole(bytes in prop::collection::vec(any::<u8>(), 4..200), at in 0usize..100) {
            let (a, b) = bytes.split_at((at * 2).min(bytes.len() / 2 * 2));
            let pieces = Sum::default().bytes(a).bytes(b).checksum();
            prop_assert_eq!(pieces, Sum::default().bytes(&bytes).checksum());
        }

        #[test]
        fn numbers_sum_as_their_bytes_do(words in prop::collection::vec(any::<u32>(), 0..40), more: u16) {
            let bytes: std::vec::Vec<u8> =
                words.iter().flat_map(|w| w.to_be_bytes()).chain(more.to_be_bytes()).collect();
            let numbers = words.iter().fold(Numbers::ZERO, |sum, w| sum.dword(*w)).word(more);
            let whole = Sum::default().bytes(&bytes).checksum();
            prop_assert_eq!(Sum::ZERO.numbers(numbers).checksum(), whole);
        }

        /// Not for all-zero data, which no packet is: its sum has two spellings.
        #[test]
        fn incremental_equals_full(mut words in prop::collection::vec(any::<u16>(), 2..40), at in 0usize..38, new: u32) {
            words.push(1);
            let at = at.min(words.len() - 3);
            let bytes = |w: &[u16]| w.iter().flat_map(|w| w.to_be_bytes()).collect::<std::vec::Vec<_>>();
            let before = slow(&bytes(&words));
            let old = u32::from(words[at]) << 16 | u32::from(words[at + 1]);
            words[at] = (new >> 16) as u16;
            words[at + 1] = new as u16;
            prop_assert_eq!(update_u32(before, old, new), slow(&bytes(&words)));
        }

        #[test]
        fn data_with_its_checksum_is_sound(mut bytes in prop::collection::vec(any::<u8>(), 2..100)) {
            bytes[0] = 0;
            bytes[1] = 0;
            let sum = Sum::default().bytes(&bytes).checksum();
            bytes[..2].copy_from_slice(&sum.to_bytes());
            prop_assert!(Sum::default().bytes(&bytes).is_sound());
        }
    }
}
