//! Names of flows: where the record is, and which of the record's flows is meant.
#![forbid(unsafe_code)]

/// Where a flow's record is. Valid until the record is removed; to keep a name longer than that, keep
/// a [`FlowId`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct Index(pub(super) u32);

impl Index {
    /// The record's number, less than the table's capacity.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// A flow's name for those who may outlive it: an index and the generation of its record, so that the
/// name of a flow that has ended is recognised as stale.
///
/// A generation comes back after 2³¹ flows in one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct FlowId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl FlowId {
    /// It as a number, for programs that cannot keep it as it is.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// What [`Self::to_bits`] made a number of. One that it did not make is at worst another flow's name.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, generation: (bits >> 32) as u32 }
    }
}
