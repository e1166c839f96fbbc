//! The types that threads meet at. `engine/tests/loom.rs` compiles the files of this directory against loom's
//! instead, and then tries all interleavings.

#![forbid(unsafe_code)]

pub(super) use std::sync::Arc;
pub(super) use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

/// The standard library's cell with the face of loom's, which sees from when to when it is touched.
#[derive(Debug)]
pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(super) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline]
    pub(super) fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0.get())
    }
}
