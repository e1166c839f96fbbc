//! A worker on a memory port with its clients beside it: what the benches of whole frames time or count.
//!
//! The clients' work is never part of it: `Rig::turn` is the worker's turn alone, with what the memory
//! port takes to hand over its frames.

use std::collections::VecDeque;
use std::time::Duration;

use usher::clock::{Clock, FakeClock};
use usher::config::Cookies;
use usher::handoff::{ConsumerEnd, Event, ends};
use usher::port::memory::{self, MemoryFrame, MemoryQueue, Options, Wire};
use usher::port::{BURST, Burst, Frame};
use usher::testing::{self, Setup};
use usher::worker::Worker;
use usher_proto::tcp::State;
use usher_proto::testing::OUR_MAC;
use usher_proto::time::Now;
use usher_proto::verdict::End;
use usher_proto::wire::{
    Addr, Checked, Flags, Link, Mac, Parsed, PortView, Reply, ReplyOptions, RxChecksums, Segment,
    SeqNum, Timestamps, Tuple, TxChecksums, emit, parse,
};

use crate::time::instant;

/// Flows that fit: TIME_WAIT of the connections, of which the newest evict the oldest.
const CAPACITY: u32 = 1 << 16;

/// Events that the consumer's ring holds: an engine's default.
const RING: usize = 4096;

/// SYNs that have come and are in the port's ring, at most: fewer than it holds. What comes beyond waits in front of it.
const FED: usize = 128;

/// A worker, the other end of its port, and the time that its turns took.
pub struct Rig {
    worker: Worker<MemoryQueue>,
    wire: Wire,
    clock: FakeClock,
    spent: Duration,
    sent: Burst<MemoryFrame>,
    /// The next client.
    number: u32,
    /// Who answers where the worker does not.
    consumer: Option<ConsumerEnd>,
}

impl Rig {
    /// A worker that answers new clients so, and has made its announcements.
    #[must_use]
    pub fn new(cookies: Cookies) -> Self {
        Self::with_capacity(cookies, CAPACITY)
    }

    /// The same with room for so many flows.
    ///
    /// # Panics
    ///
    /// Never: a memory port starts.
    #[must_use]
    pub fn with_capacity(cookies: Cookies, capacity: u32) -> Self {
        let options = Options { mac: OUR_MAC, ..Options::default() };
        let (mut port, wire) = memory::new("wan", &options);
        let mut clock = FakeClock::default();
        let half_open_limit = capacity.max(1 << 20);
        let setup = Setup { cookies, half_open_limit, capacity, shared: true, answer: ANSWER };
        let worker = testing::worker(&setup, &mut port, clock.now()).expect("it starts");
        Self::announced(worker, wire, clock, None)
    }

    /// The same with a `ring` service, whose consumer answers every request and closes, on the worker's own thread.
    ///
    /// # Panics
    ///
    /// Never: memory ports start.
    #[must_use]
    pub fn with_consumer(cookies: Cookies) -> Self {
        let options = Options { mac: OUR_MAC, ..Options::default() };
        let (mut wan, wire) = memory::new("wan", &options);
        let (mut lan, _) = memory::new("lan", &options);
        let mut clock = FakeClock::default();
        let setup = Setup {
            cookies,
            half_open_limit: 1 << 20,
            capacity: CAPACITY,
            shared: true,
            ..Setup::default()
        };
        let (plan, ports) = (testing::ring_plan(&setup, ""), [&mut wan, &mut lan]);
        let mut worker = testing::proxy_worker(&plan, ports, clock.now()).expect("it starts");
        let (end, consumer) = ends(RING);
        worker.attach(0, Box::new(end), clock.now()).expect("nobody else is there");
        Self::announced(worker, wire, clock, Some(consumer))
    }

    fn announced(
        worker: Worker<MemoryQueue>,
        wire: Wire,
        clock: FakeClock,
        consumer: Option<ConsumerEnd>,
    ) -> Self {
        let (spent, sent) = (Duration::ZERO, Burst::new());
        let mut rig = Self { worker, wire, clock, spent, sent, number: 0, consumer };
        for _ in 0..4 {
            rig.turn(1_000_000); // announcements
            rig.receive();
        }
        rig
    }

    /// P1: at least `packets` SYNs in full bursts, each of another client. The worker's time for `packets`.
    ///
    /// # Panics
    ///
    /// If one is not answered.
    pub fn syns(&mut self, packets: u64) -> Duration {
        self.in_bursts(packets, |rig| {
            for number in rig.clients() {
                rig.say(&tuple(number), &syn(number), b"");
            }
            rig.turn(2);
            rig.receive();
            assert_eq!(rig.sent.len(), BURST);
        })
    }

    /// P4: at least `connections` connections, a burst of them side by side: SYN, third ACK with the request,
    /// answer with FIN, FIN, last ACK. The worker's time for `connections`.
    ///
    /// # Panics
    ///
    /// If one is not answered.
    pub fn connections(&mut self, connections: u64) -> Duration {
        self.in_bursts(connections, |rig| {
            for number in rig.clients() {
                rig.say(&tuple(number), &syn(number), b"");
            }
            for _ in 0..3 {
                rig.turn(10);
                rig.receive();
                let sent = std::mem::take(&mut rig.sent);
                assert_eq!(sent.len(), BURST);
                sent.iter().for_each(|frame| rig.respond(frame.bytes()));
            }
        })
    }

    /// At least `connections` connections whose consumer answers, a burst of them side by side: as P4, with the way of
    /// what is heard to the consumer and of what it says back to the worker. The time of both for `connections`.
    ///
    /// # Panics
    ///
    /// If one is not answered, or the rig has no consumer.
    pub fn answered_connections(&mut self, connections: u64) -> Duration {
        self.in_bursts(connections, |rig| {
            for number in rig.clients() {
                rig.say(&tuple(number), &syn(number), b"");
            }
            let mut ended = 0;
            for _ in 0..4 {
                rig.turn(10);
                ended += rig.consume();
                rig.receive();
                let sent = std::mem::take(&mut rig.sent);
                sent.iter().for_each(|frame| rig.respond(frame.bytes()));
            }
            assert_eq!(ended, BURST, "every connection ends well");
        })
    }

    /// What the consumer does when it is polled, timed. How many flows have ended.
    fn consume(&mut self) -> usize {
        let consumer = self.consumer.as_mut().expect("a consumer");
        let (mut asked, mut ended) = (Burst::new(), 0);
        let start = instant();
        consumer.poll(4 * BURST, |event| match event {
            Event::Data { flow, .. } => asked.push(flow),
            Event::Ended { why, .. } => ended += usize::from(why == End::Closed),
            _ => {}
        });
        for flow in asked {
            assert!(consumer.respond(flow, ANSWER), "there are chunks");
        }
        self.spent += start.elapsed();
        ended
    }

    /// P12: `syns` SYNs, each of another client and `gap` ns after the one before, whatever the worker does meanwhile;
    /// `took` is told for each how long it was from its arrival to its answer, in ns. Only the worker's turns take
    /// time, and waiting for the next SYN where none has come.
    ///
    /// # Panics
    ///
    /// If one is not answered, in order.
    pub fn syns_as_they_come(
        &mut self,
        syns: u64,
        mut gap: impl FnMut() -> f64,
        mut took: impl FnMut(u64),
    ) {
        let mut waiting = VecDeque::with_capacity(FED);
        let (mut at, mut next, mut left) = (0.0f64, gap(), syns);
        while left > 0 || !waiting.is_empty() {
            if waiting.is_empty() {
                at = at.max(next);
            }
            while left > 0 && next <= at && waiting.len() < FED {
                self.say(&tuple(self.number), &syn(self.number), b"");
                self.number += 1;
                waiting.push_back(next);
                next += gap();
                left -= 1;
            }
            let before = self.spent;
            self.turn(1);
            at += (self.spent - before).as_nanos() as f64;
            self.receive();
            for frame in &self.sent {
                assert!(is_syn_ack(frame.bytes()), "an answer");
                let arrived = waiting.pop_front().expect("a SYN for each answer");
                took((at - arrived) as u64);
            }
        }
    }

    /// P9: connections that are opened and stay open, `flows` at most; how many there are then.
    pub fn open(&mut self, flows: u32) -> u32 {
        let last = self.number + flows;
        while self.number < last {
            let first = self.number;
            self.number = (first + BURST as u32).min(last);
            for number in first..self.number {
                self.say(&tuple(number), &syn(number), b"");
            }
            self.turn(10);
            self.receive();
            for frame in std::mem::take(&mut self.sent) {
                self.acknowledge(frame.bytes());
            }
            self.turn(10);
            self.receive();
        }
        self.worker.flows(State::Established)
    }

    fn in_bursts(&mut self, wanted: u64, mut burst: impl FnMut(&mut Self)) -> Duration {
        self.spent = Duration::ZERO;
        let bursts = wanted.div_ceil(BURST as u64);
        (0..bursts).for_each(|_| burst(self));
        self.spent.mul_f64(wanted as f64 / (bursts * BURST as u64) as f64)
    }

    /// The next burst of clients.
    fn clients(&mut self) -> std::ops::Range<u32> {
        let first = self.number;
        self.number += BURST as u32;
        first..self.number
    }

    /// A turn, timed. Out of line, so that an instruction counter finds it by its name.
    #[inline(never)]
    fn turn(&mut self, us: u64) {
        self.clock.advance_us(us);
        let now: Now = self.clock.now();
        let start = instant();
        self.worker.turn(now);
        self.spent += start.elapsed();
    }

    /// What the worker sent is in `sent`.
    fn receive(&mut self) {
        self.sent.clear();
        self.wire.receive_burst(0, &mut self.sent);
    }

    /// A frame of the client's in a buffer of the port's. The emitter writes from local to remote: `tuple`
    /// is the client's own view.
    fn say(&self, tuple: &Tuple, reply: &Reply, payload: &[u8]) {
        let link = Link { src: CLIENT, dst: OUR_MAC, vlan: 0 };
        let mut frame = self.wire.alloc().expect("a buffer");
        let len = emit(frame.room(), &link, tuple, reply, payload, TxChecksums::default());
        frame.set_len(len.expect("room"));
        self.wire.give(0, frame).expect("the ring has room");
    }

    /// The third ACK to a SYN-ACK.
    fn acknowledge(&self, frame: &[u8]) {
        let Some(seg) = segment(frame) else { return };
        let ts = seg.options.timestamps.map(|ts| Timestamps { val: ts.ecr, ecr: ts.val });
        let options = ReplyOptions { timestamps: ts, ..ReplyOptions::default() };
        let (seq, ack, flags) = (seg.ack, seg.end(), Flags::ACK);
        self.say(
            &seg.tuple,
            &Reply { seq, ack, flags, window: 502, options, ..Reply::default() },
            b"",
        );
    }

    /// What the client says to a frame: the request to a SYN-ACK, its FIN to the answer.
    fn respond(&self, frame: &[u8]) {
        let Some(seg) = segment(frame) else { panic!("not TCP") };
        let ts = seg.options.timestamps.map(|ts| Timestamps { val: ts.ecr, ecr: ts.val });
        let (flags, payload) = match seg.flags {
            flags if flags.has(Flags::SYN) => (Flags::ACK | Flags::PSH, REQUEST),
            flags if flags.has(Flags::FIN) => (Flags::ACK | Flags::FIN, b"".as_slice()),
            _ => return,
        };
        let options = ReplyOptions { timestamps: ts, ..ReplyOptions::default() };
        let reply =
            Reply { seq: seg.ack, ack: seg.end(), flags, window: 502, options, ..Reply::default() };
        self.say(&seg.tuple, &reply, payload);
    }
}

/// The segment in a frame for the client.
fn segment(frame: &[u8]) -> Option<Segment> {
    let port = PortView { mac: CLIENT, vlan: 0, index: 0 };
    let known = RxChecksums { ip: Checked::Good, l4: Checked::Good };
    match parse(frame, &port, known) {
        Ok(Parsed::Tcp(seg)) => Some(seg),
        _ => None,
    }
}

fn is_syn_ack(frame: &[u8]) -> bool {
    segment(frame).is_some_and(|seg| seg.flags.has(Flags::SYN | Flags::ACK))
}

/// The client's MAC.
pub(crate) const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 9]);

/// A client's connection number `n` as the client sees it: `local` is its own end.
pub(crate) fn tuple(n: u32) -> Tuple {
    let [_, a, b, c] = (n >> 14).to_be_bytes();
    Tuple {
        local: Addr::v4([10, a | 1, b, c]),
        remote: Addr::v4([10, 10, 0, 10]),
        local_port: 1024 + (n & 0x3fff) as u16,
        remote_port: 80,
        ..Tuple::default()
    }
}

/// A Linux client's SYN: 74 bytes.
pub(crate) fn syn(isn: u32) -> Reply {
    let options = ReplyOptions {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some(Timestamps { val: 7, ecr: 0 }),
    };
    Reply { seq: SeqNum(isn), flags: Flags::SYN, window: 64_240, options, ..Reply::default() }
}

pub(crate) const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

const ANSWER: &[u8] = b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";
