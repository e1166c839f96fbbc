//! The way out of one port: frames in order, buffers used again, whatever the port refuses freed and
//! counted.

#![forbid(unsafe_code)]

use usher_proto::neighbor::Cache;
use usher_proto::verdict::Reason;
use usher_proto::wire::{Flags, Link, Mac, Reply, Segment, Tuple, TxChecksums};
use usher_proto::wire::{answer_in_place, emit, header_lens};

use super::share::Share;
use crate::port::{Burst, Frame, QueuePair};
use crate::stats::{Counter, PortCounter, Tally};

/// Next hops that a worker resolves on a port at the same time.
const NEIGHBOURS: usize = 64;

/// The least length of an Ethernet frame, its check sequence left off (IEEE 802.3 §4.2.3.3).
const LEAST_LEN: usize = 60;

/// A frame could not be written or there was no buffer for it.
#[derive(Debug)]
pub(super) struct NoBuffer;

/// A worker's share of a port, with what waits to be sent by it.
pub(super) struct Egress<Q: QueuePair> {
    pub(super) share: Share<Q>,
    /// Whether the hashes of frames that come in here can be used.
    pub(super) hashes: bool,
    /// The port's index.
    port: usize,
    /// In the order in which they will be sent.
    out: Burst<Q::Frame>,
    /// Buffers of frames that are done with: used for what is generated, freed together at the end.
    spare: Burst<Q::Frame>,
    checksums: TxChecksums,
    /// Next hops of frames that answer none, and what waits for them.
    pub(super) neighbours: Cache<Q::Frame, NEIGHBOURS>,
}

impl<Q: QueuePair> Egress<Q> {
    pub(super) fn new(port: usize, share: Share<Q>) -> Self {
        let (checksums, hashes) = (share.tx_checksums(), share.hashes());
        let (out, spare) = (Burst::new(), Burst::new());
        Self { share, hashes, port, out, spare, checksums, neighbours: Cache::default() }
    }

    /// Turns `frame`, which held `seg`, into `reply` and sends it; gives it back if it has no room.
    #[inline]
    pub(super) fn answer(
        &mut self,
        mut frame: Q::Frame,
        seg: &Segment,
        reply: &Reply,
        payload: &[u8],
        tally: &mut Tally,
    ) -> Result<(), NoBuffer> {
        match answer_in_place(frame.room(), seg, reply, payload, self.checksums) {
            Ok(len) => {
                end(&mut frame, len);
                self.request_checksums(&mut frame, &seg.tuple);
                count_flags(reply.flags, tally);
                self.push(frame, tally);
                Ok(())
            }
            Err(_) => {
                self.recycle(frame);
                Err(NoBuffer)
            }
        }
    }

    /// Writes a segment of ours into a buffer of its own.
    pub(super) fn generate(
        &mut self,
        link: &Link,
        tuple: &Tuple,
        reply: &Reply,
        payload: &[u8],
        tally: &mut Tally,
    ) -> Result<Q::Frame, NoBuffer> {
        let mut frame = self.buffer(tally)?;
        match emit(frame.room(), link, tuple, reply, payload, self.checksums) {
            Ok(len) => {
                end(&mut frame, len);
                self.request_checksums(&mut frame, tuple);
                count_flags(reply.flags, tally);
                Ok(frame)
            }
            Err(_) => {
                self.recycle(frame);
                Err(NoBuffer)
            }
        }
    }

    /// Sends whatever `write` writes (it returns the length), if there is a buffer.
    pub(super) fn write<E>(
        &mut self,
        tally: &mut Tally,
        write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) {
        let Ok(mut frame) = self.buffer(tally) else { return };
        match write(frame.room()) {
            Ok(len) => {
                end(&mut frame, len);
                self.push_generated(frame, tally);
            }
            Err(_) => self.recycle(frame),
        }
    }

    /// Sends a frame that answers none.
    pub(super) fn push_generated(&mut self, frame: Q::Frame, tally: &mut Tally) {
        tally.add(Counter::Generated, 1);
        tally.add_port(self.port, PortCounter::Generated, 1);
        self.push(frame, tally);
    }

    /// Sends a frame that is ready.
    #[inline]
    pub(super) fn push(&mut self, frame: Q::Frame, tally: &mut Tally) {
        if self.out.is_full() {
            self.flush(tally);
        }
        self.out.push(frame);
    }

    /// Takes back a frame that is done with.
    #[inline]
    pub(super) fn recycle(&mut self, frame: Q::Frame) {
        if self.spare.is_full() {
            self.share.free(&mut self.spare);
        }
        self.spare.push(frame);
    }

    /// Sends what waits. What the port refuses is freed and counted: TCP sends it again, and holding
    /// it would only delay what comes after it.
    #[inline]
    pub(super) fn flush(&mut self, tally: &mut Tally) {
        let wanted = self.out.len() as u64;
        if wanted == 0 {
            return;
        }
        let is_relayed = self.share.tx(&mut self.out);
        let refused = self.out.len() as u64;
        if is_relayed {
            tally.add(Counter::RelayedOut, wanted - refused);
        } else {
            tally.add(Counter::Sent, wanted - refused);
            tally.add_port(self.port, PortCounter::Sent, wanted - refused);
        }
        if refused > 0 {
            let reason = if is_relayed { Reason::RedirectFull } else { Reason::PortRefused };
            self.refused(refused, reason, tally);
        }
    }

    /// Sends what workers without a queue of this port have to send. Returns how many frames that was.
    pub(super) fn relay(&mut self, tally: &mut Tally) -> usize {
        let mut count = 0;
        for worker in 0..self.share.entrusting() {
            let mut frames = self.share.entrusted(worker);
            count += frames.len();
            for frame in frames.drain(..) {
                self.push(frame, tally);
            }
        }
        tally.add(Counter::RelayedIn, count as u64);
        count
    }

    /// Sends what waits and frees what is done with: the end of a turn.
    #[inline]
    pub(super) fn finish(&mut self, tally: &mut Tally) {
        self.flush(tally);
        if !self.spare.is_empty() {
            self.share.free(&mut self.spare);
        }
    }

    #[cold]
    fn refused(&mut self, refused: u64, reason: Reason, tally: &mut Tally) {
        self.share.free(&mut self.out);
        tally.add(Counter::Refused, refused);
        tally.add_port(self.port, PortCounter::Refused, refused);
        tally.drop_reason(reason, refused);
    }

    /// An empty buffer.
    pub(super) fn buffer(&mut self, tally: &mut Tally) -> Result<Q::Frame, NoBuffer> {
        self.spare.pop().or_else(|| self.share.alloc()).ok_or_else(|| {
            tally.add(Counter::Withheld, 1);
            NoBuffer
        })
    }

    #[inline]
    fn request_checksums(&self, frame: &mut Q::Frame, tuple: &Tuple) {
        if self.checksums != TxChecksums::default() {
            let (l2, l3) = header_lens(tuple);
            frame.request_tx_checksums(self.checksums, l2, l3, tuple.local.is_v4());
        }
    }
}

/// Ends `frame` after `len` bytes, or pads it to the least length: a NIC would, a packet socket does not.
/// With zeros, as the buffer still holds what somebody else sent.
#[inline]
pub(super) fn end(frame: &mut impl Frame, len: usize) {
    let padded = len.max(LEAST_LEN);
    match frame.room().get_mut(len..padded) {
        Some(padding) => {
            padding.fill(0);
            frame.set_len(padded);
        }
        None => frame.set_len(len),
    }
}

/// Addresses a frame that is ready to another station.
pub(super) fn redirect(frame: &mut impl Frame, to: Mac) {
    if let Some(destination) = frame.room().first_chunk_mut() {
        *destination = to.0;
    }
}

/// Counts what operators ask for by name.
#[inline]
fn count_flags(flags: Flags, tally: &mut Tally) {
    if flags.has(Flags::SYN) {
        let is_ours = !flags.has(Flags::ACK);
        tally.add(if is_ours { Counter::Syns } else { Counter::SynAcks }, 1);
    } else if flags.has(Flags::RST) {
        tally.add(Counter::Resets, 1);
    }
}
