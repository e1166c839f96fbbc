//! The two ends of what lies between a worker and a consumer: a ring of events and a ring of commands.
//!
//! Each end belongs to one thread at a time. Neither ever waits for the other: what finds a ring full stays with whoever
//! brought it. Nothing allocates after [`ends`].

#![forbid(unsafe_code)]

use std::time::Duration;
use std::{fmt, io};

use arrayvec::ArrayVec;
use usher_proto::time::Tick;

use super::bell::{Sleeper, bell};
use super::chunk::{CHUNK, Chunk, Stock, stock};
use super::command::{Command, Payload};
use super::event::Event;
use super::ring::{Consumer, Producer, channel};
use crate::flow::FlowId;

/// Makes a pair of ends with rings for `capacity` events and as many commands, rounded up to a power of two, and as many
/// chunks of [`CHUNK`] bytes for the consumer to write into.
#[must_use]
pub fn ends(capacity: usize) -> (WorkerEnd, ConsumerEnd) {
    let (events, told) = channel(capacity);
    let (asked, commands) = channel(capacity);
    let (stock, home) = stock(commands.capacity());
    let worker = WorkerEnd { events, commands, home, told: 0, taken: 0, waits_since: None };
    (worker, ConsumerEnd { events: told, commands: asked, stock, sleeper: None })
}

/// The same for a consumer that waits when there is nothing to do ([`ConsumerEnd::wait`]). The worker then looks at each
/// turn in which it told something whether it does.
///
/// # Errors
/// When the process has no file descriptor left.
pub fn ends_with_bell(capacity: usize) -> io::Result<(WorkerEnd, ConsumerEnd)> {
    let (ringer, sleeper) = bell()?;
    let (worker, consumer) = ends(capacity);
    let worker = WorkerEnd { events: worker.events.with_bell(ringer), ..worker };
    Ok((worker, ConsumerEnd { sleeper: Some(sleeper), ..consumer }))
}

/// A worker's end: of one `ring` service.
pub struct WorkerEnd {
    events: Producer<Event>,
    commands: Consumer<Command>,
    /// Where the consumer's chunks go when they are done with.
    home: Producer<Chunk>,
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
        self.home.publish();
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

    /// Lets go of what was to be sent. A chunk is the consumer's again after the next [`Self::publish`].
    #[inline]
    pub fn give_back(&mut self, payload: Payload) {
        match payload {
            Payload::Lease(lease) => drop(lease),
            // There is room for all of them.
            Payload::Chunk(chunk) => drop(self.home.stage(chunk)),
        }
    }

    /// How many chunks the consumer has in all.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.home.capacity()
    }

    /// Whether the consumer's end was dropped; commands that it sent before may wait.
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.events.is_abandoned()
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
    stock: Stock,
    sleeper: Option<Sleeper>,
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

    /// Sends bytes on an owned flow: copies them into chunks of [`CHUNK`] bytes and sends those by
    /// [`Command::Write`], as far as there are chunks and there is room for commands. Returns how many bytes were sent.
    /// What exceeds the flow's credit is refused by the worker, chunk by chunk.
    pub fn write(&mut self, flow: FlowId, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while sent < bytes.len() {
            let Some(chunk) = self.stock.fill(&bytes[sent..]) else { break };
            let len = chunk.bytes().len();
            if !self.stage_chunk(Command::Write { flow, data: Payload::Chunk(chunk) }) {
                break;
            }
            sent += len;
        }
        self.commands.publish();
        sent
    }

    /// Owns an undecided flow, sends `bytes` and closes: all of it or nothing. Returns whether there were chunks and room
    /// for it. [`Command::Respond`] says what that does.
    pub fn respond(&mut self, flow: FlowId, bytes: &[u8]) -> bool {
        let (first, rest) = bytes.split_at(bytes.len().min(CHUNK));
        let chunks = bytes.len().div_ceil(CHUNK).max(1);
        let commands = if rest.is_empty() { 1 } else { chunks + 2 };
        let room = self.commands.capacity() - self.commands.len();
        if self.stock.count() < chunks || room < commands {
            return false;
        }
        if rest.is_empty() {
            let Some(chunk) = self.stock.fill(first) else { return false };
            self.stage_chunk(Command::Respond { flow, data: Payload::Chunk(chunk) });
        } else {
            let own = self.commands.stage(Command::Own { flow, skip_peeked: true });
            debug_assert!(own.is_ok(), "there is room");
            self.write(flow, bytes);
            let close = self.commands.stage(Command::Close { flow });
            debug_assert!(close.is_ok(), "there is room");
        }
        self.commands.publish();
        true
    }

    /// Stages a command that carries a chunk, or keeps the chunk.
    fn stage_chunk(&mut self, command: Command) -> bool {
        match self.commands.stage(command) {
            Ok(()) => true,
            Err(
                Command::Write { data: Payload::Chunk(chunk), .. }
                | Command::Respond { data: Payload::Chunk(chunk), .. },
            ) => {
                self.stock.put_back(chunk);
                false
            }
            Err(_) => false,
        }
    }

    /// Commands that can be sent now, at least.
    #[must_use]
    pub fn room(&self) -> usize {
        self.commands.capacity() - self.commands.len()
    }

    /// Chunks that can be written into now, at least.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.stock.count()
    }

    /// Sleeps until an event waits or none will come any more, `timeout` has passed, or a signal came; not at all if
    /// something waits already. Returns `false` if only time has passed. Ends of [`ends`] have no bell and do not sleep.
    ///
    /// While it sleeps it costs its core nothing, and the worker a system call to wake it.
    pub fn wait(&mut self, timeout: Option<Duration>) -> bool {
        let Some(sleeper) = &mut self.sleeper else { return true };
        sleeper.sleep(timeout, || self.events.is_ready())
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
