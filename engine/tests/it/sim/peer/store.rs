//! What arrived out of order, and how it is told (RFC 2018, RFC 2883).

use std::collections::BTreeMap;

/// Pieces by where they begin; they may overlap.
pub(super) struct Store {
    pieces: BTreeMap<u64, Vec<u8>>,
    /// Where pieces began, the newest last.
    order: Vec<u64>,
    /// What came a second time, to be told once.
    again: Option<(u64, u64)>,
}

impl Store {
    pub(super) const fn new() -> Self {
        Self { pieces: BTreeMap::new(), order: Vec::new(), again: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(super) fn insert(&mut self, at: u64, bytes: &[u8]) {
        let end = at + bytes.len() as u64;
        if self.ranges().iter().any(|(from, to)| *from <= at && end <= *to) {
            self.again = Some((at, end));
        }
        if self.pieces.get(&at).is_none_or(|old| old.len() < bytes.len()) {
            self.pieces.insert(at, bytes.to_vec());
        }
        self.order.retain(|old| *old != at);
        self.order.push(at);
    }

    /// Data below what was acknowledged came again.
    pub(super) const fn came_again(&mut self, from: u64, to: u64) {
        self.again = Some((from, to));
    }

    /// The bytes at `next`, if they are there.
    pub(super) fn pop(&mut self, next: u64) -> Option<Vec<u8>> {
        loop {
            let entry = self.pieces.first_entry()?;
            if *entry.key() > next {
                return None;
            }
            let (at, bytes) = entry.remove_entry();
            self.order.retain(|old| *old != at);
            let known = (next - at) as usize;
            if known < bytes.len() {
                return Some(bytes[known..].to_vec());
            }
        }
    }

    /// Pieces joined.
    fn ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (&at, bytes) in &self.pieces {
            let end = at + bytes.len() as u64;
            match ranges.last_mut() {
                Some((_, to)) if at <= *to => *to = end.max(*to),
                _ => ranges.push((at, end)),
            }
        }
        ranges
    }

    /// What came twice was told.
    pub(super) const fn told(&mut self) {
        self.again = None;
    }

    /// At most so many blocks: what came twice first, then the newest ones.
    pub(super) fn blocks(&self, room: usize) -> Vec<(u64, u64)> {
        let ranges = self.ranges();
        let mut blocks: Vec<_> = self.again.into_iter().collect();
        let twice = blocks.len();
        for at in self.order.iter().rev() {
            let range = ranges.iter().find(|(from, to)| from <= at && at < to);
            blocks.extend(range.filter(|range| !blocks[twice..].contains(range)));
        }
        blocks.truncate(room);
        blocks
    }
}

#[test]
fn blocks_tell_the_newest_first_and_what_came_twice() {
    let mut store = Store::new();
    for at in [100, 300, 110] {
        store.insert(at, &[0; 10]);
    }
    assert_eq!(store.blocks(4), [(100, 120), (300, 310)]);
    store.insert(302, &[0; 5]);
    assert_eq!(store.blocks(2), [(302, 307), (300, 310)]);
    store.told();
    assert_eq!(store.blocks(1), [(300, 310)]);
    assert_eq!(store.pop(99), None);
    assert_eq!(store.pop(105).map(|bytes| bytes.len()), Some(5));
    assert_eq!(store.pop(110).map(|bytes| bytes.len()), Some(10));
    assert_eq!(store.pop(305).map(|bytes| bytes.len()), Some(5));
    assert_eq!((store.pop(310), store.is_empty()), (None, true));
}
