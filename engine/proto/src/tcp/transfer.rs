//! Our sender: what an acknowledgement does, and what may be sent next (RFC 9293 §3.8, RFC 5681,
//! RFC 6582, RFC 6928).
//!
//! The stream is the service's answer followed by our FIN: it never changes, so nothing is buffered, and a
//! retransmission reads the same bytes again. Or it is what a consumer has written so far, which others
//! keep until it is acknowledged; it grows at its end only.

use super::{Context, Kind, Source, State, Tcb, Traits};
use crate::wire::{Flags, Reply, Segment, SeqNum};

/// IW10 (RFC 6928 §2): min(10 MSS, max(2 MSS, 14600)).
pub(super) fn initial_window(mss: u16) -> u32 {
    let mss = u32::from(mss);
    mss.saturating_mul(10).min(mss.saturating_mul(2).max(14_600))
}

impl Tcb {
    fn mss_bytes(&self) -> u32 {
        u32::from(self.mss)
    }

    /// Octets sent and not acknowledged.
    fn in_flight(&self) -> u32 {
        self.snd_max.since(self.snd_una)
    }

    /// Whether something may be sent at all: the peer asked, or has closed. A consumer may always write.
    fn has_turn(&self, cx: &Context<'_>) -> bool {
        match self.state {
            State::Established => {
                self.traits.has(Traits::ANSWERING) || matches!(cx.kind, Kind::Owned(_))
            }
            State::CloseWait | State::FinWait1 | State::Closing | State::LastAck => true,
            State::Closed | State::SynSent | State::SynRcvd | State::FinWait2 | State::TimeWait => {
                false
            }
        }
    }

    /// Takes in the acknowledgement and window of an acceptable segment.
    pub(super) fn acknowledged(&mut self, seg: &Segment, cx: &Context<'_>) {
        let was_stalled = self.is_stalled(cx);
        let before = self.snd_una;
        let window_moved = self.update_window(seg);
        if seg.ack.is_after(before) {
            self.advance(seg, cx);
            self.heard_at = cx.now.tick;
            return;
        }
        // A window that stays shut does not count as life: a peer cannot hold a flow so for longer than
        // the idle time (RFC 6429 §3).
        if self.snd_wnd > 0 || seg.payload_len > 0 {
            self.heard_at = cx.now.tick;
        }
        let is_duplicate =
            seg.ack == before && seg.is_empty() && !window_moved && self.snd_nxt != self.snd_una;
        if is_duplicate {
            self.duplicate();
        }
        if was_stalled && !self.is_stalled(cx) {
            self.reopen();
        }
    }

    /// RFC 9293 §3.10.7.4: the newest segment's window counts. A segment that acknowledges more is newer
    /// than what is known, also when it sends old data again: to move SND.UNA without its window would
    /// move the right edge beyond what the peer allows. One that acknowledges less is older, whatever
    /// its number. Of the others the number decides; that SND.WL2 ≤ SEG.ACK goes without saying. Returns
    /// whether the window changed.
    fn update_window(&mut self, seg: &Segment) -> bool {
        let newer = seg.ack.is_after(self.snd_una)
            || (seg.ack == self.snd_una && !seg.seq.is_before(self.snd_wl1));
        if !newer {
            return false;
        }
        let wnd = u32::from(seg.window) << self.snd_shift;
        let moved = wnd != self.snd_wnd;
        self.snd_wnd = wnd;
        self.snd_wnd_max = self.snd_wnd_max.max(wnd);
        self.snd_wl1 = seg.seq;
        moved
    }

    /// New data is acknowledged.
    fn advance(&mut self, seg: &Segment, cx: &Context<'_>) {
        let acked = seg.ack.since(self.snd_una);
        self.take_measurement(seg, cx);
        self.snd_una = seg.ack;
        self.snd_nxt = self.snd_nxt.max(seg.ack);
        self.retries = 0;
        self.dup_acks = 0;
        if self.traits.has(Traits::RECOVERING) {
            self.recovering(acked);
        } else {
            self.grow(acked);
        }
        if self.snd_una == self.snd_max {
            self.traits.set(Traits::TIMED, false);
        } else {
            self.start_timer(cx);
        }
    }

    /// Slow start and congestion avoidance (RFC 5681 §3.1).
    fn grow(&mut self, acked: u32) {
        let mss = self.mss_bytes();
        let by = if self.cwnd < self.ssthresh {
            acked.min(mss)
        } else {
            mss.saturating_mul(mss).checked_div(self.cwnd).unwrap_or(mss).max(1)
        };
        self.cwnd = self.cwnd.saturating_add(by);
    }

    /// An acknowledgement in fast recovery, partial or full (RFC 6582 §3.2).
    fn recovering(&mut self, acked: u32) {
        if self.snd_una.is_before(self.recover) {
            self.traits.set(Traits::RESEND, true);
            self.cwnd = self.cwnd.saturating_sub(acked).saturating_add(self.mss_bytes());
        } else {
            self.traits.set(Traits::RECOVERING, false);
            self.cwnd = self.ssthresh;
        }
    }

    /// Three duplicates in a row mean a hole (RFC 5681 §3.2).
    fn duplicate(&mut self) {
        self.dup_acks = self.dup_acks.saturating_add(1);
        if self.traits.has(Traits::RECOVERING) {
            self.cwnd = self.cwnd.saturating_add(self.mss_bytes());
        } else if self.dup_acks == 3 && self.snd_una.is_after(self.recover) {
            self.halve();
            self.cwnd = self.ssthresh.saturating_add(self.mss_bytes().saturating_mul(3));
            self.traits.set(Traits::RECOVERING, true);
            self.traits.set(Traits::RESEND, true);
        }
    }

    /// ssthresh = max(FlightSize / 2, 2 MSS) (RFC 5681 §3.1, equation 4).
    pub(super) fn halve(&mut self) {
        self.ssthresh = (self.in_flight() >> 1).max(self.mss_bytes().saturating_mul(2));
        self.recover = self.snd_max;
        self.traits.set(Traits::MEASURING, false);
    }

    /// The window opened again: what was only a probe is sent anew, with a timer of its own.
    fn reopen(&mut self) {
        self.retries = 0;
        self.traits.set(Traits::TIMED, false);
    }

    /// Whether [`Tcb::next_segment`] has one: to be asked first where there may be no buffer for it.
    #[must_use]
    #[inline]
    pub fn has_segment(&self, cx: &Context<'_>) -> bool {
        self.has_turn(cx) && (self.traits.has(Traits::RESEND) || self.next_piece(cx).is_some())
    }

    /// The next segment that may be sent now, which the flow then has sent; `None` when there is none. Call
    /// it until then, within a budget: one acknowledgement may release several.
    #[must_use]
    pub fn next_segment(&mut self, cx: &Context<'_>) -> Option<Reply> {
        if !self.has_turn(cx) {
            return None;
        }
        if self.traits.has(Traits::RESEND) {
            self.traits.set(Traits::RESEND, false);
            let reply = self.hole(cx);
            self.traits.set(Traits::RESENT, true);
            self.start_timer(cx);
            return Some(reply);
        }
        let (len, fin_due) = self.next_piece(cx)?;
        let reply = self.stream_segment(self.snd_nxt, len, fin_due, cx);
        self.sent(len, fin_due, cx);
        Some(reply)
    }

    /// What was sent at `snd_una`, and nothing that was not.
    fn hole(&self, cx: &Context<'_>) -> Reply {
        let len = self.unsent_from(self.snd_una, cx).min(self.mss_bytes()).min(self.in_flight());
        let fin = self.snd_una.add(len) == self.stream_end(cx) && self.in_flight() > len;
        self.stream_segment(self.snd_una, len, fin, cx)
    }

    /// How much of the stream may go from `snd_nxt` on, and whether our FIN goes with it.
    #[inline]
    fn next_piece(&self, cx: &Context<'_>) -> Option<(u32, bool)> {
        let len = self.sendable(cx);
        let at_end = self.snd_nxt.add(len) == self.stream_end(cx);
        let fin_due = at_end && !matches!(cx.kind, Kind::Owned(Source { closed: false, .. }));
        (len > 0 || fin_due).then_some((len, fin_due))
    }

    /// Octets of the stream from `from` on.
    fn unsent_from(&self, from: SeqNum, cx: &Context<'_>) -> u32 {
        let end = self.stream_end(cx);
        if from.is_before(end) { end.since(from) } else { 0 }
    }

    /// How much of the stream may go now: within both windows, and no silly small pieces but the last
    /// (RFC 9293 §3.8.6.2.1). What a consumer writes is pushed: nothing waits for more.
    fn sendable(&self, cx: &Context<'_>) -> u32 {
        let left = self.unsent_from(self.snd_nxt, cx);
        let window = self.snd_wnd.min(self.cwnd);
        let room = window.saturating_sub(self.snd_nxt.since(self.snd_una));
        let wanted = left.min(self.mss_bytes());
        let len = wanted.min(room);
        let worth = len == wanted || len >= self.snd_wnd_max >> 1;
        if worth { len } else { 0 }
    }

    /// Whether only a probe can tell that there is room again: data is left, none may go and none is in
    /// flight (RFC 9293 §3.8.6.1).
    pub(super) fn is_stalled(&self, cx: &Context<'_>) -> bool {
        self.has_turn(cx)
            && self.snd_una == self.snd_nxt
            && self.unsent_from(self.snd_nxt, cx) > 0
            && self.sendable(cx) == 0
    }

    /// The probe of a stalled window: what fits it, at least one octet beyond (RFC 9293 §3.8.6.1,
    /// §3.8.6.2.1). Our FIN waits for a window.
    pub(super) fn window_probe(&mut self, cx: &Context<'_>) -> Reply {
        let fits = self.snd_wnd.min(self.mss_bytes()).max(1);
        let len = fits.min(self.unsent_from(self.snd_una, cx));
        let reply = self.stream_segment(self.snd_una, len, false, cx);
        self.snd_max = self.snd_max.max(self.snd_una.add(len));
        reply
    }

    /// `len` octets of the stream from `seq`, and our FIN; the last octets are pushed
    /// (RFC 9293 §3.9.1.2).
    fn stream_segment(&self, seq: SeqNum, len: u32, fin: bool, cx: &Context<'_>) -> Reply {
        let mut reply = self.ack(cx);
        if fin {
            reply.flags = reply.flags | Flags::FIN;
        }
        if len > 0 && seq.add(len) == self.stream_end(cx) {
            reply.flags = reply.flags | Flags::PSH;
        }
        reply.seq = seq;
        reply.payload_offset = seq.since(self.iss.add(1));
        reply.payload_len = len as u16;
        reply
    }

    /// Remembers what was sent.
    fn sent(&mut self, len: u32, fin: bool, cx: &Context<'_>) {
        let end = self.snd_nxt.add(len).add(u32::from(fin));
        let is_new = end.is_after(self.snd_max);
        if is_new && !self.traits.has(Traits::MEASURING) {
            self.traits.set(Traits::MEASURING, true);
            self.rtt_seq = end;
            self.rtt_at_us = cx.now.us as u32;
        }
        self.snd_nxt = end;
        self.snd_max = self.snd_max.max(end);
        if fin && !self.state.we_closed() {
            self.state = if self.state.peer_closed() { State::LastAck } else { State::FinWait1 };
        }
        if !self.traits.has(Traits::TIMED) {
            self.start_timer(cx);
        }
    }
}
