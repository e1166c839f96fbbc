//! The MACs of next hops: which are known, which are asked for, and what waits for an answer.
//!
//! For frames that answer no frame; answers go back to the station that asked and need no cache.
//! Fixed room, no allocation. An entry exists only because we wanted to send there: what neighbours
//! say of themselves updates entries and never makes one. The worker calls [`Cache::lookup`] to send,
//! [`Cache::learn`] with each lesson, and [`Cache::poll`] at housekeeping until it is `None`.
//!
//! ```text
//!  lookup ─▶ Incomplete ─answer─▶ Reachable ─30 s─▶ Stale ─lookup, 5 s─▶ Probing ─answer─▶ Reachable
//!                │ 3 questions                                             │ 3 questions
//!                ▼ unanswered: gone, what waited given back                ▼ unanswered: gone
//! ```

use arrayvec::ArrayVec;

use super::Lesson;
use crate::time::Tick;
use crate::wire::{Addr, Mac};

/// How many items wait for one next hop; the oldest gives way (RFC 4861 §7.2.2 wants at least one).
/// More would hold buffers for a next hop that may not exist; fewer lose a burst's beginning.
pub const HELD: usize = 4;

/// RFC 4861 §10: REACHABLE_TIME, in milliseconds.
const REACHABLE_MS: u32 = 30_000;
/// RFC 4861 §10: RETRANS_TIMER, in milliseconds.
const RETRANSMIT_MS: u32 = 1_000;
/// RFC 4861 §10: DELAY_FIRST_PROBE_TIME, in milliseconds.
const DELAY_MS: u32 = 5_000;
/// RFC 4861 §10: MAX_MULTICAST_SOLICIT and MAX_UNICAST_SOLICIT.
const MAX_QUESTIONS: u8 = 3;

/// Next hops, at most `N`; items of type `T` (frames, or ids of them) wait in it.
#[derive(Debug)]
pub struct Cache<T, const N: usize> {
    entries: ArrayVec<Entry<T>, N>,
}

#[derive(Debug)]
struct Entry<T> {
    addr: Addr,
    /// Means something in every state but `Incomplete`.
    mac: Mac,
    state: State,
    /// When the state is to be looked at again; never in `Stale`.
    due: Tick,
    used: Tick,
    held: ArrayVec<T, HELD>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Never heard of; so many questions were asked.
    Incomplete(u8),
    /// Known to be there.
    Reachable,
    /// Not confirmed for a while, and not used since.
    Stale,
    /// Used while stale; so many questions were asked.
    Probing(u8),
}

/// Where an item is to go.
#[derive(PartialEq, Eq, Debug)]
pub enum Lookup<T> {
    /// To this station, now.
    Known(Mac, T),
    /// It waits; if something else had to give way for it, that is to be dropped.
    Held(Option<T>),
    /// There is no room to ask: it is to be dropped.
    Full(T),
}

/// What is to be done now.
#[derive(PartialEq, Eq, Debug)]
pub enum Due<T> {
    /// Ask for this address: everybody, or only the station known so far.
    Solicit {
        /// Whose MAC is asked for.
        addr: Addr,
        /// Where it was last known to be.
        known: Option<Mac>,
    },
    /// This address does not answer: what waited for it is to be dropped.
    Unreachable {
        /// The address.
        addr: Addr,
        /// What waited.
        held: ArrayVec<T, HELD>,
    },
}

impl<T, const N: usize> Default for Cache<T, N> {
    fn default() -> Self {
        Self { entries: ArrayVec::new() }
    }
}

impl<T, const N: usize> Cache<T, N> {
    /// Finds the station for `addr`, a neighbour on the link, or lets `item` wait until it is found.
    /// A question for a new address is due at once.
    pub fn lookup(&mut self, addr: &Addr, item: T, now: Tick) -> Lookup<T> {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.addr == *addr) else {
            return self.begin(addr, item, now);
        };
        entry.used = now;
        match entry.state {
            State::Incomplete(_) => {
                let oldest = if entry.held.is_full() { entry.held.pop_at(0) } else { None };
                match entry.held.try_push(item) {
                    Ok(()) => Lookup::Held(oldest),
                    Err(full) => Lookup::Full(full.element()),
                }
            }
            // RFC 4861 §7.3.3: it is used at once, and asked after unless something confirms it.
            State::Stale => {
                entry.state = State::Probing(0);
                entry.due = now.after(DELAY_MS);
                Lookup::Known(entry.mac, item)
            }
            State::Reachable | State::Probing(_) => Lookup::Known(entry.mac, item),
        }
    }

    /// Whether an address is asked for and something waits for the answer.
    #[must_use]
    pub fn is_awaited(&self, addr: &Addr) -> bool {
        let entry = self.entries.iter().find(|entry| entry.addr == *addr);
        entry.is_some_and(|entry| !entry.held.is_empty())
    }

    /// Takes in what a frame taught. When that resolves an address, returns its station and what
    /// waited for it, in order.
    pub fn learn(&mut self, lesson: &Lesson, now: Tick) -> Option<(Mac, ArrayVec<T, HELD>)> {
        let entry = self.entries.iter_mut().find(|entry| entry.addr == lesson.addr)?;
        if matches!(entry.state, State::Incomplete(_)) {
            entry.mac = lesson.mac?;
            entry.settle(lesson.confirms, now);
            return Some((entry.mac, core::mem::take(&mut entry.held)));
        }
        // RFC 4861 §7.2.5 from here on.
        let moved_to = lesson.mac.filter(|mac| *mac != entry.mac);
        match (moved_to, lesson.overrides) {
            (Some(mac), true) => {
                entry.mac = mac;
                entry.settle(lesson.confirms, now);
            }
            (Some(_), false) => entry.doubt(),
            (None, _) if lesson.confirms => entry.settle(true, now),
            (None, _) => {}
        }
        None
    }

    /// Something that is due, if anything is; to be called until it is `None`.
    pub fn poll(&mut self, now: Tick) -> Option<Due<T>> {
        let is_due = |entry: &Entry<T>| entry.state != State::Stale && entry.due.is_due(now);
        while let Some(index) = self.entries.iter().position(is_due) {
            let entry = self.entries.get_mut(index)?;
            let (asked, known) = match entry.state {
                State::Incomplete(asked) => (asked, None),
                State::Probing(asked) => (asked, Some(entry.mac)),
                State::Reachable | State::Stale => {
                    entry.state = State::Stale;
                    continue;
                }
            };
            if asked >= MAX_QUESTIONS {
                let Entry { addr, held, .. } = self.entries.swap_remove(index);
                return Some(Due::Unreachable { addr, held });
            }
            let asked = asked.saturating_add(1);
            entry.state = known.map_or(State::Incomplete(asked), |_| State::Probing(asked));
            entry.due = now.after(RETRANSMIT_MS);
            return Some(Due::Solicit { addr: entry.addr, known });
        }
        None
    }

    /// When `poll` is to be called next, if ever.
    #[must_use]
    pub fn deadline(&self) -> Option<Tick> {
        let waiting = self.entries.iter().filter(|entry| entry.state != State::Stale);
        waiting.map(|entry| entry.due).reduce(Tick::min)
    }

    /// The number of addresses known or asked for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is known or asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of items that wait.
    #[must_use]
    pub fn held(&self) -> usize {
        self.entries.iter().fold(0, |sum, entry| sum.saturating_add(entry.held.len()))
    }

    /// Makes an entry, if need be in the place of the one used least recently that nothing waits for.
    fn begin(&mut self, addr: &Addr, item: T, now: Tick) -> Lookup<T> {
        if self.entries.is_full() {
            let settled = |state| matches!(state, State::Reachable | State::Stale);
            let candidates = self.entries.iter().enumerate().filter(|(_, e)| settled(e.state));
            let Some((oldest, _)) = candidates.max_by_key(|(_, entry)| now.since(entry.used))
            else {
                return Lookup::Full(item);
            };
            self.entries.swap_remove(oldest);
        }
        let mut held = ArrayVec::new();
        held.push(item);
        let state = State::Incomplete(0);
        let entry = Entry { addr: *addr, mac: Mac::ZERO, state, due: now, used: now, held };
        match self.entries.try_push(entry) {
            Ok(()) => Lookup::Held(None),
            // Not reached but for N = 0: room was made above.
            Err(full) => full.element().held.pop().map_or(Lookup::Held(None), Lookup::Full),
        }
    }
}

impl<T> Entry<T> {
    /// The MAC is known: reachable if that was confirmed, else stale.
    fn settle(&mut self, confirmed: bool, now: Tick) {
        self.state = if confirmed { State::Reachable } else { State::Stale };
        self.due = now.after(REACHABLE_MS);
    }
    /// Somebody else claims the address, without the right to replace: reachable no more.
    fn doubt(&mut self) {
        if self.state == State::Reachable {
            self.state = State::Stale;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const M1: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const M2: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn addr(last: u8) -> Addr {
        Addr::v4([10, 0, 0, last])
    }

    fn lesson(last: u8, mac: Mac, confirms: bool, overrides: bool) -> Lesson {
        Lesson { addr: addr(last), mac: Some(mac), confirms, overrides }
    }

    fn ask(last: u8, known: Option<Mac>) -> Option<Due<u32>> {
        Some(Due::Solicit { addr: addr(last), known })
    }

    /// RFC 4861 §7.2.2: what waits is released by the answer, in order; the oldest gives way.
    #[test]
    fn items_wait_for_the_answer() {
        let mut cache = Cache::<u32, 4>::default();
        for item in 0..HELD as u32 {
            assert_eq!(cache.lookup(&addr(1), item, Tick(0)), Lookup::Held(None));
        }
        assert_eq!(cache.lookup(&addr(1), 9, Tick(0)), Lookup::Held(Some(0)));
        assert_eq!((cache.poll(Tick(0)), cache.poll(Tick(0))), (ask(1, None), None));
        let (mac, held) = cache.learn(&lesson(1, M1, true, true), Tick(5)).unwrap();
        assert_eq!((mac, &held[..]), (M1, &[1, 2, 3, 9][..]));
        assert_eq!(cache.lookup(&addr(1), 10, Tick(6)), Lookup::Known(M1, 10));
        assert_eq!(cache.held(), 0);
    }

    /// RFC 4861 §7.2.2: three questions, a second apart, then what waited is given back.
    #[test]
    fn silence_is_an_answer_after_three_questions() {
        let mut cache = Cache::<u32, 4>::default();
        let _ = cache.lookup(&addr(1), 7, Tick(100));
        for second in 0..3 {
            let now = Tick(100 + second * 1000);
            assert_eq!(cache.deadline(), Some(now));
            assert_eq!((cache.poll(now), cache.poll(now)), (ask(1, None), None));
        }
        let gone = cache.poll(Tick(3100));
        let held = [7].into_iter().collect();
        assert_eq!(gone, Some(Due::Unreachable { addr: addr(1), held }));
        assert_eq!(
            (cache.poll(Tick(9000)), cache.is_empty(), cache.deadline()),
            (None, true, None)
        );
    }

    /// RFC 4861 §7.3.3: a stale next hop is used at once, and asked after, first after five seconds.
    #[test]
    fn a_stale_neighbour_is_used_and_probed() {
        let mut cache = Cache::<u32, 4>::default();
        let _ = cache.lookup(&addr(1), 7, Tick(0));
        cache.learn(&lesson(1, M1, true, true), Tick(0));
        assert_eq!(cache.poll(Tick(30_000)), None);
        assert_eq!(cache.deadline(), None, "stale and unused: nothing to do");
        assert_eq!(cache.lookup(&addr(1), 8, Tick(40_000)), Lookup::Known(M1, 8));
        assert_eq!(cache.deadline(), Some(Tick(45_000)));
        assert_eq!(cache.poll(Tick(45_000)), ask(1, Some(M1)));
        let confirmed = Lesson { mac: None, ..lesson(1, M1, true, false) };
        assert_eq!(cache.learn(&confirmed, Tick(45_001)), None);
        assert_eq!(cache.deadline(), Some(Tick(75_001)));
        // And without an answer it is forgotten.
        assert_eq!(cache.poll(Tick(75_001)), None);
        let _ = cache.lookup(&addr(1), 9, Tick(80_000));
        for second in 0..3 {
            assert_eq!(cache.poll(Tick(85_000 + second * 1000)), ask(1, Some(M1)));
        }
        let held = ArrayVec::new();
        assert_eq!(cache.poll(Tick(88_000)), Some(Due::Unreachable { addr: addr(1), held }));
    }

    /// RFC 4861 §7.2.5, clause by clause.
    #[test]
    fn advertisements_change_what_they_may() {
        let settled = |confirms| {
            let mut cache = Cache::<u32, 4>::default();
            let _ = cache.lookup(&addr(1), 7, Tick(0));
            cache.learn(&lesson(1, M1, confirms, true), Tick(0));
            cache
        };
        let after = |mut cache: Cache<u32, 4>, lesson: Lesson| {
            cache.learn(&lesson, Tick(1));
            (cache.entries[0].mac, cache.entries[0].state)
        };
        let (reachable, stale) = (State::Reachable, State::Stale);
        assert_eq!(after(settled(true), lesson(1, M2, true, false)), (M1, stale));
        assert_eq!(after(settled(false), lesson(1, M2, true, false)), (M1, stale));
        assert_eq!(after(settled(true), lesson(1, M2, true, true)), (M2, reachable));
        assert_eq!(after(settled(true), lesson(1, M2, false, true)), (M2, stale));
        assert_eq!(after(settled(true), lesson(1, M1, false, true)), (M1, reachable));
        assert_eq!(after(settled(false), lesson(1, M1, true, false)), (M1, reachable));
        let mut asked = Cache::<u32, 4>::default();
        let _ = asked.lookup(&addr(1), 7, Tick(0));
        let no_mac = Lesson { mac: None, ..lesson(1, M1, true, true) };
        assert_eq!(after(asked, no_mac), (Mac::ZERO, State::Incomplete(0)));
    }

    /// What strangers say of themselves makes no entry (RFC 6583); when all room is taken by open
    /// questions, a new one is refused.
    #[test]
    fn room_is_bounded() {
        let mut cache = Cache::<u32, 2>::default();
        assert_eq!(cache.learn(&lesson(9, M2, true, true), Tick(0)), None);
        assert!(cache.is_empty());
        let _ = (cache.lookup(&addr(1), 1, Tick(0)), cache.lookup(&addr(2), 2, Tick(0)));
        assert_eq!(cache.lookup(&addr(3), 3, Tick(0)), Lookup::Full(3));
        cache.learn(&lesson(1, M1, true, true), Tick(0));
        assert_eq!(cache.lookup(&addr(3), 3, Tick(1)), Lookup::Held(None));
        assert_eq!((cache.len(), cache.lookup(&addr(1), 1, Tick(1))), (2, Lookup::Full(1)));
        let mut none = Cache::<u32, 0>::default();
        assert_eq!(none.lookup(&addr(1), 5, Tick(0)), Lookup::Full(5));
    }

    proptest! {
        /// Whatever happens, in whatever order: no item is lost, none comes back twice.
        #[test]
        fn items_come_back_exactly_once(
            steps in prop::collection::vec((0u8..6, 0u8..4, 0u32..4000), 0..200),
        ) {
            let mut cache = Cache::<u32, 3>::default();
            let (mut now, mut back) = (Tick(u32::MAX - 100_000), Vec::new());
            for (item, (step, last, pause)) in steps.iter().enumerate() {
                let item = item as u32;
                now = now.after(*pause);
                match step {
                    0..=2 => match cache.lookup(&addr(*last), item, now) {
                        Lookup::Known(mac, item) => { prop_assert_eq!(mac, M1); back.push(item) }
                        Lookup::Full(item) => back.push(item),
                        Lookup::Held(displaced) => back.extend(displaced),
                    },
                    3 => {
                        let lesson = lesson(*last, M1, item.is_multiple_of(2), true);
                        back.extend(cache.learn(&lesson, now).into_iter().flat_map(|(_, held)| held));
                        back.push(item);
                    }
                    _ => {
                        while let Some(due) = cache.poll(now) {
                            if let Due::Unreachable { held, .. } = due { back.extend(held) }
                        }
                        prop_assert!(cache.deadline().is_none_or(|due| !due.is_due(now)));
                        back.push(item);
                    }
                }
                prop_assert_eq!(back.len() + cache.held(), item as usize + 1);
            }
            back.sort_unstable();
            back.dedup();
            prop_assert_eq!(back.len() + cache.held(), steps.len());
        }
    }
}
