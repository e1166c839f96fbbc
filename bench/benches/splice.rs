//! What it costs to pass a segment of a spliced flow: decided, and its frame translated.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use usher_proto::splice::{
    Choice, Half, Learned, Outward, Passage, Splice, SpliceContext, Then, translate,
};
use usher_proto::tcp::{Policy, State, Tcb, Traits};
use usher_proto::testing::{CLIENT_MAC, OUR_MAC, TcpFrame, addr, port, tcp};
use usher_proto::time::Now;
use usher_proto::wire::{
    Flags, Link, Options, Parsed, RxChecksums, Segment, SeqNum, Timestamps, Tuple, parse,
};

/// An open flow whose client's next octet is 8 and who has heard 1000 of ours.
fn flow(cx: &SpliceContext<'_>) -> Splice {
    let agreed = [Traits::TIMESTAMPS, Traits::SACK, Traits::SCALED];
    let tcb = Tcb {
        state: State::Established,
        traits: Traits(agreed.iter().fold(0, |all, bit| all | bit.0)),
        irs: SeqNum(7),
        iss: SeqNum(1000),
        rcv_nxt: SeqNum(8),
        held_to: SeqNum(8),
        snd_una: SeqNum(1001),
        snd_wnd: 60_000 << 7,
        snd_shift: 7,
        rcv_shift: 7,
        mss: 1448,
        ..Tcb::default()
    };
    let learned = Learned {
        mss: 1460,
        scale: Some(7),
        sack: true,
        timestamps: true,
        ecn: false,
        window: 65_000,
    };
    let choice = Choice {
        path: 0,
        local_port: 2000,
        backend: 0,
        iss: SeqNum(500),
        ts_offset: Some(3),
        header_len: 0,
        mss: 1460,
        learned,
    };
    let mut splice = Splice::open(&tcb, &choice, cx);
    let syn_ack = Segment {
        seq: SeqNum(90),
        ack: SeqNum(501),
        flags: Flags::SYN | Flags::ACK,
        window: learned.window,
        options: Options {
            mss: Some(learned.mss),
            window_scale: learned.scale,
            sack_permitted: true,
            timestamps: Some(Timestamps { val: 5, ecr: 0 }),
        },
        ..Segment::default()
    };
    assert_eq!(splice.pass(Half::Backend, &syn_ack, cx).then, Then::Opened);
    splice
}

fn frames() -> [(&'static str, TcpFrame, [&'static str; 2]); 4] {
    let stamped = |frame: TcpFrame| {
        frame.ack(8, 1001).window(60_000).option(&[1, 1]).timestamps(2, 64_000_000)
    };
    let (v4, v6) = (["10.1.0.5", "10.1.0.2"], ["fd01::5", "fd01::2"]);
    let from_v6 = tcp().from("[fd00::1]:40000").to("[fd00::2]:80");
    [
        ("ack 66", stamped(tcp()), v4),
        ("data 1514", stamped(tcp()).payload(&[7; 1448]), v4),
        ("sack 78", stamped(tcp()).option(&[1, 1]).sack(&[(1100, 1200)]), v4),
        ("ack 86 ipv6", stamped(from_v6), v6),
    ]
}

fn splice(c: &mut Criterion) {
    let policy = Policy::default();
    let now = Now::new(1000, 64_000_000);
    let cx = SpliceContext { now, policy: &policy, window: 10_000, tries: 3 };
    let mut group = c.benchmark_group("splice");
    group.throughput(Throughput::Elements(1));
    for (name, frame, [remote, local]) in frames() {
        let mut frame = frame.build();
        let Ok(Parsed::Tcp(seg)) = parse(&frame, &port(), RxChecksums::default()) else {
            panic!("{name} is a segment")
        };
        let tuple = Tuple {
            remote: addr(remote),
            local: addr(local),
            remote_port: 8080,
            local_port: 2000,
            ..Tuple::default()
        };
        let link = Link { src: OUR_MAC, dst: CLIENT_MAC, vlan: 0 };
        // As a bridge: the same frame passes again and again.
        let out = Outward { link, tuple, hops: 0 };
        let mut splice = flow(&cx);
        group.bench_function(name, |b| {
            b.iter(|| match splice.pass(Half::Client, black_box(&seg), &cx).passage {
                Passage::Forward(rewrite) => {
                    translate(black_box(&mut frame), &seg, &out, &rewrite, false)
                }
                other => panic!("{other:?}"),
            });
        });
    }
    group.finish();
}

criterion_group!(benches, splice);
criterion_main!(benches);
