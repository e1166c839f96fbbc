//! How flows are spread over workers: by the low bits of a hash and a table, as devices do it.

#![forbid(unsafe_code)]

/// Entries of the table. Devices have 64 to 2048, most of them 128. More would spread more evenly over many workers, and
/// differ from the tables of more devices: what a device sends elsewhere is handed on.
pub const ENTRIES: usize = 128;

/// Which worker each hash belongs to: the same for every port, and for every worker that asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spread {
    workers: [u16; ENTRIES],
    count: u16,
}

impl Spread {
    /// Over so many workers, at least one, by turns.
    #[must_use]
    pub fn over(count: u16) -> Self {
        let count = count.max(1);
        Self { workers: std::array::from_fn(|entry| entry as u16 % count), count }
    }

    /// The worker that this hash belongs to.
    #[inline]
    #[must_use]
    pub const fn worker(&self, hash: u32) -> u16 {
        self.workers[hash as usize % ENTRIES]
    }

    /// How many workers there are.
    #[inline]
    #[must_use]
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// The queue for each entry of a device's table of `entries`, which has `queues` queues: a worker's own, or where
    /// there are fewer, those of the first workers by turns.
    pub fn queues(&self, entries: usize, queues: u16) -> impl Iterator<Item = u16> {
        (0..entries).map(move |entry| self.workers[entry % ENTRIES] % queues.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_has_its_share() {
        for count in [1, 2, 3, 7, 64, 128] {
            let spread = Spread::over(count);
            let mut shares = vec![0; usize::from(count)];
            (0..1024).for_each(|hash| shares[usize::from(spread.worker(hash))] += 1);
            let least = shares.iter().min().unwrap();
            assert!(*least >= 1024 / ENTRIES * (ENTRIES / usize::from(count)), "{shares:?}");
        }
    }

    /// A device with as many queues as there are workers brings each frame to its owner, whatever the size of its table.
    #[test]
    fn a_devices_table_leads_to_the_same_worker() {
        let spread = Spread::over(3);
        for entries in [128, 512, 2048] {
            let queues: Vec<u16> = spread.queues(entries, 3).collect();
            assert!(
                (0..10_000_u32).all(|hash| queues[hash as usize % entries] == spread.worker(hash))
            );
        }
        assert!(spread.queues(64, 2).all(|queue| queue < 2));
    }
}
