//! One cache line of the directory: ten tags and the records they stand for.
#![forbid(unsafe_code)]

use super::record::NIL;

/// Entries in a bucket: what fits in a cache line beside two words of bookkeeping.
pub(super) const SLOTS: usize = 10;

/// What the directory keeps of a record: sixteen bits of its hash, and where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    /// Part of the hash; tells most strangers apart without touching their records.
    pub(super) tag: u16,
    /// Whether the entry is in its second bucket.
    pub(super) guest: bool,
    /// The record.
    pub(super) index: u32,
}

/// Ten entries. A slot is empty when its index is `NIL`; its tag is then stale.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    indices: [u32; SLOTS],
    tags: [u16; SLOTS],
    /// A bit for each slot whose entry has its home elsewhere.
    guests: u16,
    /// How many entries have their home here and live elsewhere: while it is zero, a look-up that
    /// finds nothing here is done. At its maximum it stays there, which costs only time.
    away: u16,
}

const _: () = assert!(size_of::<Bucket>() == 64 && align_of::<Bucket>() == 64);

impl Bucket {
    /// A bucket without entries.
    pub(super) const EMPTY: Self =
        Self { indices: [NIL; SLOTS], tags: [0; SLOTS], guests: 0, away: 0 };

    /// The records whose entries bear `tag`.
    pub(super) fn matches(&self, tag: u16) -> impl Iterator<Item = u32> + '_ {
        let mut mask = self.mask_of(tag);
        std::iter::from_fn(move || {
            let slot = (mask != 0).then(|| mask.trailing_zeros() as usize)?;
            mask &= mask - 1;
            Some(self.indices[slot])
        })
        .filter(|&index| index != NIL)
    }

    /// One bit for each slot with this tag, the stale ones included. No branch, so that the compiler
    /// makes it a vector comparison.
    fn mask_of(&self, tag: u16) -> u32 {
        let mut mask = 0;
        for (slot, &other) in self.tags.iter().enumerate() {
            mask |= u32::from(other == tag) << slot;
        }
        mask
    }

    /// Puts `entry` into an empty slot, if there is one.
    pub(super) fn put(&mut self, entry: Entry) -> bool {
        let slot = self.indices.iter().position(|&index| index == NIL);
        if let Some(slot) = slot {
            self.set(slot, entry);
        }
        slot.is_some()
    }

    /// Puts `entry` where another was and returns that one.
    pub(super) fn swap(&mut self, slot: usize, entry: Entry) -> Entry {
        let old = self.get(slot);
        self.set(slot, entry);
        old
    }

    /// Takes out `entry`, if it is here. A record with two names may have two entries here.
    pub(super) fn take(&mut self, entry: Entry) -> bool {
        let slot = (0..SLOTS).find(|&slot| self.get(slot) == entry);
        if let Some(slot) = slot {
            self.indices[slot] = NIL;
        }
        slot.is_some()
    }

    /// Whether an entry at home here lives elsewhere.
    pub(super) const fn has_away(&self) -> bool {
        self.away != 0
    }

    /// An entry at home here moves out.
    pub(super) const fn leave(&mut self) {
        self.away = self.away.saturating_add(1);
    }

    /// An entry at home here comes back, or ends.
    pub(super) const fn come_back(&mut self) {
        if self.away != u16::MAX {
            self.away -= 1;
        }
    }

    const fn get(&self, slot: usize) -> Entry {
        let guest = self.guests >> slot & 1 == 1;
        Entry { tag: self.tags[slot], guest, index: self.indices[slot] }
    }

    const fn set(&mut self, slot: usize, entry: Entry) {
        self.indices[slot] = entry.index;
        self.tags[slot] = entry.tag;
        self.guests = self.guests & !(1 << slot) | (entry.guest as u16) << slot;
    }
}
