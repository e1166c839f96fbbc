//! Buffers that are lent to other threads.
//!
//! A worker's [`Lender`] keeps the frames, and a [`Lease`] is the right to read one. Whoever drops it, on whatever
//! thread, sends the frame's slot home; the worker collects what is home at its next turn and frees it into its own
//! pool. So no foreign thread touches a pool while the worker lives, a lease does not show what kind of frame it is of,
//! and dropping it costs one exchange and never waits or fails.
//!
//! A lender has as many slots as leases may be out: who hoards them gets no more, and the pool keeps the rest. When the
//! lender goes before its leases, the frames stay where they are until the last lease is dropped, which frees them all.

#![allow(unsafe_code, reason = "what is lent is read by pointer, and freed by whoever is last")]

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;

use arrayvec::ArrayVec;

use super::home::{Home, NONE, Slot};
use super::sync::UnsafeCell;

/// What lender and leases share.
struct Shared {
    home: Home,
    /// What the lender left behind when it went: all that was still out.
    legacy: UnsafeCell<Option<Box<dyn Send>>>,
}

/// Lends frames, or whatever a worker wants to keep beside one, such as the number of its port. It belongs to one
/// thread at a time.
pub struct Lender<T: Send + 'static> {
    /// Never grows, so that nothing in it moves.
    parked: Vec<UnsafeCell<Option<T>>>,
    vacant: Vec<Slot>,
    /// The first slot of a list that was taken home and not yet collected.
    arrived: Slot,
    shared: NonNull<Shared>,
}

// SAFETY: what is parked is `Send`; what is shared is atomics, and the legacy, which is written by the lender and then
// touched only by the last to know of it, as `Home` says.
unsafe impl<T: Send + 'static> Send for Lender<T> {}

impl<T: Send + 'static> Lender<T> {
    /// Of at most `budget` leases at a time. Allocates; nothing does afterwards.
    ///
    /// # Panics
    /// If the budget is 2³² - 1 or more.
    #[must_use]
    pub fn new(budget: usize) -> Self {
        let slots = Slot::try_from(budget).ok().filter(|slots| *slots != NONE);
        let slots = slots.expect("fewer leases than 2^32 - 1");
        let shared = Box::new(Shared { home: Home::new(slots), legacy: UnsafeCell::new(None) });
        Self {
            parked: (0..slots).map(|_| UnsafeCell::new(None)).collect(),
            vacant: (0..slots).rev().collect(),
            arrived: NONE,
            shared: NonNull::from(Box::leak(shared)),
        }
    }

    /// Keeps `item` and lends what `view` shows of it, of which a lease covers at most 4 GiB.
    ///
    /// # Errors
    /// Gives the item back if as many leases are out as may be.
    #[inline]
    pub fn lend(&mut self, item: T, view: impl FnOnce(&T) -> &[u8]) -> Result<Lease, T> {
        let Some(&slot) = self.vacant.last() else { return Err(item) };
        let bytes = self.parked[slot as usize].with_mut(|parked| {
            // SAFETY: the slot is vacant, so that no lease reads what is in it, and we are the only one to write.
            let parked = unsafe { &mut *parked };
            NonNull::from(view(parked.insert(item)))
        });
        self.vacant.pop();
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Ok(Lease { bytes: bytes.cast(), len, slot, shared: self.shared })
    }

    /// Moves items whose leases were dropped to the end of `into`, as far as it has room. Returns how many.
    #[inline]
    pub fn collect<const N: usize>(&mut self, into: &mut ArrayVec<T, N>) -> usize {
        let before = into.len();
        while !into.is_full() {
            let Some(item) = self.collect_one() else { break };
            into.push(item);
        }
        into.len() - before
    }

    #[inline]
    fn collect_one(&mut self) -> Option<T> {
        // SAFETY: it is freed by whoever goes last, and we have not gone.
        let home = unsafe { &self.shared.as_ref().home };
        if self.arrived == NONE {
            self.arrived = home.take();
        }
        let slot = self.arrived;
        if slot == NONE {
            return None;
        }
        self.arrived = home.next(slot);
        self.vacant.push(slot);
        // SAFETY: its lease was dropped, and what it did happened before it came home; only we write.
        self.parked[slot as usize].with_mut(|parked| unsafe { &mut *parked }.take())
    }

    /// Leases that may be out at a time.
    #[must_use]
    pub fn budget(&self) -> usize {
        self.parked.len()
    }

    /// Leases that are out or were not yet collected.
    #[must_use]
    pub fn out(&self) -> usize {
        self.parked.len() - self.vacant.len()
    }
}

impl<T: Send + 'static> Drop for Lender<T> {
    /// Drops what is home and leaves the rest to the last lease.
    fn drop(&mut self) {
        while self.collect_one().is_some() {}
        // SAFETY: it is freed by whoever goes last, and we have not gone.
        let shared = unsafe { self.shared.as_ref() };
        self.arrived = shared.home.close();
        while self.arrived != NONE {
            let slot = self.arrived;
            self.arrived = shared.home.next(slot);
            self.vacant.push(slot);
            // SAFETY: as in `collect_one`.
            drop(self.parked[slot as usize].with_mut(|parked| unsafe { &mut *parked }.take()));
        }
        let out = self.out();
        if out > 0 {
            let legacy: Box<dyn Send> = Box::new(std::mem::take(&mut self.parked));
            // SAFETY: nobody else touches it before `leave`.
            shared.legacy.with_mut(|slot| unsafe { *slot = Some(legacy) });
        }
        // No truncation: there are at most as many as slots.
        if shared.home.leave(out as Slot) {
            // SAFETY: the home says that we are the last to know of it.
            unsafe { free(self.shared) };
        }
    }
}

/// Frees everything.
///
/// # Safety
/// The caller is the last to know of it, as its home has said.
unsafe fn free(shared: NonNull<Shared>) {
    // SAFETY: it comes from a box, and nobody uses it afterwards.
    let shared = unsafe { Box::from_raw(shared.as_ptr()) };
    // SAFETY: nobody else knows of it.
    drop(shared.legacy.with_mut(|legacy| unsafe { &mut *legacy }.take()));
}

impl<T: Send + 'static> fmt::Debug for Lender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lender({} of {} out)", self.out(), self.budget())
    }
}

/// The right to read some bytes of a buffer of the engine's, which is not used again before the lease is dropped.
///
/// It may be sent to and dropped on any thread, and outlives the engine.
pub struct Lease {
    bytes: NonNull<u8>,
    len: u32,
    slot: Slot,
    shared: NonNull<Shared>,
}

// A lease travels in an event, and events have a cache line or two.
const _: () = assert!(size_of::<Option<Lease>>() == 24);

// SAFETY: it gives shared access to bytes that nobody writes as long as it exists, and the way home is made for any
// number of threads. What it frees, if it is the last, is `Send`.
unsafe impl Send for Lease {}
// SAFETY: as above; `&Lease` only reads.
unsafe impl Sync for Lease {}

impl Lease {
    /// The bytes.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the lender keeps what they are part of, unmoved and unwritten, until the lease is dropped.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr(), self.len as usize) }
    }

    /// Gives up the first `count` bytes, or all if there are fewer.
    #[inline]
    pub fn skip(&mut self, count: usize) {
        let count = count.min(self.len as usize);
        // SAFETY: at most as many bytes as there are.
        self.bytes = unsafe { self.bytes.add(count) };
        // No truncation: it is at most `len`.
        self.len -= count as u32;
    }

    /// Gives up all but the first `len` bytes.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.len = u32::try_from(len).map_or(self.len, |len| len.min(self.len));
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: it is not freed as long as a lease is out.
        let way = unsafe { &self.shared.as_ref().home }.way(self.slot);
        if way.bring(self.slot) {
            // SAFETY: the home says that we are the last to know of it.
            unsafe { free(self.shared) };
        }
    }
}

impl Deref for Lease {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.bytes()
    }
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} bytes)", self.len)
    }
}
