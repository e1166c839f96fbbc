//! The trait [`Consumer`] and the loop that runs one.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::thread;
use std::time::Duration;

use arrayvec::ArrayVec;

use crate::flow::FlowId;
use crate::handoff::{Command, ConsumerEnd, Event};

/// Events that are taken from a ring at once: enough that what is paid once a batch does not show.
const BATCH: usize = 64;

/// Rounds without an event before a consumer sleeps: tens of microseconds, about what being woken costs it and its
/// worker. With fewer it sleeps between two events of a busy service, with more it burns its core for nothing.
const IDLE_ROUNDS: u32 = 1000;

/// How long it sleeps if nobody wakes it: how often [`Consumer::idle`] is called at least.
const NAP: Duration = Duration::from_millis(100);

/// Takes the flows that one worker has of a `ring` service.
///
/// There is one for each worker, and each is called by one thread, so it needs no lock for what it knows of its flows:
/// a flow stays with its worker. While a method runs, nothing is taken from the ring; one that runs for
/// `consumer_timeout` makes the consumer count as dead. A panic in one ends the consumer as if it was dropped.
pub trait Consumer {
    /// An event, in the order that [`Event`] promises. Commands may be sent about any flow of this consumer.
    fn event(&mut self, event: Event, commands: &mut Commands<'_>);

    /// No event waits. Called after each burst of events and, while there are none, about ten times a second.
    fn idle(&mut self, commands: &mut Commands<'_>) {
        let _ = commands;
    }
}

impl<C: Consumer + ?Sized> Consumer for Box<C> {
    fn event(&mut self, event: Event, commands: &mut Commands<'_>) {
        (**self).event(event, commands);
    }

    fn idle(&mut self, commands: &mut Commands<'_>) {
        (**self).idle(commands);
    }
}

/// Sends commands from within a [`Consumer`].
///
/// Commands are carried out in the order in which they were sent. Those that find the ring full wait in a queue of the
/// consumer's own, which allocates, and are sent before any other: [`Self::waiting`] tells how many there are.
pub struct Commands<'a> {
    end: &'a mut ConsumerEnd,
    backlog: &'a mut VecDeque<Command>,
}

impl Commands<'_> {
    /// Sends a command. What cannot be carried out is answered by [`Event::Refused`].
    pub fn send(&mut self, command: Command) {
        if let Err(full) = self.try_send(command) {
            self.backlog.push_back(full);
        }
    }

    /// Gives the command back if it would have to wait.
    fn try_send(&mut self, command: Command) -> Result<(), Command> {
        if self.flush() {
            self.end.send(command).map_err(|full| full.command)
        } else {
            Err(command)
        }
    }

    /// Hands an undecided flow on: [`Command::Proxy`].
    pub fn proxy(&mut self, flow: FlowId, backend: Option<u16>) {
        self.send(Command::Proxy { flow, backend });
    }

    /// Owns an undecided flow, whose data, peeked at or not, comes as [`Event::Data`] from now on: [`Command::Own`].
    pub fn own(&mut self, flow: FlowId) {
        self.send(Command::Own { flow, skip_peeked: false });
    }

    /// Copies `bytes` and sends them on an owned flow ([`Command::Write`]), as far as there is room. Returns how many
    /// were: the rest may be written when events have been taken. Never more than the flow's credit should be written.
    pub fn write(&mut self, flow: FlowId, bytes: &[u8]) -> usize {
        if self.flush() { self.end.write(flow, bytes) } else { 0 }
    }

    /// Owns an undecided flow, sends a copy of `bytes` and closes: all of it, or nothing if there is no room now.
    /// Returns whether it did: [`Command::Respond`].
    #[must_use = "without room nothing was done"]
    pub fn respond(&mut self, flow: FlowId, bytes: &[u8]) -> bool {
        self.flush() && self.end.respond(flow, bytes)
    }

    /// Closes our side of an owned flow behind what was written: [`Command::Close`].
    pub fn close(&mut self, flow: FlowId) {
        self.send(Command::Close { flow });
    }

    /// Ends a flow at once: [`Command::Reset`].
    pub fn reset(&mut self, flow: FlowId) {
        self.send(Command::Reset { flow });
    }

    /// How many commands wait for room in the ring. A consumer that writes much without regard for credit would see this
    /// grow.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.backlog.len()
    }

    /// Sends what waits, as far as there is room. Returns whether nothing waits any more.
    fn flush(&mut self) -> bool {
        while let Some(command) = self.backlog.pop_front() {
            if let Err(full) = self.end.send(command) {
                self.backlog.push_front(full.command);
                return false;
            }
        }
        true
    }
}

impl fmt::Debug for Commands<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commands({} waiting)", self.waiting())
    }
}

/// Runs a [`Consumer`] at its end, on whichever thread calls it. The engine has one for each consumer that it runs; a
/// program with threads of its own may do the same.
pub struct Runner<C> {
    end: ConsumerEnd,
    consumer: C,
    backlog: VecDeque<Command>,
    batch: ArrayVec<Event, BATCH>,
}

impl<C: Consumer> Runner<C> {
    /// A runner that has not begun.
    #[must_use]
    pub fn new(end: ConsumerEnd, consumer: C) -> Self {
        Self { end, consumer, backlog: VecDeque::new(), batch: ArrayVec::new() }
    }

    /// One round: takes at most 64 events and calls the consumer with each, or with none. Never blocks. Returns how many
    /// there were.
    pub fn turn(&mut self) -> usize {
        let mut commands = Commands { end: &mut self.end, backlog: &mut self.backlog };
        commands.flush();
        let count = commands.end.take(&mut self.batch);
        self.batch.drain(..).for_each(|event| self.consumer.event(event, &mut commands));
        count
    }

    /// Tells the consumer that no event waits, and sleeps until one does, or at most `timeout`. Does not sleep while
    /// commands wait for room.
    pub fn rest(&mut self, timeout: Duration) {
        let mut commands = Commands { end: &mut self.end, backlog: &mut self.backlog };
        self.consumer.idle(&mut commands);
        if commands.flush() {
            self.end.wait(Some(timeout));
        } else {
            thread::yield_now();
        }
    }

    /// Whether no event will come any more, and all were taken.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.end.is_closed()
    }

    /// Runs until no event will come any more: the engine has stopped, the service is gone, or this consumer was given
    /// up. Sleeps when there is nothing to do. Returns the consumer.
    pub fn run(mut self) -> C {
        let mut idle = 0;
        while !self.is_closed() {
            idle = if self.turn() > 0 { 0 } else { idle + 1 };
            if idle == 1 {
                let mut commands = Commands { end: &mut self.end, backlog: &mut self.backlog };
                self.consumer.idle(&mut commands);
            }
            if idle < IDLE_ROUNDS {
                std::hint::spin_loop();
            } else {
                self.rest(NAP);
                idle = 1;
            }
        }
        self.consumer
    }
}

impl<C> fmt::Debug for Runner<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Runner({:?}, {} waiting)", self.end, self.backlog.len())
    }
}
