//! The way home of what was lent: from any number of threads to the one that lent it.
//!
//! What comes home is a slot's number. Numbers that are home form a list: one word holds the latest, and each slot
//! holds the one before. A list needs no room that could run out, so that coming home cannot fail; the lender takes it
//! whole, by one exchange, and hence no number can appear in it twice (no ABA).
//!
//! When the lender goes, the same word becomes a count of the slots that are still out. Whoever brings it to zero is
//! the last to know of them, and frees everything.

#![forbid(unsafe_code)]

use super::sync::{AtomicU32, AtomicU64, Ordering};

/// A slot's number.
pub(super) type Slot = u32;

/// No slot.
pub(super) const NONE: Slot = Slot::MAX;

/// The word of a list without slots.
const EMPTY: u64 = NONE as u64;

/// Set in the word once the lender has gone.
const CLOSED: u64 = 1 << 63;

/// More than any count of slots.
const MANY: u64 = 1 << 32;

/// Where slots come home to.
#[derive(Debug)]
pub(super) struct Home {
    /// The latest slot that came home or `NONE`; `CLOSED` and the number of slots out afterwards.
    word: AtomicU64,
    /// For each slot in the list the one that came before it. Written by whoever brings the slot.
    before: Box<[AtomicU32]>,
}

/// What someone needs to bring one slot home. It borrows nothing but atomics, as everything may be freed as soon as
/// the slot is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way<'a> {
    word: &'a AtomicU64,
    before: &'a AtomicU32,
}

impl Home {
    /// Of `slots` slots, all of which are with the lender.
    pub(super) fn new(slots: Slot) -> Self {
        let before = (0..slots).map(|_| AtomicU32::new(NONE)).collect();
        Self { word: AtomicU64::new(EMPTY), before }
    }

    /// The way home of `slot`.
    #[inline]
    pub(super) fn way(&self, slot: Slot) -> Way<'_> {
        Way { word: &self.word, before: &self.before[slot as usize] }
    }

    /// Takes all slots that are home, for the lender: the latest; [`Self::next`] leads to the others.
    #[inline]
    pub(super) fn take(&self) -> Slot {
        // Often nobody came, and to look costs no exclusive cache line. Who is overlooked is seen the next time.
        if self.word.load(Ordering::Relaxed) == EMPTY {
            return NONE;
        }
        // Pairs with the release of everyone in the list: each exchange of theirs continues the ones before.
        latest(self.word.swap(EMPTY, Ordering::Acquire))
    }

    /// The slot that came home before `slot`, which is in a list that was taken and has not been lent again.
    #[inline]
    pub(super) fn next(&self, slot: Slot) -> Slot {
        self.before[slot as usize].load(Ordering::Relaxed)
    }

    /// Closes the home, as its lender goes, and returns the slots that are there, as [`Self::take`] does. Whoever comes
    /// later is counted, and [`Self::leave`] must follow.
    pub(super) fn close(&self) -> Slot {
        latest(self.word.swap(CLOSED | MANY, Ordering::Acquire))
    }

    /// The last word of a lender that has closed and left `out` slots out. Returns whether everything is the
    /// caller's to free, as nobody else knows of it any more.
    ///
    /// Whoever frees it sees what the lender did before.
    pub(super) fn leave(&self, out: Slot) -> bool {
        let less = MANY - u64::from(out);
        self.word.fetch_sub(less, Ordering::AcqRel) - less == CLOSED
    }
}

impl Way<'_> {
    /// Brings `slot` home. Returns whether everything is the caller's to free, as the lender has gone and this was the
    /// last slot out. After `false` it may have been freed.
    #[inline]
    pub(super) fn bring(self, slot: Slot) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & CLOSED == 0 {
            self.before.store(latest(word), Ordering::Relaxed);
            // Pairs with the acquire of `take` and `close`: the lender sees our last use of what was lent.
            let taken = self.word.compare_exchange_weak(
                word,
                slot.into(),
                Ordering::Release,
                Ordering::Relaxed,
            );
            match taken {
                Ok(_) => return false,
                Err(now) => word = now,
            }
        }
        // Pairs with the others' and with `leave`: who frees sees everybody's last use.
        self.word.fetch_sub(1, Ordering::AcqRel) - 1 == CLOSED
    }
}

/// The slot in a word that is not closed.
const fn latest(word: u64) -> Slot {
    // The upper half is zero.
    word as Slot
}
