//! Which backend a connection gets, by which path and from which port of ours; what connections teach about
//! backends, and what clients are offered for it.

#![forbid(unsafe_code)]

use usher_proto::splice::{Choice, Half, TryEnd, proxy_header_len};
use usher_proto::tcp::{Context, Kind, Policy, Refusal, Terms, refuse};
use usher_proto::verdict::{End, Reason};
use usher_proto::wire::{Flags, Segment, Tuple};

use super::commit::source_of;
use super::front::Front;
use super::turn::Turn;
use crate::flow::{Body, Index};
use crate::port::QueuePair;
use crate::service::hash;
use crate::stats::Counter;

/// How far apart the ISNs of tries with the same tuple are at least. The clock of RFC 6528 adds more in a
/// millisecond.
const NEXT_TRY: u32 = 8;

impl<Q: QueuePair> Turn<'_, Q> {
    /// What the service of this edition agrees to, where its backends say so; `None` for a service without
    /// backends, or without one that is usable.
    #[inline]
    pub(super) fn offer(&mut self, edition: u16) -> Option<Terms> {
        let front = self.view.front(edition)?;
        let shift = self.view.policy.window_scale;
        self.proxies.offers.get(edition, front, &self.proxies.backends, shift)
    }

    /// Whether a segment asks for a new connection to a service whose backends are all down.
    #[inline]
    pub(super) fn is_forsaken(&mut self, edition: u16, seg: &Segment) -> bool {
        let is_syn = seg.flags.only(Flags::SYN | Flags::ACK | Flags::RST) == Flags::SYN;
        // The consumer of a `ring` may do without.
        let proxies = self.view.kind(edition) == Kind::Proxy;
        is_syn && proxies && self.offer(edition).is_none()
    }

    /// Whether a frame on a backend half without translation comes from another station than the backend
    /// that was chosen: others have the same address and ports, and may answer an earlier try late.
    #[inline]
    pub(super) fn is_from_another(&self, index: Index, frame: &[u8]) -> bool {
        let Body::Spliced(flow) = self.flows.body(index) else { return false };
        !self.view.targets.is_translated(flow.path)
            && self
                .proxies
                .ways
                .last_station(flow.backend)
                .is_some_and(|mac| mac != source_of(frame))
    }

    /// Tells such a station so, if it has opened a connection.
    #[cold]
    pub(super) fn refuse_stranger(
        &mut self,
        port: usize,
        frame: Q::Frame,
        seg: &Segment,
        edition: u16,
    ) {
        if !seg.flags.has(Flags::SYN) {
            return self.discard(port, frame, Reason::OtherBackend);
        }
        let cx = self.context(Some(edition), &seg.tuple);
        self.reset_sender(port, frame, seg, edition, &cx);
    }

    fn reset_sender(
        &mut self,
        port: usize,
        frame: Q::Frame,
        seg: &Segment,
        edition: u16,
        cx: &Context<'_>,
    ) {
        let policy = Policy { unknown_port: Refusal::Reset, ..*cx.policy };
        let decision = refuse(seg, &Context { policy: &policy, ..*cx });
        self.carry_out(port, frame, seg, &decision.verdict, edition);
    }

    /// Turns such a connection away.
    #[cold]
    pub(super) fn forsake(
        &mut self,
        port: usize,
        frame: Q::Frame,
        seg: &Segment,
        edition: u16,
        cx: &Context<'_>,
    ) {
        let Some(front) = self.view.front(edition) else { return self.deliver(port, frame) };
        if front.plan.no_backend == Refusal::Drop {
            return self.discard(port, frame, Reason::NoBackend);
        }
        self.reset_sender(port, frame, seg, edition, cx);
    }

    /// A backend took a connection: what its SYN-ACK says of it, if that is new.
    #[cold]
    pub(super) fn learn(&mut self, index: Index, syn_ack: &Segment) {
        let Body::Spliced(flow) = self.flows.body(index) else { return };
        let slot = flow.backend;
        let backend = self.proxies.backends.get_mut(slot);
        backend.counts.connected += 1;
        backend.counts.flows += 1;
        // Of a backend that was not checked yet a client that asks for less teaches less.
        if let Some(known) = backend.learned {
            let seen = flow.learned(&known, syn_ack);
            if seen != known {
                backend.counts.mismatched += 1;
                backend.learned = Some(seen);
                self.backend_changed(slot);
            }
        }
        self.proxies.checks.connected(slot);
    }

    /// A flow leaves its backend.
    pub(super) fn count_leaver(&mut self, index: Index) {
        if let Body::Spliced(flow) = self.flows.body(index) {
            let counts = &mut self.proxies.backends.get_mut(flow.backend).counts;
            counts.flows = counts.flows.saturating_sub(1);
        }
    }

    /// A backend did not take a connection.
    #[cold]
    pub(super) fn strike(&mut self, slot: u16, why: TryEnd) {
        let counts = &mut self.proxies.backends.get_mut(slot).counts;
        match why {
            TryEnd::Refused => counts.refused += 1,
            TryEnd::TimedOut => counts.timed_out += 1,
            TryEnd::InTimeWait => return, // it is well
        }
        let proxies = &mut *self.proxies;
        let turned = proxies.checks.struck(slot, &self.view.subjects, &mut proxies.backends);
        if turned.is_some() {
            self.backend_changed(slot);
        }
    }

    /// The first backend after `after` in the flow's order that can be used and reached; or why there is
    /// none.
    pub(super) fn choose(
        &mut self,
        front: &Front,
        index: Index,
        after: Option<u16>,
    ) -> Result<Choice, End> {
        let hash = hash(front.plan.balance, self.flows.tuple(index));
        let mut slot = match after {
            None => front.table.pick(hash, |slot| self.proxies.backends.get(slot).is_usable()),
            Some(after) => self.next_backend(front, hash, after),
        };
        let mut end = End::NoBackend;
        while let Some(candidate) = slot {
            if let Some(choice) = self.reach(front, candidate, index) {
                return Ok(choice);
            }
            self.tally.add(Counter::PortsExhausted, 1);
            end = End::SnatExhausted;
            slot = self.next_backend(front, hash, candidate);
        }
        Err(end)
    }

    pub(super) fn next_backend(&self, front: &Front, hash: u64, after: u16) -> Option<u16> {
        front.table.next(hash, after, |slot| self.proxies.backends.get(slot).is_usable())
    }

    /// A path to the backend in `slot`, with a port of ours that is free there.
    pub(super) fn reach(&mut self, front: &Front, slot: u16, index: Index) -> Option<Choice> {
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
            if !self.vacate(&name, Some(index)) {
                self.proxies.ways.give_back(path, local_port);
                continue;
            }
            let (iss, ts_offset) = view.keyring.isn.isn(&name, &self.now);
            // Without translation all tries have the same tuple, and the ISN clock moves once a millisecond.
            let iss = match self.flows.body(index) {
                Body::Spliced(flow) => iss.add(u32::from(flow.tries()) * NEXT_TRY),
                Body::Own(_) => iss,
            };
            let out = &view.ports[target.port];
            let mss =
                out.mss(&name.remote).min(view.ports[usize::from(client.port)].mss(&client.remote));
            return Some(Choice {
                path,
                local_port,
                backend: slot,
                iss,
                ts_offset: translated.then_some(ts_offset),
                header_len: front
                    .plan
                    .proxy_protocol
                    .map_or(0, |header| proxy_header_len(client.remote.is_v4(), header.crc32c)),
                mss,
                learned: self.proxies.backends.get(slot).learned.unwrap_or_default(),
            });
        }
        None
    }

    /// Sees to it that no other flow than `index` has this name. What has ended and only lingers gives way.
    pub(super) fn vacate(&mut self, name: &Tuple, index: Option<Index>) -> bool {
        let hash = self.flows.hash(name);
        match self.flows.find(hash, name) {
            None => true,
            Some((other, Half::Backend)) if Some(other) == index => true,
            Some((other, Half::Backend)) if self.flows.state(other).gives_way() => {
                self.retire(other);
                true
            }
            Some(_) => false,
        }
    }

    /// The flow's port is free again. Asked for twice it does no harm: a port is only taken again after the
    /// flow that still has its name was finished.
    pub(super) fn give_port_back(&mut self, index: Index) {
        if let Body::Spliced(flow) = self.flows.body(index) {
            self.proxies.ways.give_back(flow.path, flow.local_port);
        }
    }
}
