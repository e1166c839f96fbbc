//! All checks of one worker: which are due, which are under way, what they come to.
//!
//! The worker asks [`Checks::next_task`] at housekeeping until there is none, and [`Checks::take`] for
//! segments to an address of ours that belong to no flow. It finds the next hops and the ports of ours that
//! checks come from, and has each back when its check is over.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use ahash::RandomState;
use usher_proto::tcp::client::Learned;
use usher_proto::time::{Now, Tick};
use usher_proto::wire::{Reply, Segment, SeqNum, Tuple};

use super::subjects::{Subject, Subjects};
use super::{Due, Failure, Probe, Step, Turn, Watch};
use crate::flow::Seed;
use crate::service::{Backends, Position, SLOTS};

/// How often a probe says a thing that is not answered, within its timeout.
const SAYINGS: u32 = 3;

/// What a backend had sent before it heard the RST that ended its check arrives within so many ms, and is not
/// answered by another. Less than a kernel's first wait (200 ms on Linux): what comes again did not hear the RST.
const ECHOES: u32 = 150;

/// Longer than anything is waited for, in ms, and far from where ticks wrap.
const LONG: u32 = 1 << 30;

/// What a worker has to do for a check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    /// Choose a port of ours for the backend in this slot and [`Checks::begin`].
    Begin(u16),
    /// Send a segment.
    Send(Said),
    /// A check has taken too long.
    End(Ended),
}

/// A segment of a check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Said {
    /// The slot of the backend that is checked.
    pub slot: u16,
    /// The check's connection.
    pub tuple: Tuple,
    /// What is to be sent; its payload is of [`super::Script::bytes`].
    pub reply: Reply,
}

/// A check that is over: its port is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// The slot of the backend that was checked.
    pub slot: u16,
    /// The check's connection.
    pub tuple: Tuple,
    /// The last word, if there is one.
    pub reply: Option<Reply>,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// What this changed.
    pub turn: Option<Turn>,
}

/// What a segment of a check leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// There is nothing to say.
    Nothing,
    /// Send a segment.
    Said(Said),
    /// The check is over.
    Ended(Ended),
}

#[derive(Debug)]
struct Entry {
    watch: Watch,
    under_way: Option<(Tuple, Probe)>,
    /// The last check that was ended by us, and when.
    over: Option<(Tuple, Tick)>,
    since: u32,
}

/// The checks of one worker.
#[derive(Debug)]
pub struct Checks {
    position: Position,
    entries: Box<[Option<Entry>]>,
    /// Connections of checks that are under way, and of the last ones before: at most two a slot.
    slots: HashMap<Tuple, u16, RandomState>,
    /// Where the search for something to do goes on, if it is under way.
    cursor: Option<usize>,
    /// Nothing is due before: what happens between two searches only moves deadlines later.
    wake: Tick,
}

impl Checks {
    /// No checks yet, of the backends that the worker of this `position` is to check; of all others it only knows
    /// what it is told. `seed` keys the hash by which segments find theirs.
    #[must_use]
    pub fn new(position: Position, seed: Seed, now: Tick) -> Self {
        Self {
            position,
            entries: (0..SLOTS).map(|_| None).collect(),
            // two a slot; with room for as many again it never grows: what was removed is swept out in place
            slots: HashMap::with_capacity_and_hasher(4 * SLOTS, seed.hasher()),
            cursor: None,
            wake: now,
        }
    }

    /// Follows a new plan: backends that it still has keep their state, new ones are checked at once.
    /// Checks that are under way are given up, and say so to `over`. `dice` spreads the checks in time.
    pub fn renew(
        &mut self,
        subjects: &Subjects,
        dice: u64,
        now: &Now,
        mut over: impl FnMut(Ended),
    ) {
        self.slots.clear();
        self.wake = now.tick;
        for (slot, place) in (0..).zip(&mut self.entries) {
            if let Some(entry) = place {
                entry.over = None;
            }
            if let Some(entry) = place
                && let Some((tuple, probe)) = entry.under_way.take()
            {
                entry.watch.given_up();
                let reply = probe.abort(now);
                over(Ended { slot, tuple, reply, failure: None, turn: None });
            }
            let Some(subject) = subjects.get(slot) else {
                *place = None;
                continue;
            };
            if place.as_ref().is_none_or(|entry| entry.since != subject.since) {
                let watch = Watch::new(dice ^ u64::from(slot), now.tick);
                let since = subject.since;
                *place = Some(Entry { watch, under_way: None, over: None, since });
            }
        }
    }

    /// What is due, until there is nothing. Each [`Task::Begin`] is followed by [`Checks::begin`] or
    /// [`Checks::postpone`].
    pub fn next_task(
        &mut self,
        subjects: &Subjects,
        backends: &mut Backends,
        now: &Now,
    ) -> Option<Task> {
        if self.cursor.is_none() && !self.wake.is_due(now.tick) {
            return None;
        }
        let from = self.cursor.unwrap_or_else(|| {
            self.wake = now.tick.after(LONG);
            0
        });
        for index in from..self.entries.len() {
            let slot = index as u16;
            let (Some(entry), Some(subject), true) =
                (&mut self.entries[index], subjects.get(slot), self.position.has_slot(slot))
            else {
                continue;
            };
            let Some(task) = entry.due(slot, subject, now) else {
                self.wake = self.wake.min(entry.deadline(subject));
                continue;
            };
            self.cursor = Some(index);
            let Task::End(ended) = task else { return Some(task) };
            let turn = self.end(slot, Err(Failure::TimedOut), subject, backends, now);
            return Some(Task::End(Ended { turn, ..ended }));
        }
        self.cursor = None;
        None
    }

    /// Begins the check of a [`Task::Begin`] on the connection `tuple`, whose ISN and timestamp offset these
    /// are; returns its SYN. `mss` is what we announce.
    pub fn begin(
        &mut self,
        slot: u16,
        tuple: Tuple,
        (iss, ts_offset): (SeqNum, u32),
        mss: u16,
        subjects: &Subjects,
        now: &Now,
    ) -> Option<Reply> {
        let subject = subjects.get(slot)?;
        let entry = self.entries.get_mut(usize::from(slot))?.as_mut()?;
        let resend_every = subject.timing.timeout / SAYINGS + 1;
        let (probe, syn) = Probe::new(iss, ts_offset, mss, resend_every, now);
        if let Some((before, _)) = entry.over.take()
            && self.slots.get(&before) == Some(&slot)
        {
            self.slots.remove(&before);
        }
        entry.under_way = Some((tuple, probe));
        self.slots.insert(tuple, slot);
        Some(syn)
    }

    /// The check of a [`Task::Begin`] cannot be made now: there is no port for it. That says nothing of the
    /// backend.
    pub fn postpone(&mut self, slot: u16) {
        if let Some(Some(entry)) = self.entries.get_mut(usize::from(slot)) {
            entry.watch.given_up();
        }
    }

    /// Takes a segment with its payload; `None` if it belongs to no check.
    pub fn take(
        &mut self,
        seg: &Segment,
        payload: &[u8],
        subjects: &Subjects,
        backends: &mut Backends,
        now: &Now,
    ) -> Option<Taken> {
        let (slot, tuple) = (*self.slots.get(&seg.tuple)?, seg.tuple);
        let subject = subjects.get(slot)?;
        let entry = self.entries[usize::from(slot)].as_mut()?;
        let is_over = entry.over.is_some_and(|(over, _)| over == tuple);
        if is_over {
            let (_, at) = entry.over?;
            return (now.tick.since(at) < ECHOES).then_some(Taken::Nothing);
        }
        let (_, probe) = entry.under_way.as_mut()?;
        let Step { reply, end } = probe.take(seg, payload, &subject.script, now);
        let Some(end) = end else {
            let said = reply.map(|reply| Taken::Said(Said { slot, tuple, reply }));
            return Some(said.unwrap_or(Taken::Nothing));
        };
        let turn = self.end(slot, end, subject, backends, now);
        Some(Taken::Ended(Ended { slot, tuple, reply, failure: end.err(), turn }))
    }

    /// The worker that checks the backend in `slot` has found it to be up, or down; or this worker checks it, and
    /// another one's connections have failed.
    pub fn follow(&mut self, slot: u16, up: bool) {
        if let Some(Some(entry)) = self.entries.get_mut(usize::from(slot)) {
            entry.watch.follow(up);
        }
    }

    /// A connection reached the backend in `slot`.
    pub fn connected(&mut self, slot: u16) {
        if let Some(Some(entry)) = self.entries.get_mut(usize::from(slot)) {
            entry.watch.connected();
        }
    }

    /// A connection was refused by the backend in `slot`, or not answered.
    pub fn struck(
        &mut self,
        slot: u16,
        subjects: &Subjects,
        backends: &mut Backends,
    ) -> Option<Turn> {
        let subject = subjects.get(slot)?;
        let entry = self.entries.get_mut(usize::from(slot))?.as_mut()?;
        let last = backends.is_last(slot, &subject.peers);
        let turn = entry.watch.struck(&subject.timing, last);
        backends.get_mut(slot).up = entry.watch.is_up();
        turn
    }

    /// Counts a result and follows what it changes.
    fn end(
        &mut self,
        slot: u16,
        end: Result<Learned, Failure>,
        subject: &Subject,
        backends: &mut Backends,
        now: &Now,
    ) -> Option<Turn> {
        let entry = self.entries.get_mut(usize::from(slot))?.as_mut()?;
        if let Some((tuple, _)) = entry.under_way.take() {
            entry.over = Some((tuple, now.tick));
        }
        let backend = backends.get_mut(slot);
        let turn = match end {
            Ok(learned) => {
                backend.learned = Some(learned);
                backend.counts.passed += 1;
                entry.watch.passed(&subject.timing)
            }
            Err(_) => {
                backend.counts.failed += 1;
                entry.watch.failed(&subject.timing)
            }
        };
        backend.up = entry.watch.is_up();
        turn
    }
}

impl Entry {
    fn deadline(&self, subject: &Subject) -> Tick {
        let watch = self.watch.deadline(&subject.timing);
        self.under_way.as_ref().map_or(watch, |(_, probe)| watch.min(probe.deadline()))
    }

    fn due(&mut self, slot: u16, subject: &Subject, now: &Now) -> Option<Task> {
        match (self.watch.on_timer(&subject.timing, now.tick), &mut self.under_way) {
            (Some(Due::Check), _) => Some(Task::Begin(slot)),
            (Some(Due::TimedOut), Some((tuple, probe))) => Some(Task::End(Ended {
                slot,
                tuple: *tuple,
                reply: probe.abort(now),
                failure: Some(Failure::TimedOut),
                turn: None,
            })),
            (Some(Due::TimedOut), None) => {
                self.watch.given_up();
                None
            }
            (None, Some((tuple, probe))) => {
                let reply = probe.on_timer(&subject.script, now)?;
                Some(Task::Send(Said { slot, tuple: *tuple, reply }))
            }
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests;
