//! A worker between a client and backends, on two memory ports.

use std::sync::Arc;
use std::time::Duration;

use usher_proto::testing::{
    ArpFrame, CLIENT_MAC, Envelope, OUR_MAC, Read, TcpFrame, TcpRead, arp, icmp_error, read,
    read_arp, read_icmp, tcp,
};
use usher_proto::verdict::{End, Reason};
use usher_proto::wire::{Flags, Mac};

use crate::clock::{Clock, FakeClock};
use crate::config::{Cookies, Plan, ServiceKind};
use crate::port::Frame;
use crate::port::memory::{self, MemoryQueue, Options, Wire};
use crate::stats::{BackendCounter, Counter};
use crate::testing::{self, Setup};
use crate::worker::{FlowFilter, Sample, State, Worker};

const VIP: &str = "10.10.0.10:80";
const LAN_MAC: Mac = Mac([2, 0, 0, 0, 0, 0x20]);
const BACKEND_MAC: Mac = Mac([2, 0, 0, 0, 0, 0x21]);

pub(in crate::worker) struct Bench {
    pub(in crate::worker) worker: Worker<MemoryQueue>,
    pub(in crate::worker) wan: Wire,
    pub(in crate::worker) lan: Wire,
    pub(in crate::worker) clock: FakeClock,
}

fn plan(service: &str) -> Plan {
    testing::proxy_plan(&Setup { capacity: 100, ..Setup::default() }, service)
}

impl Bench {
    fn new(service: &str) -> Self {
        Self::of(&plan(service))
    }

    fn unchecked(plan: &Plan) -> Self {
        let (mut wan, wan_wire) =
            memory::new("wan", &Options { mac: OUR_MAC, ..Options::default() });
        let (mut lan, lan_wire) =
            memory::new("lan", &Options { mac: LAN_MAC, ..Options::default() });
        let mut clock = FakeClock::default();
        let ports = [&mut wan, &mut lan];
        let worker = testing::proxy_worker(plan, ports, clock.now()).unwrap();
        Self { worker, wan: wan_wire, lan: lan_wire, clock }
    }

    pub(in crate::worker) fn of(plan: &Plan) -> Self {
        let mut bench = Self::unchecked(plan);
        bench.turn();
        bench.be_checked();
        bench.wait_ms(3000);
        while bench.wan.receive(0).is_some() || bench.lan.receive(0).is_some() {}
        bench
    }

    pub(in crate::worker) fn turn(&mut self) {
        let now = self.clock.now();
        self.worker.turn(now);
    }

    pub(in crate::worker) fn wait_ms(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.clock.advance_ms(10);
            self.turn();
        }
    }

    /// What the client sends, and what comes out to it and to the backend.
    pub(in crate::worker) fn client_sends(
        &mut self,
        frame: &TcpFrame,
    ) -> (Vec<TcpRead>, Vec<TcpRead>) {
        assert!(self.wan.send(0, &frame.build()));
        self.turn();
        (drain(&mut self.wan), drain(&mut self.lan))
    }

    pub(in crate::worker) fn backend_sends(
        &mut self,
        frame: &TcpFrame,
    ) -> (Vec<TcpRead>, Vec<TcpRead>) {
        assert!(self.lan.send(0, &frame.build()));
        self.turn();
        (drain(&mut self.wan), drain(&mut self.lan))
    }

    /// The first check: the question for the backend's MAC, a SYN, its SYN-ACK, a RST.
    fn be_checked(&mut self) {
        self.wait_ms(10);
        let frames: Vec<_> = std::iter::from_fn(|| self.lan.receive(0)).collect();
        let mut questions = frames.iter().map(|frame| read_arp(frame.bytes()));
        let question = questions.find(|asked| asked.target.1.to_string() == "10.20.0.2");
        let vlan = question.expect("a question").vlan;
        drop(frames);
        self.answer_for_the_backend(vlan);
        let syn = drain(&mut self.lan).pop().expect("a SYN");
        let (_, mut to_backend) = self.backend_sends(&syn_ack(&syn, 1));
        let said = to_backend[0].payload.len() as u32;
        if said > 0 {
            let heard = backend(&syn).ack(2, syn.seq.wrapping_add(1 + said)).timestamps(901, 0);
            (_, to_backend) = self.backend_sends(&heard);
        }
        assert!(to_backend[0].flags.has(Flags::RST));
    }

    /// The backend's answer to ARP.
    fn answer_for_the_backend(&mut self, vlan: Option<u16>) {
        let reply: ArpFrame =
            arp().sender("10.20.0.2").sender_mac(BACKEND_MAC).target("10.20.0.1").reply_to(LAN_MAC);
        let reply = match vlan {
            Some(id) => reply.vlan(id),
            None => reply,
        };
        assert!(self.lan.send(0, &reply.build()));
        self.turn();
    }

    /// The client's handshake up to its third ACK with `data`; returns our ISN, and our SYN to the backend.
    fn shake(&mut self, data: &[u8]) -> (u32, TcpRead) {
        let (back, _) = self.client_sends(&client().syn(99).linux(1460, 5000, 7));
        let (iss, stamp) = (back[0].seq, back[0].timestamps.unwrap().val);
        let ack = client().ack(100, iss.wrapping_add(1)).timestamps(5001, stamp).payload(data);
        let (to_client, mut to_backend) = self.client_sends(&ack);
        assert!(to_client.is_empty(), "nothing is acknowledged by us: {to_client:?}");
        (iss, to_backend.pop().expect("a SYN"))
    }

    pub(in crate::worker) fn assert_balanced(&self) {
        let stats = self.worker.stats();
        let sum = |all: &[Counter]| all.iter().map(|&counter| stats.counter(counter)).sum::<u64>();
        let verdicts = [
            Counter::Answered,
            Counter::Reflected,
            Counter::Delivered,
            Counter::Forwarded,
            Counter::Held,
            Counter::Dropped,
        ];
        assert_eq!(sum(&verdicts), stats.counter(Counter::Received));
        assert_eq!((self.worker.held(), self.worker.ports_taken()), (0, 0));
        for wire in [&self.wan, &self.lan] {
            assert_eq!(wire.free_buffers(), wire.total_buffers());
        }
    }
}

/// The segments that came out.
pub(in crate::worker) fn drain(wire: &mut Wire) -> Vec<TcpRead> {
    let frames = std::iter::from_fn(|| wire.receive(0));
    let segment = |frame: memory::MemoryFrame| {
        assert!(frame.bytes().len() >= 60, "shorter than Ethernet's least frame");
        match read(frame.bytes()) {
            Read::Tcp(segment) => Some(segment),
            _ => None,
        }
    };
    frames.filter_map(segment).collect()
}

pub(in crate::worker) fn client() -> TcpFrame {
    tcp().from("10.10.0.1:40000").to("10.10.0.10:80")
}

/// From the backend to where its SYN came from.
pub(in crate::worker) fn backend(syn: &TcpRead) -> TcpFrame {
    let frame = tcp().from(syn.to).to(syn.from).src_mac(BACKEND_MAC).dst_mac(LAN_MAC);
    match syn.vlan {
        Some(id) => frame.vlan(id),
        None => frame,
    }
}

pub(in crate::worker) fn syn_ack(syn: &TcpRead, isn: u32) -> TcpFrame {
    let stamp = syn.timestamps.expect("timestamps").val;
    backend(syn)
        .ack(isn, syn.seq.wrapping_add(1))
        .with(Flags::SYN)
        .mss(1460)
        .sack_permitted()
        .timestamps(900, stamp)
        .window_scale(7)
}

/// Handshakes, a request that waits, an answer, the close by the client first: one connection to both ends.
#[test]
fn a_client_and_a_backend_are_joined() {
    let mut bench = Bench::new("");
    let (iss, syn) = bench.shake(b"GET /");
    assert_eq!((syn.flags, syn.to.to_string()), (Flags::SYN, "10.20.0.2:80".into()));
    assert_eq!((syn.src_mac, syn.dst_mac), (LAN_MAC, BACKEND_MAC));
    assert_eq!(bench.worker.flows(State::SynSent), 1);

    // its answer lets the request go
    let stamp = syn.timestamps.unwrap().val;
    let (to_client, to_backend) = bench.backend_sends(&syn_ack(&syn, 7000));
    assert!(to_client.is_empty());
    let request = to_backend.last().expect("the request");
    assert_eq!(request.payload, b"GET /");
    assert_eq!((request.seq, request.ack), (syn.seq.wrapping_add(1), 7001));
    assert_eq!(request.timestamps.unwrap().ecr, 900);
    assert_eq!(bench.worker.flows(State::Established), 1);

    // the answer
    let answer = backend(&syn)
        .ack(7001, request.seq.wrapping_add(5))
        .timestamps(910, stamp)
        .payload(b"hello");
    let (to_client, _) = bench.backend_sends(&answer);
    let answer = to_client.last().expect("the answer");
    assert_eq!((answer.seq, answer.ack), (iss.wrapping_add(1), 105));
    assert_eq!(
        (answer.payload.as_slice(), answer.src_mac, answer.dst_mac),
        (&b"hello"[..], OUR_MAC, CLIENT_MAC)
    );

    // both close, the client first
    let stamp = answer.timestamps.unwrap().val;
    let end = iss.wrapping_add(6);
    let (_, to_backend) = bench.client_sends(&client().ack(105, end).fin().timestamps(5020, stamp));
    let fin = to_backend.last().expect("the FIN");
    assert!(fin.flags.has(Flags::FIN));
    assert_eq!(bench.worker.flows(State::CloseWait), 1);
    let fin_ack = backend(&syn).ack(7006, fin.seq.wrapping_add(1)).fin().timestamps(920, 1);
    let (to_client, _) = bench.backend_sends(&fin_ack);
    assert_eq!((to_client[0].ack, to_client[0].flags.has(Flags::FIN)), (106, true));
    let (_, to_backend) =
        bench.client_sends(&client().ack(106, end.wrapping_add(1)).timestamps(5021, stamp));
    assert_eq!(to_backend[0].ack, 7007);
    assert_eq!(bench.worker.flows(State::TimeWait), 1);
    bench.wait_ms(61_000);
    assert_eq!(bench.worker.records(), 0);
    bench.assert_balanced();
}

/// What is shown of a proxied flow: both halves, how old it is, how long it was silent.
#[test]
fn a_sample_shows_both_halves() {
    let mut bench = Bench::new("");
    let (_, syn) = bench.shake(b"GET /");
    bench.backend_sends(&syn_ack(&syn, 7000));
    bench.wait_ms(1500);
    let now = bench.clock.now();
    let sample = |filter: FlowFilter| {
        let mut sample = Sample::new(filter, 10, 77);
        bench.worker.sample(&mut sample, &now);
        assert!(sample.is_complete() && sample.looked() == 1);
        sample.flows().to_vec()
    };
    let [flow] = sample(FlowFilter::default())[..] else { panic!("one flow") };
    assert_eq!((flow.state, flow.service, flow.backend), (State::Established, 0, Some(0)));
    assert_eq!((flow.tuple.remote_port, flow.tuple.local_port), (40_000, 80));
    let backend = flow.backend_tuple.expect("a backend's half");
    assert_eq!((backend.remote_port, backend.local_port), (80, syn.from.port()));
    assert!((1500..1600).contains(&flow.idle_ms) && flow.age_ms >= flow.idle_ms, "{flow:?}");
    let at = |slot: u16| FlowFilter { backends: Some([slot].into()), ..FlowFilter::default() };
    assert_eq!((sample(at(0)).len(), sample(at(1)).len()), (1, 0));
    let of = |service| FlowFilter { service: Some(service), ..FlowFilter::default() };
    assert_eq!((sample(of(0)).len(), sample(of(1)).len()), (1, 0));
}

/// IEEE 802.3 §4.2.3.3: a short segment is padded anew, and nothing crosses from one network to the other in
/// its padding.
#[test]
fn short_frames_are_passed_on_with_clean_padding() {
    let mut bench = Bench::new("");
    let (back, _) = bench.client_sends(&client().syn(99).mss(1460));
    let iss = back[0].seq;
    let request = client().ack(100, iss.wrapping_add(1)).payload(b"GET /");
    let (_, to_backend) = bench.client_sends(&request);
    let syn = to_backend.last().expect("a SYN").clone();
    let opened = backend(&syn).ack(7000, syn.seq.wrapping_add(1)).with(Flags::SYN).mss(1460);
    let (_, to_backend) = bench.backend_sends(&opened);
    assert_eq!(to_backend.last().expect("the request").payload, b"GET /");
    let ack = client().ack(105, iss.wrapping_add(1)).padding(6);
    assert!(bench.wan.send(0, &ack.build()));
    bench.turn();
    let passed = bench.lan.receive(0).expect("the ACK");
    assert_eq!((passed.bytes().len(), &passed.bytes()[54..]), (60, &[0; 6][..]));
}

/// A backend that refuses, and no other: the client is told, and nothing is left.
#[test]
fn a_client_that_no_backend_takes_is_reset() {
    let mut bench = Bench::new("backend_retries = 0");
    let (iss, syn) = bench.shake(b"GET /");
    assert_eq!(bench.worker.held(), 1);
    let refusal = backend(&syn).rst(0).seq(0).with(Flags::ACK);
    let refusal = TcpFrame::ack(refusal, 0, syn.seq.wrapping_add(1)).with(Flags::RST);
    let (to_client, to_backend) = bench.backend_sends(&refusal);
    assert!(to_backend.iter().all(|segment| segment.flags.has(Flags::RST)), "{to_backend:?}");
    let reset = to_client.last().expect("a RST");
    assert_eq!((reset.flags.has(Flags::RST), reset.seq), (true, iss.wrapping_add(1)));
    assert_eq!(bench.worker.records(), 0);
    bench.assert_balanced();
}

/// The PROXY header is ours: it goes first, again until it is acknowledged, and the client never hears of it.
#[test]
fn a_proxy_header_goes_first_and_again() {
    let mut bench = Bench::new("proxy_protocol = true");
    let (iss, syn) = bench.shake(b"GET /");
    let (_, to_backend) = bench.backend_sends(&syn_ack(&syn, 7000));
    let first = syn.seq.wrapping_add(1);
    assert_eq!(&to_backend[0].payload[..12], b"\r\n\r\n\0\r\nQUIT\n");
    assert_eq!((to_backend[0].seq, to_backend[0].payload.len()), (first, 28));
    assert_eq!((to_backend[1].seq, to_backend[1].payload.as_slice()), (first + 28, &b"GET /"[..]));
    bench.wait_ms(1500);
    let again = drain(&mut bench.lan);
    assert_eq!((again[0].seq, &again[0].payload), (first, &to_backend[0].payload));
    // half of it is acknowledged: to the client nothing is
    let stamp = syn.timestamps.unwrap().val;
    let half = backend(&syn).ack(7001, first + 14).timestamps(901, stamp);
    let (to_client, _) = bench.backend_sends(&half);
    assert_eq!((to_client[0].seq, to_client[0].ack), (iss.wrapping_add(1), 100));
    let whole = backend(&syn).ack(7001, first + 33).timestamps(902, stamp);
    let (to_client, _) = bench.backend_sends(&whole);
    assert_eq!(to_client[0].ack, 105);
}

/// All backends are down: who asks is refused at once.
#[test]
fn a_service_whose_backends_are_down_refuses() {
    let mut bench = Bench::new("backend_retries = 0\nno_backend = \"reset\"");
    bench.worker.proxies.backends.get_mut(0).up = false;
    bench.worker.proxies.offers.forget();
    let (to_client, _) = bench.client_sends(&client().syn(5));
    assert_eq!((to_client[0].flags, to_client[0].ack), (Flags::RST | Flags::ACK, 6));
    bench.assert_balanced();
}

/// Without translation the backend has the service's address: it is known by its MAC alone, and whoever
/// else answers with the same addresses is told that there is no such connection.
#[test]
fn without_translation_only_the_chosen_backend_is_heard() {
    let mut bench = Bench::new("forward = \"l2\"");
    let (iss, syn) = bench.shake(b"GET /");
    assert_eq!((syn.from.to_string(), syn.to.to_string()), ("10.10.0.1:40000".into(), VIP.into()));
    assert_eq!((syn.dst_mac, syn.ttl), (BACKEND_MAC, 64));
    let from_other = |frame: TcpFrame| frame.src_mac(Mac([2, 0, 0, 0, 0, 0x66]));
    let (_, to_backend) = bench.backend_sends(&from_other(syn_ack(&syn, 7000)));
    assert_eq!(
        (to_backend[0].dst_mac, to_backend[0].flags),
        (Mac([2, 0, 0, 0, 0, 0x66]), Flags::RST)
    );
    let (_, to_backend) = bench.backend_sends(&syn_ack(&syn, 9000));
    assert_eq!(to_backend.last().expect("the request").payload, b"GET /");
    let stamp = syn.timestamps.unwrap().val;
    let answer = backend(&syn).ack(9001, syn.seq.wrapping_add(6)).timestamps(903, stamp);
    let (to_client, _) = bench.backend_sends(&from_other(answer.clone().payload(b"evil")));
    assert!(to_client.is_empty());
    let (to_client, _) = bench.backend_sends(&answer.payload(b"hello"));
    assert_eq!(
        (to_client[0].seq, to_client[0].payload.as_slice()),
        (iss.wrapping_add(1), &b"hello"[..])
    );
}

/// What is drained keeps its flows and gets no new ones, also over a reload, until it is enabled.
#[test]
fn a_drained_backend_keeps_what_it_has() {
    let mut bench = Bench::new("");
    let (iss, syn) = bench.shake(b"GET /");
    bench.backend_sends(&syn_ack(&syn, 7000));
    bench.worker.set_drained(0, true);
    let stamp = syn.timestamps.unwrap().val;
    let answer =
        backend(&syn).ack(7001, syn.seq.wrapping_add(6)).timestamps(910, stamp).payload(b"hello");
    let (to_client, _) = bench.backend_sends(&answer);
    assert_eq!(to_client.last().expect("the answer").payload, b"hello");
    let knock = |bench: &mut Bench, port: u16| {
        let syn = tcp().from(format!("10.10.0.1:{port}").as_str()).to("10.10.0.10:80").syn(5);
        bench.client_sends(&syn).0[0].flags
    };
    assert_eq!(knock(&mut bench, 40_001), Flags::RST | Flags::ACK);
    let now = bench.clock.now();
    let changed =
        testing::proxy_plan(&Setup { capacity: 100, ..Setup::default() }, "backend_retries = 1");
    testing::reload(std::slice::from_mut(&mut bench.worker), &changed, now);
    assert_eq!(knock(&mut bench, 40_002), Flags::RST | Flags::ACK);
    let row = bench.worker.board().read().backends[0];
    assert!(row.state.up && row.state.drained);
    assert_eq!((row.connections, row.counter(BackendCounter::Connected)), (1, 1));
    assert_eq!(row.state.learned.map(|learned| learned.mss), Some(1460));
    bench.worker.set_drained(0, false);
    assert_eq!(knock(&mut bench, 40_003), Flags::SYN | Flags::ACK);
    let (_, to_backend) =
        bench.client_sends(&client().ack(105, iss.wrapping_add(6)).timestamps(5020, stamp));
    assert_eq!(to_backend.last().expect("its acknowledgement").ack, 7006);
}

/// Only one backend, which is silent: it is asked as often as there are tries, and the client is told when
/// their time is over.
#[test]
fn a_silent_backend_is_asked_again_if_there_is_no_other() {
    let mut bench = Bench::new("backend_retries = 2");
    let (iss, first) = bench.shake(b"GET /");
    let mut seqs = vec![first.seq];
    for _ in 0..2 {
        bench.wait_ms(1000);
        let segments = drain(&mut bench.lan);
        let syns: Vec<_> = segments.iter().filter(|segment| segment.flags == Flags::SYN).collect();
        assert_eq!(syns.len(), 1);
        seqs.push(syns[0].seq);
        assert!(drain(&mut bench.wan).is_empty(), "the client waits");
    }
    seqs.dedup();
    assert_eq!(seqs.len(), 3, "each try has its own ISN");
    bench.wait_ms(1000);
    let reset = drain(&mut bench.wan).pop().expect("a RST");
    assert_eq!((reset.flags.has(Flags::RST), reset.seq), (true, iss.wrapping_add(1)));
    assert_eq!(bench.worker.records(), 0);
    drain(&mut bench.lan);
    bench.assert_balanced();
}

/// A client that a cookie let in and nobody takes: the cookie is spent, and its third ACK, sent again, has no
/// backend tried again.
#[test]
fn a_client_that_is_turned_away_has_spent_its_cookie() {
    let setup = Setup { capacity: 100, cookies: Cookies::Always, ..Setup::default() };
    let mut bench = Bench::of(&testing::proxy_plan(&setup, ""));
    let taken: Vec<u16> = std::iter::from_fn(|| bench.worker.proxies.ways.take_port(0)).collect();
    let (back, _) = bench.client_sends(&client().syn(99).mss(1460));
    let third = client().ack(100, back[0].seq.wrapping_add(1));
    let (to_client, _) = bench.client_sends(&third);
    assert!(to_client[0].flags.has(Flags::RST));
    assert_eq!((bench.worker.flows(State::Closed), bench.worker.records()), (1, 1));
    taken.into_iter().for_each(|port| bench.worker.proxies.ways.give_back(0, port));
    let (to_client, to_backend) = bench.client_sends(&third);
    assert!(to_client.is_empty() && to_backend.is_empty(), "{to_client:?} {to_backend:?}");
    assert_eq!(bench.worker.stats().dropped(Reason::CookieReplayed), 1);
    bench.wait_ms(200_000);
    drain(&mut bench.lan);
    assert_eq!(bench.worker.records(), 0);
    bench.assert_balanced();
}

/// RFC 1812 §5.3.1: a segment that may not go further draws an error that names it, in its sender's words, and no
/// flood of them does: at most as many as the limit allows.
#[test]
fn a_time_to_live_that_ran_out_is_told() {
    let mut bench = Bench::new("");
    let (iss, syn) = bench.shake(b"GET /");
    bench.backend_sends(&syn_ack(&syn, 7000));
    let last_hop = client().ack(105, iss.wrapping_add(1)).timestamps(5002, 0).ttl(1);
    for _ in 0..100 {
        assert!(bench.wan.send(0, &last_hop.build()));
        bench.turn();
    }
    let told: Vec<_> =
        std::iter::from_fn(|| bench.wan.receive(0)).map(|frame| read_icmp(frame.bytes())).collect();
    assert!((20..40).contains(&told.len()), "{} errors", told.len());
    let quoted = icmp_error(11, 0, &last_hop.build()).quoting(28).build();
    let mut expected = read_icmp(&quoted);
    (expected.from, expected.to) = ("10.10.0.2".parse().unwrap(), "10.10.0.1".parse().unwrap());
    assert_eq!((told[0].from, told[0].to), (expected.from, expected.to));
    assert_eq!((told[0].kind, told[0].code), (11, 0));
    assert_eq!(told[0].body[16..32], expected.body[16..32], "addresses, ports and number");
    assert!(drain(&mut bench.lan).is_empty());
    assert_eq!(bench.worker.stats().dropped(Reason::TtlExpired), 100);
}

/// Checks wait for their next hop: whoever does not answer ARP at first is asked for a connection once when it does,
/// and a dead one costs a frame a round of questions.
#[test]
fn checks_wait_for_the_next_hop() {
    let mut plan = plan("");
    let ServiceKind::Proxy(proxy) = &mut plan.services[0].kind else { panic!("a proxy") };
    let health = &mut Arc::get_mut(proxy).expect("nobody else has it").health_check;
    (health.interval, health.timeout) = (Duration::from_secs(1), Duration::from_millis(500));
    let mut bench = Bench::unchecked(&plan);
    bench.wait_ms(2500);
    let frames: Vec<_> = std::iter::from_fn(|| bench.lan.receive(0)).collect();
    assert!(frames.iter().all(|frame| matches!(read(frame.bytes()), Read::Arp(_))));
    drop(frames);
    assert_eq!(bench.worker.stats().dropped(Reason::NoNextHop), 0);
    bench.answer_for_the_backend(None);
    let asked: Vec<_> = drain(&mut bench.lan);
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].flags.has(Flags::SYN));
    assert_eq!(bench.worker.stats().dropped(Reason::NoNextHop), 0);
}

/// Backends in a VLAN, clients in none: a segment of either side has the other's envelope.
#[test]
fn each_side_has_its_own_vlan() {
    let mut plan = plan("");
    plan.ports[1].vlan = 7;
    let mut bench = Bench::of(&plan);
    let (_, syn) = bench.shake(b"GET /");
    assert_eq!(syn.vlan, Some(7));
    let (_, to_backend) = bench.backend_sends(&syn_ack(&syn, 7000));
    let request = to_backend.last().expect("the request");
    assert_eq!((request.vlan, request.payload.as_slice()), (Some(7), &b"GET /"[..]));
    let stamp = syn.timestamps.unwrap().val;
    let answer = backend(&syn).ack(7001, request.seq.wrapping_add(5)).timestamps(910, stamp);
    let (to_client, _) = bench.backend_sends(&answer.clone().payload(b"hello"));
    assert_eq!((to_client[0].vlan, to_client[0].payload.as_slice()), (None, &b"hello"[..]));
    let elsewhere = TcpRead { vlan: Some(8), ..syn.clone() };
    let alien = backend(&elsewhere).ack(7006, request.seq.wrapping_add(5)).timestamps(911, stamp);
    let (to_client, _) = bench.backend_sends(&alien.payload(b"alien"));
    assert!(to_client.is_empty(), "of another VLAN");
}

/// No source port is left towards the backend: the client is told, and it is counted for what it is.
#[test]
fn ports_that_run_out_are_refused_and_counted() {
    let mut bench = Bench::new("");
    let taken: Vec<u16> = std::iter::from_fn(|| bench.worker.proxies.ways.take_port(0)).collect();
    assert_eq!(taken.len(), 64_512);
    let (back, _) = bench.client_sends(&client().syn(99).mss(1460));
    let (to_client, to_backend) =
        bench.client_sends(&client().ack(100, back[0].seq.wrapping_add(1)).payload(b"GET /"));
    assert!(to_client[0].flags.has(Flags::RST) && to_backend.is_empty());
    let stats = bench.worker.stats();
    assert_eq!(stats.counter(Counter::PortsExhausted), 1);
    assert_eq!(stats.services[0].ended(End::SnatExhausted), 1);
    taken.into_iter().for_each(|port| bench.worker.proxies.ways.give_back(0, port));
    assert_eq!(bench.worker.records(), 0);
    bench.assert_balanced();
}
