//! Receive and transmit queues: the packet path. Calls go through DPDK's function table, as its own inline functions do.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use dpdk_sys as sys;

use crate::port::Device;
use crate::{Burst, Mempool, Offloads};

/// A receive queue. It may move between threads, but only one uses it at a time.
#[derive(Debug)]
pub struct RxQueue(Queue);

/// A transmit queue. It may move between threads, but only one uses it at a time.
#[derive(Debug)]
pub struct TxQueue(Queue);

#[derive(Debug)]
struct Queue {
    /// Keeps the port started.
    device: Arc<Device>,
    pool: Mempool,
    offloads: Offloads,
    index: usize,
    not_sync: PhantomData<Cell<()>>,
}

impl RxQueue {
    /// # Safety
    /// The port must be started with this queue, and this be the only handle to it.
    pub(crate) unsafe fn new(
        device: &Arc<Device>,
        pool: &Mempool,
        offloads: Offloads,
        index: u16,
    ) -> Self {
        Self(Queue::new(device, pool, offloads, index))
    }

    /// Appends what has arrived, as far as the burst has room, and says how many that was.
    #[inline]
    pub fn rx<const N: usize>(&mut self, burst: &mut Burst<N>) -> usize {
        self.rx_at_most(burst, N)
    }

    /// As [`Self::rx`], but appends no more than `most`.
    #[inline]
    pub fn rx_at_most<const N: usize>(&mut self, burst: &mut Burst<N>, most: usize) -> usize {
        let ops = self.0.ops();
        let Some(call) = ops.rx_pkt_burst else { return 0 };
        let spare = burst.spare();
        let most = most.min(spare.len());
        let spare = &mut spare[..most];
        let room = u16::try_from(spare.len()).unwrap_or(u16::MAX);
        // SAFETY: the table's array of queues has one entry for every queue that the port was configured with.
        let entry = unsafe { ops.rxq.data.add(self.0.index) };
        // SAFETY: as above; nobody writes it while the port is started.
        let queue = unsafe { *entry };
        // SAFETY: the port is started, no other thread uses the queue, and there are `room` slots to fill.
        let received = usize::from(unsafe { call(queue, spare.as_mut_ptr(), room) });
        // SAFETY: the driver filled so many slots with buffers and gave them up.
        unsafe { burst.grow(received) };
        received
    }

    /// What the device does for received frames.
    #[must_use]
    pub fn offloads(&self) -> Offloads {
        self.0.offloads
    }

    /// The pool that received frames come from.
    #[must_use]
    pub fn pool(&self) -> &Mempool {
        &self.0.pool
    }
}

impl TxQueue {
    /// # Safety
    /// The port must be started with this queue, and this be the only handle to it.
    pub(crate) unsafe fn new(
        device: &Arc<Device>,
        pool: &Mempool,
        offloads: Offloads,
        index: u16,
    ) -> Self {
        Self(Queue::new(device, pool, offloads, index))
    }

    /// Sends from the front, says how many were taken, and leaves the others in the burst.
    #[inline]
    pub fn tx<const N: usize>(&mut self, burst: &mut Burst<N>) -> usize {
        let ops = self.0.ops();
        let Some(call) = ops.tx_pkt_burst else { return 0 };
        let held = burst.held();
        let count = u16::try_from(held.len()).unwrap_or(u16::MAX);
        // SAFETY: the table's array of queues has one entry for every queue that the port was configured with.
        let entry = unsafe { ops.txq.data.add(self.0.index) };
        // SAFETY: as above; nobody writes it while the port is started.
        let queue = unsafe { *entry };
        // SAFETY: the port is started, no other thread uses the queue, and `count` slots hold buffers of ours.
        let sent = usize::from(unsafe { call(queue, held.as_mut_ptr(), count) });
        burst.taken(sent);
        sent
    }

    /// What the device does for frames to be sent.
    #[must_use]
    pub fn offloads(&self) -> Offloads {
        self.0.offloads
    }
}

impl Queue {
    fn new(device: &Arc<Device>, pool: &Mempool, offloads: Offloads, index: u16) -> Self {
        Self {
            device: Arc::clone(device),
            pool: pool.clone(),
            offloads,
            index: usize::from(index),
            not_sync: PhantomData,
        }
    }

    /// The port's row of the table. It is written by start and stop only, and the port stays started while a queue
    /// lives. (Callbacks, which `rte_eth_rx_burst` also looks for there, are never added by us.)
    #[inline]
    fn ops(&self) -> &sys::rte_eth_fp_ops {
        let table = (&raw const sys::rte_eth_fp_ops).cast::<sys::rte_eth_fp_ops>();
        // SAFETY: DPDK's port ids are smaller than the table.
        let row = unsafe { table.add(usize::from(self.device.id())) };
        // SAFETY: nobody writes the row while the borrow of the queue lasts.
        unsafe { &*row }
    }
}
