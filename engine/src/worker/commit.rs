//! What a decision does to the table, the timers and the counts; and what a flow says by itself.

#![forbid(unsafe_code)]

use usher_proto::neighbor::Lookup;
use usher_proto::tcp::{State, Tcb};
use usher_proto::verdict::{Change, Decision, End, Event, Reason, Verdict};
use usher_proto::wire::{Flags, Link, Mac, Reply, Segment, Tuple};

use super::egress::{NoBuffer, redirect};
use super::turn::{Turn, payload_of};
use crate::flow::{Index, NewFlow};
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
    /// The MAC it came from.
    pub(super) peer: Mac,
    /// The service it is for; 0 if there is none, and then nothing is opened.
    pub(super) service: u16,
}

impl<Q: QueuePair> Turn<'_, Q> {
    /// Makes the decision true. Returns the verdict, which a full table turns into a drop, and the flow
    /// that may have more to send.
    #[inline]
    pub(super) fn commit(
        &mut self,
        arrival: &Arrival<'_>,
        found: Option<Index>,
        decision: &Decision,
    ) -> (Verdict, Option<Index>) {
        match (&decision.change, found) {
            (Change::Keep, _) | (Change::Update(_) | Change::End(_), None) => {
                (decision.verdict, None)
            }
            (Change::Open(tcb), _) => self.open(arrival, found, tcb, decision),
            (Change::Update(tcb), Some(index)) => {
                self.flows.store(index, tcb);
                self.flows.set_peer(index, arrival.peer);
                self.note(arrival.service, decision.event);
                (decision.verdict, Some(index))
            }
            (Change::End(_), Some(index)) => {
                self.flows.remove(index);
                self.note(arrival.service, decision.event);
                (decision.verdict, None)
            }
        }
    }

    fn open(
        &mut self,
        arrival: &Arrival<'_>,
        found: Option<Index>,
        tcb: &Tcb,
        decision: &Decision,
    ) -> (Verdict, Option<Index>) {
        if let Some(old) = found {
            self.end(old, End::Replaced);
        } else if self.flows.len() == self.flows.capacity() {
            let Some(oldest) = self.flows.evict_candidate() else {
                return (Verdict::Drop(Reason::TableFull), None);
            };
            self.evict(oldest);
        }
        let flow = NewFlow {
            tuple: arrival.seg.tuple,
            tcb: *tcb,
            peer: arrival.peer,
            service: arrival.service,
            started_us: self.now.us as u32,
        };
        match self.flows.insert(arrival.hash, &flow) {
            Ok(index) => {
                self.note(arrival.service, decision.event);
                (decision.verdict, Some(index))
            }
            Err(_) => (Verdict::Drop(Reason::TableFull), None),
        }
    }

    /// Frees what has ended and only lingers, because the table is full.
    fn evict(&mut self, index: Index) {
        let is_spent = self.flows.tcb(index).state == State::Closed;
        self.tally.add(if is_spent { Counter::EvictedSpent } else { Counter::EvictedTimeWait }, 1);
        self.flows.remove(index);
    }

    /// Ends a flow that something else takes the place of.
    fn end(&mut self, index: Index, end: End) {
        let event = match self.flows.tcb(index).state {
            State::Closed | State::TimeWait => None,
            State::SynRcvd => Some(Event::HandshakeFailed(end)),
            _ => Some(Event::Ended(end)),
        };
        self.note(self.flows.service(index), event);
        self.flows.remove(index);
    }

    /// Counts what happened.
    #[inline]
    pub(super) fn note(&mut self, service: u16, event: Option<Event>) {
        let service = usize::from(service);
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
            Some(Event::Ended(end)) => self.tally.flow_ended(service, end),
        }
    }

    /// Sends what the flow may send now, within a budget, and sets its timer. What finds no buffer, or
    /// exceeds the budget, is looked at again in the next slot.
    #[inline]
    pub(super) fn advance(&mut self, index: Index) {
        let tuple = *self.flows.tuple(index);
        let cx = self.context(Some(self.flows.service(index)), &tuple);
        let mut tcb = *self.flows.tcb(index);
        let mut left = SEND_BUDGET;
        while let Some((reply, next)) = tcb.next_segment(&cx) {
            if left == 0 || !self.generate(index, &tuple, &reply) {
                self.flows.schedule(index, self.now.tick.after(1));
                break;
            }
            (tcb, left) = (next, left - 1);
        }
        if left < SEND_BUDGET {
            self.flows.store(index, &tcb);
        }
        self.flows.schedule(index, tcb.deadline(cx.policy));
    }

    /// Sends a segment that answers no frame, to where the flow's frames come from. Whether there was a
    /// buffer for it.
    fn generate(&mut self, index: Index, tuple: &Tuple, reply: &Reply) -> bool {
        let port = usize::from(tuple.port);
        let wire = &self.view.ports[port].wire;
        let link = Link { src: wire.mac, dst: self.flows.peer(index), vlan: wire.vlan };
        let payload = payload_of(self.view.answer(self.flows.service(index)), reply);
        let silence = self.now.tick.since(self.flows.tcb(index).heard_at);
        let is_last = reply.flags.has(Flags::RST) && silence >= CONFIRMED_MS;
        let Some(egress) = self.links[port].as_mut() else { return false };
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
        let Some(egress) = self.links[port].as_mut() else { return };
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
                self.tally.drop_reason(Reason::NoNextHop, 1);
            }
        }
    }

    /// Wakes flows whose time has come; each that is touched takes one from `budget`.
    pub(super) fn expire(&mut self, mut budget: u32) {
        while let Some(index) = self.flows.next_due(self.now.tick, &mut budget) {
            let tuple = *self.flows.tuple(index);
            let cx = self.context(Some(self.flows.service(index)), &tuple);
            let outcome = self.flows.tcb(index).on_timer(&cx);
            self.apply(index, &tuple, outcome);
        }
    }

    /// Resets the flow: the drain's deadline has come.
    pub(super) fn reset(&mut self, index: Index) {
        let tuple = *self.flows.tuple(index);
        let cx = self.context(Some(self.flows.service(index)), &tuple);
        let outcome = self.flows.tcb(index).drained(&cx);
        self.apply(index, &tuple, outcome);
    }

    fn apply(&mut self, index: Index, tuple: &Tuple, outcome: usher_proto::tcp::TimerOutcome) {
        let (reply, change, event) = outcome;
        if let Some(reply) = reply {
            self.generate(index, tuple, &reply);
        }
        self.note(self.flows.service(index), event);
        match change {
            Change::Keep => {}
            Change::Open(tcb) | Change::Update(tcb) => self.flows.store(index, &tcb),
            Change::End(_) => {
                self.flows.remove(index);
                return;
            }
        }
        self.advance(index);
    }
}
