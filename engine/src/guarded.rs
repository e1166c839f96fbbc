//! Secrets in memory: in pages of their own, which no core dump has, and zeros once they are done with.
//!
//! What is read from a file or made passes over the stack on its way here; [`scrub_stack`] is for whoever has brought it.
#![allow(unsafe_code, reason = "pages come from the kernel and go back to it")]

use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::{NonNull, null_mut};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use zeroize::Zeroize;

/// What pages are aligned to, everywhere.
const PAGE: usize = 4096;

/// How much of the stack is cleared: more than reading a file of secrets takes, in a debug build, too.
const STACK: usize = 128 << 10;

/// A secret in pages of its own. It never prints itself.
pub struct Guarded<T: Zeroize>(NonNull<T>);

// SAFETY: it owns what it points to, as a `Box` does.
unsafe impl<T: Zeroize + Send> Send for Guarded<T> {}
// SAFETY: a shared reference to it gives a shared reference to the value and nothing else.
unsafe impl<T: Zeroize + Sync> Sync for Guarded<T> {}

impl<T: Zeroize> Guarded<T> {
    const LAYOUT: Layout = {
        assert!(align_of::<T>() <= PAGE && size_of::<T>() > 0);
        Layout::new::<T>()
    };

    /// Takes `secret` in. Where it was before is the caller's to clear.
    ///
    /// # Panics
    ///
    /// Aborts like any allocation when there is no memory.
    #[must_use]
    pub fn new(secret: T) -> Self {
        let (rights, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: no address is asked for, so the new pages replace none that anybody has.
        let pages = unsafe { mmap_anonymous(null_mut(), Self::LAYOUT.size(), rights, flags) };
        let place = pages.ok().and_then(|pages| NonNull::new(pages.cast::<T>()));
        let Some(place) = place else { handle_alloc_error(Self::LAYOUT) };
        // SAFETY: these are the pages of just now; the advice changes nothing of their contents. A kernel that
        // does not know it is older than any that DPDK runs on.
        let _ =
            unsafe { madvise(place.as_ptr().cast(), Self::LAYOUT.size(), Advice::LinuxDontDump) };
        // SAFETY: the pages are ours, writable, large enough and aligned as `LAYOUT` has asserted.
        unsafe { place.write(secret) };
        Self(place)
    }
}

impl<T: Zeroize> Drop for Guarded<T> {
    fn drop(&mut self) {
        self.zeroize();
        // SAFETY: the value was written by `new` and is dropped here only.
        unsafe { self.0.drop_in_place() };
        // SAFETY: the pages were mapped by `new` with this size, and nobody borrows from them any more.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), Self::LAYOUT.size()) };
    }
}

impl<T: Zeroize> Deref for Guarded<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: it points to a value that lives as long as `self`, which is borrowed.
        unsafe { self.0.as_ref() }
    }
}

impl<T: Zeroize> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the same, and `self` is borrowed for this one alone.
        unsafe { self.0.as_mut() }
    }
}

impl<T: Zeroize + Clone> Clone for Guarded<T> {
    fn clone(&self) -> Self {
        Self::new(T::clone(self))
    }
}

impl<T: Zeroize + PartialEq> PartialEq for Guarded<T> {
    fn eq(&self, other: &Self) -> bool {
        T::eq(self, other)
    }
}

impl<T: Zeroize + Eq> Eq for Guarded<T> {}

impl<T: Zeroize> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guarded(..)")
    }
}

/// Clears what functions that have returned have left on this thread's stack.
#[inline(never)]
pub fn scrub_stack() {
    let mut room = [0_u8; STACK];
    room.zeroize();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flags of the mapping that `address` is in, as the kernel tells them.
    fn flags(address: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut found = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let hex = |text: &str| usize::from_str_radix(text, 16).ok();
            if let Some((Some(start), Some(end))) = range.map(|(a, b)| (hex(a), hex(b))) {
                found = (start..end).contains(&address);
            } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| found) {
                return flags.into();
            }
        }
        panic!("no mapping has {address:x}")
    }

    #[test]
    fn a_secret_is_in_no_core_dump() {
        let secret = Guarded::new([7_u8; 32]);
        let at = std::ptr::from_ref(&*secret) as usize;
        assert!(flags(at).split(' ').any(|flag| flag == "dd"), "{}", flags(at));
        let heap = Box::new(7_u8);
        let at = std::ptr::from_ref(&*heap) as usize;
        assert!(!flags(at).split(' ').any(|flag| flag == "dd"), "others are in it");
    }

    #[test]
    fn it_is_a_value_that_never_prints_itself() {
        let mut secret = Guarded::new([7_u8; 32]);
        let copy = secret.clone();
        assert_eq!((secret.len(), &secret), (32, &copy));
        secret[0] = 8;
        assert_ne!(secret, copy);
        assert_eq!(format!("{secret:?}"), "Guarded(..)");
    }
}
