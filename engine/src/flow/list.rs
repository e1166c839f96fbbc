//! FIFO lists threaded through the records' cold parts: spent markers and TIME_WAIT, oldest first.
#![forbid(unsafe_code)]

use super::record::{Cold, NIL};

/// A doubly linked list of records. A record is in at most one.
#[derive(Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
}

impl List {
    /// The empty list.
    pub(super) const fn new() -> Self {
        Self { head: NIL, tail: NIL }
    }

    /// The oldest record.
    pub(super) fn front(&self) -> Option<u32> {
        (self.head != NIL).then_some(self.head)
    }

    /// Appends a record that is in no list.
    pub(super) fn push_back(&mut self, records: &mut [Cold], index: u32) {
        let record = &mut records[index as usize];
        (record.next, record.prev_or_started) = (NIL, self.tail);
        match self.tail {
            NIL => self.head = index,
            tail => records[tail as usize].next = index,
        }
        self.tail = index;
    }

    /// Takes out a record that is in this list.
    pub(super) fn remove(&mut self, records: &mut [Cold], index: u32) {
        let Cold { next, prev_or_started: prev, .. } = records[index as usize];
        match prev {
            NIL => self.head = next,
            prev => records[prev as usize].next = next,
        }
        match next {
            NIL => self.tail = prev,
            next => records[next as usize].prev_or_started = prev,
        }
    }
}
