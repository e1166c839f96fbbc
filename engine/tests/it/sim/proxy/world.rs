//! A run: machines, a network on each side, and the middle, under one clock.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use super::super::client::Ends;
use super::super::frame::{self, Packet};
use super::super::network::{Happening, Network, Weather};
use super::super::peer::{Habits, Script};
use super::super::plan::{MILLI, SECOND};
use super::super::rng::Rng;
use super::cable::Middle;
use super::host::Host;
use super::icmp::{self, Router};
use super::monitor::Monitor;
use super::neighbours;

/// Frames that arrive within so many microseconds come in one burst, at the end of that time.
const GRAIN: u64 = 30;
/// How often a middle with timers is called: while connections last, and while only time passes.
const POLL: u64 = 5 * MILLI;
const IDLE_POLL: u64 = 50 * MILLI;
/// Lines of a story that is told.
const STORY: usize = 60;
/// Lines that are kept of all.
const KEPT: usize = 300_000;

/// A connection that a machine is going to open.
#[derive(Clone, Copy)]
struct Planned {
    host: usize,
    ends: Ends,
    habits: Habits,
    script: Script,
}

/// What a machine sent (true) or was given.
struct Line {
    at: u64,
    host: usize,
    sent: bool,
    packet: Packet,
    len: usize,
}

/// The world.
pub(crate) struct World<M> {
    pub(crate) now: u64,
    pub(crate) middle: M,
    pub(crate) hosts: Vec<Host>,
    pub(crate) networks: Vec<Network>,
    pub(crate) seed: u64,
    /// What is behind a port, if it does not carry everything.
    pub(crate) routers: BTreeMap<usize, Router>,
    /// A client may be reset because every backend broke off before it said who it is.
    pub(crate) backends_break: bool,
    pub(crate) monitor: Monitor,
    /// The middle is itself the other end of every connection, and its program says what it hears.
    pub(crate) echoes: bool,
    /// Who hears the stream of this number.
    pub(crate) partners: HashMap<u64, (usize, usize)>,
    /// When a connection is due: at most once.
    agenda: BTreeSet<(u64, usize, usize)>,
    scheduled: HashMap<(usize, usize), u64>,
    /// Connections that are not over.
    busy: HashSet<(usize, usize)>,
    planned: BTreeMap<(u64, usize), Planned>,
    plans: usize,
    story: VecDeque<Line>,
    /// What has arrived at the middle since it was called.
    burst: Vec<(usize, Vec<u8>)>,
    /// When the middle is called next, and how often it is.
    poll_at: Option<u64>,
    poll_every: u64,
}

impl<M: Middle> World<M> {
    /// A world with a network at each port of the middle.
    pub(crate) fn new(seed: u64, weather: &[Weather], middle: M, hosts: Vec<Host>) -> Self {
        let mut rng = Rng::new(seed);
        let networks = weather.iter().map(|&weather| Network::new(weather, Rng::new(rng.next())));
        Self {
            now: SECOND,
            middle,
            hosts,
            networks: networks.collect(),
            seed,
            routers: BTreeMap::new(),
            backends_break: false,
            monitor: Monitor::default(),
            echoes: false,
            partners: HashMap::new(),
            agenda: BTreeSet::new(),
            scheduled: HashMap::new(),
            busy: HashSet::new(),
            planned: BTreeMap::new(),
            plans: 0,
            story: VecDeque::new(),
            burst: Vec::new(),
            poll_at: M::POLLED.then_some(SECOND),
            poll_every: POLL,
        }
    }

    /// A machine opens a connection at `at`.
    pub(crate) fn plan(
        &mut self,
        at: u64,
        host: usize,
        ends: Ends,
        habits: Habits,
        script: Script,
    ) {
        self.plans += 1;
        self.planned.insert((at, self.plans), Planned { host, ends, habits, script });
    }

    /// Runs until every connection is over but for TIME_WAIT, or until `limit` more time has passed.
    pub(crate) fn run(&mut self, limit: u64) {
        let end = self.now + limit;
        self.poll_every = POLL;
        while !self.is_done() && self.next_time().is_some_and(|at| at <= end) {
            self.step();
        }
    }

    /// Lets so much time pass.
    pub(crate) fn pass(&mut self, time: u64) {
        let end = self.now + time;
        self.poll_every = IDLE_POLL;
        while self.next_time().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now = end;
    }

    fn is_done(&self) -> bool {
        self.planned.is_empty() && self.busy.is_empty()
    }

    fn next_time(&self) -> Option<u64> {
        let frames = self.networks.iter().filter_map(Network::next_time);
        let timer = self.agenda.first().map(|(at, ..)| *at);
        let start = self.planned.first_key_value().map(|((at, _), _)| *at);
        frames.chain(timer).chain(start).chain(self.poll_at).min()
    }

    fn step(&mut self) {
        let Some(at) = self.next_time() else { return };
        assert!(at >= self.now, "seed {}: time goes back", self.seed);
        self.now = at;
        if let Some(entry) = self.planned.first_entry().filter(|entry| entry.key().0 == at) {
            let plan = entry.remove();
            return self.open(plan);
        }
        if let Some(&entry) = self.agenda.first().filter(|(due, ..)| *due == at) {
            self.agenda.remove(&entry);
            let (_, host, peer) = entry;
            self.hosts[host].peers[peer].tick(self.now);
            return self.flush(host, peer);
        }
        if self.poll_at == Some(at) {
            return self.turn();
        }
        let next = self.networks.iter().position(|network| network.next_time() == Some(at));
        let Some(port) = next else { return };
        match self.networks[port].next() {
            Some((_, Happening::ToServer(frame))) => self.collect(port, frame),
            Some((_, Happening::ToClient(frame))) => self.deliver(port, &frame),
            _ => {}
        }
    }

    fn open(&mut self, plan: Planned) {
        let peer = self.hosts[plan.host].open(self.now, plan.ends, plan.habits, plan.script);
        self.flush(plan.host, peer);
    }

    /// Keeps a frame for the middle, which is called soon. Meanwhile the machines go on: were their clock
    /// moved, it would run ahead of what they have planned.
    fn collect(&mut self, port: usize, frame: Vec<u8>) {
        self.burst.push((port, frame));
        let soon = self.now + GRAIN;
        self.poll_at = Some(self.poll_at.map_or(soon, |at| at.min(soon)));
    }

    fn turn(&mut self) {
        let burst = std::mem::take(&mut self.burst);
        self.poll_at = M::POLLED.then_some(self.now + self.poll_every);
        if M::POLLED {
            self.monitor.arrive(&burst);
        }
        for (port, frame) in self.middle.turn(self.now, burst) {
            if M::POLLED {
                self.monitor.leaves(port, &frame);
            }
            match self.answer_question(port, &frame) {
                Some(answer) => {
                    self.networks[port].at(self.now + GRAIN, Happening::ToServer(answer))
                }
                None => self.carry(port, false, frame),
            }
        }
    }

    /// Sends a frame on its way to the middle or to the machines, or its sender what the router says of it.
    fn carry(&mut self, port: usize, to_middle: bool, frame: Vec<u8>) {
        match self.routers.get_mut(&port).and_then(|router| router.refuse(&frame)) {
            Some(complaint) => self.networks[port].send(self.now, !to_middle, complaint),
            None => self.networks[port].send(self.now, to_middle, frame),
        }
    }

    /// An error for a machine. What is spoilt on the way is not heard.
    fn complain(&mut self, port: usize, bytes: &[u8]) {
        let Some(Ok(complaint)) = icmp::read(bytes) else { return };
        let is_there = |host: &Host| host.port == port && host.mac == complaint.to_mac;
        let Some(host) = self.hosts.iter().position(is_there) else { return };
        match self.hosts[host].hear(self.now, &complaint) {
            Some(peer) => self.flush(host, peer),
            None => self.monitor.faults.push(format!("about no connection: {complaint:?}")),
        }
    }

    fn deliver(&mut self, port: usize, bytes: &[u8]) {
        let Ok(packet) = frame::read(bytes) else { return self.complain(port, bytes) };
        for host in 0..self.hosts.len() {
            if self.hosts[host].port != port || self.hosts[host].mac != packet.dst_mac {
                continue;
            }
            self.tell(host, false, &packet);
            let (peer, answer) = self.hosts[host].take(self.now, &packet);
            if let Some(answer) = answer {
                self.send(host, &answer);
            }
            if let Some(peer) = peer {
                self.note_pair(host, peer);
                self.flush(host, peer);
            }
        }
    }

    /// Notes whose stream a connection hears, and holds what it was told against what the other end has:
    /// nothing is acknowledged but by the ends themselves.
    fn note_pair(&mut self, host: usize, peer: usize) {
        let own = &self.hosts[host].peers[peer];
        if self.echoes {
            return;
        }
        if let Some(id) = own.heard.id() {
            self.partners.entry(id).or_insert((host, peer));
        }
        let acknowledged = own.acknowledged();
        if let Some(&(h, p)) = self.partners.get(&own.stream.id) {
            let other = &self.hosts[h].peers[p];
            if acknowledged > other.heard.len {
                let (what, has) = (own.ends, other.heard.len);
                self.monitor.faults.push(format!(
                    "{acknowledged} bytes were acknowledged, the other has {has}: {what:?}"
                ));
            }
        } else if acknowledged > 8 {
            let what = own.ends;
            self.monitor.faults.push(format!("{acknowledged} bytes nobody heard: {what:?}"));
        }
    }

    /// The answer to a question for the MAC of a machine's address: the switch has it, in any weather.
    fn answer_question(&self, port: usize, frame: &[u8]) -> Option<Vec<u8>> {
        neighbours::answer(frame, |address| {
            let mut machines = self.hosts.iter().filter(|host| host.port == port);
            machines.find(|host| host.owns(address)).map(|host| host.mac)
        })
    }

    /// Sends what a connection has to say, and notes when it is due again.
    fn flush(&mut self, host: usize, peer: usize) {
        for packet in std::mem::take(&mut self.hosts[host].peers[peer].out) {
            self.send(host, &packet);
        }
        if self.hosts[host].peers[peer].is_done() {
            self.busy.remove(&(host, peer));
        } else {
            self.busy.insert((host, peer));
        }
        if let Some(before) = self.scheduled.remove(&(host, peer)) {
            self.agenda.remove(&(before, host, peer));
        }
        if let Some(due) = self.hosts[host].peers[peer].deadline() {
            assert!(due > self.now, "seed {}: a timer that nobody stops", self.seed);
            self.scheduled.insert((host, peer), due);
            self.agenda.insert((due, host, peer));
        }
    }

    fn send(&mut self, host: usize, packet: &Packet) {
        self.tell(host, true, packet);
        let port = self.hosts[host].port;
        self.carry(port, true, packet.write());
    }

    fn tell(&mut self, host: usize, sent: bool, packet: &Packet) {
        let len = packet.payload.len();
        let packet = Packet { payload: Vec::new(), options: packet.options.clone(), ..*packet };
        self.story.push_back(Line { at: self.now, host, sent, packet, len });
        if self.story.len() > KEPT {
            self.story.pop_front();
        }
    }

    /// The last packets of some connections, as their machines saw them.
    pub(crate) fn story(&self, of: &[(usize, usize)]) -> String {
        let ends: Vec<_> =
            of.iter().map(|&(host, peer)| (host, self.hosts[host].peers[peer].ends)).collect();
        let told = |line: &&Line| {
            ends.iter().any(|(host, ends)| {
                let (local, remote) = if line.sent {
                    (line.packet.src, line.packet.dst)
                } else {
                    (line.packet.dst, line.packet.src)
                };
                line.host == *host && (local, remote) == (ends.local, ends.remote)
            })
        };
        let lines: Vec<_> = self.story.iter().filter(told).map(Line::text).collect();
        lines[lines.len().saturating_sub(STORY)..].join("\n")
    }
}

impl Line {
    fn text(&self) -> String {
        let way = if self.sent { "sent" } else { "got " };
        let what = self.packet.describe(self.len);
        format!("{:>12.6} host {} {way} {what}", self.at as f64 / 1e6, self.host)
    }
}
