//! Proxied flows: backends are chosen, connected to, and joined to their clients.
//!
//! What both halves say is decided by `usher_proto::splice`. Here is what it cannot know: which backend,
//! by which path, from which port of ours; where frames go; what is held until the backend half is open.

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use arrayvec::ArrayVec;
use usher_proto::neighbor::Lookup;
use usher_proto::splice::{
    Choice, Half, Learned, Outward, Passage, Rewrite, Splice, SpliceContext, Step, Then, TimerStep,
    TryEnd, split, translate,
};
use usher_proto::tcp::{Refusal, State, Tcb, Terms};
use usher_proto::verdict::{Change, End, Event, Reason, Verdict};
use usher_proto::wire::{Checked, Link, Mac, Parsed, Reply, RxChecksums, Segment, Tuple, parse};

use super::commit::source_of;
use super::egress::{end, redirect};
use super::front::Front;
use super::held::{Held, PER_FLOW};
use super::turn::Turn;
use super::ways::Ways;
use crate::flow::{Body, Index};
use crate::port::{Frame, QueuePair};
use crate::service::hash;
use crate::stats::Counter;

/// Flows whose frames may be held at a time, and frames in all: connecting takes a round trip, so that
/// this is enough for a million connections a second to backends within a millisecond. More would let a
/// dead backend pin the pool.
const HELD_FLOWS: u16 = 1024;
const HELD_FRAMES: usize = 4096;

/// What a held frame's checksums are: it was let in.
const GOOD: RxChecksums = RxChecksums { ip: Checked::Good, l4: Checked::Good };

/// What SYN-ACKs of proxy services agree to. The window is what is held: ten full segments.
pub(super) const TERMS: Terms =
    Terms { mss: u16::MAX, sack: true, timestamps: true, ecn: true, window: 14_600 };

/// What a worker has for proxied flows, beside their records.
#[derive(Debug)]
pub(super) struct Proxies<F> {
    held: Held<F>,
    pub(super) ways: Ways,
}

impl<F> Proxies<F> {
    /// Nothing held; all these ways free.
    pub(super) fn new(ways: Ways) -> Self {
        Self { held: Held::new(HELD_FLOWS, HELD_FRAMES), ways }
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
        let Some(choice) = self.choose(front, index, None) else {
            self.turn_away(index, &tcb, front);
            return self.deliver(port, frame);
        };
        let splice = Splice::open(&tcb, &choice, &cx);
        if self.flows.join(index, &splice).is_err() {
            self.proxies.ways.give_back(choice.path, choice.local_port);
            self.turn_away(index, &tcb, front);
            return self.discard(port, frame, Reason::TableFull);
        }
        self.spliced(port, frame, seg, index, Half::Client);
        self.send_syn(index);
        self.schedule_spliced(index, &cx);
    }

    /// No backend takes the client, whose handshake is complete.
    #[cold]
    fn turn_away(&mut self, index: Index, tcb: &Tcb, front: &Front) {
        let (edition, tuple) = (self.flows.edition(index), *self.flows.tuple(index));
        self.note(edition, Some(Event::Ended(End::NoBackend)));
        let cx = self.context(Some(edition), &tuple);
        if front.plan.no_backend == Refusal::Reset
            && let Some(reset) = tcb.abort(&cx)
        {
            self.generate(index, &tuple, &reset);
        }
        self.remove(index);
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
        let cx = self.splice_context(front);
        let step = self.flows.update_spliced(index, |flow| flow.pass(half, seg, &cx));
        let Some(Step { passage, then, event }) = step else { return self.deliver(port, frame) };
        if half == Half::Client {
            self.flows.set_peer(index, source_of(frame.bytes()));
        }
        match passage {
            Passage::Forward(rewrite) => {
                let passed = self.pass_on(frame, seg, (index, half), &rewrite);
                self.count_passed(port, passed);
            }
            Passage::Answer(reply) => {
                self.carry_out(port, frame, seg, &Verdict::Answer(reply), edition);
            }
            Passage::Hold => self.hold(port, frame, seg, index),
            Passage::Deliver => self.deliver(port, frame),
            Passage::Drop(reason) => self.discard(port, frame, reason),
            Passage::Split(rewrite, most) => {
                self.split(&frame, seg, (index, half), &rewrite, most);
                self.deliver(port, frame);
            }
            Passage::Reopen => return self.reopen(port, frame, seg, index),
        }
        self.note(edition, event);
        if then != Then::Stay {
            self.follow(index, then, front, &cx);
        }
    }

    /// Sends a frame on to the other half.
    #[inline]
    fn pass_on(
        &mut self,
        mut frame: Q::Frame,
        seg: &Segment,
        (index, from): (Index, Half),
        rewrite: &Rewrite,
    ) -> Passed<Q::Frame> {
        let Some((out, slot)) = self.outward(index, from.other()) else {
            return Err((frame, Reason::NoNextHop));
        };
        let whole = frame.rx_checksums().l4 == Checked::Unfinished;
        match translate(frame.room(), seg, &out, rewrite, whole) {
            Ok(len) => {
                end(&mut frame, len);
                Ok(self.hand_over(&out, slot, frame))
            }
            Err(reason) => Err((frame, reason)),
        }
    }

    /// Sends a segment that is too large for the other end in pieces.
    #[cold]
    fn split(
        &mut self,
        frame: &Q::Frame,
        seg: &Segment,
        (index, from): (Index, Half),
        rewrite: &Rewrite,
        most: u16,
    ) {
        let Some((out, slot)) = self.outward(index, from.other()) else { return };
        let mut pieces = split(frame.bytes(), seg, &out, rewrite, most);
        while pieces.left() > 0 {
            let Some(egress) = self.links[usize::from(out.tuple.port)].as_mut() else { return };
            let Ok(mut piece) = egress.buffer(self.tally) else { return };
            match pieces.write_next(piece.room()) {
                Some(Ok(len)) => {
                    end(&mut piece, len);
                    self.send_generated(&out, slot, piece);
                }
                Some(Err(_)) | None => return egress.recycle(piece),
            }
        }
    }

    #[inline]
    fn count_passed(&mut self, port: usize, passed: Passed<Q::Frame>) {
        match passed {
            Ok(Handed::Over) => self.tally.add(Counter::Forwarded, 1),
            Ok(Handed::Waits) => self.tally.add(Counter::Held, 1),
            Err((frame, reason)) => self.discard(port, frame, reason),
        }
    }

    /// The envelope and names of what goes out on a half, and the slot of the backend. The station is
    /// `Mac::ZERO` where it must be asked for.
    #[inline]
    fn outward(&self, index: Index, to: Half) -> Option<(Outward, u16)> {
        let Body::Spliced(flow) = self.flows.body(index) else { return None };
        let (tuple, dst) = match to {
            Half::Client => (*self.flows.tuple(index), self.flows.peer(index)),
            Half::Backend => {
                let station = self.proxies.ways.station(flow.backend, self.now.tick);
                (self.flows.backend_tuple(index)?, station.unwrap_or(Mac::ZERO))
            }
        };
        let wire = &self.view.ports[usize::from(tuple.port)].wire;
        let link = Link { src: wire.mac, dst, vlan: wire.vlan };
        let hops = u8::from(self.view.targets.is_translated(flow.path));
        Some((Outward { link, tuple, hops }, flow.backend))
    }

    /// Hands a frame that is ready to its port, or lets it wait for the next hop.
    #[inline]
    fn hand_over(&mut self, out: &Outward, slot: u16, frame: Q::Frame) -> Handed {
        let Some(egress) = self.links[usize::from(out.tuple.port)].as_mut() else {
            return Handed::Waits; // never: a worker that proxies has queues on every port
        };
        if out.link.dst != Mac::ZERO {
            egress.push(frame, self.tally);
            return Handed::Over;
        }
        match self.find_station(slot, usize::from(out.tuple.port), frame) {
            Some(frame) => {
                if let Some(egress) = self.links[usize::from(out.tuple.port)].as_mut() {
                    egress.push(frame, self.tally);
                }
                Handed::Over
            }
            None => Handed::Waits,
        }
    }

    /// The same with a frame that answers none.
    fn send_generated(&mut self, out: &Outward, slot: u16, frame: Q::Frame) {
        let port = usize::from(out.tuple.port);
        let ready = if out.link.dst == Mac::ZERO {
            self.find_station(slot, port, frame)
        } else {
            Some(frame)
        };
        if let (Some(frame), Some(egress)) = (ready, self.links[port].as_mut()) {
            egress.push_generated(frame, self.tally);
        }
    }

    /// Addresses a frame to the next hop of a backend, if that is known; else the frame waits until it is.
    #[cold]
    fn find_station(&mut self, slot: u16, port: usize, frame: Q::Frame) -> Option<Q::Frame> {
        let egress = self.links[port].as_mut()?;
        let hop = self.view.targets.get(slot)?.hop;
        let dropped = match egress.neighbours.lookup(&hop, frame, self.now.tick) {
            Lookup::Known(mac, mut frame) => {
                redirect(&mut frame, mac);
                self.proxies.ways.set_station(slot, mac, self.now.tick);
                return Some(frame);
            }
            Lookup::Held(oldest) => oldest,
            Lookup::Full(frame) => Some(frame),
        };
        if let Some(frame) = dropped {
            egress.recycle(frame);
            self.lose(Reason::NoNextHop);
        }
        None
    }

    /// Counts a frame that had its verdict and was dropped later.
    fn lose(&mut self, reason: Reason) {
        self.tally.add(Counter::Lost, 1);
        self.tally.drop_reason(reason, 1);
    }

    /// Sends a segment of ours to the backend.
    fn send_to_backend(&mut self, index: Index, reply: &Reply) {
        let Some((out, slot)) = self.outward(index, Half::Backend) else { return };
        let Some(egress) = self.links[usize::from(out.tuple.port)].as_mut() else { return };
        if let Ok(frame) = egress.generate(&out.link, &out.tuple, reply, &[], self.tally) {
            self.send_generated(&out, slot, frame);
        }
    }

    fn send_syn(&mut self, index: Index) {
        if let Body::Spliced(flow) = self.flows.body(index) {
            let syn = flow.syn();
            self.send_to_backend(index, &syn);
        }
    }

    /// Keeps a frame until the backend half is open.
    #[cold]
    fn hold(&mut self, port: usize, frame: Q::Frame, seg: &Segment, index: Index) {
        let held = &mut self.proxies.held;
        let kept = self.flows.update_spliced(index, |flow| {
            let kept = held.push(&mut flow.place, frame);
            if kept.is_err() {
                flow.not_held(seg);
            }
            kept
        });
        match kept {
            Some(Err(frame)) => self.discard(port, frame, Reason::HoldFull),
            Some(Ok(())) | None => self.tally.add(Counter::Held, 1),
        }
    }

    fn take_held(&mut self, index: Index) -> ArrayVec<Q::Frame, PER_FLOW> {
        let held = &mut self.proxies.held;
        self.flows.update_spliced(index, |flow| held.take(&mut flow.place)).unwrap_or_default()
    }

    /// The backend half is open: what was held goes on.
    #[cold]
    fn release(&mut self, index: Index, cx: &SpliceContext<'_>) {
        let port = usize::from(self.flows.tuple(index).port);
        for frame in self.take_held(index) {
            let parsed = parse(frame.bytes(), &self.view.ports[port].wire, GOOD);
            let Ok(Parsed::Tcp(seg)) = parsed else { continue };
            let passage = self.flows.update_spliced(index, |flow| flow.pass_held(&seg, cx));
            match passage {
                Some(Passage::Forward(rewrite)) => {
                    match self.pass_on(frame, &seg, (index, Half::Client), &rewrite) {
                        Ok(Handed::Over) => self.tally.add(Counter::Released, 1),
                        Ok(Handed::Waits) => {}
                        Err((frame, reason)) => self.drop_held(port, frame, reason),
                    }
                }
                Some(Passage::Split(rewrite, most)) => {
                    self.split(&frame, &seg, (index, Half::Client), &rewrite, most);
                    self.recycle(port, frame);
                }
                _ => self.drop_held(port, frame, Reason::OutOfWindow),
            }
        }
    }

    fn drop_held(&mut self, port: usize, frame: Q::Frame, reason: Reason) {
        self.lose(reason);
        self.recycle(port, frame);
    }

    /// What becomes of the flow after a step or a timer.
    #[cold]
    fn follow(&mut self, index: Index, then: Then, front: &Front, cx: &SpliceContext<'_>) {
        match then {
            Then::Stay => {}
            Then::Moved => {
                if self.flows.state(index).gives_way() {
                    self.give_port_back(index);
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
        let choice = match why {
            TryEnd::InTimeWait => self.reach(flow.backend, index),
            TryEnd::Refused | TryEnd::TimedOut => None,
        };
        let choice = choice.or_else(|| self.choose(front, index, Some(flow.backend)));
        let joined = choice.is_some_and(|choice| {
            flow.retry(&choice, cx);
            let joined = self.flows.join(index, &flow).is_ok();
            if !joined {
                self.proxies.ways.give_back(choice.path, choice.local_port);
            }
            joined
        });
        if joined {
            self.send_syn(index);
            self.schedule_spliced(index, cx);
        } else {
            self.note(self.flows.edition(index), Some(Event::Ended(End::NoBackend)));
            self.abort(index, front, cx);
        }
    }

    /// Ends the flow from our side and tells both ends.
    #[cold]
    fn abort(&mut self, index: Index, front: &Front, cx: &SpliceContext<'_>) {
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
        self.give_port_back(index);
        self.retire(index)
    }

    /// The same of a flow whose port is free already, or was just taken for another flow.
    fn retire(&mut self, index: Index) {
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

    /// The flow's port is free again. Asked for twice it does no harm: a port is only taken again after the
    /// flow that still has its name was finished.
    fn give_port_back(&mut self, index: Index) {
        if let Body::Spliced(flow) = self.flows.body(index) {
            self.proxies.ways.give_back(flow.path, flow.local_port);
        }
    }

    fn schedule_spliced(&mut self, index: Index, cx: &SpliceContext<'_>) {
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
        let mut tcb = Tcb::default();
        let decision = flow.reopen(seg, &cx, &scx, &mut tcb);
        if decision.change == Change::Open {
            self.give_port_back(index);
            self.flows.part(index, &tcb);
            self.flows.renew(index, source_of(frame.bytes()), edition, self.now.us as u32);
            self.note(edition, decision.event);
        }
        self.note_cookie(decision.cookie, &decision.verdict);
        if decision.verdict == Verdict::Connect {
            return self.connect(port, frame, seg, index);
        }
        self.carry_out(port, frame, seg, &decision.verdict, edition);
        self.advance(index, &cx);
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
        self.note(edition, event);
        self.follow(index, then, front, &cx);
    }

    /// Resets a proxied flow: the drain's deadline has come.
    #[cold]
    pub(super) fn drain_spliced(&mut self, index: Index) {
        let edition = self.flows.edition(index);
        let Some(front) = self.view.front(edition) else { return };
        let cx = self.splice_context(front);
        self.note(edition, Some(Event::Ended(End::Drained)));
        self.abort(index, front, &cx);
    }

    /// The first backend after `after` in the flow's order that can be used and reached.
    fn choose(&mut self, front: &Front, index: Index, after: Option<u16>) -> Option<Choice> {
        let hash = hash(front.plan.balance, self.flows.tuple(index));
        let usable = |_slot: u16| true;
        let mut slot = match after {
            None => front.table.pick(hash, usable),
            Some(after) => front.table.next(hash, after, usable),
        };
        while let Some(candidate) = slot {
            if let Some(choice) = self.reach(candidate, index) {
                return Some(choice);
            }
            self.tally.add(Counter::PortsExhausted, 1);
            slot = front.table.next(hash, candidate, usable);
        }
        None
    }

    /// A path to the backend in `slot`, with a port of ours that is free there.
    fn reach(&mut self, slot: u16, index: Index) -> Option<Choice> {
        let view = self.view;
        let target = view.targets.get(slot)?;
        let client = *self.flows.tuple(index);
        let turn = self.flows.hash(&client) as usize;
        let count = target.paths.len();
        let paths = (0..count).map(|n| target.paths.start + ((turn + n) % count) as u16);
        for path in paths {
            let translated = view.targets.is_translated(path);
            let local_port = if translated {
                let Some(port) = self.proxies.ways.take_port(path) else { continue };
                port
            } else {
                0
            };
            let name = view.targets.paths()[usize::from(path)].name(&client, local_port);
            if !self.vacate(&name, index) {
                self.proxies.ways.give_back(path, local_port);
                continue;
            }
            let (iss, ts_offset) = view.keyring.isn.isn(&name, &self.now);
            let out = &view.ports[target.port];
            let mss =
                out.mss(&name.remote).min(view.ports[usize::from(client.port)].mss(&client.remote));
            return Some(Choice {
                path,
                local_port,
                backend: slot,
                iss,
                ts_offset: translated.then_some(ts_offset),
                header_len: 0,
                mss,
                learned: Learned::default(),
            });
        }
        None
    }

    /// Sees to it that no other flow than `index` has this name. What has ended and only lingers gives way.
    fn vacate(&mut self, name: &Tuple, index: Index) -> bool {
        let hash = self.flows.hash(name);
        match self.flows.find(hash, name) {
            None => true,
            Some((other, Half::Backend)) if other == index => true,
            Some((other, Half::Backend)) if self.flows.state(other).gives_way() => {
                self.retire(other);
                true
            }
            Some(_) => false,
        }
    }
}

impl<'a, Q: QueuePair> Turn<'a, Q> {
    /// Everything but flow and segment that a step of a proxied flow depends on.
    #[inline]
    fn splice_context(&self, front: &Front) -> SpliceContext<'a> {
        let tries = front.plan.retries.saturating_add(1);
        SpliceContext { now: self.now, policy: &self.view.policy, window: TERMS.window, tries }
    }
}

/// What became of a frame that was to be passed on: or the frame, and why not.
type Passed<F> = Result<Handed, (F, Reason)>;

/// Where a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Handed {
    /// At its port.
    Over,
    /// Waiting for its next hop, or lost.
    Waits,
}
