//! What a cookie costs: issued, verified, and refused, beside `siphasher` over as many bytes.
//!
//! `cargo bench -p usher-bench --no-default-features --bench cookie`

use std::hash::Hasher;
use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use siphasher::sip::SipHasher24;
use usher_proto::cookie::{IsnKey, Keys, Offer, Secret};
use usher_proto::testing::addr;
use usher_proto::time::Now;
use usher_proto::wire::{SeqNum, Timestamps, Tuple};

const EPOCH: u64 = 27_000_000 * 64_000;

/// What the usual client offers; with timestamps Linux, without Windows.
const OFFER: Offer =
    Offer { mss: 1460, window_scale: Some(7), sack: true, timestamps: true, ecn: false };

fn tuple(remote: &str, local: &str) -> Tuple {
    let (remote, local) = (addr(remote), addr(local));
    Tuple { remote, local, remote_port: 40_000, local_port: 80, ..Tuple::default() }
}

fn families() -> [(&'static str, Tuple, usize); 2] {
    let v4 = tuple("10.10.0.1", "10.10.0.10");
    let v6 = tuple("fd00:10::1", "fd00:10::10");
    [("v4", v4, 24), ("v6", v6, 48)]
}

fn cookies(c: &mut Criterion) {
    let keys = Keys::new(&Secret::from_bytes([42; 32]));
    let isn_key = IsnKey::new(&Secret::from_bytes([42; 32]));
    let now = Now::new(0, EPOCH + 5_000);
    for (family, tuple, bytes) in families() {
        let mut group = c.benchmark_group(format!("cookie/{family}"));
        group.bench_function("issue", |b| {
            // Taken apart at once, as a SYN-ACK does: stored in halves and loaded whole, it would stall.
            b.iter(|| {
                let issued =
                    keys.issue(black_box(&tuple), SeqNum(7), black_box(&OFFER), black_box(&now));
                black_box(issued.isn.0);
                black_box(issued.ts_val.unwrap_or(0));
            });
        });
        group.bench_function("isn", |b| b.iter(|| isn_key.isn(black_box(&tuple), black_box(&now))));
        group.bench_function("siphasher", |b| {
            let input = vec![7u8; bytes];
            b.iter(|| {
                let mut hasher = SipHasher24::new_with_keys(black_box(1), 2);
                hasher.write(black_box(&input));
                hasher.finish()
            });
        });
        verify(&mut group, &keys, tuple, now);
    }
}

/// The good cookie of this epoch takes one hash, that of the last and a bad one two.
fn verify(group: &mut BenchmarkGroup<'_, WallTime>, keys: &Keys, tuple: Tuple, now: Now) {
    let issued = keys.issue(&tuple, SeqNum(7), &OFFER, &now);
    let ts = issued.ts_val.map(|ecr| Timestamps { val: 1, ecr });
    let next = Now { epoch: now.epoch + 1, ..now };
    let cases = [
        ("verify", issued.isn, now, true),
        ("verify, last epoch", issued.isn, next, true),
        ("refuse", issued.isn.add(1), now, false),
    ];
    for (name, isn, now, opens) in cases {
        assert_eq!(keys.verify(&tuple, SeqNum(7), isn, ts, &now).is_some(), opens);
        group.bench_function(name, |b| {
            b.iter(|| {
                keys.verify(black_box(&tuple), SeqNum(7), black_box(isn), black_box(ts), &now)
            });
        });
    }
}

criterion_group!(benches, cookies);
criterion_main!(benches);
