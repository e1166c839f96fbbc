//! A worker's share of a port: a queue pair, or a way to a worker that has one.

#![forbid(unsafe_code)]

use usher_proto::wire::TxChecksums;

use crate::handoff::{Consumer, Producer, channel};
use crate::port::{Burst, Pool, PortError, QueuePair};

/// Frames on their way to the worker that sends them: as many as a transmit ring holds, and for the same reason.
const RING: usize = 1024;

/// A worker's share of a port. Every worker has one of every port, so that each can answer for its flows, wherever
/// their frames come in and go out.
pub struct Share<Q: QueuePair>(Way<Q>);

enum Way<Q: QueuePair> {
    /// A queue pair, and what workers without one have to send.
    Queue { queue: Q, entrusted: Box<[Consumer<Q::Frame>]> },
    /// The port's buffers, and the ring to a worker with a queue pair.
    Ring { pool: Q::Pool, ring: Producer<Q::Frame>, tx_checksums: TxChecksums },
}

impl<Q: QueuePair> Share<Q> {
    /// Shares of a port with these queue pairs for so many workers. The first workers have the queue pairs; the others
    /// send by theirs, in turns.
    ///
    /// # Panics
    ///
    /// If there is no queue pair.
    #[must_use]
    pub fn deal(queues: Vec<Q>, workers: u16) -> Vec<Self> {
        let workers = usize::from(workers);
        let mut consumers: Vec<Vec<_>> = queues.iter().map(|_| Vec::new()).collect();
        let without = (queues.len()..workers).map(|worker| {
            let with = &queues[worker % queues.len()];
            let (ring, consumer) = channel(RING);
            consumers[worker % queues.len()].push(consumer);
            let (pool, tx_checksums) = (with.pool(), with.tx_checksums());
            Self(Way::Ring { pool, ring, tx_checksums })
        });
        let without: Vec<_> = without.collect();
        let with = queues.into_iter().zip(consumers).map(|(queue, consumers)| {
            Self(Way::Queue { queue, entrusted: consumers.into_boxed_slice() })
        });
        with.take(workers).chain(without).collect()
    }

    /// The queue pair, if it is one.
    pub(super) fn queue(&mut self) -> Option<&mut Q> {
        match &mut self.0 {
            Way::Queue { queue, .. } => Some(queue),
            Way::Ring { .. } => None,
        }
    }

    /// As [`QueuePair::on_thread`].
    pub(super) fn on_thread(&mut self) -> Result<(), PortError> {
        match &mut self.0 {
            Way::Queue { queue, .. } => queue.on_thread(),
            Way::Ring { pool, .. } => pool.on_thread(),
        }
    }

    /// As [`QueuePair::off_thread`].
    pub(super) fn off_thread(&mut self) {
        match &mut self.0 {
            Way::Queue { queue, .. } => queue.off_thread(),
            Way::Ring { pool, .. } => pool.off_thread(),
        }
    }

    /// As [`QueuePair::rx`]; nothing arrives without a queue.
    #[inline]
    pub(super) fn rx(&mut self, into: &mut Burst<Q::Frame>) {
        if let Way::Queue { queue, .. } = &mut self.0 {
            queue.rx(into);
        }
    }

    /// Sends from the front and leaves what was refused. Returns whether it went to another worker, that is to send it.
    #[inline]
    pub(super) fn tx(&mut self, frames: &mut Burst<Q::Frame>) -> bool {
        match &mut self.0 {
            Way::Queue { queue, .. } => queue.tx(frames),
            Way::Ring { ring, .. } => {
                ring.push(frames);
                return true;
            }
        }
        false
    }

    /// How many workers send by this queue pair, beside its own.
    #[inline]
    pub(super) fn entrusting(&self) -> usize {
        match &self.0 {
            Way::Queue { entrusted, .. } => entrusted.len(),
            Way::Ring { .. } => 0,
        }
    }

    /// Up to a burst of what the `nth` of them has to send.
    pub(super) fn entrusted(&mut self, nth: usize) -> Burst<Q::Frame> {
        let mut frames = Burst::new();
        if let Way::Queue { entrusted, .. } = &mut self.0 {
            entrusted[nth].pop(&mut frames);
        }
        frames
    }

    /// As [`QueuePair::alloc`].
    #[inline]
    pub(super) fn alloc(&mut self) -> Option<Q::Frame> {
        match &mut self.0 {
            Way::Queue { queue, .. } => queue.alloc(),
            Way::Ring { pool, .. } => pool.alloc(),
        }
    }

    /// As [`QueuePair::free`].
    #[inline]
    pub(super) fn free(&mut self, frames: &mut Burst<Q::Frame>) {
        match &mut self.0 {
            Way::Queue { queue, .. } => queue.free(frames),
            Way::Ring { pool, .. } => pool.free(frames),
        }
    }

    /// As [`QueuePair::tx_checksums`], of the queue pair that sends.
    pub(super) fn tx_checksums(&self) -> TxChecksums {
        match &self.0 {
            Way::Queue { queue, .. } => queue.tx_checksums(),
            Way::Ring { tx_checksums, .. } => *tx_checksums,
        }
    }

    /// As [`QueuePair::hashes`].
    pub(super) fn hashes(&self) -> bool {
        matches!(&self.0, Way::Queue { queue, .. } if queue.hashes())
    }
}
