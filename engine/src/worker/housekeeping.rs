//! What comes round by time and not by frames.

#![forbid(unsafe_code)]

use arrayvec::ArrayVec;
use usher_proto::tcp::State;
use usher_proto::time::{Now, Tick};

use super::turn::Turn;
use crate::flow::Index;
use crate::port::QueuePair;
use crate::stats::Counter;

/// Between two slots, in µs. Timers are in ms: a shorter pause finds nothing new, a longer one delays them.
const PAUSE_US: u64 = 1000;
/// Records that a slot looks at for their timers: 4 million a second, and at most about 100 µs at once.
const TIMER_BUDGET: u32 = 4096;
/// Records that a slot looks at to reset what a drain left over.
const RESET_BATCH: usize = 1024;
/// How often addresses are announced, and how far apart in ms (RFC 5227 §2.3, RFC 4861 §7.2.6).
const ANNOUNCEMENTS: u8 = 3;
const ANNOUNCE_EVERY: u32 = 1000;

/// What is to be done, and when.
#[derive(Debug)]
pub(super) struct Chores {
    next_us: u64,
    announcements: u8,
    announce_at: Tick,
    /// The drain's deadline.
    reset_at: Option<Tick>,
    /// The first record that the reset has not looked at.
    reset_from: u32,
}

impl Chores {
    pub(super) const fn new(now: &Now) -> Self {
        Self {
            next_us: now.us,
            announcements: ANNOUNCEMENTS,
            announce_at: now.tick,
            reset_at: None,
            reset_from: 0,
        }
    }

    pub(super) const fn reset_at(&mut self, deadline: Tick) {
        self.reset_at = Some(deadline);
        self.reset_from = 0;
    }

    #[inline]
    pub(super) const fn are_due(&self, now: &Now) -> bool {
        now.us >= self.next_us
    }

    #[cold]
    pub(super) fn run<Q: QueuePair>(&mut self, turn: &mut Turn<'_, Q>) {
        self.next_us = turn.now.us + PAUSE_US;
        turn.tally.add(Counter::Housekeeping, 1);
        turn.expire(TIMER_BUDGET);
        turn.ask_neighbours();
        if self.announcements > 0 && self.announce_at.is_due(turn.now.tick) {
            self.announcements -= 1;
            self.announce_at = turn.now.tick.after(ANNOUNCE_EVERY);
            turn.announce();
        }
        if self.reset_at.is_some_and(|at| at.is_due(turn.now.tick)) {
            self.reset_some(turn);
        }
        for state in State::ALL {
            turn.tally.set_flows(state, turn.flows.count(state));
        }
    }

    /// Resets the next batch of what a drain left over.
    fn reset_some<Q: QueuePair>(&mut self, turn: &mut Turn<'_, Q>) {
        let from = self.reset_from;
        let is_active = |index: &Index| {
            !matches!(turn.flows.tcb(*index).state, State::Closed | State::TimeWait)
        };
        let batch: ArrayVec<Index, RESET_BATCH> =
            turn.flows.flows(from, RESET_BATCH as u32).filter(is_active).collect();
        batch.into_iter().for_each(|index| turn.reset(index));
        let next = from + RESET_BATCH as u32;
        self.reset_from = if next >= turn.flows.capacity() { 0 } else { next };
    }
}
