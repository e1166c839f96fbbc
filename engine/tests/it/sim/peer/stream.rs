//! What two programs say to each other: bytes that tell whose they are and where they belong.

use std::sync::LazyLock;

use super::super::rng::Rng;

/// A prime, so that bytes moved by a power of two, or by any segment's length, are other bytes.
const PERIOD: usize = 65_521;
/// A stream begins with its number.
const HEAD: usize = 8;

static TABLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut rng = Rng::new(42);
    (0..PERIOD).map(|_| rng.next() as u8).collect()
});

/// All that one program says on one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stream {
    pub(crate) id: u64,
    pub(crate) len: u64,
}

impl Stream {
    /// The bytes at `from`, as many as `len` says.
    pub(crate) fn bytes(&self, from: u64, len: usize) -> Vec<u8> {
        let head = self.id.to_le_bytes();
        let mut out: Vec<u8> =
            head.iter().skip(from.min(HEAD as u64) as usize).take(len).copied().collect();
        let mut at = place(self.id, from + out.len() as u64);
        while out.len() < len {
            let take = (len - out.len()).min(PERIOD - at);
            out.extend(&TABLE[at..at + take]);
            at = 0;
        }
        out
    }
}

fn place(id: u64, at: u64) -> usize {
    (id.wrapping_mul(7919).wrapping_add(at) % PERIOD as u64) as usize
}

/// What was heard of such a stream, held against what it must be.
#[derive(Clone, Default, Debug)]
pub(crate) struct Heard {
    pub(crate) len: u64,
    head: Vec<u8>,
    /// Where the first wrong byte was.
    pub(crate) wrong: Option<u64>,
}

impl Heard {
    /// Takes the next bytes in order.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        let head = bytes.len().min(HEAD - self.head.len());
        self.head.extend(&bytes[..head]);
        self.len += head as u64;
        let rest = &bytes[head..];
        if let Some(id) = self.id().filter(|_| self.wrong.is_none()) {
            let right = Stream { id, len: u64::MAX }.bytes(self.len, rest.len());
            let wrong = rest.iter().zip(&right).position(|(one, other)| one != other);
            self.wrong = wrong.map(|at| self.len + at as u64);
        }
        self.len += rest.len() as u64;
    }

    /// Whose stream it is, once that was said.
    pub(crate) fn id(&self) -> Option<u64> {
        Some(u64::from_le_bytes(self.head[..].try_into().ok()?))
    }

    /// Whether it is a beginning of that stream.
    pub(crate) fn begins(&self, stream: Stream) -> bool {
        self.wrong.is_none()
            && self.len <= stream.len
            && stream.id.to_le_bytes().starts_with(&self.head)
    }

    /// Whether it is the whole of that stream.
    pub(crate) fn is(&self, stream: Stream) -> bool {
        self.begins(stream) && self.len == stream.len
    }
}

#[test]
fn a_stream_is_heard_in_any_pieces_and_nothing_else_is() {
    let stream = Stream { id: 77, len: 200_000 };
    for piece in [1, 3, 8, 1460, 200_000] {
        let mut heard = Heard::default();
        for from in (0..stream.len).step_by(piece) {
            assert!(heard.begins(stream) && !heard.is(stream));
            heard.take(&stream.bytes(from, piece.min((stream.len - from) as usize)));
        }
        assert!(heard.is(stream) && !heard.is(Stream { id: 78, ..stream }));
    }
    for skip in [1, 1460, 65_536, 1 << 17] {
        let mut heard = Heard::default();
        heard.take(&stream.bytes(0, 5000));
        heard.take(&stream.bytes(5000 + skip, 100));
        assert_eq!(heard.wrong.map(|at| at / 10), Some(500), "{skip} bytes were left out");
    }
}
