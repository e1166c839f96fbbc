//! A worker on a memory port: frames in, frames out, nothing lost in between.

mod next_hop;

use usher_proto::tcp::State;
use usher_proto::testing::{
    CLIENT_MAC, Envelope, OUR_MAC, TcpFrame, TcpRead, arp, echo, read_arp, read_tcp, tcp,
};
use usher_proto::verdict::{End, Reason};
use usher_proto::wire::{Flags, Mac};

use super::*;
use crate::clock::{Clock, FakeClock};
use crate::config::{Cookies, Plan};
use crate::port::Frame;
use crate::port::memory::{self, MemoryQueue, Options, Wire};
use crate::stats::ServiceCounter;
use crate::testing::{self, Setup};

mod waiting;

const ANSWER: &[u8] = b"HTTP/1.0 200 OK\r\n\r\nhello";
const VIP: &str = "10.10.0.10:80";
const CLIENT: &str = "10.10.0.1:40000";

struct Bench {
    worker: Worker<MemoryQueue>,
    wire: Wire,
    clock: FakeClock,
    announcements: usize,
}

impl Bench {
    fn new(setup: &Setup<'_>) -> Self {
        Self::on(&Options::default(), setup)
    }

    fn on(options: &Options, setup: &Setup<'_>) -> Self {
        let (mut port, wire) = memory::new("wan", &Options { mac: OUR_MAC, ..*options });
        let mut clock = FakeClock::default();
        let worker = testing::worker(setup, &mut port, clock.now()).unwrap();
        let mut bench = Self { worker, wire, clock, announcements: 0 };
        bench.announcements = (0..3)
            .map(|_| {
                bench.wait_ms(1000);
                std::iter::from_fn(|| bench.wire.receive(0)).count()
            })
            .sum();
        bench
    }

    fn turn(&mut self) {
        let now = self.clock.now();
        self.worker.turn(now);
    }

    fn send(&mut self, frame: &TcpFrame) {
        assert!(self.wire.send(0, &frame.build()));
    }

    /// Sends, turns once and reads what comes back.
    fn ask(&mut self, frame: &TcpFrame) -> Vec<TcpRead> {
        self.send(frame);
        self.turn();
        self.replies()
    }

    fn replies(&mut self) -> Vec<TcpRead> {
        std::iter::from_fn(|| self.wire.receive(0)).map(|frame| read_tcp(frame.bytes())).collect()
    }

    fn wait_ms(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.clock.advance_ms(10);
            self.turn();
        }
    }

    fn reload(&mut self, plan: &Plan) {
        testing::reload(std::slice::from_mut(&mut self.worker), plan, self.clock.now());
    }

    /// What a client of that port is answered.
    fn get(&mut self, port: u16) -> Vec<u8> {
        let iss = self.shake(port, 5);
        let answer = self.ask(&client(port).ack(6, iss.wrapping_add(1)).payload(b"GET /"));
        answer[0].payload.clone()
    }

    /// Whether an ARP request for `addr` is answered.
    fn is_answered_for(&mut self, addr: &str) -> bool {
        assert!(self.wire.send(0, &arp().sender("10.10.0.1").target(addr).build()));
        self.turn();
        let reply = self.wire.receive(0).map(|frame| read_arp(frame.bytes()));
        reply.is_some_and(|reply| reply.op == 2 && reply.sender.1.to_string() == addr)
    }

    /// A SYN and its SYN-ACK; returns our ISN.
    fn shake(&mut self, port: u16, isn: u32) -> u32 {
        let replies = self.ask(&client(port).syn(isn).mss(1460));
        assert_eq!(replies.len(), 1);
        assert_eq!(
            (replies[0].flags, replies[0].ack),
            (Flags::SYN | Flags::ACK, isn.wrapping_add(1))
        );
        replies[0].seq
    }

    /// Every buffer is where it belongs, and every frame ended in one verdict.
    fn assert_balanced(&self) {
        assert_eq!(self.wire.free_buffers(), self.wire.total_buffers());
        let stats = self.worker.stats();
        let verdicts =
            [Counter::Answered, Counter::Reflected, Counter::Delivered, Counter::Dropped];
        let sum: u64 = verdicts.iter().map(|&c| stats.counter(c)).sum();
        assert_eq!(sum, stats.counter(Counter::Received));
    }
}

fn client(port: u16) -> TcpFrame {
    tcp().from(format!("10.10.0.1:{port}").as_str()).to(VIP)
}

/// The whole life: handshake, request, answer with FIN, the client's FIN, TIME_WAIT.
fn live(cookies: Cookies) {
    let mut bench = Bench::new(&Setup { cookies, ..Setup::default() });
    let iss = bench.shake(40000, 99);
    assert!(bench.ask(&client(40000).ack(100, iss.wrapping_add(1))).is_empty());
    assert_eq!(bench.worker.flows(State::Established), 1);
    let answer = bench.ask(&client(40000).ack(100, iss.wrapping_add(1)).payload(b"GET /"));
    assert_eq!(answer.len(), 1);
    assert_eq!(answer[0].payload, ANSWER);
    assert_eq!((answer[0].ack, answer[0].flags.has(Flags::FIN)), (105, true));
    let end = iss.wrapping_add(2 + ANSWER.len() as u32);
    let last = bench.ask(&client(40000).ack(105, end).fin());
    assert_eq!((last.len(), last[0].ack), (1, 106));
    assert_eq!(bench.worker.flows(State::TimeWait), 1);
    let stats = bench.worker.stats();
    assert_eq!(stats.services[0].counter(ServiceCounter::Completed), 1);
    assert_eq!(stats.services[0].ended(End::Closed), 1);
    bench.wait_ms(61_000);
    let spent = u32::from(cookies == Cookies::Always);
    assert_eq!(bench.worker.records(), spent);
    bench.wait_ms(70_000);
    assert_eq!(bench.worker.records(), 0);
    bench.assert_balanced();
}

#[test]
fn a_connection_lives_and_leaves_nothing_when_stateful() {
    live(Cookies::Never);
}

#[test]
fn a_connection_lives_and_leaves_nothing_by_cookie() {
    live(Cookies::Always);
}

#[test]
fn a_syn_and_its_copy_in_one_burst_get_the_same_isn() {
    let mut bench = Bench::new(&Setup::default());
    bench.send(&client(40000).syn(5));
    bench.send(&client(40000).syn(5));
    bench.turn();
    let replies = bench.replies();
    assert_eq!(replies.len(), 2);
    assert_eq!(replies[0].seq, replies[1].seq);
    assert_eq!(bench.worker.flows(State::SynRcvd), 1);
}

#[test]
fn the_third_ack_and_the_first_data_in_one_burst_are_answered() {
    for cookies in [Cookies::Never, Cookies::Always] {
        let mut bench = Bench::new(&Setup { cookies, ..Setup::default() });
        let iss = bench.shake(40000, 5);
        bench.send(&client(40000).ack(6, iss.wrapping_add(1)));
        bench.send(&client(40000).ack(6, iss.wrapping_add(1)).payload(b"x"));
        bench.turn();
        let replies = bench.replies();
        assert_eq!(replies.len(), 1);
        assert_eq!(replies[0].payload, ANSWER);
    }
}

/// RFC 6298 §5.5: 1, 2, 4, 8, 16 s apart, then the record is freed.
#[test]
fn a_syn_ack_is_repeated_with_back_off_and_then_given_up() {
    let mut bench = Bench::new(&Setup::default());
    bench.shake(40000, 5);
    let mut seconds = Vec::new();
    for second in 1..=64 {
        bench.wait_ms(1000);
        seconds.extend(bench.replies().iter().map(|_| second));
    }
    assert_eq!(seconds, [1, 3, 7, 15, 31]);
    assert_eq!(bench.worker.records(), 0);
    assert_eq!(bench.worker.stats().services[0].failed(End::HandshakeTimeout), 1);
    bench.assert_balanced();
}

#[test]
fn cookies_begin_at_half_of_the_half_open_limit() {
    let mut bench = Bench::new(&Setup { half_open_limit: 20, ..Setup::default() });
    for port in 0..50 {
        bench.shake(1000 + port, 5);
    }
    assert_eq!(bench.worker.flows(State::SynRcvd), 10);
    let stats = bench.worker.stats();
    assert_eq!((stats.counter(Counter::CookiesSent), stats.counter(Counter::CookieMode)), (40, 1));
}

/// They end at three eighths, and not as soon as it is less than half.
#[test]
fn cookies_end_when_few_are_half_open() {
    let mut bench = Bench::new(&Setup { half_open_limit: 16, ..Setup::default() });
    let half_open_after = |bench: &mut Bench, port| {
        bench.shake(port, 5);
        bench.worker.flows(State::SynRcvd)
    };
    for port in 1000..1008 {
        bench.shake(port, 5);
    }
    assert_eq!(half_open_after(&mut bench, 2000), 8, "by cookie");
    (1000..1002).for_each(|port| drop(bench.ask(&client(port).rst(6))));
    assert_eq!(half_open_after(&mut bench, 2001), 6, "still by cookie");
    bench.ask(&client(1002).rst(6));
    assert_eq!(half_open_after(&mut bench, 2002), 6, "a record again");
    assert_eq!(half_open_after(&mut bench, 2003), 7, "up to half");
    assert_eq!(bench.worker.stats().counter(Counter::CookieMode), 1);
}

#[test]
fn at_the_limit_without_cookies_syns_are_dropped_and_counted() {
    let setup = Setup { cookies: Cookies::Never, half_open_limit: 3, ..Setup::default() };
    let mut bench = Bench::new(&setup);
    for port in 0..5 {
        bench.ask(&client(1000 + port).syn(5));
    }
    assert_eq!(bench.worker.flows(State::SynRcvd), 3);
    assert_eq!(bench.worker.stats().dropped(Reason::HalfOpenFull), 2);
    bench.assert_balanced();
}

#[test]
fn a_full_table_drops_and_recovers() {
    let setup = Setup { cookies: Cookies::Never, capacity: 2, ..Setup::default() };
    let mut bench = Bench::new(&setup);
    for port in 0..3 {
        bench.ask(&client(1000 + port).syn(5));
    }
    assert_eq!(bench.worker.stats().dropped(Reason::TableFull), 1);
    assert_eq!(bench.ask(&client(1000).rst(6)).len(), 0);
    bench.shake(1002, 5);
    bench.assert_balanced();
}

#[test]
fn an_empty_pool_or_a_full_transmit_ring_loses_no_buffer() {
    let options = Options { buffers: 8, ring: 4, ..Options::default() };
    let mut bench = Bench::on(&options, &Setup::default());
    for port in 0..4 {
        bench.send(&client(1000 + port).syn(5));
    }
    bench.turn(); // four SYN-ACKs fill the ring towards the wire
    for port in 4..8 {
        let _ = bench.wire.send(0, &client(1000 + port).syn(5).build());
    }
    bench.turn();
    assert!(bench.worker.stats().counter(Counter::Refused) > 0);
    bench.replies();
    bench.assert_balanced();
    bench.shake(2000, 5);
}

#[test]
fn a_drain_takes_no_syn_lets_flows_finish_and_resets_what_is_left() {
    let mut bench = Bench::new(&Setup::default());
    let iss = bench.shake(40000, 5);
    bench.ask(&client(40000).ack(6, iss.wrapping_add(1)));
    bench.worker.drain(bench.clock.now().tick, 1000);
    assert!(bench.ask(&client(40001).syn(5)).is_empty());
    assert!(!bench.worker.is_idle());
    bench.wait_ms(1100);
    let replies = bench.replies();
    assert_eq!((replies.len(), replies[0].flags.has(Flags::RST)), (1, true));
    assert!(bench.worker.is_idle());
    assert_eq!(bench.worker.stats().services[0].ended(End::Drained), 1);
    bench.assert_balanced();
}

/// What a flood left half-open holds a drain up for a second; an honest third ACK comes before that.
#[test]
fn a_drain_does_not_wait_for_what_stays_half_open() {
    let mut bench = Bench::new(&Setup::default());
    for port in 1000..1100 {
        bench.shake(port, 5);
    }
    let iss = bench.shake(40000, 5);
    bench.worker.drain(bench.clock.now().tick, 3_600_000);
    bench.wait_ms(900);
    assert!(bench.replies().is_empty());
    let answer = bench.ask(&client(40000).ack(6, iss.wrapping_add(1)).payload(b"GET /"));
    assert_eq!(answer[0].payload, Setup::default().answer);
    bench.wait_ms(200);
    let resets = bench.replies();
    assert_eq!(resets.iter().filter(|reply| reply.flags.has(Flags::RST)).count(), 100);
    assert_eq!((bench.worker.flows(State::SynRcvd), bench.worker.is_idle()), (0, false));
    let end = iss.wrapping_add(2 + Setup::default().answer.len() as u32);
    bench.ask(&client(40000).ack(11, end).fin());
    assert!(bench.worker.is_idle());
    bench.assert_balanced();
}

fn answering(answer: &str) -> Plan {
    testing::plan(&Setup { answer: answer.as_bytes(), ..Setup::default() })
}

/// An answer that changes while it is sent ends as it began; the next client has the new one.
#[test]
fn a_reload_leaves_an_answer_as_it_was() {
    let answer = vec![b'a'; 20_000];
    let mut bench = Bench::new(&Setup { answer: &answer, ..Setup::default() });
    let iss = bench.shake(40000, 5);
    let request = client(40000).ack(6, iss.wrapping_add(1)).payload(b"GET /").window(60_000);
    let mut said = bench.ask(&request);
    assert_eq!(said.len(), 10, "an initial window");
    bench.reload(&answering("new"));
    assert_eq!(bench.get(40001), b"new");
    while !said.iter().any(|read| read.flags.has(Flags::FIN)) {
        let last = said.last().expect("a segment");
        let ack = last.seq.wrapping_add(last.payload.len() as u32);
        let more = bench.ask(&client(40000).ack(11, ack).window(60_000));
        assert!(!more.is_empty());
        said.extend(more);
    }
    let bytes: Vec<u8> = said.iter().flat_map(|read| read.payload.clone()).collect();
    assert_eq!(bytes, answer);
    let services = bench.worker.stats().services;
    assert_eq!((services.len(), services[0].counter(ServiceCounter::Completed)), (1, 2));
    bench.assert_balanced();
}

/// Its flows finish, and its address is ours until they have; counts go on under its name.
#[test]
fn a_removed_service_keeps_its_flows() {
    let mut bench = Bench::new(&Setup::default());
    let iss = bench.shake(40000, 5);
    bench.shake(40001, 5);
    let mut none = answering("");
    none.services.clear();
    none.ports[0].vips.clear();
    bench.reload(&none);
    assert!(bench.is_answered_for("10.10.0.10") && bench.is_answered_for("10.10.0.2"));
    assert!(bench.ask(&client(40002).syn(5)).is_empty());
    assert_eq!(bench.worker.stats().dropped(Reason::OtherAddress), 1);
    let answer = bench.ask(&client(40000).ack(6, iss.wrapping_add(1)).payload(b"GET /"));
    assert_eq!(answer[0].payload, Setup::default().answer);
    let end = iss.wrapping_add(2 + answer[0].payload.len() as u32);
    bench.ask(&client(40000).ack(11, end).fin());
    assert_eq!(bench.worker.stats().services[0].ended(End::Closed), 1);
    bench.wait_ms(64_000);
    bench.replies();
    assert_eq!(bench.worker.records(), 0);
    assert!(!bench.is_answered_for("10.10.0.10") && bench.is_answered_for("10.10.0.2"));
    let mut other = answering("other");
    other.services[0].name = "other".into();
    bench.reload(&other);
    assert_eq!(bench.get(40003), b"other");
    let services = bench.worker.stats().services;
    let completed: Vec<_> = services.iter().map(|s| s.counter(ServiceCounter::Completed)).collect();
    assert_eq!(completed, [1, 1]);
    bench.assert_balanced();
}

/// RFC 5227 §2.3, RFC 4861 §7.2.6: what a reload adds is announced, three times; what it leaves is not.
#[test]
fn a_new_address_is_announced() {
    let mut bench = Bench::new(&Setup::default());
    let mut plan = answering("a");
    bench.reload(&plan);
    bench.wait_ms(3000);
    assert!(bench.wire.receive(0).is_none());
    plan.services[0].listen.push("10.10.0.20:80".parse().unwrap());
    plan.ports[0].vips.push("10.10.0.20".parse().unwrap());
    bench.reload(&plan);
    bench.wait_ms(3000);
    assert_eq!(std::iter::from_fn(|| bench.wire.receive(0)).count(), 12);
    assert_eq!(bench.ask(&tcp().from(CLIENT).to("10.10.0.20:80").syn(5)).len(), 1);
}

/// Cookies that were issued before a reload ended them, or changed what else they stand for, are accepted.
#[test]
fn a_cookie_outlives_a_reload() {
    let mut bench = Bench::new(&Setup { cookies: Cookies::Always, ..Setup::default() });
    let iss = bench.shake(40000, 5);
    bench.reload(&testing::plan(&Setup { cookies: Cookies::Never, ..Setup::default() }));
    let answer = bench.ask(&client(40000).ack(6, iss.wrapping_add(1)).payload(b"GET /"));
    assert_eq!(answer[0].payload, Setup::default().answer);
    assert_eq!(bench.worker.stats().counter(Counter::CookiesAccepted), 1);
    bench.wait_ms(200_000);
    while bench.wire.receive(0).is_some() {}
    bench.ask(&client(40000).ack(6, 77));
    let rejected = bench.worker.stats().counter(Counter::CookiesRejected);
    assert_eq!(rejected, 0, "nobody can have issued one");
}

/// A shorter timeout holds for a flow from its next segment on.
#[test]
fn a_reload_changes_timeouts() {
    let mut bench = Bench::new(&Setup::default());
    let iss = bench.shake(40000, 5);
    bench.ask(&client(40000).ack(6, iss.wrapping_add(1)));
    let mut plan = testing::plan(&Setup::default());
    plan.policy.idle = 1000;
    bench.reload(&plan);
    bench.ask(&client(40000).ack(6, iss.wrapping_add(1)));
    bench.wait_ms(900);
    assert_eq!(bench.worker.flows(State::Established), 1);
    bench.wait_ms(200);
    assert_eq!(bench.worker.stats().services[0].ended(End::IdleTimeout), 1);
}

/// A full table: what lingers gives way and is counted; a cookie that finds no room has not been accepted.
#[test]
fn what_gives_way_and_what_finds_no_room_is_counted() {
    let setup = Setup { cookies: Cookies::Always, capacity: 1, ..Setup::default() };
    let mut bench = Bench::new(&setup);
    let open = |bench: &mut Bench, port| {
        let iss = bench.shake(port, 5);
        bench.ask(&client(port).ack(6, iss.wrapping_add(1)));
        iss
    };
    let iss = open(&mut bench, 1);
    open(&mut bench, 2);
    let count = |bench: &Bench, counter| bench.worker.stats().counter(counter);
    assert_eq!(count(&bench, Counter::CookiesAccepted), 1);
    assert_eq!(count(&bench, Counter::CookiesUnplaced), 1);
    assert_eq!(bench.worker.stats().dropped(Reason::TableFull), 1);
    bench.ask(&client(1).rst(6).ack(6, iss.wrapping_add(1)));
    assert_eq!(bench.worker.flows(State::Closed), 1, "a spent marker");
    let iss = open(&mut bench, 2);
    assert_eq!(count(&bench, Counter::EvictedSpent), 1);
    bench.ask(&client(2).ack(6, iss.wrapping_add(1)).payload(b"GET /"));
    let end = iss.wrapping_add(2 + Setup::default().answer.len() as u32);
    bench.ask(&client(2).ack(11, end).fin());
    assert_eq!(bench.worker.flows(State::TimeWait), 1);
    open(&mut bench, 3);
    assert_eq!(count(&bench, Counter::EvictedTimeWait), 1);
    assert_eq!((count(&bench, Counter::CookiesAccepted), bench.worker.records()), (3, 1));
    bench.assert_balanced();
}

/// A wide window lets more segments go than one slot's budget; none waits for a timer of seconds.
#[test]
fn what_exceeds_the_budget_or_finds_no_buffer_follows_in_the_next_slot() {
    let options = Options { buffers: 10, ..Options::default() };
    let answer = vec![b'x'; 60_000];
    let mut bench = Bench::on(&options, &Setup { answer: &answer, ..Setup::default() });
    let iss = bench.shake(40000, 5);
    let held: Vec<_> = std::iter::from_fn(|| bench.wire.alloc()).take(7).collect();
    bench.send(&client(40000).ack(6, iss.wrapping_add(1)).payload(b"GET /").window(60_000));
    bench.turn();
    let first = bench.replies().len();
    assert!((1..10).contains(&first), "{first}");
    assert!(bench.worker.stats().counter(Counter::Withheld) > 0);
    drop(held);
    bench.wait_ms(10);
    assert_eq!(first + bench.replies().len(), 10, "an initial window of ten (RFC 6928 §2)");
    bench.assert_balanced();
}

#[test]
fn strangers_get_what_policy_says() {
    let mut bench = Bench::new(&Setup::default());
    let closed = bench.ask(&tcp().from(CLIENT).to("10.10.0.10:81").syn(5));
    assert_eq!((closed[0].flags, closed[0].ack), (Flags::RST | Flags::ACK, 6));
    assert!(bench.ask(&tcp().from(CLIENT).to("10.10.0.99:80").syn(5)).is_empty());
    assert!(bench.ask(&client(7).ack(5, 5)).is_empty());
    let stats = bench.worker.stats();
    assert_eq!((stats.dropped(Reason::OtherAddress), stats.dropped(Reason::InvalidAck)), (1, 1));
}

/// IEEE 802.3 §4.2.3.3: short frames are padded, with nothing of what the buffer held before (CVE-2003-0001);
/// the lengths in their headers stay.
#[test]
fn short_frames_are_padded_with_zeros() {
    let mut bench = Bench::new(&Setup::default());
    let rubbish: Vec<_> = std::iter::from_fn(|| bench.wire.alloc())
        .map(|mut frame| {
            frame.room().fill(0xa5);
            frame
        })
        .collect();
    drop(rubbish);
    let questions = [
        client(40000).syn(5).padding(20).build(),
        tcp().from(CLIENT).to("10.10.0.10:81").ack(5, 5).payload(&[0xa5; 50]).build(),
        arp().sender("10.10.0.1").target("10.10.0.10").padding(18).build(),
        echo().from("10.10.0.1").to("10.10.0.10").payload(b"").padding(40).build(),
    ];
    let (mut told, mut lens) = (Vec::new(), Vec::new());
    for question in questions {
        assert!(bench.wire.send(0, &question));
        bench.turn();
        let answer = bench.wire.receive(0).expect("an answer").bytes().to_vec();
        lens.push(answer.len());
        told.push(match answer[12..14] {
            [8, 0] => 14 + usize::from(answer[17]),
            _ => 42,
        });
        assert!(answer[told[told.len() - 1]..].iter().all(|byte| *byte == 0), "{answer:02x?}");
    }
    assert_eq!((told, lens), (vec![58, 54, 42, 42], vec![60; 4]));
}

/// What nobody asked for is padded, too.
#[test]
fn short_frames_of_our_own_are_padded_with_zeros() {
    let mut bench = Bench::new(&Setup::default());
    bench.shake(40000, 5);
    bench.wait_ms(1100);
    let repeated = bench.wire.receive(0).expect("the SYN-ACK again").bytes().to_vec();
    assert_eq!((repeated.len(), &repeated[58..]), (60, &[0, 0][..]));
}

#[test]
fn ipv6_is_served_too() {
    let mut bench = Bench::new(&Setup::default());
    let replies = bench.ask(&tcp().from("[fd00::1]:40000").to("[fd00::10]:80").syn(5).mss(1440));
    assert_eq!(replies[0].mss, Some(1440));
    let ack =
        tcp().from("[fd00::1]:40000").to("[fd00::10]:80").ack(6, replies[0].seq.wrapping_add(1));
    assert_eq!(bench.ask(&ack.payload(b"x"))[0].payload, ANSWER);
}

/// RFC 5227 §2.3, RFC 4861 §7.2.6: one own address and two VIPs, three times each.
#[test]
fn addresses_are_announced_three_times() {
    let bench = Bench::new(&Setup::default());
    assert_eq!(bench.announcements, 9);
    bench.assert_balanced();
}
