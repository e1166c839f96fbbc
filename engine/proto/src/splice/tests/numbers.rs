//! Numbers, timestamps and windows, wherever they begin and wrap.

use proptest::prelude::*;

use super::*;

/// Where both halves' numbers and clocks begin.
#[derive(Clone, Copy, Debug)]
struct Start {
    irs: u32,
    iss: u32,
    up: u32,
    down: u32,
    client_clock: u32,
    backend_clock: u32,
    echoed: u32,
    header_len: u8,
}

fn start() -> impl Strategy<Value = Start> {
    // Near the wrap as often as anywhere.
    let number = || prop_oneof![any::<u32>(), (u32::MAX - 3000)..=u32::MAX];
    let numbers = (number(), number(), number(), number());
    let clocks = (number(), number(), number());
    (numbers, clocks, prop_oneof![Just(0u8), Just(28u8), Just(59u8)]).prop_map(
        |((irs, iss, up, down), (client_clock, backend_clock, echoed), header_len)| Start {
            irs,
            iss,
            up,
            down,
            client_clock,
            backend_clock,
            echoed,
            header_len,
        },
    )
}

impl Start {
    fn open(&self, fixture: &Fixture, shifts: (u8, u8, Option<u8>)) -> Splice {
        let (client_shift, our_shift, scale) = shifts;
        let tcb = Tcb {
            irs: SeqNum(self.irs),
            iss: SeqNum(self.iss),
            rcv_nxt: SeqNum(self.irs).add(1),
            held_to: SeqNum(self.irs).add(1),
            snd_una: SeqNum(self.iss).add(1),
            snd_wnd: 65_535 << client_shift,
            snd_shift: client_shift,
            rcv_shift: our_shift,
            ts_recent: self.client_clock,
            ts_offset: self.echoed.wrapping_sub(CLOCK),
            ..tcb()
        };
        let choice = Choice { iss: SeqNum(self.up), header_len: self.header_len, ..choice() };
        let mut splice = Splice::open(&tcb, &choice, &fixture.at(0));
        let stamps = Timestamps { val: self.backend_clock, ecr: 0 };
        let mut seg = syn_ack(&Learned { scale, window: 65_535, ..full() });
        seg.options.timestamps = Some(stamps);
        let seg = Segment { seq: SeqNum(self.down), ack: SeqNum(self.up).add(1), ..seg };
        assert_eq!(splice.pass(Half::Backend, &seg, &fixture.at(0)).then, Then::Opened);
        if self.header_len > 0 {
            let seg = self.backend(0, 0, 0, (self.backend_clock, 0));
            let _ = splice.pass(Half::Backend, &seg, &fixture.at(0));
        }
        splice
    }

    fn client(&self, seq: u32, ack: u32, len: u16, stamps: (u32, u32)) -> Segment {
        let (val, ecr) = stamps;
        let (seq, ack) = (SeqNum(self.irs).add(1).add(seq), SeqNum(self.iss).add(1).add(ack));
        segment(Flags::ACK, seq, ack, len, val, ecr)
    }

    fn backend(&self, seq: u32, ack: u32, len: u16, stamps: (u32, u32)) -> Segment {
        let (val, ecr) = stamps;
        let first = SeqNum(self.up).add(1).add(self.header_len.into());
        segment(Flags::ACK, SeqNum(self.down).add(1).add(seq), first.add(ack), len, val, ecr)
    }
}

proptest! {
    /// Each end sees the other's octets at the distance from its own numbers at which they were sent, and
    /// has its own acknowledged where it sent them; so with every edge of a SACK block.
    #[test]
    fn octets_keep_their_places(
        start in start(),
        pieces in prop::collection::vec((any::<bool>(), 1..1400u16), 1..60),
    ) {
        let fixture = Fixture::new();
        let mut splice = start.open(&fixture, (9, 7, Some(3)));
        let (mut up, mut down) = (0u32, 0u32);
        for (is_up, len) in pieces {
            let stamps = (start.client_clock, start.echoed);
            let seg = start.client(up, down, if is_up { len } else { 0 }, stamps);
            let there = forwarded(splice.pass(Half::Client, &seg, &fixture.at(1)));
            let expected = start.backend(down, up, 0, (0, 0));
            prop_assert_eq!((there.seq, there.ack), (expected.ack, expected.seq));
            prop_assert_eq!(SeqNum(seg.ack.0).add(there.sack_delta), there.ack);
            up += seg.len();

            let stamps = (start.backend_clock, there.ts_val);
            let seg = start.backend(down, up, if is_up { 0 } else { len }, stamps);
            let back = forwarded(splice.pass(Half::Backend, &seg, &fixture.at(1)));
            let expected = start.client(up, down, 0, (0, 0));
            prop_assert_eq!((back.seq, back.ack), (expected.ack, expected.seq));
            prop_assert_eq!(SeqNum(seg.ack.0).add(back.sack_delta), back.ack);
            down += seg.len();
        }
    }

    /// RFC 7323 §5.4: no end sees a clock go backward, each has its own TSvals echoed as it sent them, and the
    /// backend nothing from before its SYN-ACK.
    #[test]
    fn clocks_never_go_backward(
        start in start(),
        ticks in prop::collection::vec((0..1u32 << 28, 0..1u32 << 28), 1..60),
        early in 0..5000u32,
    ) {
        let fixture = Fixture::new();
        let mut splice = start.open(&fixture, (9, 7, Some(3)));
        let (mut client_clock, mut backend_clock) = (start.client_clock, start.backend_clock);
        let (mut seen_by_client, mut seen_by_backend) = (start.echoed, CLOCK + 77);
        // An echo of a SYN-ACK that was sent before the one that counted.
        let mut echo = start.echoed.wrapping_sub(early);
        for (elapsed_up, elapsed_down) in ticks {
            let seg = start.client(0, 0, 0, (client_clock, echo));
            let up = forwarded(splice.pass(Half::Client, &seg, &fixture.at(1)));
            prop_assert!(up.ts_val.wrapping_sub(seen_by_backend) < 1 << 31);
            prop_assert_eq!(up.ts_ecr, backend_clock, "the newest, or the first");
            seen_by_backend = up.ts_val;

            backend_clock = backend_clock.wrapping_add(elapsed_down);
            let seg = start.backend(0, 0, 0, (backend_clock, seen_by_backend));
            let down = forwarded(splice.pass(Half::Backend, &seg, &fixture.at(1)));
            prop_assert!(down.ts_val.wrapping_sub(seen_by_client) < 1 << 31);
            prop_assert_eq!(down.ts_ecr, client_clock);
            seen_by_client = down.ts_val;
            echo = seen_by_client;
            client_clock = client_clock.wrapping_add(elapsed_up);
        }
        // Whatever a client says it heard, the backend hears of nothing that it did not send.
        for lie in [echo.wrapping_add(1), echo.wrapping_add(1 << 30), echo.wrapping_sub(1 << 30)] {
            let seg = start.client(0, 0, 0, (client_clock, lie));
            let up = forwarded(splice.pass(Half::Client, &seg, &fixture.at(1)));
            let age = backend_clock.wrapping_sub(up.ts_ecr);
            prop_assert!(age <= 1 << 30, "{age}");
        }
    }

    /// RFC 7323 §2.3: whatever the scales, no end is told of more room than there is, nor of less than it can
    /// be told, which is a unit of its scale less at most; but room for less than a unit is a unit.
    #[test]
    fn windows_are_no_larger_than_they_are_and_never_shut_while_open(
        start in start(), client_shift in 0..=14u8, our_shift in 0..=14u8,
        scale in prop::option::of(0..=14u8), window: u16,
    ) {
        let fixture = Fixture::new();
        let mut splice = start.open(&fixture, (client_shift, our_shift, scale));
        let is_told = |field: u16, shift: u8, room: u32| {
            let told = u32::from(field) << shift;
            let is_small = room > 0 && room < 1 << shift;
            field == 1 && is_small || told <= room && !is_small && (field == u16::MAX || room - told < 1 << shift)
        };
        let seg = start.client(0, 0, 0, (start.client_clock, start.echoed));
        let seg = Segment { window, ..seg };
        let up = forwarded(splice.pass(Half::Client, &seg, &fixture.at(1)));
        let to_backend = if scale.is_some() { client_shift } else { 0 };
        prop_assert!(is_told(up.window, to_backend, u32::from(window) << client_shift));
        let seg = start.backend(0, 0, 0, (start.backend_clock, CLOCK + 77));
        let seg = Segment { window, ..seg };
        let down = forwarded(splice.pass(Half::Backend, &seg, &fixture.at(1)));
        prop_assert!(is_told(down.window, our_shift, u32::from(window) << scale.unwrap_or(0)));
    }

    /// The client sees nothing of a PROXY header: not its octets acknowledged, not its place in the window.
    #[test]
    fn a_header_is_not_there_for_the_client(start in start(), part in 0..60u8, window: u16) {
        let start = Start { header_len: 59, ..start };
        let part = part.min(59);
        let fixture = Fixture::new();
        let first = SeqNum(start.irs).add(1);
        let tcb = Tcb { irs: SeqNum(start.irs), rcv_nxt: first, held_to: first, rcv_shift: 0, ..tcb() };
        let choice = Choice { iss: SeqNum(start.up), header_len: 59, ..choice() };
        let mut splice = Splice::open(&tcb, &choice, &fixture.at(0));
        let seg = syn_ack(&full());
        let seg = Segment { seq: SeqNum(start.down), ack: SeqNum(start.up).add(1), ..seg };
        let header = answer(splice.pass(Half::Backend, &seg, &fixture.at(0)));
        prop_assert_eq!((header.seq, header.payload_len), (SeqNum(start.up).add(1), 59));

        let within = start.backend(0, 0, 0, (BACKEND_CLOCK, 0));
        let hidden = u32::from(59 - part);
        let within = Segment { ack: within.ack.sub(hidden), window, ..within };
        let down = forwarded(splice.pass(Half::Backend, &within, &fixture.at(1)));
        prop_assert_eq!(down.ack, SeqNum(start.irs).add(1));
        prop_assert!(down.ops.has(Ops::FLOOR_SACK) && down.sack_floor == down.ack);
        let room = (u32::from(window) << 3).saturating_sub(hidden);
        prop_assert_eq!(u32::from(down.window), room.min(65_535));
    }
}
