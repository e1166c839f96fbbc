//! Which worker it is, of how many; and what is one worker's by that alone.

#![forbid(unsafe_code)]

use super::SLOTS;
use super::snat::LOWEST_PORT;

/// One of an engine's workers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    index: u16,
    count: u16,
}

impl Position {
    /// The only worker.
    pub const ALONE: Self = Self { index: 0, count: 1 };

    /// The positions of `count` workers, in order.
    pub fn all(count: u16) -> impl Iterator<Item = Self> {
        (0..count).map(move |index| Self { index, count })
    }

    /// Which one it is.
    #[inline]
    #[must_use]
    pub const fn index(self) -> u16 {
        self.index
    }

    /// How many there are.
    #[inline]
    #[must_use]
    pub const fn count(self) -> u16 {
        self.count
    }

    /// Whether there is no other.
    #[inline]
    #[must_use]
    pub const fn is_alone(self) -> bool {
        self.count == 1
    }

    /// The worker that connections from this port of ours belong to.
    #[inline]
    #[must_use]
    pub const fn of_port(port: u16, count: u16) -> u16 {
        port % count
    }

    /// The worker that checks the backend in `slot`, and whose word on it the others follow.
    #[must_use]
    pub const fn of_slot(slot: u16, count: u16) -> u16 {
        Self::of_port(Self::check_port(slot, 0, count), count)
    }

    /// Whether this worker does.
    #[inline]
    #[must_use]
    pub const fn has_slot(self, slot: u16) -> bool {
        Self::of_slot(slot, self.count) == self.index
    }

    /// The port that the `turn`th check of a backend comes from where addresses are not translated: all of them belong
    /// to the worker that makes the check, and no other backend has one of them. Turns go to
    /// [`Self::CHECK_TURNS`].
    #[must_use]
    pub const fn check_port(slot: u16, turn: u16, count: u16) -> u16 {
        let stride = (SLOTS as u16).next_multiple_of(count);
        LOWEST_PORT + slot + turn * stride
    }

    /// So many ports has each backend for its checks: in turn, so that no two in a row share one. With 1023 workers
    /// the last is 63,427.
    pub const CHECK_TURNS: u16 = 31;
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn checks_ports_are_their_workers_and_no_others() {
        for count in [1, 2, 3, 5, 64, 1000, 1023] {
            let mut ports = HashSet::new();
            for slot in 0..SLOTS as u16 {
                for turn in 0..Position::CHECK_TURNS {
                    let port = Position::check_port(slot, turn, count);
                    assert!(port >= LOWEST_PORT && ports.insert(port), "{slot}, {turn}, {count}");
                    assert_eq!(Position::of_port(port, count), Position::of_slot(slot, count));
                }
            }
            let own = |position: Position| (0..512).filter(|slot| position.has_slot(*slot)).count();
            assert_eq!(Position::all(count).map(own).sum::<usize>(), 512);
        }
    }
}
