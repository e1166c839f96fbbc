//! A worker between clients and a backend, on two memory ports: what the benches of proxied flows time or
//! count. As in [`crate::rig`], the peers' work is never part of it.

use std::time::Duration;

use usher::clock::{Clock, FakeClock};
use usher::config::Cookies;
use usher::port::memory::{self, MemoryFrame, MemoryQueue, Options, Wire};
use usher::port::{BURST, Burst, Frame};
use usher::testing::{self, Setup};
use usher::worker::Worker;
use usher_proto::tcp::State;
use usher_proto::testing::{Envelope, OUR_MAC, Read, TcpFrame, arp, read, tcp};
use usher_proto::wire::{
    Checked, Flags, Link, Mac, Parsed, PortView, Reply, ReplyOptions, RxChecksums, Segment, SeqNum,
    Timestamps, Tuple, TxChecksums, emit, parse,
};

use crate::rig::{CLIENT, REQUEST, syn, tuple};
use crate::time::instant;

/// Flows that fit.
const CAPACITY: u32 = 1 << 16;
const LAN: Mac = Mac([2, 0, 0, 0, 0, 0x20]);
const BACKEND: Mac = Mac([2, 0, 0, 0, 0, 0x21]);
const ANSWER: &[u8] = b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";

/// Two NOPs: in front of timestamps and of SACK, where nearly all stacks put them (RFC 7323 appendix A).
const NOPS: [u8; 2] = [1, 1];

/// A worker that proxies, and its two networks.
pub struct Front {
    worker: Worker<MemoryQueue>,
    wan: Wire,
    lan: Wire,
    clock: FakeClock,
    spent: Duration,
    /// The next client.
    number: u32,
    /// Established flows, for [`Front::segments`].
    flows: Vec<Established>,
    /// Which of them is next.
    dice: u64,
}

/// What [`Front::segments`] sends.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A client's data.
    Data,
    /// A backend's ACK of nothing new, with a SACK block.
    Sack,
}

/// Where both ends of a flow are.
struct Established {
    client: Tuple,
    client_seq: SeqNum,
    client_ack: SeqNum,
    backend: Tuple,
    backend_seq: SeqNum,
    backend_ack: SeqNum,
    /// TSvals: the client's, ours towards it, ours towards the backend, the backend's.
    stamps: [u32; 4],
}

impl Front {
    /// A worker whose backend has been checked.
    #[must_use]
    pub fn new(cookies: Cookies) -> Self {
        let options = |mac| Options { mac, buffers: 8192, ring: 4096, ..Options::default() };
        let (mut wan, wan_wire) = memory::new("wan", &options(OUR_MAC));
        let (mut lan, lan_wire) = memory::new("lan", &options(LAN));
        let mut clock = FakeClock::default();
        let setup = Setup {
            cookies,
            half_open_limit: 1 << 20,
            capacity: CAPACITY,
            shared: true,
            ..Setup::default()
        };
        let (plan, ports) = (testing::proxy_plan(&setup, ""), [&mut wan, &mut lan]);
        let worker = testing::proxy_worker(&plan, ports, clock.now()).expect("it starts");
        let (spent, flows) = (Duration::ZERO, Vec::new());
        let mut front =
            Self { worker, wan: wan_wire, lan: lan_wire, clock, spent, number: 0, flows, dice: 1 };
        for _ in 0..4 {
            front.turn(1_000_000); // announcements, the check
            front.be_checked();
        }
        front
    }

    /// P6: at least `connections` connections, a burst of them side by side: both handshakes, the request
    /// with the third ACK, the answer with the backend's FIN, the client's FIN, the last ACK. The worker's
    /// time for `connections`.
    ///
    /// # Panics
    ///
    /// If one does not end well.
    pub fn connections(&mut self, connections: u64) -> Duration {
        self.spent = Duration::ZERO;
        let bursts = connections.div_ceil(BURST as u64);
        for _ in 0..bursts {
            let before = self.worker.flows(State::TimeWait) + self.worker.flows(State::Closed);
            self.begin();
            while self.exchange(Self::of_client, Self::of_backend) > 0 {}
            let after = self.worker.flows(State::TimeWait) + self.worker.flows(State::Closed);
            assert!(after == before + BURST as u32 || after > CAPACITY / 2, "{before} {after}");
        }
        self.spent.mul_f64(connections as f64 / (bursts * BURST as u64) as f64)
    }

    /// Establishes so many flows, for [`Self::segments`].
    pub fn establish(&mut self, flows: usize) {
        while self.flows.len() < flows {
            self.begin();
            while self.exchange(Self::open_client, Self::of_backend_open) > 0 {}
        }
    }

    /// P5: at least `segments` segments of this kind, of random established flows, in bursts. The worker's time
    /// for `segments`.
    ///
    /// # Panics
    ///
    /// If none is established, or one does not pass.
    pub fn segments(&mut self, kind: Kind, segments: u64) -> Duration {
        self.spent = Duration::ZERO;
        let bursts = segments.div_ceil(BURST as u64);
        for _ in 0..bursts {
            for _ in 0..BURST {
                self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let number = (self.dice >> 33) as usize % self.flows.len();
                let flow = &mut self.flows[number];
                let sent = match kind {
                    Kind::Data => self.wan.send(0, &flow.data()),
                    Kind::Sack => self.lan.send(0, &flow.sack()),
                };
                assert!(sent, "room in the ring");
            }
            self.turn(10);
            let out = match kind {
                Kind::Data => &self.lan,
                Kind::Sack => &self.wan,
            };
            let mut sent = Burst::new();
            out.receive_burst(0, &mut sent);
            assert_eq!(sent.len(), BURST);
        }
        self.spent.mul_f64(segments as f64 / (bursts * BURST as u64) as f64)
    }

    /// A burst of SYNs.
    fn begin(&mut self) {
        let first = self.number;
        self.number += BURST as u32;
        for number in first..self.number {
            let link = Link { src: CLIENT, dst: OUR_MAC, vlan: 0 };
            say(&self.wan, &link, &tuple(number), &syn(number), b"");
        }
    }

    /// A turn, and what the peers say to what came out. How many frames that were.
    fn exchange(
        &mut self,
        client: impl Fn(&mut Self, &Segment),
        backend: impl Fn(&mut Self, &Segment),
    ) -> usize {
        self.turn(10);
        let (mut to_client, mut to_backend) = (Burst::new(), Burst::new());
        self.wan.receive_burst(0, &mut to_client);
        self.lan.receive_burst(0, &mut to_backend);
        let count = to_client.len() + to_backend.len();
        to_client
            .iter()
            .filter_map(|frame| segment(frame, CLIENT))
            .for_each(|seg| client(self, &seg));
        let to_backend = to_backend.iter().filter_map(|frame| segment(frame, BACKEND));
        to_backend.for_each(|seg| backend(self, &seg));
        count
    }

    /// A client that asks with its third ACK and closes when the answer has come.
    fn of_client(&mut self, seg: &Segment) {
        let (flags, payload) = match seg.flags {
            flags if flags.has(Flags::SYN) => (Flags::ACK | Flags::PSH, REQUEST),
            flags if flags.has(Flags::FIN) => (Flags::ACK | Flags::FIN, b"".as_slice()),
            _ => return,
        };
        let link = Link { src: CLIENT, dst: OUR_MAC, vlan: 0 };
        say(&self.wan, &link, &seg.tuple, &reply(seg, flags), payload);
    }

    /// A backend that answers a request and closes.
    fn of_backend(&mut self, seg: &Segment) {
        let link = Link { src: BACKEND, dst: LAN, vlan: 0 };
        if seg.flags.has(Flags::SYN) {
            return say(&self.lan, &link, &seg.tuple, &syn_ack(seg), b"");
        }
        let (flags, payload) = match (seg.payload_len, seg.flags) {
            (1.., _) => (Flags::ACK | Flags::FIN | Flags::PSH, ANSWER),
            (0, flags) if flags.has(Flags::FIN) => (Flags::ACK, b"".as_slice()),
            _ => return,
        };
        say(&self.lan, &link, &seg.tuple, &reply(seg, flags), payload);
    }

    /// A client that says nothing more.
    fn open_client(&mut self, seg: &Segment) {
        if seg.flags.has(Flags::SYN) {
            let link = Link { src: CLIENT, dst: OUR_MAC, vlan: 0 };
            say(&self.wan, &link, &seg.tuple, &reply(seg, Flags::ACK), b"");
            self.flows.push(Established::of(seg));
        }
    }

    fn of_backend_open(&mut self, seg: &Segment) {
        if !seg.flags.has(Flags::SYN) {
            return;
        }
        let link = Link { src: BACKEND, dst: LAN, vlan: 0 };
        say(&self.lan, &link, &seg.tuple, &syn_ack(seg), b"");
        // in the order of the clients, whose frames came out in theirs
        if let Some(flow) = self.flows.iter_mut().find(|flow| flow.backend == Tuple::default()) {
            flow.join(seg);
        }
    }

    /// A turn, timed. Out of line, so that an instruction counter finds it by its name.
    #[inline(never)]
    fn turn(&mut self, us: u64) {
        self.clock.advance_us(us);
        let now = self.clock.now();
        let start = instant();
        self.worker.turn(now);
        self.spent += start.elapsed();
    }

    /// Answers what the worker asks the backend's network: where it is, and whether it works.
    fn be_checked(&mut self) {
        loop {
            let mut frames = Burst::new();
            self.lan.receive_burst(0, &mut frames);
            self.wan.receive_burst(0, &mut Burst::new());
            if frames.is_empty() {
                return;
            }
            for frame in &frames {
                match read(frame.bytes()) {
                    Read::Arp(asked) if asked.target.1.octets() == [10, 20, 0, 2] => {
                        let reply = arp().sender("10.20.0.2").sender_mac(BACKEND);
                        self.lan.send(0, &reply.target("10.20.0.1").reply_to(LAN).build());
                    }
                    Read::Tcp(_) => {
                        if let Some(seg) = segment(frame, BACKEND) {
                            self.of_backend(&seg);
                        }
                    }
                    _ => {}
                }
            }
            self.turn(10);
        }
    }
}

impl Established {
    /// A flow whose client got this SYN-ACK.
    fn of(seg: &Segment) -> Self {
        let stamps = seg.options.timestamps.unwrap_or_default();
        Self {
            client: seg.tuple,
            client_seq: seg.ack,
            client_ack: seg.end(),
            backend: Tuple::default(),
            backend_seq: SeqNum(0),
            backend_ack: SeqNum(0),
            stamps: [stamps.ecr, stamps.val, 0, 0],
        }
    }

    /// Its backend got this SYN.
    fn join(&mut self, seg: &Segment) {
        self.backend = seg.tuple;
        (self.backend_seq, self.backend_ack) = (backend_iss(seg).add(1), seg.end());
        let stamps = seg.options.timestamps.unwrap_or_default();
        (self.stamps[2], self.stamps[3]) = (stamps.val, BACKEND_STAMP);
    }

    /// The client's next data.
    fn data(&mut self) -> Vec<u8> {
        self.stamps[0] = self.stamps[0].wrapping_add(1);
        let frame = between(&self.client)
            .src_mac(CLIENT)
            .dst_mac(OUR_MAC)
            .ack(self.client_seq.0, self.client_ack.0)
            .option(&NOPS)
            .timestamps(self.stamps[0], self.stamps[1])
            .payload(REQUEST);
        // the same bytes again: nobody acknowledges them
        frame.build()
    }

    /// The backend's ACK of nothing new, with a block of what came behind a hole.
    fn sack(&mut self) -> Vec<u8> {
        self.stamps[3] = self.stamps[3].wrapping_add(1);
        between(&self.backend)
            .src_mac(BACKEND)
            .dst_mac(LAN)
            .ack(self.backend_seq.0, self.backend_ack.0)
            .option(&NOPS)
            .timestamps(self.stamps[3], self.stamps[2])
            .option(&NOPS)
            .sack(&[(self.backend_ack.0.wrapping_add(4), self.backend_ack.0.wrapping_add(9))])
            .build()
    }
}

/// A frame from a peer whose own view of its connection is `tuple`.
fn between(tuple: &Tuple) -> TcpFrame {
    tcp().tuple(&Tuple {
        remote: tuple.local,
        local: tuple.remote,
        remote_port: tuple.local_port,
        local_port: tuple.remote_port,
        ..*tuple
    })
}

/// The segment in a frame for a peer of this MAC, as it sees it.
fn segment(frame: &MemoryFrame, mac: Mac) -> Option<Segment> {
    let port = PortView { mac, vlan: 0, index: 0 };
    let known = RxChecksums { ip: Checked::Good, l4: Checked::Good };
    match parse(frame.bytes(), &port, known) {
        Ok(Parsed::Tcp(seg)) => Some(seg),
        _ => None,
    }
}

/// The answer to `seg`, in order.
fn reply(seg: &Segment, flags: Flags) -> Reply {
    let timestamps = seg.options.timestamps.map(|ts| Timestamps { val: ts.ecr, ecr: ts.val });
    let options = ReplyOptions { timestamps, ..ReplyOptions::default() };
    Reply { seq: seg.ack, ack: seg.end(), flags, window: 502, options, ..Reply::default() }
}

/// The backend's first TSval.
const BACKEND_STAMP: u32 = 1_000_000;

fn backend_iss(seg: &Segment) -> SeqNum {
    SeqNum(seg.seq.0.wrapping_mul(2_654_435_761))
}

/// A backend's SYN-ACK with everything that was asked for.
fn syn_ack(seg: &Segment) -> Reply {
    let options = ReplyOptions {
        mss: Some(1460),
        window_scale: seg.options.window_scale.map(|_| 7),
        sack_permitted: seg.options.sack_permitted,
        timestamps: seg.options.timestamps.map(|ts| Timestamps { val: BACKEND_STAMP, ecr: ts.val }),
    };
    let flags = Flags::SYN | Flags::ACK;
    Reply {
        seq: backend_iss(seg),
        ack: seg.end(),
        flags,
        window: 65_160,
        options,
        ..Reply::default()
    }
}

/// Puts a frame of a peer's, whose own end is `tuple.local`, on a wire.
fn say(wire: &Wire, link: &Link, tuple: &Tuple, reply: &Reply, payload: &[u8]) {
    let mut frame = wire.alloc().expect("a buffer");
    let len = emit(frame.room(), link, tuple, reply, payload, TxChecksums::default());
    frame.set_len(len.expect("room"));
    wire.give(0, frame).expect("the ring has room");
}
