//! Flows that a consumer owns: its streams, in and out.
//!
//! `usher_proto::tcp` decides what is taken, acknowledged and sent. Here are the bytes: what the client sends goes to the
//! consumer in the buffer that it came in, or is kept until its turn; what the consumer writes is kept until the client
//! has acknowledged it. How much it has of the client's bytes decides how much more the client may send.

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use usher_proto::tcp::{Context, Kind, Source, State, Taken, Tcb};
use usher_proto::verdict::{Change, End, Event as Happening, Reason, Verdict};
use usher_proto::wire::{Flags, Parsed, Reply, Segment, SeqNum, parse};

use super::commit::Arrival;
use super::early::{Line, Part};
use super::egress::NoBuffer;
use super::handing::Lent;
use super::outbox::Queue;
use super::passing::GOOD;
use super::slots::{Phase, Slot, SlotId};
use super::turn::Turn;
use crate::flow::{Body, Index};
use crate::handoff::{Event, Objection, Payload};
use crate::port::{BURST, Frame, QueuePair};
use crate::stats::{Counter, ServiceCounter};

/// Bytes that a consumer may have written without their being acknowledged, a flow. Less slows long ways down (a round
/// trip takes as long as this much); more lets one flow take the consumer's chunks.
pub(super) const CREDIT: u32 = 1 << 17;

/// Bytes of a flow that its consumer may have: the window of a client whose consumer keeps up. What a window field holds
/// without a scale.
const WINDOW: u32 = 0xffff;

/// Buffers of a flow that its consumer may have: a window of segments of a few hundred bytes. A client that sends single
/// bytes pins no more.
const BUFFERS: u16 = 256;

/// What one segment leads to at most, beside what waits in the slot if it must: its data.
const ROOM: usize = 1;

/// An owned flow, beside its `Tcb`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    /// What was written and is not acknowledged.
    pub(super) queue: Queue,
    /// What came before its turn.
    pub(super) line: Line,
    /// How much was acknowledged: a place in the queue.
    delivered: u32,
    /// The right edge of the window that we keep to, and that of the window that the client was told.
    edge: SeqNum,
    announced: SeqNum,
    /// Bytes and buffers of the client's that the consumer has.
    leased: u32,
    buffers: u16,
    /// Whether a FIN follows what was written.
    closed: bool,
    /// Whether something was taken that nothing has acknowledged yet.
    owes_ack: bool,
    /// Whether the consumer has said something that is still to be sent.
    pub(super) is_touched: bool,
}

impl Stream {
    /// A stream without bytes.
    pub(super) const EMPTY: Self = Self {
        queue: Queue::EMPTY,
        line: Line::EMPTY,
        delivered: 0,
        edge: SeqNum(0),
        announced: SeqNum(0),
        leased: 0,
        buffers: 0,
        closed: false,
        owes_ack: false,
        is_touched: false,
    };

    /// The stream of a flow of which nothing is taken yet: its client knows the window of the SYN-ACK.
    fn begin(tcb: &Tcb, window: u16) -> Self {
        let edge = tcb.rcv_nxt.add(window.into());
        Self { edge, announced: edge, ..Self::EMPTY }
    }

    /// How far the consumer has come. The window's edge goes on as the consumer lets go of what it has, and never back.
    fn source(&mut self, tcb: &Tcb) -> Source {
        self.edge = self.edge.max(tcb.rcv_nxt.add(WINDOW.saturating_sub(self.leased)));
        let end = tcb.iss.add(1).add(self.queue.end());
        Source { end, closed: self.closed, edge: self.edge }
    }

    /// Whether the window has opened by so much that a client that still sends is to be told (RFC 9293 §3.8.6.2.2).
    fn has_opened(&mut self, tcb: &Tcb) -> bool {
        let edge = self.source(tcb).edge;
        let step = (u32::from(tcb.mss) * 2).min(WINDOW / 2);
        listens(tcb.state) && edge.is_after(self.announced) && edge.since(self.announced) >= step
    }

    /// The client has acknowledged the stream up to `delivered`. Returns how much that is since the last time.
    pub(super) const fn deliver(&mut self, delivered: u32) -> u32 {
        let news = delivered.wrapping_sub(self.delivered);
        self.delivered = delivered;
        news
    }

    /// Bytes that were written and not acknowledged.
    const fn waiting(&self) -> u32 {
        self.queue.end().wrapping_sub(self.delivered)
    }
}

impl Slot {
    /// Whether the consumer owns the flow.
    const fn is_owned(&self) -> bool {
        matches!(self.phase, Phase::Owned)
    }
}

impl<Q: QueuePair> Turn<'_, Q> {
    /// The slot of a flow that its consumer owns.
    #[inline]
    pub(super) fn owned_slot(&self, index: Index) -> Option<SlotId> {
        let slots = &self.handing.rings.slots;
        slots.of(index).filter(|id| slots.get(*id).is_owned())
    }

    /// Makes the context of an owned flow of that of an undecided one.
    pub(super) fn own_context(&mut self, index: Index, id: SlotId, cx: &mut Context<'_>) {
        if let Body::Own(tcb) = self.flows.body(index) {
            cx.kind = Kind::Owned(self.handing.rings.slots.get_mut(id).stream.source(tcb));
        }
    }

    /// A segment of a flow that its consumer owns. What finds no room with the consumer counts as not having come.
    pub(super) fn owned(
        &mut self,
        port: usize,
        frame: Q::Frame,
        (seg, hash, index, id): (&Segment, u64, Index, SlotId),
        cx: &Context<'_>,
    ) {
        let can_take = self.can_take(id, seg);
        let seen = if can_take.is_ok() { *seg } else { without_content(seg) };
        let (edition, was) = (self.flows.edition(index), self.flows.state(index));
        let before = self.rcv_nxt(index);
        let Some(mut decision) = self.flows.update(index, |tcb| tcb.decide(&seen, cx)) else {
            return self.deliver(port, frame);
        };
        let head = *frame.bytes().first_chunk().unwrap_or(&[0; 12]);
        let mut left = Some(frame);
        if decision.change == Change::Update {
            left = self.take_content(port, left, (&seen, before), (index, id), cx);
            if let Verdict::Answer(reply) = &mut decision.verdict {
                self.renew_ack(index, reply, cx);
            }
            if self.flows.state(index) == State::TimeWait {
                decision.event = Some(Happening::Ended(End::Closed));
            }
        }
        self.let_go(index, id, cx);
        let arrival = Arrival { seg, hash, frame: &head, edition };
        let moved = self.commit(&arrival, (index, was), &decision);
        match (left, &decision.verdict) {
            (Some(frame), Verdict::Answer(reply)) => {
                self.answer_owned(port, frame, (seg, index), reply)
            }
            (Some(frame), Verdict::Drop(reason)) => self.discard(port, frame, *reason),
            (Some(frame), _) => match can_take {
                Ok(()) => self.deliver(port, frame),
                Err(reason) => self.discard(port, frame, reason),
            },
            (None, verdict) => {
                self.tally.add(Counter::Delivered, 1);
                if let Verdict::Answer(reply) = verdict {
                    self.generate(index, &seg.tuple, reply);
                }
            }
        }
        if let Some(index) = moved {
            self.advance(index, cx);
        }
    }

    /// Whether what a segment holds can be given to the consumer, or there is nobody to give it to.
    fn can_take(&mut self, id: SlotId, seg: &Segment) -> Result<(), Reason> {
        let Some(room) = self.handing.rings.room(id).filter(|_| !seg.is_empty()) else {
            return Ok(());
        };
        let slot = self.handing.rings.slots.get(id);
        if room < ROOM {
            let service = usize::from(slot.ring);
            self.tally.add_service(service, ServiceCounter::RingFull);
            return Err(Reason::RingFull);
        }
        let has_lease = slot.stream.buffers < BUFFERS && self.handing.has_lease();
        if has_lease { Ok(()) } else { Err(Reason::NoLease) }
    }

    fn rcv_nxt(&self, index: Index) -> SeqNum {
        match self.flows.body(index) {
            Body::Own(tcb) => tcb.rcv_nxt,
            Body::Spliced(_) => SeqNum(0),
        }
    }

    /// What an accepted segment holds goes to the consumer, and what was kept and now has its turn; or the frame is kept.
    /// Gives the frame back if it is neither lent nor kept.
    fn take_content(
        &mut self,
        port: usize,
        mut frame: Option<Q::Frame>,
        (seg, before): (&Segment, SeqNum),
        (index, id): (Index, SlotId),
        cx: &Context<'_>,
    ) -> Option<Q::Frame> {
        let taken = Taken::of(seg, before, self.rcv_nxt(index));
        let mut fin = taken.fin;
        if taken.len > 0 {
            let start = usize::from(seg.payload_offset + taken.skip);
            frame =
                frame.and_then(|frame| self.hand_out(port, frame, id, (start, taken.len.into())));
        } else if self.is_early(index, seg, cx) {
            let stream = &mut self.handing.rings.slots.get_mut(id).stream;
            let early = &mut self.handing.early;
            frame =
                frame.and_then(|frame| early.push(&mut stream.line, Part::of(seg), frame).err());
        }
        if !self.handing.rings.slots.get(id).stream.line.is_empty() {
            fin |= self.absorb(port, index, id, cx);
        }
        if fin {
            self.handing.rings.tell_news(id, |news| news.peer_closed = true);
        }
        frame
    }

    /// Whether a segment lies behind a gap and within the window, of a client that has not closed.
    fn is_early(&self, index: Index, seg: &Segment, cx: &Context<'_>) -> bool {
        let (Body::Own(tcb), Kind::Owned(source)) = (self.flows.body(index), cx.kind) else {
            return false;
        };
        let fits = !seg.end().is_after(source.edge);
        listens(tcb.state) && !seg.is_empty() && seg.seq.is_after(tcb.rcv_nxt) && fits
    }

    /// Takes of what was kept what has its turn now, as far as the consumer has room. Returns whether the client's FIN was
    /// among it.
    fn absorb(&mut self, port: usize, index: Index, id: SlotId, cx: &Context<'_>) -> bool {
        let mut fin = false;
        loop {
            let rcv_nxt = self.rcv_nxt(index);
            let line = self.handing.rings.slots.get(id).stream.line;
            let Some(part) = self.handing.early.due(&line, rcv_nxt) else { return fin };
            let seg = part.segment();
            if seg.end().is_after(rcv_nxt) && self.can_take(id, &seg).is_err() {
                return fin; // the client sends it again
            }
            let stream = &mut self.handing.rings.slots.get_mut(id).stream;
            let Some(frame) = self.handing.early.pop(&mut stream.line) else { return fin };
            fin |= self.take_kept(port, frame, &seg, (index, id), cx).fin;
        }
    }

    /// Takes what is new in a frame that had its verdict before.
    fn take_kept(
        &mut self,
        port: usize,
        frame: Q::Frame,
        seg: &Segment,
        (index, id): (Index, SlotId),
        cx: &Context<'_>,
    ) -> Taken {
        let taken = self.flows.update(index, |tcb| tcb.absorb(seg, cx)).unwrap_or_default();
        let start = usize::from(seg.payload_offset + taken.skip);
        let left = match taken.len {
            0 => Some(frame),
            len => self.hand_out(port, frame, id, (start, len.into())),
        };
        if let Some(frame) = left {
            self.recycle(port, frame);
        }
        taken
    }

    /// Lends so many bytes of a frame to the flow's consumer. Gives the frame back if nobody takes it.
    fn hand_out(
        &mut self,
        port: usize,
        frame: Q::Frame,
        id: SlotId,
        (start, len): (usize, usize),
    ) -> Option<Q::Frame> {
        if self.handing.rings.room(id).is_none() {
            return Some(frame);
        }
        let flow = self.handing.rings.slots.get(id).flow;
        let lent = Lent { port, frame, owner: Some((id, flow)), len: len as u32 };
        match self.handing.lend(lent, start..start + len) {
            Ok(data) => {
                let stream = &mut self.handing.rings.slots.get_mut(id).stream;
                stream.leased += len as u32;
                stream.buffers += 1;
                let told = self.handing.rings.tell(id, Event::Data { flow, data, peeked: false });
                debug_assert!(told.is_ok(), "there was room when the segment came");
                None
            }
            Err(Lent { frame, .. }) => Some(frame),
        }
    }

    /// A consumer has let go of a buffer: its client may send more.
    pub(super) fn lease_is_home(&mut self, lent: Lent<Q::Frame>) {
        self.recycle(lent.port, lent.frame);
        let Some((id, flow)) = lent.owner else { return };
        let Some(slot) = self.handing.rings.slots.get_living_mut(id) else { return };
        if slot.flow != flow || !slot.is_owned() {
            return;
        }
        slot.stream.leased -= lent.len;
        slot.stream.buffers -= 1;
        if let Body::Own(tcb) = self.flows.body(slot.index)
            && slot.stream.has_opened(tcb)
        {
            self.touch(id);
        }
    }

    /// Says what was taken and how much more may come.
    fn acknowledge(&mut self, index: Index) {
        let cx = self.context_of(index);
        if let Body::Own(tcb) = self.flows.body(index) {
            let reply = tcb.acknowledge(&cx);
            let tuple = *self.flows.tuple(index);
            self.generate(index, &tuple, &reply);
        }
    }

    /// Lets a reply that was made before more was taken acknowledge that, too.
    fn renew_ack(&self, index: Index, reply: &mut Reply, cx: &Context<'_>) {
        if let Body::Own(tcb) = self.flows.body(index) {
            let newest = tcb.acknowledge(cx);
            (reply.ack, reply.window) = (newest.ack, newest.window);
        }
    }

    /// Lets go of what the client has acknowledged, and tells its consumer.
    fn let_go(&mut self, index: Index, id: SlotId, cx: &Context<'_>) {
        let Body::Own(tcb) = self.flows.body(index) else { return };
        let news = self.handing.release(id, tcb.delivered(cx));
        if news > 0 {
            self.handing.rings.tell_news(id, |waiting| waiting.acknowledged += news);
        }
    }

    /// Turns a frame into an answer with bytes of the consumer's.
    fn answer_owned(
        &mut self,
        port: usize,
        frame: Q::Frame,
        (seg, index): (&Segment, Index),
        reply: &Reply,
    ) {
        if !self.limits.allow(reply, &seg.tuple, &self.now) {
            return self.discard(port, frame, Reason::RateLimited);
        }
        self.announce_window(index, reply);
        let payload = self.handing.payload(index, reply).unwrap_or(&[]);
        let link = &mut self.links[port];
        match link.answer(frame, seg, reply, payload, self.tally) {
            Ok(()) => self.tally.add(Counter::Answered, 1),
            Err(NoBuffer) => self.count_drop(Reason::NoBuffer),
        }
    }

    /// Remembers which window the client is told.
    pub(super) fn announce_window(&mut self, index: Index, reply: &Reply) {
        let Some(id) = self.owned_slot(index) else { return };
        if let Body::Own(tcb) = self.flows.body(index) {
            let edge = reply.ack.add(u32::from(reply.window) << tcb.rcv_shift);
            let stream = &mut self.handing.rings.slots.get_mut(id).stream;
            stream.announced = stream.announced.max(edge);
            stream.owes_ack = false;
        }
    }

    /// A consumer takes a flow. What is held of it is given out, unless the consumer has `peeked` at it and does not want
    /// it again, and acknowledged. What finds no room is forgotten: the client sends it again.
    pub(super) fn own(&mut self, id: SlotId, index: Index, peeked: bool) {
        let window = self.context_of(index).offer.window;
        let Body::Own(tcb) = self.flows.body(index) else { return };
        let stream = Stream::begin(tcb, window);
        let first = tcb.rcv_nxt;
        self.handing.rings.decide(id, Phase::Owned);
        let slot = self.handing.rings.slots.get_mut(id);
        slot.stream = stream;
        let held = self.proxies.held.take(&mut slot.place);
        self.flows.update(index, Tcb::own);
        let cx = self.context_of(index);
        let port = usize::from(self.flows.tuple(index).port);
        let mut fin = false;
        for frame in held {
            let parsed = parse(frame.bytes(), &self.view.ports[port].wire, GOOD);
            let Ok(Parsed::Tcp(seg)) = parsed else { continue };
            if peeked {
                let taken = self.flows.update(index, |tcb| tcb.absorb(&seg, &cx));
                fin |= taken.is_some_and(|taken| taken.fin);
                self.recycle(port, frame);
                continue;
            }
            // Answers to commands have their room first.
            let has_room = self.handing.rings.room(id).is_some_and(|room| room > BURST);
            match self.can_take(id, &seg) {
                Ok(()) if has_room => {
                    fin |= self.take_kept(port, frame, &seg, (index, id), &cx).fin;
                }
                Ok(()) => self.drop_held(port, frame, Reason::RingFull),
                Err(reason) => self.drop_held(port, frame, reason),
            }
        }
        if fin {
            self.handing.rings.tell_news(id, |news| news.peer_closed = true);
        }
        let owes_ack = self.rcv_nxt(index) != first;
        self.handing.rings.slots.get_mut(id).stream.owes_ack = owes_ack;
        self.touch(id);
    }

    /// A consumer writes on a flow that it owns.
    ///
    /// # Errors
    ///
    /// Gives the payload back, and says why.
    pub(super) fn write(
        &mut self,
        id: SlotId,
        payload: Payload,
    ) -> Result<(), (Objection, Option<Payload>)> {
        let slot = self.handing.rings.slots.get_mut(id);
        let (ring, stream) = (slot.ring, &mut slot.stream);
        if stream.closed {
            return Err((Objection::WrongPhase, Some(payload)));
        }
        let len = u32::try_from(payload.as_ref().len()).unwrap_or(u32::MAX);
        if stream.waiting().saturating_add(len) > CREDIT {
            return Err((Objection::OverCredit, Some(payload)));
        }
        match self.handing.outbox.push(&mut stream.queue, payload) {
            Ok(None) => {}
            Ok(Some(copied)) => self.handing.rings.give_back(ring, copied),
            Err(payload) => return Err((Objection::OverCredit, Some(payload))),
        }
        self.touch(id);
        Ok(())
    }

    /// A consumer closes its side of a flow that it owns.
    ///
    /// # Errors
    ///
    /// If it has done so before.
    pub(super) fn close(&mut self, id: SlotId) -> Result<(), Objection> {
        let stream = &mut self.handing.rings.slots.get_mut(id).stream;
        if std::mem::replace(&mut stream.closed, true) {
            return Err(Objection::WrongPhase);
        }
        self.touch(id);
        Ok(())
    }

    /// Something is to be sent on a flow when all commands of this batch are carried out: bytes that were written one after
    /// the other then share segments, and a window that has opened goes with them.
    fn touch(&mut self, id: SlotId) {
        let stream = &mut self.handing.rings.slots.get_mut(id).stream;
        if !stream.is_touched {
            stream.is_touched = true;
            self.handing.touched.push(id);
        }
    }

    /// Sends what consumers have written, and how much their clients may send.
    pub(super) fn send_written(&mut self) {
        while let Some(id) = self.handing.touched.pop() {
            let Some(slot) = self.handing.rings.slots.get_living_mut(id) else { continue };
            if !std::mem::replace(&mut slot.stream.is_touched, false) {
                continue;
            }
            let index = slot.index;
            let cx = self.context_of(index);
            self.flows.update(index, |tcb| tcb.stream_grew(&cx));
            self.advance(index, &cx);
            let slot = self.handing.rings.slots.get_living_mut(id);
            if let (Some(slot), Body::Own(tcb)) = (slot, self.flows.body(index))
                && (slot.stream.owes_ack || slot.stream.has_opened(tcb))
            {
                self.acknowledge(index);
            }
        }
    }

    /// An owned flow is over. Lets go of everything that was kept for it, and says how many bytes were written and not
    /// acknowledged.
    pub(super) fn end_stream(&mut self, port: usize, id: SlotId) -> u64 {
        let slot = self.handing.rings.slots.get_mut(id);
        if !slot.is_owned() {
            return 0;
        }
        let lost = slot.stream.waiting();
        slot.stream.is_touched = false;
        self.handing.clear(id);
        loop {
            let stream = &mut self.handing.rings.slots.get_mut(id).stream;
            let Some(frame) = self.handing.early.pop(&mut stream.line) else { return lost.into() };
            self.recycle(port, frame);
        }
    }
}

impl<'a, Q: QueuePair> Turn<'a, Q> {
    /// Everything that a decision about a flow depends on.
    pub(super) fn context_of(&mut self, index: Index) -> Context<'a> {
        let tuple = *self.flows.tuple(index);
        let mut cx = self.context(Some(self.flows.edition(index)), &tuple);
        if let Some(id) = self.owned_slot(index) {
            self.own_context(index, id, &mut cx);
        }
        cx
    }
}

/// Whether the client may still send in this state.
const fn listens(state: State) -> bool {
    matches!(state, State::Established | State::FinWait1 | State::FinWait2)
}

/// A segment as if its sender had sent it without data and FIN.
fn without_content(seg: &Segment) -> Segment {
    let kept = Flags::SYN | Flags::RST | Flags::ACK | Flags::URG | Flags::ECE | Flags::CWR;
    Segment { payload_len: 0, flags: seg.flags.only(kept), ..*seg }
}
