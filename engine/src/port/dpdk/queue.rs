//! A worker's share of a DPDK port.

use dpdk::{Checked as Word, Eal, Mbuf, Mempool, Offloads, RxQueue, TxQueue};
use usher_proto::wire::{Checked, RxChecksums, TxChecksums};

use super::super::{BURST, Burst, Frame, Pool, PortError, QueuePair};

/// A receive and a transmit queue.
#[derive(Debug)]
pub struct DpdkQueue {
    rx: RxQueue,
    tx: TxQueue,
    pool: DpdkPool,
    /// Whether the device's hashes are by our key.
    hashes: bool,
}

/// A port's pool, as one worker uses it.
#[derive(Debug)]
pub struct DpdkPool {
    /// Empty between calls: frames on their way between DPDK's array and the worker's.
    passing: dpdk::Burst<BURST>,
    pool: Mempool,
    eal: Eal,
}

impl DpdkQueue {
    pub(super) fn new(
        eal: &Eal,
        pool: &Mempool,
        (rx, tx): (RxQueue, TxQueue),
        hashes: bool,
    ) -> Self {
        Self { rx, tx, pool: DpdkPool::new(eal, pool), hashes }
    }
}

impl DpdkPool {
    fn new(eal: &Eal, pool: &Mempool) -> Self {
        Self { passing: dpdk::Burst::new(), pool: pool.clone(), eal: eal.clone() }
    }

    #[inline]
    fn take(&mut self, frames: &mut Burst<DpdkFrame>) {
        for frame in frames.drain(..) {
            let refused = self.passing.push(frame.0);
            debug_assert!(refused.is_ok(), "both arrays hold a burst");
        }
    }
}

impl Pool for DpdkPool {
    type Frame = DpdkFrame;

    /// Makes DPDK know the worker, without which each buffer would cost atomic operations on the shared pool.
    fn on_thread(&mut self) -> Result<(), PortError> {
        self.eal.register_thread()?;
        if !self.pool.has_cache_here() {
            return Err(
                "a worker's thread has no cache of packet buffers; raise dpdk.mbufs_per_port"
                    .into(),
            );
        }
        Ok(())
    }

    fn off_thread(&mut self) {
        self.eal.unregister_thread();
    }

    #[inline]
    fn alloc(&mut self) -> Option<DpdkFrame> {
        self.pool.alloc().map(DpdkFrame)
    }

    #[inline]
    fn free(&mut self, frames: &mut Burst<DpdkFrame>) {
        self.take(frames);
        self.passing.clear();
    }
}

impl QueuePair for DpdkQueue {
    type Frame = DpdkFrame;
    type Pool = DpdkPool;

    fn pool(&self) -> DpdkPool {
        DpdkPool::new(&self.pool.eal, &self.pool.pool)
    }

    fn hashes(&self) -> bool {
        self.hashes
    }

    fn on_thread(&mut self) -> Result<(), PortError> {
        self.pool.on_thread()
    }

    fn off_thread(&mut self) {
        self.pool.off_thread();
    }

    #[inline]
    fn rx(&mut self, into: &mut Burst<DpdkFrame>) {
        self.rx.rx_at_most(&mut self.pool.passing, into.remaining_capacity());
        let DpdkPool { passing, pool, .. } = &mut self.pool;
        let whole = |mbuf: Mbuf| if mbuf.is_whole() { mbuf } else { joined(mbuf, pool) };
        into.extend(passing.drain().map(whole).map(DpdkFrame));
    }

    #[inline]
    fn tx(&mut self, frames: &mut Burst<DpdkFrame>) {
        self.pool.take(frames);
        self.tx.tx(&mut self.pool.passing);
        frames.extend(self.pool.passing.drain().map(DpdkFrame));
    }

    #[inline]
    fn alloc(&mut self) -> Option<DpdkFrame> {
        self.pool.alloc()
    }

    #[inline]
    fn free(&mut self, frames: &mut Burst<DpdkFrame>) {
        self.pool.free(frames);
    }

    fn tx_checksums(&self) -> TxChecksums {
        let Offloads { tx_ipv4, tx_tcp, .. } = self.tx.offloads();
        TxChecksums { ip: tx_ipv4, l4: tx_tcp }
    }
}

/// A frame of several buffers in one: its first, or one of ours where that has no room. As it came if neither holds it.
#[cold]
fn joined(mut mbuf: Mbuf, pool: &Mempool) -> Mbuf {
    if mbuf.linearise() { mbuf } else { pool.copy(&mbuf).unwrap_or(mbuf) }
}

/// A frame in a buffer of DPDK's.
#[derive(Debug)]
pub struct DpdkFrame(pub(super) Mbuf);

impl Frame for DpdkFrame {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    #[inline]
    fn room(&mut self) -> &mut [u8] {
        self.0.room()
    }

    #[inline]
    fn set_len(&mut self, len: usize) {
        self.0.set_len(len);
    }

    #[inline]
    fn is_whole(&self) -> bool {
        self.0.is_whole()
    }

    #[inline]
    fn rx_checksums(&self) -> RxChecksums {
        RxChecksums { ip: checked(self.0.ip_checksum()), l4: checked(self.0.l4_checksum()) }
    }

    #[inline]
    fn flow_hash(&self) -> Option<u32> {
        self.0.rss_hash()
    }

    #[inline]
    fn request_tx_checksums(&mut self, wanted: TxChecksums, l2: usize, l3: usize, v4: bool) {
        if wanted.ip || wanted.l4 {
            self.0.request_checksums(wanted.ip, wanted.l4, l2, l3, v4);
        } else {
            self.0.clear_flags();
        }
    }
}

fn checked(word: Word) -> Checked {
    match word {
        Word::Good => Checked::Good,
        Word::Unfinished => Checked::Unfinished,
        Word::Bad => Checked::Bad,
        Word::Unknown => Checked::Unknown,
    }
}
