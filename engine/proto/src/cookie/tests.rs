//! What cookies promise.

use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::time::Now;
use crate::wire::{Addr, SeqNum, Timestamps, Tuple};

/// Milliseconds of Unix time at the start of an epoch well after 1970, where the tests live.
const START: u64 = 27_000_000 * 64_000;

fn keys() -> Keys {
    Keys::new(&Secret::from_bytes([42; 32]))
}

fn at(ms: u64) -> Now {
    Now::new(1_000_000, START + ms)
}

/// A SYN as far as cookies look at it.
#[derive(Clone, Copy, Debug)]
struct Syn {
    tuple: Tuple,
    irs: SeqNum,
    offer: Offer,
}

impl Syn {
    /// What the cookie should give back.
    fn kept(&self) -> Offer {
        self.offer.kept(self.tuple.local.is_v4())
    }
}

/// The timestamps option of the ACK of a SYN-ACK that had this TSval.
fn echo(ts_val: Option<u32>) -> Option<Timestamps> {
    ts_val.map(|ecr| Timestamps { val: 7, ecr })
}

prop_compose! {
    fn any_tuple()(
        is_v4: bool, remote: [u8; 16], local: [u8; 16], remote_port: u16, local_port: u16,
    ) -> Tuple {
        let [addr, other] = [remote, local].map(|raw| {
            if is_v4 { Addr::v4([raw[0], raw[1], raw[2], raw[3]]) } else { Addr(raw) }
        });
        Tuple { remote: addr, local: other, remote_port, local_port, vlan: 0, port: 0 }
    }
}

prop_compose! {
    fn any_syn()(
        tuple in any_tuple(), irs: u32, mss: u16,
        window_scale in prop::option::of(0u8..=255), sack: bool, timestamps: bool, ecn: bool,
    ) -> Syn {
        let offer = Offer { mss, window_scale, sack, timestamps, ecn };
        Syn { tuple, irs: SeqNum(irs), offer }
    }
}

fn v4_syn(offer: Offer) -> Syn {
    let (remote, local) = (Addr::v4([10, 10, 0, 1]), Addr::v4([10, 10, 0, 10]));
    let tuple = Tuple { remote, local, remote_port: 40_000, local_port: 80, vlan: 0, port: 0 };
    Syn { tuple, irs: SeqNum(1_000_000), offer }
}

fn v6_syn(offer: Offer) -> Syn {
    let addr = |last| Addr([0xfd, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    let tuple = Tuple { remote: addr(1), local: addr(10), ..v4_syn(offer).tuple };
    Syn { tuple, irs: SeqNum(1_000_000), offer }
}

/// Every offer that a cookie can hold for this family.
fn every_offer(is_v4: bool) -> Vec<Offer> {
    let flags = |bits: u8| (bits & 1 != 0, bits & 2 != 0);
    (0..=255u8)
        .flat_map(|code| (0..3u8).map(move |bits| (code, flags(bits))))
        .map(|(code, (timestamps, ecn))| {
            let ecn = ecn && timestamps;
            Offer { timestamps, ecn, ..Offer::decode(code, is_v4) }
        })
        .chain((0..=255u8).map(|code| Offer {
            timestamps: true,
            ecn: true,
            ..Offer::decode(code, is_v4)
        }))
        .collect()
}

#[test]
fn every_offer_comes_back_as_it_was() {
    let (keys, now) = (keys(), at(12_345));
    for (is_v4, syn) in [(true, v4_syn as fn(Offer) -> Syn), (false, v6_syn)] {
        for offer in every_offer(is_v4) {
            let Syn { tuple, irs, .. } = syn(offer);
            let Issued { isn, ts_val } = keys.issue(&tuple, irs, &offer, &now);
            assert_eq!(ts_val.is_some(), offer.timestamps);
            assert_eq!(keys.verify(&tuple, irs, isn, echo(ts_val), &now), Some(offer));
        }
    }
}

proptest! {
    #[test]
    fn any_offer_comes_back_as_far_as_it_is_kept(syn in any_syn(), ms in 0u64..1 << 41) {
        let Syn { tuple, irs, offer } = syn;
        let Issued { isn, ts_val } = keys().issue(&tuple, irs, &offer, &at(ms));
        let back = keys().verify(&tuple, irs, isn, echo(ts_val), &at(ms));
        prop_assert_eq!(back, Some(syn.kept()));
    }

    /// A cookie lives to the end of the epoch after its own: 64 to 128 s.
    #[test]
    fn a_cookie_lives_for_its_epoch_and_the_next(syn in any_syn(), ms in 0u64..64_000) {
        let Syn { tuple, irs, offer } = syn;
        let Issued { isn, ts_val } = keys().issue(&tuple, irs, &offer, &at(ms));
        let verify = |ms| keys().verify(&tuple, irs, isn, echo(ts_val), &at(ms));
        prop_assert_eq!(verify(127_999), Some(syn.kept()));
        prop_assert_eq!(verify(128_000), None);
        prop_assert_eq!(keys().verify(&tuple, irs, isn, echo(ts_val), &Now::new(0, START - 1)), None);
        prop_assert!(u64::from(COOKIE_LIFE_MS) + ms >= 128_000);
    }

    /// Each of the 32 bits of the ISN counts, and where the SYN had timestamps those of the echo, and the
    /// option's presence.
    #[test]
    fn an_altered_bit_opens_nothing(syn in any_syn()) {
        let Syn { tuple, irs, offer } = syn;
        let now = at(70_000);
        let Issued { isn, ts_val } = keys().issue(&tuple, irs, &offer, &now);
        for bit in 0..32 {
            let bent = SeqNum(isn.0 ^ 1 << bit);
            prop_assert_eq!(keys().verify(&tuple, irs, bent, echo(ts_val), &now), None);
            if let Some(val) = ts_val {
                let bent = echo(Some(val ^ 1 << bit));
                prop_assert_eq!(keys().verify(&tuple, irs, isn, bent, &now), None);
            }
        }
        if ts_val.is_some() {
            prop_assert_eq!(keys().verify(&tuple, irs, isn, None, &now), None);
            prop_assert_eq!(keys().verify(&tuple, irs, isn, echo(Some(0)), &now), None);
        }
    }

    /// RFC 7323 §3.2, RFC 9293 §3.1 (MUST-6): an option that was not agreed on is ignored; an echo of 0
    /// always, any other unless it happens to bear our MAC.
    #[test]
    fn timestamps_that_were_not_agreed_on_are_ignored(syn in any_syn(), clock: u32) {
        let Syn { tuple, irs, offer } = syn;
        let offer = Offer { timestamps: false, ..offer };
        let isn = keys().issue(&tuple, irs, &offer, &at(0)).isn;
        let kept = Some(offer.kept(tuple.local.is_v4()));
        prop_assert_eq!(keys().verify(&tuple, irs, isn, echo(Some(0)), &at(64_000)), kept);
        let clock = clock & !0x1f;
        prop_assume!(clock != 0);
        let opens = (0..32).filter(|bits| {
            keys().verify(&tuple, irs, isn, echo(Some(clock | bits)), &at(0)) == kept
        });
        prop_assert_eq!(opens.count(), 30, "one value of four bits is taken for ours");
    }

    #[test]
    fn another_tuple_opens_nothing(syn in any_syn(), place in 0usize..288) {
        let Syn { tuple, irs, offer } = syn;
        let now = at(0);
        let Issued { isn, ts_val } = keys().issue(&tuple, irs, &offer, &now);
        let (byte, flip) = (place / 8, 1u8 << (place % 8));
        let mut other = tuple;
        match byte {
            0..16 => other.remote.0[byte] ^= flip,
            16..32 => other.local.0[byte - 16] ^= flip,
            32..34 => other.remote_port ^= 1 << (place % 16),
            _ => other.local_port ^= 1 << (place % 16),
        }
        prop_assert_eq!(keys().verify(&other, irs, isn, echo(ts_val), &now), None);
        let swapped = Tuple {
            remote: tuple.local, local: tuple.remote,
            remote_port: tuple.local_port, local_port: tuple.remote_port, ..tuple
        };
        prop_assume!(swapped != tuple);
        prop_assert_eq!(keys().verify(&swapped, irs, isn, echo(ts_val), &now), None);
    }

    #[test]
    fn another_isn_of_the_client_opens_nothing(syn in any_syn(), bit in 0u32..32) {
        let Syn { tuple, irs, offer } = syn;
        let now = at(0);
        let Issued { isn, ts_val } = keys().issue(&tuple, irs, &offer, &now);
        let other = SeqNum(irs.0 ^ 1 << bit);
        prop_assert_eq!(keys().verify(&tuple, other, isn, echo(ts_val), &now), None);
    }

    /// Nodes number VLANs and ports in their own way; the same cookie serves on all.
    #[test]
    fn vlan_and_port_do_not_enter(syn in any_syn(), vlan: u16, port: u16) {
        let Syn { tuple, irs, offer } = syn;
        let Issued { isn, ts_val } = keys().issue(&tuple, irs, &offer, &at(0));
        let there = Tuple { vlan, port, ..tuple };
        let back = keys().verify(&there, irs, isn, echo(ts_val), &at(0));
        prop_assert_eq!(back, Some(syn.kept()));
    }

    /// RFC 7323 §5.4: TSvals come from a clock that never goes backward. The cookie's is behind the
    /// clock, so whatever the flow sends next is not older; over the clock's wrap, too.
    #[test]
    fn a_tsval_is_behind_the_clock(syn in any_syn(), ms in 0u64..1 << 41) {
        let offer = Offer { timestamps: true, ..syn.offer };
        let now = at(ms);
        let issued = keys().issue(&syn.tuple, syn.irs, &offer, &now);
        let behind = now.ts_clock.wrapping_sub(issued.ts_val.unwrap());
        prop_assert!((1..=63).contains(&behind), "{behind} ms");
    }

    /// An echo of 0 is nobody's: at the one moment when a TSval would be 0 it is further behind.
    #[test]
    fn no_tsval_is_zero(syn in any_syn(), ms in 0u64..96) {
        let offer = Offer { timestamps: true, ..syn.offer };
        let wrap = ((START >> 32) + 1) << 32;
        let now = Now::new(0, wrap + ms);
        let Issued { isn, ts_val } = keys().issue(&syn.tuple, syn.irs, &offer, &now);
        let behind = now.ts_clock.wrapping_sub(ts_val.unwrap());
        prop_assert!(ts_val != Some(0) && (1..=95).contains(&behind), "{behind} ms");
        let back = keys().verify(&syn.tuple, syn.irs, isn, echo(ts_val), &now);
        prop_assert_eq!(back, Some(offer.kept(syn.tuple.local.is_v4())));
    }

    /// Random ISNs and echoes do not open anything: 2⁻²³ each, here within 2¹⁷ tries in all.
    #[test]
    fn a_blind_guess_opens_nothing(syn in any_syn(), iss: [u32; 16], ecr: [u32; 16]) {
        let Syn { tuple, irs, .. } = syn;
        for (iss, ecr) in iss.into_iter().zip(ecr) {
            prop_assert_eq!(keys().verify(&tuple, irs, SeqNum(iss), None, &at(0)), None);
            prop_assert_eq!(keys().verify(&tuple, irs, SeqNum(iss), echo(Some(ecr)), &at(0)), None);
        }
    }
}

/// From a cookie of known options no cookie of other options follows: the other 2⁸ values of the
/// masked bits, under the same MAC, are all refused.
#[test]
fn option_values_never_issued_open_nothing() {
    let (keys, now) = (keys(), at(0));
    let offer = Offer { mss: 1460, window_scale: Some(7), sack: true, ..Offer::default() };
    for port in 0..500 {
        let Syn { tuple, irs, .. } = v4_syn(offer);
        let tuple = Tuple { remote_port: port, ..tuple };
        let isn = keys.issue(&tuple, irs, &offer, &now).isn;
        for bits in 1..=255 {
            assert_eq!(keys.verify(&tuple, irs, SeqNum(isn.0 ^ bits), None, &now), None);
        }
    }
}

/// No bit of the ISN or of the TSval's low five is predictable: over many SYNs each is set as often as
/// not, and so is each pair of neighbours, with the options all the same.
#[test]
fn bits_are_balanced() {
    const SYNS: i32 = 1 << 14;
    // The third word repeats the TSval's five bits.
    let keys = keys();
    let offer = Offer { mss: 1460, timestamps: true, ..Offer::default() };
    let mut ones = [[0i32; 32]; 3];
    for n in 0..SYNS {
        let mut syn = v4_syn(offer);
        syn.tuple.remote_port = n as u16;
        let issued = keys.issue(&syn.tuple, syn.irs, &offer, &at(0));
        let (isn, stamp) = (issued.isn.0, issued.ts_val.unwrap());
        let words = [isn, isn ^ isn.rotate_right(1), (stamp & 0x1f).wrapping_mul(0x4210_8421)];
        for (word, counts) in words.into_iter().zip(&mut ones) {
            for (bit, count) in counts.iter_mut().enumerate() {
                *count += (word >> bit & 1) as i32;
            }
        }
    }
    // Six standard deviations of a fair coin thrown 2¹⁴ times, which is 64 each.
    let fair = |count: &i32| (count - SYNS / 2).abs() < 6 * 64;
    assert!(ones.iter().flatten().all(fair), "{ones:?}");
}

/// Copies of a SYN within an epoch get the same ISN as long as their timestamps' clock bits agree.
#[test]
fn a_copy_of_a_syn_gets_the_same_isn() {
    let Syn { tuple, irs, offer } = v4_syn(Offer::default());
    let isn = |ms| keys().issue(&tuple, irs, &offer, &at(ms)).isn;
    assert_eq!(isn(0), isn(63_999));
    assert_ne!(isn(0), isn(64_000));
}

#[test]
fn each_epoch_has_one_secret() {
    let [old, new, newest] = [1, 2, 3].map(|byte| Secret::from_bytes([byte; 32]));
    let Syn { tuple, irs, offer } = v4_syn(Offer::default());
    let epoch = |n: u64| at(n * 64_000);
    let opens = |issuer: &Keys, verifier: &Keys, issued: u64, verified: u64| {
        let isn = issuer.issue(&tuple, irs, &offer, &epoch(issued)).isn;
        verifier.verify(&tuple, irs, isn, None, &epoch(verified)).is_some()
    };
    let mut keys = Keys::new(&old);
    keys.rotate(&new, epoch(10).epoch, epoch(5).epoch).unwrap();
    let (only_old, only_new) = (Keys::new(&old), Keys::new(&new));
    // Epoch 9 is the old secret's, 10 the new one's; at 10 either holds for its own epoch.
    assert!(opens(&only_old, &keys, 9, 9) && opens(&only_old, &keys, 9, 10));
    assert!(opens(&only_new, &keys, 10, 10) && opens(&keys, &only_new, 10, 11));
    assert!(!opens(&only_new, &keys, 9, 9) && !opens(&only_new, &keys, 9, 10));
    assert!(!opens(&only_old, &keys, 10, 10));
    // In epoch 10 the next one may be announced, and the last one of epoch 9 still holds.
    keys.rotate(&newest, epoch(11).epoch, epoch(10).epoch).unwrap();
    assert!(opens(&only_old, &keys, 9, 10) && opens(&only_new, &keys, 10, 11));
    assert!(opens(&Keys::new(&newest), &keys, 11, 12) && !opens(&only_new, &keys, 11, 11));
}

#[test]
fn an_announced_secret_is_replaced_until_it_holds() {
    let [old, new, newest] = [1, 2, 3].map(|byte| Secret::from_bytes([byte; 32]));
    let mut keys = Keys::new(&old);
    keys.rotate(&new, 10, 5).unwrap();
    keys.rotate(&newest, 10, 9).unwrap();
    let mut straight = Keys::new(&old);
    straight.rotate(&newest, 10, 9).unwrap();
    assert!(keys == straight);
    let error = keys.rotate(&new, 12, 12).unwrap_err();
    assert_eq!(error, NotFuture { from: 12, epoch: 12 });
    insta::assert_snapshot!(error, @"a new secret must hold from a future epoch: 12 is not after 12");
}

#[test]
fn nothing_prints_a_key() {
    let secret = Secret::from_bytes([0xab; 32]);
    let text = std::format!("{:?} {:?} {:?}", secret, Keys::new(&secret), IsnKey::new(&secret));
    insta::assert_snapshot!(text, @"Secret(..) Keys { from: 0, next: None } IsnKey(..)");
}

#[test]
fn accepted_epochs_are_this_and_the_last() {
    let now = Now { epoch: 100, ..Now::default() };
    assert_eq!(
        [98, 99, 100, 101].map(|epoch| Keys::accepts(epoch, &now)),
        [false, true, true, false]
    );
}
