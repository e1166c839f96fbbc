//! Whatever either end says, in whatever order: what we forward and answer stays true.

use proptest::prelude::*;

use super::*;

/// What somebody says: a half, flags, and how far from what is expected.
#[derive(Clone, Copy, Debug)]
struct Said {
    half: Half,
    flags: u8,
    seq: i32,
    ack: i32,
    len: u16,
    window: u16,
    wait: u32,
}

fn said() -> impl Strategy<Value = Said> {
    let flags = prop_oneof![
        8 => Just(0x10u8),
        2 => Just(0x11u8),
        1 => prop::sample::select(&[0x04u8, 0x14, 0x02, 0x12, 0x01, 0x00, 0xff][..]),
    ];
    let off = || prop_oneof![6 => Just(0i32), 2 => -3000..3000i32, 1 => any::<i32>()];
    let wait = prop_oneof![20 => 0..50u32, 1 => 0..400_000u32];
    (any::<bool>(), flags, (off(), off()), 0..3000u16, any::<u16>(), wait).prop_map(
        |(is_client, flags, (seq, ack), len, window, wait)| {
            let half = if is_client { Half::Client } else { Half::Backend };
            Said { half, flags, seq, ack, len, window, wait }
        },
    )
}

/// What each end has sent so far, in its own numbers: behind the highest octet.
struct Sent {
    client: SeqNum,
    backend: Option<SeqNum>,
}

impl Sent {
    fn by(&mut self, seg: &Segment, half: Half) {
        match (half, self.backend) {
            (Half::Client, _) => self.client = self.client.max(seg.end()),
            (Half::Backend, Some(before)) => self.backend = Some(before.max(seg.end())),
            (Half::Backend, None) => self.backend = Some(seg.end()),
        }
    }

    /// Whether `half` has sent what `ack` acknowledges to it.
    fn is_true(&self, half: Half, ack: SeqNum) -> bool {
        match half {
            Half::Client => !ack.is_after(self.client),
            Half::Backend => self.backend.is_some_and(|sent| !ack.is_after(sent)),
        }
    }
}

fn segment_of(said: Said, splice: &Splice) -> Segment {
    let (own, other) = match said.half {
        Half::Client => (splice.up, splice.down),
        Half::Backend => (splice.down, splice.up),
    };
    let seq = own.nxt.add(said.seq as u32);
    let ack = other.nxt.add(said.ack as u32);
    let base = match said.half {
        Half::Client => client(Flags(said.flags), 0, 0, said.len),
        Half::Backend => backend(Flags(said.flags), 0, 0, said.len),
    };
    let (seq, ack) = match said.half {
        Half::Client => (seq, ack),
        Half::Backend => (seq.sub(splice.down_delta), ack.add(splice.up_delta)),
    };
    Segment { seq, ack, window: said.window, ..base }
}

proptest! {
    /// No end is told that it sent what it did not; no RST draws one; the state moves only where a step says
    /// so; a flow that is over is over.
    #[test]
    fn nothing_untrue_is_passed_on(
        sequence in prop::collection::vec(said(), 1..80), header in any::<bool>(), agrees in any::<[bool; 3]>(),
    ) {
        let fixture = Fixture::new();
        let [sack, timestamps, ecn] = agrees;
        let learned = Learned { sack, timestamps, ecn, ..full() };
        let choice = Choice { header_len: if header { 28 } else { 0 }, ..choice() };
        let mut splice = opened(&learned, &choice, &fixture);
        let mut sent = Sent { client: IRS.add(1), backend: Some(DOWN.add(1)) };
        let mut at = 1;
        for said in sequence {
            at += said.wait;
            let cx = fixture.at(at);
            let timer = splice.on_timer(&cx);
            if matches!(timer.then, Then::End(_)) {
                break;
            }
            let seg = segment_of(said, &splice);
            let before = splice.state();
            let step = splice.pass(said.half, &seg, &cx);
            if step.then == Then::Stay {
                prop_assert_eq!(splice.state(), before);
            }
            match step.passage {
                Passage::Forward(rewrite) | Passage::Split(rewrite, _) => {
                    let told = said.half.other();
                    if seg.flags.has(Flags::ACK) && !seg.flags.has(Flags::RST) {
                        prop_assert!(sent.is_true(told, rewrite.ack), "{told:?} {rewrite:?}");
                    }
                    sent.by(&seg, said.half);
                }
                Passage::Answer(reply) => {
                    let both = seg.flags.has(Flags::RST) && reply.flags.has(Flags::RST);
                    prop_assert!(!both, "a RST for a RST");
                    if reply.flags.has(Flags::ACK) && !reply.flags.has(Flags::RST) {
                        prop_assert!(sent.is_true(said.half, reply.ack), "{reply:?}");
                    }
                }
                Passage::Hold => prop_assert!(false, "nothing is held when the backend is there"),
                Passage::Deliver | Passage::Reopen | Passage::Drop(_) => {}
            }
            for stream in [splice.up, splice.down] {
                prop_assert!(!stream.una.is_after(stream.nxt));
            }
        }
    }
}
