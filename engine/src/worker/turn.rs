//! One round of a worker: frames in order of arrival, each from its bytes to its verdict.
//!
//! Stages hash and prefetch only; finding, deciding, committing and carrying out happen frame by frame,
//! so that the second of two frames of one connection sees what the first did.

#![forbid(unsafe_code)]

use std::sync::Arc;

use arrayvec::ArrayVec;
use usher_proto::tcp::{Admission, Context, Kind, State, Tcb, Terms, listen, refuse};
use usher_proto::time::Now;
use usher_proto::verdict::{CookieUse, Decision, Reason, Verdict};
use usher_proto::wire::{
    Flags, Parsed, PortView, Reply, RxChecksums, Segment, Tuple, parse, parse_plain,
};

use super::View;
use super::commit::Arrival;
use super::egress::{Egress, NoBuffer};
use super::gate::Gate;
use super::handing::{Handing, is_handed};
use super::limiter::Limiter;
use super::offers::own_terms;
use super::proxy::Proxies;
use super::redirect::Peers;
use crate::flow::{Index, Table};
use crate::port::{BURST, Burst, Frame, QueuePair};
use crate::stats::{Board, Counter, PortCounter, Tally};

/// What was read of a frame, and the hash of its tuple.
pub(super) struct Lane {
    pub(super) parsed: Result<Parsed, Reason>,
    hash: u64,
    /// The worker whose the frame is, or [`HERE`].
    pub(super) owner: u16,
}

impl Lane {
    const fn new(parsed: Result<Parsed, Reason>) -> Self {
        Self { parsed, hash: 0, owner: HERE }
    }
}

/// The owner of frames that stay.
pub(super) const HERE: u16 = u16::MAX;

pub(super) type Lanes = ArrayVec<Lane, BURST>;

/// Limits, one for each kind: a flood that draws RSTs does not silence challenge ACKs.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) resets: Limiter,
    pub(super) challenges: Limiter,
    pub(super) errors: Limiter,
}

impl Limits {
    pub(super) fn allow(&mut self, reply: &Reply, tuple: &Tuple, now: &Now) -> bool {
        let limiter =
            if reply.flags.has(Flags::RST) { &mut self.resets } else { &mut self.challenges };
        !reply.limited || limiter.allows(tuple, now)
    }
}

/// Everything of a worker that a round touches, with the present.
pub(super) struct Turn<'a, Q: QueuePair> {
    pub(super) now: Now,
    pub(super) view: &'a View,
    pub(super) flows: &'a mut Table,
    pub(super) gate: &'a mut Gate,
    pub(super) limits: &'a mut Limits,
    pub(super) tally: &'a mut Tally,
    pub(super) links: &'a mut [Egress<Q>],
    pub(super) peers: &'a mut Peers<Q::Frame>,
    /// Where all workers publish their counts.
    pub(super) boards: &'a [Arc<Board>],
    pub(super) proxies: &'a mut Proxies<Q::Frame>,
    pub(super) handing: &'a mut Handing<Q::Frame>,
}

impl<Q: QueuePair> Turn<'_, Q> {
    /// One burst of `port`, front to back. Returns how many frames there were.
    pub(super) fn burst(&mut self, port: usize) -> usize {
        let mut burst = Burst::new();
        self.links[port].share.rx(&mut burst);
        let received = burst.len();
        if received > 0 {
            let before = self.verdicts();
            let mut lanes = Lanes::new();
            for frame in &burst {
                self.read(port, frame, frame.rx_checksums(), &mut lanes);
            }
            if !self.peers.position().is_alone() {
                self.find_owners(port, &burst, &mut lanes);
            }
            self.fetch(&mut lanes);
            for (frame, lane) in burst.into_iter().zip(&lanes) {
                self.handle(port, frame, lane);
            }
            self.tally.add(Counter::Received, received as u64);
            self.tally.add_port(port, PortCounter::Received, received as u64);
            self.assert_verdicts(before, received);
        }
        received
    }

    /// There were so many verdicts, and since then came so many frames.
    #[inline]
    pub(super) fn assert_verdicts(&self, before: u64, frames: usize) {
        debug_assert_eq!(
            self.verdicts() - before,
            frames as u64,
            "each frame ends in exactly one verdict"
        );
    }

    /// Verdicts so far.
    pub(super) fn verdicts(&self) -> u64 {
        const ALL: [Counter; 7] = [
            Counter::Answered,
            Counter::Reflected,
            Counter::Delivered,
            Counter::Forwarded,
            Counter::Held,
            Counter::Dropped,
            Counter::RedirectedOut,
        ];
        ALL.iter().map(|&counter| self.tally.get(counter)).sum()
    }

    /// First stage: what a frame is.
    #[inline]
    pub(super) fn read(
        &self,
        port: usize,
        frame: &Q::Frame,
        checksums: RxChecksums,
        lanes: &mut Lanes,
    ) {
        let wire = &self.view.ports[port].wire;
        let plain = frame.is_whole().then(|| parse_plain(frame.bytes(), wire, checksums));
        // Two places to write a lane from: joined in one, it would be made elsewhere and copied.
        match plain {
            Some(Some(seg)) => lanes.push(Lane::new(Ok(Parsed::Tcp(seg)))),
            Some(None) => lanes.push(unusual(frame.bytes(), wire, checksums)),
            None => lanes.push(Lane::new(Err(Reason::MultiSegment))),
        }
    }

    /// Second stage: hashes and hints, no result is kept. Ten million flows make a look-up 50 ns instead of
    /// 184 this way; a loop each, so that the first line has come when the second is asked for.
    #[inline]
    pub(super) fn fetch(&self, lanes: &mut Lanes) {
        for lane in lanes.iter_mut().filter(|lane| lane.owner == HERE) {
            if let Ok(Parsed::Tcp(seg)) = &lane.parsed {
                lane.hash = self.flows.hash(&seg.tuple);
                self.flows.prefetch_bucket(lane.hash);
            }
        }
        let is_tcp = |lane: &&Lane| lane.owner == HERE && matches!(lane.parsed, Ok(Parsed::Tcp(_)));
        lanes.iter().filter(is_tcp).for_each(|lane| self.flows.prefetch_record(lane.hash));
    }

    /// Last stage: one frame.
    #[inline]
    pub(super) fn handle(&mut self, port: usize, frame: Q::Frame, lane: &Lane) {
        match &lane.parsed {
            _ if lane.owner != HERE => self.hand_on(port, frame, lane.owner),
            Ok(Parsed::Tcp(seg)) => self.segment(port, frame, seg, lane.hash),
            Ok(parsed) => self.neighbour(port, frame, parsed),
            Err(reason) => self.discard(port, frame, *reason),
        }
    }

    /// Find, decide, commit, carry out; then what the flow has to say beside it.
    #[inline]
    fn segment(&mut self, port: usize, frame: Q::Frame, seg: &Segment, hash: u64) {
        match self.flows.find(hash, &seg.tuple) {
            None => self.stray(port, frame, seg, hash),
            Some((index, half)) if self.flows.is_spliced(index) => {
                self.spliced(port, frame, seg, index, half);
            }
            Some((index, _)) => self.known(port, frame, seg, hash, index),
        }
    }

    /// A segment of a flow of our own.
    #[inline]
    fn known(&mut self, port: usize, frame: Q::Frame, seg: &Segment, hash: u64, index: Index) {
        let edition = self.flows.edition(index);
        let mut cx = self.context(Some(edition), &seg.tuple);
        if is_handed(cx.kind) {
            return match self.owned_slot(index) {
                Some(id) => {
                    self.own_context(index, id, &mut cx);
                    self.owned(port, frame, (seg, hash, index, id), &cx);
                }
                None => self.undecided(port, frame, (seg, hash, index), &cx),
            };
        }
        let was = self.flows.state(index);
        // Decisions stay where they are made: each move of one waits for what was just written.
        let Some(decision) = self.flows.update(index, |tcb| tcb.decide(seg, &cx)) else {
            return self.deliver(port, frame);
        };
        let arrival = Arrival { seg, hash, frame: frame.bytes(), edition };
        let moved = self.commit(&arrival, (index, was), &decision);
        self.conclude(port, frame, &decision, (seg, edition, moved), &cx);
    }

    /// A segment without a flow.
    #[inline]
    fn stray(&mut self, port: usize, frame: Q::Frame, seg: &Segment, hash: u64) {
        let edition = self.view.edition(&seg.tuple);
        if edition.is_none() && !self.view.ports[port].is_ours(&seg.tuple.local) {
            return self.discard(port, frame, Reason::OtherAddress);
        }
        let cx = self.context(edition, &seg.tuple);
        let mut fresh = Tcb::default();
        let mut decision = match edition {
            Some(edition) if self.is_forsaken(edition, seg) => {
                return self.forsake(port, frame, seg, edition, &cx);
            }
            Some(edition) if is_handed(cx.kind) && !seg.flags.has(Flags::RST) => {
                if let Err(reason) = self.can_tell(edition) {
                    return self.discard(port, frame, reason);
                }
                listen(seg, &cx, &mut fresh)
            }
            Some(_) => listen(seg, &cx, &mut fresh),
            None if self.take_check(&frame, seg) => return self.deliver(port, frame),
            None => refuse(seg, &cx),
        };
        let edition = edition.unwrap_or(0);
        let arrival = Arrival { seg, hash, frame: frame.bytes(), edition };
        let moved = self.commit_new(&arrival, &fresh, &mut decision);
        self.conclude(port, frame, &decision, (seg, edition, moved), &cx);
    }

    /// Carries out a decision that is committed; `moved` is the flow that may have more to send.
    #[inline]
    pub(super) fn conclude(
        &mut self,
        port: usize,
        frame: Q::Frame,
        decision: &Decision,
        (seg, edition, moved): (&Segment, u16, Option<Index>),
        cx: &Context<'_>,
    ) {
        self.note_cookie(decision.cookie, &decision.verdict);
        if let (Verdict::Connect, Some(index)) = (&decision.verdict, moved) {
            return match is_handed(cx.kind) {
                true => self.establish(port, frame, seg, index, decision.event, cx),
                false => self.connect(port, frame, seg, index),
            };
        }
        self.carry_out(port, frame, seg, &decision.verdict, edition);
        if let Some(index) = moved {
            self.advance(index, cx);
        }
    }

    /// What a frame became, in the order in which the port sends.
    #[inline]
    pub(super) fn carry_out(
        &mut self,
        port: usize,
        frame: Q::Frame,
        seg: &Segment,
        verdict: &Verdict,
        edition: u16,
    ) {
        let reply = match verdict {
            Verdict::Answer(reply) => reply,
            Verdict::Deliver | Verdict::Reflect | Verdict::Connect | Verdict::Hold => {
                return self.deliver(port, frame);
            }
            Verdict::Drop(reason) => return self.discard(port, frame, *reason),
        };
        if !self.limits.allow(reply, &seg.tuple, &self.now) {
            return self.discard(port, frame, Reason::RateLimited);
        }
        let payload = payload_of(self.view.answer(edition), reply);
        match self.links[port].answer(frame, seg, reply, payload, self.tally) {
            Ok(()) => self.tally.add(Counter::Answered, 1),
            Err(NoBuffer) => self.count_drop(Reason::NoBuffer),
        }
    }

    pub(super) fn deliver(&mut self, port: usize, frame: Q::Frame) {
        self.tally.add(Counter::Delivered, 1);
        self.recycle(port, frame);
    }

    pub(super) fn discard(&mut self, port: usize, frame: Q::Frame, reason: Reason) {
        self.count_drop(reason);
        self.recycle(port, frame);
    }

    pub(super) fn count_drop(&mut self, reason: Reason) {
        self.tally.add(Counter::Dropped, 1);
        self.tally.drop_reason(reason, 1);
    }

    pub(super) fn recycle(&mut self, port: usize, frame: Q::Frame) {
        self.links[port].recycle(frame);
    }

    /// Counts what became of a cookie, once it has: a full table may have had no room for what it proved.
    pub(super) fn note_cookie(&mut self, cookie: Option<CookieUse>, verdict: &Verdict) {
        let counter = match cookie {
            None => return,
            Some(CookieUse::Sent) => {
                self.gate.issued(&self.now);
                Counter::CookiesSent
            }
            Some(CookieUse::Accepted) if *verdict == Verdict::Drop(Reason::TableFull) => {
                Counter::CookiesUnplaced
            }
            Some(CookieUse::Accepted) => Counter::CookiesAccepted,
            Some(CookieUse::Rejected) => Counter::CookiesRejected,
        };
        self.tally.add(counter, 1);
    }
}

impl<'a, Q: QueuePair> Turn<'a, Q> {
    /// Everything that a decision about `tuple` depends on.
    #[inline(always)]
    pub(super) fn context(&mut self, edition: Option<u16>, tuple: &Tuple) -> Context<'a> {
        let view = self.view;
        let half_open = self.flows.count(State::SynRcvd);
        let was_crowded = self.gate.is_crowded();
        let admission = self.gate.admission(view, half_open, self.flows.capacity());
        if !was_crowded && self.gate.is_crowded() {
            self.tally.add(Counter::CookieMode, 1);
        }
        let is_drained = edition.is_some_and(|edition| view.is_drained(edition));
        let admission = if is_drained { Admission::Draining } else { admission };
        let kind = edition.map_or(Kind::Respond { answer_len: 0 }, |edition| view.kind(edition));
        let offer = edition.and_then(|edition| self.offer(edition)).unwrap_or_else(|| {
            if is_handed(kind) { own_terms(view.policy.window_scale) } else { Terms::default() }
        });
        Context {
            now: self.now,
            policy: &view.policy,
            keys: &view.keyring.cookies,
            isn: &view.keyring.isn,
            admission,
            check_cookies: self.gate.checks(view, &self.now),
            mss: view.ports[usize::from(tuple.port)].mss(&tuple.remote),
            kind,
            offer,
        }
    }
}

/// What a frame is that has anything unusual about it.
#[inline(never)]
fn unusual(frame: &[u8], port: &PortView, checksums: RxChecksums) -> Lane {
    Lane::new(parse(frame, port, checksums))
}

/// The part of a service's answer that `reply` carries.
pub(super) fn payload_of<'b>(answer: &'b [u8], reply: &Reply) -> &'b [u8] {
    let from = reply.payload_offset as usize;
    answer.get(from..from + usize::from(reply.payload_len)).unwrap_or(&[])
}
