//! What becomes of a frame and of its flow: closed enums that are also the counters.

pub use crate::cause::{End, Reason};
use crate::wire::Reply;

/// What becomes of one frame: exactly one, each counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The frame's buffer becomes this segment, back to where it came from.
    Answer(Reply),
    /// The frame's buffer was rewritten into a neighbour or echo reply and goes back.
    Reflect,
    /// Taken in by the flow; there is nothing to say.
    Deliver,
    /// The third ACK of a proxied flow, of which nothing was taken: a backend is to be connected to. The
    /// frame waits for it if it holds data or a FIN. Or that of a consumer's flow, which is to hear of it.
    Connect,
    /// The frame waits until the consumer says what becomes of its flow.
    Hold,
    /// Dropped.
    Drop(Reason),
}

/// What becomes of the frame's flow. Its next state stands where the decision found the present one: a
/// control block is two cache lines, and to hand it up through every call costs more than to decide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// There is no flow, or it stays as it is: nothing was written.
    Keep,
    /// A flow begins, in place of whatever stood there.
    Open,
    /// The flow goes on in another state.
    Update,
    /// The flow is over and its record is freed; what stands there means nothing.
    End(End),
}

/// What happened, for whoever listens: statistics now, consumers later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A SYN took a record.
    HalfOpen,
    /// The three-way handshake is complete; by cookie or not.
    Established {
        /// Whether the third ACK was proved by a cookie.
        by_cookie: bool,
        /// Microseconds from the SYN to the third ACK, where that is known: stateful, and the SYN-ACK
        /// was sent once.
        handshake_us: Option<u32>,
    },
    /// A handshake ended without being completed.
    HandshakeFailed(End),
    /// An established connection ended.
    Ended(End),
}

/// Everything decided about one segment. The timer follows from the state: see `Tcb::deadline`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    /// What becomes of the frame.
    pub verdict: Verdict,
    /// What becomes of the flow.
    pub change: Change,
    /// What happened, if anybody should know.
    pub event: Option<Event>,
    /// What the cookie machinery did, for its counters.
    pub cookie: Option<CookieUse>,
}

/// What a decision did with cookies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CookieUse {
    /// A SYN was answered by cookie.
    Sent,
    /// An ACK proved a cookie and opened a flow.
    Accepted,
    /// An ACK was checked as a cookie and was none.
    Rejected,
}
