//! The end of a flow: FINs that pass either way, RSTs, TIME_WAIT, and what remains (RFC 9293 §3.6,
//! RFC 5961 §3.2, RFC 1337, RFC 6191).

use super::pass::Numbers;
use super::state::{Marks, Phase, Splice};
use super::{Half, Passage, SpliceContext, Step, Then};
use crate::cause::Reason;
use crate::cookie::COOKIE_LIFE_MS;
use crate::tcp::{Context, State, Tcb, Traits, reset_for};
use crate::time::Tick;
use crate::verdict::{Change, Decision, End, Event, Verdict};
use crate::wire::{Flags, Reply, Segment};

/// How far behind the last number a segment of a connection in TIME_WAIT may be. What is further off may
/// prove the cookie of a new connection: its ISN is that far ahead (RFC 6528) with overwhelming probability.
const STILL_OLD: u32 = 1 << 20;

impl Splice {
    /// What a segment that passed has done to the flow; `before` was its state, and whether its PROXY header
    /// was out.
    pub(super) fn followed(
        &mut self,
        before: (State, bool),
        passage: Passage,
        cx: &SpliceContext<'_>,
    ) -> Step {
        let closed = self.marks.has(Marks::UP_FIN)
            && self.marks.has(Marks::DOWN_FIN)
            && self.up.una == self.up.nxt
            && self.down.una == self.down.nxt;
        if closed && self.phase == Phase::Open {
            self.phase = Phase::TimeWait;
            self.heard_at = cx.now.tick;
            return Step { passage, then: Then::Moved, event: Some(Event::Ended(End::Closed)) };
        }
        let moved = (self.state(), self.marks.has(Marks::HEADER_OUT)) != before;
        Step { passage, then: if moved { Then::Moved } else { Then::Stay }, event: None }
    }

    /// A RST passes only at what the other end acknowledged last, or behind the highest number that was
    /// sent; in the window otherwise its sender must prove itself (RFC 5961 §3.2).
    pub(super) fn reset(
        &mut self,
        half: Half,
        seg: &Segment,
        numbers: Numbers,
        cx: &SpliceContext<'_>,
    ) -> Step {
        let (una, own) = match half {
            Half::Client => (self.acknowledged_to_client(), self.up),
            Half::Backend => (self.down.una, self.down),
        };
        if numbers.seq != una && numbers.seq != own.nxt {
            let inside = numbers.seq.is_within(una, own.edge.since(una));
            return if inside {
                self.challenge(half, cx)
            } else {
                Step::drop(Reason::ResetOutOfWindow)
            };
        }
        let (up, down) = (self.up, self.down);
        let rewrite = self.rewrite(half, seg, numbers, cx);
        // What a RST acknowledges or announces follows nothing.
        (self.up, self.down) = (up, down);
        self.phase = Phase::Reset;
        Step {
            passage: Passage::Forward(rewrite),
            then: Then::Moved,
            event: Some(Event::Ended(End::ClosedByReset)),
        }
    }

    /// After a RST: whoever still believes in the connection gets one at the number it names
    /// (RFC 9293 §3.10.7.1); the client may also begin a new one.
    pub(super) fn pass_reset(half: Half, seg: &Segment) -> Step {
        match half {
            _ if seg.flags.has(Flags::RST) => Step::drop(Reason::ResetUnwanted),
            Half::Client => Step::stay(Passage::Reopen),
            Half::Backend => Step::stay(Passage::Answer(reset_for(seg))),
        }
    }

    /// In TIME_WAIT the end that closed first answers for itself: what is old passes.
    pub(super) fn pass_time_wait(
        &mut self,
        half: Half,
        seg: &Segment,
        cx: &SpliceContext<'_>,
    ) -> Step {
        if seg.flags.has(Flags::RST) {
            return Step::drop(Reason::ResetInTimeWait); // RFC 1337
        }
        let numbers = self.numbers(half, seg);
        let (own, other) = match half {
            Half::Client => (self.up, self.down),
            Half::Backend => (self.down, self.up),
        };
        let is_old = own.nxt.since(numbers.seq) <= STILL_OLD
            && other.nxt.since(numbers.ack) <= STILL_OLD
            && seg.flags.only(Flags::SYN | Flags::ACK) == Flags::ACK;
        match half {
            _ if is_old => {
                let began = self.heard_at;
                let rewrite = self.rewrite(half, seg, numbers, cx);
                self.heard_at = if seg.flags.has(Flags::FIN) { cx.now.tick } else { began };
                Step::stay(self.sized(half, seg, rewrite))
            }
            Half::Client => Step::stay(Passage::Reopen),
            Half::Backend => self.challenge(half, cx),
        }
    }

    /// What a segment of the client begins where this flow is over ([`Passage::Reopen`]): a new connection
    /// by SYN (RFC 6191) or by cookie, which then stands in `flow`, or none. The decision's change is `Keep`
    /// or `Open`.
    #[must_use]
    pub fn reopen(
        &self,
        seg: &Segment,
        cx: &Context<'_>,
        scx: &SpliceContext<'_>,
        flow: &mut Tcb,
    ) -> Decision {
        *flow = self.as_tcb(cx, scx);
        let decision = flow.decide(seg, cx);
        let change = match decision.change {
            Change::Open => Change::Open,
            Change::Keep | Change::Update | Change::End(_) => Change::Keep,
        };
        // After a RST: the client did not hear of it, or cannot believe it.
        let is_stray =
            matches!(decision.verdict, Verdict::Drop(Reason::InvalidAck | Reason::CookieReplayed));
        let verdict = if is_stray && self.phase == Phase::Reset {
            Verdict::Answer(reset_for(seg))
        } else {
            decision.verdict
        };
        Decision { verdict, change, ..decision }
    }

    /// The flow as if we were the client's server, for what comes after it.
    fn as_tcb(&self, cx: &Context<'_>, scx: &SpliceContext<'_>) -> Tcb {
        let mut traits = Traits::default();
        traits.set(Traits::TIMESTAMPS, self.marks.has(Marks::CLIENT_STAMPS));
        traits.set(Traits::BY_COOKIE, self.marks.has(Marks::BY_COOKIE));
        let ts_val = self.stamps_to_client(scx).map_or(0, |ts| ts.val);
        Tcb {
            state: self.state(),
            traits,
            iss: self.iss,
            irs: self.irs,
            snd_una: self.down.nxt,
            snd_nxt: self.down.nxt,
            snd_max: self.down.nxt,
            rcv_nxt: self.up.nxt,
            rcv_shift: self.to_client_shift,
            snd_shift: self.client_shift,
            ts_recent: self.ts_client,
            ts_offset: ts_val.wrapping_sub(cx.now.ts_clock),
            opened_at: self.opened_at,
            heard_at: self.heard_at,
            ..Tcb::default()
        }
    }

    /// What remains in the record of a flow that is over: a spent marker, for as long as the cookie that
    /// opened it is valid.
    #[must_use]
    pub fn spent(&self, now: Tick) -> Option<Tcb> {
        let cookie_lives = !self.opened_at.after(COOKIE_LIFE_MS).is_due(now);
        let mut traits = Traits::default();
        traits.set(Traits::BY_COOKIE, true);
        (self.marks.has(Marks::BY_COOKIE) && cookie_lives).then(|| Tcb {
            state: State::Closed,
            traits,
            iss: self.iss,
            irs: self.irs,
            opened_at: self.opened_at,
            heard_at: self.heard_at,
            ..Tcb::default()
        })
    }

    /// The RSTs that end this flow from our side: to the client and to the backend, where there is somebody
    /// to tell. A backend that has not answered is told at the only number that it can know.
    #[must_use]
    pub fn abort(&self, cx: &SpliceContext<'_>) -> (Option<Reply>, Option<Reply>) {
        let reset =
            |half| Reply { flags: Flags::RST | Flags::ACK, window: 0, ..self.ack(half, cx) };
        match self.phase {
            Phase::TimeWait | Phase::Reset => (None, None),
            Phase::Open => (Some(reset(Half::Client)), Some(reset(Half::Backend))),
            Phase::Opening => {
                let seq = self.backend_iss().add(1);
                let backend = Reply { seq, flags: Flags::RST, ..Reply::default() };
                (Some(reset(Half::Client)), Some(backend))
            }
        }
    }
}
