//! Health checks of backends, through the worker's own ports; ICMP errors about proxied flows.

#![forbid(unsafe_code)]

use usher_proto::splice::{Complaint, write_complaint};
use usher_proto::verdict::Reason;
use usher_proto::wire::{Addr, IcmpError, Segment, Tuple};

use super::egress::end;
use super::turn::{Turn, payload_of};
use crate::flow::Body;
use crate::health::{Ended, Said, Taken, Task};
use crate::port::{Frame, QueuePair};
use crate::service::Position;

impl<Q: QueuePair> Turn<'_, Q> {
    /// Begins, repeats and gives up checks that are due.
    #[cold]
    pub(super) fn check_backends(&mut self) {
        let view = self.view;
        loop {
            let (subjects, proxies) = (&view.subjects, &mut *self.proxies);
            let task = proxies.checks.next_task(subjects, &mut proxies.backends, &self.now);
            match task {
                None => return,
                Some(Task::Begin(slot)) => self.begin_check(slot),
                Some(Task::Send(said)) => self.say(&said),
                Some(Task::End(ended)) => self.check_ended(&ended),
            }
        }
    }

    fn begin_check(&mut self, slot: u16) {
        let Some((tuple, mss)) = self.check_tuple(slot) else {
            return self.proxies.checks.postpone(slot);
        };
        let isn = self.view.keyring.isn.isn(&tuple, &self.now);
        let subjects = &self.view.subjects;
        let begun = self.proxies.checks.begin(slot, tuple, isn, mss, subjects, &self.now);
        if let Some(reply) = begun {
            self.say(&Said { slot, tuple, reply });
        }
    }

    /// The connection of a new check, and what we announce as MSS.
    fn check_tuple(&mut self, slot: u16) -> Option<(Tuple, u16)> {
        let view = self.view;
        let target = view.targets.get(slot)?;
        let subject = view.subjects.get(slot)?;
        let remote = Addr::from(subject.remote.ip());
        let port = &view.ports[target.port];
        let mss = port.mss(&remote);
        let path = target.paths.start;
        if !view.targets.is_translated(path) {
            self.proxies.direct_check = self.proxies.direct_check.wrapping_add(1);
            let turn = self.proxies.direct_check % Position::CHECK_TURNS;
            let tuple = Tuple {
                remote,
                local: port.own_addresses(remote.is_v4()).next()?,
                remote_port: subject.remote.port(),
                local_port: Position::check_port(slot, turn, self.peers.position().count()),
                vlan: port.wire.vlan,
                port: port.wire.index,
            };
            return Some((tuple, mss));
        }
        let local_port = self.proxies.ways.take_port(path)?;
        let tuple = view.targets.paths()[usize::from(path)].name(&Tuple::default(), local_port);
        if self.vacate(&tuple, None) {
            return Some((tuple, mss));
        }
        self.proxies.ways.give_back(path, local_port);
        None
    }

    /// Sends a segment of a check. While its next hop is asked for, the first waits and the others need not be:
    /// a check repeats itself.
    fn say(&mut self, said: &Said) {
        let view = self.view;
        let (Some(subject), Some(target)) =
            (view.subjects.get(said.slot), view.targets.get(said.slot))
        else {
            return;
        };
        if self.links[target.port].neighbours.is_awaited(&target.hop) {
            return;
        }
        let payload = payload_of(subject.script.bytes(), &said.reply);
        self.send_from(said.slot, &said.tuple, &said.reply, payload);
    }

    fn check_ended(&mut self, ended: &Ended) {
        if let Some(reply) = ended.reply {
            self.say(&Said { slot: ended.slot, tuple: ended.tuple, reply });
        }
        if let Some(target) = self.view.targets.get(ended.slot) {
            self.proxies.ways.give_back(target.paths.start, ended.tuple.local_port);
        }
        self.backend_changed(ended.slot);
    }

    /// Takes a segment to an address of ours that belongs to no flow, if it is one of a check.
    #[cold]
    pub(super) fn take_check(&mut self, frame: &Q::Frame, seg: &Segment) -> bool {
        let view = self.view;
        let from = usize::from(seg.payload_offset);
        let payload = frame.bytes().get(from..from + usize::from(seg.payload_len));
        let proxies = &mut *self.proxies;
        let taken = proxies.checks.take(
            seg,
            payload.unwrap_or(&[]),
            &view.subjects,
            &mut proxies.backends,
            &self.now,
        );
        match taken {
            None => return false,
            Some(Taken::Nothing) => {}
            Some(Taken::Said(said)) => self.say(&said),
            Some(Taken::Ended(ended)) => self.check_ended(&ended),
        }
        true
    }

    /// An ICMP error: about a proxied flow, it is told to the end whose segment it is about.
    #[cold]
    pub(super) fn complaint(&mut self, port: usize, mut frame: Q::Frame, error: &IcmpError) {
        let found = self.flows.find(self.flows.hash(&error.tuple), &error.tuple);
        let Some((index, half)) = found.filter(|(index, _)| self.flows.is_spliced(*index)) else {
            return self.discard(port, frame, Reason::OtherProtocol);
        };
        let Some(front) = self.view.front(self.flows.edition(index)) else {
            return self.discard(port, frame, Reason::OtherProtocol);
        };
        let cx = self.splice_context(front);
        let Some((out, slot)) = self.outward(index, half.other()) else {
            return self.discard(port, frame, Reason::OtherProtocol);
        };
        let other_is_v4 = out.tuple.local.is_v4();
        let complaint = match self.flows.body(index) {
            Body::Spliced(flow) => flow.complaint(half, error, other_is_v4, &cx),
            Body::Own(_) => Complaint::Drop(Reason::OtherProtocol),
        };
        match complaint {
            Complaint::Drop(reason) => self.discard(port, frame, reason),
            Complaint::Ended(step) => {
                self.deliver(port, frame);
                self.note(index, step.event);
                self.follow(index, step.then, front, &cx);
            }
            Complaint::Pass(quoted) => {
                if !self.limits.errors.allows(&error.tuple, &self.now) {
                    return self.discard(port, frame, Reason::RateLimited);
                }
                match write_complaint(frame.room(), &out, &error.source, &quoted) {
                    Ok(len) => {
                        end(&mut frame, len);
                        let handed = self.hand_over(&out, slot, frame);
                        self.count_handed(handed);
                    }
                    Err(reason) => self.discard(port, frame, reason),
                }
            }
        }
    }
}
