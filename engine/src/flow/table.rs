//! The table: records, the directory that finds them, the wheel that wakes them, the lists that give way.
#![forbid(unsafe_code)]

use ahash::RandomState;
use usher_proto::tcp::{State, Tcb};
use usher_proto::time::Tick;
use usher_proto::wire::{Mac, Tuple};
use zerocopy::IntoBytes;

use super::directory::{BYTES_AN_ENTRY, Directory};
use super::id::{FlowId, Index};
use super::list::List;
use super::memory::{filled, prefetch};
use super::record::{Cold, Hot, MAX_RECORDS, NIL};
use super::seed::Seed;
use super::wheel::Wheel;

/// Every record is in use; see [`Table::evict_candidate`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// What a flow begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewFlow {
    /// Its name.
    pub tuple: Tuple,
    /// The protocol's state.
    pub tcb: Tcb,
    /// Where the peer's frames come from.
    pub peer: Mac,
    /// Which edition of a service it is for: whoever inserts flows gives it a meaning.
    pub edition: u16,
    /// When the SYN came: microseconds since the engine's start, wrapping.
    pub started_us: u32,
}

/// One worker's flows.
///
/// Between calls: each live record has one entry in the directory; it is in the list of spent markers
/// when its state is CLOSED, in that of TIME_WAIT when it is TIME_WAIT, in none otherwise; a record that
/// holds no flow is linked nowhere but in the free list.
#[derive(Debug)]
pub struct Table {
    hasher: RandomState,
    directory: Directory,
    hot: Box<[Hot]>,
    cold: Box<[Cold]>,
    wheel: Wheel,
    spent: List,
    time_wait: List,
    /// Records that have held a flow and hold none, the last freed first: its lines are warm.
    free: u32,
    /// Records from here on have never held a flow.
    fresh: u32,
    /// Flows in each state.
    counts: [u32; State::ALL.len()],
}

impl Table {
    /// A table for `capacity` flows, all its memory touched, with a wheel that starts at `now`. `seed` is
    /// this table's alone.
    ///
    /// Call it on the worker's own thread, so that the memory is near that core.
    ///
    /// # Panics
    ///
    /// If `capacity` exceeds 2³⁰.
    #[must_use]
    pub fn new(capacity: u32, seed: Seed, now: Tick) -> Self {
        let records = capacity as usize;
        assert!(records <= MAX_RECORDS, "a flow table of more than 2^30 records");
        let cold = Cold { tcb: Tcb::default(), next: NIL, prev_or_started: 0 };
        Self {
            hasher: seed.hasher(),
            directory: Directory::new(records),
            hot: filled(records, Hot::FREE),
            cold: filled(records, cold),
            wheel: Wheel::new(now),
            spent: List::new(),
            time_wait: List::new(),
            free: NIL,
            fresh: 0,
            counts: [0; State::ALL.len()],
        }
    }

    /// The hash that the other functions want, under this table's seed. It is no MAC.
    #[inline]
    #[must_use]
    pub fn hash(&self, tuple: &Tuple) -> u64 {
        self.hasher.hash_one(tuple.as_bytes())
    }

    /// First stage of a burst's look-up: fetches the bucket of `hash`.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        self.directory.prefetch(hash);
    }

    /// Second stage: fetches the record that `hash` probably means.
    #[inline]
    pub fn prefetch_record(&self, hash: u64) {
        let _ = self.directory.find(hash, |index| {
            prefetch(&self.hot[index as usize]);
            prefetch(&self.cold[index as usize]);
            true
        });
    }

    /// The flow of this name. `hash` is that of `tuple`.
    #[inline]
    #[must_use]
    pub fn find(&self, hash: u64, tuple: &Tuple) -> Option<Index> {
        self.directory.find(hash, |index| self.hot[index as usize].is(tuple)).map(Index)
    }

    /// Adds a flow whose name is not in the table; `hash` is that of its tuple. It has no timer yet.
    ///
    /// # Errors
    ///
    /// [`Full`] if every record is in use.
    pub fn insert(&mut self, hash: u64, flow: &NewFlow) -> Result<Index, Full> {
        debug_assert!(self.find(hash, &flow.tuple).is_none(), "two flows of one name");
        let index = self.vacant().ok_or(Full)?;
        if !self.directory.insert(hash, index) {
            return Err(Full);
        }
        self.occupy(index);
        let (hot, cold) = (&mut self.hot[index as usize], &mut self.cold[index as usize]);
        hot.generation = hot.generation.wrapping_add(1);
        (hot.tuple, hot.peer, hot.edition) = (flow.tuple, flow.peer, flow.edition);
        (cold.tcb, cold.next, cold.prev_or_started) = (flow.tcb, NIL, flow.started_us);
        self.enter(index, flow.tcb.state);
        Ok(Index(index))
    }

    /// Frees the flow's record: its name, its timer and its ids are gone. `false`, and nothing is done,
    /// if no flow lives there: a record is freed exactly once.
    pub fn remove(&mut self, index: Index) -> bool {
        let Index(index) = index;
        let hot = &mut self.hot[index as usize];
        if !hot.is_live() {
            return false;
        }
        hot.generation = hot.generation.wrapping_add(1);
        let hash = self.hasher.hash_one(hot.tuple.as_bytes());
        let listed = self.directory.remove(hash, index);
        debug_assert!(listed, "a live record is in the directory");
        self.wheel.cancel(&mut self.hot, index);
        self.leave(index, self.cold[index as usize].tcb.state);
        self.cold[index as usize].next = self.free;
        self.free = index;
        true
    }

    /// Lets the flow's state become the next one, in place. Coming into CLOSED (spent) or TIME_WAIT, it joins
    /// the end of those that give way in a full table.
    #[inline]
    pub fn update<R>(&mut self, index: Index, change: impl FnOnce(&mut Tcb) -> R) -> R {
        let tcb = &mut self.cold[index.0 as usize].tcb;
        let old = tcb.state;
        let result = change(tcb);
        let new = tcb.state;
        if old != new {
            self.leave(index.0, old);
            self.enter(index.0, new);
        }
        result
    }

    /// A new flow of the same name has taken the record over; its state is already there. Ids of the old one
    /// are stale.
    pub fn renew(&mut self, index: Index, peer: Mac, edition: u16, started_us: u32) {
        let (hot, cold) = (&mut self.hot[index.0 as usize], &mut self.cold[index.0 as usize]);
        hot.generation = hot.generation.wrapping_add(2);
        (hot.peer, hot.edition) = (peer, edition);
        if !gives_way(cold.tcb.state) {
            cold.prev_or_started = started_us;
        }
    }

    /// Who gives way when the table is full: the oldest spent marker, else the oldest TIME_WAIT.
    #[must_use]
    pub fn evict_candidate(&self) -> Option<Index> {
        self.spent.front().or_else(|| self.time_wait.front()).map(Index)
    }

    /// Sees to it that [`Self::next_due`] returns the flow at `due` or before.
    #[inline]
    pub fn schedule(&mut self, index: Index, due: Tick) {
        self.wheel.schedule(&mut self.hot, index.0, due);
    }

    /// A flow whose timer has fired; it then has none until it is scheduled again. The deadline may have
    /// moved since: ask the flow, and schedule it anew if it has not come. Call it until it returns
    /// `None`; each record that is touched takes one from `budget`, and when that is 0 there may be more.
    pub fn next_due(&mut self, now: Tick, budget: &mut u32) -> Option<Index> {
        self.wheel.next_due(&mut self.hot, now, budget).map(Index)
    }

    /// The flow's name for those who may outlive it.
    #[must_use]
    pub fn id(&self, index: Index) -> FlowId {
        FlowId { index: index.0, generation: self.hot[index.0 as usize].generation }
    }

    /// The flow of this id, or `None` if it has ended.
    #[must_use]
    pub fn get(&self, id: FlowId) -> Option<Index> {
        let hot = self.hot.get(id.index as usize)?;
        (hot.generation == id.generation && hot.is_live()).then_some(Index(id.index))
    }

    /// The flow's name.
    #[must_use]
    pub fn tuple(&self, index: Index) -> &Tuple {
        &self.hot[index.0 as usize].tuple
    }

    /// The protocol's state of the flow.
    #[inline]
    #[must_use]
    pub fn tcb(&self, index: Index) -> &Tcb {
        &self.cold[index.0 as usize].tcb
    }

    /// Where the peer's frames come from.
    #[must_use]
    pub fn peer(&self, index: Index) -> Mac {
        self.hot[index.0 as usize].peer
    }

    /// The peer's frames come from elsewhere now.
    pub fn set_peer(&mut self, index: Index, peer: Mac) {
        self.hot[index.0 as usize].peer = peer;
    }

    /// Which edition of a service the flow is for.
    #[must_use]
    pub fn edition(&self, index: Index) -> u16 {
        self.hot[index.0 as usize].edition
    }

    /// When the SYN came (see [`NewFlow::started_us`]); forgotten in CLOSED and TIME_WAIT.
    #[must_use]
    pub fn started_us(&self, index: Index) -> Option<u32> {
        let cold = &self.cold[index.0 as usize];
        (!gives_way(cold.tcb.state)).then_some(cold.prev_or_started)
    }

    /// The live flows among the records `from..from + count`: a walk over all of them in batches.
    pub fn flows(&self, from: u32, count: u32) -> impl Iterator<Item = Index> + '_ {
        let end = from.saturating_add(count).min(self.fresh);
        (from..end).filter(|&index| self.hot[index as usize].is_live()).map(Index)
    }

    /// How many flows there may be.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.hot.len() as u32
    }

    /// How many flows there are, spent markers included.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.counts.iter().sum()
    }

    /// Whether there is no flow.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many flows are in `state`.
    #[must_use]
    pub const fn count(&self, state: State) -> u32 {
        self.counts[state as usize]
    }

    /// How many flows a drain waits for: all but spent markers and TIME_WAIT.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.len() - self.count(State::Closed) - self.count(State::TimeWait)
    }

    /// The record that the next flow will have.
    fn vacant(&self) -> Option<u32> {
        match self.free {
            NIL => (self.fresh < self.capacity()).then_some(self.fresh),
            free => Some(free),
        }
    }

    /// Takes the vacant record `index` out of the free ones.
    fn occupy(&mut self, index: u32) {
        if index == self.fresh {
            self.fresh += 1;
        } else {
            self.free = self.cold[index as usize].next;
        }
    }

    /// The flow comes into `state`.
    fn enter(&mut self, index: u32, state: State) {
        self.counts[state as usize] += 1;
        match state {
            State::Closed => self.spent.push_back(&mut self.cold, index),
            State::TimeWait => self.time_wait.push_back(&mut self.cold, index),
            _ => {}
        }
    }

    /// The flow leaves `state`.
    fn leave(&mut self, index: u32, state: State) {
        self.counts[state as usize] -= 1;
        match state {
            State::Closed => self.spent.remove(&mut self.cold, index),
            State::TimeWait => self.time_wait.remove(&mut self.cold, index),
            _ => {}
        }
    }
}

/// P9: at most 192 bytes a flow, even when each of a spliced flow's two names has an entry.
const _: () = assert!(size_of::<Hot>() + size_of::<Cold>() + 2 * BYTES_AN_ENTRY <= 192);

/// Whether flows in `state` are in a list, in order of age.
const fn gives_way(state: State) -> bool {
    matches!(state, State::Closed | State::TimeWait)
}
