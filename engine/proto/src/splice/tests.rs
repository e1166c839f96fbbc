//! Flows from their first SYN to their end, step by step; what single rules ask is below.

mod anything;
mod connect;
mod numbers;
mod table;
mod timer;
mod transcript;

use super::*;
use crate::tcp::{Policy, State, Tcb, Traits};
use crate::time::Now;
use crate::wire::{Addr, Flags, Options, Segment, SeqNum, Timestamps, Tuple};

/// The client's ISN: its data wraps at once.
const IRS: SeqNum = SeqNum(u32::MAX - 1);
/// Our ISN towards the client.
const ISS: SeqNum = SeqNum(5000);
/// Our ISN towards the backend.
const UP: SeqNum = SeqNum(u32::MAX - 3);
/// The backend's ISN.
const DOWN: SeqNum = SeqNum(u32::MAX);
/// What our clock and the two ends' say at first.
const CLOCK: u32 = 64_000_000;
const CLIENT_CLOCK: u32 = u32::MAX - 9;
const BACKEND_CLOCK: u32 = 800;
/// The TSval of ours that the client echoed.
const ECHOED: u32 = 4_000_000_000;

pub(super) struct Fixture {
    pub(super) policy: Policy,
    pub(super) tries: u8,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self { policy: Policy::default(), tries: 3 }
    }

    pub(super) fn at(&self, ms: u32) -> SpliceContext<'_> {
        let now = Now::new(u64::from(ms) * 1000, u64::from(CLOCK + ms));
        SpliceContext { now, policy: &self.policy, window: 10_000, tries: self.tries }
    }
}

/// What the third ACK led to.
pub(super) fn tcb() -> Tcb {
    let agreed = [Traits::TIMESTAMPS, Traits::SACK, Traits::SCALED, Traits::ECN];
    Tcb {
        state: State::Established,
        traits: agreed.iter().fold(Traits::default(), |all, bit| Traits(all.0 | bit.0)),
        irs: IRS,
        iss: ISS,
        rcv_nxt: IRS.add(1),
        held_to: IRS.add(1),
        snd_una: ISS.add(1),
        snd_wnd: 200 << 9,
        snd_shift: 9,
        rcv_shift: 7,
        mss: 1448,
        ts_offset: ECHOED.wrapping_sub(CLOCK),
        ts_recent: CLIENT_CLOCK,
        ..Tcb::default()
    }
}

pub(super) fn full() -> Learned {
    Learned { mss: 1460, scale: Some(3), sack: true, timestamps: true, ecn: true, window: 30_000 }
}

pub(super) fn choice() -> Choice {
    Choice {
        path: 1,
        local_port: 2000,
        backend: 3,
        iss: UP,
        ts_offset: Some(77),
        header_len: 0,
        mss: 1460,
        learned: full(),
    }
}

/// A segment of the client: `seq` octets behind its SYN, `ack` behind ours.
pub(super) fn client(flags: Flags, seq: u32, ack: u32, payload_len: u16) -> Segment {
    segment(flags, IRS.add(1).add(seq), ISS.add(1).add(ack), payload_len, CLIENT_CLOCK, ECHOED)
}

/// A segment of the backend: `seq` octets behind its SYN, `ack` behind ours.
pub(super) fn backend(flags: Flags, seq: u32, ack: u32, payload_len: u16) -> Segment {
    let echo = CLOCK.wrapping_add(77);
    segment(flags, DOWN.add(1).add(seq), UP.add(1).add(ack), payload_len, BACKEND_CLOCK, echo)
}

fn segment(
    flags: Flags,
    seq: SeqNum,
    ack: SeqNum,
    payload_len: u16,
    val: u32,
    ecr: u32,
) -> Segment {
    let tuple = Tuple { remote: Addr::v4([10, 0, 0, 1]), ..Tuple::default() };
    let options = Options { timestamps: Some(Timestamps { val, ecr }), ..Options::default() };
    let header_len = 32;
    let plain = Segment { header_len, window: 100, options, ..Segment::default() };
    Segment { tuple, seq, ack, flags, payload_len, ..plain }
}

/// The backend's SYN-ACK that agrees to `learned`.
pub(super) fn syn_ack(learned: &Learned) -> Segment {
    let ecn = if learned.ecn { Flags::ECE } else { Flags(0) };
    let seg = backend(Flags::SYN | Flags::ACK | ecn, u32::MAX, 0, 0);
    Segment {
        window: learned.window,
        options: Options {
            mss: Some(learned.mss),
            window_scale: learned.scale,
            sack_permitted: learned.sack,
            timestamps: seg.options.timestamps.filter(|_| learned.timestamps),
        },
        ..seg
    }
}

/// A flow whose backend agreed to `learned`.
pub(super) fn opened(learned: &Learned, choice: &Choice, fixture: &Fixture) -> Splice {
    let mut splice = Splice::open(&tcb(), choice, &fixture.at(0));
    let step = splice.pass(Half::Backend, &syn_ack(learned), &fixture.at(1));
    assert_eq!(step.then, Then::Opened);
    splice
}

pub(super) fn forwarded(step: Step) -> Rewrite {
    match step.passage {
        Passage::Forward(rewrite) => rewrite,
        other => panic!("{other:?}"),
    }
}

fn answer(step: Step) -> Reply {
    match step.passage {
        Passage::Answer(reply) => reply,
        other => panic!("{other:?}"),
    }
}

/// The SYN asks for what the client agreed to, in the client's own scale, and goes on from the clock.
#[test]
fn the_syn_asks_for_what_the_client_agreed_to() {
    let fixture = Fixture::new();
    let splice = Splice::open(&tcb(), &choice(), &fixture.at(0));
    let syn = splice.syn();
    assert_eq!((splice.state(), syn.seq), (State::SynSent, UP));
    assert_eq!(syn.flags, Flags::SYN | Flags::ECE | Flags::CWR);
    assert_eq!((syn.window, syn.options.mss), (65_535, Some(1460)));
    assert_eq!((syn.options.window_scale, syn.options.sack_permitted), (Some(9), true));
    assert_eq!(syn.options.timestamps, Some(Timestamps { val: CLOCK + 77, ecr: 0 }));
}

/// RFC 7323 §5.4 on either side: numbers and timestamps go on from what each end knows.
#[test]
fn numbers_and_timestamps_translate_both_ways() {
    let fixture = Fixture::new();
    let mut splice = Splice::open(&tcb(), &choice(), &fixture.at(0));
    let step = splice.pass(Half::Backend, &syn_ack(&full()), &fixture.at(1));
    let ack = answer(step);
    assert_eq!((ack.seq, ack.ack, ack.flags), (UP.add(1), DOWN.add(1), Flags::ACK));
    let stamps = Timestamps { val: CLOCK + 77, ecr: BACKEND_CLOCK };
    assert_eq!((ack.window, ack.options.timestamps), (200, Some(stamps)));
    assert_eq!(splice.state(), State::Established);

    let up = forwarded(splice.pass(Half::Client, &client(Flags::ACK, 0, 0, 700), &fixture.at(2)));
    assert_eq!((up.seq, up.ack, up.window), (UP.add(1), DOWN.add(1), 100));
    assert_eq!((up.ts_val, up.ts_ecr), (CLOCK + 77, BACKEND_CLOCK));

    let seg = backend(Flags::ACK, 0, 700, 900);
    let down = forwarded(splice.pass(Half::Backend, &seg, &fixture.at(3)));
    assert_eq!((down.seq, down.ack), (ISS.add(1), IRS.add(701)));
    assert_eq!((down.ts_val, down.ts_ecr), (ECHOED, CLIENT_CLOCK));
    assert_eq!(down.window, (100 << 3) >> 7);
}

/// RFC 7323 §2.4: a window of less than a unit of the client's scale is open, and closed only if it is.
#[test]
fn a_window_below_a_unit_is_open() {
    let fixture = Fixture::new();
    let unscaled = Learned { scale: None, ..full() };
    let mut splice = opened(&unscaled, &choice(), &fixture);
    for (window, told) in [(0, 0), (1, 1), (127, 1), (128, 1), (255, 1), (256, 2)] {
        let seg = Segment { window, ..backend(Flags::ACK, 0, 0, 0) };
        let down = forwarded(splice.pass(Half::Backend, &seg, &fixture.at(3)));
        assert_eq!(down.window, told, "{window} bytes");
    }
}

/// RFC 6040 §4.2, RFC 3168 §6.1.5: where the backend does not speak ECN a marked segment is lost, what is sent
/// again passes; where it does, and where nobody does, marks are none of our business.
#[test]
fn a_mark_that_nobody_would_echo_is_a_loss() {
    let fixture = Fixture::new();
    let deaf = Learned { ecn: false, ..full() };
    let marked = |half| {
        let sent = match half {
            Half::Client => client(Flags::ACK, 0, 0, 500),
            Half::Backend => backend(Flags::ACK, 0, 0, 500),
        };
        Segment { ce: true, ..sent }
    };
    let lost = Passage::Drop(Reason::CongestionUnechoed);
    let mut splice = opened(&deaf, &choice(), &fixture);
    assert_eq!(splice.pass(Half::Client, &marked(Half::Client), &fixture.at(2)).passage, lost);
    forwarded(splice.pass(Half::Backend, &marked(Half::Backend), &fixture.at(2)));
    forwarded(splice.pass(Half::Client, &client(Flags::ACK, 0, 0, 500), &fixture.at(3)));
    let fin = Segment { flags: Flags::FIN | Flags::ACK, ..marked(Half::Client) };
    assert_eq!(splice.pass(Half::Client, &fin, &fixture.at(4)).passage, lost);
    assert_eq!(splice.state(), State::Established, "a lost FIN has closed nothing");
    let mut splice = opened(&full(), &choice(), &fixture);
    forwarded(splice.pass(Half::Client, &marked(Half::Client), &fixture.at(2)));
    let mut traits = tcb().traits;
    traits.set(Traits::ECN, false);
    let mut splice = Splice::open(&Tcb { traits, ..tcb() }, &choice(), &fixture.at(0));
    assert_eq!(splice.pass(Half::Backend, &syn_ack(&deaf), &fixture.at(1)).then, Then::Opened);
    forwarded(splice.pass(Half::Client, &marked(Half::Client), &fixture.at(2)));
}

/// RFC 9293 §3.6: either end first, or both at once; the state is that of a server on the client's half.
#[test]
fn both_ends_close_in_any_order() {
    let fixture = Fixture::new();
    let fin = Flags::FIN | Flags::ACK;
    let (up, down) = (Half::Client, Half::Backend);
    for (steps, states) in [
        (
            [(up, fin, 0, 0), (down, Flags::ACK, 0, 1), (down, fin, 0, 1), (up, Flags::ACK, 1, 1)],
            [State::CloseWait, State::CloseWait, State::LastAck, State::TimeWait],
        ),
        (
            [(down, fin, 0, 0), (up, Flags::ACK, 0, 1), (up, fin, 0, 1), (down, Flags::ACK, 1, 1)],
            [State::FinWait1, State::FinWait2, State::Closing, State::TimeWait],
        ),
        (
            [(down, fin, 0, 0), (up, fin, 0, 0), (down, Flags::ACK, 1, 1), (up, Flags::ACK, 1, 1)],
            [State::FinWait1, State::Closing, State::Closing, State::TimeWait],
        ),
    ] {
        let mut splice = opened(&full(), &choice(), &fixture);
        for ((half, flags, seq, ack), state) in steps.into_iter().zip(states) {
            let seg = match half {
                Half::Client => client(flags, seq, ack, 0),
                Half::Backend => backend(flags, seq, ack, 0),
            };
            let before = splice.state();
            let step = splice.pass(half, &seg, &fixture.at(5));
            forwarded(step);
            assert_eq!(splice.state(), state);
            assert_eq!(step.then == Then::Moved, state != before);
            let ended = (state == State::TimeWait).then_some(Event::Ended(End::Closed));
            assert_eq!(step.event, ended);
        }
    }
}
