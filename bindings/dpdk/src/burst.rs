//! A fixed array of buffers, as receive and transmit calls take them.

use std::fmt;
use std::ptr::{self, NonNull};

use dpdk_sys as sys;

use crate::Mbuf;

/// Up to `N` buffers in order. Those left in it are given back all at once when it is dropped.
///
/// The first `len` slots hold buffers that the burst owns; what the others hold means nothing.
pub struct Burst<const N: usize = 32> {
    slots: [*mut sys::rte_mbuf; N],
    len: usize,
}

// SAFETY: it owns its buffers, which may be used and given back on any thread.
unsafe impl<const N: usize> Send for Burst<N> {}

impl<const N: usize> Burst<N> {
    /// An empty burst.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: [ptr::null_mut(); N], len: 0 }
    }

    /// Buffers in it.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a buffer.
    ///
    /// # Errors
    /// Gives the buffer back when there is no room.
    #[inline]
    pub fn push(&mut self, mbuf: Mbuf) -> Result<(), Mbuf> {
        let Some(slot) = self.slots.get_mut(self.len) else { return Err(mbuf) };
        *slot = mbuf.into_raw();
        self.len += 1;
        Ok(())
    }

    /// Takes all buffers out, the first first. Those that the iterator still has when it is dropped are given back.
    #[inline]
    pub fn drain(&mut self) -> Drain<'_> {
        // Should the iterator be leaked, its buffers are too.
        let len = std::mem::take(&mut self.len);
        Drain { rest: &self.slots[..len] }
    }

    /// Gives all buffers back at once.
    #[inline]
    pub fn clear(&mut self) {
        drop(self.drain());
    }

    /// The slots behind the last buffer.
    pub(crate) fn spare(&mut self) -> &mut [*mut sys::rte_mbuf] {
        &mut self.slots[self.len..]
    }

    /// Owns `count` more slots.
    ///
    /// # Safety
    /// The first `count` slots of [`Self::spare`] must hold live buffers that nobody else has.
    pub(crate) unsafe fn grow(&mut self, count: usize) {
        debug_assert!(count <= N - self.len, "more buffers than slots");
        self.len += count;
    }

    /// The slots that hold buffers.
    pub(crate) fn held(&mut self) -> &mut [*mut sys::rte_mbuf] {
        &mut self.slots[..self.len]
    }

    /// Gives up the first `count` buffers, which somebody else has taken, and moves the others to the front.
    pub(crate) fn taken(&mut self, count: usize) {
        let count = count.min(self.len);
        self.slots.copy_within(count..self.len, 0);
        self.len -= count;
    }
}

impl<const N: usize> Default for Burst<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Debug for Burst<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Burst({} of {N})", self.len)
    }
}

impl<const N: usize> Drop for Burst<N> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Buffers on their way out of a burst.
#[derive(Debug)]
pub struct Drain<'a> {
    rest: &'a [*mut sys::rte_mbuf],
}

impl Iterator for Drain<'_> {
    type Item = Mbuf;

    #[inline]
    fn next(&mut self) -> Option<Mbuf> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        // SAFETY: each slot held a buffer that the burst owned and gave up to this iterator, which passes it on once.
        NonNull::new(*first).map(|raw| unsafe { Mbuf::from_raw(raw) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.rest.len(), Some(self.rest.len()))
    }
}

impl ExactSizeIterator for Drain<'_> {}

impl Drop for Drain<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.rest.is_empty() {
            return;
        }
        let count = u32::try_from(self.rest.len()).unwrap_or(u32::MAX);
        // SAFETY: the iterator owns the rest, and nobody reads the slots again; DPDK only reads the array.
        unsafe { sys::rte_pktmbuf_free_bulk(self.rest.as_ptr().cast_mut(), count) };
    }
}
