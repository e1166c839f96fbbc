//! A worker allocates nothing once it has been made, nor does a consumer: a binary of its own, as the allocator is
//! everybody's.
//!
//! Whole connections, a flood, strangers, neighbours, a full table, an empty pool, timers and a drain go
//! through a worker on a memory port in every cookie mode, while an allocator counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use arrayvec::ArrayVec;
use usher::clock::{Clock, FakeClock};
use usher::config::Cookies;
use usher::handoff::{Command, ConsumerEnd, Event, Payload, ends};
use usher::port::memory::{self, MemoryQueue, Options, Wire};
use usher::port::{Burst, Frame};
use usher::stats::{Counter, ServiceCounter, WorkerSnapshot};
use usher::testing::{self, Setup};
use usher::worker::{FlowFilter, Outfit, Sample, Worker};
use usher_proto::testing::{Envelope, OUR_MAC, Read, TcpFrame, arp, echo, solicit, tcp, try_read};
use usher_proto::wire::{Flags, Mac, TxChecksums};

/// Counts what the thread that asked for it allocates, and allocates.
struct Counting;

thread_local! {
    static COUNT: Cell<Option<u64>> = const { Cell::new(None) };
}

fn note() {
    COUNT.with(|count| count.set(count.get().map(|n| n + 1)));
}

// SAFETY: everything is left to the system's allocator; counting touches a constant-initialised cell
// without a destructor, which neither allocates nor fails.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the caller's duties are the trait's and are passed on.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller answers for `layout`.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: as above.
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        note();
        // SAFETY: the caller answers for both; `at` came from `System`.
        unsafe { System.dealloc(at, layout) }
    }

    // SAFETY: as above.
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller answers for all three; `at` came from `System`.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations, reallocations and releases of this thread in `work`.
fn allocations(work: impl FnOnce()) -> u64 {
    COUNT.with(|count| count.set(Some(0)));
    work();
    COUNT.with(|count| count.take()).unwrap_or_default()
}

/// Bytes of the answer: several segments, more than an initial window.
const ANSWER: usize = 20_000;

struct Bench {
    worker: Worker<MemoryQueue>,
    wire: Wire,
    clock: FakeClock,
    allocated: u64,
}

impl Bench {
    fn new(cookies: Cookies, tx_checksums: TxChecksums) -> Self {
        let options = Options { mac: OUR_MAC, tx_checksums, ..Options::default() };
        let (mut port, wire) = memory::new("wan", &options);
        let mut clock = FakeClock::default();
        let answer = vec![b'x'; ANSWER];
        let setup =
            Setup { cookies, half_open_limit: 40, capacity: 64, shared: true, answer: &answer };
        let worker = testing::worker(&setup, &mut port, clock.now()).expect("it starts");
        Self { worker, wire, clock, allocated: 0 }
    }

    /// Goes on with another answer. The worker gives back what it no longer needs.
    fn reload(&mut self, cookies: Cookies) {
        let setup = Setup { cookies, half_open_limit: 40, answer: b"new", ..Setup::default() };
        let (view, now) = (self.worker.view(), self.clock.now());
        let view = view.following(&testing::plan(&setup), view.keyring().clone(), |_| true);
        let outfit = Outfit::all(&Arc::new(view.expect("few services")), 1).remove(0);
        let (worker, mut old) = (&mut self.worker, None);
        self.allocated += allocations(|| old = Some(worker.adopt(outfit, now)));
        drop(old);
        self.sample();
    }

    /// Has the flows sampled: room for half of what there may be, and then for all.
    fn sample(&mut self) {
        let now = self.clock.now();
        for limit in [32, 128] {
            let mut sample = Sample::new(FlowFilter::default(), limit, 5);
            let worker = &self.worker;
            self.allocated += allocations(|| {
                while !sample.is_finished() {
                    worker.sample(&mut sample, &now);
                }
            });
            assert!(sample.flows().len() == limit.min(self.worker.records() as usize));
        }
    }

    /// Lets `ms` pass and the worker turn, with its allocations counted.
    fn turn(&mut self, ms: u64) {
        self.clock.advance_ms(ms);
        let now = self.clock.now();
        let worker = &mut self.worker;
        self.allocated += allocations(|| {
            worker.turn(now);
        });
    }

    fn send(&self, frame: &[u8]) {
        let _ = self.wire.send(0, frame);
    }

    /// What came back, drained burst by burst.
    fn replies(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut burst = Burst::new();
        loop {
            self.wire.receive_burst(0, &mut burst);
            if burst.is_empty() {
                return all;
            }
            all.extend(burst.drain(..).map(|frame| frame.bytes().to_vec()));
        }
    }

    /// Sends `frames` and answers what comes back like a client, until there is silence.
    fn play(&mut self, frames: &[Vec<u8>]) {
        frames.iter().for_each(|frame| self.send(frame));
        loop {
            self.turn(1);
            let replies = self.replies();
            if replies.is_empty() {
                return;
            }
            replies.iter().filter_map(|frame| answer(frame)).for_each(|frame| self.send(&frame));
        }
    }
}

/// What a client says to one of our segments, if anything.
fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    let Ok(Read::Tcp(seg)) = try_read(frame) else { return None };
    let next = seg.seq.wrapping_add(seg.seq_len());
    let reply = tcp().tuple(&seg.tuple()).ack(seg.ack, next).window(64_000);
    match seg.flags {
        flags if flags.has(Flags::RST) => None,
        flags if flags.has(Flags::SYN) => Some(reply.payload(b"GET /").build()),
        flags if flags.has(Flags::FIN) => Some(reply.fin().build()),
        _ if seg.payload.is_empty() => None,
        _ => Some(reply.build()),
    }
}

fn client(port: u16) -> TcpFrame {
    tcp().from(format!("10.10.0.1:{port}").as_str()).to("10.10.0.10:80")
}

fn syns(ports: std::ops::Range<u16>) -> Vec<Vec<u8>> {
    ports.map(|port| client(port).syn(u32::from(port)).mss(1460).window_scale(7).build()).collect()
}

/// What is no connection: strangers, neighbours, noise.
fn noise() -> Vec<Vec<u8>> {
    vec![
        tcp().from("10.10.0.1:1").to("10.10.0.10:81").syn(5).build(),
        tcp().from("10.10.0.1:1").to("10.10.0.99:80").syn(5).build(),
        client(2).ack(5, 5).build(),
        client(3).rst(5).build(),
        client(4).syn(5).bad_checksum().build(),
        arp().build(),
        solicit("fd00::10").build(),
        echo().build(),
        vec![0; 10],
    ]
}

/// Every way through a worker that one configuration has.
fn live(cookies: Cookies, tx_checksums: TxChecksums) -> WorkerSnapshot {
    let mut bench = Bench::new(cookies, tx_checksums);
    bench.play(&noise());
    bench.play(&syns(1000..1020)); // whole connections
    for batch in 0..10 {
        // A flood: the table fills, cookies begin, SYNs are dropped, as the mode has it.
        syns(2000 + batch * 32..2032 + batch * 32).iter().for_each(|frame| bench.send(frame));
        bench.turn(1);
        bench.replies();
    }
    let held: Vec<_> = std::iter::from_fn(|| bench.wire.alloc()).collect();
    for _ in 0..400 {
        bench.turn(100); // SYN-ACKs are repeated without a buffer, then given up
    }
    drop(held);
    bench.play(&syns(4000..4020));
    syns(5000..5010).iter().for_each(|frame| bench.send(frame));
    bench.turn(1);
    bench.reload(cookies);
    bench.play(&syns(6000..6005));
    bench.worker.drain(bench.clock.now().tick, 5);
    bench.turn(1);
    bench.turn(10);
    bench.replies();
    for _ in 0..10 {
        bench.turn(1000); // next hops that do not answer are given up, and what waits for them is freed
        bench.replies();
    }
    assert!(bench.worker.is_idle());
    assert_eq!(bench.wire.free_buffers(), bench.wire.total_buffers());
    assert_eq!(bench.allocated, 0, "with cookies {cookies:?}");
    bench.worker.stats()
}

#[test]
fn a_worker_allocates_nothing_after_start() {
    for cookies in [Cookies::Auto, Cookies::Always, Cookies::Never] {
        for offload in [false, true] {
            let stats = live(cookies, TxChecksums { ip: offload, l4: offload });
            assert!(
                stats.counter(Counter::Answered) > 60 && stats.counter(Counter::Generated) > 20
            );
            assert_eq!(stats.counter(Counter::CookiesSent) > 0, cookies != Cookies::Never);
        }
    }
}

/// A worker that proxies, with a client's network and a backend's.
struct Front {
    worker: Worker<MemoryQueue>,
    wires: [Wire; 2],
    clock: FakeClock,
    allocated: u64,
}

impl Front {
    fn turn(&mut self, ms: u64) {
        self.clock.advance_ms(ms);
        let now = self.clock.now();
        let worker = &mut self.worker;
        self.allocated += allocations(|| {
            worker.turn(now);
        });
    }

    /// Lets clients and backends say what they have to say to what comes out, until there is silence.
    fn play(&mut self) {
        loop {
            self.turn(1);
            let mut silence = true;
            for (wire, speak) in self.wires.iter().zip([answer, serve]) {
                let mut burst = Burst::new();
                wire.receive_burst(0, &mut burst);
                silence &= burst.is_empty();
                for frame in burst.iter().filter_map(|frame| speak(frame.bytes())) {
                    assert!(wire.send(0, &frame));
                }
            }
            if silence {
                return;
            }
        }
    }
}

const LAN: Mac = Mac([2, 0, 0, 0, 0, 0x20]);
const BACKEND: Mac = Mac([2, 0, 0, 0, 0, 0x21]);

/// What a backend says to one of our frames: where it is, a SYN-ACK, an answer with its FIN.
fn serve(frame: &[u8]) -> Option<Vec<u8>> {
    let seg = match try_read(frame) {
        Ok(Read::Arp(asked)) if asked.target.1.octets() == [10, 20, 0, 2] => {
            let reply = arp().sender("10.20.0.2").sender_mac(BACKEND).target("10.20.0.1");
            return Some(reply.reply_to(LAN).build());
        }
        Ok(Read::Tcp(seg)) => seg,
        _ => return None,
    };
    let next = seg.seq.wrapping_add(seg.seq_len());
    let iss = seg.seq ^ 0x5555_5555;
    let reply = tcp().tuple(&seg.tuple()).src_mac(BACKEND).dst_mac(LAN).window(64_000);
    match seg.flags {
        flags if flags.has(Flags::RST) => None,
        flags if flags.has(Flags::SYN) => {
            Some(reply.ack(iss, next).with(Flags::SYN).mss(1460).build())
        }
        _ if !seg.payload.is_empty() => {
            Some(reply.ack(seg.ack, next).fin().payload(b"hello").build())
        }
        flags if flags.has(Flags::FIN) => Some(reply.ack(seg.ack, next).build()),
        _ => None,
    }
}

/// Connections through a backend, checks of it, clients whose backend has gone, and their ends.
#[test]
fn a_worker_that_proxies_allocates_nothing_after_start() {
    for cookies in [Cookies::Always, Cookies::Never] {
        let options = |mac| Options { mac, ..Options::default() };
        let (mut wan, wan_wire) = memory::new("wan", &options(OUR_MAC));
        let (mut lan, lan_wire) = memory::new("lan", &options(LAN));
        let mut clock = FakeClock::default();
        let setup = Setup { cookies, shared: true, ..Setup::default() };
        let plan = testing::proxy_plan(&setup, "proxy_protocol = true");
        let ports = [&mut wan, &mut lan];
        let worker = testing::proxy_worker(&plan, ports, clock.now()).expect("it starts");
        let mut front = Front { worker, wires: [wan_wire, lan_wire], clock, allocated: 0 };
        front.play();
        syns(1000..1020).iter().for_each(|frame| assert!(front.wires[0].send(0, frame)));
        front.play();
        // no backend answers any more: requests are held, SYNs repeated, clients reset
        syns(2000..2020).iter().for_each(|frame| assert!(front.wires[0].send(0, frame)));
        for _ in 0..200 {
            front.turn(100);
            let mut burst = Burst::new();
            front.wires[0].receive_burst(0, &mut burst);
            for frame in burst.iter().filter_map(|frame| answer(frame.bytes())) {
                assert!(front.wires[0].send(0, &frame));
            }
            front.wires[1].receive_burst(0, &mut Burst::new());
        }
        let stats = front.worker.stats();
        assert!(stats.counter(Counter::Forwarded) > 60 && stats.counter(Counter::Held) >= 40);
        assert_eq!((front.worker.held(), front.worker.ports_taken()), (0, 0));
        assert_eq!(front.allocated, 0, "with cookies {cookies:?}");
    }
}

/// Frames that are handed on, what workers tell each other, and what one of them sends by the other's queue.
#[test]
fn workers_that_hand_frames_on_allocate_nothing_after_start() {
    let options = Options { mac: OUR_MAC, buffers: 4096, ring: 1024, ..Options::default() };
    let (mut port, wire) = memory::new("wan", &options);
    let mut clock = FakeClock::default();
    let (plan, keyring) = (testing::plan(&Setup::default()), testing::keyring(true));
    let mut workers =
        testing::workers(&plan, keyring, [&mut port], 2, clock.now()).expect("they start");
    noise().iter().chain(&syns(1000..1100)).for_each(|frame| assert!(wire.send(0, frame)));
    let (mut allocated, mut silence) = (0, 0);
    while silence < 3 {
        clock.advance_ms(1);
        let now = clock.now();
        allocated += allocations(|| workers.iter_mut().for_each(|worker| _ = worker.turn(now)));
        let mut burst = Burst::new();
        wire.receive_burst(0, &mut burst);
        silence = if burst.is_empty() { silence + 1 } else { 0 };
        for frame in burst.iter().filter_map(|frame| answer(frame.bytes())) {
            assert!(wire.send(0, &frame));
        }
    }
    let count = |counter| workers.iter().map(|one| one.stats().counter(counter)).sum::<u64>();
    assert!(count(Counter::RedirectedIn) > 100 && count(Counter::RelayedIn) > 100);
    assert_eq!((allocated, wire.free_buffers()), (0, wire.total_buffers()));
}

/// The counter counts, or the test above would show nothing.
#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 2);
}

/// What a consumer heard and said.
#[derive(Default)]
struct Heard {
    established: u32,
    peeked: u32,
    ended: u32,
    refused: u32,
}

/// One look of a consumer at its events: a backend gets what has spoken, but for one flow in four, which is reset; and
/// each end is answered by a command that comes too late.
fn consume(consumer: &mut ConsumerEnd, heard: &mut Heard) {
    let mut commands = ArrayVec::<_, 8>::new();
    consumer.poll(commands.capacity(), |event| {
        let flow = event.flow();
        match event {
            Event::Established(_) => heard.established += 1,
            Event::Data { data, .. } => {
                assert_eq!(&data[..], b"GET /");
                heard.peeked += 1;
                let proxy = Command::Proxy { flow, backend: None };
                commands.push(if heard.peeked.is_multiple_of(4) {
                    Command::Reset { flow }
                } else {
                    proxy
                });
            }
            Event::Ended { .. } => {
                heard.ended += 1;
                commands.push(Command::Reset { flow });
            }
            Event::Refused { .. } => heard.refused += 1,
            other => panic!("{other:?}"),
        }
    });
    consumer.send_all(&mut commands);
    assert!(commands.is_empty(), "there is room for as many as there were events");
}

/// Flows that a consumer hears of, peeks at, hands on and resets, through a ring that is full at times.
#[test]
fn neither_a_worker_nor_its_consumer_allocates() {
    for cookies in [Cookies::Always, Cookies::Never] {
        let options = |mac| Options { mac, ..Options::default() };
        let (mut wan, wan_wire) = memory::new("wan", &options(OUR_MAC));
        let (mut lan, lan_wire) = memory::new("lan", &options(LAN));
        let mut clock = FakeClock::default();
        let plan = testing::ring_plan(&Setup { cookies, shared: true, ..Setup::default() }, "");
        let ports = [&mut wan, &mut lan];
        let worker = testing::proxy_worker(&plan, ports, clock.now()).expect("it starts");
        let mut front = Front { worker, wires: [wan_wire, lan_wire], clock, allocated: 0 };
        let (end, mut consumer) = ends(16);
        let now = front.clock.now();
        front.worker.attach(0, Box::new(end), now).expect("there is no consumer");
        let mut heard = Heard::default();
        front.play();
        for batch in 0..10 {
            let syns = syns(1000 + batch * 20..1020 + batch * 20);
            syns.iter().for_each(|frame| assert!(front.wires[0].send(0, frame)));
            for _ in 0..100 {
                front.play();
                front.allocated += allocations(|| consume(&mut consumer, &mut heard));
            }
        }
        // Who found the ring full says it again: SYN-ACKs are repeated, and clients answer them.
        for _ in 0..2000 {
            front.turn(200);
            front.play();
            front.allocated += allocations(|| consume(&mut consumer, &mut heard));
        }
        let full = front.worker.stats().services[0].counter(ServiceCounter::RingFull);
        assert!(full > 0 && heard.peeked > 50, "{full}, {}", heard.peeked);
        assert_eq!((heard.established, heard.ended), (heard.refused, heard.refused));
        assert_eq!((front.worker.held(), front.worker.leases(), front.worker.handed()), (0, 0, 0));
        assert_eq!(front.allocated, 0, "with cookies {cookies:?}");
    }
}

impl Front {
    /// The same with clients alone, who send, once they are answered, what is behind a gap that is never filled. Returns how
    /// many such frames were kept at most.
    fn play_early(&mut self) -> u32 {
        let mut kept = 0;
        loop {
            self.turn(1);
            kept = kept.max(self.worker.kept().0);
            let mut burst = Burst::new();
            self.wires[0].receive_burst(0, &mut burst);
            if burst.is_empty() {
                return kept;
            }
            for frame in &burst {
                if let Some(reply) = answer(frame.bytes()) {
                    assert!(self.wires[0].send(0, &reply));
                }
                if let Ok(Read::Tcp(seg)) = try_read(frame.bytes())
                    && !seg.payload.is_empty()
                {
                    let early = tcp().tuple(&seg.tuple()).ack(seg.ack.wrapping_add(9), seg.seq);
                    assert!(self.wires[0].send(0, &early.payload(b"early").build()));
                }
            }
        }
    }
}

/// A consumer that echoes by lease and by copy and closes after the first data; it resets every fourth flow.
fn echo_all(consumer: &mut ConsumerEnd) {
    let mut events = Vec::new();
    consumer.poll(usize::MAX, |event| events.push(event));
    for event in events {
        let flow = event.flow();
        match event {
            Event::Established(new) if new.client().port().is_multiple_of(4) => {
                consumer.send(Command::Reset { flow }).expect("room");
            }
            Event::Established(_) => {
                consumer.send(Command::Own { flow, skip_peeked: false }).expect("room");
            }
            Event::Data { data, peeked: false, .. } => {
                consumer.write(flow, &data);
                let data = Payload::Lease(data);
                consumer.send(Command::Write { flow, data }).expect("room");
                consumer.write(flow, &[7; 5000]);
                consumer.send(Command::Close { flow }).expect("room");
            }
            _ => {}
        }
    }
}

/// Flows that a consumer owns, from the handshake to both FINs, segments that come early, refused commands, and flows that
/// end with bytes unsent.
#[test]
fn a_worker_allocates_nothing_for_owned_flows() {
    for cookies in [Cookies::Always, Cookies::Never] {
        let options = |mac| Options { mac, ..Options::default() };
        let (mut wan, wan_wire) = memory::new("wan", &options(OUR_MAC));
        let (mut lan, lan_wire) = memory::new("lan", &options(LAN));
        let mut clock = FakeClock::default();
        let setup = Setup { cookies, shared: true, ..Setup::default() };
        let plan = testing::ring_plan(&setup, "");
        let ports = [&mut wan, &mut lan];
        let mut worker = testing::proxy_worker(&plan, ports, clock.now()).expect("it starts");
        let (end, mut consumer) = ends(256);
        worker.attach(0, Box::new(end), clock.now()).expect("there is no consumer");
        let mut front = Front { worker, wires: [wan_wire, lan_wire], clock, allocated: 0 };
        front.play();
        let mut kept = 0;
        syns(1000..1020).iter().for_each(|frame| assert!(front.wires[0].send(0, frame)));
        for _ in 0..200 {
            kept = kept.max(front.play_early());
            echo_all(&mut consumer);
        }
        assert!(kept > 0, "no frame came early");
        assert_eq!((front.worker.handed(), front.worker.leases()), (0, 0));
        assert_eq!((front.worker.kept(), consumer.chunks()), ((0, 0), 256));
        let service = &front.worker.stats().services[0];
        assert_eq!(service.counter(ServiceCounter::Completed), 20);
        assert_eq!(service.ended.iter().sum::<u64>(), 20);
        assert_eq!(front.allocated, 0, "with cookies {cookies:?}");
    }
}
