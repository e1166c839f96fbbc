//! What the passing of time leads to: SYNs and PROXY headers again, the next backend, the end of patience.

use super::connect::FIRST_WAIT;
use super::state::{Marks, Phase, Splice};
use super::{SpliceContext, Then, TryEnd};
use crate::tcp::Policy;
use crate::time::Tick;
use crate::verdict::{End, Event};
use crate::wire::Reply;

/// How long a flow that a RST ended answers those who did not believe it, in ms: two repetitions of a
/// segment whose sender waits 3 s at first. Longer keeps records for nothing, shorter leaves an end that
/// lost the RST to its own timeouts.
const RESET_LINGERS: u32 = 10_000;
/// How often a PROXY header is sent again: as long as data of our own would be (RFC 9293 §3.8.3).
const HEADER_RETRIES: u8 = 6;

/// What a timer leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerStep {
    /// What the client is told.
    pub to_client: Option<Reply>,
    /// What the backend is told: a SYN, a PROXY header or a RST.
    pub to_backend: Option<Reply>,
    /// What becomes of the flow; `Abort` is never among it, as both ends are told here.
    pub then: Then,
    /// What happened, if anybody should know.
    pub event: Option<Event>,
}

impl TimerStep {
    const NOTHING: Self = Self { to_client: None, to_backend: None, then: Then::Stay, event: None };

    const fn to_backend(reply: Reply) -> Self {
        Self { to_backend: Some(reply), ..Self::NOTHING }
    }
}

impl Splice {
    /// The next point in time at which [`Splice::on_timer`] must be called; calling it earlier is harmless.
    #[must_use]
    pub fn deadline(&self, cx: &SpliceContext<'_>) -> Tick {
        match self.phase {
            Phase::Opening => self.resend_at.min(self.try_until(cx)),
            Phase::TimeWait => self.heard_at.after(cx.policy.time_wait),
            Phase::Reset => self.heard_at.after(RESET_LINGERS),
            Phase::Open if self.marks.has(Marks::HEADER_OUT) => {
                self.resend_at.min(self.silent_until(cx.policy))
            }
            Phase::Open => self.silent_until(cx.policy),
        }
    }

    /// Each try has its share of the time; what earlier ones left is for the last.
    fn try_until(&self, cx: &SpliceContext<'_>) -> Tick {
        let share = cx.policy.connect.checked_div(u32::from(cx.tries)).unwrap_or(0).max(1);
        let shared = self.heard_at.after(share);
        let all = self.opened_at.after(cx.policy.connect);
        if self.tries >= cx.tries && !all.is_due(shared) { all } else { shared }
    }

    /// Half-closed or not: whoever has not closed may have more to say, and the ends know better than we for
    /// how long they wait.
    fn silent_until(&self, policy: &Policy) -> Tick {
        self.heard_at.after(policy.idle)
    }

    /// What the passing of time leads to, called at [`Splice::deadline`] or earlier.
    #[must_use]
    pub fn on_timer(&mut self, cx: &SpliceContext<'_>) -> TimerStep {
        if !self.deadline(cx).is_due(cx.now.tick) {
            return TimerStep::NOTHING;
        }
        match self.phase {
            Phase::Opening => self.backend_is_silent(cx),
            Phase::TimeWait | Phase::Reset => {
                TimerStep { then: Then::End(End::Closed), ..TimerStep::NOTHING }
            }
            Phase::Open if self.header_is_due(cx) => self.header_is_late(cx),
            Phase::Open => self.give_up(End::IdleTimeout, cx),
        }
    }

    fn backend_is_silent(&mut self, cx: &SpliceContext<'_>) -> TimerStep {
        if !self.try_until(cx).is_due(cx.now.tick) {
            self.back_off(cx);
            // RFC 3168 §6.1.1.1: something on the way may not let such a SYN through.
            self.marks.set(Marks::ECN_WITHDRAWN, true);
            return TimerStep::to_backend(self.syn());
        }
        match self.try_ended(TryEnd::TimedOut, cx) {
            Then::Abort(end) => self.give_up(end, cx),
            then @ (Then::Stay
            | Then::Moved
            | Then::Opened
            | Then::NextTry(_)
            | Then::SynAgain
            | Then::End(_)) => {
                // The SYN may have arrived: its answer would find nobody.
                let (_, to_backend) = self.abort(cx);
                TimerStep { to_backend, then, ..TimerStep::NOTHING }
            }
        }
    }

    fn header_is_due(&self, cx: &SpliceContext<'_>) -> bool {
        self.marks.has(Marks::HEADER_OUT) && self.resend_at.is_due(cx.now.tick)
    }

    fn header_is_late(&mut self, cx: &SpliceContext<'_>) -> TimerStep {
        if self.resent >= HEADER_RETRIES {
            return self.give_up(End::RetransmissionTimeout, cx);
        }
        self.back_off(cx);
        self.doubts = 0;
        TimerStep::to_backend(self.header())
    }

    fn back_off(&mut self, cx: &SpliceContext<'_>) {
        self.resent = self.resent.saturating_add(1);
        let wait = FIRST_WAIT.checked_shl(u32::from(self.resent)).unwrap_or(u32::MAX >> 2);
        self.resend_at = cx.now.tick.after(wait);
    }

    fn give_up(&self, end: End, cx: &SpliceContext<'_>) -> TimerStep {
        let (to_client, to_backend) = self.abort(cx);
        let event = Some(Event::Ended(end));
        TimerStep { to_client, to_backend, then: Then::End(end), event }
    }
}
