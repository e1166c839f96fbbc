//! What it costs to read a frame and to write its answer, software checksums included.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use usher_proto::testing::{Envelope, TcpFrame, port, tcp};
use usher_proto::wire::{
    Flags, Parsed, Reply, ReplyOptions, RxChecksums, Segment, SeqNum, Timestamps, TxChecksums,
    answer_in_place, parse,
};

fn segment(frame: &[u8]) -> Segment {
    match parse(frame, &port(), RxChecksums::default()) {
        Ok(Parsed::Tcp(segment)) => segment,
        other => panic!("not a segment: {other:?}"),
    }
}

fn syn_ack(segment: &Segment) -> Reply {
    let val = segment.options.timestamps.map_or(0, |ts| ts.val);
    Reply {
        seq: SeqNum(1),
        ack: segment.end(),
        flags: Flags::SYN | Flags::ACK,
        window: 65535,
        options: ReplyOptions {
            mss: Some(1460),
            window_scale: segment.options.window_scale,
            sack_permitted: segment.options.sack_permitted,
            timestamps: segment.options.timestamps.map(|_| Timestamps { val: 1, ecr: val }),
        },
        ..Reply::default()
    }
}

fn frames() -> [(&'static str, TcpFrame); 5] {
    let v6 = || tcp().from("[fd00::1]:40000").to("[fd00::2]:80");
    let odd = tcp().syn(7).mss(1460).option(&[1]).window_scale(8).option(&[1, 1]).sack_permitted();
    [
        ("syn 74 linux", tcp().syn(7).linux(1460, 5, 8)),
        ("syn 66 windows", odd),
        ("syn 94 ipv6", v6().syn(7).linux(1440, 5, 8)),
        ("ack 60", tcp().ack(8, 9).padding(6)),
        ("data 1514", tcp().ack(8, 9).option(&[1, 1]).timestamps(1, 2).payload(&[7; 1448])),
    ]
}

fn wire(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire");
    group.throughput(Throughput::Elements(1));
    for (name, frame) in frames() {
        let frame = frame.build();
        group.bench_function(format!("parse {name}"), |b| {
            b.iter(|| parse(black_box(&frame), &port(), RxChecksums::default()));
        });
        let (seg, mut room) = (segment(&frame), frame.clone());
        let reply = syn_ack(&seg);
        room.resize(2048, 0);
        group.bench_function(format!("answer {name}"), |b| {
            b.iter(|| {
                let (seg, reply) = (black_box(&seg), black_box(&reply));
                answer_in_place(black_box(&mut room), seg, reply, &[], TxChecksums::default())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, wire);
criterion_main!(benches);
