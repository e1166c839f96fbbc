//! A worker between a client and backends, on two memory ports.

use std::path::Path;
use std::sync::Arc;

use usher_proto::testing::{
    ArpFrame, CLIENT_MAC, Envelope, OUR_MAC, TcpFrame, TcpRead, arp, read_arp, read_tcp, tcp,
};
use usher_proto::wire::{Flags, Mac};

use crate::clock::{Clock, FakeClock};
use crate::config::Plan;
use crate::port::memory::{self, MemoryQueue, Options, Wire};
use crate::port::{Frame, Port};
use crate::stats::Counter;
use crate::testing::keyring;
use crate::worker::{LastIssued, Outfit, Seeds, State, Station, View, Worker};

const LAN_MAC: Mac = Mac([2, 0, 0, 0, 0, 0x20]);
const BACKEND_MAC: Mac = Mac([2, 0, 0, 0, 0, 0x21]);

struct Bench {
    worker: Worker<MemoryQueue>,
    wan: Wire,
    lan: Wire,
    clock: FakeClock,
}

fn plan(service: &str) -> Plan {
    let text = format!(
        r#"
        [engine]
        cores = [1]
        [[port]]
        name = "wan"
        device = "net_null0"
        addresses = ["10.10.0.2/16"]
        [[port]]
        name = "lan"
        device = "net_null1"
        addresses = ["10.20.0.1/24"]
        [[service]]
        name = "web"
        listen = ["10.10.0.10:80"]
        port = "wan"
        kind = "proxy"
        backends = ["10.20.0.2:8080"]
        {service}
        "#
    );
    Plan::parse(&text, Path::new("proxy.toml")).unwrap_or_else(|error| panic!("{error}"))
}

impl Bench {
    fn new(service: &str) -> Self {
        let plan = plan(service);
        let (mut wan, wan_wire) =
            memory::new("wan", &Options { mac: OUR_MAC, ..Options::default() });
        let (mut lan, lan_wire) =
            memory::new("lan", &Options { mac: LAN_MAC, ..Options::default() });
        let station = |port: &memory::MemoryPort| Station { mac: port.mac(), mtu: port.mtu() };
        let stations = [station(&wan), station(&lan)];
        let view = Arc::new(View::new(&plan, &stations, keyring(false)));
        let queue = |port: &mut memory::MemoryPort| port.start().unwrap().pop();
        let queues = vec![queue(&mut wan), queue(&mut lan)];
        let mut clock = FakeClock::default();
        let seeds = Seeds::from_bytes([[1; 32], [2; 32], [3; 32]]);
        let issued = LastIssued::default();
        let worker = Worker::new(Outfit::new(view), queues, 100, issued, seeds, clock.now());
        let mut bench = Self { worker, wan: wan_wire, lan: lan_wire, clock };
        bench.wait_ms(3000);
        while bench.wan.receive(0).is_some() || bench.lan.receive(0).is_some() {}
        bench
    }

    fn turn(&mut self) {
        let now = self.clock.now();
        self.worker.turn(now);
    }

    fn wait_ms(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.clock.advance_ms(10);
            self.turn();
        }
    }

    /// What the client sends, and what comes out to it and to the backend.
    fn client_sends(&mut self, frame: &TcpFrame) -> (Vec<TcpRead>, Vec<TcpRead>) {
        assert!(self.wan.send(0, &frame.build()));
        self.turn();
        (drain(&mut self.wan), drain(&mut self.lan))
    }

    fn backend_sends(&mut self, frame: &TcpFrame) -> (Vec<TcpRead>, Vec<TcpRead>) {
        assert!(self.lan.send(0, &frame.build()));
        self.turn();
        (drain(&mut self.wan), drain(&mut self.lan))
    }

    /// Answers the question for the backend's MAC.
    fn resolve(&mut self) {
        self.wait_ms(10);
        let question = read_arp(self.lan.receive(0).expect("a question").bytes());
        assert_eq!(question.target.1.to_string(), "10.20.0.2");
        let reply: ArpFrame =
            arp().sender("10.20.0.2").sender_mac(BACKEND_MAC).target("10.20.0.1").reply_to(LAN_MAC);
        assert!(self.lan.send(0, &reply.build()));
        self.turn();
    }

    /// The client's handshake up to its third ACK with `data`; returns our ISN.
    fn shake(&mut self, data: &[u8]) -> u32 {
        let (back, _) = self.client_sends(&client().syn(99).linux(1460, 5000, 7));
        let (iss, stamp) = (back[0].seq, back[0].timestamps.unwrap().val);
        let ack = client().ack(100, iss.wrapping_add(1)).timestamps(5001, stamp).payload(data);
        let (to_client, _) = self.client_sends(&ack);
        assert!(to_client.is_empty(), "nothing is acknowledged by us: {to_client:?}");
        iss
    }

    fn assert_balanced(&self) {
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

fn drain(wire: &mut Wire) -> Vec<TcpRead> {
    let read = |frame: memory::MemoryFrame| {
        assert!(frame.bytes().len() >= 60, "shorter than Ethernet's least frame");
        read_tcp(frame.bytes())
    };
    std::iter::from_fn(|| wire.receive(0)).map(read).collect()
}

fn client() -> TcpFrame {
    tcp().from("10.10.0.1:40000").to("10.10.0.10:80")
}

/// From the backend to where its SYN came from.
fn backend(syn: &TcpRead) -> TcpFrame {
    tcp().from("10.20.0.2:8080").to(syn.from).src_mac(BACKEND_MAC).dst_mac(LAN_MAC)
}

fn syn_ack(syn: &TcpRead, isn: u32) -> TcpFrame {
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
    let iss = bench.shake(b"GET /");
    bench.resolve();
    let syn = drain(&mut bench.lan).pop().expect("a SYN");
    assert_eq!((syn.flags, syn.to.to_string()), (Flags::SYN, "10.20.0.2:8080".into()));
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

/// IEEE 802.3 §4.2.3.3: a short segment is padded anew, and nothing crosses from one network to the other in
/// its padding.
#[test]
fn short_frames_are_passed_on_with_clean_padding() {
    let mut bench = Bench::new("");
    let (back, _) = bench.client_sends(&client().syn(99).mss(1460));
    let iss = back[0].seq;
    bench.client_sends(&client().ack(100, iss.wrapping_add(1)).payload(b"GET /"));
    bench.resolve();
    let syn = drain(&mut bench.lan).pop().expect("a SYN");
    let opened = backend(&syn).ack(7000, syn.seq.wrapping_add(1)).with(Flags::SYN).mss(1460);
    let (_, to_backend) = bench.backend_sends(&opened);
    assert_eq!(to_backend.last().expect("the request").payload, b"GET /");
    let ack = client().ack(105, iss.wrapping_add(1)).padding(6);
    assert!(bench.wan.send(0, &ack.build()));
    bench.turn();
    let passed = bench.lan.receive(0).expect("the ACK");
    assert_eq!((passed.bytes().len(), &passed.bytes()[54..]), (60, &[0; 6][..]));
}
