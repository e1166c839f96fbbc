//! Half-open flows: SYN received, SYN-ACK sent, third ACK awaited (RFC 9293 §3.10.7.4).

use super::listen::redeem;
use super::reset::{drop, keep, reset_for};
use super::{Context, Refusal, Tcb, Traits};
use crate::verdict::{Change, Decision, End, Event, Reason, Verdict};
use crate::wire::{Flags, Segment};

impl Tcb {
    /// Decides a segment that meets a half-open flow.
    pub(super) fn decide_syn_rcvd(&mut self, seg: &Segment, cx: &Context<'_>) -> Decision {
        let is_syn = seg.flags.only(Flags::SYN | Flags::ACK | Flags::RST) == Flags::SYN;
        if is_syn && seg.seq == self.irs {
            return self.repeat_syn_ack(seg, cx);
        }
        if self.is_old_timestamp(seg) && !seg.flags.has(Flags::RST) {
            return self.challenge(cx);
        }
        if !self.is_acceptable(seg, cx) {
            return match redeem(seg, cx, self) {
                Some(newer) => newer,
                None if seg.flags.has(Flags::RST) => drop(Reason::ResetOutOfWindow),
                None => self.challenge(cx),
            };
        }
        if seg.flags.has(Flags::RST) {
            return self.half_open_reset(seg, cx);
        }
        if seg.flags.has(Flags::SYN) {
            // A passive open returns to LISTEN; the client's next SYN finds no flow.
            return half_open_end(End::Replaced);
        }
        if self.lacks_timestamp(seg) {
            return drop(Reason::TimestampMissing);
        }
        if !seg.flags.has(Flags::ACK) {
            return drop(Reason::BadFlags);
        }
        if seg.ack != self.snd_max {
            return self.wrong_third_ack(seg, cx);
        }
        self.complete(seg, cx)
    }

    /// The client did not hear our SYN-ACK: the same one again, with its newest timestamp.
    fn repeat_syn_ack(&mut self, seg: &Segment, cx: &Context<'_>) -> Decision {
        self.heard_at = cx.now.tick;
        self.traits.set(Traits::RESENT, true);
        if let Some(ts) = seg.options.timestamps {
            self.ts_recent = ts.val;
        }
        Decision { change: Change::Update, ..keep(Verdict::Answer(self.syn_ack(cx))) }
    }

    /// Only the exact number frees the record (RFC 5961 §3.2).
    fn half_open_reset(&self, seg: &Segment, cx: &Context<'_>) -> Decision {
        if seg.seq == self.rcv_nxt {
            half_open_end(End::HandshakeReset)
        } else {
            self.challenge(cx)
        }
    }

    /// An ACK that does not acknowledge our SYN exactly: it may prove a cookie, else it is refused.
    fn wrong_third_ack(&mut self, seg: &Segment, cx: &Context<'_>) -> Decision {
        match (redeem(seg, cx, self), cx.policy.invalid_ack) {
            (Some(newer), _) => newer,
            (None, Refusal::Reset) => keep(Verdict::Answer(reset_for(seg))),
            (None, Refusal::Drop) => drop(Reason::AckUnacceptable),
        }
    }

    /// The third ACK: the flow is established, and what else the segment holds is taken at once.
    fn complete(&mut self, seg: &Segment, cx: &Context<'_>) -> Decision {
        let (once, repeats) = (!self.traits.has(Traits::RESENT), self.retries);
        let handshake_us = (cx.now.us as u32).wrapping_sub(self.rtt_at_us);
        self.establish(seg);
        if once {
            self.measured(handshake_us);
        } else {
            self.syn_ack_was_repeated(repeats);
        }
        self.opened_at = cx.now.tick;
        let event =
            Event::Established { by_cookie: false, handshake_us: once.then_some(handshake_us) };
        if cx.kind.takes_nothing() {
            return self.connect(seg, event, cx);
        }
        let taken = self.take(seg, cx);
        Decision { event: Some(event), ..taken }
    }

    /// The flow is a backend's from here on, or a consumer's, who will answer what the segment holds.
    fn connect(&mut self, seg: &Segment, event: Event, cx: &Context<'_>) -> Decision {
        if let Some(ts) = seg.options.timestamps
            && self.traits.has(Traits::TIMESTAMPS)
        {
            self.go_on_from(ts, cx);
        }
        self.await_consumer(cx);
        Decision { change: Change::Update, event: Some(event), ..keep(Verdict::Connect) }
    }
}

fn half_open_end(end: End) -> Decision {
    Decision {
        verdict: Verdict::Deliver,
        change: Change::End(end),
        event: Some(Event::HandshakeFailed(end)),
        cookie: None,
    }
}
