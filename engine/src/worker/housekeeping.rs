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
/// How long a drain waits for third ACKs, in ms: as long as the first SYN-ACK would (RFC 6298 §2.1). What is on its way
/// arrives within that; longer lets a flood's half-open flows, which never complete, hold the drain up until its end.
const HALF_OPEN_MS: u32 = 1000;
/// How often addresses are announced, and how far apart in ms (RFC 5227 §2.3, RFC 4861 §7.2.6).
const ANNOUNCEMENTS: u8 = 3;
const ANNOUNCE_EVERY: u32 = 1000;

/// What is to be done, and when.
#[derive(Debug)]
pub(super) struct Chores {
    next_us: u64,
    announcements: u8,
    announce_at: Tick,
    /// When a drain resets what is half-open, and when all that is left.
    reset_at: Option<(Tick, Tick)>,
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

    /// Announces all addresses anew: there are more.
    pub(super) const fn announce_again(&mut self, now: &Now) {
        self.announcements = ANNOUNCEMENTS;
        self.announce_at = now.tick;
    }

    /// A drain began at `now` and ends in `ms`.
    pub(super) const fn drain(&mut self, now: Tick, ms: u32) {
        let half_open = if ms < HALF_OPEN_MS { ms } else { HALF_OPEN_MS };
        self.reset_at = Some((now.after(half_open), now.after(ms)));
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
        turn.watch_consumers();
        turn.check_backends();
        turn.tell_of_backends();
        turn.ask_neighbours();
        if self.announcements > 0 && self.announce_at.is_due(turn.now.tick) {
            self.announcements -= 1;
            self.announce_at = turn.now.tick.after(ANNOUNCE_EVERY);
            turn.announce();
        }
        if let Some((half_open_at, at)) = self.reset_at {
            if at.is_due(turn.now.tick) {
                self.reset_some(turn, |state| !matches!(state, State::Closed | State::TimeWait));
            } else if half_open_at.is_due(turn.now.tick) && turn.flows.count(State::SynRcvd) > 0 {
                self.reset_some(turn, |state| state == State::SynRcvd);
            }
        }
        for state in State::ALL {
            turn.tally.set_flows(state, turn.flows.count(state));
        }
    }

    /// Resets those of the next batch of records whose state is one of these.
    fn reset_some<Q: QueuePair>(&mut self, turn: &mut Turn<'_, Q>, these: fn(State) -> bool) {
        let from = self.reset_from;
        let is_one = |index: &Index| these(turn.flows.state(*index));
        let batch: ArrayVec<Index, RESET_BATCH> =
            turn.flows.flows(from, RESET_BATCH as u32).filter(is_one).collect();
        batch.into_iter().for_each(|index| turn.reset(index));
        let next = from + RESET_BATCH as u32;
        self.reset_from = if next >= turn.flows.capacity() { 0 } else { next };
    }
}
