//! A cookie gives back what it was made from, whatever the client offers; and any number may be tried as a cookie.

#![no_main]

use libfuzzer_sys::fuzz_target;
use usher_proto::cookie::{Keys, Offer, Secret};
use usher_proto::time::Now;
use usher_proto::wire::{Addr, SeqNum, Timestamps, Tuple};

fuzz_target!(|input: [u8; 56]| {
    let (head, rest) = input.split_at(36);
    let word = |at: usize| u32::from_be_bytes(rest[at..at + 4].try_into().expect("four octets"));
    let tuple = tuple(head.try_into().expect("36 octets"));
    let (irs, now) = (SeqNum(word(0)), Now::new(0, u64::from(word(4)) << 10));
    let options = rest[8];
    let offer = Offer {
        mss: word(9) as u16,
        window_scale: (options & 1 != 0).then_some((options >> 1) % 15),
        sack: options & 32 != 0,
        timestamps: options & 64 != 0,
        ecn: options & 128 != 0,
    };
    let keys = Keys::new(&Secret::from_bytes([7; 32]));
    let issued = keys.issue(&tuple, irs, &offer, &now);
    let echo = issued.ts_val.map(|val| Timestamps { val: word(12), ecr: val });
    assert_eq!(
        keys.verify(&tuple, irs, issued.isn, echo, &now),
        Some(offer.kept(tuple.local.is_v4()))
    );
    // Anything else only must not panic: one guess in 2²³ may be right.
    let _ = keys.verify(&tuple, irs, SeqNum(word(16)), echo, &now);
});

/// Mapped to IPv4 where the first octet is even.
fn tuple(bytes: [u8; 36]) -> Tuple {
    let addr = |at: usize| {
        let octets: [u8; 16] = bytes[at..at + 16].try_into().expect("sixteen octets");
        if bytes[0] % 2 == 0 {
            Addr::v4([octets[1], octets[2], octets[3], octets[4]])
        } else {
            Addr(octets)
        }
    };
    let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    Tuple {
        remote: addr(0),
        local: addr(16),
        remote_port: port(32),
        local_port: port(34),
        ..Tuple::default()
    }
}
