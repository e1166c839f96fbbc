//! Proxied flows: backends are chosen, connected to, and joined to their clients.
//!
//! What both halves say is decided by `usher_proto::splice`. Here is what it cannot know: which backend,
//! by which path, from which port of ours; where frames go; what is held until the backend half is open.

#![forbid(unsafe_code)]

#[cfg(test)]
pub(super) mod tests;

use std::ops::Range;

use usher_proto::splice::{Half, Passage, Splice, SpliceContext, Step, Then, TimerStep, TryEnd};
use usher_proto::tcp::{Refusal, State, Tcb};
use usher_proto::time::Now;
use usher_proto::verdict::{Change, End, Event, Reason, Verdict};
use usher_proto::wire::Segment;

use super::commit::source_of;
use super::front::Front;
use super::handing::is_handed;
use super::held::Held;
use super::news::Due;
use super::offers::Offers;
use super::turn::Turn;
use super::view::View;
use super::ways::Ways;
use crate::flow::{Body, Index};
use crate::health::Checks;
use crate::port::{Frame, QueuePair};
use crate::service::{Backend, Backends, HOLD, Position};
use crate::stats::{BackendCounter, BackendState, Counter, Tally, WorkerBackend};

/// Flows whose frames may be held at a time, and frames in all: connecting takes a round trip, so that
/// this is enough for a million connections a second to backends within a millisecond. More would let a
/// dead backend pin the pool. Of a small pool it is a quarter.
const HELD_FLOWS: u16 = 1024;
const HELD_FRAMES: u32 = 4096;

/// Backends whose counts a slot of housekeeping publishes: fewer make those of many backends old (a thousand take
/// 16 ms), more take the time of frames.
const REPORTED: usize = 64;

/// What a worker has for proxied flows, beside their records.
#[derive(Debug)]
pub(super) struct Proxies<F> {
    pub(super) held: Held<F>,
    pub(super) ways: Ways,
    pub(super) offers: Offers,
    pub(super) backends: Backends,
    pub(super) checks: Checks,
    /// Backends that other workers are to be told of.
    pub(super) due: Due,
    /// Counts checks without translation.
    pub(super) direct_check: u16,
    /// Where the next report begins.
    reported: usize,
}

impl<F> Proxies<F> {
    /// Nothing held; all these ways free; ports have so many `buffers` each.
    pub(super) fn new(
        buffers: u32,
        position: Position,
        ways: Ways,
        offers: Offers,
        checks: Checks,
    ) -> Self {
        let frames = HELD_FRAMES.min(buffers / 4);
        Self {
            held: Held::new(HELD_FLOWS, frames as usize),
            ways,
            offers,
            backends: Backends::default(),
            checks,
            due: Due::new(position),
            direct_check: 0,
            reported: 0,
        }
    }

    /// Goes on with the backends of a new view: those that were there before keep their state. Checks that
    /// are under way are given up; a backend that still answers one gets a RST.
    pub(super) fn follow(&mut self, view: &View, now: &Now, dice: u64) {
        self.backends.renew(view.targets.slots());
        self.due.note_own(view.targets.slots().iter().map(|(slot, _)| slot));
        let ways = &mut self.ways;
        self.checks.renew(&view.subjects, dice, now, |ended| {
            if let Some(target) = view.targets.get(ended.slot) {
                ways.give_back(target.paths.start, ended.tuple.local_port);
            }
        });
    }

    /// Writes down what is known of the next backends, all in turn; their slots.
    pub(super) fn report_some(&mut self, tally: &mut Tally) -> Range<usize> {
        let from = if self.reported < tally.backends() { self.reported } else { 0 };
        let slots = from..tally.backends().min(from + REPORTED);
        self.reported = slots.end;
        self.report(tally, slots.clone());
        slots
    }

    /// Writes down what is known of the backends in these slots.
    pub(super) fn report(&self, tally: &mut Tally, slots: Range<usize>) {
        for slot in slots {
            let Backend { up, drained, learned, counts, .. } = *self.backends.get(slot as u16);
            let state = BackendState { up, drained, learned };
            let counters = std::array::from_fn(|index| match BackendCounter::ALL[index] {
                BackendCounter::Connected => counts.connected,
                BackendCounter::Refused => counts.refused,
                BackendCounter::TimedOut => counts.timed_out,
                BackendCounter::Mismatched => counts.mismatched,
                BackendCounter::ChecksPassed => counts.passed,
                BackendCounter::ChecksFailed => counts.failed,
            });
            let connections = counts.flows.into();
            tally.set_backend(slot, &WorkerBackend { state, connections, counters });
        }
    }

    /// How many frames are held.
    pub(super) const fn held(&self) -> usize {
        self.held.len()
    }
}

impl<Q: QueuePair> Turn<'_, Q> {
    /// The client has completed its handshake: a backend is tried. Nothing was taken of the segment that
    /// completed it.
    pub(super) fn connect(&mut self, port: usize, frame: Q::Frame, seg: &Segment, index: Index) {
        let edition = self.flows.edition(index);
        let (Body::Own(tcb), Some(front)) = (*self.flows.body(index), self.view.front(edition))
        else {
            return self.deliver(port, frame);
        };
        let cx = self.splice_context(front);
        let choice = match self.choose(front, index, None) {
            Ok(choice) => choice,
            Err(end) => {
                self.turn_away(index, &tcb, front, end);
                return self.deliver(port, frame);
            }
        };
        let splice = Splice::open(&tcb, &choice, &cx);
        if self.flows.join(index, &splice).is_err() {
            self.proxies.ways.give_back(choice.path, choice.local_port);
            self.turn_away(index, &tcb, front, End::Evicted);
            return self.discard(port, frame, Reason::TableFull);
        }
        self.spliced(port, frame, seg, index, Half::Client);
        self.send_syn(index);
        self.schedule_spliced(index, &cx);
    }

    /// No backend takes the client, whose handshake is complete.
    #[cold]
    fn turn_away(&mut self, index: Index, tcb: &Tcb, front: &Front, end: End) {
        let (edition, tuple) = (self.flows.edition(index), *self.flows.tuple(index));
        self.note(index, Some(Event::Ended(end)));
        let cx = self.context(Some(edition), &tuple);
        if front.plan.no_backend == Refusal::Reset
            && let Some(reset) = tcb.abort(&cx)
        {
            self.generate(index, &tuple, &reset);
        }
        // Without a marker its third ACK, sent again, would have backends tried again.
        self.vanish(index, end, &cx);
    }

    /// A segment of either half.
    #[inline]
    pub(super) fn spliced(
        &mut self,
        port: usize,
        frame: Q::Frame,
        seg: &Segment,
        index: Index,
        half: Half,
    ) {
        let edition = self.flows.edition(index);
        let Some(front) = self.view.front(edition) else { return self.deliver(port, frame) };
        if half == Half::Backend && self.is_from_another(index, frame.bytes()) {
            return self.refuse_stranger(port, frame, seg, edition);
        }
        let cx = self.splice_context(front);
        let step = self.flows.update_spliced(index, |flow| flow.pass(half, seg, &cx));
        let Some(Step { passage, then, event }) = step else { return self.deliver(port, frame) };
        if half == Half::Client {
            self.flows.set_peer(index, source_of(frame.bytes()));
        }
        match passage {
            Passage::Forward(rewrite) => {
                let passed = self.pass_on(frame, seg, (index, half), &rewrite);
                self.count_passed(port, seg, passed);
            }
            Passage::Answer(reply) if reply.payload_len > 0 => {
                self.send_to_backend(index, &reply); // the PROXY header
                self.deliver(port, frame);
            }
            Passage::Answer(reply) => {
                self.carry_out(port, frame, seg, &Verdict::Answer(reply), edition);
            }
            Passage::Hold => self.hold(port, frame, seg, index),
            Passage::Deliver => self.deliver(port, frame),
            Passage::Drop(reason) => self.discard(port, frame, reason),
            Passage::Split(rewrite, most) => {
                match self.split(&frame, seg, (index, half), &rewrite, most) {
                    Ok(()) => self.deliver(port, frame),
                    Err(reason) => self.not_passed(port, frame, seg, reason),
                }
            }
            Passage::Reopen => return self.reopen(port, frame, seg, index),
        }
        self.note(index, event);
        if then == Then::Opened {
            self.learn(index, seg);
        }
        if then != Then::Stay {
            self.follow(index, then, front, &cx);
        }
    }

    /// What becomes of the flow after a step or a timer.
    #[cold]
    pub(super) fn follow(
        &mut self,
        index: Index,
        then: Then,
        front: &Front,
        cx: &SpliceContext<'_>,
    ) {
        match then {
            Then::Stay => {}
            Then::Moved => {
                if self.flows.state(index).gives_way() {
                    self.give_port_back(index);
                    self.count_leaver(index);
                }
            }
            Then::Opened => self.release(index, cx),
            Then::SynAgain => self.send_syn(index),
            Then::NextTry(why) => return self.next_try(index, why, front, cx),
            Then::Abort(_) => return self.abort(index, front, cx),
            Then::End(_) => return self.finish(index),
        }
        self.schedule_spliced(index, cx);
    }

    /// A backend was tried in vain.
    #[cold]
    fn next_try(&mut self, index: Index, why: TryEnd, front: &Front, cx: &SpliceContext<'_>) {
        let Body::Spliced(mut flow) = *self.flows.body(index) else { return };
        self.tally.add(Counter::BackendRetries, 1);
        self.give_port_back(index);
        self.strike(flow.backend, why);
        let again = match why {
            TryEnd::InTimeWait => self.reach(front, flow.backend, index),
            TryEnd::Refused | TryEnd::TimedOut => None,
        };
        let named = self.is_named(index);
        let next = match again {
            Some(choice) => Ok(choice),
            None if named => Err(End::BackendRefused),
            None => self.choose(front, index, Some(flow.backend)),
        };
        let choice = match next {
            // nobody else is left, but time is: a SYN may have been lost
            Err(end) if why == TryEnd::TimedOut && named => {
                self.reach(front, flow.backend, index).ok_or(end)
            }
            Err(_) if why == TryEnd::TimedOut => self.choose(front, index, None),
            next => next,
        };
        let end = match choice {
            Ok(choice) => {
                flow.retry(&choice, cx);
                if self.flows.join(index, &flow).is_ok() {
                    self.send_syn(index);
                    return self.schedule_spliced(index, cx);
                }
                self.proxies.ways.give_back(choice.path, choice.local_port);
                End::Evicted
            }
            Err(end) => end,
        };
        self.note(index, Some(Event::Ended(end)));
        self.abort(index, front, cx);
    }

    /// Ends the flow from our side and tells both ends.
    #[cold]
    pub(super) fn abort(&mut self, index: Index, front: &Front, cx: &SpliceContext<'_>) {
        if let Body::Spliced(flow) = *self.flows.body(index) {
            let tuple = *self.flows.tuple(index);
            let (to_client, to_backend) = flow.abort(cx);
            let is_silent =
                flow.state() == State::SynSent && front.plan.no_backend == Refusal::Drop;
            if let Some(reply) = to_client.filter(|_| !is_silent) {
                self.generate(index, &tuple, &reply);
            }
            if let Some(reply) = to_backend {
                self.send_to_backend(index, &reply);
            }
        }
        self.finish(index);
    }

    /// The flow is over: its port is free, what it held is dropped, its record is freed or marks that its
    /// cookie is spent.
    #[cold]
    pub(super) fn finish(&mut self, index: Index) {
        let state = self.flows.state(index);
        if state != State::SynSent && !state.gives_way() {
            self.count_leaver(index);
        }
        self.give_port_back(index);
        self.retire(index)
    }

    /// The same of a flow whose port is free already, or was just taken for another flow.
    pub(super) fn retire(&mut self, index: Index) {
        let Body::Spliced(flow) = *self.flows.body(index) else { return };
        let port = usize::from(self.flows.tuple(index).port);
        for frame in self.take_held(index) {
            self.drop_held(port, frame, Reason::NoBackend);
        }
        match flow.spent(self.now.tick) {
            Some(marker) => {
                self.flows.part(index, &marker);
                self.flows.schedule(index, marker.deadline(&self.view.policy));
            }
            None => {
                self.remove(index);
            }
        }
    }

    pub(super) fn schedule_spliced(&mut self, index: Index, cx: &SpliceContext<'_>) {
        if let Body::Spliced(flow) = self.flows.body(index) {
            let deadline = flow.deadline(cx);
            self.flows.schedule(index, deadline);
        }
    }

    /// A segment of the client that may begin a new connection where one is over.
    #[cold]
    fn reopen(&mut self, port: usize, frame: Q::Frame, seg: &Segment, index: Index) {
        let edition = self.flows.edition(index);
        let (Body::Spliced(flow), Some(front)) =
            (*self.flows.body(index), self.view.front(edition))
        else {
            return self.deliver(port, frame);
        };
        let (cx, scx) = (self.context(Some(edition), &seg.tuple), self.splice_context(front));
        if is_handed(cx.kind)
            && let Err(reason) = self.can_tell(edition)
        {
            return self.discard(port, frame, reason);
        }
        let mut tcb = Tcb::default();
        let decision = flow.reopen(seg, &cx, &scx, &mut tcb);
        if decision.change == Change::Open {
            self.give_port_back(index);
            self.flows.part(index, &tcb);
            self.flows.renew(index, source_of(frame.bytes()), edition, self.now.us as u32);
            self.note(index, decision.event);
        }
        self.conclude(port, frame, &decision, (seg, edition, Some(index)), &cx);
    }

    /// The timer of a proxied flow has fired.
    #[cold]
    pub(super) fn wake_spliced(&mut self, index: Index) {
        let edition = self.flows.edition(index);
        let Some(front) = self.view.front(edition) else { return };
        let cx = self.splice_context(front);
        let step = self.flows.update_spliced(index, |flow| flow.on_timer(&cx));
        let Some(TimerStep { to_client, to_backend, then, event }) = step else { return };
        let tuple = *self.flows.tuple(index);
        if let Some(reply) = to_client {
            self.generate(index, &tuple, &reply);
        }
        if let Some(reply) = to_backend {
            self.send_to_backend(index, &reply);
        }
        self.note(index, event);
        self.follow(index, then, front, &cx);
    }

    /// Resets a proxied flow: the drain's deadline has come.
    #[cold]
    pub(super) fn drain_spliced(&mut self, index: Index) {
        let edition = self.flows.edition(index);
        let Some(front) = self.view.front(edition) else { return };
        let cx = self.splice_context(front);
        self.note(index, Some(Event::Ended(End::Drained)));
        self.abort(index, front, &cx);
    }
}

impl<'a, Q: QueuePair> Turn<'a, Q> {
    /// Everything but flow and segment that a step of a proxied flow depends on.
    #[inline]
    pub(super) fn splice_context(&self, front: &Front) -> SpliceContext<'a> {
        let tries = front.plan.retries.saturating_add(1);
        SpliceContext { now: self.now, policy: &self.view.policy, window: HOLD, tries }
    }
}
