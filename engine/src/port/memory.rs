//! A port in memory: deterministic, with a bounded pool whose buffers are all accounted for.
//!
//! The engine holds the [`MemoryPort`] and its queue pairs, a test or a benchmark holds the [`Wire`] at
//! the other end. Nothing is lost silently: a full ring refuses, an empty pool gives nothing. Nothing is
//! allocated after [`new`]. It can complete checksums like a NIC, so that both ways are tested.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use usher_proto::wire::checksum::Sum;
use usher_proto::wire::{Mac, RxChecksums, TxChecksums};

use super::{Burst, Frame, Pool as _, Port, PortError, PortStats, QueuePair};

/// What a memory port is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// The port's MAC.
    pub mac: Mac,
    /// The largest IP packet, in bytes.
    pub mtu: u16,
    /// Queue pairs.
    pub queues: usize,
    /// Buffers of the pool, shared by both ends.
    pub buffers: usize,
    /// Frames that each queue holds in each direction.
    pub ring: usize,
    /// Checksums that the port completes when it sends.
    pub tx_checksums: TxChecksums,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mac: Mac([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            queues: 1,
            buffers: 1024,
            ring: 256,
            tx_checksums: TxChecksums::default(),
        }
    }
}

/// Makes a port and the wire at its other end.
#[must_use]
pub fn new(name: &str, options: &Options) -> (MemoryPort, Wire) {
    let room = usize::from(options.mtu) + ENVELOPE;
    let buffers = (0..options.buffers).map(|_| Box::new(Buffer::new(room))).collect();
    let pool = MemoryPool(Arc::new(Buffers { free: Mutex::new(buffers), total: options.buffers }));
    let lanes: Vec<_> = (0..options.queues).map(|_| Lane::new(options.ring)).collect();
    let wire = Wire { pool: pool.clone(), lanes: lanes.clone() };
    (MemoryPort { name: name.to_owned(), options: *options, pool, lanes, missed: 0 }, wire)
}

/// Room for an Ethernet header and a VLAN tag beside the MTU.
const ENVELOPE: usize = 18;

/// The engine's end.
#[derive(Debug)]
pub struct MemoryPort {
    name: String,
    options: Options,
    pool: MemoryPool,
    lanes: Vec<Lane>,
    missed: u64,
}

impl Port for MemoryPort {
    type Queue = MemoryQueue;

    fn name(&self) -> &str {
        &self.name
    }

    fn mac(&self) -> Mac {
        self.options.mac
    }

    fn mtu(&self) -> u16 {
        self.options.mtu
    }

    fn start(&mut self) -> Result<Vec<MemoryQueue>, PortError> {
        let queue = |lane: &Lane| MemoryQueue {
            pool: self.pool.clone(),
            lane: lane.clone(),
            tx_checksums: self.options.tx_checksums,
        };
        Ok(self.lanes.iter().map(queue).collect())
    }

    fn is_link_up(&self) -> bool {
        true
    }

    fn stats(&self) -> PortStats {
        PortStats { missed: self.missed, ..PortStats::default() }
    }
}

/// A worker's share of a memory port.
#[derive(Debug)]
pub struct MemoryQueue {
    pool: MemoryPool,
    lane: Lane,
    tx_checksums: TxChecksums,
}

impl QueuePair for MemoryQueue {
    type Frame = MemoryFrame;
    type Pool = MemoryPool;

    fn pool(&self) -> MemoryPool {
        self.pool.clone()
    }

    fn rx(&mut self, into: &mut Burst<MemoryFrame>) {
        let mut arrived = self.lane.rx.lock();
        let count = arrived.len().min(into.remaining_capacity());
        into.extend(arrived.drain(..count));
    }

    fn tx(&mut self, frames: &mut Burst<MemoryFrame>) {
        let mut leaving = self.lane.tx.lock();
        let count = frames.len().min(self.lane.tx.capacity - leaving.len());
        if self.tx_checksums != TxChecksums::default() {
            frames.iter_mut().take(count).for_each(MemoryFrame::complete);
        }
        leaving.extend(frames.drain(..count));
    }

    fn alloc(&mut self) -> Option<MemoryFrame> {
        self.pool.alloc()
    }

    fn free(&mut self, frames: &mut Burst<MemoryFrame>) {
        self.pool.free(frames);
    }

    fn tx_checksums(&self) -> TxChecksums {
        self.tx_checksums
    }
}

/// A handle to a memory port's pool.
#[derive(Clone, Debug)]
pub struct MemoryPool(Arc<Buffers>);

impl super::Pool for MemoryPool {
    type Frame = MemoryFrame;

    fn alloc(&mut self) -> Option<MemoryFrame> {
        Buffers::take(&self.0)
    }

    fn free(&mut self, frames: &mut Burst<MemoryFrame>) {
        if !frames.is_empty() {
            let mut free = lock(&self.0.free);
            free.extend(frames.iter_mut().filter_map(MemoryFrame::take));
            drop(free);
            frames.clear();
        }
    }
}

/// The other end of a memory port.
#[derive(Clone, Debug)]
pub struct Wire {
    pool: MemoryPool,
    lanes: Vec<Lane>,
}

impl Wire {
    /// Sends `bytes` into `queue`; `false` if the ring is full, the pool empty or the frame too long.
    pub fn send(&self, queue: usize, bytes: &[u8]) -> bool {
        self.send_checked(queue, bytes, RxChecksums::default())
    }

    /// The same with the device's word on the checksums.
    pub fn send_checked(&self, queue: usize, bytes: &[u8], checksums: RxChecksums) -> bool {
        let Some(mut frame) =
            Buffers::take(&self.pool.0).filter(|f| f.buffer().bytes.len() >= bytes.len())
        else {
            return false;
        };
        frame.room()[..bytes.len()].copy_from_slice(bytes);
        frame.set_len(bytes.len());
        frame.buffer_mut().rx_checksums = checksums;
        self.give(queue, frame).is_ok()
    }

    /// The port's pool.
    #[must_use]
    pub fn pool(&self) -> MemoryPool {
        self.pool.clone()
    }

    /// A buffer of the port's pool, for whoever writes frames in place.
    #[must_use]
    pub fn alloc(&self) -> Option<MemoryFrame> {
        Buffers::take(&self.pool.0)
    }

    /// Moves a frame into `queue`.
    ///
    /// # Errors
    /// Gives the frame back if the ring is full.
    pub fn give(&self, queue: usize, frame: MemoryFrame) -> Result<(), MemoryFrame> {
        let ring = &self.lanes[queue].rx;
        let mut arrived = ring.lock();
        if arrived.len() == ring.capacity {
            return Err(frame);
        }
        arrived.push_back(frame);
        Ok(())
    }

    /// Moves frames into `queue`, from the front, and leaves those that its ring has no room for.
    pub fn give_burst(&self, queue: usize, frames: &mut Burst<MemoryFrame>) {
        let ring = &self.lanes[queue].rx;
        let mut arrived = ring.lock();
        let count = frames.len().min(ring.capacity - arrived.len());
        arrived.extend(frames.drain(..count));
    }

    /// The next frame that `queue` sent.
    #[must_use]
    pub fn receive(&self, queue: usize) -> Option<MemoryFrame> {
        self.lanes[queue].tx.lock().pop_front()
    }

    /// The next frames that `queue` sent, as far as `into` has room.
    pub fn receive_burst(&self, queue: usize, into: &mut Burst<MemoryFrame>) {
        let mut sent = self.lanes[queue].tx.lock();
        let count = sent.len().min(into.remaining_capacity());
        into.extend(sent.drain(..count));
    }

    /// Buffers that are in the pool at this moment.
    #[must_use]
    pub fn free_buffers(&self) -> usize {
        lock(&self.pool.0.free).len()
    }

    /// Buffers that exist.
    #[must_use]
    pub fn total_buffers(&self) -> usize {
        self.pool.0.total
    }

    /// Frames that wait in the rings, both ways.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.lanes.iter().map(|lane| lane.rx.lock().len() + lane.tx.lock().len()).sum()
    }
}

/// One frame in one buffer of a memory port: a pointer, as cheap to move as a device's.
#[derive(Debug)]
pub struct MemoryFrame {
    /// Taken when the frame is dropped, and only then.
    buffer: Option<Box<Buffer>>,
}

#[derive(Debug)]
struct Buffer {
    bytes: Box<[u8]>,
    len: usize,
    rx_checksums: RxChecksums,
    completion: Option<Completion>,
    /// Where it goes back to, while it is not there.
    home: Option<Arc<Buffers>>,
}

impl Buffer {
    fn new(room: usize) -> Self {
        Self {
            bytes: vec![0; room].into_boxed_slice(),
            len: 0,
            rx_checksums: RxChecksums::default(),
            completion: None,
            home: None,
        }
    }
}

impl MemoryFrame {
    fn buffer(&self) -> &Buffer {
        self.buffer.as_ref().expect("a frame has its buffer until it is dropped")
    }

    fn buffer_mut(&mut self) -> &mut Buffer {
        self.buffer.as_mut().expect("a frame has its buffer until it is dropped")
    }

    /// Computes what was requested, as a NIC would when it sends.
    fn complete(&mut self) {
        let Buffer { bytes, len, completion, .. } = self.buffer_mut();
        if let Some(completion) = completion.take() {
            completion.carry_out(&mut bytes[..*len]);
        }
    }

    /// Its buffer, on its way home.
    fn take(&mut self) -> Option<Box<Buffer>> {
        let mut buffer = self.buffer.take()?;
        buffer.home = None;
        Some(buffer)
    }
}

impl Frame for MemoryFrame {
    #[inline]
    fn bytes(&self) -> &[u8] {
        let buffer = self.buffer();
        &buffer.bytes[..buffer.len]
    }

    #[inline]
    fn room(&mut self) -> &mut [u8] {
        &mut self.buffer_mut().bytes
    }

    #[inline]
    fn set_len(&mut self, len: usize) {
        let buffer = self.buffer_mut();
        assert!(len <= buffer.bytes.len(), "a frame longer than its buffer");
        buffer.len = len;
    }

    #[inline]
    fn rx_checksums(&self) -> RxChecksums {
        self.buffer().rx_checksums
    }

    fn request_tx_checksums(&mut self, wanted: TxChecksums, l2: usize, l3: usize, v4: bool) {
        self.buffer_mut().completion = Some(Completion { wanted, l2, l3, v4 });
    }
}

impl Drop for MemoryFrame {
    #[inline]
    fn drop(&mut self) {
        if let Some(mut buffer) = self.buffer.take() {
            let home = buffer.home.take();
            home.inspect(|home| lock(&home.free).push(buffer));
        }
    }
}

/// Checksums that are completed when the frame is sent.
#[derive(Clone, Copy, Debug)]
struct Completion {
    wanted: TxChecksums,
    l2: usize,
    l3: usize,
    v4: bool,
}

impl Completion {
    fn carry_out(&self, frame: &mut [u8]) {
        let (header, segment) = frame[self.l2..].split_at_mut(self.l3);
        if self.wanted.ip && self.v4 {
            put(header, 10);
        }
        if self.wanted.l4 {
            put(segment, 16);
        }
    }
}

/// Writes the checksum of `bytes` at `offset`, where its own start value stands.
fn put(bytes: &mut [u8], offset: usize) {
    let checksum = Sum::default().bytes(bytes).checksum();
    bytes[offset..offset + 2].copy_from_slice(zerocopy::IntoBytes::as_bytes(&checksum));
}

/// The buffers of a port that are not in use.
#[derive(Debug)]
struct Buffers {
    #[expect(clippy::vec_box, reason = "a frame carries the box, which must not be made anew")]
    free: Mutex<Vec<Box<Buffer>>>,
    total: usize,
}

impl Buffers {
    fn take(pool: &Arc<Self>) -> Option<MemoryFrame> {
        let mut buffer = lock(&pool.free).pop()?;
        (buffer.len, buffer.rx_checksums) = (0, RxChecksums::default());
        (buffer.completion, buffer.home) = (None, Some(Arc::clone(pool)));
        Some(MemoryFrame { buffer: Some(buffer) })
    }
}

/// Both directions of a queue pair.
#[derive(Clone, Debug)]
struct Lane {
    rx: Ring,
    tx: Ring,
}

impl Lane {
    fn new(capacity: usize) -> Self {
        Self { rx: Ring::new(capacity), tx: Ring::new(capacity) }
    }
}

/// Frames on their way.
#[derive(Clone, Debug)]
struct Ring {
    frames: Arc<Mutex<VecDeque<MemoryFrame>>>,
    capacity: usize,
}

impl Ring {
    fn new(capacity: usize) -> Self {
        Self { frames: Arc::new(Mutex::new(VecDeque::with_capacity(capacity))), capacity }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<MemoryFrame>> {
        lock(&self.frames)
    }
}

/// Locks; a test that panicked elsewhere does not matter here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(options: &Options) -> (MemoryQueue, Wire) {
        let (mut port, wire) = new("m", options);
        (port.start().unwrap().remove(0), wire)
    }

    #[test]
    fn frames_cross_both_ways_and_buffers_come_home() {
        let (mut queue, wire) = port(&Options::default());
        assert!(wire.send(0, b"there"));
        let mut burst = Burst::new();
        queue.rx(&mut burst);
        assert_eq!(burst[0].bytes(), b"there");
        burst[0].room()[..4].copy_from_slice(b"back");
        burst[0].set_len(4);
        queue.tx(&mut burst);
        assert!(burst.is_empty());
        assert_eq!(wire.receive(0).unwrap().bytes(), b"back");
        assert_eq!(wire.free_buffers(), wire.total_buffers());
    }

    #[test]
    fn a_full_ring_and_an_empty_pool_refuse() {
        let (mut queue, wire) = port(&Options { ring: 1, buffers: 2, ..Options::default() });
        let mut burst: Burst<_> = (0..2).filter_map(|_| queue.alloc()).collect();
        assert!(queue.alloc().is_none() && !wire.send(0, b"x"));
        queue.tx(&mut burst);
        assert_eq!(burst.len(), 1);
        queue.free(&mut burst);
        assert_eq!((wire.free_buffers(), wire.in_flight()), (1, 1));
        drop(wire.receive(0));
        let mut both: Burst<_> = (0..2).filter_map(|_| wire.alloc()).collect();
        wire.give_burst(0, &mut both);
        assert_eq!((both.len(), wire.in_flight()), (1, 1));
        both.clear();
        queue.rx(&mut burst);
        queue.tx(&mut burst);
        assert!(wire.send(0, b"x") && !wire.send(0, b"y"));
    }

    #[test]
    fn requested_checksums_are_completed_on_the_way_out() {
        let tx_checksums = TxChecksums { ip: true, l4: true };
        let (mut queue, wire) = port(&Options { tx_checksums, ..Options::default() });
        let mut frame = queue.alloc().unwrap();
        frame.room()[..54].fill(0x11);
        frame.set_len(54);
        frame.request_tx_checksums(tx_checksums, 14, 20, true);
        queue.tx(&mut [frame].into_iter().collect());
        let sent = wire.receive(0).unwrap();
        assert_ne!(&sent.bytes()[24..26], [0x11; 2]);
        assert_ne!(&sent.bytes()[50..52], [0x11; 2]);
    }
}
