//! Sequence numbers (RFC 9293 §3.4): 32 bits, wrapping, compared by distance.

use core::fmt;

/// A TCP sequence number. There is no `<` on it: comparisons are named and hold across the wrap.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct SeqNum(pub u32);

impl SeqNum {
    /// This number advanced by `n`, modulo 2³².
    #[must_use]
    pub const fn add(self, n: u32) -> Self {
        Self(self.0.wrapping_add(n))
    }

    /// This number moved back by `n`, modulo 2³².
    #[must_use]
    pub const fn sub(self, n: u32) -> Self {
        Self(self.0.wrapping_sub(n))
    }

    /// The distance from `earlier` to this number, modulo 2³².
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Whether this number comes before `other`.
    #[must_use]
    pub const fn is_before(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Whether this number comes after `other`.
    #[must_use]
    pub const fn is_after(self, other: Self) -> bool {
        other.is_before(self)
    }

    /// Whether this number lies in the window of `len` numbers that begins at `start`.
    #[must_use]
    pub const fn is_within(self, start: Self, len: u32) -> bool {
        self.since(start) < len
    }

    /// The later of two numbers.
    #[must_use]
    pub const fn max(self, other: Self) -> Self {
        if self.is_before(other) { other } else { self }
    }
}

impl fmt::Debug for SeqNum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_hold_across_the_wrap() {
        let (a, b) = (SeqNum(u32::MAX), SeqNum(u32::MAX).add(2));
        assert!(a.is_before(b) && b.is_after(a) && !a.is_after(b));
        assert_eq!(b.since(a), 2);
        assert_eq!(b.sub(2), a);
        assert_eq!(a.max(b), b);
        assert!(b.is_within(a, 3) && !b.is_within(a, 2));
    }
}
