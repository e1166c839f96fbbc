//! The four-way release: FIN, ACK, FIN, ACK, by either side first or both at once; TIME_WAIT; what
//! remains of a flow that a cookie opened (RFC 9293 §3.6, §3.10.7.4; RFC 1337; RFC 6191).

use super::listen::syn;
use super::reset::{drop, keep};
use super::retransmit::TimerOutcome;
use super::{Admission, Context, State, Tcb, Traits};
use crate::cookie::COOKIE_LIFE_MS;
use crate::verdict::{Change, Decision, End, Event, Reason, Verdict};
use crate::wire::{Flags, Segment};

/// How far a new incarnation's ISN stays ahead of the old one's last number.
const ISN_GAP: u32 = 64_000;

impl Tcb {
    /// The peer's FIN, in order.
    pub(super) fn peer_fin(&mut self, cx: &Context<'_>) {
        self.heard_at = cx.now.tick;
        self.state = match self.state {
            State::Established => State::CloseWait,
            State::FinWait1 => State::Closing, // our FIN is not acknowledged, or we were in FIN_WAIT_2
            State::FinWait2 => State::TimeWait,
            other @ (State::Closed
            | State::SynSent
            | State::SynRcvd
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait) => other,
        };
    }

    /// Whether our FIN has been acknowledged in a state that waits for it.
    pub(super) fn is_release_acknowledged(&self, cx: &Context<'_>) -> bool {
        let waits = matches!(self.state, State::FinWait1 | State::Closing | State::LastAck);
        waits && self.snd_una == self.stream_end(cx).add(1)
    }

    /// Our FIN is acknowledged: the state after it, and what the rest of the segment does there.
    pub(super) fn released(&mut self, seg: &Segment, cx: &Context<'_>) -> Decision {
        self.traits.set(Traits::TIMED, false);
        match self.state {
            State::LastAck => {
                let change = self.leave(cx, End::Closed);
                return Decision {
                    change,
                    event: Some(Event::Ended(End::Closed)),
                    ..keep(Verdict::Deliver)
                };
            }
            State::Closing => self.state = State::TimeWait,
            State::Closed
            | State::SynSent
            | State::SynRcvd
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::TimeWait => self.state = State::FinWait2,
        }
        let must_ack = self.receive(seg, cx);
        let event = (self.state == State::TimeWait).then_some(Event::Ended(End::Closed));
        let verdict = if must_ack { Verdict::Answer(self.ack(cx)) } else { Verdict::Deliver };
        Decision { verdict, change: Change::Update, event, cookie: None }
    }

    /// The flow is over. What a cookie opened stays as a spent marker until the cookie has expired: then the
    /// change is [`Change::Update`], else [`Change::End`].
    pub fn leave(&mut self, cx: &Context<'_>, end: End) -> Change {
        let cookie_lives = !self.opened_at.after(COOKIE_LIFE_MS).is_due(cx.now.tick);
        if self.traits.has(Traits::BY_COOKIE) && cookie_lives {
            self.state = State::Closed;
            return Change::Update;
        }
        Change::End(end)
    }

    /// Segments in TIME_WAIT: an old FIN is acknowledged again, a RST is ignored (RFC 1337), a new SYN
    /// may take over (RFC 6191), and an ACK that does not fit may prove a newer cookie.
    pub(super) fn decide_time_wait(&mut self, seg: &Segment, cx: &Context<'_>) -> Decision {
        if seg.flags.has(Flags::RST) {
            return drop(Reason::ResetInTimeWait);
        }
        if seg.flags.has(Flags::SYN) {
            return self.syn_in_time_wait(seg, cx);
        }
        if !seg.flags.has(Flags::ACK) {
            return drop(Reason::BadFlags);
        }
        let fits =
            self.is_acceptable(seg, cx) && !self.is_old_timestamp(seg) && seg.ack == self.snd_max;
        if !fits && let Some(newer) = self.superseded_by(seg, cx) {
            return newer;
        }
        if seg.flags.has(Flags::FIN) && seg.end() == self.rcv_nxt && !self.is_old_timestamp(seg) {
            self.heard_at = cx.now.tick;
            return Decision { change: Change::Update, ..keep(Verdict::Answer(self.ack(cx))) };
        }
        if fits && seg.is_empty() { keep(Verdict::Deliver) } else { self.challenge(cx) }
    }

    fn syn_in_time_wait(&mut self, seg: &Segment, cx: &Context<'_>) -> Decision {
        let is_bare = seg.flags.only(Flags::SYN | Flags::ACK | Flags::FIN) == Flags::SYN;
        if !is_bare || !self.yields_to(seg) {
            return self.challenge(cx);
        }
        if cx.admission != Admission::Stateful {
            return syn(seg, cx, self); // by cookie: changes nothing here
        }
        let (isn, ts_offset) = cx.isn.isn(&seg.tuple, &cx.now);
        let floor = self.snd_max.add(ISN_GAP);
        self.open(seg, cx, isn.max(floor), ts_offset)
    }

    /// RFC 6191 §2: whether a SYN is surely newer than this connection.
    fn yields_to(&self, seg: &Segment) -> bool {
        let higher = seg.seq.is_after(self.rcv_nxt);
        match (self.traits.has(Traits::TIMESTAMPS), seg.options.timestamps) {
            (true, Some(ts)) => {
                let age = ts.val.wrapping_sub(self.ts_recent) as i32;
                age > 0 || (age == 0 && higher)
            }
            (false, Some(_)) => true,
            (_, None) => higher,
        }
    }

    /// The drain deadline: this flow ends now.
    #[must_use]
    pub fn drained(&self, cx: &Context<'_>) -> TimerOutcome {
        let event = match self.state {
            State::SynRcvd => Event::HandshakeFailed(End::Drained),
            State::Closed
            | State::SynSent
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait => Event::Ended(End::Drained),
        };
        (self.abort(cx), Change::End(End::Drained), Some(event))
    }
}
