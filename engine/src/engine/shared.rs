//! What readers of counts share with the engine.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::{Clock, SystemClock};
use crate::control::Source;
use crate::port::Port;
use crate::stats::{
    BackendSnapshot, Board, Counter, PortSnapshot, ServiceSnapshot, Snapshot, WorkerBackend,
    WorkerSnapshot, forsaken,
};
use crate::worker::{Standing, View};

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
    view: Arc<View>,
}

impl<P> Shared<P> {
    pub(super) fn new(
        ports: Vec<P>,
        boards: Vec<(usize, Arc<Board>)>,
        view: &Arc<View>,
        clock: SystemClock,
    ) -> Self {
        Self {
            ports: Mutex::new(ports),
            counted: Mutex::new(Counted { boards, view: Arc::clone(view) }),
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

    /// How many rounds each worker has made.
    pub(super) fn turns(&self) -> Vec<u64> {
        self.counted().boards.iter().map(|(_, board)| board.counter(Counter::Turns)).collect()
    }

    /// The workers go by `view` now and publish on these boards, one each.
    pub(super) fn replace(&self, boards: Vec<Arc<Board>>, view: &Arc<View>) {
        let mut counted = self.counted();
        for ((_, old), new) in counted.boards.iter_mut().zip(boards) {
            *old = new;
        }
        counted.view = Arc::clone(view);
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
            for (service, name) in worker.services.iter_mut().zip(self.view.services()) {
                service.name.clone_from(name);
            }
            worker
        };
        self.boards.iter().map(worker).collect()
    }

    fn services(&self) -> Vec<ServiceSnapshot> {
        let services = self.view.services().iter().enumerate();
        let empty = |(index, name): (usize, &String)| {
            let mut service = ServiceSnapshot { name: name.clone(), ..ServiceSnapshot::default() };
            if let Some(Standing { kind, listen, drained }) = self.view.standing(index) {
                (service.kind, service.listen, service.drained) = (kind, listen, drained);
            }
            service
        };
        services.map(empty).collect()
    }

    fn backends(&self, workers: &[WorkerSnapshot]) -> Vec<BackendSnapshot> {
        let sum = |slot: u16| {
            let mut parts =
                workers.iter().filter_map(|worker| worker.backends.get(usize::from(slot)));
            let first = parts.next().copied().unwrap_or_default();
            parts.fold(first, |mut sum: WorkerBackend, part| {
                sum.merge(part);
                sum
            })
        };
        let one = |(slot, service, address): (u16, &str, SocketAddr)| BackendSnapshot {
            service: service.into(),
            address,
            sum: sum(slot),
        };
        self.view.backends().map(one).collect()
    }
}

impl<P: Port> Source for Shared<P> {
    fn snapshot(&self) -> Snapshot {
        let (workers, mut services, backends) = {
            let counted = self.counted();
            let workers = counted.workers();
            let backends = counted.backends(&workers);
            (workers, counted.services(), backends)
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
        Snapshot { uptime_us: clock.now().us, workers, services, backends, ports }
    }

    fn not_ready(&self) -> Option<String> {
        if self.is_draining() {
            return Some("the engine is draining".into());
        }
        let down = {
            let ports = self.ports();
            let down = ports.iter().find(|port| !port.is_link_up());
            down.map(|port| format!("the link of port {:?} is down", port.name()))
        };
        down.or_else(|| {
            let counted = self.counted();
            let mut backends = counted.backends(&counted.workers());
            // one that is out on purpose is not missed
            let is_out =
                |name: &str| counted.services().iter().any(|s| s.drained && s.name == name);
            backends.retain(|backend| !is_out(&backend.service));
            forsaken(&backends)
                .map(|service| format!("no backend of service {service:?} is usable"))
        })
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
