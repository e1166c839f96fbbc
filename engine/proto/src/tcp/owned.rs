//! Flows of a consumer: held until it says what becomes of them, then a stream of its bytes in either
//! direction.
//!
//! A flow that waits is in ESTABLISHED with [`Traits::AWAITING`]: nothing of what the client sends is
//! acknowledged, so a backend can still take it over whole. What the consumer has written so far, and how
//! much it still reads, is no part of the [`Tcb`]: it comes with each [`Context`] as a [`Source`].

use super::reset::keep;
use super::transfer::initial_window;
use super::{Context, Kind, Tcb, Traits};
use crate::verdict::{Change, Decision, Verdict};
use crate::wire::{Flags, Reply, Segment, SeqNum};

/// A consumer's side of a flow, as far as it has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source {
    /// The number behind the last byte that was written. It never goes back.
    pub end: SeqNum,
    /// Whether our FIN follows that byte. Then nothing more is written.
    pub closed: bool,
    /// The number behind the last byte that the consumer has room for. It never goes back either: what was
    /// announced is taken (RFC 9293 §3.8.6).
    pub edge: SeqNum,
}

/// What was taken of a segment: so much of its payload, after so much of it, and its FIN.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Taken {
    /// Bytes at the front of the payload that had been taken before.
    pub skip: u16,
    /// Bytes behind those that were taken now.
    pub len: u16,
    /// Whether the FIN was taken now.
    pub fin: bool,
}

impl Taken {
    /// What a flow has taken of `seg` whose `rcv_nxt` was `before` when it met it, and is `after` now. Of a
    /// decided segment this says something only if the change was [`Change::Update`].
    #[must_use]
    pub fn of(seg: &Segment, before: SeqNum, after: SeqNum) -> Self {
        if !after.is_after(before) || before.is_before(seg.seq) {
            return Self::default();
        }
        let data_end = seg.seq.add(u32::from(seg.payload_len));
        let fin = seg.flags.has(Flags::FIN) && after == data_end.add(1);
        // No truncation: what was taken lies within the payload.
        let len = after.since(before).wrapping_sub(u32::from(fin)) as u16;
        Self { skip: before.since(seg.seq) as u16, len, fin }
    }

    /// Whether nothing was taken.
    #[must_use]
    pub const fn is_nothing(&self) -> bool {
        self.len == 0 && !self.fin
    }
}

impl Tcb {
    /// A flow that is to be a consumer's begins to wait for it, with nothing held.
    pub(super) const fn await_consumer(&mut self, cx: &Context<'_>) {
        self.traits.set(Traits::AWAITING, matches!(cx.kind, Kind::Ring));
    }

    /// Whether `seg` is at the number that its sender is at, as far as we know, though what came before is
    /// not acknowledged.
    pub(super) fn is_behind_held(&self, seg: &Segment) -> bool {
        self.traits.has(Traits::AWAITING) && seg.seq == self.held_to
    }

    /// Data and FIN while the flow waits: what goes on where the held ends is held too, as far as it fits
    /// the window of the SYN-ACK. Nothing is acknowledged; of a repetition, or of what comes after a gap,
    /// the client will send again what is missing.
    pub(super) fn hold(&mut self, seg: &Segment, cx: &Context<'_>) -> Decision {
        let update = |verdict| Decision { change: Change::Update, ..keep(verdict) };
        let edge = self.rcv_nxt.add(self.rcv_wnd(cx));
        let goes_on = !seg.seq.is_after(self.held_to) && seg.end().is_after(self.held_to);
        if !goes_on || seg.end().is_after(edge) || self.traits.has(Traits::HELD_FIN) {
            return update(Verdict::Deliver);
        }
        self.held_to = seg.end();
        self.traits.set(Traits::HELD_FIN, seg.flags.has(Flags::FIN));
        update(Verdict::Hold)
    }

    /// The segment that was just to be held could not be: the client will send it again. `before` is what
    /// [`Tcb::held_to`] was.
    pub const fn not_held(&mut self, before: SeqNum) {
        self.held_to = before;
        self.traits.set(Traits::HELD_FIN, false);
    }

    /// The consumer takes the flow. Nothing of what is held was taken yet: see [`Tcb::absorb`].
    pub const fn own(&mut self) {
        self.traits.set(Traits::AWAITING, false);
        self.traits.set(Traits::HELD_FIN, false);
    }

    /// Takes data and FIN of a segment that was decided before and kept since, if it is its turn now. What
    /// was taken is to be acknowledged, by [`Tcb::acknowledge`] or anything else that is sent.
    pub fn absorb(&mut self, seg: &Segment, cx: &Context<'_>) -> Taken {
        let before = self.rcv_nxt;
        self.receive(seg, cx);
        Taken::of(seg, before, self.rcv_nxt)
    }

    /// An ACK of everything that was taken, with the present window.
    #[must_use]
    pub fn acknowledge(&self, cx: &Context<'_>) -> Reply {
        self.ack(cx)
    }

    /// More was written, or the stream was closed: ask [`Tcb::next_segment`] afterwards. Where nothing may
    /// go, the probes of a shut window begin (RFC 9293 §3.8.6.1); after a pause longer than the timeout the
    /// congestion window begins anew (RFC 5681 §4.1).
    pub fn stream_grew(&mut self, cx: &Context<'_>) {
        if self.traits.has(Traits::TIMED) {
            return;
        }
        // Without a flight the timer was last started when the latest one began.
        if self.snd_una == self.snd_max && self.rtx_at.is_due(cx.now.tick) {
            self.cwnd = self.cwnd.min(initial_window(self.mss));
        }
        if self.is_stalled(cx) {
            self.start_timer(cx);
        }
    }

    /// How far into a stream of bytes that begins behind our SYN the client has acknowledged, modulo 2³²;
    /// our FIN is none of them.
    #[must_use]
    pub fn delivered(&self, cx: &Context<'_>) -> u32 {
        let end = self.stream_end(cx);
        let una = if self.snd_una.is_after(end) { end } else { self.snd_una };
        una.since(self.iss.add(1))
    }
}
