//! What consumers have written and clients have not acknowledged.
//!
//! Nothing is copied but small writes into one chunk: a payload waits as it came until all of it is acknowledged, and is
//! read again for every segment. The pieces of all flows come from one slab, which has room for every chunk and lease that
//! there is.

#![forbid(unsafe_code)]

use crate::handoff::{CHUNK, Payload};

const NIL: u32 = u32::MAX;

/// One payload of a flow's queue.
#[derive(Debug)]
struct Piece {
    payload: Option<Payload>,
    /// The next one of the queue, or the next vacant one.
    next: u32,
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        self.payload.as_ref().map_or(&[], AsRef::as_ref)
    }
}

/// The pieces of all queues.
#[derive(Debug)]
pub(super) struct Outbox {
    /// Up to its capacity, which never grows: memory that is not needed is not touched.
    pieces: Vec<Piece>,
    most: usize,
    vacant: u32,
    used: u32,
}

/// One flow's queue. Places in it are counted from the stream's beginning, modulo 2³².
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Queue {
    first: u32,
    last: u32,
    /// Where the first piece begins.
    begin: u32,
    /// Behind the last byte.
    end: u32,
    /// A piece, and where it begins: where the last look ended.
    looked: (u32, u32),
}

impl Queue {
    pub(super) const EMPTY: Self =
        Self { first: NIL, last: NIL, begin: 0, end: 0, looked: (NIL, 0) };

    /// How many bytes were written so far, modulo 2³².
    pub(super) const fn end(&self) -> u32 {
        self.end
    }
}

impl Outbox {
    /// Room for `pieces` payloads.
    ///
    /// # Panics
    ///
    /// If there are 2³² - 1 or more.
    pub(super) fn new(pieces: usize) -> Self {
        assert!(pieces < NIL as usize, "fewer pieces than 2^32 - 1");
        Self { pieces: Vec::with_capacity(pieces), most: pieces, vacant: NIL, used: 0 }
    }

    /// How many payloads wait.
    pub(super) const fn len(&self) -> u32 {
        self.used
    }

    /// Adds a payload. What is not needed any more, as it was copied into the last piece, comes back as `Ok`.
    ///
    /// # Errors
    ///
    /// Gives the payload back if there is no vacant piece.
    pub(super) fn push(
        &mut self,
        queue: &mut Queue,
        payload: Payload,
    ) -> Result<Option<Payload>, Payload> {
        let len = payload.as_ref().len() as u32; // no truncation: a chunk or a frame
        if len == 0 || self.is_merged(queue.last, &payload) {
            queue.end = queue.end.wrapping_add(len);
            return Ok(Some(payload));
        }
        let index = if let Some(piece) = self.pieces.get_mut(self.vacant as usize) {
            piece.payload = Some(payload);
            let next = std::mem::replace(&mut piece.next, NIL);
            std::mem::replace(&mut self.vacant, next)
        } else if self.pieces.len() < self.most {
            self.pieces.push(Piece { payload: Some(payload), next: NIL });
            self.pieces.len() as u32 - 1
        } else {
            return Err(payload);
        };
        self.used += 1;
        match self.pieces.get_mut(queue.last as usize) {
            Some(last) => last.next = index,
            None => (queue.first, queue.begin) = (index, queue.end),
        }
        queue.last = index;
        queue.end = queue.end.wrapping_add(len);
        Ok(None)
    }

    /// Copies a chunk behind what is in the last one, if it fits there.
    fn is_merged(&mut self, last: u32, payload: &Payload) -> bool {
        let Payload::Chunk(more) = payload else { return false };
        let last = self.pieces.get_mut(last as usize).and_then(|piece| piece.payload.as_mut());
        match last {
            Some(Payload::Chunk(chunk)) if chunk.bytes().len() + more.bytes().len() <= CHUNK => {
                chunk.append(more.bytes());
                true
            }
            _ => false,
        }
    }

    /// `len` bytes of the stream from `from` on, gathered in `room` where they lie in several pieces. Less, if that is
    /// not all there or `room` is too small.
    pub(super) fn read<'b>(
        &'b self,
        queue: &mut Queue,
        from: u32,
        len: usize,
        room: &'b mut [u8],
    ) -> &'b [u8] {
        let (mut index, mut at) = queue.looked;
        if index == NIL || from.wrapping_sub(queue.begin) < at.wrapping_sub(queue.begin) {
            (index, at) = (queue.first, queue.begin);
        }
        let mut piece = self.pieces.get(index as usize);
        while let Some(present) = piece {
            let within = from.wrapping_sub(at) as usize;
            if within < present.bytes().len() {
                break;
            }
            at = at.wrapping_add(present.bytes().len() as u32);
            index = present.next;
            piece = self.pieces.get(index as usize);
        }
        let Some(present) = piece else { return &[] };
        queue.looked = (index, at);
        let tail = &present.bytes()[from.wrapping_sub(at) as usize..];
        match tail.get(..len) {
            Some(whole) => whole,
            None => self.gather(tail, present.next, len, room),
        }
    }

    /// Copies `tail` and what follows it from the piece `next` on, `len` bytes in all.
    fn gather<'b>(&self, tail: &[u8], next: u32, len: usize, room: &'b mut [u8]) -> &'b [u8] {
        let len = len.min(room.len());
        let (mut bytes, mut next, mut filled) = (tail, next, 0);
        loop {
            let count = bytes.len().min(len - filled);
            room[filled..filled + count].copy_from_slice(&bytes[..count]);
            filled += count;
            let Some(piece) = self.pieces.get(next as usize).filter(|_| filled < len) else {
                return &room[..filled];
            };
            (bytes, next) = (piece.bytes(), piece.next);
        }
    }

    /// The stream was acknowledged up to `delivered`: what ends before that goes `home`.
    pub(super) fn release(
        &mut self,
        queue: &mut Queue,
        delivered: u32,
        mut home: impl FnMut(Payload),
    ) {
        while let Some(piece) = self.pieces.get(queue.first as usize) {
            let len = piece.bytes().len() as u32;
            if delivered.wrapping_sub(queue.begin) < len {
                return;
            }
            if let Some(payload) = self.pop(queue, len) {
                home(payload);
            }
        }
    }

    /// The flow is over: everything goes `home`, and the queue is empty.
    pub(super) fn clear(&mut self, queue: &mut Queue, mut home: impl FnMut(Payload)) {
        while let Some(piece) = self.pieces.get(queue.first as usize) {
            let len = piece.bytes().len() as u32;
            if let Some(payload) = self.pop(queue, len) {
                home(payload);
            }
        }
        *queue = Queue::EMPTY;
    }

    /// Takes the first piece out, which has `len` bytes.
    fn pop(&mut self, queue: &mut Queue, len: u32) -> Option<Payload> {
        let index = queue.first;
        let piece = self.pieces.get_mut(index as usize)?;
        let payload = piece.payload.take();
        queue.first = std::mem::replace(&mut piece.next, self.vacant);
        queue.begin = queue.begin.wrapping_add(len);
        if queue.first == NIL {
            queue.last = NIL;
        }
        if queue.looked.0 == index {
            queue.looked = (queue.first, queue.begin);
        }
        self.vacant = index;
        self.used -= 1;
        payload
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::handoff::{Lender, chunk_of};

    fn chunk(bytes: &[u8]) -> Payload {
        Payload::Chunk(chunk_of(bytes))
    }

    fn lease(lender: &mut Lender<Vec<u8>>, bytes: &[u8]) -> Payload {
        Payload::Lease(lender.lend(bytes.to_vec(), |bytes| bytes).expect("a slot is vacant"))
    }

    #[test]
    fn small_writes_share_a_chunk_and_leases_do_not() {
        let (mut outbox, mut queue) = (Outbox::new(4), Queue::EMPTY);
        let mut lender = Lender::new(4);
        assert!(matches!(outbox.push(&mut queue, chunk(&[1; 2000])), Ok(None)));
        assert!(matches!(outbox.push(&mut queue, chunk(&[2; 48])), Ok(Some(_))));
        assert!(matches!(outbox.push(&mut queue, chunk(&[3; 1])), Ok(None)), "full");
        assert!(matches!(outbox.push(&mut queue, lease(&mut lender, &[4; 9])), Ok(None)));
        assert!(matches!(outbox.push(&mut queue, chunk(&[5; 1])), Ok(None)), "behind a lease");
        assert!(outbox.push(&mut queue, lease(&mut lender, &[6])).is_err());
        assert!(matches!(outbox.push(&mut queue, chunk(&[])), Ok(Some(_))), "nothing");
        assert_eq!((outbox.len(), queue.end()), (4, 2059));
    }

    #[test]
    fn what_is_acknowledged_whole_goes_home() {
        let (mut outbox, mut queue) = (Outbox::new(4), Queue::EMPTY);
        let mut lender = Lender::new(4);
        for bytes in [&[1u8; 10][..], &[2; 20], &[3; 30]] {
            assert!(outbox.push(&mut queue, lease(&mut lender, bytes)).is_ok());
        }
        let mut home = Vec::new();
        for (delivered, left) in [(0, 3), (9, 3), (10, 2), (29, 2), (60, 0), (60, 0)] {
            outbox.release(&mut queue, delivered, |payload| home.push(payload.as_ref().len()));
            assert_eq!(outbox.len(), left);
        }
        assert_eq!(home, [10, 20, 30]);
        assert!(outbox.push(&mut queue, chunk(&[4; 5])).is_ok());
        assert_eq!(outbox.read(&mut queue, 60, 5, &mut []), [4; 5]);
        outbox.clear(&mut queue, |payload| home.push(payload.as_ref().len()));
        assert_eq!((home[3], outbox.len(), queue), (5, 0, Queue::EMPTY));
    }

    proptest! {
        /// Against one long vector: whatever is written, released and read from anywhere, also where places wrap.
        #[test]
        fn a_queue_reads_as_what_was_written(
            start in prop_oneof![Just(0u32), (u32::MAX - 2000)..=u32::MAX],
            steps in prop::collection::vec((0..5u8, 0..900usize, 0..3000usize), 1..80),
        ) {
            let mut outbox = Outbox::new(30);
            let mut lender = Lender::new(60);
            let mut queue = Queue { begin: start, end: start, ..Queue::EMPTY };
            let (mut stream, mut acked): (Vec<u8>, usize) = (Vec::new(), 0);
            for (what, size, place) in steps {
                let bytes: Vec<u8> = (0..size).map(|n| (stream.len() + n) as u8).collect();
                let at = |place: usize| start.wrapping_add(place as u32);
                match what {
                    0 | 1 if outbox.len() < 30 => {
                        let is_lease = what == 0 && lender.out() < 60;
                        let payload = if is_lease { lease(&mut lender, &bytes) } else { chunk(&bytes) };
                        prop_assert!(outbox.push(&mut queue, payload).is_ok());
                        stream.extend(bytes);
                    }
                    2 => {
                        acked = (acked + size).min(stream.len());
                        outbox.release(&mut queue, at(acked), drop);
                    }
                    _ => {
                        let from = (acked + place).min(stream.len());
                        let len = size.min(stream.len() - from);
                        let mut room = [0; 1000];
                        let read = outbox.read(&mut queue, at(from), len, &mut room);
                        prop_assert_eq!(read, &stream[from..from + len]);
                    }
                }
                prop_assert_eq!(queue.end(), at(stream.len()));
            }
            outbox.clear(&mut queue, drop);
            let mut free = 0;
            while outbox.push(&mut queue, lease(&mut Lender::new(1), &[1])).is_ok() {
                free += 1;
            }
            prop_assert_eq!(free, 30, "no piece is lost");
        }
    }
}
