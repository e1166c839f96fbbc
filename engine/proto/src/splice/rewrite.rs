//! What changes in a segment that passes from one half to the other.

use crate::wire::SeqNum;

/// The new values of a segment's fields. Small, as one is made for every segment that passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rewrite {
    /// Sequence number.
    pub seq: SeqNum,
    /// Acknowledgement number.
    pub ack: SeqNum,
    /// TSval, where `ops` writes or inserts timestamps.
    pub ts_val: u32,
    /// TSecr.
    pub ts_ecr: u32,
    /// Added to every edge of every SACK block.
    pub sack_delta: u32,
    /// The least edge of a SACK block after that, where `ops` says so.
    pub sack_floor: SeqNum,
    /// The window field.
    pub window: u16,
    /// What else is done.
    pub ops: Ops,
    /// Control bits to clear.
    pub clear: u8,
}

const _: () = assert!(size_of::<Rewrite>() == 28);

/// What is done to a segment beside writing its numbers, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ops(pub u8);

impl Ops {
    /// The timestamps option gets new values.
    pub const STAMP: Self = Self(1);
    /// The timestamps option becomes NOPs.
    pub const STRIP_STAMP: Self = Self(1 << 1);
    /// A timestamps option is put in.
    pub const INSERT_STAMP: Self = Self(1 << 2);
    /// The SACK option becomes NOPs.
    pub const STRIP_SACK: Self = Self(1 << 3);
    /// Edges of SACK blocks are not below `sack_floor`.
    pub const FLOOR_SACK: Self = Self(1 << 4);
    /// ECN means nothing to the receiver: the packet is not ECN-capable, ECE and CWR are cleared.
    pub const CLEAR_ECN: Self = Self(1 << 5);
    /// ECN means something to the sender alone: a segment that is marked does not pass.
    pub const DROP_MARKED: Self = Self(1 << 6);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These bits, and those of `other` if `on`.
    #[must_use]
    pub(super) const fn with(self, other: Self, on: bool) -> Self {
        Self(if on { self.0 | other.0 } else { self.0 })
    }
}
