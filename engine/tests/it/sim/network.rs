//! The wire between clients and server: a queue of events on a fake clock, and seeded weather.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::frame;
use super::plan::MILLI;
use super::rng::Rng;

/// What may befall a frame, in thousandths, and how long it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) loss: u32,
    pub(crate) duplicate: u32,
    /// Held back so long that others overtake it.
    pub(crate) reorder: u32,
    /// One byte changed, or the end cut off.
    pub(crate) corrupt: u32,
    /// Marked as having met congestion, if it says that it can be (RFC 3168 §5).
    pub(crate) mark: u32,
    /// One way, in microseconds; and what chance adds.
    pub(crate) delay: u64,
    pub(crate) jitter: u64,
}

impl Weather {
    /// Nothing happens, and frames arrive in order.
    pub(crate) const CLEAR: Self =
        Self { loss: 0, duplicate: 0, reorder: 0, corrupt: 0, mark: 0, delay: 100, jitter: 0 };
    /// A bad day on the Internet.
    pub(crate) const RAIN: Self = Self {
        loss: 20,
        duplicate: 10,
        reorder: 50,
        corrupt: 10,
        mark: 0,
        delay: 10 * MILLI,
        jitter: 2 * MILLI,
    };
    /// Hardly usable.
    pub(crate) const STORM: Self = Self {
        loss: 150,
        duplicate: 80,
        reorder: 150,
        corrupt: 50,
        mark: 0,
        delay: 20 * MILLI,
        jitter: 30 * MILLI,
    };
}

/// What happens at a moment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Happening {
    ToServer(Vec<u8>),
    ToClient(Vec<u8>),
    /// A client (by index) starts or has a timer due.
    Client(usize),
    /// The server may have something to do.
    Poll,
}

/// The queue: events of one moment come out in the order in which they went in.
pub(crate) struct Network {
    pub(crate) weather: Weather,
    rng: Rng,
    queue: BinaryHeap<Reverse<(u64, u64, Happening)>>,
    count: u64,
    last: [u64; 2],
}

impl Network {
    pub(crate) const fn new(weather: Weather, rng: Rng) -> Self {
        Self { weather, rng, queue: BinaryHeap::new(), count: 0, last: [0; 2] }
    }

    pub(crate) fn at(&mut self, time: u64, happening: Happening) {
        self.count += 1;
        self.queue.push(Reverse((time, self.count, happening)));
    }

    pub(crate) fn next(&mut self) -> Option<(u64, Happening)> {
        self.queue.pop().map(|Reverse((time, _, happening))| (time, happening))
    }

    pub(crate) fn next_time(&self) -> Option<u64> {
        self.queue.peek().map(|Reverse((time, _, _))| *time)
    }

    /// The next frame for the server, if it arrives by `limit` and nothing else happens before.
    pub(crate) fn next_to_server(&mut self, limit: u64) -> Option<Vec<u8>> {
        match self.queue.peek() {
            Some(Reverse((time, _, Happening::ToServer(_)))) if *time <= limit => {}
            _ => return None,
        }
        match self.next() {
            Some((_, Happening::ToServer(frame))) => Some(frame),
            _ => None,
        }
    }

    /// Sends a frame into the weather.
    pub(crate) fn send(&mut self, now: u64, to_server: bool, frame: Vec<u8>) {
        let weather = self.weather;
        if self.rng.chance(weather.loss) {
            return;
        }
        let copies = if self.rng.chance(weather.duplicate) { 2 } else { 1 };
        for _ in 0..copies {
            let mut copy = frame.clone();
            if weather.mark > 0 && self.rng.chance(weather.mark) {
                frame::mark(&mut copy);
            }
            if self.rng.chance(weather.corrupt) {
                self.corrupt(&mut copy);
            }
            let time = self.arrival(now, to_server);
            self.at(
                time,
                if to_server { Happening::ToServer(copy) } else { Happening::ToClient(copy) },
            );
        }
    }

    /// Frames keep their order, but for those that are held back.
    fn arrival(&mut self, now: u64, to_server: bool) -> u64 {
        let time = now + self.weather.delay + self.rng.below(self.weather.jitter);
        if self.rng.chance(self.weather.reorder) {
            return time + self.rng.below(4 * self.weather.delay);
        }
        let last = &mut self.last[usize::from(to_server)];
        *last = time.max(*last);
        *last
    }

    /// Changes one byte behind the Ethernet header (its own checksum guards that on a real wire), or cuts
    /// the end off. The Internet checksum notices any change within a byte.
    fn corrupt(&mut self, frame: &mut Vec<u8>) {
        if self.rng.chance(200) {
            let keep = 1 + self.rng.below(frame.len() as u64 - 1);
            return frame.truncate(keep as usize);
        }
        let mut at = 14 + self.rng.below(frame.len() as u64 - 14) as usize;
        // No sum guards IPv6's traffic class, flow label and hop limit: an address is spoilt instead.
        if frame[12..14] == [0x86, 0xdd] && matches!(at, 14..18 | 21) {
            at = 22;
        }
        frame[at] ^= 1 + self.rng.below(255) as u8;
    }
}
