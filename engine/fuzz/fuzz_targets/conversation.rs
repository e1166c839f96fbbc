//! One client says whatever it likes, near what is expected and far from it, at whatever pace, to one flow. Nothing panics,
//! the control block stays sound, and what we send stays within the answer and the peer's MSS.

#![no_main]

use libfuzzer_sys::fuzz_target;
use usher_proto::cookie::{IsnKey, Keys, Secret};
use usher_proto::tcp::{Admission, Context, Kind, Policy, Tcb, Terms, Traits, listen};
use usher_proto::time::Now;
use usher_proto::verdict::{Change, Verdict};
use usher_proto::wire::{Addr, Flags, Options, Reply, Segment, SeqNum, Timestamps, Tuple};

const ANSWER: u32 = 5_000;
/// Segments that one look can release: the whole answer in the smallest pieces, its FIN, and a retransmission.
const RELEASED: usize = 5_000 / 32 + 2;
const TUPLE: Tuple = Tuple {
    remote: Addr::v4([10, 0, 0, 2]),
    local: Addr::v4([10, 0, 0, 1]),
    remote_port: 4000,
    local_port: 80,
    vlan: 0,
    port: 0,
};

fuzz_target!(|input: &[u8]| {
    let Some((&choices, steps)) = input.split_first() else { return };
    let secret = Secret::from_bytes([7; 32]);
    let (keys, isn, policy) = (Keys::new(&secret), IsnKey::new(&secret), Policy::default());
    let mut client = Client::default();
    let mut us = 0;
    let mut flow: Option<Tcb> = None;
    for step in steps.chunks_exact(8) {
        // Up to 65 s a step, so that every timer comes to fire.
        us += u64::from(step[7]).pow(2) * 1000;
        let cx = Context {
            now: Now::new(us, 1_700_000_000_000 + us / 1000),
            policy: &policy,
            keys: &keys,
            isn: &isn,
            admission: if choices & 1 == 0 { Admission::Stateful } else { Admission::Cookie },
            check_cookies: true,
            mss: 1460,
            kind: Kind::Respond { answer_len: ANSWER },
            offer: Terms::default(),
        };
        if step[0] & 0x80 == 0 {
            let seg = client.say(step, flow.as_ref());
            let mut next = flow.unwrap_or_default();
            let decision = match flow {
                Some(_) => next.decide(&seg, &cx),
                None => listen(&seg, &cx, &mut next),
            };
            if let Verdict::Answer(reply) = decision.verdict {
                let both = seg.flags.has(Flags::RST) && reply.flags.has(Flags::RST);
                assert!(!both, "a RST is never answered by one");
                client.hear(&reply);
            }
            flow = after(flow, decision.change, next);
        } else if let Some(mut next) = flow {
            let (reply, change, _) = next.on_timer(&cx);
            reply.iter().for_each(|reply| client.hear(reply));
            flow = after(flow, change, next);
        }
        flow = release(flow, &cx, &mut client);
    }
});

fn after(flow: Option<Tcb>, change: Change, next: Tcb) -> Option<Tcb> {
    let after = match change {
        Change::Keep => {
            assert!(flow.is_none_or(|flow| flow == next), "what is kept is not written to");
            flow
        }
        Change::Open | Change::Update => Some(next),
        Change::End(_) => None,
    };
    after.inspect(check)
}

fn release(mut flow: Option<Tcb>, cx: &Context<'_>, client: &mut Client) -> Option<Tcb> {
    for _ in 0..=RELEASED {
        let Some(tcb) = flow.as_mut() else { return None };
        let promised = tcb.has_segment(cx);
        let reply = tcb.next_segment(cx);
        assert_eq!(reply.is_some(), promised);
        let Some(reply) = reply else { return flow };
        assert!(reply.payload_len <= tcb.mss, "within the peer's MSS");
        check(tcb);
        client.hear(&reply);
    }
    panic!("one look released more than {RELEASED} segments");
}

fn check(tcb: &Tcb) {
    let sent = tcb.snd_max.since(tcb.snd_una);
    assert!(tcb.snd_nxt.since(tcb.snd_una) <= sent, "snd_nxt between snd_una and snd_max: {tcb:?}");
    assert!(sent <= ANSWER + 2, "no more in flight than the answer, SYN and FIN: {tcb:?}");
    assert!(!tcb.traits.has(Traits::RECOVERING) || tcb.cwnd > 0);
}

/// What the client last heard, which is what its next segment is near to.
#[derive(Default)]
struct Client {
    next: SeqNum,
    heard: SeqNum,
    ts: u32,
}

impl Client {
    fn hear(&mut self, reply: &Reply) {
        assert!(reply.payload_offset + u32::from(reply.payload_len) <= ANSWER, "within the answer");
        assert!(
            reply.flags.has(Flags::RST) || reply.flags.has(Flags::ACK),
            "every segment but a RST has ACK"
        );
        let takes = reply.flags.has(Flags::SYN) || reply.flags.has(Flags::FIN);
        self.heard = reply.seq.add(u32::from(reply.payload_len) + u32::from(takes));
        self.next = if reply.flags.has(Flags::ACK) { reply.ack } else { self.next };
        self.ts = reply.options.timestamps.map_or(self.ts, |ts| ts.val);
    }

    /// `step`: flags, distances from the expected numbers, window, payload length, options.
    fn say(&self, step: &[u8], flow: Option<&Tcb>) -> Segment {
        let near = |from: SeqNum, by: u8| {
            from.add((by as i8 as i32 * if by & 1 == 0 { 1 } else { 700 }) as u32)
        };
        let base = flow.map_or(self.next, |tcb| tcb.rcv_nxt);
        let options = step[6];
        Segment {
            tuple: TUPLE,
            seq: near(base, step[1]),
            ack: near(self.heard, step[2]),
            flags: Flags(step[0] & 0x3f),
            window: u16::from(step[3]) << 8 | u16::from(step[4]),
            options: Options {
                mss: (options & 1 != 0).then_some(u16::from(step[4]) << 4),
                window_scale: (options & 2 != 0).then_some(step[5] % 15),
                sack_permitted: options & 4 != 0,
                timestamps: (options & 8 != 0)
                    .then_some(Timestamps { val: u32::from(step[5]), ecr: self.ts }),
            },
            ce: options & 16 != 0,
            header_len: 20,
            payload_offset: 54,
            payload_len: u16::from(step[5]) * 5,
        }
    }
}
