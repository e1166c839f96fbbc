//! Time: round trips, the retransmission timer, and what a silent peer leads to (RFC 6298).

use super::{Context, State, Tcb, Traits};
use crate::verdict::{Change, End, Event};
use crate::wire::{Reply, Segment};

/// The first wait for a third ACK, in ms; each next one is twice as long (RFC 6298 §2.1, §5.5).
pub(super) const SYN_ACK_WAIT: u32 = 1000;
/// Bounds of the retransmission timeout in ms (RFC 6298 §2.4, §2.5).
const RTO_MIN: u32 = 1000;
const RTO_MAX: u32 = 60_000;
/// The timeout that data is begun with after a timeout of the SYN-ACK (RFC 6298 §5.7), in ms.
const RTO_AFTER_LOSS: u32 = 3000;
/// Retransmissions without an answer before a flow is given up: with a timeout of 1 s that is after
/// 127 s, more than the 100 s that R2 asks for (RFC 9293 §3.8.3).
const DATA_RETRIES: u8 = 6;

/// What a timer leads to: a segment, a change, an event.
pub type TimerOutcome = (Option<Reply>, Change, Option<Event>);

impl Tcb {
    /// Takes a round trip of `us` microseconds into the estimate (RFC 6298 §2.2, §2.3).
    pub(super) fn measured(&mut self, us: u32) {
        let us = us.clamp(1, 60_000_000);
        if self.srtt_us == 0 {
            self.srtt_us = us;
            self.rttvar_us = us >> 1;
            return;
        }
        let error = self.srtt_us.abs_diff(us);
        self.rttvar_us =
            self.rttvar_us.saturating_sub(self.rttvar_us >> 2).saturating_add(error >> 2);
        self.srtt_us =
            self.srtt_us.saturating_sub(self.srtt_us >> 3).saturating_add(us >> 3).max(1);
    }

    /// Measures by the echoed timestamp, else by the one segment that is being timed (Karn's rule,
    /// RFC 6298 §3, RFC 7323 §4.1).
    pub(super) fn take_measurement(&mut self, seg: &Segment, cx: &Context<'_>) {
        if let Some(ts) = seg.options.timestamps
            && self.traits.has(Traits::TIMESTAMPS)
        {
            let ms = cx.now.ts_clock.wrapping_add(self.ts_offset).wrapping_sub(ts.ecr);
            if ms < RTO_MAX {
                self.measured(ms.saturating_mul(1000));
            }
        } else if self.traits.has(Traits::MEASURING) && !seg.ack.is_before(self.rtt_seq) {
            self.traits.set(Traits::MEASURING, false);
            self.measured((cx.now.us as u32).wrapping_sub(self.rtt_at_us));
        }
    }

    /// The handshake had no round trip to measure, as the SYN-ACK or the SYN was sent again; our timer did
    /// so `retries` times. Data begins with care: after a timeout with a longer one (RFC 6298 §5.7), after
    /// two with a single segment (RFC 5681 §3.1, RFC 6928 §2).
    pub(super) fn syn_ack_was_repeated(&mut self, retries: u8) {
        if retries > 0 {
            self.rttvar_us = RTO_AFTER_LOSS.saturating_mul(1000) >> 2;
        }
        if retries > 1 {
            self.cwnd = u32::from(self.mss);
        }
    }

    /// The retransmission timeout in ms with its back-off (RFC 6298 §2.3, §5.5).
    fn rto(&self) -> u32 {
        let base = self.srtt_us.saturating_add(self.rttvar_us.saturating_mul(4).max(1000)) / 1000;
        let backed_off =
            base.max(RTO_MIN).checked_shl(u32::from(self.retries.min(16))).unwrap_or(RTO_MAX);
        backed_off.min(RTO_MAX)
    }

    /// Starts the timer anew (RFC 6298 §5.1, §5.3).
    pub(super) fn start_timer(&mut self, cx: &Context<'_>) {
        self.traits.set(Traits::TIMED, true);
        self.rtx_at = cx.now.tick.after(self.rto());
    }

    /// What the passing of time leads to, called at [`Tcb::deadline`] or earlier; the flow becomes what it is
    /// afterwards. After an update ask [`Tcb::next_segment`] for what is to be sent again.
    #[must_use]
    pub fn on_timer(&mut self, cx: &Context<'_>) -> TimerOutcome {
        if !self.deadline(cx.policy).is_due(cx.now.tick) {
            return (None, Change::Keep, None);
        }
        match self.state {
            State::Closed | State::SynSent => (None, Change::End(End::SpentExpired), None),
            State::TimeWait => (None, self.leave(cx, End::Closed), None),
            State::SynRcvd => self.third_ack_is_late(cx),
            State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck => self.peer_is_silent(cx),
        }
    }

    /// Sends the SYN-ACK again with back-off, or gives the half-open flow up.
    fn third_ack_is_late(&mut self, cx: &Context<'_>) -> TimerOutcome {
        if self.retries >= cx.policy.syn_ack_retries {
            let end = End::HandshakeTimeout;
            return (None, Change::End(end), Some(Event::HandshakeFailed(end)));
        }
        self.retries = self.retries.saturating_add(1);
        self.traits.set(Traits::RESENT, true);
        let wait = SYN_ACK_WAIT.checked_shl(u32::from(self.retries)).unwrap_or(u32::MAX >> 2);
        self.rtx_at = cx.now.tick.after(wait);
        (Some(self.syn_ack(cx)), Change::Update, None)
    }

    /// A synchronised flow's deadline: retransmission, window probe, or the end of patience.
    fn peer_is_silent(&mut self, cx: &Context<'_>) -> TimerOutcome {
        if !(self.traits.has(Traits::TIMED) && self.rtx_at.is_due(cx.now.tick)) {
            let end = if self.state == State::FinWait2 {
                End::HalfClosedTimeout
            } else {
                End::IdleTimeout
            };
            return self.give_up(end, cx);
        }
        if self.retries >= DATA_RETRIES && self.snd_wnd > 0 {
            return self.give_up(End::RetransmissionTimeout, cx);
        }
        self.retries = self.retries.saturating_add(1);
        if self.is_stalled(cx) {
            let probe = self.window_probe(cx);
            self.start_timer(cx);
            return (Some(probe), Change::Update, None);
        }
        self.go_back(cx);
        (None, Change::Update, None)
    }

    /// RFC 5681 §3.1, RFC 6298 §5.4: one segment, then slow start from the hole.
    fn go_back(&mut self, cx: &Context<'_>) {
        self.halve(); // of one flight, however often it is sent again
        self.cwnd = u32::from(self.mss);
        self.snd_nxt = self.snd_una;
        self.dup_acks = 0;
        self.traits.set(Traits::RECOVERING, false);
        self.traits.set(Traits::RESEND, false);
        self.traits.set(Traits::RESENT, true);
        self.start_timer(cx);
    }

    fn give_up(&mut self, end: End, cx: &Context<'_>) -> TimerOutcome {
        (self.abort(cx), self.leave(cx, end), Some(Event::Ended(end)))
    }
}
