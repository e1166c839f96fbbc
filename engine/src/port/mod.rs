//! Devices that frames come in by and go out of.
//!
//! The traits are what a worker needs of a device and nothing more: [`Port`] is configured and started
//! by the engine's thread, a [`QueuePair`] is one worker's share of it, a [`Frame`] is one buffer. No
//! decision is made here. A port allocates everything when it starts and nothing afterwards.

use std::error::Error;

use arrayvec::ArrayVec;
use usher_proto::neighbor::group_of;
use usher_proto::wire::{Addr, Mac, RxChecksums, TxChecksums};

pub use self::spread::{ENTRIES, Spread};

#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod memory;
pub mod pcap;
mod spread;

/// Frames of one receive or transmit call. 32 is what DPDK's vector drivers take at once: fewer costs
/// calls and shortens the prefetch distance, more overflows the first cache.
pub const BURST: usize = 32;

/// Frames on their way, in order.
pub type Burst<F> = ArrayVec<F, BURST>;

/// Why a port could not be opened or started: one sentence, and what to do.
pub type PortError = Box<dyn Error + Send + Sync>;

/// One frame in one buffer of the port's pool, to which it goes back when it is dropped. What a device delivers in
/// several, the port joins, where one holds it.
pub trait Frame: Send + 'static {
    /// The frame, from the destination MAC on.
    fn bytes(&self) -> &[u8];

    /// The whole room that the frame may grow into; it begins with the frame.
    fn room(&mut self) -> &mut [u8];

    /// Sets the frame's length, at most that of [`Self::room`].
    fn set_len(&mut self, len: usize);

    /// Whether the frame lies in this one buffer; if not, [`Self::bytes`] is only its beginning.
    fn is_whole(&self) -> bool {
        true
    }

    /// The device's word on the checksums of a received frame.
    fn rx_checksums(&self) -> RxChecksums;

    /// The device's hash of a received frame's addresses and TCP ports, if it made one. Whether it is that of
    /// `toeplitz::symmetric` is for [`QueuePair::hashes`] to say.
    fn flow_hash(&self) -> Option<u32> {
        None
    }

    /// Asks the device to complete `wanted` when it sends: the frame has an envelope of `l2` bytes and
    /// an IP header of `l3` bytes, version 4 if `v4`. The TCP checksum field holds the pseudo-header's sum.
    fn request_tx_checksums(&mut self, wanted: TxChecksums, l2: usize, l3: usize, v4: bool);
}

/// One receive and one transmit queue: a worker's share of a port. It belongs to one thread at a time.
pub trait QueuePair: Send {
    /// Its buffers.
    type Frame: Frame;

    /// The pool that they come from.
    type Pool: Pool<Frame = Self::Frame>;

    /// A handle to the pool, for a worker that has no queue pair of this port.
    fn pool(&self) -> Self::Pool;

    /// Whether [`Frame::flow_hash`] of the frames received here is `toeplitz::symmetric`'s hash: the device says that it
    /// has its key.
    fn hashes(&self) -> bool {
        false
    }

    /// Called once on the worker's thread before anything else: whatever the device needs to know of it.
    ///
    /// # Errors
    /// When the device cannot be used from this thread.
    fn on_thread(&mut self) -> Result<(), PortError> {
        Ok(())
    }

    /// Called once on the worker's thread after everything else.
    fn off_thread(&mut self) {}

    /// Appends what has arrived, as far as `into` has room.
    fn rx(&mut self, into: &mut Burst<Self::Frame>);

    /// Sends from the front and leaves what was refused.
    fn tx(&mut self, frames: &mut Burst<Self::Frame>);

    /// An empty frame, if the pool has one.
    fn alloc(&mut self) -> Option<Self::Frame>;

    /// Gives frames back to their pool, all at once where that is cheaper than one by one.
    fn free(&mut self, frames: &mut Burst<Self::Frame>) {
        frames.clear();
    }

    /// Which checksums the device completes when it sends.
    fn tx_checksums(&self) -> TxChecksums {
        TxChecksums::default()
    }
}

/// A port's pool of buffers, as a worker uses it that has no queue pair of the port. It belongs to one thread at a time.
pub trait Pool: Send {
    /// Its buffers.
    type Frame: Frame;

    /// As [`QueuePair::on_thread`].
    ///
    /// # Errors
    /// When the pool cannot be used from this thread.
    fn on_thread(&mut self) -> Result<(), PortError> {
        Ok(())
    }

    /// As [`QueuePair::off_thread`].
    fn off_thread(&mut self) {}

    /// An empty frame, if there is one.
    fn alloc(&mut self) -> Option<Self::Frame>;

    /// Gives frames back, all at once where that is cheaper than one by one.
    fn free(&mut self, frames: &mut Burst<Self::Frame>) {
        frames.clear();
    }
}

/// What a device counts by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortStats {
    /// Frames received.
    pub received: u64,
    /// Frames sent.
    pub sent: u64,
    /// Frames lost because the receive queues were full.
    pub missed: u64,
    /// Frames lost because no buffer was free.
    pub no_buffer: u64,
    /// Frames received with errors of layer 1 or 2.
    pub errors: u64,
}

/// A device.
pub trait Port: Send {
    /// A worker's share of it.
    type Queue: QueuePair;

    /// The name it has in the configuration.
    fn name(&self) -> &str;

    /// The driver of its device in DPDK's spelling; empty where there is none.
    fn driver(&self) -> &str {
        ""
    }

    /// Its MAC.
    fn mac(&self) -> Mac;

    /// The largest IP packet, in bytes.
    fn mtu(&self) -> u16;

    /// Starts it and hands out its queue pairs, one for each of the first workers. Called once.
    ///
    /// # Errors
    /// When the device does not start.
    fn start(&mut self) -> Result<Vec<Self::Queue>, PortError>;

    /// Lets frames for these multicast groups through and no longer those for earlier ones, where the device
    /// filters.
    fn join(&mut self, groups: &[Mac]) {
        let _ = groups;
    }

    /// Whether there is a carrier.
    fn is_link_up(&self) -> bool;

    /// What it has counted.
    fn stats(&self) -> PortStats;
}

/// The groups that neighbour discovery asks and tells us by: each address's own (RFC 4291 §2.7.1) and all nodes.
pub fn groups_of(addresses: impl IntoIterator<Item = Addr>) -> Vec<Mac> {
    let mut groups: Vec<Mac> = addresses.into_iter().filter_map(|addr| group_of(&addr)).collect();
    if !groups.is_empty() {
        groups.push(Mac([0x33, 0x33, 0, 0, 0, 1]));
    }
    groups.sort_unstable_by_key(|group| group.0);
    groups.dedup();
    groups
}
