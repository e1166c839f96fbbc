//! What readers of counts share with the engine.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::{Clock, SystemClock};
use crate::control::Source;
use crate::port::Port;
use crate::stats::{Board, PortSnapshot, ServiceSnapshot, Snapshot, WorkerSnapshot};

/// Locked by readers of counts and by reloads; workers never touch it.
pub(super) struct Shared<P> {
    ports: Mutex<Vec<P>>,
    counted: Mutex<Counted>,
    clock: SystemClock,
    draining: AtomicBool,
}

/// The boards of the view that runs.
struct Counted {
    /// Each worker's core and board.
    boards: Vec<(usize, Arc<Board>)>,
    services: Vec<String>,
}

impl<P> Shared<P> {
    pub(super) fn new(
        ports: Vec<P>,
        boards: Vec<(usize, Arc<Board>)>,
        services: &[String],
        clock: SystemClock,
    ) -> Self {
        Self {
            ports: Mutex::new(ports),
            counted: Mutex::new(Counted { boards, services: services.to_vec() }),
            clock,
            draining: AtomicBool::new(false),
        }
    }

    pub(super) fn ports(&self) -> MutexGuard<'_, Vec<P>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a flow of any worker has this edition of a service.
    pub(super) fn holds(&self, edition: u16) -> bool {
        self.counted().boards.iter().any(|(_, board)| board.held(edition) > 0)
    }

    /// The workers publish on these boards now, one each.
    pub(super) fn replace(&self, boards: Vec<Arc<Board>>, services: &[String]) {
        let mut counted = self.counted();
        for ((_, old), new) in counted.boards.iter_mut().zip(boards) {
            *old = new;
        }
        counted.services = services.to_vec();
    }

    pub(super) fn drain(&self) {
        // Relaxed: only readiness and reloads are told by it.
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        // Relaxed: see `drain`.
        self.draining.load(Ordering::Relaxed)
    }
}

impl Counted {
    fn workers(&self) -> Vec<WorkerSnapshot> {
        let worker = |(core, board): &(usize, Arc<Board>)| {
            let mut worker = board.read();
            worker.core = *core;
            for (service, name) in worker.services.iter_mut().zip(&self.services) {
                service.name.clone_from(name);
            }
            worker
        };
        self.boards.iter().map(worker).collect()
    }

    fn services(&self) -> Vec<ServiceSnapshot> {
        let empty =
            |name: &String| ServiceSnapshot { name: name.clone(), ..ServiceSnapshot::default() };
        self.services.iter().map(empty).collect()
    }
}

impl<P: Port> Source for Shared<P> {
    fn snapshot(&self) -> Snapshot {
        let (workers, mut services) = {
            let counted = self.counted();
            (counted.workers(), counted.services())
        };
        let mut ports: Vec<_> = self.ports().iter().map(port_snapshot).collect();
        for worker in &workers {
            services.iter_mut().zip(&worker.services).for_each(|(sum, one)| sum.merge(one));
            for (sum, one) in ports.iter_mut().zip(&worker.ports) {
                let counters = sum.counters.counters.iter_mut().zip(one.counters);
                counters.for_each(|(sum, one)| *sum += one);
            }
        }
        let mut clock = self.clock;
        Snapshot { uptime_us: clock.now().us, workers, services, ports }
    }

    fn not_ready(&self) -> Option<String> {
        if self.is_draining() {
            return Some("the engine is draining".into());
        }
        let ports = self.ports();
        let down = ports.iter().find(|port| !port.is_link_up())?;
        Some(format!("the link of port {:?} is down", down.name()))
    }
}

fn port_snapshot<P: Port>(port: &P) -> PortSnapshot {
    PortSnapshot {
        name: port.name().to_owned(),
        link_up: port.is_link_up(),
        device: port.stats(),
        ..PortSnapshot::default()
    }
}
