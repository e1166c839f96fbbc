//! The table: records, the directory that finds them, the wheel that wakes them, the lists that give way.
#![forbid(unsafe_code)]

use std::sync::Arc;

use ahash::RandomState;
use usher_proto::splice::{Half, Splice};
use usher_proto::tcp::{State, Tcb};
use usher_proto::time::Tick;
use usher_proto::wire::{Mac, Tuple};
use zerocopy::IntoBytes;

use super::directory::{BYTES_AN_ENTRY, Directory};
use super::id::{FlowId, Index};
use super::list::List;
use super::memory::{filled, prefetch, prefetch_whole};
use super::paths::Path;
use super::record::{Body, Cold, Hot, MAX_RECORDS, NIL};
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
/// Between calls: each live record has one entry in the directory, a proxied flow's two; it is in the list
/// of spent markers when its state is CLOSED, in that of TIME_WAIT when it is TIME_WAIT, in none otherwise;
/// a record that holds no flow is linked nowhere but in the free list.
#[derive(Debug)]
pub struct Table {
    hasher: RandomState,
    directory: Directory,
    /// What second names are made of.
    paths: Arc<[Path]>,
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
        let cold = Cold { body: Body::Own(Tcb::default()), next: NIL, prev_or_started: 0 };
        Self {
            hasher: seed.hasher(),
            directory: Directory::new(2 * records),
            paths: Arc::from([]),
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
            prefetch_whole(&self.cold[index as usize]);
            true
        });
    }

    /// The flow of this name, and which of its halves is called so. `hash` is that of `tuple`.
    #[inline]
    #[must_use]
    pub fn find(&self, hash: u64, tuple: &Tuple) -> Option<(Index, Half)> {
        let mut half = Half::Client;
        let found = self.directory.find(hash, |index| {
            let is_client = self.hot[index as usize].is(tuple);
            half = if is_client { Half::Client } else { Half::Backend };
            is_client || self.second_name(index).is_some_and(|name| name == *tuple)
        })?;
        Some((Index(found), half))
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
        (cold.body, cold.next, cold.prev_or_started) = (Body::Own(flow.tcb), NIL, flow.started_us);
        self.enter(index, flow.tcb.state);
        Ok(Index(index))
    }

    /// Frees the flow's record: its names, its timer and its ids are gone. `false`, and nothing is done,
    /// if no flow lives there: a record is freed exactly once.
    pub fn remove(&mut self, index: Index) -> bool {
        let Index(index) = index;
        if !self.hot[index as usize].is_live() {
            return false;
        }
        self.unlist_second(index);
        let hot = &mut self.hot[index as usize];
        hot.generation = hot.generation.wrapping_add(1);
        let hash = self.hasher.hash_one(hot.tuple.as_bytes());
        let listed = self.directory.remove(hash, index);
        debug_assert!(listed, "a live record is in the directory");
        self.wheel.cancel(&mut self.hot, index);
        self.leave(index, self.cold[index as usize].body.state());
        self.cold[index as usize].next = self.free;
        self.free = index;
        true
    }

    /// Lets the state of a flow of our own become the next one, in place; `None` if the flow is proxied.
    /// Coming into CLOSED (spent) or TIME_WAIT, it joins the end of those that give way in a full table.
    #[inline]
    pub fn update<R>(&mut self, index: Index, change: impl FnOnce(&mut Tcb) -> R) -> Option<R> {
        let Body::Own(tcb) = &mut self.cold[index.0 as usize].body else { return None };
        let old = tcb.state;
        let result = change(tcb);
        let new = tcb.state;
        self.moved(index.0, old, new);
        Some(result)
    }

    /// The same of a proxied flow; `None` if it is not. Path and port stay: [`Self::join`] changes them.
    #[inline]
    pub fn update_spliced<R>(
        &mut self,
        index: Index,
        change: impl FnOnce(&mut Splice) -> R,
    ) -> Option<R> {
        let Body::Spliced(splice) = &mut self.cold[index.0 as usize].body else { return None };
        let (old, name) = (splice.state(), (splice.path, splice.local_port));
        let result = change(splice);
        debug_assert_eq!(name, (splice.path, splice.local_port), "`join` changes names");
        let new = splice.state();
        self.moved(index.0, old, new);
        Some(result)
    }

    /// Makes the flow a proxied one, or joins it to another backend half: from now on it is found by its
    /// second name too, and no longer by the one before. No flow may have that name.
    ///
    /// # Errors
    ///
    /// [`Full`] if the directory has no room: the flow then has no second name, and is otherwise as before.
    pub fn join(&mut self, index: Index, splice: &Splice) -> Result<(), Full> {
        self.unlist_second(index.0);
        let body = &mut self.cold[index.0 as usize].body;
        let before = std::mem::replace(body, Body::Spliced(*splice));
        let hash = self.second_name(index.0).map(|name| {
            let hash = self.hash(&name);
            debug_assert_eq!(self.find(hash, &name), None, "two flows of one name");
            hash
        });
        if !hash.is_some_and(|hash| self.directory.insert(hash, index.0)) {
            self.cold[index.0 as usize].body = before;
            return Err(Full);
        }
        self.moved(index.0, before.state(), splice.state());
        Ok(())
    }

    /// Makes a proxied flow one of our own: a marker of what it was, or the next of its name.
    pub fn part(&mut self, index: Index, tcb: &Tcb) {
        self.unlist_second(index.0);
        let body = &mut self.cold[index.0 as usize].body;
        let before = std::mem::replace(body, Body::Own(*tcb));
        self.moved(index.0, before.state(), tcb.state);
    }

    /// Replaces what second names are made of. The paths of flows must stay what they are.
    pub fn set_paths(&mut self, paths: Arc<[Path]>) {
        debug_assert!(self.paths.iter().zip(&*paths).all(|(old, new)| old == new));
        self.paths = paths;
    }

    /// A new flow of the same name has taken the record over; its state is already there. Ids of the old one
    /// are stale.
    pub fn renew(&mut self, index: Index, peer: Mac, edition: u16, started_us: u32) {
        let (hot, cold) = (&mut self.hot[index.0 as usize], &mut self.cold[index.0 as usize]);
        hot.generation = hot.generation.wrapping_add(2);
        (hot.peer, hot.edition) = (peer, edition);
        if !cold.body.state().gives_way() {
            cold.prev_or_started = started_us;
        }
    }

    /// Who gives way when the table is full: the oldest spent marker, else the oldest TIME_WAIT.
    #[must_use]
    pub fn evict_candidate(&self) -> Option<Index> {
        self.spent.front().or_else(|| self.time_wait.front()).map(Index)
    }

    /// Fetches what the removal of the next to give way touches, and the record of the one after it: in a full
    /// table that is kept busy, every new flow removes one that nobody has looked at for long.
    #[inline]
    pub fn prefetch_candidates(&self) {
        let Some(Index(next)) = self.evict_candidate() else { return };
        self.directory.prefetch(self.hash(&self.hot[next as usize].tuple));
        let after = self.cold[next as usize].next as usize;
        if let (Some(hot), Some(cold)) = (self.hot.get(after), self.cold.get(after)) {
            prefetch(hot);
            prefetch_whole(cold);
        }
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

    /// What the protocol remembers of the flow.
    #[inline]
    #[must_use]
    pub fn body(&self, index: Index) -> &Body {
        &self.cold[index.0 as usize].body
    }

    /// Whether the flow is a proxied one.
    #[inline]
    #[must_use]
    pub fn is_spliced(&self, index: Index) -> bool {
        matches!(self.body(index), Body::Spliced(_))
    }

    /// The flow's state.
    #[inline]
    #[must_use]
    pub fn state(&self, index: Index) -> State {
        self.body(index).state()
    }

    /// What a proxied flow is called on its backend half.
    #[must_use]
    pub fn backend_tuple(&self, index: Index) -> Option<Tuple> {
        self.second_name(index.0)
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
        (!cold.body.state().gives_way()).then_some(cold.prev_or_started)
    }

    /// The live flows among the records `from..from + count`: a walk over all of them in batches.
    pub fn flows(&self, from: u32, count: u32) -> impl Iterator<Item = Index> + '_ {
        let end = from.saturating_add(count).min(self.fresh);
        (from..end).filter(|&index| self.hot[index as usize].is_live()).map(Index)
    }

    /// How many records have ever held a flow: [`Self::flows`] finds none behind them.
    #[must_use]
    pub const fn used(&self) -> u32 {
        self.fresh
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

    /// What the record's flow is called on its backend half, if it has one.
    fn second_name(&self, index: u32) -> Option<Tuple> {
        let Body::Spliced(splice) = &self.cold[index as usize].body else { return None };
        let path = self.paths.get(usize::from(splice.path))?;
        Some(path.name(&self.hot[index as usize].tuple, splice.local_port))
    }

    fn unlist_second(&mut self, index: u32) {
        if let Some(name) = self.second_name(index) {
            let listed = self.directory.remove(self.hasher.hash_one(name.as_bytes()), index);
            debug_assert!(listed, "a second name is in the directory");
        }
    }

    /// The flow goes from one state to another.
    #[inline]
    fn moved(&mut self, index: u32, old: State, new: State) {
        if old != new {
            self.leave(index, old);
            self.enter(index, new);
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
