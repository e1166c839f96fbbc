//! A machine with connections: clients that open them, or a backend that accepts them in its manner.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::super::client::Ends;
use super::super::frame::{ACK, FIN, Mac, Packet, RST, SYN};
use super::super::peer::{Break, Habits, Opening, Outcome, Peer, Script};
use super::super::rng::Rng;
use super::icmp::Complaint;

/// How a backend meets a SYN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    Serves,
    /// RST.
    Refuses,
    /// Nothing, to this or any other packet.
    IsSilent,
    /// The SYN-ACK comes so long after the SYN.
    IsLate(u64),
    /// Each tuple's first SYN meets a TIME_WAIT that it cannot end: an ACK with other numbers, until a RST
    /// comes for them.
    IsHaunted,
}

/// What a connection is to be like.
pub(crate) type Draw = fn(&mut Rng) -> (Habits, Script);

/// Local and remote.
type Tuple = (SocketAddr, SocketAddr);

/// A machine.
pub(crate) struct Host {
    pub(crate) mac: Mac,
    /// The port of the middle that it is at.
    pub(crate) port: usize,
    pub(crate) manner: Manner,
    /// Its connections, also those that ended.
    pub(crate) peers: Vec<Peer>,
    /// What it accepts has at least so large a receive buffer.
    pub(crate) least_buffer: u64,
    /// What it accepts takes so much more than its window: see `Peer::beyond`.
    pub(crate) beyond: u64,
    /// Whether a PROXY header is in front of what it hears.
    pub(crate) wants_header: bool,
    /// Whether all its numbers begin near a wrap; else one in four.
    pub(crate) wraps: bool,
    /// RSTs for packets of no connection.
    pub(crate) strays: u64,
    pub(crate) listens: Option<SocketAddr>,
    /// Its own addresses beside that of `listens` and of its connections.
    pub(crate) addresses: Vec<IpAddr>,
    draw: Draw,
    rng: Rng,
    tuples: HashMap<Tuple, usize>,
    laid: HashSet<Tuple>,
    first_id: u64,
}

impl Host {
    /// A machine whose connections have numbers from `first_id` on.
    pub(crate) fn new(
        mac: Mac,
        port: usize,
        listens: Option<SocketAddr>,
        draw: Draw,
        rng: Rng,
        first_id: u64,
    ) -> Self {
        Self {
            mac,
            port,
            manner: Manner::Serves,
            peers: Vec::new(),
            least_buffer: 0,
            beyond: 0,
            wraps: false,
            wants_header: false,
            strays: 0,
            listens,
            addresses: Vec::new(),
            draw,
            rng,
            tuples: HashMap::new(),
            laid: HashSet::new(),
            first_id,
        }
    }

    /// Whether it answers for an address.
    pub(crate) fn owns(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
            || self.listens.is_none()
                && self.peers.iter().any(|peer| peer.ends.local.ip() == address)
    }

    fn opening(&mut self) -> Opening {
        let mut number = || {
            let near = u32::MAX - self.rng.below(20_000) as u32;
            if self.wraps || self.rng.chance(250) { near } else { self.rng.next() as u32 }
        };
        Opening { iss: number(), ts_offset: number() }
    }

    /// The number of the next connection's stream.
    const fn next_id(&self) -> u64 {
        self.first_id + self.peers.len() as u64
    }

    /// Opens a connection, again if one of this tuple ended.
    pub(crate) fn open(&mut self, now: u64, ends: Ends, habits: Habits, script: Script) -> usize {
        let tuple = (ends.local, ends.remote);
        let opening = match self.tuples.get(&tuple) {
            Some(&old) => self.peers[old].successor(),
            None => self.opening(),
        };
        let peer = Peer::opens(now, ends, habits, script, self.next_id(), opening);
        self.keep(tuple, peer)
    }

    fn keep(&mut self, tuple: Tuple, peer: Peer) -> usize {
        self.tuples.insert(tuple, self.peers.len());
        self.peers.push(peer);
        self.peers.len() - 1
    }

    /// Takes a packet for this machine: the connection that it concerned, and what answers if there is none.
    pub(crate) fn take(&mut self, now: u64, packet: &Packet) -> (Option<usize>, Option<Packet>) {
        let tuple = (packet.dst, packet.src);
        if self.manner == Manner::IsSilent || packet.dst_mac != self.mac {
            return (None, None);
        }
        let known = self.tuples.get(&tuple).copied();
        let yields = known.is_none_or(|peer| self.peers[peer].outcome.is_some());
        if let Some(peer) = known.filter(|_| !yields) {
            if !self.peers[peer].yields_to(packet) {
                self.peers[peer].receive(now, packet);
                return (known, None);
            }
            let opening = self.peers[peer].successor();
            return (Some(self.accept(now, packet, opening)), None);
        }
        let vanished = known.is_some_and(|peer| self.vanished(peer));
        let syn = packet.flags & (SYN | ACK | RST | FIN) == SYN;
        if vanished {
            (None, None)
        } else if syn && self.listens == Some(packet.dst) && self.manner != Manner::Refuses {
            self.meet(now, packet)
        } else {
            (None, self.reset(packet))
        }
    }

    fn vanished(&self, peer: usize) -> bool {
        self.peers[peer].outcome == Some(Outcome::Broken(Break::Vanish))
    }

    /// A SYN for a listening address.
    fn meet(&mut self, now: u64, syn: &Packet) -> (Option<usize>, Option<Packet>) {
        let tuple = (syn.dst, syn.src);
        if self.manner == Manner::IsHaunted && !self.laid.contains(&tuple) {
            let ghost = !syn.seq;
            let ends = answer_ends(syn);
            return (None, Some(Packet { seq: ghost, ack: ghost, flags: ACK, ..ends.packet() }));
        }
        let opening = self.opening();
        (Some(self.accept(now, syn, opening)), None)
    }

    fn accept(&mut self, now: u64, syn: &Packet, opening: Opening) -> usize {
        let delay = if let Manner::IsLate(delay) = self.manner { delay } else { 0 };
        let (mut habits, script) = (self.draw)(&mut self.rng);
        habits.buffer = habits.buffer.max(self.least_buffer);
        let mut peer = Peer::accepts(now, syn, (habits, script), self.next_id(), opening, delay);
        peer.beyond = self.beyond;
        peer.header = self.wants_header.then(Vec::new);
        self.keep((syn.dst, syn.src), peer)
    }

    /// Takes an error: the connection that it concerned, if there ever was one.
    pub(crate) fn hear(&mut self, now: u64, complaint: &Complaint) -> Option<usize> {
        let peer = self.tuples.get(&(complaint.src, complaint.dst)).copied()?;
        self.peers[peer].hear(now, complaint.trouble, complaint.seq);
        Some(peer)
    }

    /// RFC 9293 §3.10.7.1; a RST lays a ghost.
    fn reset(&mut self, packet: &Packet) -> Option<Packet> {
        if packet.has(RST) {
            self.laid.insert((packet.dst, packet.src));
            return None;
        }
        self.strays += 1;
        let ends = answer_ends(packet);
        Some(if packet.has(ACK) {
            Packet { seq: packet.ack, flags: RST, ..ends.packet() }
        } else {
            Packet { ack: packet.end(), flags: RST | ACK, ..ends.packet() }
        })
    }
}

fn answer_ends(packet: &Packet) -> Ends {
    Ends { mac: packet.dst_mac, server_mac: packet.src_mac, local: packet.dst, remote: packet.src }
}
