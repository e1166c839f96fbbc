//! Issuing cookies, verifying them, and which secret holds when.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::secret::{Purpose, Secret};
use super::siphash::Key;
use super::tables::Offer;
use crate::time::Now;
use crate::wire::{SeqNum, Timestamps, Tuple};

/// Low bits of a cookie's TSval that are not the clock: ECN and four bits of MAC. More would put the
/// TSval further behind the clock (up to 2 × 2⁵ − 1 ms now), which the first round-trip measurement
/// sees; fewer would guess easier, which matters little, as a guesser omits the option.
const STAMP_BITS: u32 = 0x1f;

/// The bit of `STAMP_BITS` that holds ECN, masked.
const STAMP_ECN: u32 = 0x10;

/// What goes into the hash for "the SYN had timestamps": a bit where the TSval has none of the clock.
const HAD_STAMP: u32 = 1;

/// How long a cookie may be valid at most, in milliseconds: two epochs.
pub const COOKIE_LIFE_MS: u32 = 2 * 64_000;

/// What a SYN-ACK by cookie carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Issued {
    /// Our ISN.
    pub isn: SeqNum,
    /// TSval, for a SYN that had timestamps; never 0. At least 1 ms and at most 63 ms behind the clock, or
    /// 95 ms where it would be 0 else.
    pub ts_val: Option<u32>,
}

/// The keys of the cookies, each with the epoch from which it holds. An epoch has exactly one. They leave zeros where
/// they were.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Keys {
    /// Holds for the epochs before `current`.
    previous: Key,
    /// Holds from its epoch on, until `next`.
    current: Rule,
    /// Announced, or in force since the last epoch at the earliest.
    next: Option<Rule>,
}

/// A key and the epoch from which it holds.
#[derive(Clone, Copy, PartialEq, Eq, Zeroize)]
struct Rule {
    key: Key,
    from: u32,
}

/// A new secret was announced for an epoch that is not in the future.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotFuture {
    /// The epoch asked for.
    pub from: u32,
    /// The present one.
    pub epoch: u32,
}

impl fmt::Display for NotFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, epoch } = self;
        write!(f, "a new secret must hold from a future epoch: {from} is not after {epoch}")
    }
}

impl core::error::Error for NotFuture {}

impl Keys {
    /// Keys of one secret that holds for every epoch.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        let key = secret.key(Purpose::Cookie);
        Self { previous: key, current: Rule { key, from: 0 }, next: None }
    }

    /// Lets `secret` hold from the epoch `from` on; it replaces one announced earlier that does not
    /// hold yet. Every node must be told the same epoch.
    ///
    /// # Errors
    /// If `from` is not after `epoch`, the present one: cookies of this epoch may be on their way, and
    /// an epoch has one secret.
    pub fn rotate(&mut self, secret: &Secret, from: u32, epoch: u32) -> Result<(), NotFuture> {
        if !holds(from, epoch.wrapping_add(1)) {
            return Err(NotFuture { from, epoch });
        }
        if let Some(next) = self.next.filter(|next| holds(epoch, next.from)) {
            self.previous = self.current.key;
            self.current = next;
        }
        self.next = Some(Rule { key: secret.key(Purpose::Cookie), from });
        Ok(())
    }

    /// Whether cookies issued in `epoch` are valid at `now`: those of this epoch and the one before.
    #[must_use]
    pub const fn accepts(epoch: u32, now: &Now) -> bool {
        now.epoch.wrapping_sub(epoch) <= 1
    }

    /// The cookie that answers a SYN: the same for its copies within an epoch, but for the TSval.
    #[must_use]
    #[inline]
    pub fn issue(&self, tuple: &Tuple, irs: SeqNum, offer: &Offer, now: &Now) -> Issued {
        // One step behind, so that the low bits, whatever they will be, cannot lead the clock.
        let behind = |clock: u32| (clock & !STAMP_BITS).wrapping_sub(STAMP_BITS).wrapping_sub(1);
        let stamp = match behind(now.ts_clock) {
            0 => behind(0),
            stamp => stamp,
        };
        let stamp = offer.timestamps.then_some(stamp);
        let pad = Pad::new(self.key(now.epoch), tuple, irs, now.epoch, stamp);
        let options = offer.encode(tuple.local.is_v4());
        let ecn = offer.ecn && offer.timestamps;
        Issued {
            isn: pad.isn(options, ecn),
            ts_val: stamp.map(|stamp| stamp | pad.stamp_bits(ecn)),
        }
    }

    /// What the SYN offered, if `iss` is the cookie that this SYN (`irs`) of this tuple was answered
    /// with in this epoch or the one before. `ts` is the timestamps option of the ACK. If the SYN had one
    /// it must be there and echo what we sent in every bit; if not, it is ignored.
    #[must_use]
    #[inline]
    pub fn verify(
        &self,
        tuple: &Tuple,
        irs: SeqNum,
        iss: SeqNum,
        ts: Option<Timestamps>,
        now: &Now,
    ) -> Option<Offer> {
        let echo = ts.map(|ts| ts.ecr).filter(|echo| *echo != 0);
        let is_v4 = tuple.local.is_v4();
        [now.epoch, now.epoch.wrapping_sub(1)].into_iter().find_map(|epoch| {
            let pad = |stamp| Pad::new(self.key(epoch), tuple, irs, epoch, stamp);
            if let Some(echo) = echo {
                let stamped = pad(Some(echo & !STAMP_BITS));
                if stamped.has_stamped(echo) {
                    return stamped.open(iss, Some(echo), is_v4);
                }
            }
            pad(None).open(iss, None, is_v4)
        })
    }

    /// The key of an epoch.
    #[inline]
    fn key(&self, epoch: u32) -> Key {
        match self.next {
            Some(next) if holds(epoch, next.from) => next.key,
            _ if holds(epoch, self.current.from) => self.current.key,
            _ => self.previous,
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let next = self.next.map(|rule| rule.from);
        f.debug_struct("Keys").field("from", &self.current.from).field("next", &next).finish()
    }
}

/// Whether a rule that holds from the epoch `from` holds in `epoch`.
#[inline]
const fn holds(epoch: u32, from: u32) -> bool {
    epoch >= from
}

/// Sixty-one secret bits for one SYN and one epoch, and what they make of its options.
#[derive(Clone, Copy)]
struct Pad(u64);

impl Pad {
    /// The bits of a SYN that had these numbers, answered in this epoch under this key with a TSval
    /// whose clock bits are `stamp`.
    #[inline]
    fn new(key: Key, tuple: &Tuple, irs: SeqNum, epoch: u32, stamp: Option<u32>) -> Self {
        let stamp = stamp.map_or(0, |stamp| stamp | HAD_STAMP);
        Self(key.hash_tuple(tuple, irs.0, u64::from(epoch) | u64::from(stamp) << 32))
    }

    /// Added to the product: hides it. 24 bits.
    #[inline]
    fn sum(self) -> u32 {
        self.0 as u32 & 0xff_ffff
    }

    /// Multiplied with the options. 24 bits.
    #[inline]
    fn factor(self) -> u32 {
        (self.0 >> 24) as u32 & 0xff_ffff
    }

    /// Hides the eight option bits and ECN. 9 bits.
    #[inline]
    fn mask(self) -> u32 {
        (self.0 >> 48) as u32 & 0x1ff
    }

    /// The MAC in the TSval. 4 bits.
    #[inline]
    const fn stamp(self) -> u32 {
        (self.0 >> 57) as u32 & 0xf
    }

    /// The cookie for these option bits: 24 bits of MAC, then the options, masked.
    #[inline]
    fn isn(self, options: u8, ecn: bool) -> SeqNum {
        let message = u32::from(options) | u32::from(ecn) << 8;
        let mac = self.sum() ^ product(self.factor(), message);
        SeqNum(mac << 8 | (u32::from(options) ^ self.mask() & 0xff))
    }

    /// The low bits of the TSval that goes with it.
    #[inline]
    fn stamp_bits(self, ecn: bool) -> u32 {
        let masked = u32::from(ecn) ^ self.mask() >> 8;
        (masked << 4) & STAMP_ECN | self.stamp()
    }

    /// Whether the MAC in an echoed TSval is this pad's.
    #[inline]
    const fn has_stamped(self, echo: u32) -> bool {
        echo & (STAMP_BITS ^ STAMP_ECN) == self.stamp()
    }

    /// The offer that this cookie holds, if it is ours in every bit; where there is an echoed TSval, its
    /// ECN bit counts, and its MAC is the caller's to compare.
    #[inline]
    fn open(self, iss: SeqNum, echo: Option<u32>, is_v4: bool) -> Option<Offer> {
        let options = (iss.0 ^ self.mask()) as u8;
        let ecn = echo.is_some_and(|echo| (echo & STAMP_ECN) >> 4 != self.mask() >> 8);
        let wrong = iss.0 ^ self.isn(options, ecn).0;
        let offer = Offer { timestamps: echo.is_some(), ecn, ..Offer::decode(options, is_v4) };
        (wrong == 0).then_some(offer)
    }
}

/// `factor` × `message` in GF(2²⁴) modulo x²⁴ + x⁴ + x³ + x + 1; `message` has nine bits.
///
/// For an unknown factor every other message has an unpredictable product, which a sum or an integer
/// product of so few bits would not give. No table and no branch that depends on a secret.
#[inline]
fn product(factor: u32, message: u32) -> u32 {
    let mut wide = 0u64;
    for bit in 0..9 {
        // A multiplication by a power of two or 0: a shift and a choice in one.
        wide ^= u64::from(factor).wrapping_mul(u64::from(message & 1 << bit));
    }
    let high = wide >> 24;
    ((wide ^ high ^ high << 1 ^ high << 3 ^ high << 4) & 0xff_ffff) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// x to the power of 2ⁿ: squaring is a product of two full elements, done bit by bit.
    fn multiply(a: u32, b: u32) -> u32 {
        (0..24).rev().fold(0, |sum, bit| {
            let doubled = product(sum, 2);
            if b >> bit & 1 == 1 { doubled ^ a } else { doubled }
        })
    }

    /// The polynomial is irreducible (Rabin): x^(2²⁴) = x, and x^(2ⁿ) − x has no factor in common with
    /// it for n = 12 and 8, 24 divided by its primes; in a ring of that size it is enough that these
    /// differences are invertible.
    #[test]
    fn the_ring_is_a_field() {
        let frobenius = |n: u32| (0..n).fold(2, |x, _| multiply(x, x));
        assert_eq!(frobenius(24), 2);
        for n in [12, 8] {
            let difference = frobenius(n) ^ 2;
            // The group's order is 2²⁴ − 1: every invertible element to this power is 1.
            let power = (0..24).fold((1, difference), |(power, square), _| {
                (multiply(power, square), multiply(square, square))
            });
            assert_eq!(power.0, 1, "x^(2^{n}) - x is not invertible");
        }
    }

    #[test]
    fn products_are_linear_and_never_collapse() {
        for factor in [1, 2, 0x80_0000, 0xff_ffff, 0x5a_1234] {
            assert_eq!(product(factor, 1), factor);
            for message in 1..512 {
                assert_ne!(product(factor, message), 0);
                let split = product(factor, message & 0x155) ^ product(factor, message & 0xaa);
                assert_eq!(product(factor, message), split);
            }
        }
    }
}
