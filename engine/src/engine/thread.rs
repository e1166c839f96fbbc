//! A worker's thread, and the orders that it obeys.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::channel::{Receiver, Sender};
use crossbeam::utils::CachePadded;

use super::consumers::OwnEnds;
use crate::clock::{Clock, SystemClock};
use crate::handoff::WorkerEnd;
use crate::port::{PortError, QueuePair};
use crate::worker::{Outfit, Peers, Sample, Seeds, Share, Worker};

/// How often a worker's thread looks for orders and corrects its clock, in µs.
const ORDERS_EVERY_US: u64 = 1000;

/// What a worker's thread is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Take no new connections, end when none is left, reset what is left after so many ms.
    Drain(u32),
    /// Go on with this, and send back what it replaces.
    Adopt(Outfit, Sender<Outfit>),
    /// Take the backend in this slot out, or back in, and say when that is done.
    Backend { slot: u16, drained: bool, done: Sender<()> },
    /// Fill this, as far as one visit does, and send it back.
    Sample(Box<Sample>, Sender<Box<Sample>>),
    /// Let a consumer take the flows of the service of this number, and send the end back if it cannot be.
    Attach { service: usize, end: Box<WorkerEnd>, done: Sender<Option<Box<WorkerEnd>>> },
    /// End now.
    Stop,
}

/// Which workers have nothing left that a drain waits for. A worker polls until none has: frames of others' flows may
/// come in by its queues.
#[derive(Debug)]
pub(super) struct Idle(Box<[CachePadded<AtomicBool>]>);

impl Idle {
    /// None of so many.
    pub(super) fn none(workers: usize) -> Self {
        Self((0..workers).map(|_| CachePadded::new(AtomicBool::new(false))).collect())
    }

    /// Notes whether one is, and says whether all are. Relaxed: who ends a turn later misses nothing by it.
    fn note(&self, worker: usize, idle: bool) -> bool {
        self.0[worker].store(idle, Ordering::Relaxed);
        self.0.iter().all(|one| one.load(Ordering::Relaxed))
    }
}

/// What one worker's thread begins with.
pub(super) struct Post<Q: QueuePair> {
    /// Which worker it is.
    pub(super) number: usize,
    pub(super) idle: Arc<Idle>,
    pub(super) core: Option<usize>,
    pub(super) shares: Vec<Share<Q>>,
    pub(super) peers: Peers<Q::Frame>,
    pub(super) outfit: Outfit,
    pub(super) ends: OwnEnds,
    pub(super) capacity: u32,
    pub(super) seeds: Seeds,
    pub(super) clock: SystemClock,
}

/// A worker's thread, from its core to its last frame.
pub(super) fn work<Q: QueuePair>(
    post: Post<Q>,
    orders: &Receiver<Order>,
    ready: &Sender<Result<(), PortError>>,
) {
    if let Some(core) = post.core
        && !core_affinity::set_for_current(core_affinity::CoreId { id: core })
    {
        let _ = ready.send(Err(format!(
            "cannot pin a worker to core {core}: give a core that this process may use"
        )
        .into()));
        return;
    }
    let mut clock = post.clock;
    let (number, idle) = (post.number, post.idle);
    let now = clock.now();
    let mut worker =
        Worker::new(post.outfit, post.shares, post.peers, post.capacity, post.seeds, now);
    for (service, end) in post.ends {
        // A fresh worker has no consumer, and the service is a `ring`: none is refused.
        let _ = worker.attach(service, end, now);
    }
    let prepared = worker.on_thread();
    let failed = prepared.is_err();
    // The engine waits for this; if it has given up, the worker is told to stop.
    let _ = ready.send(prepared);
    if !failed {
        poll(&mut worker, &mut clock, orders, |is_idle| idle.note(number, is_idle));
    }
    idle.note(number, true);
    worker.publish();
    worker.off_thread();
}

/// Turns until it is told to stop, or drains and nothing is left. `note` notes whether this worker has something left,
/// and says whether no worker has.
fn poll<Q: QueuePair>(
    worker: &mut Worker<Q>,
    clock: &mut SystemClock,
    orders: &Receiver<Order>,
    note: impl Fn(bool) -> bool,
) {
    let (mut draining, mut was_busy) = (false, false);
    let (mut busy_us, mut last_us, mut orders_at_us) = (0, clock.now().us, 0);
    loop {
        let now = clock.now();
        busy_us += if was_busy { now.us - last_us } else { 0 };
        last_us = now.us;
        was_busy = worker.turn(now) > 0;
        if now.us < orders_at_us {
            continue;
        }
        orders_at_us = now.us + ORDERS_EVERY_US;
        clock.discipline();
        worker.note_time(std::mem::take(&mut busy_us), now.us);
        match orders.try_recv() {
            Ok(Order::Stop) => return,
            Ok(Order::Drain(ms)) => {
                draining = true;
                worker.drain(now.tick, ms);
            }
            Ok(Order::Adopt(outfit, back)) => {
                // The engine waits for it, and frees it.
                let _ = back.send(worker.adopt(outfit, now));
            }
            Ok(Order::Backend { slot, drained, done }) => {
                worker.set_drained(slot, drained);
                // The engine waits for it.
                let _ = done.send(());
            }
            Ok(Order::Attach { service, end, done }) => {
                // The engine waits for it, and frees what is refused.
                let _ = done.send(worker.attach(service, end, now).err());
            }
            Ok(Order::Sample(mut sample, back)) => {
                worker.sample(&mut sample, &now);
                // The engine waits for it, and frees it.
                let _ = back.send(sample);
            }
            Err(_) => {}
        }
        if draining && note(worker.is_idle()) {
            return;
        }
    }
}
