//! What a worker keeps of each flow of a `ring` service, beside its record.
//!
//! A slot belongs to a flow from its establishment until its consumer has heard that it ended, which may be later than
//! the end: a record is free at once, and what was not yet told stays here. All memory is taken at once, and only where
//! there is a `ring` service.

#![forbid(unsafe_code)]

use usher_proto::verdict::End;

use super::held::Place;
use super::owned::Stream;
use crate::flow::{FlowId, Index};

/// The number of a slot.
pub(super) type SlotId = u32;

/// No slot.
const NONE: SlotId = SlotId::MAX;

/// What its consumer has said of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Nothing: what the client sends is held and peeked at.
    Undecided,
    /// That a backend gets it: this one and no other, if it was named.
    Proxied {
        /// Whether the backend was named.
        named: bool,
    },
    /// That it wants the bytes itself.
    Owned,
}

/// What a consumer is still to hear of a flow, in this order.
#[derive(Clone, Copy, Debug)]
pub(super) struct News {
    /// That so many bytes more were acknowledged.
    pub(super) acknowledged: u32,
    /// That the client has closed its side.
    pub(super) peer_closed: bool,
    /// Why it ended, and how many bytes are lost.
    pub(super) ended: Option<(End, u64)>,
}

impl News {
    pub(super) const NONE: Self = Self { acknowledged: 0, peer_closed: false, ended: None };
}

/// A flow of a `ring` service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) flow: FlowId,
    /// Its record, while it lives.
    pub(super) index: Index,
    /// Whose it is: the service's number.
    pub(super) ring: u16,
    /// Which of the service's consumers one after the other has heard of it.
    pub(super) era: u16,
    pub(super) phase: Phase,
    /// Where its frames wait while nothing is decided.
    pub(super) place: Place,
    /// What it has become since it is owned.
    pub(super) stream: Stream,
    pub(super) news: News,
    /// Whether it is in the list of those with news.
    pub(super) is_listed: bool,
    /// The next one of the list that this is in.
    next: SlotId,
}

impl Slot {
    /// A flow that has just been established.
    pub(super) const fn new(flow: FlowId, index: Index, ring: u16, place: Place) -> Self {
        let phase = Phase::Undecided;
        let (stream, news) = (Stream::EMPTY, News::NONE);
        Self { flow, index, ring, era: 0, phase, place, stream, news, is_listed: false, next: NONE }
    }
}

/// All slots of a worker.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Up to its capacity, which never grows.
    slots: Vec<Slot>,
    most: usize,
    /// The first of the vacant ones.
    vacant: List,
    /// By record.
    of: Box<[SlotId]>,
    in_use: usize,
}

impl Slots {
    /// Room for `capacity` flows.
    pub(super) fn new(capacity: u32) -> Self {
        let most = capacity as usize;
        Self {
            slots: Vec::with_capacity(most),
            most,
            of: vec![NONE; most].into(),
            ..Self::default()
        }
    }

    /// Whether there is room for any flow.
    pub(super) const fn is_there(&self) -> bool {
        self.most > 0
    }

    /// Whether every slot is in use: flows that ended and were not told of have them.
    pub(super) const fn is_full(&self) -> bool {
        self.in_use == self.most
    }

    /// How many there have been at a time: what is to be walked over to see all.
    pub(super) fn len(&self) -> SlotId {
        self.slots.len() as SlotId
    }

    /// Gives the flow of a record a slot. `None` if there is none left.
    pub(super) fn open(&mut self, slot: Slot) -> Option<SlotId> {
        let of = self.of.get_mut(slot.index.get() as usize)?;
        let id = match self.vacant.pop(&mut self.slots) {
            Some(id) => {
                self.slots[id as usize] = slot;
                id
            }
            None if self.slots.len() < self.most => {
                self.slots.push(slot);
                self.slots.len() as SlotId - 1
            }
            None => return None,
        };
        *of = id;
        self.in_use += 1;
        Some(id)
    }

    /// The slot of the flow that lives in a record.
    #[inline]
    pub(super) fn of(&self, index: Index) -> Option<SlotId> {
        self.of.get(index.get() as usize).copied().filter(|id| *id != NONE)
    }

    /// The flow has ended: its record is another's from now on. Returns the slot that it had.
    #[inline]
    pub(super) fn leave(&mut self, index: Index) -> Option<SlotId> {
        let of = self.of.get_mut(index.get() as usize)?;
        let id = std::mem::replace(of, NONE);
        (id != NONE).then_some(id)
    }

    /// The slot of a flow that has left its record is vacant.
    pub(super) fn free(&mut self, id: SlotId) {
        self.in_use -= 1;
        self.vacant.push(&mut self.slots, id);
    }

    pub(super) fn get(&self, id: SlotId) -> &Slot {
        &self.slots[id as usize]
    }

    pub(super) fn get_mut(&mut self, id: SlotId) -> &mut Slot {
        &mut self.slots[id as usize]
    }

    /// The flow of this slot, if one lives.
    pub(super) fn living(&self, id: SlotId) -> Option<&Slot> {
        let slot = self.slots.get(id as usize)?;
        (self.of(slot.index) == Some(id)).then_some(slot)
    }

    /// The same, to change it.
    pub(super) fn get_living_mut(&mut self, id: SlotId) -> Option<&mut Slot> {
        self.living(id)?;
        self.slots.get_mut(id as usize)
    }

    /// How many are in use.
    pub(super) const fn in_use(&self) -> usize {
        self.in_use
    }

    /// Appends a slot to a list; it is in none.
    pub(super) fn append(&mut self, list: &mut List, id: SlotId) {
        list.push(&mut self.slots, id);
    }

    /// Takes the first one out of a list.
    pub(super) fn take_first(&mut self, list: &mut List) -> Option<SlotId> {
        list.pop(&mut self.slots)
    }
}

/// Slots one after the other; each is in one list at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    first: SlotId,
    last: SlotId,
}

impl Default for List {
    fn default() -> Self {
        Self { first: NONE, last: NONE }
    }
}

impl List {
    pub(super) const fn is_empty(&self) -> bool {
        self.first == NONE
    }

    /// The one that comes out next.
    pub(super) fn first(&self) -> Option<SlotId> {
        (self.first != NONE).then_some(self.first)
    }

    fn push(&mut self, slots: &mut [Slot], id: SlotId) {
        slots[id as usize].next = NONE;
        match self.is_empty() {
            true => self.first = id,
            false => slots[self.last as usize].next = id,
        }
        self.last = id;
    }

    fn pop(&mut self, slots: &mut [Slot]) -> Option<SlotId> {
        let id = self.first()?;
        self.first = slots[id as usize].next;
        Some(id)
    }
}
