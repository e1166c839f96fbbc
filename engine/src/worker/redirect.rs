//! Frames that come to a worker whose they are not go on to the one whose they are.
//!
//! Between any two workers there are two rings each way: one for frames as they were received, one for what workers
//! tell each other. Both are filled as the turn goes and shown once, at its end. Whoever gets a frame handed on
//! treats it as if it had come in by its own queue; nobody hands it on a second time. A full ring drops what it has no
//! room for, and that is counted: TCP sends it again.

#![forbid(unsafe_code)]

#[cfg(test)]
mod tests;

use arrayvec::ArrayVec;
use usher_proto::verdict::Reason;
use usher_proto::wire::{Checked, Parsed, RxChecksums};

use super::news::News;
use super::turn::{HERE, Lanes, Turn};
use crate::handoff::{Consumer, Producer, channel};
use crate::port::{BURST, Burst, Frame, QueuePair, Spread};
use crate::service::Position;
use crate::stats::Counter;

/// Frames on their way from one worker to another: what a receive ring holds (see `port::dpdk`), so that a worker that is
/// late loses no more of what comes by this way than of what comes by its own queue.
const RING: usize = 1024;
/// News on their way: an order for each backend that there can be would not fit at once, and is not lost; of lessons
/// the sixteen a turn that a link full of questions brings must fit for as many turns as a worker may be late.
const NEWS: usize = 256;

/// A frame as it came in, and the port's index.
#[derive(Debug)]
struct Parcel<F> {
    frame: F,
    port: u16,
}

/// The ends of the rings that one worker has.
#[derive(Debug)]
pub struct Peers<F> {
    position: Position,
    spread: Spread,
    /// By worker; `None` is itself.
    ways: Box<[Option<Way<F>>]>,
}

/// To one other worker, and from it.
#[derive(Debug)]
struct Way<F> {
    frames_to: Producer<Parcel<F>>,
    frames_from: Consumer<Parcel<F>>,
    news_to: Producer<News>,
    news_from: Consumer<News>,
}

impl<F> Way<F> {
    /// Both ends of the rings between two workers.
    fn pair() -> (Self, Self) {
        let (frames_there, frames_here) = channel(RING);
        let (frames_back, frames_come) = channel(RING);
        let (news_there, news_here) = channel(NEWS);
        let (news_back, news_come) = channel(NEWS);
        let one = Self {
            frames_to: frames_there,
            frames_from: frames_come,
            news_to: news_there,
            news_from: news_come,
        };
        let other = Self {
            frames_to: frames_back,
            frames_from: frames_here,
            news_to: news_back,
            news_from: news_here,
        };
        (one, other)
    }
}

impl<F> Peers<F> {
    /// The rings between so many workers, for each of them its ends, in order.
    #[must_use]
    pub fn among(count: u16) -> Vec<Self> {
        let mut ways: Vec<Vec<Option<Way<F>>>> = Vec::new();
        for _ in 0..count {
            let mut newcomer = Vec::new();
            for earlier in &mut ways {
                let (there, back) = Way::pair();
                earlier.push(Some(there));
                newcomer.push(Some(back));
            }
            newcomer.push(None);
            ways.push(newcomer);
        }
        let spread = Spread::over(count);
        let peers = Position::all(count).zip(ways).map(|(position, ways)| Self {
            position,
            spread: spread.clone(),
            ways: ways.into(),
        });
        peers.collect()
    }

    /// Those of an only worker: none.
    #[must_use]
    pub fn none() -> Self {
        Self { position: Position::ALONE, spread: Spread::over(1), ways: Box::new([None]) }
    }

    /// Which worker this is.
    #[inline]
    pub(super) const fn position(&self) -> Position {
        self.position
    }

    /// Tells one other worker; `false` if it has not kept up with what it was told before.
    pub(super) fn tell(&mut self, worker: u16, news: News) -> bool {
        let way = self.ways.get_mut(usize::from(worker)).and_then(Option::as_mut);
        way.is_none_or(|way| way.news_to.stage(news).is_ok())
    }

    /// What another has told, and who it was; `None` once everything was heard.
    #[inline]
    pub(super) fn next_news(&mut self) -> Option<(u16, News)> {
        let mut ways =
            (0..).zip(&mut self.ways).filter_map(|(worker, way)| Some((worker, way.as_mut()?)));
        ways.find_map(|(worker, way)| {
            let mut heard = None;
            way.news_from.drain(1, |news| heard = Some((worker, news)));
            heard
        })
    }

    /// Hands a frame on; gives it back if there is no room.
    #[inline]
    fn hand_on(&mut self, worker: u16, frame: F, port: u16) -> Result<(), F> {
        match self.ways.get_mut(usize::from(worker)) {
            Some(Some(way)) => {
                way.frames_to.stage(Parcel { frame, port }).map_err(|parcel| parcel.frame)
            }
            Some(None) | None => Err(frame),
        }
    }

    /// The end of a turn: others see what was put into the rings.
    #[inline]
    pub(super) fn publish(&mut self) {
        for way in self.ways.iter_mut().flatten() {
            way.frames_to.publish();
            way.news_to.publish();
        }
    }
}

impl<Q: QueuePair> Turn<'_, Q> {
    /// Finds out which frames of a burst are other workers'.
    pub(super) fn find_owners(&self, port: usize, burst: &Burst<Q::Frame>, lanes: &mut Lanes) {
        let (own, owners) = (self.peers.position.index(), &self.view.owners);
        let hashes = self.links[port].hashes;
        for (frame, lane) in burst.iter().zip(lanes) {
            let owner = match &lane.parsed {
                Ok(Parsed::Tcp(seg)) => {
                    // Devices differ about IPv6 with extension headers.
                    let is_told = hashes && seg.tuple.local.is_v4();
                    let hash = if is_told { frame.flow_hash() } else { None };
                    owners.of(&seg.tuple, &self.peers.spread, hash)
                }
                Ok(Parsed::Icmp(error)) => owners.of(&error.tuple, &self.peers.spread, None),
                Ok(_) | Err(_) => own,
            };
            lane.owner = if owner == own { HERE } else { owner };
        }
    }

    /// Hands a frame on to its worker.
    pub(super) fn hand_on(&mut self, port: usize, frame: Q::Frame, owner: u16) {
        match self.peers.hand_on(owner, frame, port as u16) {
            Ok(()) => self.tally.add(Counter::RedirectedOut, 1),
            Err(frame) => self.discard(port, frame, Reason::RedirectFull),
        }
    }

    /// A burst from each of the others, front to back. Returns how many frames there were.
    pub(super) fn take_over(&mut self) -> usize {
        (0..self.peers.ways.len()).map(|worker| self.take_over_from(worker)).sum()
    }

    fn take_over_from(&mut self, worker: usize) -> usize {
        let mut parcels: ArrayVec<Parcel<Q::Frame>, BURST> = ArrayVec::new();
        let Some(way) = &mut self.peers.ways[worker] else { return 0 };
        let taken = way.frames_from.pop(&mut parcels);
        if taken > 0 {
            let before = self.verdicts();
            let mut lanes = Lanes::new();
            for parcel in &parcels {
                let checksums = looked_at(parcel.frame.rx_checksums());
                self.read(usize::from(parcel.port), &parcel.frame, checksums, &mut lanes);
            }
            self.fetch(&mut lanes);
            for (Parcel { frame, port }, lane) in parcels.into_iter().zip(&lanes) {
                self.handle(usize::from(port), frame, lane);
            }
            self.tally.add(Counter::RedirectedIn, taken as u64);
            self.assert_verdicts(before, taken);
        }
        taken
    }
}

/// Whoever handed the frame on has verified its checksums.
fn looked_at(by_device: RxChecksums) -> RxChecksums {
    let known = |word| if word == Checked::Unknown { Checked::Good } else { word };
    RxChecksums { ip: known(by_device.ip), l4: known(by_device.l4) }
}
