//! Segments of flows that are known (RFC 9293 §3.10.7.4, with RFC 5961 and RFC 7323 §5).

use super::listen::redeem;
use super::reset::{drop, keep};
use super::{Context, State, Tcb, Traits};
use crate::verdict::{Change, Decision, End, Event, Reason, Verdict};
use crate::wire::{Flags, Segment, SeqNum};

impl Tcb {
    /// Decides a segment that meets this flow, which becomes what it is afterwards.
    #[must_use]
    pub fn decide(&mut self, seg: &Segment, cx: &Context<'_>) -> Decision {
        match self.state {
            State::Closed | State::SynSent => self.decide_spent(seg, cx),
            State::SynRcvd => self.decide_syn_rcvd(seg, cx),
            State::TimeWait => self.decide_time_wait(seg, cx),
            State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck => self.decide_synchronised(seg, cx),
        }
    }

    /// A RST is judged by its number alone and a SYN by nothing, whatever other flags they have; then
    /// come timestamp, sequence and acknowledgement, in the order of RFC 7323 §5.3.
    fn decide_synchronised(&mut self, seg: &Segment, cx: &Context<'_>) -> Decision {
        if seg.flags.has(Flags::RST) {
            return self.reset_by_peer(seg, cx);
        }
        if seg.flags.has(Flags::SYN) {
            return self.challenge(cx); // RFC 5961 §4.2
        }
        if self.lacks_timestamp(seg) {
            return drop(Reason::TimestampMissing);
        }
        if self.is_old_timestamp(seg) || !self.is_acceptable(seg, cx) {
            return self.unacceptable(seg, cx);
        }
        if !seg.flags.has(Flags::ACK) {
            return drop(Reason::BadFlags);
        }
        if !self.is_believable_ack(seg.ack) {
            return self.challenge(cx); // RFC 5961 §5.2
        }
        self.take(seg, cx)
    }

    /// Only the exact number resets (RFC 5961 §3.2).
    fn reset_by_peer(&mut self, seg: &Segment, cx: &Context<'_>) -> Decision {
        if seg.seq == self.rcv_nxt || self.is_behind_held(seg) {
            let end = End::ClosedByReset;
            let change = self.leave(cx, end);
            return Decision { change, event: Some(Event::Ended(end)), ..keep(Verdict::Deliver) };
        }
        if seg.seq.is_within(self.rcv_nxt, self.rcv_wnd(cx)) {
            return self.challenge(cx);
        }
        drop(Reason::ResetOutOfWindow)
    }

    /// Old or alien: an ACK tells an honest peer where we are. A keepalive probe, one number before the
    /// window (RFC 9293 §3.8.4), is answered without limit and shows that the peer lives.
    fn unacceptable(&mut self, seg: &Segment, cx: &Context<'_>) -> Decision {
        let probe = seg.flags.has(Flags::ACK)
            && seg.seq == self.rcv_nxt.sub(1)
            && self.is_believable_ack(seg.ack);
        if !probe || self.is_old_timestamp(seg) {
            return self.challenge(cx);
        }
        self.heard_at = cx.now.tick;
        Decision { change: Change::Update, ..keep(Verdict::Answer(self.ack(cx))) }
    }

    /// SND.UNA - MAX.SND.WND ≤ SEG.ACK ≤ SND.MAX (RFC 5961 §5.2).
    fn is_believable_ack(&self, ack: SeqNum) -> bool {
        let oldest = self.snd_una.sub(self.snd_wnd_max);
        !ack.is_before(oldest) && !ack.is_after(self.snd_max)
    }

    /// Takes in an acceptable segment: its timestamp, acknowledgement, data and FIN; says what is to be
    /// said at once. Further segments that it releases come from [`Tcb::next_segment`].
    pub(super) fn take(&mut self, seg: &Segment, cx: &Context<'_>) -> Decision {
        self.note_timestamp(seg);
        self.note_congestion(seg);
        self.acknowledged(seg, cx);
        if self.traits.has(Traits::AWAITING) {
            return self.hold(seg, cx);
        }
        if self.is_release_acknowledged(cx) {
            return self.released(seg, cx);
        }
        let must_ack = self.receive(seg, cx);
        let verdict = match self.next_segment(cx) {
            Some(reply) => Verdict::Answer(reply),
            None if must_ack => Verdict::Answer(self.ack(cx)),
            None => Verdict::Deliver,
        };
        if !self.traits.has(Traits::TIMED) && self.is_stalled(cx) {
            self.start_timer(cx);
        }
        let both_closed = self.state == State::TimeWait;
        let event = both_closed.then_some(Event::Ended(End::Closed));
        Decision { verdict, change: Change::Update, event, cookie: None }
    }

    /// RFC 7323 §4.3: our ACKs are never delayed, so Last.ACK.sent is RCV.NXT.
    fn note_timestamp(&mut self, seg: &Segment) {
        if let Some(ts) = seg.options.timestamps
            && self.traits.has(Traits::TIMESTAMPS)
            && !seg.seq.is_after(self.rcv_nxt)
        {
            self.ts_recent = ts.val;
        }
    }

    /// RFC 3168 §6.1.3: CE is echoed until the sender says that it has slowed down.
    fn note_congestion(&mut self, seg: &Segment) {
        if self.traits.has(Traits::ECN) && seg.payload_len > 0 {
            if seg.flags.has(Flags::CWR) {
                self.traits.set(Traits::ECHO_CE, false);
            }
            if seg.ce {
                self.traits.set(Traits::ECHO_CE, true);
            }
        }
    }

    /// Takes data and FIN of an acceptable segment, in order; returns whether an ACK is owed. Data out of
    /// order is not kept: it draws an immediate duplicate ACK (RFC 5681 §4.2).
    pub(super) fn receive(&mut self, seg: &Segment, cx: &Context<'_>) -> bool {
        if seg.is_empty() {
            return false;
        }
        if seg.seq.is_after(self.rcv_nxt) || self.state.peer_closed() {
            return true;
        }
        let fin = seg.flags.has(Flags::FIN);
        let data_end = seg.seq.add(u32::from(seg.payload_len));
        let edge = self.rcv_nxt.add(self.rcv_wnd(cx));
        let taken_to = if data_end.is_after(edge) { edge } else { data_end };
        if taken_to.is_after(self.rcv_nxt) {
            self.rcv_nxt = taken_to;
            // The first data asks for the answer; what comes later is acknowledged and ignored.
            self.traits.set(Traits::ANSWERING, true);
        }
        if fin && self.rcv_nxt == data_end {
            self.rcv_nxt = data_end.add(1);
            self.peer_fin(cx);
        }
        true
    }

    /// A segment that meets a spent marker: a new SYN, a newer cookie, or a replay.
    fn decide_spent(&mut self, seg: &Segment, cx: &Context<'_>) -> Decision {
        if seg.flags.has(Flags::ACK) && self.is_handshake_of(seg) {
            return drop(Reason::CookieReplayed);
        }
        super::listen(seg, cx, self)
    }

    /// A cookie that opens a newer connection than this record's, if `seg` proves one.
    pub(super) fn superseded_by(&mut self, seg: &Segment, cx: &Context<'_>) -> Option<Decision> {
        if self.is_handshake_of(seg) { None } else { redeem(seg, cx, self) }
    }
}
