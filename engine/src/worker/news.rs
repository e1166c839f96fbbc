//! What workers tell each other: where neighbours are, and which backends work.
//!
//! A question for a neighbour's MAC may be answered at any queue, so that whoever learns where one is tells the others; what
//! is lost, because somebody is late, is asked for again. Each backend is checked by one worker, and the others follow
//! it. What they notice of the backend themselves (connections that fail, options that it no longer has) they tell
//! that one, which decides and tells everybody. That must not be lost: it stays due until there was room for it.

#![forbid(unsafe_code)]

use usher_proto::neighbor::Lesson;
use usher_proto::tcp::client::Learned;

use super::turn::Turn;
use crate::port::QueuePair;
use crate::service::{Position, SLOTS};
use crate::stats::Counter;

const WORDS: usize = SLOTS.div_ceil(64);

/// One thing to know.
#[derive(Clone, Copy, Debug)]
pub(super) enum News {
    /// What a frame taught of a neighbour on a port's link.
    Neighbour { port: u16, lesson: Lesson },
    /// How the backend in a slot is taken to be, that got it in this generation.
    Backend { slot: u16, since: u32, up: bool, learned: Option<Learned> },
}

/// Backends that others are to be told of.
#[derive(Debug)]
pub(super) struct Due {
    position: Position,
    /// By worker: a bit for each slot.
    slots: Box<[[u64; WORDS]]>,
}

impl Due {
    pub(super) fn new(position: Position) -> Self {
        Self { position, slots: vec![[0; WORDS]; usize::from(position.count())].into() }
    }

    /// Something has changed about a backend: everybody is told by the worker that checks it, and that one by everybody.
    pub(super) fn note(&mut self, slot: u16) {
        let (word, bit) = (usize::from(slot) / 64, 1 << (slot % 64));
        let count = self.position.count();
        if self.position.has_slot(slot) {
            self.slots.iter_mut().for_each(|words| words[word] |= bit);
        } else {
            self.slots[usize::from(Position::of_slot(slot, count))][word] |= bit;
        }
    }

    /// A new plan has these: everybody is told of those that this worker checks.
    pub(super) fn note_own(&mut self, slots: impl Iterator<Item = u16>) {
        let position = self.position;
        slots.filter(|slot| position.has_slot(*slot)).for_each(|slot| self.note(slot));
    }

    /// Something that `worker` is to be told of.
    fn next(&self, worker: u16) -> Option<u16> {
        let words = &self.slots[usize::from(worker)];
        let (word, bits) = words.iter().enumerate().find(|(_, bits)| **bits != 0)?;
        Some((word * 64) as u16 + bits.trailing_zeros() as u16)
    }

    /// It has been told.
    fn done(&mut self, worker: u16, slot: u16) {
        self.slots[usize::from(worker)][usize::from(slot) / 64] &= !(1 << (slot % 64));
    }
}

impl<Q: QueuePair> Turn<'_, Q> {
    /// Hears what others have told.
    pub(super) fn hear_news(&mut self) {
        while let Some((from, news)) = self.peers.next_news() {
            match news {
                News::Neighbour { port, lesson } => {
                    self.learn_neighbour(usize::from(port), &lesson)
                }
                News::Backend { slot, since, up, learned } => {
                    self.hear_of_backend(from, slot, (since, up, learned));
                }
            }
        }
    }

    /// Tells all others where a neighbour is.
    pub(super) fn pass_on_lesson(&mut self, port: usize, lesson: Lesson) {
        let own = self.peers.position();
        for worker in (0..own.count()).filter(|worker| *worker != own.index()) {
            if !self.peers.tell(worker, News::Neighbour { port: port as u16, lesson }) {
                self.tally.add(Counter::LessonsLost, 1);
            }
        }
    }

    /// Something has changed about the backend in `slot`.
    pub(super) fn backend_changed(&mut self, slot: u16) {
        self.proxies.offers.forget();
        self.proxies.due.note(slot);
    }

    /// Tells others of the backends that they are to be told of, as far as they keep up.
    pub(super) fn tell_of_backends(&mut self) {
        let own = self.peers.position();
        for worker in (0..own.count()).filter(|worker| *worker != own.index()) {
            while let Some(slot) = self.proxies.due.next(worker) {
                let backend = self.proxies.backends.get(slot);
                let (since, up, learned) = (backend.since(), backend.up, backend.learned);
                if !self.peers.tell(worker, News::Backend { slot, since, up, learned }) {
                    break;
                }
                self.proxies.due.done(worker, slot);
            }
        }
    }

    /// What another worker says of a backend: the last word if it checks it, else something to consider.
    fn hear_of_backend(
        &mut self,
        from: u16,
        slot: u16,
        (since, up, learned): (u32, bool, Option<Learned>),
    ) {
        let own = self.peers.position();
        let proxies = &mut *self.proxies;
        if !proxies.backends.expect(slot, since) {
            return;
        }
        let before = *proxies.backends.get(slot);
        if from == Position::of_slot(slot, own.count()) || (own.has_slot(slot) && !up) {
            proxies.checks.follow(slot, up);
            proxies.backends.get_mut(slot).up = up;
        }
        if learned.is_some() {
            proxies.backends.get_mut(slot).learned = learned;
        }
        if *proxies.backends.get(slot) == before {
            return;
        }
        proxies.offers.forget();
        if own.has_slot(slot) {
            proxies.due.note(slot);
        }
    }
}
