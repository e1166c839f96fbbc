//! Memory on huge pages, and prefetching: the flow table's only `unsafe`.
//!
//! Both are hints. A table without them answers the same, more slowly.
#![allow(unsafe_code, reason = "advice about pages, and prefetch instructions")]

use std::ffi::c_void;

use rustix::mm::{Advice, madvise};

/// Page size that addresses are rounded to; advice about a larger page's part is advice about the page.
const PAGE: usize = 4096;

/// An array of `len` copies of `value`, every page of it touched, on huge pages where the kernel has them.
///
/// With 10 M flows on 4 KiB pages nearly every look-up also misses the TLB.
pub(super) fn filled<T: Copy>(len: usize, value: T) -> Box<[T]> {
    let mut array = Vec::with_capacity(len);
    advise_huge(array.spare_capacity_mut());
    array.resize(len, value);
    array.into_boxed_slice()
}

/// Asks for huge pages under `room`. Refusal is no error: the pages are then small.
fn advise_huge<T>(room: &mut [T]) {
    let start = room.as_mut_ptr().cast::<c_void>();
    let skipped = start.align_offset(PAGE);
    let Some(len) = size_of_val(room).checked_sub(skipped) else { return };
    // SAFETY: `skipped` is at most the room's size, so the address stays inside the allocation. The
    // advice changes which pages back the range and nothing about its contents.
    let _ = unsafe { madvise(start.wrapping_byte_add(skipped), len, Advice::LinuxHugepage) };
}

/// Starts to fetch the cache line of `target`, which may be used soon.
///
/// Measured in `bench/benches/table.rs`: staged by 32 at 10 M flows, without it a look-up with 20 ns of
/// work costs about three times as much.
#[inline(always)]
pub(super) fn prefetch<T>(target: &T) {
    prefetch_at(std::ptr::from_ref(target).cast());
}

/// The same for every cache line of `target`.
#[inline(always)]
pub(super) fn prefetch_whole<T>(target: &T) {
    let start = std::ptr::from_ref(target).cast::<u8>();
    (0..size_of::<T>()).step_by(LINE).for_each(|offset| prefetch_at(start.wrapping_add(offset)));
    prefetch_at(start.wrapping_add(size_of::<T>().saturating_sub(1)));
}

/// Bytes of a cache line.
const LINE: usize = 64;

#[inline(always)]
fn prefetch_at(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that a program sees and faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_any_size_are_filled() {
        for len in [0, 1, 63, 4096, 1 << 20] {
            let array = filled(len, 7_u32);
            assert!(array.len() == len && array.iter().all(|&x| x == 7));
        }
    }
}
