//! A running engine: its pinned threads, and the handle that stops them and reads their counts.
//!
//! [`Engine::start`] starts the ports, spawns a thread for each core and returns once every one of them
//! polls. Threads hear of orders at housekeeping, about once a millisecond; nothing else is shared with
//! them but the boards that they publish their counts on.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use usher_proto::cookie::{IsnKey, Keys, Secret};

use crate::clock::{Clock, SystemClock};
use crate::config::{HandshakePlan, Plan};
use crate::control::Source;
use crate::port::{Port, PortError, QueuePair};
use crate::stats::{Board, PortSnapshot, ServiceSnapshot, Snapshot};
use crate::worker::{Keyring, LastIssued, Seeds, Station, View, Worker};

/// How often a worker's thread looks for orders and corrects its clock, in µs.
const ORDERS_EVERY_US: u64 = 1000;

/// What a worker's thread is told.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// Take no new connections, end when none is left, reset what is left after so many ms.
    Drain(u32),
    /// End now.
    Stop,
}

/// A running engine. Dropping it stops it.
pub struct Engine<P: Port> {
    shared: Arc<Shared<P>>,
    orders: Vec<Sender<Order>>,
    threads: Vec<JoinHandle<()>>,
}

/// What readers of counts share with the engine.
struct Shared<P> {
    /// Locked by readers of counts only; workers never touch it.
    ports: Mutex<Vec<P>>,
    boards: Vec<(usize, Arc<Board>)>,
    services: Vec<String>,
    clock: SystemClock,
    draining: AtomicBool,
}

/// What one worker's thread begins with.
struct Post<Q> {
    core: Option<usize>,
    queues: Vec<Option<Q>>,
    view: Arc<View>,
    capacity: u32,
    board: Arc<Board>,
    last_issued: LastIssued,
    seeds: Seeds,
    clock: SystemClock,
}

impl<P: Port + 'static> Engine<P>
where
    P::Queue: 'static,
{
    /// Starts `ports` and a worker for each of `cores`; a worker is pinned unless its core is `None`
    /// (tests). Returns once every worker polls. `ports` stand in the plan's order.
    ///
    /// # Errors
    ///
    /// When a port does not start, randomness cannot be had, or a thread cannot be pinned or used by a
    /// device. Whatever was started is stopped.
    pub fn start(
        plan: &Plan,
        mut ports: Vec<P>,
        cores: &[Option<usize>],
    ) -> Result<Self, PortError> {
        let clock = SystemClock::start();
        let keyring = keyring(&plan.handshake)?;
        let stations: Vec<_> =
            ports.iter().map(|port| Station { mac: port.mac(), mtu: port.mtu() }).collect();
        let view = Arc::new(View::new(plan, &stations, keyring));
        let mut shares = shares(&mut ports, cores.len())?;
        let board = || Arc::new(Board::new(view.port_count(), view.service_count()));
        let boards: Vec<_> = cores.iter().map(|core| (core.unwrap_or_default(), board())).collect();
        let last_issued = LastIssued::default();
        let mut posts = Vec::new();
        for (&core, (_, board)) in cores.iter().zip(&boards) {
            posts.push(Post {
                core,
                queues: shares.next().unwrap_or_default(),
                view: Arc::clone(&view),
                capacity: plan.flow_capacity,
                board: Arc::clone(board),
                last_issued: last_issued.clone(),
                seeds: random_seeds()?,
                clock,
            });
        }
        let services = plan.services.iter().map(|service| service.name.clone()).collect();
        let shared = Shared {
            ports: Mutex::new(ports),
            boards,
            services,
            clock,
            draining: AtomicBool::new(false),
        };
        Self::spawn(shared, posts)
    }

    fn spawn(shared: Shared<P>, posts: Vec<Post<P::Queue>>) -> Result<Self, PortError> {
        let mut engine = Self { shared: Arc::new(shared), orders: Vec::new(), threads: Vec::new() };
        let (ready, readiness) = bounded(posts.len());
        for (number, post) in posts.into_iter().enumerate() {
            let (order, orders) = bounded(4);
            let ready = ready.clone();
            let thread = std::thread::Builder::new().name(format!("usher-{number}"));
            engine.threads.push(thread.spawn(move || work(post, &orders, &ready))?);
            engine.orders.push(order);
        }
        drop(ready);
        for _ in 0..engine.threads.len() {
            readiness.recv().map_err(|_| "a worker's thread ended before it polled")??;
        }
        Ok(engine)
    }

    /// Takes no new connections; existing ones finish, and what is left after `timeout` is reset. The
    /// engine is finished when none is left.
    pub fn drain(&self, timeout: Duration) {
        // Relaxed: only readiness is told by it.
        self.shared.draining.store(true, Ordering::Relaxed);
        let ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX >> 1).min(u32::MAX >> 1);
        self.tell(Order::Drain(ms));
    }

    /// Whether every worker has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// The counts of now.
    #[must_use]
    pub fn stats(&self) -> Snapshot {
        self.shared.snapshot()
    }

    /// Where servers read the counts.
    #[must_use]
    pub fn source(&self) -> Arc<dyn Source> {
        Arc::clone(&self.shared) as Arc<dyn Source>
    }
}

impl<P: Port> Engine<P> {
    fn tell(&self, order: Order) {
        for orders in &self.orders {
            // A worker that has ended, or has more orders than it could carry out, needs no other.
            let _ = orders.try_send(order);
        }
    }
}

impl<P: Port> Drop for Engine<P> {
    fn drop(&mut self) {
        self.tell(Order::Stop);
        for thread in self.threads.drain(..) {
            // A panic in a worker has been printed; in release builds it has ended the process.
            let _ = thread.join();
        }
    }
}

impl<P> Shared<P> {
    fn ports(&self) -> MutexGuard<'_, Vec<P>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Port> Source for Shared<P> {
    fn snapshot(&self) -> Snapshot {
        let workers: Vec<_> = self
            .boards
            .iter()
            .map(|(core, board)| {
                let mut worker = board.read();
                worker.core = *core;
                for (service, name) in worker.services.iter_mut().zip(&self.services) {
                    service.name.clone_from(name);
                }
                worker
            })
            .collect();
        let mut services: Vec<_> = self
            .services
            .iter()
            .map(|name| ServiceSnapshot { name: name.clone(), ..ServiceSnapshot::default() })
            .collect();
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
        // Relaxed: see `Engine::drain`.
        if self.draining.load(Ordering::Relaxed) {
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

/// Each worker's queue pairs, a place for each port; `None` where a port has fewer queues than workers.
fn shares<P: Port>(
    ports: &mut [P],
    workers: usize,
) -> Result<impl Iterator<Item = Vec<Option<P::Queue>>> + use<P>, PortError> {
    let mut queues = Vec::new();
    for port in ports {
        queues.push(port.start()?.into_iter());
    }
    let shares: Vec<Vec<_>> =
        (0..workers).map(|_| queues.iter_mut().map(Iterator::next).collect()).collect();
    Ok(shares.into_iter())
}

/// The keys of this process: from the secret file, else random.
fn keyring(plan: &HandshakePlan) -> Result<Keyring, PortError> {
    let Some(file) = &plan.secret else {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let secret = Secret::from_bytes(bytes);
        return Ok(Keyring {
            cookies: Keys::new(&secret),
            shared: false,
            isn: IsnKey::new(&secret),
        });
    };
    let secret = Secret::from_bytes(file.current);
    let mut cookies = Keys::new(&secret);
    if let Some((epoch, next)) = &file.next {
        // a file stays as it is after its second secret has come into force, and means the same
        cookies.rotate(&Secret::from_bytes(*next), *epoch, epoch.wrapping_sub(1))?;
    }
    Ok(Keyring { cookies, shared: true, isn: IsnKey::new(&secret) })
}

/// What one worker's hashes are keyed with.
fn random_seeds() -> Result<Seeds, PortError> {
    let mut bytes = [[0; 32]; 3];
    getrandom::fill(bytes.as_flattened_mut())?;
    Ok(Seeds::from_bytes(bytes))
}

/// A worker's thread, from its core to its last frame.
fn work<Q: QueuePair>(
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
    let now = clock.now();
    let mut worker = Worker::new(
        post.view,
        post.queues,
        post.capacity,
        post.board,
        post.last_issued,
        post.seeds,
        now,
    );
    let prepared = worker.queues().try_for_each(QueuePair::on_thread);
    let failed = prepared.is_err();
    // The engine waits for this; if it has given up, the worker is told to stop.
    let _ = ready.send(prepared);
    if !failed {
        poll(&mut worker, &mut clock, orders);
    }
    worker.publish();
    worker.queues().for_each(QueuePair::off_thread);
}

/// Turns until it is told to stop, or drains and nothing is left.
fn poll<Q: QueuePair>(worker: &mut Worker<Q>, clock: &mut SystemClock, orders: &Receiver<Order>) {
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
            Err(_) => {}
        }
        if draining && worker.is_idle() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use usher_proto::testing::{OUR_MAC, read_tcp, tcp};

    use super::*;
    use crate::port::Frame;
    use crate::port::memory::{self, Options};
    use crate::stats::Counter;

    const CONFIG: &str = r#"
[engine]
cores = [0]
[[port]]
name = "wan"
device = "net_null0"
addresses = ["10.10.0.2/16"]
[[service]]
name = "hello"
listen = ["10.10.0.10:80"]
port = "wan"
kind = "respond"
response = "hello"
"#;

    /// A thread answers, is drained and ends; its counts are there afterwards.
    #[test]
    fn an_engine_starts_answers_and_drains() {
        let plan = Plan::parse(CONFIG, Path::new("test.toml")).expect("a good configuration");
        let (port, wire) = memory::new("wan", &Options { mac: OUR_MAC, ..Options::default() });
        let engine = Engine::start(&plan, vec![port], &[None]).expect("memory ports start");
        assert_eq!(engine.source().not_ready(), None);
        assert!(wire.send(0, &tcp().from("10.10.0.1:4000").to("10.10.0.10:80").syn(1).build()));
        let answer = loop {
            match wire.receive(0) {
                Some(frame) if frame.bytes().get(12..14) == Some(&[8, 0]) => {
                    break read_tcp(frame.bytes());
                }
                _ => std::thread::yield_now(),
            }
        };
        assert_eq!(answer.ack, 2);
        engine.drain(Duration::ZERO);
        assert!(engine.source().not_ready().is_some());
        while !engine.is_finished() {
            std::thread::yield_now();
        }
        let stats = engine.stats();
        assert_eq!((stats.total(Counter::SynAcks), stats.services[0].name.as_str()), (1, "hello"));
        assert_eq!(stats.workers[0].services[0].failed(usher_proto::verdict::End::Drained), 1);
    }
}
