//! A bounded ring: one producer, one consumer, moved in bulk.
//!
//! Each end keeps its own index and a copy of the other's, and looks at the other's again only when the copy says
//! that there is too little room or too few items. A batch costs one release store and at most one acquire load,
//! whatever its length. The indices live on cache lines of their own.
//!
//! Order: items come out in the order in which they went in, each exactly once. An item that the consumer never took
//! is dropped by whichever end goes last.

#![allow(unsafe_code, reason = "slots are shared, and only the indices keep the two ends apart")]

use std::fmt;
use std::mem::MaybeUninit;

use arrayvec::ArrayVec;
use crossbeam::utils::CachePadded;

use super::bell::Ringer;
use super::sync::{Arc, AtomicBool, AtomicUsize, Ordering, UnsafeCell};

/// Makes a ring for `capacity` items, rounded up to a power of two. Allocates; nothing does afterwards.
#[must_use]
pub fn channel<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    starting_at(Index(0), capacity)
}

/// The same with indices that begin at `start`, so that tests see them wrap.
#[cfg(any(test, feature = "testing"))]
#[must_use]
pub fn channel_from<T>(start: usize, capacity: usize) -> (Producer<T>, Consumer<T>) {
    starting_at(Index(start), capacity)
}

fn starting_at<T>(start: Index, capacity: usize) -> (Producer<T>, Consumer<T>) {
    let slots = (0..capacity.next_power_of_two()).map(|_| UnsafeCell::new(MaybeUninit::uninit()));
    let ring = Arc::new(Ring {
        slots: slots.collect(),
        head: CachePadded::new(End::at(start)),
        tail: CachePadded::new(End::at(start)),
    });
    let consumer = Consumer { ring: Arc::clone(&ring), head: start, tail: start };
    (Producer { ring, tail: start, published: start, head: start, bell: None }, consumer)
}

/// Counts items since the ring was made, and wraps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Index(usize);

impl Index {
    #[inline]
    const fn plus(self, count: usize) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// Items between an index and an earlier one.
    #[inline]
    const fn since(self, earlier: Self) -> usize {
        self.0.wrapping_sub(earlier.0)
    }
}

/// What one end tells the other.
struct End {
    index: AtomicUsize,
    gone: AtomicBool,
}

impl End {
    fn at(start: Index) -> Self {
        Self { index: AtomicUsize::new(start.0), gone: AtomicBool::new(false) }
    }

    /// What the other end did before it moved its index here is visible afterwards.
    #[inline]
    fn look(&self) -> Index {
        Index(self.index.load(Ordering::Acquire))
    }

    /// Pairs with [`Self::look`] by the other end.
    #[inline]
    fn show(&self, index: Index) {
        self.index.store(index.0, Ordering::Release);
    }

    /// Pairs with [`Self::is_gone`] by the other end.
    fn leave(&self) {
        self.gone.store(true, Ordering::Release);
    }

    /// After `true`, [`Self::look`] returns the last index that was shown.
    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

/// Slots from `head` up to `tail` hold an item and belong to the consumer, all others to the producer.
struct Ring<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Written by the consumer only.
    head: CachePadded<End>,
    /// Written by the producer only.
    tail: CachePadded<End>,
}

// SAFETY: an item is written by one thread and read by another, which `T: Send` allows. A slot is touched by one end at
// a time: the indices say by which, and the release store that passes it on pairs with the other's acquire load.
unsafe impl<T: Send> Sync for Ring<T> {}
// SAFETY: as above; with the ring go the items in it.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T> Ring<T> {
    #[inline]
    fn slot(&self, index: Index) -> &UnsafeCell<MaybeUninit<T>> {
        // There is a power of two of them, at least one, so that wrapping indices go on where they were.
        &self.slots[index.0 & (self.slots.len() - 1)]
    }

    /// Moves `item` into a slot.
    ///
    /// # Safety
    /// The caller is the producer, and the slot is the producer's.
    #[inline]
    unsafe fn put(&self, index: Index, item: T) {
        // SAFETY: nobody else touches the producer's slot, as the caller answers for.
        self.slot(index).with_mut(|slot| unsafe { slot.cast::<T>().write(item) });
    }

    /// Moves an item out of its slot.
    ///
    /// # Safety
    /// The caller is the consumer, and the slot is between `head` and `tail`. It counts as vacant afterwards.
    #[inline]
    unsafe fn take(&self, index: Index) -> T {
        // SAFETY: the slot holds an item, and nobody else touches it, as the caller answers for.
        self.slot(index).with_mut(|slot| unsafe { slot.cast::<T>().read() })
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        let (mut head, tail) = (self.head.look(), self.tail.look());
        while head != tail {
            // SAFETY: both ends are gone, so this is the only thread; the slot is between the indices.
            drop(unsafe { self.take(head) });
            head = head.plus(1);
        }
    }
}

/// The end that items go in by. It may move to another thread, but belongs to one at a time.
pub struct Producer<T> {
    ring: Arc<Ring<T>>,
    /// Where the next item goes.
    tail: Index,
    /// Up to where the consumer was told.
    published: Index,
    /// Where the consumer was when we last looked.
    head: Index,
    bell: Option<Ringer>,
}

impl<T> Producer<T> {
    /// Rings `bell` from now on, when something was published and when this end goes.
    #[must_use]
    pub fn with_bell(mut self, bell: Ringer) -> Self {
        self.bell = Some(bell);
        self
    }

    #[inline]
    fn ring_bell(&self) {
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }

    /// Moves items from the front of `batch` into the ring and shows them to the consumer. What does not fit stays in
    /// `batch`. Returns how many went in.
    #[inline]
    pub fn push<const N: usize>(&mut self, batch: &mut ArrayVec<T, N>) -> usize {
        let count = self.vacant(batch.len()).min(batch.len());
        for item in batch.drain(..count) {
            // SAFETY: `count` slots from `tail` on are vacant, and we are the producer.
            unsafe { self.ring.put(self.tail, item) };
            self.tail = self.tail.plus(1);
        }
        self.publish();
        count
    }

    /// Moves one item into the ring; the consumer sees it after the next [`Self::publish`] or [`Self::push`].
    ///
    /// # Errors
    /// Gives the item back if the ring is full.
    #[inline]
    pub fn stage(&mut self, item: T) -> Result<(), T> {
        if self.vacant(1) == 0 {
            return Err(item);
        }
        // SAFETY: the slot at `tail` is vacant, and we are the producer.
        unsafe { self.ring.put(self.tail, item) };
        self.tail = self.tail.plus(1);
        Ok(())
    }

    /// Shows the consumer what was staged. Returns whether there was anything.
    #[inline]
    pub fn publish(&mut self) -> bool {
        let any = self.published != self.tail;
        if any {
            self.ring.tail.show(self.tail);
            self.published = self.tail;
            self.ring_bell();
        }
        any
    }

    /// Vacant slots, counted again if there seem to be fewer than `wanted`.
    #[inline]
    fn vacant(&mut self, wanted: usize) -> usize {
        let known = self.capacity() - self.tail.since(self.head);
        if known >= wanted {
            return known;
        }
        self.head = self.ring.head.look();
        self.capacity() - self.tail.since(self.head)
    }

    /// Items in the ring, staged ones included; the consumer may have taken some of them meanwhile.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tail.since(self.ring.head.look())
    }

    /// Whether the ring is empty, and stays so until something is staged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room; the consumer may make some at any time.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    /// Items that the ring holds at most.
    #[must_use]
    #[inline]
    pub fn capacity(&self) -> usize {
        self.ring.slots.len()
    }

    /// Whether the consumer was dropped: nobody will take anything any more.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.ring.head.is_gone()
    }
}

impl<T> Drop for Producer<T> {
    /// Publishes what was staged: the consumer can still take it.
    fn drop(&mut self) {
        self.publish();
        self.ring.tail.leave();
        self.ring_bell();
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Producer({} of {})", self.len(), self.capacity())
    }
}

/// The end that items come out by. It may move to another thread, but belongs to one at a time.
pub struct Consumer<T> {
    ring: Arc<Ring<T>>,
    /// Where the next item is.
    head: Index,
    /// Where the producer was when we last looked.
    tail: Index,
}

impl<T> Consumer<T> {
    /// Moves items to the end of `into`, as far as it has room. Returns how many.
    #[inline]
    pub fn pop<const N: usize>(&mut self, into: &mut ArrayVec<T, N>) -> usize {
        self.drain(into.remaining_capacity(), |item| into.push(item))
    }

    /// Calls `take` with each of at most `max` items. Returns how many there were.
    ///
    /// The producer gets the room back when all are done. If `take` panics, the items that it was called with are gone
    /// and the others stay.
    #[inline]
    pub fn drain(&mut self, max: usize, mut take: impl FnMut(T)) -> usize {
        let count = self.present(max).min(max);
        if count == 0 {
            return 0;
        }
        let batch = Batch { consumer: self };
        for _ in 0..count {
            // SAFETY: `count` slots from `head` on hold items, and we are the consumer.
            let item = unsafe { batch.consumer.ring.take(batch.consumer.head) };
            batch.consumer.head = batch.consumer.head.plus(1);
            take(item);
        }
        count
    }

    /// Items present, counted again if there seem to be fewer than `wanted`.
    #[inline]
    fn present(&mut self, wanted: usize) -> usize {
        let known = self.tail.since(self.head);
        if known >= wanted {
            return known;
        }
        self.tail = self.ring.tail.look();
        self.tail.since(self.head)
    }

    /// Items in the ring; the producer may add to them at any time.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ring.tail.look().since(self.head)
    }

    /// Whether there is nothing to take at the moment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the producer finds no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    /// Whether there is something to take, or nothing will come any more: what a [`Sleeper`](super::Sleeper) asks.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.is_empty() || self.is_abandoned()
    }

    /// Items that the ring holds at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.ring.slots.len()
    }

    /// Whether the producer was dropped: what is in the ring then is all that will ever be.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.ring.tail.is_gone()
    }
}

/// Gives the room of taken items back when it is dropped, so that a panic while they are taken cannot show one twice.
struct Batch<'a, T> {
    consumer: &'a mut Consumer<T>,
}

impl<T> Drop for Batch<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.consumer.ring.head.show(self.consumer.head);
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.ring.head.leave();
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Consumer({} of {})", self.len(), self.capacity())
    }
}
