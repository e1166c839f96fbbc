//! Frames of clients that wait until their backend half is open.
//!
//! What is held is not acknowledged: the client keeps it and sends it again, so whatever exceeds the
//! bounds may be dropped. The bounds count buffers and not bytes, so that segments of one byte cannot
//! pin the pool: so many a flow, so many flows, so many in all.

#![forbid(unsafe_code)]

use arrayvec::ArrayVec;

/// Buffers a flow: an initial window of ten full segments (RFC 6928), and some small ones.
pub(super) const PER_FLOW: usize = 16;

/// Where a flow's frames wait; `NOWHERE` if it has none.
pub(super) type Place = u16;

/// No place.
pub(super) const NOWHERE: Place = Place::MAX;

/// The frames of at most so many flows.
#[derive(Debug)]
pub(super) struct Held<F> {
    places: Box<[ArrayVec<F, PER_FLOW>]>,
    vacant: Vec<Place>,
    frames: usize,
    most: usize,
}

impl<F> Held<F> {
    /// Room for `flows` flows, at most 65,535, and `most` frames in all.
    pub(super) fn new(flows: u16, most: usize) -> Self {
        let places = (0..flows).map(|_| ArrayVec::new()).collect();
        Self { places, vacant: (0..flows).rev().collect(), frames: 0, most }
    }

    /// Holds `frame` for the flow whose frames wait at `place`, which is updated; gives it back where
    /// a bound is reached.
    pub(super) fn push(&mut self, place: &mut Place, frame: F) -> Result<(), F> {
        if self.frames == self.most {
            return Err(frame);
        }
        if *place == NOWHERE {
            let Some(vacant) = self.vacant.pop() else { return Err(frame) };
            *place = vacant;
        }
        self.places[usize::from(*place)].try_push(frame).map_err(|full| full.element())?;
        self.frames += 1;
        Ok(())
    }

    /// Takes out what waits at `place`, in order of arrival. The place is vacant then.
    pub(super) fn take(&mut self, place: &mut Place) -> ArrayVec<F, PER_FLOW> {
        if *place == NOWHERE {
            return ArrayVec::new();
        }
        let frames = self.places[usize::from(*place)].take();
        self.frames -= frames.len();
        self.vacant.push(std::mem::replace(place, NOWHERE));
        frames
    }

    /// How many frames wait.
    pub(super) const fn len(&self) -> usize {
        self.frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_in_order_and_the_place_is_used_again() {
        let mut held = Held::new(1, 100);
        let mut place = NOWHERE;
        assert!((0..3).all(|n| held.push(&mut place, n).is_ok()));
        assert_eq!((held.len(), held.take(&mut place).as_slice()), (3, &[0, 1, 2][..]));
        assert_eq!((held.len(), place), (0, NOWHERE));
        assert!(held.take(&mut place).is_empty());
        assert!(held.push(&mut place, 7).is_ok());
    }

    #[test]
    fn each_bound_gives_the_frame_back() {
        let mut held = Held::new(2, PER_FLOW + 2);
        let (mut one, mut two, mut three) = (NOWHERE, NOWHERE, NOWHERE);
        assert!((0..PER_FLOW).all(|n| held.push(&mut one, n).is_ok()));
        assert_eq!(held.push(&mut one, 99), Err(99), "a flow's");
        assert!(held.push(&mut two, 1).is_ok());
        assert_eq!((held.push(&mut three, 98), three), (Err(98), NOWHERE), "the flows'");
        assert!(held.push(&mut two, 2).is_ok());
        assert_eq!(held.push(&mut two, 97), Err(97), "in all");
        assert_eq!(held.take(&mut one).len() + held.take(&mut two).len(), PER_FLOW + 2);
    }
}
