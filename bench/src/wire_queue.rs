//! The other end of a memory port as a queue pair: a client's share of the wire.

use usher::port::memory::{MemoryFrame, MemoryPool, Wire};
use usher::port::{Burst, QueuePair};

/// One queue of a memory port, seen from outside.
#[derive(Clone, Debug)]
pub struct WireQueue {
    wire: Wire,
    queue: usize,
}

impl WireQueue {
    /// The other end of this queue.
    #[must_use]
    pub const fn new(wire: Wire, queue: usize) -> Self {
        Self { wire, queue }
    }
}

impl QueuePair for WireQueue {
    type Frame = MemoryFrame;
    type Pool = MemoryPool;

    fn pool(&self) -> MemoryPool {
        self.wire.pool()
    }

    fn rx(&mut self, into: &mut Burst<MemoryFrame>) {
        self.wire.receive_burst(self.queue, into);
    }

    fn tx(&mut self, frames: &mut Burst<MemoryFrame>) {
        self.wire.give_burst(self.queue, frames);
    }

    fn alloc(&mut self) -> Option<MemoryFrame> {
        self.wire.alloc()
    }
}
