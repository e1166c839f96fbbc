//! From hash to record: a cuckoo table of cache-line buckets that takes every record there is, twice if
//! it has two names.
//!
//! An entry lives in its home bucket or in the one other bucket that its tag names, so a look-up reads
//! one or two lines, and one only while nobody has left home. At the fullest, nine of ten slots are
//! in use; the chance that an insertion then finds no place is far below that of a memory error, and
//! even then the entry goes to a small stash.
#![forbid(unsafe_code)]

use arrayvec::ArrayVec;

use super::bucket::{Bucket, Entry, SLOTS};
use super::memory::{filled, prefetch};

/// Slots used of ten when every record is in use. At 9, memory is 7.1 bytes an entry and insertion
/// into a full table moves one entry on average; at 10, insertions begin to wander.
const FILL: usize = 9;

/// Memory for an entry, rounded up.
pub(super) const BYTES_AN_ENTRY: usize = size_of::<Bucket>().div_ceil(FILL);

/// Buckets beyond need, so that small tables have choices too.
const SPARE: usize = 8;

/// Entries moved for one insertion before the last one goes to the stash. Random walks at this fill end
/// after one or two; anything above a hundred is as good.
const MOVES: usize = 256;

/// Room for entries that found no bucket.
const STASH: usize = 64;

/// Maps hashes to candidate records; the caller compares the tuples.
#[derive(Debug)]
pub(super) struct Directory {
    buckets: Box<[Bucket]>,
    stash: ArrayVec<Stashed, STASH>,
    /// Entries that live away from home.
    strays: usize,
    /// Picks whom to move; any sequence will do.
    dice: u32,
}

/// An entry that found no place, and its home.
#[derive(Clone, Copy, Debug)]
struct Stashed {
    home: u32,
    entry: Entry,
}

impl Directory {
    /// Room for `capacity` entries.
    pub(super) fn new(capacity: usize) -> Self {
        let buckets = filled(capacity.div_ceil(FILL) + SPARE, Bucket::EMPTY);
        Self { buckets, stash: ArrayVec::new(), strays: 0, dice: 1 }
    }

    /// Fetches the home bucket's line; where so many live away that a look-up probably reads it, the other's,
    /// too.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        let home = self.home(hash);
        prefetch(&self.buckets[home]);
        if self.strays > self.buckets.len() / 2 {
            prefetch(&self.buckets[self.other(home, tag(hash))]);
        }
    }

    /// The first record whose entry resembles `hash` and that `is_it` accepts.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let (home, tag) = (self.home(hash), tag(hash));
        let bucket = &self.buckets[home];
        if let Some(index) = bucket.matches(tag).find(|&index| is_it(index)) {
            return Some(index);
        }
        if !bucket.has_away() {
            return None;
        }
        let other = &self.buckets[self.other(home, tag)];
        let found = other.matches(tag).find(|&index| is_it(index));
        if found.is_some() || self.stash.is_empty() { found } else { self.find_stashed(tag, is_it) }
    }

    #[cold]
    fn find_stashed(&self, tag: u16, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut entries = self.stash.iter().map(|stashed| stashed.entry);
        entries.find(|entry| entry.tag == tag && is_it(entry.index)).map(|entry| entry.index)
    }

    /// Adds an entry for the record `index`. `false`, and nothing changed, if even the stash is full.
    pub(super) fn insert(&mut self, hash: u64, index: u32) -> bool {
        if self.stash.is_full() {
            return false;
        }
        let home = self.home(hash);
        self.place(home, Entry { tag: tag(hash), guest: false, index });
        true
    }

    /// Removes the entry of the record `index` that was inserted with `hash`. Whether there was one.
    pub(super) fn remove(&mut self, hash: u64, index: u32) -> bool {
        let (home, tag) = (self.home(hash), tag(hash));
        let other = self.other(home, tag);
        let at_home = Entry { tag, guest: false, index };
        if !self.buckets[home].take(at_home) {
            let guest = Entry { guest: true, ..at_home };
            if !self.buckets[other].take(guest) && !self.take_stashed(home, guest) {
                return false;
            }
            self.come_back(home);
        }
        self.unstash();
        true
    }

    /// Finds a slot for an entry that is at home in `home`: there, or in its other bucket, or by moving
    /// those who are in the way to theirs.
    fn place(&mut self, home: usize, entry: Entry) {
        if self.buckets[home].put(entry) {
            return;
        }
        let (mut bucket, mut entry) = (home, entry);
        for _ in 0..MOVES {
            // `entry` finds no room in `bucket`: on to its other one.
            bucket = self.cross(bucket, &mut entry);
            if self.buckets[bucket].put(entry) {
                return;
            }
            let slot = self.roll();
            entry = self.buckets[bucket].swap(slot, entry);
        }
        self.stash_away(bucket, entry);
    }

    /// An entry at home in `home` moves out.
    fn leave(&mut self, home: usize) {
        self.strays += 1;
        self.buckets[home].leave();
    }

    /// An entry at home in `home` comes back, or ends.
    fn come_back(&mut self, home: usize) {
        self.strays -= 1;
        self.buckets[home].come_back();
    }

    /// Moves `entry` in thought from `bucket` to its other bucket, and keeps its home's count.
    fn cross(&mut self, bucket: usize, entry: &mut Entry) -> usize {
        let other = self.other(bucket, entry.tag);
        if entry.guest {
            self.come_back(other);
        } else {
            self.leave(bucket);
        }
        entry.guest = !entry.guest;
        other
    }

    #[cold]
    fn stash_away(&mut self, bucket: usize, mut entry: Entry) {
        let home = if entry.guest { self.other(bucket, entry.tag) } else { bucket };
        if !entry.guest {
            self.leave(home);
        }
        entry.guest = true;
        self.stash.push(Stashed { home: home as u32, entry });
    }

    fn take_stashed(&mut self, home: usize, entry: Entry) -> bool {
        let is_it = |stashed: &Stashed| stashed.home as usize == home && stashed.entry == entry;
        let at = self.stash.iter().position(is_it);
        if let Some(at) = at {
            self.stash.swap_remove(at);
        }
        at.is_some()
    }

    /// A slot has become free: tries to bring one stashed entry home.
    fn unstash(&mut self) {
        if let Some(Stashed { home, mut entry }) = self.stash.pop() {
            self.come_back(home as usize);
            entry.guest = false;
            self.place(home as usize, entry);
        }
    }

    /// The bucket that `hash` belongs into: its high half, scaled.
    const fn home(&self, hash: u64) -> usize {
        (((hash >> 32) * self.buckets.len() as u64) >> 32) as usize
    }

    /// The other bucket of an entry in `bucket`. The other of the other is `bucket` again, so that an
    /// entry can be moved without its hash.
    const fn other(&self, bucket: usize, tag: u16) -> usize {
        let count = self.buckets.len();
        let scattered = (tag as u32).wrapping_mul(0x9e37_79b1) as u64;
        let sum = ((scattered * count as u64) >> 32) as usize;
        if sum >= bucket { sum - bucket } else { sum + count - bucket }
    }

    /// A slot, by a linear congruence (Numerical Recipes).
    const fn roll(&mut self) -> usize {
        self.dice = self.dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((self.dice >> 16) as usize * SLOTS) >> 16
    }
}

/// The part of the hash kept beside the index: bits that [`Directory::home`] does not use.
const fn tag(hash: u64) -> u16 {
    hash as u16
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Hashes from a few values collide in home, tag or both: the directory still finds everyone,
        /// until bucket, other bucket and stash are full.
        #[test]
        fn colliding_entries_are_found(
            steps in prop::collection::vec((any::<bool>(), 0_u64..4, 0_u64..3), 0..300)
        ) {
            let mut directory = Directory::new(100);
            let mut model = HashMap::new();
            for (index, (add, home, tag)) in (0..).zip(steps) {
                let hash = (home << 62) | tag;
                if add {
                    if directory.insert(hash, index) {
                        model.insert(index, hash);
                    } else {
                        prop_assert!(model.len() >= STASH);
                    }
                } else if let Some((&index, &hash)) = model.iter().next() {
                    model.remove(&index);
                    prop_assert!(directory.remove(hash, index) && !directory.remove(hash, index));
                }
                for (&index, &hash) in &model {
                    prop_assert_eq!(directory.find(hash, |found| found == index), Some(index));
                }
            }
            for (index, hash) in model {
                prop_assert!(directory.remove(hash, index));
            }
            prop_assert!(directory.stash.is_empty() && directory.strays == 0);
            prop_assert!(directory.buckets.iter().all(|bucket| !bucket.has_away()));
        }
    }

    /// Two names of one record in the same two buckets: each is removed by its own hash.
    #[test]
    fn a_record_with_two_names_keeps_the_other_one() {
        let mut directory = Directory::new(100);
        let (first, second) = (3_u64 << 62, 3 << 62 | 1);
        for index in 0..30 {
            assert!(directory.insert(first, index) && directory.insert(second, index));
        }
        for index in 0..30 {
            assert!(directory.remove(first, index) && !directory.remove(first, index));
            assert_eq!(directory.find(second, |found| found == index), Some(index));
        }
        assert!((0..30).all(|index| directory.remove(second, index)));
        assert!(directory.stash.is_empty());
        assert!(directory.buckets.iter().all(|bucket| !bucket.has_away()));
    }

    #[test]
    fn the_other_of_the_other_is_home() {
        let directory = Directory::new(1000);
        for bucket in 0..directory.buckets.len() {
            for tag in (0..u16::MAX).step_by(97) {
                let other = directory.other(bucket, tag);
                assert!(other < directory.buckets.len());
                assert_eq!(directory.other(other, tag), bucket);
            }
        }
    }

    /// What FILL claims: with random hashes every record finds a bucket, in churn too.
    #[test]
    fn a_full_directory_needs_no_stash() {
        const CAPACITY: u32 = 20_000;
        let mut directory = Directory::new(CAPACITY as usize);
        let hash = |n: u32| {
            (u64::from(n) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ u64::from(n)
        };
        for n in 0..CAPACITY * 6 {
            if let Some(old) = n.checked_sub(CAPACITY) {
                assert!(directory.remove(hash(old), old));
            }
            assert!(directory.insert(hash(n), n) && directory.stash.is_empty());
        }
    }
}
