//! A run: clients, network and server under one clock, and what must hold when it is over.

use std::collections::HashMap;
use std::collections::HashSet;
use std::net::SocketAddr;

use super::client::{Client, Ends, Outcome};
use super::frame::{self, ACK, Packet, RST};
use super::monitor::{Facts, Monitor};
use super::network::{Happening, Network, Weather};
use super::plan::{Plan, SECOND};
use super::rng::Rng;
use super::server::Server;

pub(crate) const SERVER_MAC: frame::Mac = [0x02, 0x75, 0x73, 0x68, 0x65, 0x72];
pub(crate) const MTU: u16 = 1500;
/// Frames that arrive within so many microseconds come in one burst.
const GRAIN: u64 = 30;
const BURST: usize = 32;
/// How often an idle server is called, in microseconds: while clients wait, and while only time passes.
const POLL: u64 = 5000;
const IDLE_POLL: u64 = 50_000;
type Key = (SocketAddr, SocketAddr);

/// The MAC of the server's `port`th port.
pub(crate) const fn server_mac(port: usize) -> frame::Mac {
    let mut mac = SERVER_MAC;
    mac[5] += port as u8;
    mac
}

/// The networks of a port are `10.NET.0.0/16` and `fd00:NET::/64`.
pub(crate) const fn net(port: usize) -> u8 {
    10 + port as u8
}

/// The address of the service behind a port.
pub(crate) fn service(port: usize, v6: bool) -> SocketAddr {
    let net = net(port);
    if v6 {
        format!("[fd00:{net}::11]:80").parse().unwrap()
    } else {
        SocketAddr::new([10, net, 0, 11].into(), 80)
    }
}

/// The address of the `index`th client, in the network of a port: one host a client, ports from all over.
pub(crate) fn client_ends(port: usize, index: usize, v6: bool) -> Ends {
    let (high, low) = ((index >> 8) as u8, index as u8);
    let (net, server_mac, remote) = (net(port), server_mac(port), service(port, v6));
    let tcp_port = 1024 + (index * 7919 % 60_000) as u16;
    let local = if v6 {
        let ip: std::net::Ipv6Addr = format!("fd00:{net}::ffff:{index:x}").parse().unwrap();
        SocketAddr::new(ip.into(), tcp_port)
    } else {
        SocketAddr::new([10, net, 100 + high, low].into(), tcp_port)
    };
    Ends { mac: [2, 0, 0, 1, high, low], server_mac, local, remote }
}

/// The world.
pub(crate) struct World<S: Server> {
    pub(crate) now: u64,
    pub(crate) server: S,
    pub(crate) clients: Vec<Client>,
    pub(crate) monitor: Monitor,
    pub(crate) network: Network,
    pub(crate) rng: Rng,
    seed: u64,
    by_tuple: HashMap<Key, usize>,
    answer: Vec<u8>,
    trace: Vec<(u64, bool, Vec<u8>)>,
    waiting: HashSet<usize>,
    poll_at: u64,
}

impl<S: Server> World<S> {
    pub(crate) fn new(seed: u64, weather: Weather, answer: Vec<u8>, server: S) -> Self {
        let mut rng = Rng::new(seed);
        let network = Network::new(weather, Rng::new(rng.next()));
        let facts = Facts { macs: vec![SERVER_MAC], mtu: MTU, answer: answer.clone() };
        let mut world = Self {
            now: SECOND,
            server,
            clients: Vec::new(),
            monitor: Monitor::new(facts),
            network,
            rng,
            seed,
            by_tuple: HashMap::new(),
            answer,
            trace: Vec::new(),
            waiting: HashSet::new(),
            poll_at: SECOND,
        };
        world.network.at(SECOND, Happening::Poll);
        world
    }

    /// Adds a client that starts at `at`.
    pub(crate) fn add(&mut self, at: u64, plan: Plan) -> usize {
        let ends = client_ends(0, self.clients.len(), plan.v6);
        self.add_at(at, plan, ends)
    }

    pub(crate) fn add_at(&mut self, at: u64, plan: Plan, ends: Ends) -> usize {
        let index = self.clients.len();
        // One in eight has an ISN or a timestamp that wraps within the connection.
        let near_wrap = u32::MAX - self.rng.below(500) as u32;
        let iss = if self.rng.chance(125) { near_wrap } else { self.rng.next() as u32 };
        let ts = if self.rng.chance(125) { near_wrap } else { self.rng.next() as u32 };
        self.clients.push(Client::new(plan, ends, iss, ts));
        self.by_tuple.insert((ends.local, ends.remote), index);
        self.waiting.insert(index);
        self.network.at(at, Happening::Client(index));
        index
    }

    /// Runs until every client is done, or until `limit` more time has passed.
    pub(crate) fn run(&mut self, limit: u64) {
        let end = self.now + limit;
        while !self.waiting.is_empty() && self.now < end {
            self.step();
        }
    }

    /// Lets so much time pass.
    pub(crate) fn pass(&mut self, time: u64) {
        let end = self.now + time;
        while self.network.next_time().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now = end;
    }

    fn step(&mut self) {
        let Some((time, happening)) = self.network.next() else { return };
        self.now = self.now.max(time);
        match happening {
            Happening::ToServer(frame) => {
                let mut burst = vec![frame];
                while burst.len() < BURST {
                    let Some(frame) = self.network.next_to_server(self.now + GRAIN) else { break };
                    burst.push(frame);
                }
                drop(self.turn(&burst));
            }
            Happening::ToClient(frame) => self.deliver(&frame),
            Happening::Client(index) => self.run_client(index, None),
            Happening::Poll if time < self.poll_at => {}
            Happening::Poll => drop(self.turn(&[])),
        }
    }

    /// Hands a burst to the server at once and sends what it answers.
    pub(crate) fn turn(&mut self, burst: &[Vec<u8>]) -> Vec<Vec<u8>> {
        self.monitor.arrive(burst);
        for frame in burst {
            self.trace.push((self.now, true, frame.clone()));
        }
        let sent = self.server.turn(self.now, burst);
        for frame in &sent {
            self.monitor.leaves(frame);
            self.trace.push((self.now, false, frame.clone()));
            self.network.send(self.now, false, frame.clone());
        }
        let due = self.now + if self.waiting.is_empty() { IDLE_POLL } else { POLL };
        if due < self.poll_at || self.poll_at <= self.now {
            self.poll_at = due;
            self.network.at(due, Happening::Poll);
        }
        sent
    }

    fn deliver(&mut self, bytes: &[u8]) {
        let Ok(packet) = frame::read(bytes) else { return };
        let Some(&index) = self.by_tuple.get(&(packet.dst, packet.src)) else { return };
        if packet.dst_mac != self.clients[index].ends.mac {
            return;
        }
        match self.clients[index].outcome {
            None => self.run_client(index, Some(&packet)),
            Some(Outcome::Left | Outcome::TimedOut) => {}
            Some(_) => self.answer_without_connection(index, &packet),
        }
    }

    /// The client's host has no such connection any more (RFC 9293 §3.10.7.1).
    fn answer_without_connection(&mut self, index: usize, packet: &Packet) {
        if packet.has(RST) || !packet.has(ACK) {
            return;
        }
        let ends = self.clients[index].ends;
        let reset = Packet { seq: packet.ack, flags: RST, ..ends.packet() };
        self.network.send(self.now, true, reset.write());
    }

    fn run_client(&mut self, index: usize, packet: Option<&Packet>) {
        let client = &mut self.clients[index];
        match packet {
            Some(packet) => client.receive(self.now, packet),
            None if client.irs.is_none()
                && client.deadline().is_none()
                && client.outcome.is_none() =>
            {
                client.start(self.now);
            }
            None => client.tick(self.now),
        }
        let out = std::mem::take(&mut client.out);
        let due = client.deadline();
        if client.is_done() {
            self.waiting.remove(&index);
        }
        for packet in out {
            self.network.send(self.now, true, packet.write());
        }
        if let Some(due) = due {
            self.network.at(due.max(self.now + 1), Happening::Client(index));
        }
    }

    /// What is wrong with a client's end: an orderly one must have closed with the whole answer.
    fn judge(&self, client: &Client) -> Option<String> {
        let plan = &client.plan;
        if let Some(fault) = client.faults.first() {
            return Some(fault.clone());
        }
        if !self.answer.starts_with(&client.received) {
            return Some("received other bytes than the answer's".to_owned());
        }
        if !plan.close.is_orderly() {
            return None;
        }
        let closed = client.is_done() && client.outcome.is_none_or(|o| o == Outcome::Closed);
        if !closed {
            return Some(format!("ended as {:?}", client.outcome));
        }
        (client.received.len() != self.answer.len())
            .then(|| format!("has {} of {} bytes", client.received.len(), self.answer.len()))
    }

    /// The judgement of every client: index and what went wrong.
    pub(crate) fn failures(&self) -> Vec<(usize, String)> {
        let judge = |(index, client)| self.judge(client).map(|why| (index, why));
        self.clients.iter().enumerate().filter_map(judge).collect()
    }

    /// After the run: everybody served, every wire rule kept, every flow gone after `settle`, all books in
    /// order. `failures` clients may fail to be served (under weather that excuses it).
    pub(crate) fn finish(&mut self, settle: u64, failures: usize) {
        let failed = self.failures();
        assert!(failed.len() <= failures, "seed {}: {}", self.seed, self.explain(&failed));
        self.check_wire();
        self.pass(settle);
        self.check_wire();
        let faults = self.server.audit();
        assert!(faults.is_empty(), "seed {}: {faults:#?}", self.seed);
        assert_eq!(self.server.flows(), 0, "seed {}: flows are left", self.seed);
    }

    /// Fails if a frame that left broke a rule.
    pub(crate) fn check_wire(&self) {
        let faults = &self.monitor.faults;
        assert!(
            faults.is_empty(),
            "seed {}: {} faults, first: {}",
            self.seed,
            faults.len(),
            self.first_fault()
        );
    }

    fn first_fault(&self) -> String {
        let fault = &self.monitor.faults[0];
        let peer = fault.split("> ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        format!("{fault}\n{}", peer.map_or_else(String::new, |peer| self.story(peer)))
    }

    fn explain(&self, failed: &[(usize, String)]) -> String {
        let Some((index, why)) = failed.first() else { return String::new() };
        let client = &self.clients[*index];
        format!(
            "{} clients failed; the first is {index}: {why}\n{:?}\n{}",
            failed.len(),
            client.plan,
            self.story(client.ends.local)
        )
    }

    /// Every frame: when, whether to the server, and its bytes.
    pub(crate) fn trace(&self) -> &[(u64, bool, Vec<u8>)] {
        &self.trace
    }

    /// The last frames of one peer that the server saw or sent.
    pub(crate) fn story(&self, peer: SocketAddr) -> String {
        let ours = |frame: &[u8]| match frame::read(frame) {
            Ok(packet) => [packet.src, packet.dst].contains(&peer),
            Err(_) => false,
        };
        let lines =
            self.trace.iter().filter(|(_, _, frame)| ours(frame)).map(|(at, to_server, frame)| {
                let way = if *to_server { "->" } else { "<-" };
                format!("{:>12.6} {way} {}", *at as f64 / 1e6, frame::describe(frame))
            });
        let lines: Vec<_> = lines.collect();
        lines[lines.len().saturating_sub(100)..].join("\n")
    }
}
