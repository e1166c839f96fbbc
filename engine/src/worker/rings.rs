//! A worker's ends of the rings of `ring` services, and what it has still to tell.
//!
//! Nothing that a consumer must hear is lost: what cannot be refused to the client (the end of a flow) and finds the ring
//! full waits in the flow's slot; everything else is not accepted from the client while there is no room.

#![forbid(unsafe_code)]

use std::sync::Arc;

use arrayvec::ArrayVec;
use usher_proto::time::Tick;
use usher_proto::verdict::{End, Reason};

use super::slots::{List, News, Phase, Slot, SlotId, Slots};
use crate::config::{ConsumerGone, RingPlan};
use crate::flow::{FlowId, Index};
use crate::handoff::{Command, Event, Payload, WorkerEnd};
use crate::stats::{ServiceCounter, Tally};

/// What one segment leads to at most: a new flow, and its first data.
const ROOM: usize = 2;

/// A `ring` service, or one that was.
#[derive(Debug, Default)]
struct Ring {
    /// The latest one that there was; `None` for services of other kinds.
    plan: Option<Arc<RingPlan>>,
    /// Whether the plan still has it as a `ring`.
    is_current: bool,
    /// `None` while there is no consumer.
    end: Option<Box<WorkerEnd>>,
    /// Counts consumers, wrapping: flows of an earlier one concern the present one no more.
    era: u16,
    /// Flows of this era that the consumer has to hear of.
    news: List,
    /// Flows of this era, and those among them that nothing is decided about.
    flows: u32,
    undecided: u32,
}

/// All of a worker's, by number of service.
#[derive(Debug)]
pub(super) struct Rings {
    pub(super) slots: Slots,
    rings: Box<[Ring]>,
    /// Slots from here on are still to be looked at for flows whose consumer is gone.
    swept: Option<SlotId>,
}

impl Rings {
    /// Without a consumer; room for `capacity` flows, if any of these is a plan.
    pub(super) fn new(plans: impl Iterator<Item = Option<Arc<RingPlan>>>, capacity: u32) -> Self {
        let rings: Box<[Ring]> = plans
            .map(|plan| Ring { is_current: plan.is_some(), plan, ..Ring::default() })
            .collect();
        let any = rings.iter().any(|ring| ring.plan.is_some());
        let slots = if any { Slots::new(capacity) } else { Slots::default() };
        Self { slots, rings, swept: None }
    }

    /// Goes on with the flows and consumers of `old`, which has at most as many services.
    pub(super) fn adopt(&mut self, old: &mut Self) {
        if old.slots.is_there() {
            std::mem::swap(&mut self.slots, &mut old.slots);
        }
        self.swept = old.swept;
        for (ring, old) in self.rings.iter_mut().zip(&mut old.rings) {
            let Ring { plan, is_current, .. } = std::mem::take(ring);
            let old = std::mem::take(old);
            *ring = Ring { plan: plan.or(old.plan), is_current, ..old };
        }
    }

    /// Whether there is anything to do for consumers.
    #[inline]
    pub(super) const fn is_there(&self) -> bool {
        self.slots.is_there()
    }

    /// The numbers of services that there may be rings of.
    pub(super) fn numbers(&self) -> std::ops::Range<u16> {
        0..self.rings.len() as u16
    }

    /// Whether a new flow of this service, or news of one, can be told.
    ///
    /// # Errors
    /// Why a segment that brings either is to be dropped.
    #[inline]
    pub(super) fn is_open(&self, ring: usize) -> Result<(), Reason> {
        let Some(Ring { end: Some(end), news, .. }) = self.rings.get(ring) else {
            return Err(Reason::NoConsumer);
        };
        let open = news.is_empty() && end.room() >= ROOM && !self.slots.is_full();
        if open { Ok(()) } else { Err(Reason::RingFull) }
    }

    /// A new flow has a slot and is told of.
    pub(super) fn open(&mut self, mut slot: Slot, event: Event) -> Option<SlotId> {
        let ring = self.rings.get_mut(usize::from(slot.ring))?;
        let end = ring.end.as_mut()?;
        slot.era = ring.era;
        let id = self.slots.open(slot)?;
        if end.tell(event).is_err() {
            self.slots.leave(slot.index);
            self.slots.free(id);
            return None;
        }
        ring.flows += 1;
        ring.undecided += 1;
        Some(id)
    }

    /// The slot of a flow that this service's consumer may command.
    pub(super) fn find(&self, ring: u16, index: Index) -> Option<SlotId> {
        let id = self.slots.of(index)?;
        let slot = self.slots.get(id);
        let era = self.rings.get(usize::from(ring))?.era;
        (slot.ring == ring && slot.era == era).then_some(id)
    }

    /// Tells an event of a flow; gives it back if the ring is full or the consumer gone.
    pub(super) fn tell(&mut self, id: SlotId, event: Event) -> Result<(), Event> {
        let slot = self.slots.get(id);
        match self.rings.get_mut(usize::from(slot.ring)) {
            Some(Ring { end: Some(end), era, .. }) if *era == slot.era => end.tell(event),
            Some(_) | None => Err(event),
        }
    }

    /// A consumer has said what becomes of a flow.
    pub(super) fn decide(&mut self, id: SlotId, phase: Phase) {
        let slot = self.slots.get_mut(id);
        slot.phase = phase;
        self.rings[usize::from(slot.ring)].undecided -= 1;
    }

    /// Answers a command. There is room for that: see [`Self::commands`].
    pub(super) fn answer(&mut self, ring: u16, event: Event) {
        if let Some(Ring { end: Some(end), .. }) = self.rings.get_mut(usize::from(ring)) {
            let told = end.tell(event);
            debug_assert!(told.is_ok() || end.is_abandoned(), "room was kept for an answer");
        }
    }

    /// A flow has left its record, for this reason, with so many bytes lost: its consumer hears it now or later.
    pub(super) fn ended(&mut self, id: SlotId, why: End, lost: u64) {
        let Slot { ring, era, phase, .. } = *self.slots.get(id);
        let ring = &mut self.rings[usize::from(ring)];
        if ring.end.is_none() || ring.era != era {
            return self.slots.free(id);
        }
        ring.flows -= 1;
        ring.undecided -= u32::from(phase == Phase::Undecided);
        self.tell_news(id, |news| news.ended = Some((why, lost)));
        if !self.slots.get(id).is_listed {
            self.slots.free(id);
        }
    }

    /// Something has happened to a flow that its consumer must hear: now, or when the ring has room.
    pub(super) fn tell_news(&mut self, id: SlotId, add: impl FnOnce(&mut News)) {
        let slot = self.slots.get_mut(id);
        let Some(ring) = self.rings.get_mut(usize::from(slot.ring)) else { return };
        let Some(end) = ring.end.as_mut().filter(|_| ring.era == slot.era) else { return };
        add(&mut slot.news);
        let waits = slot.is_listed;
        let is_told = !waits && ring.news.is_empty() && tell_all(end, slot.flow, &mut slot.news);
        if !waits && !is_told {
            slot.is_listed = true;
            self.slots.append(&mut ring.news, id);
        }
    }

    /// How many events of a flow can be told now; `None` if its consumer is gone.
    #[inline]
    pub(super) fn room(&self, id: SlotId) -> Option<usize> {
        let slot = self.slots.get(id);
        let ring = self.rings.get(usize::from(slot.ring))?;
        let end = ring.end.as_ref().filter(|_| ring.era == slot.era)?;
        Some(if ring.news.is_empty() { end.room() } else { 0 })
    }

    /// Lets go of what a consumer of this service has written.
    pub(super) fn give_back(&mut self, ring: u16, payload: Payload) {
        if let Some(Ring { end: Some(end), .. }) = self.rings.get_mut(usize::from(ring)) {
            end.give_back(payload);
        }
    }

    /// Tells what there is room for, and shows the consumers what they were told.
    pub(super) fn publish(&mut self) {
        for ring in &mut self.rings {
            let Some(end) = ring.end.as_mut() else { continue };
            while let Some(id) = ring.news.first() {
                let slot = self.slots.get_mut(id);
                let is_over = slot.news.ended.is_some();
                if !tell_all(end, slot.flow, &mut slot.news) {
                    break;
                }
                slot.is_listed = false;
                self.slots.take_first(&mut ring.news);
                if is_over {
                    self.slots.free(id);
                }
            }
            end.publish();
        }
    }

    /// The next commands of a service's consumer: a batch, and not more than can be answered.
    pub(super) fn commands<const N: usize>(&mut self, ring: u16, into: &mut ArrayVec<Command, N>) {
        if let Some(Ring { end: Some(end), news, .. }) = self.rings.get_mut(usize::from(ring)) {
            let room = if news.is_empty() { end.room() } else { 0 };
            // One that has gone is answered nothing, and its last commands hold.
            let most = if end.is_left() { N } else { room };
            end.commands(most, into);
        }
    }

    /// Gives consumers up that are gone or silent at `now`, and rings that are no longer needed. Says of each consumer
    /// that is lost which service it had.
    pub(super) fn watch(&mut self, now: Tick, mut lost: impl FnMut(usize)) {
        for (service, ring) in self.rings.iter_mut().enumerate() {
            let Some(end) = ring.end.as_mut() else { continue };
            let timeout = ring.plan.as_ref().map_or(0, |plan| plan.consumer_timeout.as_millis());
            let is_over = !ring.is_current && ring.flows == 0 && ring.news.is_empty();
            let is_lost = end.is_abandoned() || end.is_silent(now, timeout as u32);
            if !is_lost && !is_over {
                continue;
            }
            ring.end = None;
            ring.era = ring.era.wrapping_add(1);
            (ring.flows, ring.undecided) = (0, 0);
            while let Some(id) = self.slots.take_first(&mut ring.news) {
                let slot = self.slots.get_mut(id);
                slot.is_listed = false;
                if slot.news.ended.is_some() {
                    self.slots.free(id);
                }
            }
            self.swept = Some(0);
            if is_lost {
                lost(service);
            }
        }
    }

    /// The flows among the next `most` slots whose consumer is gone, and what is to become of them.
    pub(super) fn orphans<const N: usize>(&mut self) -> ArrayVec<(Index, ConsumerGone), N> {
        let mut found = ArrayVec::new();
        let Some(from) = self.swept else { return found };
        let to = from.saturating_add(N as SlotId).min(self.slots.len());
        for id in from..to {
            let Some(slot) = self.slots.living(id) else { continue };
            let ring = &self.rings[usize::from(slot.ring)];
            if ring.era != slot.era {
                let gone =
                    ring.plan.as_ref().map_or(ConsumerGone::Reset, |plan| plan.consumer_gone);
                found.push((slot.index, gone));
            }
        }
        self.swept = (to < self.slots.len()).then_some(to);
        found
    }

    /// Lets a consumer take the flows of a service.
    ///
    /// # Errors
    /// Gives the end back if the service is no `ring`, or has a consumer.
    pub(super) fn attach(
        &mut self,
        ring: usize,
        end: Box<WorkerEnd>,
    ) -> Result<(), Box<WorkerEnd>> {
        match self.rings.get_mut(ring) {
            Some(Ring { is_current: true, end: vacant @ None, .. }) => {
                *vacant = Some(end);
                Ok(())
            }
            Some(_) | None => Err(end),
        }
    }

    /// Whether flows have ended that a consumer is still to hear of.
    pub(super) fn are_behind(&self) -> bool {
        self.rings.iter().any(|ring| !ring.news.is_empty())
    }

    /// Writes down how things stand.
    pub(super) fn report(&self, tally: &mut Tally) {
        for (service, ring) in self.rings.iter().enumerate() {
            let depth = ring.end.as_ref().map_or(0, |end| end.depth());
            tally.set_service(service, ServiceCounter::RingDepth, depth as u64);
            tally.set_service(service, ServiceCounter::Undecided, ring.undecided.into());
        }
    }

    /// How many flows there are, those included that have ended and were not told of.
    pub(super) const fn flows(&self) -> usize {
        self.slots.in_use()
    }
}

/// Tells what there is to be told of a flow. Returns whether there was room for all of it.
fn tell_all(end: &mut WorkerEnd, flow: FlowId, news: &mut News) -> bool {
    if news.acknowledged > 0 {
        if end.tell(Event::Acknowledged { flow, bytes: news.acknowledged }).is_err() {
            return false;
        }
        news.acknowledged = 0;
    }
    if news.peer_closed {
        if end.tell(Event::PeerClosed { flow }).is_err() {
            return false;
        }
        news.peer_closed = false;
    }
    match news.ended {
        Some((why, lost)) => end.tell(Event::Ended { flow, why, lost }).is_ok(),
        None => true,
    }
}
