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
