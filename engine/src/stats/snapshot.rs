//! Everything at one moment.

use std::net::SocketAddr;

use usher_proto::tcp::State;
use usher_proto::verdict::{End, Reason};

use super::{BackendSnapshot, Counter, Latency, PortCounter, ServiceCounter, WorkerBackend};
use crate::port::PortStats;

/// The engine's counts at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshot {
    /// Microseconds since the engine's start.
    pub uptime_us: u64,
    /// Each worker.
    pub workers: Vec<WorkerSnapshot>,
    /// Each service, summed over the workers, in the plan's order.
    pub services: Vec<ServiceSnapshot>,
    /// Each backend, in the order in which they came.
    pub backends: Vec<BackendSnapshot>,
    /// Each port, in the plan's order.
    pub ports: Vec<PortSnapshot>,
}

impl Snapshot {
    /// The sum of a counter over the workers.
    #[must_use]
    pub fn total(&self, counter: Counter) -> u64 {
        self.workers.iter().map(|worker| worker.counter(counter)).sum()
    }

    /// The sum of the frames dropped for `reason`.
    #[must_use]
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.workers.iter().map(|worker| worker.dropped(reason)).sum()
    }

    /// The flows in `state` of all workers.
    #[must_use]
    pub fn flows(&self, state: State) -> u64 {
        self.workers.iter().map(|worker| worker.flows(state)).sum()
    }
}

/// One worker's counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerSnapshot {
    /// The core it is pinned to.
    pub core: usize,
    /// By [`Counter`].
    pub counters: [u64; Counter::COUNT],
    /// By [`Reason`].
    pub drops: [u64; Reason::COUNT],
    /// Flows by [`State`]; CLOSED are spent markers.
    pub flows: [u64; State::ALL.len()],
    /// Its share of each port.
    pub ports: Vec<WorkerPort>,
    /// Its share of each service.
    pub services: Vec<ServiceSnapshot>,
    /// Its part of each backend, by slot.
    pub backends: Vec<WorkerBackend>,
}

impl WorkerSnapshot {
    /// The value of a counter.
    #[must_use]
    pub const fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter.index()]
    }

    /// Frames dropped for `reason`.
    #[must_use]
    pub const fn dropped(&self, reason: Reason) -> u64 {
        self.drops[reason.index()]
    }

    /// Flows in `state`.
    #[must_use]
    pub const fn flows(&self, state: State) -> u64 {
        self.flows[state as usize]
    }

    /// The share of its time that it had work, 0 to 1.
    #[must_use]
    pub fn busy_ratio(&self) -> f64 {
        let time = self.counter(Counter::TimeUs).max(1);
        self.counter(Counter::BusyUs) as f64 / time as f64
    }
}

/// A worker's share of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WorkerPort {
    /// By [`PortCounter`].
    pub counters: [u64; PortCounter::COUNT],
}

impl WorkerPort {
    /// The value of a counter.
    #[must_use]
    pub const fn counter(&self, counter: PortCounter) -> u64 {
        self.counters[counter.index()]
    }
}

/// A service's counts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServiceSnapshot {
    /// Its name; empty in a worker's share.
    pub name: String,
    /// As in the file; empty in a worker's share, and for one that is configured no more.
    pub kind: &'static str,
    /// Where it listens; empty like `kind`.
    pub listen: Vec<SocketAddr>,
    /// Whether it takes no new connections, as an operator has ordered.
    pub drained: bool,
    /// By [`ServiceCounter`].
    pub counters: [u64; ServiceCounter::COUNT],
    /// Failed handshakes by [`End`].
    pub failed: [u64; End::COUNT],
    /// Ended flows by [`End`].
    pub ended: [u64; End::COUNT],
    /// From SYN to third ACK, of stateful handshakes.
    pub latency: Latency,
}

impl ServiceSnapshot {
    /// The value of a counter.
    #[must_use]
    pub const fn counter(&self, counter: ServiceCounter) -> u64 {
        self.counters[counter.index()]
    }

    /// Handshakes that failed for `end`.
    #[must_use]
    pub const fn failed(&self, end: End) -> u64 {
        self.failed[end.index()]
    }

    /// Flows that ended by `end`.
    #[must_use]
    pub const fn ended(&self, end: End) -> u64 {
        self.ended[end.index()]
    }

    /// Adds another worker's share.
    pub fn merge(&mut self, other: &Self) {
        fn add<const N: usize>(mine: &mut [u64; N], theirs: &[u64; N]) {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        }
        add(&mut self.counters, &other.counters);
        add(&mut self.failed, &other.failed);
        add(&mut self.ended, &other.ended);
        self.latency.merge(&other.latency);
    }
}

/// A port's state and what the device counts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PortSnapshot {
    /// Its name.
    pub name: String,
    /// Whether there is a carrier.
    pub link_up: bool,
    /// The device's counts.
    pub device: PortStats,
    /// The workers' counts together.
    pub counters: WorkerPort,
}
