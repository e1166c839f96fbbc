//! Buffers that a consumer writes into.
//!
//! A consumer has a fixed stock of them. A filled one travels in a command, waits at the worker until the client has
//! acknowledged what is in it, and comes home over a ring of its own, which has room for all of them.

#![forbid(unsafe_code)]

use std::fmt;

use super::ring::{Consumer, Producer, channel};

/// Bytes that a chunk holds: a full segment of a common path. Larger ones waste memory on small answers, smaller ones
/// cost a command each.
pub const CHUNK: usize = 2048;

/// Bytes that a consumer has written, at most [`CHUNK`].
pub struct Chunk {
    room: Box<[u8; CHUNK]>,
    len: u16,
}

impl Chunk {
    fn empty() -> Self {
        Self { room: Box::new([0; CHUNK]), len: 0 }
    }

    /// The bytes.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.room[..usize::from(self.len)]
    }

    /// Adds as many of `bytes` as fit. Returns how many.
    #[inline]
    pub(crate) fn append(&mut self, bytes: &[u8]) -> usize {
        let from = usize::from(self.len);
        let count = bytes.len().min(CHUNK - from);
        self.room[from..from + count].copy_from_slice(&bytes[..count]);
        self.len += count as u16; // no truncation: a chunk is smaller
        count
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes)", self.len)
    }
}

/// A chunk with `bytes` that belongs to no stock.
#[cfg(test)]
pub(crate) fn chunk_of(bytes: &[u8]) -> Chunk {
    let mut chunk = Chunk::empty();
    chunk.append(bytes);
    chunk
}

/// A consumer's chunks, and the way home of those that it does not need any more.
pub(super) fn stock(count: usize) -> (Stock, Producer<Chunk>) {
    let (way, home) = channel(count.max(1));
    let idle = (0..count).map(|_| Chunk::empty()).collect();
    (Stock { idle, home }, way)
}

/// The chunks that are not under way.
pub(super) struct Stock {
    /// Never grows beyond what there were in the beginning.
    idle: Vec<Chunk>,
    home: Consumer<Chunk>,
}

impl Stock {
    /// How many chunks can be taken, at least.
    pub(super) fn count(&self) -> usize {
        self.idle.len() + self.home.len()
    }

    /// A chunk with as many of `bytes` as it holds, if there is one.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> Option<Chunk> {
        if self.idle.is_empty() {
            let Self { idle, home } = self;
            home.drain(usize::MAX, |chunk| idle.push(chunk));
        }
        let mut chunk = self.idle.pop()?;
        chunk.len = 0;
        chunk.append(bytes);
        Some(chunk)
    }

    /// Takes back a chunk that was not sent.
    pub(super) fn put_back(&mut self, chunk: Chunk) {
        self.idle.push(chunk);
    }
}
