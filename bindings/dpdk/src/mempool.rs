//! Pools of mbufs, with a cache for each thread that EAL knows.

use std::ffi::CString;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;

use dpdk_sys as sys;

use crate::{Burst, Eal, Error, HEADROOM, Mbuf, Pages, error, log};

/// Buffers a thread keeps to itself. DPDK's limit; a burst of 32 then meets the shared ring once in sixteen.
const CACHE: u32 = sys::USHER_CACHE_MAX;

/// A pool. Clones are handles to the same one.
///
/// When the last handle goes while a buffer is still out, the pool stays until the process ends, deliberately: whoever
/// holds the buffer must be able to use it and give it back. What stays is the process's own memory, which it has
/// taken whole at start, and no second EAL can be started that would want it.
#[derive(Clone, Debug)]
pub struct Mempool(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    raw: NonNull<sys::rte_mempool>,
    eal: ManuallyDrop<Eal>,
}

// SAFETY: DPDK synchronises a pool: its ring is for many producers and consumers, and each cache is used by the one
// thread that EAL knows by its lcore id.
unsafe impl Send for Pool {}
// SAFETY: as above; there is no other state.
unsafe impl Sync for Pool {}

impl Mempool {
    /// Makes a pool of `count` buffers with room for a frame of `frame` bytes each, on a NUMA node (-1: any).
    ///
    /// # Errors
    /// When the name is taken or memory does not suffice.
    pub fn new(eal: &Eal, name: &str, count: u32, frame: u16, node: i32) -> Result<Self, Error> {
        let doing = || format!("cannot make pool {name} of {count} buffers for {frame} bytes each");
        let Ok(text) = CString::new(name) else {
            return Err(Error::ours(doing(), "its name holds a zero byte"));
        };
        // A cache holds up to one and a half times its size; in a small pool one thread must not hold most of it.
        let cache = CACHE.min(count / 16);
        let room = frame.saturating_add(HEADROOM);
        let (raw, said) = log::listen(|| {
            // SAFETY: EAL runs, as the handle proves; the name is terminated and copied.
            unsafe { sys::rte_pktmbuf_pool_create(text.as_ptr(), count, cache, 0, room, node) }
        });
        match NonNull::new(raw) {
            Some(raw) => Ok(Self(Arc::new(Pool { raw, eal: ManuallyDrop::new(eal.clone()) }))),
            None => Err(Error::refused(doing(), error::last(), said)),
        }
    }

    /// An empty buffer.
    #[must_use]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool lives as long as this handle.
        let raw = unsafe { sys::usher_mbuf_alloc(self.raw()) };
        // SAFETY: what is not null is a fresh buffer that only we have.
        NonNull::new(raw).map(|raw| unsafe { Mbuf::from_raw(raw) })
    }

    /// Appends `count` empty buffers, or none when the pool has fewer or the burst less room.
    pub fn alloc_into<const N: usize>(&self, burst: &mut Burst<N>, count: usize) -> bool {
        let spare = burst.spare();
        let Some(slots) = spare.get_mut(..count) else { return false };
        let asked = u32::try_from(count).unwrap_or(u32::MAX);
        // SAFETY: there are `count` slots, and the pool lives as long as this handle.
        let result = unsafe { sys::usher_mbuf_alloc_bulk(self.raw(), slots.as_mut_ptr(), asked) };
        if result == 0 {
            // SAFETY: the first `count` spare slots now hold buffers that only we have.
            unsafe { burst.grow(count) };
        }
        result == 0
    }

    /// A frame of several buffers in one of this pool's; `None` when none is free or the frame is too large for it.
    #[must_use]
    pub fn copy(&self, frame: &Mbuf) -> Option<Mbuf> {
        let mut copy = self.alloc()?;
        copy.copy_from(frame).then_some(copy)
    }

    /// Buffers of the pool.
    #[must_use]
    pub fn size(&self) -> u32 {
        // SAFETY: the pool lives as long as this handle.
        unsafe { sys::usher_pool_size(self.raw()) }
    }

    /// Buffers that are free now, caches included; exact only while no other thread uses the pool.
    #[must_use]
    pub fn available(&self) -> u32 {
        // SAFETY: the pool lives as long as this handle.
        unsafe { sys::rte_mempool_avail_count(self.raw()) }
    }

    /// Whether this thread has a cache.
    #[must_use]
    pub fn has_cache_here(&self) -> bool {
        // SAFETY: reads a thread-local of DPDK's.
        let lcore = unsafe { sys::usher_lcore_id() };
        // SAFETY: the pool lives as long as this handle; DPDK checks the id.
        let cache = unsafe { sys::usher_pool_cache(self.raw(), lcore) };
        !cache.is_null()
    }

    pub(crate) fn raw(&self) -> *mut sys::rte_mempool {
        self.0.raw.as_ptr()
    }
}

/// Megabytes that a pool takes, rather too many than too few. No buffer crosses a page, so that of ordinary pages a
/// good part stays unused.
pub(crate) fn megabytes(count: u32, frame: u16, pages: Pages) -> u32 {
    // The pool's header before each buffer; padding spreads buffers over memory channels.
    const HEADER: u64 = 64;
    const PADDING: u64 = 128;
    let page: u64 = if pages == Pages::Huge { 2 << 20 } else { 4 << 10 };
    let buffer =
        u64::from(frame) + u64::from(HEADROOM) + u64::from(sys::USHER_MBUF_SIZE) + HEADER + PADDING;
    let (count, each) = (u64::from(count), page / buffer);
    let taken =
        if each == 0 { count * buffer.next_multiple_of(page) } else { count.div_ceil(each) * page };
    // The ring of pointers, whose size is a power of two, and the caches of all threads that there could be.
    let ring = count.next_power_of_two() * 8;
    let caches = 128 * u64::from(CACHE) * 3 * 8;
    u32::try_from((taken + ring + caches).div_ceil(1 << 20)).unwrap_or(u32::MAX)
}

impl Drop for Pool {
    /// Frees the pool if all its buffers are home; else it stays for good, with EAL under it, because an [`Mbuf`] does
    /// not keep its pool alive (counting references would cost more than the buffer itself).
    ///
    /// A thread that EAL does not know gives a buffer back through the ring, whose count grows last; one that it does
    /// know gives it to its cache, whose count grows first. Hence no other thread may be registered while we look.
    fn drop(&mut self) {
        let raw = self.raw.as_ptr();
        let freed = self.eal.alone(|| {
            // SAFETY: the pool has not been freed.
            let size = unsafe { sys::usher_pool_size(raw) };
            // SAFETY: as above.
            let home = unsafe { sys::rte_mempool_avail_count(raw) };
            if home == size {
                // Pairs with the release store of the ring's tail by whoever gave the last buffer back.
                std::sync::atomic::fence(std::sync::atomic::Ordering::Acquire);
                // SAFETY: no handle and no buffer is left, and no thread is still giving one back.
                unsafe { sys::rte_mempool_free(raw) };
            }
            home == size
        });
        if freed == Some(true) {
            // SAFETY: dropped once, here, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.eal) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_pages_hold_one_buffer_each() {
        assert!((256..270).contains(&megabytes(65_535, 2048, Pages::Ordinary)));
        assert!((155..170).contains(&megabytes(65_535, 2048, Pages::Huge)));
        assert!(megabytes(65_535, 9216, Pages::Ordinary) >= 65_535 * 12 / 1024);
    }
}
