//! Segments of connected flows: what passes, how it is rewritten, and what strangers get instead
//! (RFC 5961 on both halves).
//!
//! The ends validate what reaches them; we keep out what could end the flow or carry our own numbers away,
//! and follow numbers and windows for that.

use super::rewrite::{Ops, Rewrite};
use super::state::{Marks, Phase, Splice, field, later};
use super::{Half, Passage, SpliceContext, Step};
use crate::cause::Reason;
use crate::wire::{Flags, Reply, Segment, SeqNum};

/// How far an acknowledgement within a PROXY header can lag behind others, in bytes of the client's data. One
/// that comes later is read as one of data long ago, which the client does not believe either (RFC 5961 §5.2).
const HEADER_FORGOTTEN: u32 = 1 << 24;
/// TCP's header without options, in bytes.
pub(super) const FIXED_HEADER: u16 = 20;
/// TSvals further apart than this cannot be told from a wrap.
const STAMP_SPAN: u32 = 1 << 30;

/// A segment's numbers as the client's half has them, and its window in bytes.
#[derive(Clone, Copy)]
pub(super) struct Numbers {
    pub(super) seq: SeqNum,
    pub(super) ack: SeqNum,
    pub(super) window: u32,
}

impl Splice {
    /// Decides a segment that `half` sent, in every phase of the flow.
    #[inline]
    pub fn pass(&mut self, half: Half, seg: &Segment, cx: &SpliceContext<'_>) -> Step {
        const CONTROL: Flags = Flags(Flags::SYN.0 | Flags::RST.0 | Flags::FIN.0 | Flags::ACK.0);
        let is_plain = self.phase == Phase::Open && !self.marks.any(Marks::UNUSUAL);
        if is_plain && seg.flags.only(CONTROL) == Flags::ACK {
            return match half {
                Half::Client => self.pass_plain(Half::Client, seg, cx),
                Half::Backend => self.pass_plain(Half::Backend, seg, cx),
            };
        }
        self.pass_unusual(half, seg, cx)
    }

    /// Data and acknowledgements between two open ends.
    #[inline(always)] // a copy for each half without a branch on it
    fn pass_plain(&mut self, half: Half, seg: &Segment, cx: &SpliceContext<'_>) -> Step {
        let numbers = self.numbers(half, seg);
        if !self.is_believable(half, numbers) {
            return self.challenge(half, cx);
        }
        if self.is_unechoed(half, seg) {
            return Step::drop(Reason::CongestionUnechoed);
        }
        let rewrite = self.rewrite(half, seg, numbers, cx);
        Step::stay(self.sized(half, seg, rewrite))
    }

    #[cold]
    fn pass_unusual(&mut self, half: Half, seg: &Segment, cx: &SpliceContext<'_>) -> Step {
        match (self.phase, half) {
            (Phase::Opening, Half::Client) => self.early(seg, cx),
            (Phase::Opening, Half::Backend) => self.answered(seg, cx),
            (Phase::Open, _) => self.pass_open(half, seg, cx),
            (Phase::TimeWait, _) => self.pass_time_wait(half, seg, cx),
            (Phase::Reset, _) => Self::pass_reset(half, seg),
        }
    }

    fn pass_open(&mut self, half: Half, seg: &Segment, cx: &SpliceContext<'_>) -> Step {
        let numbers = self.numbers(half, seg);
        if seg.flags.has(Flags::RST) {
            return self.reset(half, seg, numbers, cx);
        }
        if seg.flags.has(Flags::SYN) {
            return self.syn_in_open(half, seg, cx);
        }
        if !seg.flags.has(Flags::ACK) {
            return Step::drop(Reason::BadFlags);
        }
        if !self.is_believable(half, numbers) {
            return self.challenge(half, cx);
        }
        if self.is_unechoed(half, seg) {
            return Step::drop(Reason::CongestionUnechoed);
        }
        let is_missed = half == Half::Backend && self.is_header_missed(seg, numbers.ack);
        let step = self.pass_followed(half, seg, numbers, cx);
        if is_missed { Step { passage: Passage::Answer(self.header()), ..step } } else { step }
    }

    /// Passes a believable segment of a flow that closes, or whose PROXY header may not have arrived.
    pub(super) fn pass_followed(
        &mut self,
        half: Half,
        seg: &Segment,
        numbers: Numbers,
        cx: &SpliceContext<'_>,
    ) -> Step {
        let before = (self.state(), self.marks.has(Marks::HEADER_OUT));
        let rewrite = self.rewrite(half, seg, numbers, cx);
        if self.marks.has(Marks::HEADER_OUT) {
            let is_out = self.up.una.is_before(self.irs.add(1));
            self.marks.set(Marks::HEADER_OUT, is_out);
        }
        let passage = self.sized(half, seg, rewrite);
        self.followed(before, passage, cx)
    }

    /// The segment's numbers in the client's space.
    #[inline(always)]
    pub(super) fn numbers(&self, half: Half, seg: &Segment) -> Numbers {
        let window = self.bytes(half, seg);
        match half {
            Half::Client => Numbers { seq: seg.seq, ack: seg.ack, window },
            Half::Backend => Numbers {
                seq: seg.seq.add(self.down_delta),
                ack: seg.ack.sub(self.up_delta),
                window,
            },
        }
    }

    /// The window that a segment announces, in bytes.
    #[inline(always)]
    pub(super) fn bytes(&self, half: Half, seg: &Segment) -> u32 {
        let shift = match half {
            Half::Client => self.client_shift,
            Half::Backend => self.backend_shift,
        };
        u32::from(seg.window) << (shift & 15)
    }

    /// Nothing begins beyond the receiver's window, and nothing is acknowledged that was never sent
    /// (RFC 5961 §5.2). What is old passes: its receiver says so itself, and a keepalive is old.
    #[inline(always)]
    pub(super) fn is_believable(&self, half: Half, numbers: Numbers) -> bool {
        let (own, other) = match half {
            Half::Client => (&self.up, &self.down),
            Half::Backend => (&self.down, &self.up),
        };
        !numbers.seq.is_after(own.edge) & !numbers.ack.is_after(other.nxt)
    }

    /// Whether a segment has met congestion (CE) that its sender could be told of and the other end, which does not
    /// speak ECN, cannot tell. Where ECN ends such a segment is lost, as it would have been without ECN (RFC 6040
    /// §4.2), so that the sender slows down; what it then sends again is not marked (RFC 3168 §6.1.5).
    #[inline(always)]
    pub(super) fn is_unechoed(&self, half: Half, seg: &Segment) -> bool {
        seg.ce && half == Half::Client && self.up_ops.has(Ops::DROP_MARKED)
    }

    /// Follows a segment that passes and says what changes in it.
    #[inline(always)]
    pub(super) fn rewrite(
        &mut self,
        half: Half,
        seg: &Segment,
        numbers: Numbers,
        cx: &SpliceContext<'_>,
    ) -> Rewrite {
        self.heard_at = cx.now.tick;
        let end = numbers.seq.add(seg.len());
        let fin = seg.flags.has(Flags::FIN);
        let (own, other, own_fin, other_fin) = match half {
            Half::Client => (&mut self.up, &mut self.down, Marks::UP_FIN, Marks::DOWN_FIN),
            Half::Backend => (&mut self.down, &mut self.up, Marks::DOWN_FIN, Marks::UP_FIN),
        };
        if !self.marks.has(own_fin) {
            own.nxt = own.nxt.max(end);
            if fin {
                self.marks.set(own_fin, true);
                let first = half == Half::Backend && !self.marks.has(other_fin);
                self.marks.set(Marks::DOWN_FIRST, first || self.marks.has(Marks::DOWN_FIRST));
            }
        }
        other.una = other.una.max(numbers.ack);
        other.edge = other.edge.max(numbers.ack.add(numbers.window));
        match half {
            Half::Client => self.rewrite_up(seg, numbers),
            Half::Backend => self.rewrite_down(seg, numbers, cx),
        }
    }

    #[inline(always)]
    fn rewrite_up(&mut self, seg: &Segment, numbers: Numbers) -> Rewrite {
        let ts = seg.options.timestamps.unwrap_or_default();
        if seg.options.timestamps.is_some() {
            self.ts_client = later(self.ts_client, ts.val);
        }
        Rewrite {
            seq: numbers.seq.add(self.up_delta),
            ack: numbers.ack.sub(self.down_delta),
            ts_val: ts.val.wrapping_add(self.ts_up),
            ts_ecr: self.echo_to_backend(ts.ecr),
            sack_delta: 0u32.wrapping_sub(self.down_delta),
            sack_floor: SeqNum(0),
            window: field(numbers.window, self.to_backend_shift),
            ops: self.up_ops,
            clear: self.cleared(self.up_ops),
        }
    }

    #[inline(always)]
    fn rewrite_down(&mut self, seg: &Segment, numbers: Numbers, cx: &SpliceContext<'_>) -> Rewrite {
        let ts = seg.options.timestamps.unwrap_or_default();
        if seg.options.timestamps.is_some() {
            self.ts_backend = later(self.ts_backend, ts.val);
            let oldest = self.ts_backend.wrapping_sub(STAMP_SPAN);
            self.ts_floor = later(self.ts_floor, oldest);
        }
        let mut rewrite = Rewrite {
            seq: numbers.seq,
            ack: numbers.ack,
            ts_val: ts.val.wrapping_add(self.ts_down),
            ts_ecr: ts.ecr.wrapping_sub(self.ts_up),
            sack_delta: 0u32.wrapping_sub(self.up_delta),
            sack_floor: self.irs.add(1),
            window: field(numbers.window, self.to_client_shift),
            ops: self.down_ops,
            clear: self.cleared(self.down_ops),
        };
        if self.down_ops.has(Ops::INSERT_STAMP) {
            rewrite.ts_val = cx.now.ts_clock.wrapping_add(self.ts_down);
            rewrite.ts_ecr = self.ts_client;
        }
        if self.marks.has(Marks::HEADER) {
            self.hide_header(numbers, &mut rewrite);
        }
        rewrite
    }

    /// The client must not see that anything was in front of its data: acknowledgements within the PROXY
    /// header become that of its SYN, and the window that much smaller.
    #[inline(never)]
    fn hide_header(&mut self, numbers: Numbers, rewrite: &mut Rewrite) {
        let first = self.irs.add(1);
        rewrite.ops = rewrite.ops.with(Ops::FLOOR_SACK, true);
        if numbers.ack.is_before(first) {
            let hidden = first.since(numbers.ack);
            rewrite.ack = first;
            rewrite.window = field(numbers.window.saturating_sub(hidden), self.to_client_shift);
        } else if numbers.ack.since(first) > HEADER_FORGOTTEN {
            self.marks.set(Marks::HEADER, false);
        }
    }

    /// What the client echoes, as the backend sent it: never before its SYN-ACK, which a half-open flow of
    /// recent Linux refuses, nor after its newest segment.
    #[inline(always)]
    fn echo_to_backend(&self, ecr: u32) -> u32 {
        let echo = ecr.wrapping_sub(self.ts_down);
        let echo = if (echo.wrapping_sub(self.ts_floor) as i32) < 0 { self.ts_floor } else { echo };
        let is_ahead = (echo.wrapping_sub(self.ts_backend) as i32) > 0;
        if is_ahead { self.ts_backend } else { echo }
    }

    #[inline(always)]
    const fn cleared(&self, ops: Ops) -> u8 {
        if ops.has(Ops::CLEAR_ECN) { Flags::ECE.0 | Flags::CWR.0 } else { 0 }
    }

    /// Whole, or in pieces for a receiver that takes less: its MSS is for payload and options (RFC 6691 §2).
    #[inline(always)]
    pub(super) fn sized(&self, half: Half, seg: &Segment, rewrite: Rewrite) -> Passage {
        let most = match half {
            Half::Client => self.backend_mss,
            Half::Backend => self.client_mss,
        };
        let options = u16::from(seg.header_len).saturating_sub(FIXED_HEADER);
        let most = most.saturating_sub(options);
        if seg.payload_len <= most {
            Passage::Forward(rewrite)
        } else {
            Passage::Split(rewrite, most.max(1))
        }
    }

    /// The ACK that makes the sender prove itself (RFC 5961 §3.2, §4.2, §5.2): ours, rate-limited.
    #[cold]
    pub(super) fn challenge(&self, half: Half, cx: &SpliceContext<'_>) -> Step {
        Step::stay(Passage::Answer(Reply { limited: true, ..self.ack(half, cx) }))
    }

    /// RFC 5961 §4.2; but a backend that repeats its SYN-ACK did not hear our ACK and gets it again.
    fn syn_in_open(&mut self, half: Half, seg: &Segment, cx: &SpliceContext<'_>) -> Step {
        let is_repeated = half == Half::Backend
            && seg.flags.has(Flags::ACK)
            && seg.seq.add(self.down_delta) == self.iss
            && seg.ack == self.backend_iss().add(1);
        if !is_repeated {
            return self.challenge(half, cx);
        }
        if let Some(ts) = seg.options.timestamps {
            self.ts_backend = later(self.ts_backend, ts.val);
        }
        if self.marks.has(Marks::HEADER_OUT) {
            return Step::stay(Passage::Answer(self.header()));
        }
        let reply = Reply { seq: self.backend_iss().add(1), ..self.ack_to_backend() };
        Step::stay(Passage::Answer(reply))
    }
}
