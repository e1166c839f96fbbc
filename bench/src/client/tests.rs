//! A client against a worker on a memory port, with a fake clock: every connection is accounted for.

use usher::clock::{Clock, FakeClock};
use usher::config::Cookies;
use usher::port::memory::{self, MemoryQueue, Options, Wire};
use usher::stats::ServiceCounter;
use usher::testing::{self, OWN, VIP, VIP6};
use usher::worker::Worker;
use usher_proto::testing::{CLIENT_MAC, Envelope, OUR_MAC};

use super::*;
use crate::latency::Latency;
use crate::wire_queue::WireQueue;

const ANSWER: &[u8] = b"HTTP/1.0 200 OK\r\n\r\nhello";

/// A client, its server and the wire between them.
struct Pair {
    client: Client<WireQueue>,
    worker: Worker<MemoryQueue>,
    wire: Wire,
    clock: FakeClock,
}

fn script() -> Script {
    Script {
        stack: Stack::Linux,
        requests: 1,
        request_len: 5,
        answer_len: Some(ANSWER.len() as u32),
        close: Close::Server,
        rto_ns: 1_000_000_000,
        syn_retries: 3,
        timeout_ns: 60_000_000_000,
    }
}

impl Pair {
    fn new(script: Script, to: SocketAddr, numbers: u16, cookies: Cookies) -> Self {
        let options = Options { mac: OUR_MAC, buffers: 4096, ring: 1024, ..Options::default() };
        let (mut port, wire) = memory::new("wan", &options);
        let mut clock = FakeClock::default();
        let setup = testing::Setup { cookies, answer: ANSWER, ..testing::Setup::default() };
        let worker = testing::worker(&setup, &mut port, clock.now()).expect("it starts");
        let prefix = if to.is_ipv4() { "10.10.128.0/17" } else { "fd00::1:0/112" };
        let prefix = prefix.parse().expect("a prefix");
        let sources = Sources::new(prefix, 1, &(1000..=999 + numbers)).expect("enough");
        let link = Link { src: CLIENT_MAC, dst: OUR_MAC, vlan: 0 };
        let setup = Setup { to, link, sources, script, request: (*b"GET /").into(), mss: 1460 };
        let client = Client::new(WireQueue::new(wire.clone(), 0), setup);
        let mut pair = Self { client, worker, wire, clock };
        for _ in 0..4 {
            pair.serve(1_000_000); // announcements
            pair.wire.receive_burst(0, &mut Burst::new());
        }
        pair
    }

    fn v4(script: Script, numbers: u16) -> Self {
        Self::new(script, SocketAddr::new(VIP, 80), numbers, Cookies::Auto)
    }

    fn moment(&self) -> Moment {
        Moment { ns: self.clock.us * 1000, unix_ms: (self.clock.us / 1000) as u32 }
    }

    fn begin(&mut self, pace: Pace, limit: u64) {
        self.client.begin(pace, limit, self.moment());
    }

    fn serve(&mut self, us: u64) {
        self.clock.advance_us(us);
        self.worker.turn(self.clock.now());
    }

    /// Both, until all is done.
    fn run(&mut self, us: u64) {
        for _ in 0..1_000_000 {
            self.client.turn(self.moment());
            self.serve(us);
            if self.client.is_done() {
                return;
            }
        }
        panic!("not done: {:?}", self.client.tally);
    }
}

#[test]
fn every_connection_is_counted_once() {
    for (stack, vip) in [
        (Stack::Linux, VIP),
        (Stack::Windows, VIP),
        (Stack::Macos, VIP6),
        (Stack::Iot, VIP),
        (Stack::Iot, VIP6),
    ] {
        for cookies in [Cookies::Never, Cookies::Always] {
            let script = Script { stack, ..script() };
            let mut pair = Pair::new(script, SocketAddr::new(vip, 80), 400, cookies);
            pair.begin(Pace::Closed(50), 1000);
            pair.run(100);
            let tally = &pair.client.tally;
            let counts = [tally.begun, tally.opened, tally.answers, tally.closed];
            assert_eq!(counts, [1000; 4], "{stack:?} {vip} {cookies:?}");
            assert_eq!((tally.failures(), tally.again, tally.strange), (0, 0, 0));
            assert_eq!((tally.sent, tally.received), (3000, 3000), "six frames each");
            assert_eq!(
                [&tally.syn_ack, &tally.first_byte, &tally.close].map(Latency::count),
                [1000; 3]
            );
            pair.worker.publish();
            let served = pair.worker.stats();
            assert_eq!(served.services[0].counter(ServiceCounter::Completed), 1000);
            assert_eq!(pair.wire.in_flight(), 0);
        }
    }
}

#[test]
fn a_client_may_close_first_or_reset() {
    for close in [Close::Client, Close::Reset] {
        let mut pair = Pair::v4(Script { close, ..script() }, 400);
        pair.begin(Pace::Closed(50), 1000);
        pair.run(100);
        let tally = &pair.client.tally;
        assert_eq!((tally.closed, tally.answers, tally.failures()), (1000, 1000, 0), "{close:?}");
    }
}

/// What [`Pace::Open`] is for. While the server stands still for half a second, ten connections begin and then no
/// more: whoever counts from the SYN sees ten slow ones, whoever counts from when they should have begun sees all.
#[test]
fn a_stalled_server_shows_in_the_times_of_connections_that_could_not_begin() {
    let mut pair = Pair::v4(script(), 10);
    pair.begin(Pace::Open { rate: 1000.0, ramp_ns: 0 }, 2000);
    for ms in 0..4000 {
        pair.client.turn(pair.moment());
        if (500..1000).contains(&ms) { pair.clock.advance_us(1000) } else { pair.serve(1000) }
    }
    let tally = &pair.client.tally;
    assert_eq!((tally.closed, tally.failures()), (2000, 0));
    let slow = |latency: &Latency| {
        (1..=2000).filter(|n| latency.percentile(f64::from(*n) / 20.0) > 100_000_000).count()
    };
    assert!((1..=10).contains(&slow(&tally.uncorrected)), "{}", slow(&tally.uncorrected));
    assert!((390..600).contains(&slow(&tally.syn_ack)), "{}", slow(&tally.syn_ack));
    assert!(tally.exhausted > 0);
}

#[test]
fn a_port_without_a_service_refuses() {
    let mut pair = Pair::new(script(), SocketAddr::new(OWN, 81), 400, Cookies::Auto);
    pair.begin(Pace::Closed(20), 50);
    pair.run(100_000);
    let tally = &pair.client.tally;
    assert_eq!((tally.failed[0], tally.failures(), tally.closed), (50, 50, 0));
}

#[test]
fn a_silent_server_is_given_up_after_its_retries() {
    let mut pair = Pair::v4(Script { syn_retries: 2, ..script() }, 400);
    pair.begin(Pace::Closed(20), 40);
    for _ in 0..1000 {
        pair.client.turn(pair.moment());
        pair.clock.advance_ms(50);
        let mut lost = Burst::new();
        pair.worker.queues().for_each(|queue| queue.rx(&mut lost));
    }
    let tally = &pair.client.tally;
    assert_eq!((tally.failures(), tally.again, tally.begun), (40, 80, 40));
    assert!(pair.client.is_done());
}

#[test]
fn lost_frames_are_sent_again() {
    let mut pair = Pair::v4(script(), 400);
    pair.begin(Pace::Closed(50), 500);
    let mut number = 0u32;
    for _ in 0..100_000 {
        pair.client.turn(pair.moment());
        pair.serve(1000);
        // every seventh of the server's frames is lost
        let mut sent = Burst::new();
        pair.wire.receive_burst(0, &mut sent);
        sent.retain(|_| {
            number += 1;
            !number.is_multiple_of(7)
        });
        let now = pair.moment();
        sent.into_iter().for_each(|frame| pair.client.take(frame, now));
        if pair.client.is_done() {
            break;
        }
    }
    let tally = &pair.client.tally;
    assert_eq!((tally.closed, tally.failures()), (500, 0), "{tally:?}");
    assert!(tally.again > 0);
}

#[test]
fn it_learns_where_the_server_is_and_says_where_it_is_itself() {
    let mut pair = Pair::v4(script(), 10);
    let target = VIP.into();
    pair.client.ask(&target);
    pair.serve(1000);
    assert_eq!(pair.client.listen(&target), Some(OUR_MAC));
    pair.client.set_next_hop(OUR_MAC);
    pair.begin(Pace::Closed(5), 20);
    pair.run(100);
    assert_eq!(pair.client.tally.closed, 20);
    let who = usher_proto::testing::arp()
        .sender("10.10.0.2")
        .src_mac(OUR_MAC)
        .sender_mac(OUR_MAC)
        .target("10.10.128.1")
        .build();
    let mut frame = pair.wire.alloc().expect("a buffer");
    frame.room()[..who.len()].copy_from_slice(&who);
    frame.set_len(who.len());
    let before = pair.client.tally.sent;
    pair.client.take(frame, pair.moment());
    pair.client.turn(pair.moment());
    assert_eq!(pair.client.tally.sent, before + 1);
}
