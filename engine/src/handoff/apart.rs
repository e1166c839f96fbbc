//! A slice that shares no cache line with anything else: what the engine's thread makes for several workers, one after
//! the other, would lie side by side otherwise, and each write of one worker would cost its neighbour.

#![forbid(unsafe_code)]

use std::ops::{Deref, DerefMut};

/// Two cache lines: processors fetch them in pairs.
const LINES: usize = 128;

/// Items with a margin before and behind them, which nobody writes.
#[derive(Clone, Debug)]
pub struct Apart<T> {
    items: Box<[T]>,
    margin: usize,
}

impl<T: Clone> Apart<T> {
    /// These items; `filler` is what the margins consist of. Items have a size.
    #[must_use]
    pub fn new(items: impl IntoIterator<Item = T>, filler: &T) -> Self {
        let margin = LINES.div_ceil(size_of::<T>().max(1));
        let edge = || std::iter::repeat_n(filler.clone(), margin);
        Self { items: edge().chain(items).chain(edge()).collect(), margin }
    }
}

impl<T> Deref for Apart<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        &self.items[self.margin..self.items.len() - self.margin]
    }
}

impl<T> DerefMut for Apart<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        let end = self.items.len() - self.margin;
        &mut self.items[self.margin..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that its items lie on are within its own allocation.
    fn is_apart<T: Clone>(items: usize, filler: &T) -> bool {
        let apart = Apart::new(std::iter::repeat_n(filler.clone(), items), filler);
        let (whole, inner) = (apart.items.as_ptr_range(), apart.as_ptr_range());
        let first = inner.start.addr() / LINES * LINES;
        let last = inner.end.addr().next_multiple_of(LINES);
        apart.len() == items && first >= whole.start.addr() && last <= whole.end.addr()
    }

    #[test]
    fn no_line_is_shared() {
        for items in [1, 3, 100] {
            assert!((0..50).all(|_| is_apart(items, &0_u64)));
            assert!((0..50).all(|_| is_apart(items, &[0_u8; 24])));
            assert!((0..50).all(|_| is_apart(items, &0_u8)));
        }
    }
}
