//! A worker in the middle whose clients a program takes: a consumer that looks at what each says first, in its own
//! time, and then has a backend take the connection. It holds the engine to its word: every event once and in order.

use std::collections::HashMap;
use std::path::Path;

use usher::config::Plan;
use usher::flow::FlowId;
use usher::handoff::{Command, CommandKind, ConsumerEnd, Established, Event, Objection, ends};
use usher::port::Frame;
use usher::port::memory::{self, MemoryQueue, Wire};
use usher::stats::{Counter, ServiceCounter, WorkerSnapshot};
use usher::testing;
use usher::worker::Worker;
use usher_proto::time::Now;
use usher_proto::verdict::End;
use usher_proto::wire::Mac;

use super::super::peer::Heard;
use super::super::plan::MILLI;
use super::super::rng::Rng;
use super::cable::Middle;
use super::engine::{MACS, backend};

/// How a program behaves.
#[derive(Clone, Copy)]
pub(crate) struct Program {
    /// Slots of its rings.
    pub(crate) ring: usize,
    /// It looks once in so long, at so many events.
    pub(crate) every: u64,
    pub(crate) at_once: usize,
    /// It resets one connection in so many; 0: none.
    pub(crate) resets: u64,
    /// As in the configuration.
    pub(crate) gone: &'static str,
    pub(crate) timeout: &'static str,
}

impl Program {
    pub(crate) const EAGER: Self =
        Self { ring: 256, every: 0, at_once: 64, resets: 0, gone: "reset", timeout: "1h" };
}

/// After so long a program decides without having seen what it waited for.
const IMPATIENCE: u64 = 300 * MILLI;

/// What the program knows of a connection.
struct Known {
    new: Established,
    since: u64,
    /// So many bytes it wants to see.
    wants: u64,
    peeked: Heard,
    decided: bool,
    ended: Option<End>,
}

pub(crate) struct Handed {
    worker: Worker<MemoryQueue>,
    wires: Vec<Wire>,
    consumer: Option<ConsumerEnd>,
    program: Program,
    rng: Rng,
    known: HashMap<FlowId, Known>,
    next_look: u64,
    /// What must not happen.
    pub(crate) faults: Vec<String>,
    /// Connections that it was told of, has reset, and refusals that it was answered.
    pub(crate) told: usize,
    pub(crate) reset: usize,
    pub(crate) refused: usize,
}

fn plan(program: &Program) -> Plan {
    let text = format!(
        r#"
        [engine]
        cores = [1]
        [timeouts]
        connect = "15s"
        [[port]]
        name = "wan"
        device = "net_null0"
        addresses = ["10.10.0.2/16", "fd00:10::2/64"]
        [[port]]
        name = "lan"
        device = "net_null1"
        addresses = ["10.20.0.1/16"]
        [[service]]
        name = "web"
        listen = ["10.10.0.10:80", "[fd00:10::10]:80"]
        port = "wan"
        kind = "ring"
        consumer_gone = "{}"
        consumer_timeout = "{}"
        backends = ["{}:80", "{}:80"]
        "#,
        program.gone,
        program.timeout,
        backend(0, false),
        backend(1, false),
    );
    let mut plan = Plan::parse(&text, Path::new("ring.toml")).unwrap_or_else(|e| panic!("{e}"));
    plan.flow_capacity = 4096;
    plan
}

impl Handed {
    pub(crate) fn new(program: Program, cookies: usher::config::Cookies, rng: Rng) -> Self {
        let mut plan = plan(&program);
        plan.handshake.cookies = cookies;
        let options = |port: usize| memory::Options {
            mac: Mac(MACS[port]),
            buffers: 4096,
            ring: 2048,
            ..memory::Options::default()
        };
        let (mut wan, wan_wire) = memory::new("wan", &options(0));
        let (mut lan, lan_wire) = memory::new("lan", &options(1));
        let worker = testing::proxy_worker(&plan, [&mut wan, &mut lan], present(0)).unwrap();
        let mut handed = Self {
            worker,
            wires: vec![wan_wire, lan_wire],
            consumer: None,
            program,
            rng,
            known: HashMap::new(),
            next_look: 0,
            faults: Vec::new(),
            told: 0,
            reset: 0,
            refused: 0,
        };
        handed.attach(0);
        handed
    }

    /// A new consumer.
    pub(crate) fn attach(&mut self, now: u64) {
        let (end, consumer) = ends(self.program.ring);
        self.worker.attach(0, Box::new(end), present(now)).expect("there is none");
        self.known.clear();
        self.consumer = Some(consumer);
    }

    /// The consumer dies.
    pub(crate) fn die(&mut self) {
        self.consumer = None;
    }

    /// From now on it looks at nothing.
    pub(crate) fn fall_silent(&mut self) {
        self.next_look = u64::MAX;
    }

    /// Whether it was given up.
    pub(crate) fn is_given_up(&mut self) -> bool {
        self.consumer.as_mut().is_some_and(|consumer| {
            consumer.poll(usize::MAX, drop);
            consumer.is_closed()
        })
    }

    /// It looks again.
    pub(crate) fn look_again(&mut self, now: u64) {
        self.next_look = now;
    }

    pub(crate) fn drain(&mut self, now: u64, ms: u32) {
        self.worker.drain(present(now).tick, ms);
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.worker.is_idle()
    }

    pub(crate) fn stats(&self) -> WorkerSnapshot {
        self.worker.stats()
    }

    pub(crate) fn count(&self, counter: ServiceCounter) -> u64 {
        self.stats().services[0].counter(counter)
    }

    /// What the program does between two rounds of the worker. Whether it did anything.
    fn look(&mut self, now: u64) -> bool {
        if now < self.next_look {
            return false;
        }
        let Some(mut consumer) = self.consumer.take() else { return false };
        self.next_look = now + self.program.every;
        let seen = consumer.poll(self.program.at_once, |event| self.hear(now, event));
        let decided = self.decide(now, &mut consumer);
        self.consumer = Some(consumer);
        seen > 0 || decided
    }

    fn hear(&mut self, now: u64, event: Event) {
        let flow = event.flow();
        if let Event::Established(new) = event {
            let wants = self.rng.pick(&[0, 1, 9, 600, 3000]);
            let (peeked, ended) = (Heard::default(), None);
            let known = Known { new, since: now, wants, peeked, decided: false, ended };
            self.told += 1;
            if self.known.insert(flow, known).is_some() {
                self.faults.push(format!("{flow:?} is told of twice"));
            }
            return;
        }
        let Some(known) = self.known.get_mut(&flow) else {
            return self.faults.push(format!("{event:?} before its flow was told of"));
        };
        let over = known.ended.is_some();
        match event {
            Event::Data { data, peeked: true, .. } if !over => known.peeked.take(&data),
            Event::Ended { why, lost: 0, .. } if !over => known.ended = Some(why),
            // It may have ended while the command was under way.
            Event::Refused { why: Objection::NoSuchFlow, .. } => self.refused += 1,
            Event::Refused { command: CommandKind::Proxy, why: Objection::NoBackend, .. } => {
                known.decided = false;
                self.refused += 1;
            }
            event => self.faults.push(format!("{event:?}, ended {:?}", known.ended)),
        }
    }

    /// Says what becomes of the flows that it has seen enough of.
    fn decide(&mut self, now: u64, consumer: &mut ConsumerEnd) -> bool {
        let mut ripe: Vec<FlowId> = self
            .known
            .iter()
            .filter(|(_, known)| !known.decided && known.ended.is_none())
            .filter(|(_, known)| known.peeked.len >= known.wants || now >= known.since + IMPATIENCE)
            .map(|(flow, _)| *flow)
            .collect();
        // A map's order is not the seed's.
        ripe.sort_by_key(|flow| self.known[flow].new.client());
        let mut any = false;
        for flow in ripe {
            let resets = self.program.resets > 0 && self.rng.below(self.program.resets) == 0;
            let backend = self.rng.pick(&[None, Some(0), Some(1)]);
            let command =
                if resets { Command::Reset { flow } } else { Command::Proxy { flow, backend } };
            if consumer.send(command).is_err() {
                break;
            }
            any = true;
            self.reset += usize::from(resets);
            self.known.get_mut(&flow).expect("known").decided = true;
        }
        any
    }

    fn take(&self, out: &mut Vec<(usize, Vec<u8>)>) {
        for (port, wire) in self.wires.iter().enumerate() {
            while let Some(frame) = wire.receive(0) {
                out.push((port, frame.bytes().to_vec()));
            }
        }
    }

    /// What was peeked of the connection of a client, as the program last heard of it.
    pub(crate) fn peeked(&self, client: std::net::SocketAddr) -> Option<&Heard> {
        let mut known = self.known.values().filter(|known| known.new.client() == client);
        known.next().map(|known| &known.peeked)
    }

    /// What is left or does not add up, when all connections are over.
    pub(crate) fn audit(&self) -> Vec<String> {
        let buffers =
            |count: fn(&Wire) -> usize| self.wires.iter().map(count).sum::<usize>() as u64;
        let stats = self.stats();
        let service = &stats.services[0];
        let untold = self.known.values().filter(|known| known.ended.is_none()).count();
        let books = [
            ("flows", self.worker.records().into(), 0),
            ("slots", self.worker.handed() as u64, 0),
            ("leases", self.worker.leases() as u64, 0),
            ("undecided", service.counter(ServiceCounter::Undecided), 0),
            ("held frames", self.worker.held() as u64, 0),
            ("ports taken", self.worker.ports_taken() as u64, 0),
            ("buffers", buffers(Wire::total_buffers), buffers(Wire::free_buffers)),
            ("ends not told", untold as u64, 0),
            ("ends", service.counter(ServiceCounter::Completed), service.ended.iter().sum::<u64>()),
            ("withheld", stats.counter(Counter::Withheld), 0),
        ];
        let wrong = books.iter().filter(|(_, left, right)| left != right);
        wrong.map(|(what, left, right)| format!("{what}: {left} is not {right}")).collect()
    }
}

/// The engine has run for five seconds when the world begins.
const fn present(now: u64) -> Now {
    Now::new(now + 5_000_000, 1_764_000_000_000 + now / 1000)
}

impl Middle for Handed {
    const POLLED: bool = true;

    fn turn(&mut self, now: u64, burst: Vec<(usize, Vec<u8>)>) -> Vec<(usize, Vec<u8>)> {
        for (port, frame) in burst {
            self.wires[port].send(0, &frame);
        }
        let mut out = Vec::new();
        loop {
            let received = self.worker.turn(present(now));
            self.take(&mut out);
            if !self.look(now) && received == 0 {
                return out;
            }
        }
    }
}
