//! Several workers on memory ports, each turned in its turn.

use usher_proto::testing::{
    OUR_MAC, Read, TcpFrame, TcpRead, arp, icmp_error, read_arp, tcp, try_read,
};
use usher_proto::wire::{Addr, Flags, Mac, Tuple, toeplitz};

use super::*;
use crate::clock::{Clock, FakeClock};
use crate::config::Cookies;
use crate::port::memory::{self, MemoryQueue, Options, Wire};
use crate::stats::WorkerSnapshot;
use crate::testing::{self, Setup};
use crate::worker::{State, Worker};

const LAN_MAC: Mac = Mac([2, 0, 0, 0, 0, 0x20]);
const BACKEND_MAC: Mac = Mac([2, 0, 0, 0, 0, 0x21]);

struct Bench {
    workers: Vec<Worker<MemoryQueue>>,
    wires: Vec<Wire>,
    clock: FakeClock,
}

impl Bench {
    /// Workers for one port, which has so many queues.
    fn serving(workers: u16, queues: usize) -> Self {
        let options =
            Options { mac: OUR_MAC, queues, buffers: 4096, ring: 2048, ..Options::default() };
        let (mut port, wire) = memory::new("wan", &options);
        let mut clock = FakeClock::default();
        let setup = Setup { cookies: Cookies::Never, ..Setup::default() };
        let (plan, keyring) = (testing::plan(&setup), testing::keyring(false));
        let workers = testing::workers(&plan, keyring, [&mut port], workers, clock.now()).unwrap();
        Self { workers, wires: vec![wire], clock }.after_announcements()
    }

    /// Workers between two ports, which have one queue each.
    fn proxying(workers: u16) -> Self {
        let options = |mac| Options { mac, buffers: 4096, ring: 2048, ..Options::default() };
        let (mut wan, wan_wire) = memory::new("wan", &options(OUR_MAC));
        let (mut lan, lan_wire) = memory::new("lan", &options(LAN_MAC));
        let mut clock = FakeClock::default();
        let plan = testing::proxy_plan(&Setup::default(), "");
        let ports = [&mut wan, &mut lan];
        let workers =
            testing::workers(&plan, testing::keyring(true), ports, workers, clock.now()).unwrap();
        Self { workers, wires: vec![wan_wire, lan_wire], clock }
    }

    fn after_announcements(mut self) -> Self {
        for _ in 0..4 {
            self.clock.advance_ms(1000);
            self.turn();
            self.replies(0);
        }
        self
    }

    /// A round of each worker, and another, in which what was handed on and back has arrived.
    fn turn(&mut self) {
        for _ in 0..3 {
            let now = self.clock.now();
            self.workers.iter_mut().for_each(|worker| _ = worker.turn(now));
        }
    }

    fn send(&self, queue: usize, frame: &TcpFrame) {
        assert!(self.wires[0].send(queue, &frame.build()));
    }

    /// What came out of each queue of a port.
    fn replies(&self, port: usize) -> Vec<Vec<u8>> {
        let wire = &self.wires[port];
        std::iter::from_fn(|| wire.receive(0)).map(|frame| frame.bytes().to_vec()).collect()
    }

    fn segments(&self, port: usize) -> Vec<TcpRead> {
        let read = |frame: Vec<u8>| match try_read(&frame) {
            Ok(Read::Tcp(seg)) => Some(seg),
            _ => None,
        };
        self.replies(port).into_iter().filter_map(read).collect()
    }

    fn stats(&self) -> Vec<WorkerSnapshot> {
        self.workers.iter().map(Worker::stats).collect()
    }

    fn counts(&self, counter: Counter) -> Vec<u64> {
        self.stats().iter().map(|stats| stats.counter(counter)).collect()
    }
}

fn client(port: u16) -> TcpFrame {
    tcp().from(format!("10.10.0.1:{port}").as_str()).to("10.10.0.10:80")
}

/// The worker, of so many, that a client's port leads to.
fn owner(port: u16, workers: u16) -> u16 {
    let remote_port = port;
    let (remote, local) = (Addr::v4([10, 10, 0, 1]), Addr::v4([10, 10, 0, 10]));
    let tuple = Tuple { remote, local, remote_port, local_port: 80, ..Tuple::default() };
    Spread::over(workers).worker(toeplitz::symmetric(&tuple))
}

/// A client's port that leads to this worker, of so many.
fn port_of(worker: u16, workers: u16) -> u16 {
    (40_000..).find(|port| owner(*port, workers) == worker).expect("there is one")
}

#[test]
fn a_frame_is_decided_by_its_worker_and_leaves_by_its_queue() {
    let mut bench = Bench::serving(3, 3);
    for (worker, queue) in [(0, 1), (1, 1), (2, 0)] {
        bench.send(queue, &client(port_of(worker, 3)).syn(5));
    }
    bench.turn();
    let half_open: Vec<u32> = bench.workers.iter().map(|w| w.flows(State::SynRcvd)).collect();
    assert_eq!(half_open, [1, 1, 1]);
    let sent: Vec<usize> =
        (0..3).map(|queue| std::iter::from_fn(|| bench.wires[0].receive(queue)).count()).collect();
    assert_eq!(sent, [1, 1, 1]);
    assert_eq!(bench.counts(Counter::RedirectedOut), [1, 1, 0]);
    assert_eq!(bench.counts(Counter::RedirectedIn), [1, 0, 1]);
}

#[test]
fn one_worker_hands_nothing_on() {
    let mut bench = Bench::serving(1, 1);
    (0..50).for_each(|port| bench.send(0, &client(40_000 + port).syn(5)));
    bench.turn();
    let all = [Counter::RedirectedOut, Counter::RedirectedIn, Counter::RelayedOut];
    assert_eq!(all.map(|counter| bench.counts(counter)[0]), [0; 3]);
}

/// It is given its frames, has buffers for what it says itself, and sends by another's queue.
#[test]
fn a_worker_without_a_queue_serves() {
    let mut bench = Bench::serving(2, 1);
    let port = port_of(1, 2);
    bench.send(0, &client(port).syn(5));
    bench.turn();
    let syn_ack = bench.segments(0).pop().expect("a SYN-ACK");
    bench.clock.advance_ms(1500);
    bench.turn();
    let again = bench.segments(0).pop().expect("the SYN-ACK again");
    assert_eq!((again.flags, again.seq), (Flags::SYN | Flags::ACK, syn_ack.seq));
    let request = client(port).ack(6, syn_ack.seq.wrapping_add(1)).payload(b"GET /");
    bench.send(0, &request);
    bench.turn();
    assert!(bench.segments(0)[0].payload.starts_with(b"HTTP/1.0 200"));
    assert_eq!(bench.counts(Counter::RelayedOut), [0, 3]);
    assert_eq!(bench.counts(Counter::RelayedIn), [3, 0]);
    let wire = &bench.wires[0];
    assert_eq!(wire.free_buffers(), wire.total_buffers());
}

/// A worker that is late loses what does not fit, and no buffer with it.
#[test]
fn a_full_ring_drops_and_counts() {
    let mut bench = Bench::serving(2, 1);
    let late: Vec<u16> = (10_000..).filter(|port| owner(*port, 2) == 1).take(RING + 100).collect();
    for ports in late.chunks(20) {
        ports.iter().for_each(|port| bench.send(0, &client(*port).syn(5)));
        let now = bench.clock.now();
        bench.workers[0].turn(now);
    }
    let stats = &bench.stats()[0];
    assert_eq!(stats.counter(Counter::RedirectedOut), RING as u64);
    assert_eq!((stats.dropped(Reason::RedirectFull), stats.counter(Counter::Dropped)), (100, 100));
    assert_eq!(bench.wires[0].total_buffers() - bench.wires[0].free_buffers(), RING);
    (0..100).for_each(|_| bench.turn());
    bench.replies(0);
    assert_eq!(bench.counts(Counter::RedirectedIn), [0, RING as u64]);
    assert_eq!(bench.wires[0].free_buffers(), bench.wires[0].total_buffers());
}

/// Both workers ask for the backend's MAC, and the answer comes in by the one queue.
#[test]
fn where_a_neighbour_is_all_workers_learn() {
    let mut bench = Bench::proxying(2);
    bench.turn();
    bench.replies(1);
    for worker in [0, 1] {
        let port = port_of(worker, 2);
        bench.send(0, &client(port).syn(5));
        bench.turn();
        let iss = bench.segments(0).pop().expect("a SYN-ACK").seq;
        bench.send(0, &client(port).ack(6, iss.wrapping_add(1)).payload(b"GET /"));
        bench.turn();
    }
    bench.clock.advance_ms(10);
    bench.turn();
    let asked = bench.replies(1);
    assert!(asked.iter().any(|frame| frame[12..14] == [8, 6] && read_arp(frame).op == 1));
    let reply = arp().sender("10.20.0.2").sender_mac(BACKEND_MAC).target("10.20.0.1");
    assert!(bench.wires[1].send(0, &reply.reply_to(LAN_MAC).build()));
    bench.turn();
    bench.clock.advance_ms(10);
    bench.turn();
    let syns: Vec<TcpRead> =
        bench.segments(1).into_iter().filter(|s| s.flags == Flags::SYN).collect();
    let mut workers: Vec<u16> = syns.iter().map(|syn| syn.from.port() % 2).collect();
    workers.sort_unstable();
    workers.dedup();
    assert_eq!(workers, [0, 1], "each worker's SYN has gone out: {syns:?}");
    assert!(syns.iter().all(|syn| syn.dst_mac == BACKEND_MAC));
}

/// An error names the segment that it is about: it goes to that one's worker.
#[test]
fn an_icmp_error_goes_to_the_worker_of_its_flow() {
    let mut bench = Bench::serving(2, 2);
    let port = port_of(1, 2);
    let ours = tcp().from("10.10.0.10:80").to(format!("10.10.0.1:{port}").as_str()).ack(5, 5);
    assert!(bench.wires[0].send(0, &icmp_error(3, 1, &ours.build()).build()));
    bench.turn();
    assert_eq!(bench.counts(Counter::RedirectedIn), [0, 1]);
    assert_eq!(bench.stats()[1].dropped(Reason::OtherProtocol), 1);
}

/// What a worker writes is on cache lines of its own: its parts, boxes that it is given (`handoff::apart`), counts and
/// boards (`stats::tally`). Rings pad their indices (`handoff::ring`).
#[test]
fn workers_share_no_cache_line() {
    const LINES: usize = 128; // processors fetch pairs of 64 bytes
    assert_eq!(align_of::<Worker<MemoryQueue>>() % LINES, 0);
    assert_eq!(align_of::<crate::service::Ports>() % LINES, 0);
    let bench = Bench::serving(4, 4);
    let mut ranges: Vec<_> = bench
        .workers
        .iter()
        .map(|worker| (std::ptr::from_ref(worker).addr(), size_of_val(worker)))
        .collect();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].0 / LINES < pair[1].0 / LINES));
    assert!(ranges.iter().all(|(start, size)| start % LINES == 0 && size % LINES == 0));
}
