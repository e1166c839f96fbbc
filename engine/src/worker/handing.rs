//! The flows of `ring` services: shown to their consumers, held until those decide, and handed on as they say.
//!
//! What the protocol decides is `usher_proto::tcp`'s: an undecided flow holds what its client sends and acknowledges
//! nothing. Here is what becomes of the frames, and of the commands.

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use std::ops::Range;

use arrayvec::ArrayVec;
use usher_proto::splice::Splice;
use usher_proto::tcp::{Context, Kind, State, Tcb, Traits};
use usher_proto::time::Tick;
use usher_proto::verdict::{Change, End, Event as Happening, Reason, Verdict};
use usher_proto::wire::{Flags, Reply, Segment, SeqNum};

use super::commit::Arrival;
use super::early::Early;
use super::held::NOWHERE;
use super::outbox::Outbox;
use super::owned::CREDIT;
use super::rings::Rings;
use super::slots::{Phase, Slot, SlotId};
use super::turn::Turn;
use crate::config::ConsumerGone;
use crate::flow::{Body, FlowId, Index};
use crate::handoff::{Command, Established, Event, Lease, Lender, Negotiated, Objection, Payload};
use crate::port::{BURST, Frame, QueuePair};
use crate::stats::{Counter, ServiceCounter, Tally};

/// Commands of one consumer that are carried out in a turn: as many as frames of one port.
const COMMANDS: usize = BURST;

/// Slots that a housekeeping slot looks at for flows whose consumer is gone.
const ORPHANS: usize = 1024;

/// Buffers that consumers of a worker may have at a time. More lets one that keeps them starve the port: of a small pool
/// it is a quarter.
const LEASES: u32 = 16_384;

/// Frames that wait for their turn; of a small pool it is an eighth.
const EARLY: u32 = 4096;

/// Payloads that wait to be acknowledged: more than there are leases and chunks of a few consumers.
const PIECES: usize = 1 << 17;

/// The most that a segment holds: a jumbo frame (RFC 9293 §3.7.5 leaves it to the path).
const MOST: usize = 9216;

/// What a worker has for consumers.
#[derive(Debug)]
pub(super) struct Handing<F: Send + 'static> {
    pub(super) rings: Box<Rings>,
    lender: Lender<Lent<F>>,
    pub(super) outbox: Outbox,
    pub(super) early: Early<F>,
    /// Owned flows that something is to be sent on: touched by what came home or by a command of the present batch.
    pub(super) touched: ArrayVec<SlotId, { BURST + COMMANDS }>,
    /// Where the bytes of a segment are gathered.
    scratch: Box<[u8; MOST]>,
}

/// A buffer of a port's that a consumer reads.
#[derive(Debug)]
pub(super) struct Lent<F> {
    pub(super) port: usize,
    pub(super) frame: F,
    /// The owned flow that it came from, whose client may send `len` bytes more when it is home.
    pub(super) owner: Option<(SlotId, FlowId)>,
    pub(super) len: u32,
}

impl<F: Frame> Handing<F> {
    /// Ports have so many `buffers` each.
    pub(super) fn new(rings: Box<Rings>, buffers: u32) -> Self {
        Self {
            rings,
            lender: Lender::new(LEASES.min(buffers / 4) as usize),
            outbox: Outbox::new(PIECES),
            early: Early::new(EARLY.min(buffers / 8) as u16),
            touched: ArrayVec::new(),
            scratch: Box::new([0; MOST]),
        }
    }

    /// Whether another buffer may be lent.
    pub(super) fn has_lease(&self) -> bool {
        self.lender.out() < self.lender.budget()
    }

    /// Lends these bytes of a buffer.
    ///
    /// # Errors
    /// Gives the buffer back if consumers have as many as they may.
    pub(super) fn lend(&mut self, lent: Lent<F>, bytes: Range<usize>) -> Result<Lease, Lent<F>> {
        self.lender.lend(lent, |lent| lent.frame.bytes().get(bytes).unwrap_or(&[]))
    }

    /// The bytes that a segment of an owned flow carries; `None` if it is none.
    #[inline]
    pub(super) fn payload(&mut self, index: Index, reply: &Reply) -> Option<&[u8]> {
        let id = self.rings.slots.of(index)?;
        let slot = self.rings.slots.get_mut(id);
        if slot.phase != Phase::Owned {
            return None;
        }
        if reply.payload_len == 0 {
            return Some(&[]);
        }
        let (from, len) = (reply.payload_offset, usize::from(reply.payload_len));
        let bytes = self.outbox.read(&mut slot.stream.queue, from, len, &mut self.scratch[..]);
        debug_assert_eq!(bytes.len(), len, "what is not acknowledged is kept");
        Some(bytes)
    }

    /// The client has acknowledged a stream up to `delivered`. Returns how much that is since the last time.
    pub(super) fn release(&mut self, id: SlotId, delivered: u32) -> u32 {
        let Self { rings, outbox, .. } = self;
        let slot = rings.slots.get_mut(id);
        let ring = slot.ring;
        let news = slot.stream.deliver(delivered);
        let mut queue = slot.stream.queue;
        outbox.release(&mut queue, delivered, |payload| rings.give_back(ring, payload));
        rings.slots.get_mut(id).stream.queue = queue;
        news
    }

    /// Lets go of all that was written on a flow.
    pub(super) fn clear(&mut self, id: SlotId) {
        let Self { rings, outbox, .. } = self;
        let Slot { ring, stream, .. } = *rings.slots.get(id);
        let mut queue = stream.queue;
        outbox.clear(&mut queue, |payload| rings.give_back(ring, payload));
        rings.slots.get_mut(id).stream.queue = queue;
    }

    /// How many frames came before their turn, and how many payloads wait to be acknowledged.
    pub(super) const fn kept(&self) -> (u32, u32) {
        (self.early.len(), self.outbox.len())
    }

    /// How many buffers consumers have.
    pub(super) fn leases(&self) -> usize {
        self.lender.out()
    }

    /// Gives consumers up that are gone or silent.
    pub(super) fn give_up(&mut self, now: Tick, tally: &mut Tally) {
        self.rings.watch(now, |service| tally.add_service(service, ServiceCounter::ConsumersLost));
    }

    /// Writes down how things stand.
    pub(super) fn report(&self, tally: &mut Tally) {
        tally.set(Counter::LeasesOut, self.leases() as u64);
        self.rings.report(tally);
    }
}

impl<Q: QueuePair> Turn<'_, Q> {
    /// Takes back what consumers no longer read, and does what they say: the beginning of a turn.
    #[inline]
    pub(super) fn hear_consumers(&mut self) {
        if !self.handing.rings.is_there() {
            return;
        }
        let mut home = ArrayVec::<_, BURST>::new();
        self.handing.lender.collect(&mut home);
        for lent in home {
            self.lease_is_home(lent);
        }
        for ring in self.handing.rings.numbers() {
            let mut commands = ArrayVec::<_, COMMANDS>::new();
            self.handing.rings.commands(ring, &mut commands);
            for command in commands {
                self.obey(ring, command);
            }
            self.send_written();
        }
    }

    /// Shows consumers what has happened: the end of a turn.
    #[inline]
    pub(super) fn tell_consumers(&mut self) {
        if self.handing.rings.is_there() {
            self.handing.rings.publish();
        }
    }

    /// Notices consumers that are gone, and ends what they leave behind.
    pub(super) fn watch_consumers(&mut self) {
        self.handing.give_up(self.now.tick, self.tally);
        for (index, gone) in self.handing.rings.orphans::<ORPHANS>() {
            match (self.flows.body(index), gone) {
                // Its backend has it: it is nobody else's business any more.
                (Body::Spliced(_), _) => {}
                (Body::Own(_), ConsumerGone::Reset | ConsumerGone::Drain) => {
                    match self.owned_slot(index).filter(|_| gone == ConsumerGone::Drain) {
                        Some(id) => {
                            // Closed already, or closed now.
                            let _ = self.close(id);
                            self.send_written();
                        }
                        None => self.cut(index, End::ConsumerGone),
                    }
                }
            }
        }
    }

    /// Whether a segment that opens a flow of this edition, or brings news of one, can be taken.
    ///
    /// # Errors
    /// Why it is to be dropped.
    #[inline]
    pub(super) fn can_tell(&mut self, edition: u16) -> Result<(), Reason> {
        let service = self.view.service(edition);
        let open = self.handing.rings.is_open(service);
        if open.is_err() {
            self.tally.add_service(service, ServiceCounter::RingFull);
        }
        open
    }

    /// A segment of a flow that is, or will be, undecided.
    pub(super) fn undecided(
        &mut self,
        port: usize,
        frame: Q::Frame,
        (seg, hash, index): (&Segment, u64, Index),
        cx: &Context<'_>,
    ) {
        let (edition, was) = (self.flows.edition(index), self.flows.state(index));
        let opens = was == State::SynRcvd && seg.flags.only(Flags::ACK | Flags::SYN) == Flags::ACK;
        let is_news = opens || was.gives_way() || was == State::Established && !seg.is_empty();
        if is_news
            && !seg.flags.has(Flags::RST)
            && let Err(reason) = self.can_tell(edition)
        {
            return self.discard(port, frame, reason);
        }
        self.take_undecided(port, frame, (seg, hash, index), cx);
    }

    /// The same where there is room for what it brings.
    fn take_undecided(
        &mut self,
        port: usize,
        frame: Q::Frame,
        (seg, hash, index): (&Segment, u64, Index),
        cx: &Context<'_>,
    ) {
        let (edition, was) = (self.flows.edition(index), self.flows.state(index));
        let before = match self.flows.body(index) {
            Body::Own(tcb) => tcb.held_to,
            Body::Spliced(_) => return self.deliver(port, frame),
        };
        let Some(decision) = self.flows.update(index, |tcb| tcb.decide(seg, cx)) else {
            return self.deliver(port, frame);
        };
        let arrival = Arrival { seg, hash, frame: frame.bytes(), edition };
        let moved = self.commit(&arrival, (index, was), &decision);
        if let (Verdict::Hold, Some(index)) = (&decision.verdict, moved) {
            self.advance(index, cx);
            return self.hold_undecided(port, frame, (seg, before), index);
        }
        self.conclude(port, frame, &decision, (seg, edition, moved), cx);
    }

    /// A handshake with a `ring` service is complete; nothing was taken of the segment that completed it.
    pub(super) fn establish(
        &mut self,
        port: usize,
        frame: Q::Frame,
        seg: &Segment,
        index: Index,
        happened: Option<Happening>,
        cx: &Context<'_>,
    ) {
        let Body::Own(tcb) = *self.flows.body(index) else { return self.deliver(port, frame) };
        let (flow, service) = (self.flows.id(index), self.view.service(self.flows.edition(index)));
        let (by_cookie, handshake_us) = match happened {
            Some(Happening::Established { by_cookie, handshake_us }) => (by_cookie, handshake_us),
            _ => (tcb.traits.has(Traits::BY_COOKIE), None),
        };
        let established = Established {
            flow,
            tuple: seg.tuple,
            irs: tcb.irs,
            iss: tcb.iss,
            options: negotiated(&tcb),
            by_cookie,
            at_us: self.now.us,
            handshake_us,
            credit: CREDIT,
        };
        let slot = Slot::new(flow, index, service as u16, NOWHERE);
        if self.handing.rings.open(slot, Event::Established(established)).is_none() {
            self.cut(index, End::ConsumerGone);
            return self.deliver(port, frame);
        }
        self.advance(index, cx);
        if seg.is_empty() {
            return self.deliver(port, frame);
        }
        let hash = self.flows.hash(&seg.tuple);
        self.take_undecided(port, frame, (seg, hash, index), cx);
    }

    /// Holds a frame, and shows the consumer a copy of what is new in it: the frame itself will be rewritten if a backend
    /// gets the flow. `before` is where what was held ended.
    fn hold_undecided(
        &mut self,
        port: usize,
        frame: Q::Frame,
        (seg, before): (&Segment, SeqNum),
        index: Index,
    ) {
        let kept = match self.handing.rings.slots.of(index) {
            Some(id) => self.keep(port, frame, (seg, before), id),
            None => Err((frame, Reason::NoConsumer)),
        };
        match kept {
            Ok(()) => self.tally.add(Counter::Held, 1),
            Err((frame, reason)) => {
                self.flows.update(index, |tcb| tcb.not_held(before));
                self.discard(port, frame, reason);
            }
        }
    }

    /// The same; gives the frame back, with the reason, where it cannot be kept or shown.
    fn keep(
        &mut self,
        port: usize,
        frame: Q::Frame,
        (seg, before): (&Segment, SeqNum),
        id: SlotId,
    ) -> Result<(), (Q::Frame, Reason)> {
        let start = usize::from(seg.payload_offset);
        let payload = frame.bytes().get(start..start + usize::from(seg.payload_len)).unwrap_or(&[]);
        let new = payload.get(before.since(seg.seq) as usize..).unwrap_or(&[]);
        let copy = match self.copy(port, new) {
            Ok(copy) => copy,
            Err(reason) => return Err((frame, reason)),
        };
        let slot = self.handing.rings.slots.get_mut(id);
        let flow = slot.flow;
        if let Err(frame) = self.proxies.held.push(&mut slot.place, frame) {
            return Err((frame, Reason::HoldFull));
        }
        if let Some(data) = copy {
            let told = self.handing.rings.tell(id, Event::Data { flow, data, peeked: true });
            debug_assert!(told.is_ok(), "there was room when the segment came");
        }
        Ok(())
    }

    /// A copy of `bytes` in a buffer of the port's, if there are any.
    fn copy(&mut self, port: usize, bytes: &[u8]) -> Result<Option<Lease>, Reason> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let mut frame = self.links[port].buffer(self.tally).map_err(|_| Reason::NoBuffer)?;
        let Some(room) = frame.room().get_mut(..bytes.len()) else {
            self.recycle(port, frame);
            return Err(Reason::NoBuffer);
        };
        room.copy_from_slice(bytes);
        frame.set_len(bytes.len());
        let lent = Lent { port, frame, owner: None, len: 0 };
        match self.handing.lend(lent, 0..bytes.len()) {
            Ok(lease) => Ok(Some(lease)),
            Err(Lent { frame, .. }) => {
                self.recycle(port, frame);
                Err(Reason::NoLease)
            }
        }
    }

    /// A flow is about to leave its record: its consumer hears why. What was held of it goes.
    pub(super) fn farewell(&mut self, index: Index, why: End) {
        let Some(id) = self.handing.rings.slots.leave(index) else { return };
        let port = usize::from(self.flows.tuple(index).port);
        let place = &mut self.handing.rings.slots.get_mut(id).place;
        for frame in self.proxies.held.take(place) {
            self.drop_held(port, frame, Reason::NoConsumer);
        }
        let lost = self.end_stream(port, id);
        self.handing.rings.ended(id, why, lost);
    }

    /// Whether the flow's consumer wants this backend and no other.
    pub(super) fn is_named(&self, index: Index) -> bool {
        let slots = &self.handing.rings.slots;
        slots.of(index).is_some_and(|id| slots.get(id).phase == Phase::Proxied { named: true })
    }

    fn obey(&mut self, ring: u16, command: Command) {
        let (flow, kind) = (command.flow(), command.kind());
        if let Err((why, left)) = self.carry_out_command(ring, command) {
            if let Some(payload) = left {
                self.handing.rings.give_back(ring, payload);
            }
            self.tally.add_service(ring.into(), ServiceCounter::RingRefused);
            self.handing.rings.answer(ring, Event::Refused { flow, command: kind, why });
        }
    }

    /// Gives back why not, and what the command carried.
    fn carry_out_command(
        &mut self,
        ring: u16,
        command: Command,
    ) -> Result<(), (Objection, Option<Payload>)> {
        let index = self.flows.get(command.flow());
        let found = index.and_then(|index| Some((index, self.handing.rings.find(ring, index)?)));
        let Some((index, id)) = found else {
            return Err((Objection::NoSuchFlow, command.into_payload()));
        };
        let bare = |why| (why, None);
        match (command, self.handing.rings.slots.get(id).phase) {
            (Command::Proxy { backend, .. }, Phase::Undecided) => {
                self.proxy(id, index, backend).map_err(bare)
            }
            (Command::Own { skip_peeked, .. }, Phase::Undecided) => {
                self.own(id, index, skip_peeked);
                Ok(())
            }
            (Command::Write { data, .. }, Phase::Owned) => self.write(id, data),
            (Command::Close { .. }, Phase::Owned) => self.close(id).map_err(bare),
            (Command::Respond { data, .. }, Phase::Undecided) => {
                if data.as_ref().len() > CREDIT as usize {
                    return Err((Objection::OverCredit, Some(data)));
                }
                self.own(id, index, true);
                self.write(id, data)?;
                self.close(id).map_err(bare)
            }
            (Command::Reset { .. }, _) => {
                self.cut(index, End::ResetByConsumer);
                Ok(())
            }
            (late, _) => Err((Objection::WrongPhase, late.into_payload())),
        }
    }

    /// Joins an undecided flow to a backend: the one of this number in the configuration, or the balancer's choice.
    fn proxy(&mut self, id: SlotId, index: Index, backend: Option<u16>) -> Result<(), Objection> {
        let front = self.view.front(self.flows.edition(index)).ok_or(Objection::NoBackend)?;
        let choice = match backend {
            None => self.choose(front, index, None).ok(),
            Some(number) => {
                let slot = front.slots.get(usize::from(number)).copied();
                slot.and_then(|slot| self.reach(front, slot, index))
            }
        };
        let (choice, Body::Own(tcb)) =
            (choice.ok_or(Objection::NoBackend)?, *self.flows.body(index))
        else {
            return Err(Objection::WrongPhase);
        };
        let cx = self.splice_context(front);
        let mut splice = Splice::open(&tcb, &choice, &cx);
        let slot = self.handing.rings.slots.get_mut(id);
        splice.place = std::mem::replace(&mut slot.place, NOWHERE);
        if self.flows.join(index, &splice).is_err() {
            self.handing.rings.slots.get_mut(id).place = splice.place;
            self.proxies.ways.give_back(choice.path, choice.local_port);
            return Err(Objection::NoBackend);
        }
        self.handing.rings.decide(id, Phase::Proxied { named: backend.is_some() });
        self.send_syn(index);
        self.schedule_spliced(index, &cx);
        Ok(())
    }

    /// Resets a flow in any phase, both ends of it.
    #[cold]
    fn cut(&mut self, index: Index, end: End) {
        let edition = self.flows.edition(index);
        match *self.flows.body(index) {
            Body::Spliced(_) => {
                let Some(front) = self.view.front(edition) else { return };
                let cx = self.splice_context(front);
                self.note(index, Some(Happening::Ended(end)));
                self.abort(index, front, &cx);
            }
            Body::Own(tcb) => {
                let tuple = *self.flows.tuple(index);
                let cx = self.context(Some(edition), &tuple);
                self.note(index, Some(Happening::Ended(end)));
                if let Some(reset) = tcb.abort(&cx) {
                    self.generate(index, &tuple, &reset);
                }
                self.vanish(index, end, &cx);
            }
        }
    }

    /// A flow of our own is over: its record is free, or marks that its cookie is spent.
    pub(super) fn vanish(&mut self, index: Index, end: End, cx: &Context<'_>) {
        match self.flows.update(index, |tcb| tcb.leave(cx, end)) {
            Some(Change::Update) => self.advance(index, cx),
            Some(Change::Keep | Change::Open | Change::End(_)) | None => self.remove(index),
        }
    }
}

/// What a handshake has agreed on.
const fn negotiated(tcb: &Tcb) -> Negotiated {
    let scaled = tcb.traits.has(Traits::SCALED);
    Negotiated {
        mss: tcb.mss,
        window_scales: if scaled { Some((tcb.snd_shift, tcb.rcv_shift)) } else { None },
        sack: tcb.traits.has(Traits::SACK),
        timestamps: tcb.traits.has(Traits::TIMESTAMPS),
        ecn: tcb.traits.has(Traits::ECN),
    }
}

/// Whether flows of this kind are undecided once their handshakes are complete.
#[inline]
pub(super) const fn is_handed(kind: Kind) -> bool {
    matches!(kind, Kind::Ring)
}
