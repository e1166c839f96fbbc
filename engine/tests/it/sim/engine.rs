//! The engine under test: workers on memory ports, as the simulated network sees them. Between them and the
//! network stand a switch, which knows each port by its MAC, and each port's RSS.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use usher::config::Plan;
use usher::port::Frame;
use usher::port::memory::{self, MemoryQueue, Wire};
use usher::stats::{Counter, ServiceCounter, WorkerSnapshot};
use usher::testing;
use usher::worker::{Keyring, Seeds, Worker};
use usher_proto::cookie::{IsnKey, Keys, Secret};
use usher_proto::tcp::State;
use usher_proto::time::Now;
use usher_proto::wire::{Checked, Mac, RxChecksums, TxChecksums};

use super::arrival::Arrival;
use super::frame;
use super::network::Weather;
use super::reference::answer;
use super::rng::Rng;
use super::server::Server;
use super::world::{MTU, World, net, server_mac};

/// When SYNs are answered by cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cookies {
    Always,
    Never,
    Auto,
}

/// What is configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) cookies: Cookies,
    pub(crate) half_open_limit: usize,
    pub(crate) capacity: usize,
    /// Length of the answer.
    pub(crate) answer: usize,
    /// Whether the port checks and completes checksums.
    pub(crate) offloads: bool,
    /// The port's VLAN; the clients know nothing of it, the switch tags.
    pub(crate) vlan: u16,
    pub(crate) mtu: u16,
    pub(crate) workers: usize,
    /// How frames come to them.
    pub(crate) arrival: Arrival,
    /// Each port has a service of its own.
    pub(crate) ports: usize,
    /// The secret comes from a file, and may be older than the process.
    pub(crate) shared: bool,
    /// What the secret is made of.
    pub(crate) secret: u8,
    /// The epochs from this one on have [`NEXT_SECRET`].
    pub(crate) next_secret_from: Option<u32>,
    pub(crate) buffers: usize,
    pub(crate) ring: usize,
    /// The engine has run for so many milliseconds when the world begins, and Unix time is this.
    pub(crate) uptime_ms: u64,
    pub(crate) unix_ms: u64,
}

pub(crate) const NEXT_SECRET: u8 = 0xa5;

impl Setup {
    pub(crate) const DEFAULT: Self = Self {
        cookies: Cookies::Auto,
        half_open_limit: 65_536,
        capacity: 4096,
        answer: 2000,
        offloads: false,
        vlan: 0,
        mtu: MTU,
        workers: 1,
        arrival: Arrival::Anywhere(0),
        ports: 1,
        shared: false,
        secret: 0x5a,
        next_secret_from: None,
        buffers: 2048,
        ring: 1024,
        uptime_ms: 5000,
        unix_ms: 1_764_000_000_000,
    };
}

impl Default for Setup {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The engine, and the other end of its ports.
pub(crate) struct Engine {
    setup: Setup,
    workers: Vec<Worker<MemoryQueue>>,
    wires: Vec<Wire>,
    given: u64,
    taken: u64,
}

/// A world whose server is an engine that is set up so.
pub(crate) fn world(seed: u64, weather: Weather, setup: &Setup) -> World<Engine> {
    let engine = Engine::new(seed, 0, setup);
    let mut world = World::new(seed, weather, answer(setup.answer), engine);
    world.monitor.facts.macs = (0..setup.ports).map(server_mac).collect();
    world.monitor.facts.mtu = setup.mtu;
    world
}

fn plan(setup: &Setup) -> Plan {
    let ports: String = (0..setup.ports).map(|port| port_and_service(setup, port)).collect();
    let text = format!(
        r#"
        [engine]
        cores = {cores:?}
        [flow_table]
        capacity = {capacity}
        [handshake]
        cookies = "{cookies}"
        half_open_limit = {limit}
        {ports}
        "#,
        cores = (0..setup.workers).collect::<Vec<_>>(),
        capacity = setup.capacity,
        cookies = format!("{:?}", setup.cookies).to_lowercase(),
        limit = setup.half_open_limit,
    );
    Plan::parse(&text, Path::new("sim.toml")).unwrap_or_else(|error| panic!("{error}"))
}

fn port_and_service(setup: &Setup, port: usize) -> String {
    format!(
        r#"
        [[port]]
        name = "port{port}"
        device = "net_null{port}"
        addresses = ["10.{net}.0.2/16", "fd00:{net}::2/64"]
        mtu = {mtu}
        vlan = {vlan}
        [[service]]
        name = "hello{port}"
        listen = ["10.{net}.0.11:80", "[fd00:{net}::11]:80"]
        port = "port{port}"
        kind = "respond"
        response = "{answer}"
        "#,
        net = net(port),
        mtu = setup.mtu,
        vlan = setup.vlan,
        answer = String::from_utf8(answer(setup.answer)).unwrap(),
    )
}

fn keyring(setup: &Setup, now: &Now) -> Keyring {
    let secret = Secret::from_bytes([setup.secret; 32]);
    let mut cookies = Keys::new(&secret);
    if let Some(from) = setup.next_secret_from {
        cookies
            .rotate(&Secret::from_bytes([NEXT_SECRET; 32]), from, now.epoch)
            .expect("in the future");
    }
    Keyring::new(cookies, setup.shared, IsnKey::new(&secret))
}

fn seeds(rng: &mut Rng) -> Seeds {
    Seeds::from_bytes([(); 5].map(|()| [(); 32].map(|()| rng.next() as u8)))
}

impl Engine {
    /// An engine that starts at `now`.
    pub(crate) fn new(seed: u64, now: u64, setup: &Setup) -> Self {
        let now = present(setup, now);
        let (mut ports, wires): (Vec<_>, Vec<_>) =
            (0..setup.ports).map(|port| memory::new("a port", &options(setup, port))).unzip();
        let mut rng = Rng::new(!seed);
        let seeds = (0..setup.workers).map(|_| seeds(&mut rng)).collect();
        let keyring = keyring(setup, &now);
        let workers = testing::workers_with(&plan(setup), keyring, &mut ports, seeds, now).unwrap();
        Self { setup: *setup, workers, wires, given: 0, taken: 0 }
    }

    /// From now on the ports' hashes lead elsewhere, as after a change of RSS.
    pub(crate) const fn reshuffle(&mut self) {
        self.setup.arrival = Arrival::Anywhere(1);
    }

    /// How many frames came in by a queue of another worker than whose they were.
    pub(crate) fn redirected(&self) -> u64 {
        let stats = self.workers.iter().map(Worker::stats);
        stats.map(|stats| stats.counter(Counter::RedirectedIn)).sum()
    }

    /// How many cookies each worker has issued.
    pub(crate) fn issued(&self) -> Vec<u64> {
        self.workers.iter().map(|worker| worker.stats().counter(Counter::CookiesSent)).collect()
    }

    /// How many flows each worker has opened.
    pub(crate) fn shares(&self) -> Vec<u64> {
        let completed = |stats: WorkerSnapshot| -> u64 {
            stats.services.iter().map(|one| one.counter(ServiceCounter::Completed)).sum()
        };
        self.workers.iter().map(|worker| completed(worker.stats())).collect()
    }

    /// Handshakes that were completed, ever.
    pub(crate) fn established(&self) -> u64 {
        self.shares().iter().sum()
    }

    pub(crate) fn half_open(&self) -> usize {
        self.workers.iter().map(|worker| worker.flows(State::SynRcvd) as usize).sum()
    }

    pub(crate) const fn capacity(&self) -> usize {
        self.setup.capacity
    }

    /// Reloads a plan in which the service listens at one more address, the `nth`: for its flows it is another one.
    pub(crate) fn reload(&mut self, now: u64, nth: u8) {
        let mut plan = plan(&self.setup);
        let extra = IpAddr::from([10, 10, 1, nth]);
        plan.services[0].listen.push(SocketAddr::new(extra, 80));
        plan.ports[0].vips.push(extra);
        testing::reload(&mut self.workers, &plan, present(&self.setup, now));
    }

    /// Takes no new connections from `now` on; what is left in `ms` is reset.
    pub(crate) fn drain(&mut self, now: u64, ms: u32) {
        let now = present(&self.setup, now).tick;
        self.workers.iter_mut().for_each(|worker| worker.drain(now, ms));
    }

    /// Whether a drain would be over.
    pub(crate) fn is_idle(&self) -> bool {
        self.workers.iter().all(Worker::is_idle)
    }

    fn give(&mut self, frame: &[u8]) {
        let packet = frame::read(frame);
        let word = match &packet {
            _ if !self.setup.offloads => Checked::Unknown,
            Ok(_) => Checked::Good,
            Err(_) => Checked::Bad,
        };
        let queue =
            packet.map_or(0, |packet| self.setup.arrival.queue(&packet, self.setup.workers, &[]));
        let checksums = RxChecksums { ip: word, l4: word };
        let mut tagged = frame.to_vec();
        if self.setup.vlan > 0 && frame.len() >= 12 {
            let [high, low] = (self.setup.vlan | 0x6000).to_be_bytes();
            tagged.splice(12..12, [0x81, 0x00, high, low]);
        }
        for (port, wire) in self.wires.iter().enumerate() {
            if self.leads_to(frame, port) {
                self.given += u64::from(wire.send_checked(queue, &tagged, checksums));
            }
        }
    }

    /// A switch sends what it knows no port for to all of them.
    fn leads_to(&self, frame: &[u8], port: usize) -> bool {
        let is = |port| frame.get(..6) == Some(&server_mac(port));
        is(port) || !(0..self.setup.ports).any(is)
    }

    fn take(&mut self, out: &mut Vec<Vec<u8>>) {
        for wire in &self.wires {
            for queue in 0..self.setup.arrival.queues(self.setup.workers) {
                while let Some(frame) = wire.receive(queue) {
                    self.taken += 1;
                    out.push(self.untag(frame.bytes()));
                }
            }
        }
    }

    fn untag(&self, frame: &[u8]) -> Vec<u8> {
        assert!(frame.len() >= 60, "shorter than Ethernet's least frame: {frame:02x?}");
        let mut bytes = frame.to_vec();
        if self.setup.vlan > 0 {
            let tag: Vec<u8> = bytes.drain(12..16).collect();
            assert_eq!(
                (&tag[..2], u16::from_be_bytes([tag[2], tag[3]]) & 0xfff),
                (&[0x81, 0x00][..], self.setup.vlan)
            );
        }
        bytes
    }
}

fn options(setup: &Setup, port: usize) -> memory::Options {
    memory::Options {
        mac: Mac(server_mac(port)),
        mtu: setup.mtu,
        queues: setup.arrival.queues(setup.workers),
        buffers: setup.buffers,
        ring: setup.ring,
        tx_checksums: TxChecksums { ip: setup.offloads, l4: setup.offloads },
    }
}

fn present(setup: &Setup, now: u64) -> Now {
    Now::new(now + setup.uptime_ms * 1000, setup.unix_ms + now / 1000)
}

impl Server for Engine {
    fn turn(&mut self, now: u64, burst: &[Vec<u8>]) -> Vec<Vec<u8>> {
        for frame in burst {
            self.give(frame);
        }
        let mut out = Vec::new();
        let mut quiet = 0;
        // What the last worker hands on in one round, others take in the next.
        while quiet < self.workers.len().min(2) {
            let now = present(&self.setup, now);
            let received: usize = self.workers.iter_mut().map(|worker| worker.turn(now)).sum();
            self.take(&mut out);
            quiet = if received == 0 { quiet + 1 } else { 0 };
        }
        out
    }

    fn flows(&self) -> usize {
        self.workers.iter().map(|worker| worker.records() as usize).sum()
    }

    /// No buffer is lost, verdicts add up to the frames, and flows to their ends.
    fn audit(&mut self) -> Vec<String> {
        let (mut received, mut sent, mut faults) = (0, 0, Vec::new());
        for worker in &self.workers {
            let stats = worker.stats();
            received += stats.counter(Counter::Received);
            sent += stats.counter(Counter::Sent);
            for (what, left, right) in books(&stats) {
                let wrong = left != right;
                faults.extend(wrong.then(|| format!("{what}: {left} is not {right}: {stats:?}")));
            }
        }
        let buffers = |count: fn(&Wire) -> usize| self.wires.iter().map(count).sum::<usize>();
        let (total, free) = (buffers(Wire::total_buffers), buffers(Wire::free_buffers));
        faults.extend((total != free).then(|| format!("{free} of {total} buffers are free")));
        let (passed, counted) = ((self.given, self.taken), (received, sent));
        let wrong = passed != counted;
        faults.extend(wrong.then(|| format!("frames: {passed:?}, but counted {counted:?}")));
        faults
    }
}

/// What must be equal in one worker's counts.
fn books(stats: &WorkerSnapshot) -> Vec<(&'static str, u64, u64)> {
    let count = |counter| stats.counter(counter);
    let sum = |counters: &[Counter]| counters.iter().map(|&counter| count(counter)).sum::<u64>();
    let came = [Counter::Received, Counter::RedirectedIn];
    let verdicts = [
        Counter::Answered,
        Counter::Reflected,
        Counter::Delivered,
        Counter::Dropped,
        Counter::RedirectedOut,
    ];
    let to_send = [Counter::Answered, Counter::Reflected, Counter::Generated, Counter::RelayedIn];
    let mut books = vec![
        ("verdicts", sum(&came), sum(&verdicts)),
        ("sent", sum(&[Counter::Sent, Counter::Refused, Counter::RelayedOut]), sum(&to_send)),
        ("drops", sum(&[Counter::Dropped, Counter::Refused]), stats.drops.iter().sum()),
    ];
    for service in &stats.services {
        let completed = service.counter(ServiceCounter::Completed);
        books.push((
            "handshakes",
            service.counter(ServiceCounter::Started),
            completed + service.failed.iter().sum::<u64>(),
        ));
        books.push(("ends", completed, service.ended.iter().sum()));
    }
    books
}
