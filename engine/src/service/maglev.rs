//! Which backend a connection gets: Maglev hashing (Eisenbud et al., NSDI 2016, §3.4), with weights.
//!
//! A table holds every backend of a service, healthy or not. It changes with the configuration only:
//! who cannot be used is passed over for the next one behind it in the table. So a failure moves the
//! connections of the one that failed and no others, at once and without a new table, and the order in
//! which a connection tries backends is the same before and after.

#![forbid(unsafe_code)]

use std::net::SocketAddr;

use usher_proto::wire::{Addr, Tuple};

use crate::config::Balance;

/// Entries of a table: the smaller of the primes that the paper measures. More than a hundred for each of
/// the 512 backends that a service can have, so that shares are right within about 1 %.
const ENTRIES: usize = 65_537;

/// Most members of a table.
const MEMBERS: usize = 512;

/// A backend in a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// What its places in the table follow from.
    pub address: SocketAddr,
    /// Its share, relative to the others': at least 1.
    pub weight: u16,
    /// What [`Maglev::order`] calls it.
    pub slot: u16,
}

/// A table of backends.
#[derive(Clone, Debug)]
pub struct Maglev {
    /// Indices of `slots`.
    entries: Box<[u16]>,
    slots: Box<[u16]>,
}

impl Maglev {
    /// The table of `members`, each address once. Only addresses and weights decide about it: neither the
    /// members' order nor their slots do, and every node makes the same.
    ///
    /// # Panics
    ///
    /// If there is no member, or more than 512, or one without weight.
    #[must_use]
    pub fn new(members: &[Member]) -> Self {
        assert!(members.iter().all(|member| member.weight > 0), "every member has a weight");
        assert!((1..=MEMBERS).contains(&members.len()), "1 to {MEMBERS} members");
        let mut members = members.to_vec();
        members.sort_unstable_by_key(|member| member.address);
        Self {
            entries: populate(&members),
            slots: members.iter().map(|member| member.slot).collect(),
        }
    }

    /// The slots of all members, each once, in the order in which a connection of this hash tries them.
    #[inline]
    #[must_use]
    pub fn order(&self, hash: u64) -> Order<'_> {
        // the high half, scaled: as even as a remainder, without a division
        let at = (((hash >> 32) * ENTRIES as u64) >> 32) as usize;
        Order { table: self, at, seen: [0; MEMBERS / 64], left: self.slots.len() }
    }

    /// The first usable backend for a connection of this hash.
    #[inline]
    #[must_use]
    pub fn pick(&self, hash: u64, usable: impl Fn(u16) -> bool) -> Option<u16> {
        self.order(hash).find(|slot| usable(*slot))
    }

    /// The usable backend that is tried after `after`; `None` when that was the last one. All that come
    /// before it in the order have had their turn. A backend that is no member (any more) is before all.
    #[must_use]
    pub fn next(&self, hash: u64, after: u16, usable: impl Fn(u16) -> bool) -> Option<u16> {
        if !self.slots.contains(&after) {
            return self.pick(hash, usable);
        }
        self.order(hash).skip_while(|slot| *slot != after).skip(1).find(|slot| usable(*slot))
    }
}

/// The members of a table in a connection's order.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    table: &'a Maglev,
    /// The next entry.
    at: usize,
    /// A bit for each member that had its turn.
    seen: [u64; MEMBERS / 64],
    left: usize,
}

impl Iterator for Order<'_> {
    type Item = u16;

    /// Every member has an entry, so that the walk ends.
    #[inline]
    fn next(&mut self) -> Option<u16> {
        while self.left > 0 {
            let member = usize::from(self.table.entries[self.at]);
            self.at = if self.at + 1 == ENTRIES { 0 } else { self.at + 1 };
            let (word, bit) = (member / 64, 1 << (member % 64));
            if self.seen[word] & bit == 0 {
                self.seen[word] |= bit;
                self.left -= 1;
                return Some(self.table.slots[member]);
            }
        }
        None
    }
}

/// Where a member would like to be: its preferences, first to last.
struct Preferences {
    at: usize,
    skip: usize,
}

impl Preferences {
    fn new(address: &SocketAddr) -> Self {
        let hash = |seed| {
            let [high, low] = halves(Addr::from(address.ip()));
            mix(mix(mix(seed, high), low), u64::from(address.port()))
        };
        Self {
            at: (hash(1) % ENTRIES as u64) as usize,
            skip: (hash(2) % (ENTRIES as u64 - 1)) as usize + 1,
        }
    }

    /// ENTRIES is prime, so every entry comes up.
    fn next(&mut self) -> usize {
        let at = self.at;
        self.at = (at + self.skip) % ENTRIES;
        at
    }
}

/// The members take turns, the heaviest in each round, the others in as many as their weight is of its;
/// all in the first, so that none is without an entry. Whose turn it is takes its next preference that is
/// free.
fn populate(members: &[Member]) -> Box<[u16]> {
    const FREE: u16 = u16::MAX;
    let heaviest = members.iter().map(|member| u32::from(member.weight)).max().unwrap_or(1);
    let mut entries = vec![FREE; ENTRIES].into_boxed_slice();
    let mut turns: Vec<(Preferences, u32)> = members
        .iter()
        .map(|member| (Preferences::new(&member.address), heaviest - u32::from(member.weight)))
        .collect();
    let mut left = ENTRIES;
    loop {
        for (index, (member, (preferences, credit))) in members.iter().zip(&mut turns).enumerate() {
            *credit += u32::from(member.weight);
            if *credit < heaviest {
                continue;
            }
            *credit -= heaviest;
            let mut at = preferences.next();
            while entries[at] != FREE {
                at = preferences.next();
            }
            entries[at] = index as u16;
            left -= 1;
            if left == 0 {
                return entries;
            }
        }
    }
}

/// The hash of a client's connection by which `balance` chooses: the same on every node.
#[inline]
#[must_use]
pub fn hash(balance: Balance, tuple: &Tuple) -> u64 {
    let [high, low] = halves(tuple.remote);
    let client = mix(mix(0, high), low);
    match balance {
        Balance::MaglevSource => client,
        Balance::Maglev => {
            let [high, low] = halves(tuple.local);
            let ports = u64::from(tuple.remote_port) << 16 | u64::from(tuple.local_port);
            mix(mix(mix(client, high), low), ports)
        }
    }
}

#[inline]
fn halves(addr: Addr) -> [u64; 2] {
    let all = u128::from_be_bytes(addr.0);
    [(all >> 64) as u64, all as u64]
}

/// Adds a word to a hash: the finalizer of SplitMix64 (Steele, Lea, Flood 2014), by which every bit of
/// the word changes every bit of the result in one case of two.
#[inline]
const fn mix(hash: u64, word: u64) -> u64 {
    let z = (hash ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Members of these weights, slots counted from 100.
    fn members(weights: &[u16]) -> Vec<Member> {
        let member = |(index, weight): (usize, &u16)| Member {
            address: SocketAddr::from(([10, 20, (index >> 8) as u8, index as u8], 80)),
            weight: *weight,
            slot: 100 + index as u16,
        };
        weights.iter().enumerate().map(member).collect()
    }

    /// The slot of each entry.
    fn entries(table: &Maglev) -> Vec<u16> {
        table.entries.iter().map(|member| table.slots[usize::from(*member)]).collect()
    }

    fn counts(table: &Maglev, members: &[Member]) -> Vec<usize> {
        let entries = entries(table);
        let count = |member: &Member| entries.iter().filter(|slot| **slot == member.slot).count();
        members.iter().map(count).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        /// Maglev §5.3: shares are even within a per cent where there are a hundred entries a member. With
        /// weights, too: off by one entry, and by what rounding up gives to the others.
        #[test]
        fn shares_follow_weights(weights in prop::collection::vec(1..=1000u16, 1..=MEMBERS)) {
            let members = members(&weights);
            let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            let counts = counts(&Maglev::new(&members), &members);
            for (count, weight) in counts.iter().zip(&weights) {
                let share = ENTRIES as f64 * f64::from(*weight) / total;
                let bound = 1.0 + share * members.len() as f64 / ENTRIES as f64;
                prop_assert!((*count as f64 - share).abs() <= bound, "{count} for {share}");
                prop_assert!(*count > 0);
            }
        }

        /// A configuration that lists the same backends in another order is the same configuration.
        #[test]
        fn order_of_construction_does_not_matter(
            (weights, shuffled) in prop::collection::vec(1..=1000u16, 1..40)
                .prop_map(|weights| members(&weights))
                .prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        ) {
            prop_assert_eq!(entries(&Maglev::new(&weights)), entries(&Maglev::new(&shuffled)));
        }

        /// Retries visit every backend once; `next` goes the same way.
        #[test]
        fn retries_visit_distinct_backends(
            weights in prop::collection::vec(1..=1000u16, 1..40), hash: u64, down: u64,
        ) {
            let table = Maglev::new(&members(&weights));
            let order: Vec<u16> = table.order(hash).collect();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert!(sorted.into_iter().eq(100..100 + weights.len() as u16));
            let usable = |slot: u16| down >> (slot - 100) & 1 == 0;
            let mut steps = vec![];
            let mut next = table.pick(hash, usable);
            while let Some(slot) = next {
                steps.push(slot);
                next = table.next(hash, slot, usable);
            }
            prop_assert!(steps.iter().copied().eq(order.iter().copied().filter(|slot| usable(*slot))));
            prop_assert_eq!(table.next(hash, 9, usable), table.pick(hash, usable));
        }
    }

    #[test]
    fn equal_members_differ_by_one_entry() {
        let members = members(&[1; 10]);
        let counts = counts(&Maglev::new(&members), &members);
        assert!(counts.iter().all(|count| [6553, 6554].contains(count)), "{counts:?}");
    }

    /// The table is part of what nodes agree on: a version that makes another must say so.
    #[test]
    fn the_same_configuration_gives_the_same_table_in_every_version() {
        let table = Maglev::new(&members(&[1, 2, 3]));
        let sum = entries(&table).iter().fold(0, |sum, slot| mix(sum, u64::from(*slot)));
        assert_eq!(sum, 14_268_323_029_763_434_133);
        let tuple = Tuple {
            remote: Addr::v4([192, 0, 2, 1]),
            local: Addr::v4([10, 10, 0, 10]),
            remote_port: 40_000,
            local_port: 80,
            ..Tuple::default()
        };
        let elsewhere = Tuple { vlan: 5, port: 1, ..tuple };
        for balance in [Balance::Maglev, Balance::MaglevSource] {
            assert_eq!(hash(balance, &tuple), hash(balance, &elsewhere));
        }
        assert_eq!(hash(Balance::Maglev, &tuple), 5_246_645_537_883_307_340);
        assert_eq!(hash(Balance::MaglevSource, &tuple), 15_140_869_552_379_927_949);
    }

    /// A backend that fails: its entries go to all others, and no other entry changes.
    #[test]
    fn a_failure_moves_no_other_connection() {
        let table = Maglev::new(&members(&[1; 10]));
        let mut moved = [0; 10];
        for entry in 0..ENTRIES {
            let hash = ((entry as u64) << 32).div_ceil(ENTRIES as u64) << 32;
            let before = table.pick(hash, |_| true).unwrap();
            let after = table.pick(hash, |slot| slot != 103).unwrap();
            if before == 103 {
                moved[usize::from(after - 100)] += 1;
            } else {
                assert_eq!(before, after);
            }
        }
        let even = 6554 / 9;
        assert_eq!(moved[3], 0);
        assert!(
            moved.iter().filter(|n| **n > 0).all(|n| n * 10 > even * 8 && n * 10 < even * 12),
            "{moved:?}"
        );
    }

    /// A backend that is taken out of the configuration: of the other nine's entries 0.23 % move, too (Maglev,
    /// §5.3: the larger the table, the fewer).
    #[test]
    fn removal_moves_little_else() {
        let all = members(&[1; 10]);
        let (before, after) = (entries(&Maglev::new(&all)), entries(&Maglev::new(&all[1..])));
        let others = || before.iter().zip(&after).filter(|(old, _)| **old != 100);
        let moved = others().filter(|(old, new)| old != new).count();
        assert!(moved * 200 < others().count(), "{moved} of {}", others().count());
    }

    #[test]
    fn sources_stay_with_their_backend() {
        let from = |remote_port, local_port| Tuple {
            remote: Addr::v4([192, 0, 2, 1]),
            remote_port,
            local_port,
            ..Tuple::default()
        };
        let hashes = |balance| hash(balance, &from(1, 80)) == hash(balance, &from(2, 81));
        assert!(hashes(Balance::MaglevSource) && !hashes(Balance::Maglev));
    }
}
