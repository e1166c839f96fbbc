//! Timers: four wheels of 256 slots, a digit of the tick each, whose lists run through the records.
//!
//! A record is linked under the tick it is due at: in the wheel of the highest digit in which that tick
//! differs from the present, in the slot of that digit. When the present reaches a slot of a slower
//! wheel, its records move on to faster ones. So no record fires early, nor late but by the caller's
//! budget, and a move costs the same with ten flows as with ten million.
//!
//! Deadlines that move later are not followed: the record fires at the old one, and the caller, who
//! knows the new one, links it anew. That keeps every packet but the first away from the wheel.
#![forbid(unsafe_code)]

use usher_proto::time::Tick;

use super::memory::prefetch;
use super::record::{Hot, NIL};

const WHEELS: usize = 4;
const SLOTS: usize = 256;

/// Marks a `wheel_prev` that is no record but the slot whose first record this is.
const SLOT: u32 = 1 << 31;

/// The wheels. Between calls: no record is linked under a slower wheel's present slot, unless the budget
/// ran out while it was emptied.
#[derive(Debug)]
pub(super) struct Wheel {
    heads: [u32; WHEELS * SLOTS],
    /// A bit for each slot of the fastest wheel that is not empty.
    occupied: [u64; SLOTS / 64],
    /// Every record that was due before this has been returned.
    present: Tick,
}

impl Wheel {
    /// Empty wheels whose present is `now`.
    pub(super) const fn new(now: Tick) -> Self {
        Self { heads: [NIL; WHEELS * SLOTS], occupied: [0; SLOTS / 64], present: now }
    }

    /// Sees to it that the record fires at `due` or before. If it is linked under an earlier tick, it
    /// stays there.
    pub(super) fn schedule(&mut self, records: &mut [Hot], index: u32, due: Tick) {
        let record = &records[index as usize];
        if record.wheel_prev != NIL {
            if record.due.is_due(due) {
                return;
            }
            self.unlink(records, index);
        }
        self.link(records, index, due);
    }

    /// Takes the record out, if it is linked.
    pub(super) fn cancel(&mut self, records: &mut [Hot], index: u32) {
        if records[index as usize].wheel_prev != NIL {
            self.unlink(records, index);
        }
    }

    /// Takes out and returns a record that is due at `now`, until there is none or `budget` records
    /// have been touched.
    pub(super) fn next_due(
        &mut self,
        records: &mut [Hot],
        now: Tick,
        budget: &mut u32,
    ) -> Option<u32> {
        loop {
            self.cascade(records, budget);
            if *budget == 0 {
                return None;
            }
            let head = self.heads[self.present.0 as usize % SLOTS];
            if head != NIL {
                *budget -= 1;
                self.unlink(records, head);
                return Some(head);
            }
            if !self.advance(now) {
                return None;
            }
        }
    }

    /// Moves records from the slower wheels' present slots to where they now belong.
    fn cascade(&mut self, records: &mut [Hot], budget: &mut u32) {
        for wheel in (1..WHEELS).rev() {
            let slot = wheel * SLOTS + digit(self.present, wheel);
            while self.heads[slot] != NIL && *budget > 0 {
                *budget -= 1;
                let index = self.heads[slot];
                let due = records[index as usize].due;
                self.unlink(records, index);
                self.link(records, index, due);
            }
        }
    }

    /// Goes on to the next tick that has something to do, `now` at the latest. `false` if the present is
    /// `now` already.
    fn advance(&mut self, now: Tick) -> bool {
        let left = now.since(self.present);
        let turn = SLOTS as u32 - self.present.0 % SLOTS as u32;
        let step = self.next_occupied().unwrap_or(turn).min(left);
        self.present = self.present.after(step);
        left > 0
    }

    /// Ticks from the present to the next one with a record in the fastest wheel, this turn.
    fn next_occupied(&self) -> Option<u32> {
        let from = self.present.0 as usize % SLOTS + 1;
        let words = (from / 64..SLOTS / 64).map(|word| {
            let hidden = if word == from / 64 { from % 64 } else { 0 };
            (word, self.occupied[word] >> hidden << hidden)
        });
        let (word, bits) = words.into_iter().find(|&(_, bits)| bits != 0)?;
        Some((word * 64 + bits.trailing_zeros() as usize + 1 - from) as u32)
    }

    fn link(&mut self, records: &mut [Hot], index: u32, due: Tick) {
        let slot = self.slot_for(due);
        let head = self.heads[slot];
        let record = &mut records[index as usize];
        record.due = due;
        (record.wheel_prev, record.wheel_next) = (SLOT | slot as u32, head);
        if head != NIL {
            records[head as usize].wheel_prev = index;
        }
        self.set_head(slot, index);
    }

    fn unlink(&mut self, records: &mut [Hot], index: u32) {
        let record = &mut records[index as usize];
        let (prev, next) = (record.wheel_prev, record.wheel_next);
        record.wheel_prev = NIL;
        if let Some(after) = records.get_mut(next as usize) {
            after.wheel_prev = prev;
            let follower = after.wheel_next;
            records.get(follower as usize).inspect(|record| prefetch(*record));
        }
        if prev & SLOT == 0 {
            records[prev as usize].wheel_next = next;
        } else {
            self.set_head((prev & !SLOT) as usize, next);
        }
    }

    fn set_head(&mut self, slot: usize, head: u32) {
        self.heads[slot] = head;
        if let Some(word) = self.occupied.get_mut(slot / 64) {
            *word = *word & !(1 << (slot % 64)) | u64::from(head != NIL) << (slot % 64);
        }
    }

    /// The slot for a record due at `due`; what is overdue goes to the present one.
    fn slot_for(&self, due: Tick) -> usize {
        let due = if due.is_due(self.present) { self.present } else { due };
        let differing = due.0 ^ self.present.0;
        let wheel = (differing | 1).ilog2() as usize / 8;
        wheel * SLOTS + digit(due, wheel)
    }
}

/// The digit of `tick` that `wheel` turns by.
const fn digit(tick: Tick, wheel: usize) -> usize {
    (tick.0 >> (8 * wheel)) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RECORDS: usize = 12;

    /// Distances as timeouts have them, and where digits carry.
    fn distance() -> impl Strategy<Value = u32> {
        prop_oneof![
            0..4_u32,
            250..260_u32,
            0..2000_u32,
            65_530..65_540_u32,
            0..400_000_u32,
            0..1_u32 << 30
        ]
    }

    #[derive(Clone, Debug)]
    enum Step {
        Schedule(usize, u32),
        Cancel(usize),
        Pass(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..RECORDS, distance()).prop_map(|(i, d)| Step::Schedule(i, d)),
            1 => (0..RECORDS).prop_map(Step::Cancel),
            2 => distance().prop_map(|d| Step::Pass(d % (1 << 20))),
        ]
    }

    /// Everything due at `now`, in order of index, with `budget` records a call.
    fn drain(wheel: &mut Wheel, records: &mut [Hot], now: Tick, budget: u32) -> Vec<u32> {
        let mut due = Vec::new();
        loop {
            let mut left = budget;
            due.extend(std::iter::from_fn(|| wheel.next_due(records, now, &mut left)));
            if left > 0 {
                due.sort_unstable();
                return due;
            }
        }
    }

    proptest! {
        /// Against a list of deadlines: what is due fires, once, and nothing else does.
        #[test]
        fn fires_what_a_sorted_list_would(
            start in prop_oneof![Just(0), any::<u32>(), any::<u32>().prop_map(|t| (t << 24).wrapping_sub(3000))],
            budget in 1..9_u32,
            steps in prop::collection::vec(step(), 0..60),
        ) {
            let mut now = Tick(start);
            let mut wheel = Wheel::new(now);
            let mut records = [Hot::FREE; RECORDS];
            let mut model = [None::<Tick>; RECORDS];
            for step in steps {
                match step {
                    Step::Schedule(i, d) => {
                        let due = now.after(d);
                        wheel.schedule(&mut records, i as u32, due);
                        model[i] = Some(model[i].map_or(due, |linked| linked.min(due)));
                    }
                    Step::Cancel(i) => {
                        wheel.cancel(&mut records, i as u32);
                        model[i] = None;
                    }
                    Step::Pass(d) => now = now.after(d),
                }
                let due = |i: &u32| model[*i as usize].is_some_and(|due| due.is_due(now));
                let expected: Vec<u32> = (0..RECORDS as u32).filter(due).collect();
                prop_assert_eq!(&drain(&mut wheel, &mut records, now, budget), &expected);
                expected.iter().for_each(|&i| model[i as usize] = None);
            }
            for i in 0..RECORDS as u32 {
                wheel.cancel(&mut records, i);
            }
            prop_assert!(wheel.heads.iter().all(|&head| head == NIL) && wheel.occupied == [0; 4]);
        }
    }

    #[test]
    fn a_deadline_that_moves_later_fires_at_the_old_one() {
        let (mut wheel, mut records) = (Wheel::new(Tick(0)), [Hot::FREE; 1]);
        wheel.schedule(&mut records, 0, Tick(10));
        wheel.schedule(&mut records, 0, Tick(5000));
        assert_eq!(drain(&mut wheel, &mut records, Tick(9), 9), [0_u32; 0]);
        assert_eq!(drain(&mut wheel, &mut records, Tick(10), 9), [0]);
        assert_eq!(drain(&mut wheel, &mut records, Tick(5000), 9), [0_u32; 0]);
    }

    #[test]
    fn an_overdue_deadline_fires_at_once() {
        let (mut wheel, mut records) = (Wheel::new(Tick(1000)), [Hot::FREE; 1]);
        wheel.schedule(&mut records, 0, Tick(3));
        assert_eq!(drain(&mut wheel, &mut records, Tick(1000), 9), [0]);
    }

    #[test]
    fn a_spent_budget_loses_nothing() {
        let (mut wheel, mut records) = (Wheel::new(Tick(0)), [Hot::FREE; 1000]);
        for index in 0..1000 {
            wheel.schedule(&mut records, index, Tick(70_000 + index));
        }
        let mut seen = 0;
        for _ in 0..10 {
            let mut budget = 150;
            while wheel.next_due(&mut records, Tick(80_000), &mut budget).is_some() {
                seen += 1;
            }
            assert_eq!(budget, 0, "still moving or firing");
        }
        assert!(seen < 1000);
        assert_eq!(seen + drain(&mut wheel, &mut records, Tick(80_000), 64).len(), 1000);
    }
}
