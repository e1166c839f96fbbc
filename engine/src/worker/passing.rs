//! The way of a proxied flow's frames: on to the other half, to a backend, or held until there is one.

#![forbid(unsafe_code)]

use arrayvec::ArrayVec;
use usher_proto::neighbor::Lookup;
use usher_proto::splice::{
    Behalf, Half, MAX_HEADER, Outward, Passage, Quoted, Rewrite, SpliceContext, proxy_header,
    split, translate, write_complaint,
};
use usher_proto::verdict::Reason;
use usher_proto::wire::{
    Checked, IcmpErrorKind, Link, Mac, Parsed, Reply, RxChecksums, Segment, Tuple, parse,
};

use super::commit::source_of;
use super::egress::{end, redirect};
use super::held::PER_FLOW;
use super::turn::Turn;
use crate::flow::{Body, Index};
use crate::port::{Frame, QueuePair};
use crate::stats::Counter;

/// What a held frame's checksums are: it was let in.
pub(super) const GOOD: RxChecksums = RxChecksums { ip: Checked::Good, l4: Checked::Good };

/// What became of a frame that was to be passed on: or the frame, and why not.
pub(super) type Passed<F> = Result<Handed, (F, Reason)>;

/// Where a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Handed {
    /// At its port.
    Over,
    /// Waiting for its next hop, or lost.
    Waits,
}

impl<Q: QueuePair> Turn<'_, Q> {
    /// Sends a frame on to the other half.
    #[inline]
    pub(super) fn pass_on(
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
    pub(super) fn split(
        &mut self,
        frame: &Q::Frame,
        seg: &Segment,
        (index, from): (Index, Half),
        rewrite: &Rewrite,
        most: u16,
    ) -> Result<(), Reason> {
        let Some((out, slot)) = self.outward(index, from.other()) else { return Ok(()) };
        let mut pieces = split(frame.bytes(), seg, &out, rewrite, most);
        while pieces.left() > 0 {
            let egress = &mut self.links[usize::from(out.tuple.port)];
            let Ok(mut piece) = egress.buffer(self.tally) else { break };
            match pieces.write_next(piece.room()) {
                Some(Ok(len)) => {
                    end(&mut piece, len);
                    self.send_generated(&out, slot, piece);
                }
                Some(Err(reason)) => {
                    egress.recycle(piece);
                    return Err(reason);
                }
                None => {
                    egress.recycle(piece);
                    break;
                }
            }
        }
        Ok(())
    }

    #[inline]
    pub(super) fn count_passed(&mut self, port: usize, seg: &Segment, passed: Passed<Q::Frame>) {
        match passed {
            Ok(handed) => self.count_handed(handed),
            Err((frame, reason)) => self.not_passed(port, frame, seg, reason),
        }
    }

    #[inline]
    pub(super) fn count_handed(&mut self, handed: Handed) {
        let counter = match handed {
            Handed::Over => Counter::Forwarded,
            Handed::Waits => Counter::Held,
        };
        self.tally.add(counter, 1);
    }

    /// Drops a segment that could not go on. One whose time to live ran out tells its sender so, as a router would
    /// (RFC 1812 §5.3.1, RFC 4443 §3.3), within the limit on errors.
    #[cold]
    pub(super) fn not_passed(
        &mut self,
        port: usize,
        frame: Q::Frame,
        seg: &Segment,
        reason: Reason,
    ) {
        if reason == Reason::TtlExpired && self.limits.errors.allows(&seg.tuple, &self.now) {
            let side = &self.view.ports[port];
            let link =
                Link { src: side.wire.mac, dst: source_of(frame.bytes()), vlan: side.wire.vlan };
            let out = Outward { link, tuple: seg.tuple, hops: 0 };
            let quoted = Quoted { seq: seg.seq, kind: IcmpErrorKind::TimeExceeded };
            let from = side.own_addresses(seg.tuple.local.is_v4()).next();
            if let Some(from) = from {
                let egress = &mut self.links[port];
                egress.write(self.tally, |room| write_complaint(room, &out, &from, &quoted));
            }
        }
        self.discard(port, frame, reason);
    }

    /// The envelope and names of what goes out on a half, and the slot of the backend. The station is
    /// `Mac::ZERO` where it must be asked for.
    #[inline]
    pub(super) fn outward(&self, index: Index, to: Half) -> Option<(Outward, u16)> {
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
    pub(super) fn hand_over(&mut self, out: &Outward, slot: u16, frame: Q::Frame) -> Handed {
        let port = usize::from(out.tuple.port);
        let ready = if out.link.dst == Mac::ZERO {
            self.find_station(slot, port, frame)
        } else {
            Some(frame)
        };
        let Some(frame) = ready else { return Handed::Waits };
        self.links[port].push(frame, self.tally);
        Handed::Over
    }

    /// The same with a frame that answers none.
    pub(super) fn send_generated(&mut self, out: &Outward, slot: u16, frame: Q::Frame) {
        let port = usize::from(out.tuple.port);
        let ready = if out.link.dst == Mac::ZERO {
            self.find_station(slot, port, frame)
        } else {
            Some(frame)
        };
        if let Some(frame) = ready {
            self.links[port].push_generated(frame, self.tally);
        }
    }

    /// Addresses a frame to the next hop of a backend, if that is known; else the frame waits until it is.
    #[cold]
    pub(super) fn find_station(
        &mut self,
        slot: u16,
        port: usize,
        frame: Q::Frame,
    ) -> Option<Q::Frame> {
        let egress = &mut self.links[port];
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
    pub(super) fn lose(&mut self, reason: Reason) {
        self.tally.add(Counter::Lost, 1);
        self.tally.drop_reason(reason, 1);
    }

    /// Sends a segment of ours to the backend.
    pub(super) fn send_to_backend(&mut self, index: Index, reply: &Reply) {
        let Some((out, slot)) = self.outward(index, Half::Backend) else { return };
        let mut room = [0; MAX_HEADER];
        let header = if reply.payload_len > 0 { self.header(index, &mut room) } else { &[] };
        self.send_from(slot, &out.tuple, reply, header);
    }

    /// The PROXY header of a flow.
    pub(super) fn header<'b>(&self, index: Index, room: &'b mut [u8; MAX_HEADER]) -> &'b [u8] {
        let front = self.view.front(self.flows.edition(index));
        let Some(header) = front.and_then(|front| front.plan.proxy_protocol) else { return &[] };
        let len = proxy_header(self.flows.tuple(index), Behalf::Proxy, header.crc32c, room);
        &room[..len]
    }

    /// Sends a segment of ours from `tuple.local` to the backend in `slot`.
    pub(super) fn send_from(&mut self, slot: u16, tuple: &Tuple, reply: &Reply, payload: &[u8]) {
        let wire = &self.view.ports[usize::from(tuple.port)].wire;
        let station = self.proxies.ways.station(slot, self.now.tick);
        let link = Link { src: wire.mac, dst: station.unwrap_or(Mac::ZERO), vlan: wire.vlan };
        let out = Outward { link, tuple: *tuple, hops: 0 };
        let egress = &mut self.links[usize::from(tuple.port)];
        if let Ok(frame) = egress.generate(&link, tuple, reply, payload, self.tally) {
            self.send_generated(&out, slot, frame);
        }
    }

    pub(super) fn send_syn(&mut self, index: Index) {
        if let Body::Spliced(flow) = self.flows.body(index) {
            let syn = flow.syn();
            self.send_to_backend(index, &syn);
        }
    }

    /// Keeps a frame until the backend half is open.
    #[cold]
    pub(super) fn hold(&mut self, port: usize, frame: Q::Frame, seg: &Segment, index: Index) {
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

    pub(super) fn take_held(&mut self, index: Index) -> ArrayVec<Q::Frame, PER_FLOW> {
        let held = &mut self.proxies.held;
        self.flows.update_spliced(index, |flow| held.take(&mut flow.place)).unwrap_or_default()
    }

    /// The backend half is open: what was held goes on.
    #[cold]
    pub(super) fn release(&mut self, index: Index, cx: &SpliceContext<'_>) {
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
                    match self.split(&frame, &seg, (index, Half::Client), &rewrite, most) {
                        Ok(()) => self.recycle(port, frame),
                        Err(reason) => self.drop_held(port, frame, reason),
                    }
                }
                Some(Passage::Drop(reason)) => self.drop_held(port, frame, reason),
                _ => self.drop_held(port, frame, Reason::OutOfWindow),
            }
        }
    }

    pub(super) fn drop_held(&mut self, port: usize, frame: Q::Frame, reason: Reason) {
        self.lose(reason);
        self.recycle(port, frame);
    }
}
