//! What surrounds TCP on a link: ARP, neighbour discovery, echo, and our own announcements.

#![forbid(unsafe_code)]

use usher_proto::neighbor::{self, Due, Lesson};
use usher_proto::verdict::{Reason, Verdict};
use usher_proto::wire::{Mac, Parsed};

use super::egress::{end, redirect};
use super::turn::Turn;
use crate::port::{Frame, QueuePair};
use crate::stats::Counter;

impl<Q: QueuePair> Turn<'_, Q> {
    /// Answers a neighbour or an echo request in place, and learns what there is to learn.
    #[cold]
    pub(super) fn neighbour(&mut self, port: usize, mut frame: Q::Frame, parsed: &Parsed) {
        if let Parsed::Icmp(error) = parsed {
            return self.complaint(port, frame, error);
        }
        let side = &self.view.ports[port];
        let (tally, boards) = (&self.tally, self.boards);
        let is_held =
            |edition| tally.held(edition) > 0 || boards.iter().any(|board| board.held(edition) > 0);
        let lingers =
            |addr| side.lingering.iter().any(|&(at, edition)| at == addr && is_held(edition));
        let is_ours = |addr: &_| side.is_ours(addr) || lingers(*addr);
        let outcome = neighbor::answer(parsed, frame.room(), &side.wire, is_ours);
        if let Some(lesson) = outcome.lesson {
            self.learn_neighbour(port, &lesson);
            self.pass_on_lesson(port, lesson);
        }
        match outcome.verdict {
            Verdict::Drop(reason) => self.discard(port, frame, reason),
            Verdict::Deliver | Verdict::Answer(_) | Verdict::Connect | Verdict::Hold => {
                self.deliver(port, frame)
            }
            Verdict::Reflect => {
                end(&mut frame, outcome.len);
                self.tally.add(Counter::Reflected, 1);
                self.links[port].push(frame, self.tally);
            }
        }
    }

    /// Takes in where a neighbour is, and sends what waited for that.
    pub(super) fn learn_neighbour(&mut self, port: usize, lesson: &Lesson) {
        let link = &mut self.links[port];
        let Some((mac, held)) = link.neighbours.learn(lesson, self.now.tick) else { return };
        for mut waiting in held {
            redirect(&mut waiting, mac);
            link.push_generated(waiting, self.tally);
        }
    }

    /// Asks for next hops that are due. What waited for one that does not answer goes to where its peer
    /// was last heard, better there than nowhere, and is lost if there is no such place.
    pub(super) fn ask_neighbours(&mut self) {
        let tick = self.now.tick;
        for (link, side) in self.links.iter_mut().zip(&self.view.ports) {
            while let Some(due) = link.neighbours.poll(tick) {
                match due {
                    Due::Unreachable { held, .. } => {
                        for frame in held {
                            if frame.bytes().starts_with(&Mac::ZERO.0) {
                                link.recycle(frame);
                                self.tally.add(Counter::Lost, 1);
                                self.tally.drop_reason(Reason::NoNextHop, 1);
                            } else {
                                link.push_generated(frame, self.tally);
                            }
                        }
                    }
                    Due::Solicit { addr, known } => {
                        let Some((_, source)) = side.next_hop(&addr) else { continue };
                        link.write(self.tally, |buf| {
                            neighbor::solicit(buf, &side.wire, &source, &addr, known)
                        });
                    }
                }
            }
        }
    }

    /// Tells each link where our addresses are now: one worker does, for all.
    pub(super) fn announce(&mut self) {
        let is_first = self.peers.position().index() == 0;
        let sides = self.view.ports.iter().filter(|_| is_first);
        for (side, link) in sides.zip(self.links.iter_mut()) {
            for addr in &side.announced {
                link.write(self.tally, |room| neighbor::announce(room, &side.wire, addr));
            }
        }
    }
}
