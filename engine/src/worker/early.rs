//! Frames of consumers' flows that came before their turn.
//!
//! What is kept is not acknowledged: the client has it still, so whatever exceeds the bounds may be dropped. As with held
//! frames they count buffers: so many a flow, so many in all.

#![forbid(unsafe_code)]

use usher_proto::wire::{Flags, Segment, SeqNum};

/// Frames a flow: most of a window of full segments behind one gap.
const PER_FLOW: u16 = 32;

const NIL: u32 = u32::MAX;

/// What is known of a frame that is kept: where its payload is, and which part of the stream that is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Part {
    seq: SeqNum,
    offset: u16,
    len: u16,
    fin: bool,
}

impl Part {
    pub(super) const fn of(seg: &Segment) -> Self {
        let fin = seg.flags.has(Flags::FIN);
        Self { seq: seg.seq, offset: seg.payload_offset, len: seg.payload_len, fin }
    }

    const fn end(&self) -> SeqNum {
        self.seq.add(self.len as u32 + self.fin as u32)
    }

    /// The segment again, as far as it is needed.
    pub(super) fn segment(&self) -> Segment {
        Segment {
            seq: self.seq,
            flags: if self.fin { Flags::ACK | Flags::FIN } else { Flags::ACK },
            payload_offset: self.offset,
            payload_len: self.len,
            ..Segment::default()
        }
    }
}

#[derive(Debug)]
struct Place<F> {
    part: Part,
    frame: Option<F>,
    /// The next one of the flow, or the next vacant one.
    next: u32,
}

/// The frames of all flows.
#[derive(Debug)]
pub(super) struct Early<F> {
    places: Box<[Place<F>]>,
    vacant: u32,
    used: u32,
}

/// One flow's frames, in the order of their numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Line {
    first: u32,
    len: u16,
}

impl Line {
    pub(super) const EMPTY: Self = Self { first: NIL, len: 0 };

    /// Whether nothing is kept.
    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<F> Early<F> {
    /// Room for `frames` frames.
    pub(super) fn new(frames: u16) -> Self {
        let count = u32::from(frames);
        let place = |index: u32| Place {
            part: Part::default(),
            frame: None,
            next: if index + 1 == count { NIL } else { index + 1 },
        };
        let vacant = if count == 0 { NIL } else { 0 };
        Self { places: (0..count).map(place).collect(), vacant, used: 0 }
    }

    /// How many frames are kept.
    pub(super) const fn len(&self) -> u32 {
        self.used
    }

    /// Keeps a frame.
    ///
    /// # Errors
    ///
    /// Gives it back where a bound is reached, or all of it is kept already.
    pub(super) fn push(&mut self, line: &mut Line, part: Part, frame: F) -> Result<(), F> {
        if line.len >= PER_FLOW || self.vacant == NIL {
            return Err(frame);
        }
        let (mut before, mut next) = (NIL, line.first);
        while let Some(place) = self.places.get(next as usize) {
            if place.part.seq.is_after(part.seq) {
                break;
            }
            if !part.end().is_after(place.part.end()) {
                return Err(frame);
            }
            (before, next) = (next, place.next);
        }
        let index = self.vacant;
        let Some(place) = self.places.get_mut(index as usize) else { return Err(frame) };
        self.vacant = place.next;
        *place = Place { part, frame: Some(frame), next };
        match self.places.get_mut(before as usize) {
            Some(before) => before.next = index,
            None => line.first = index,
        }
        line.len += 1;
        self.used += 1;
        Ok(())
    }

    /// What is known of the first frame, if it begins at `rcv_nxt` or before.
    pub(super) fn due(&self, line: &Line, rcv_nxt: SeqNum) -> Option<Part> {
        let place = self.places.get(line.first as usize)?;
        (!place.part.seq.is_after(rcv_nxt)).then_some(place.part)
    }

    /// Takes the first frame out.
    pub(super) fn pop(&mut self, line: &mut Line) -> Option<F> {
        let place = self.places.get_mut(line.first as usize)?;
        let next = std::mem::replace(&mut place.next, self.vacant);
        self.vacant = std::mem::replace(&mut line.first, next);
        line.len -= 1;
        self.used -= 1;
        place.frame.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(seq: u32, len: u16) -> Part {
        Part { seq: SeqNum(seq), offset: 54, len, fin: false }
    }

    #[test]
    fn frames_come_out_in_the_order_of_their_numbers() {
        let (mut early, mut line) = (Early::new(4), Line::EMPTY);
        let wrap = u32::MAX - 5;
        for (n, seq) in [20u32, 0, 10].into_iter().enumerate() {
            assert_eq!(early.push(&mut line, part(wrap.wrapping_add(seq), 10), n), Ok(()));
        }
        assert_eq!(early.due(&line, SeqNum(wrap).sub(1)), None);
        for (n, seq) in [(1, 0u32), (2, 10), (0, 20)] {
            let seq = wrap.wrapping_add(seq);
            assert_eq!(early.due(&line, SeqNum(seq)), Some(part(seq, 10)));
            assert_eq!(early.pop(&mut line), Some(n));
        }
        assert_eq!((line, early.len(), early.pop(&mut line)), (Line::EMPTY, 0, None));
    }

    #[test]
    fn what_is_kept_already_is_given_back() {
        let (mut early, mut line) = (Early::new(9), Line::EMPTY);
        assert_eq!(early.push(&mut line, part(10, 10), 'a'), Ok(()));
        assert_eq!(early.push(&mut line, part(10, 10), 'b'), Err('b'), "the same");
        assert_eq!(early.push(&mut line, part(12, 3), 'c'), Err('c'), "a part of it");
        assert_eq!(early.push(&mut line, part(12, 9), 'd'), Ok(()), "more");
        assert_eq!(early.push(&mut line, part(5, 30), 'e'), Ok(()), "from before on");
        let fin = Part { fin: true, ..part(20, 1) };
        assert_eq!(early.push(&mut line, part(20, 1), 'f'), Err('f'));
        assert_eq!(early.push(&mut line, Part { len: 20, ..fin }, 'g'), Ok(()));
        let order: String = std::iter::from_fn(|| early.pop(&mut line)).collect();
        assert_eq!(order, "eadg");
    }

    #[test]
    fn each_bound_gives_the_frame_back() {
        let mut early = Early::new(PER_FLOW + 2);
        let (mut one, mut two) = (Line::EMPTY, Line::EMPTY);
        let mut fill = |line: &mut Line| {
            (0..100).take_while(|n| early.push(line, part(n * 10, 10), *n).is_ok()).count()
        };
        assert_eq!(fill(&mut one), usize::from(PER_FLOW), "a flow's");
        assert_eq!(fill(&mut two), 2, "in all");
        assert_eq!(std::iter::from_fn(|| early.pop(&mut one)).count(), usize::from(PER_FLOW));
        assert_eq!((early.len(), early.push(&mut two, part(50, 1), 7)), (2, Ok(())));
    }

    /// RFC 9293 §3.10.7.4: a segment is remade with all that decides about it.
    #[test]
    fn a_part_is_a_segment_again() {
        let flags = Flags::ACK | Flags::FIN;
        let seg = Segment {
            seq: SeqNum(7),
            flags,
            payload_offset: 54,
            payload_len: 9,
            ..Segment::default()
        };
        assert_eq!(Part::of(&seg).segment(), seg);
        assert_eq!(Part::of(&seg).end(), seg.end());
    }
}
