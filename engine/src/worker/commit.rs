//! What a decision does to the table, the timers and the counts; and what a flow says by itself.

#![forbid(unsafe_code)]

use usher_proto::neighbor::Lookup;
use usher_proto::tcp::{Context, State, Tcb, TimerOutcome};
use usher_proto::verdict::{Change, Decision, End, Event, Reason, Verdict};
use usher_proto::wire::{Flags, Link, Mac, Reply, Segment, Tuple};

use super::egress::{NoBuffer, redirect};
use super::turn::{Turn, payload_of};
use crate::flow::{Body, Index, NewFlow};
use crate::port::QueuePair;
use crate::stats::{Counter, ServiceCounter};

/// Segments that one flow may send in a row before others have their turn: two initial windows of 10.
const SEND_BUDGET: usize = 20;

/// How long a peer's own frames show where it is, in ms (RFC 4861 §10: REACHABLE_TIME). After that the
/// next hop of the RST that ends its flow is resolved like anybody else's, so that it reaches a peer that
/// has moved. What is not the last word goes where the peer was heard: it would only be overtaken.
const CONFIRMED_MS: u32 = 30_000;

/// A segment with what the worker knows of it.
pub(super) struct Arrival<'s> {
    pub(super) seg: &'s Segment,
    /// The hash of its tuple.
    pub(super) hash: u64,
    /// The frame it came in.
    pub(super) frame: &'s [u8],
    /// The edition of a service that it is for; 0 if there is none, and then nothing is opened.
    pub(super) edition: u16,
}

impl Arrival<'_> {
    /// The MAC that the frame came from.
    #[inline]
    fn peer(&self) -> Mac {
        source_of(self.frame)
    }
}

/// The MAC that a frame came from.
#[inline]
pub(super) const fn source_of(frame: &[u8]) -> Mac {
    match frame {
        &[_, _, _, _, _, _, a, b, c, d, e, f, ..] => Mac([a, b, c, d, e, f]),
        _ => Mac::ZERO,
    }
}

impl<Q: QueuePair> Turn<'_, Q> {
    /// Makes the decision about a flow true, whose state is already what was decided and was `was` before.
    /// Returns the flow that may have more to send beside it.
    #[inline]
    pub(super) fn commit(
        &mut self,
        arrival: &Arrival<'_>,
        (index, was): (Index, State),
        decision: &Decision,
    ) -> Option<Index> {
        match decision.change {
            Change::Keep => return None,
            Change::Open => {
                let old = self.flows.edition(index);
                self.note(index, replaced(was));
                self.tally.release(old);
                self.tally.hold(arrival.edition);
                self.flows.renew(index, arrival.peer(), arrival.edition, self.now.us as u32);
            }
            Change::Update => self.flows.set_peer(index, arrival.peer()),
            Change::End(_) => {
                self.note(index, decision.event);
                self.remove(index);
                return None;
            }
        }
        self.note(index, decision.event);
        Some(index)
    }

    /// Makes the decision about a segment without a flow true: `tcb` is what it opens, if it does. A full
    /// table turns that into a drop.
    #[inline]
    pub(super) fn commit_new(
        &mut self,
        arrival: &Arrival<'_>,
        tcb: &Tcb,
        decision: &mut Decision,
    ) -> Option<Index> {
        if decision.change != Change::Open {
            return None;
        }
        let opened = self.open(arrival, tcb);
        match opened {
            Some(index) => self.note(index, decision.event),
            None => decision.verdict = Verdict::Drop(Reason::TableFull),
        }
        opened
    }

    /// Gives a new flow a record; where there is none left, whoever gives way first makes room.
    #[inline]
    fn open(&mut self, arrival: &Arrival<'_>, tcb: &Tcb) -> Option<Index> {
        if self.flows.len() == self.flows.capacity() {
            let oldest = self.flows.evict_candidate()?;
            self.evict(oldest);
        }
        let flow = NewFlow {
            tuple: arrival.seg.tuple,
            tcb: *tcb,
            peer: arrival.peer(),
            edition: arrival.edition,
            started_us: self.now.us as u32,
        };
        let index = self.flows.insert(arrival.hash, &flow).ok()?;
        self.tally.hold(arrival.edition);
        Some(index)
    }

    /// Frees what has ended and only lingers, because the table is full.
    fn evict(&mut self, index: Index) {
        let is_spent = self.flows.state(index) == State::Closed;
        self.tally.add(if is_spent { Counter::EvictedSpent } else { Counter::EvictedTimeWait }, 1);
        self.remove(index);
        self.flows.prefetch_candidates();
    }

    /// Frees a record.
    pub(super) fn remove(&mut self, index: Index) {
        self.tally.release(self.flows.edition(index));
        self.flows.remove(index);
    }

    /// Counts what happened to a flow that is still in its record, and tells its consumer if it has ended.
    #[inline]
    pub(super) fn note(&mut self, index: Index, event: Option<Event>) {
        let service = self.view.service(self.flows.edition(index));
        match event {
            None => {}
            Some(Event::HalfOpen) => self.tally.add_service(service, ServiceCounter::Started),
            Some(Event::Established { by_cookie, handshake_us }) => {
                if by_cookie {
                    self.tally.add_service(service, ServiceCounter::Started);
                }
                self.tally.add_service(service, ServiceCounter::Completed);
                if let Some(us) = handshake_us {
                    self.tally.handshake_time(service, us);
                }
            }
            Some(Event::HandshakeFailed(end)) => self.tally.handshake_failed(service, end),
            Some(Event::Ended(end)) => {
                self.tally.flow_ended(service, end);
                self.farewell(index, end);
            }
        }
    }

    /// Sends what the flow may send now, within a budget, and sets its timer. What finds no buffer, or
    /// exceeds the budget, is looked at again in the next slot.
    #[inline]
    pub(super) fn advance(&mut self, index: Index, cx: &Context<'_>) {
        let Body::Own(tcb) = self.flows.body(index) else { return };
        if tcb.has_segment(cx) {
            self.send(index, cx);
        }
        if let Body::Own(tcb) = self.flows.body(index) {
            self.flows.schedule(index, tcb.deadline(cx.policy));
        }
    }

    fn send(&mut self, index: Index, cx: &Context<'_>) {
        let tuple = *self.flows.tuple(index);
        for _ in 0..SEND_BUDGET {
            let Body::Own(before) = *self.flows.body(index) else { return };
            let Some(Some(reply)) = self.flows.update(index, |tcb| tcb.next_segment(cx)) else {
                return;
            };
            if !self.generate(index, &tuple, &reply) {
                self.flows.update(index, |tcb| *tcb = before);
                break;
            }
        }
        self.flows.schedule(index, self.now.tick.after(1));
    }

    /// Sends a segment that answers no frame, to where the flow's frames come from. Whether there was a
    /// buffer for it.
    pub(super) fn generate(&mut self, index: Index, tuple: &Tuple, reply: &Reply) -> bool {
        let port = usize::from(tuple.port);
        let wire = &self.view.ports[port].wire;
        let link = Link { src: wire.mac, dst: self.flows.peer(index), vlan: wire.vlan };
        self.announce_window(index, reply);
        let payload = match self.handing.payload(index, reply) {
            Some(payload) => payload,
            None => payload_of(self.view.answer(self.flows.edition(index)), reply),
        };
        let silence = match self.flows.body(index) {
            Body::Own(tcb) => self.now.tick.since(tcb.heard_at),
            Body::Spliced(_) => 0,
        };
        let is_last = reply.flags.has(Flags::RST) && silence >= CONFIRMED_MS;
        let egress = &mut self.links[port];
        match egress.generate(&link, tuple, reply, payload, self.tally) {
            Ok(frame) if is_last => self.resolve(port, tuple, frame),
            Ok(frame) => egress.push_generated(frame, self.tally),
            Err(NoBuffer) => return false,
        }
        true
    }

    /// Sends a frame to the next hop towards its destination, once that is known; where the plan does
    /// not say which that is, to where the peer was last heard.
    #[cold]
    fn resolve(&mut self, port: usize, tuple: &Tuple, frame: Q::Frame) {
        let egress = &mut self.links[port];
        let Some((hop, _)) = self.view.ports[port].next_hop(&tuple.remote) else {
            return egress.push_generated(frame, self.tally);
        };
        match egress.neighbours.lookup(&hop, frame, self.now.tick) {
            Lookup::Known(mac, mut frame) => {
                redirect(&mut frame, mac);
                egress.push_generated(frame, self.tally);
            }
            Lookup::Full(frame) => egress.push_generated(frame, self.tally),
            Lookup::Held(None) => {}
            Lookup::Held(Some(oldest)) => {
                egress.recycle(oldest);
                self.lose(Reason::NoNextHop);
            }
        }
    }

    /// Wakes flows whose time has come; each that is touched takes one from `budget`.
    pub(super) fn expire(&mut self, mut budget: u32) {
        while let Some(index) = self.flows.next_due(self.now.tick, &mut budget) {
            match self.flows.body(index) {
                Body::Own(_) => self.wake(index, |tcb, cx| tcb.on_timer(cx)),
                Body::Spliced(_) => self.wake_spliced(index),
            }
        }
    }

    /// Resets the flow: the drain's deadline has come.
    pub(super) fn reset(&mut self, index: Index) {
        match self.flows.body(index) {
            Body::Own(_) => self.wake(index, |tcb, cx| tcb.drained(cx)),
            Body::Spliced(_) => self.drain_spliced(index),
        }
    }

    /// What a flow does by itself.
    fn wake(&mut self, index: Index, act: impl FnOnce(&mut Tcb, &Context<'_>) -> TimerOutcome) {
        let tuple = *self.flows.tuple(index);
        let cx = self.context_of(index);
        let outcome = self.flows.update(index, |tcb| act(tcb, &cx));
        let Some((reply, change, event)) = outcome else { return };
        if let Some(reply) = reply {
            self.generate(index, &tuple, &reply);
        }
        self.note(index, event);
        match change {
            Change::Keep | Change::Open | Change::Update => self.advance(index, &cx),
            Change::End(_) => {
                self.remove(index);
            }
        }
    }
}

/// What is counted of a flow that another one takes the place of.
const fn replaced(was: State) -> Option<Event> {
    match was {
        State::Closed | State::TimeWait => None,
        State::SynRcvd => Some(Event::HandshakeFailed(End::Replaced)),
        State::Established
        | State::FinWait1
        | State::FinWait2
        | State::CloseWait
        | State::Closing
        | State::LastAck
        | State::SynSent => Some(Event::Ended(End::Replaced)),
    }
}
