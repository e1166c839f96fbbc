//! The two ends of what lies between a worker and a consumer: a ring of events and a ring of commands.
//!
//! Each end belongs to one thread at a time. Neither ever waits for the other: what finds a ring full stays with whoever
//! brought it. Nothing allocates after [`ends`].

#![forbid(unsafe_code)]

use std::fmt;

use arrayvec::ArrayVec;
use usher_proto::time::Tick;

use super::command::Command;
use super::event::Event;
use super::ring::{Consumer, Producer, channel};

/// Makes a pair of ends with rings for `capacity` events and as many commands, rounded up to a power of two.
#[must_use]
pub fn ends(capacity: usize) -> (WorkerEnd, ConsumerEnd) {
    let (events, told) = channel(capacity);
    let (asked, commands) = channel(capacity);
    let worker = WorkerEnd { events, commands, told: 0, taken: 0, waits_since: None };
    (worker, ConsumerEnd { events: told, commands: asked })
}

/// A worker's end: of one `ring` service.
pub struct WorkerEnd {
    events: Producer<Event>,
    commands: Consumer<Command>,
    /// Events told so far, wrapping.
    told: usize,
    /// Events that the consumer had taken when it was last looked at, wrapping.
    taken: usize,
    /// When it was first seen that it takes none of those that wait; `None` if none wait.
    waits_since: Option<Tick>,
}

impl WorkerEnd {
    /// Tells an event; the consumer sees it after the next [`Self::publish`].
    ///
    /// # Errors
    /// Gives the event back if the ring is full.
    #[inline]
    pub fn tell(&mut self, event: Event) -> Result<(), Event> {
        self.events.stage(event)?;
        self.told = self.told.wrapping_add(1);
        Ok(())
    }

    /// Shows the consumer what was told.
    #[inline]
    pub fn publish(&mut self) {
        self.events.publish();
    }

    /// Events that can be told now, at least: the consumer may make more room at any time.
    #[must_use]
    pub fn room(&self) -> usize {
        self.events.capacity() - self.events.len()
    }

    /// Events that the consumer has not taken.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.events.len()
    }

    /// Moves at most `max` commands to the end of `into`, as far as it has room. Returns how many.
    #[inline]
    pub fn commands<const N: usize>(
        &mut self,
        max: usize,
        into: &mut ArrayVec<Command, N>,
    ) -> usize {
        let max = max.min(into.remaining_capacity());
        self.commands.drain(max, |command| into.push(command))
    }

    /// Whether the consumer's end was dropped and every command of it was read.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        // In this order: what it sent before it went is seen.
        self.events.is_abandoned() && self.commands.is_empty()
    }

    /// Whether events have waited for `timeout` ms while the consumer took none. To be asked now and then: a consumer is
    /// silent since the first asking that found it so.
    pub fn is_silent(&mut self, now: Tick, timeout: u32) -> bool {
        let depth = self.depth();
        let taken = self.told.wrapping_sub(depth);
        let same = self.waits_since.filter(|_| taken == self.taken);
        let since = same.unwrap_or(now);
        (self.taken, self.waits_since) = (taken, (depth > 0).then_some(since));
        depth > 0 && now.since(since) >= timeout
    }
}

impl fmt::Debug for WorkerEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkerEnd({:?}, {:?})", self.events, self.commands)
    }
}

/// A consumer's end: the flows that one worker has of one `ring` service.
///
/// It may move to another thread, but belongs to one at a time. Dropping it gives the flows up, after the commands that
/// were sent: what becomes of them is the service's `consumer_gone`. The same happens to a consumer that leaves events in
/// the ring for `consumer_timeout`; it finds itself closed ([`Self::is_closed`]).
pub struct ConsumerEnd {
    events: Consumer<Event>,
    commands: Producer<Command>,
}

impl ConsumerEnd {
    /// Calls `handle` with each of at most `max` events. Returns how many there were.
    ///
    /// The worker gets the room back, and sees that the consumer lives, when all are done. If `handle` panics, the events
    /// that it was called with are gone and the others stay.
    #[inline]
    pub fn poll(&mut self, max: usize, handle: impl FnMut(Event)) -> usize {
        self.events.drain(max, handle)
    }

    /// Moves events to the end of `into`, as far as it has room. Returns how many.
    #[inline]
    pub fn take<const N: usize>(&mut self, into: &mut ArrayVec<Event, N>) -> usize {
        self.events.pop(into)
    }

    /// Sends a command.
    ///
    /// # Errors
    /// [`Full`] with the command if there is no room: the worker is behind, or waits for events to be taken. Poll, and
    /// send it again.
    #[inline]
    pub fn send(&mut self, command: Command) -> Result<(), Full> {
        let sent = self.commands.stage(command).map_err(|command| Full { command });
        self.commands.publish();
        sent
    }

    /// Sends commands from the front of `batch`, all with one release. What finds no room stays in `batch`. Returns how
    /// many were sent.
    #[inline]
    pub fn send_all<const N: usize>(&mut self, batch: &mut ArrayVec<Command, N>) -> usize {
        self.commands.push(batch)
    }

    /// Events that wait; the worker may add to them at any time.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing will ever come any more: the engine has stopped, or the service was removed and its last flow has
    /// ended, or this consumer was given up. Events that wait are still there to be taken: then it is not closed yet.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        // In this order: what was told before the worker went is seen.
        self.events.is_abandoned() && self.events.is_empty()
    }
}

impl fmt::Debug for ConsumerEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConsumerEnd({:?}, {:?})", self.events, self.commands)
    }
}

/// The ring of commands had no room.
#[derive(Debug)]
pub struct Full {
    /// What was to be sent.
    pub command: Command,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the ring of commands is full: take events, then send the {:?} again",
            self.command.kind()
        )
    }
}

impl std::error::Error for Full {}
