//! A client's connection and a backend's as one: sequence numbers, timestamps, SACK and windows translated,
//! the close followed (RFC 9293 §3.6), strangers kept out (RFC 5961).
//!
//! A [`Splice`] begins where the client's handshake ended. It opens the backend half, lets the client's data
//! pass and acknowledges none of it: whatever is acknowledged was acknowledged by the other end. What is
//! never done here: looking at a table, choosing a backend or a port, keeping a frame.
//!
//! Numbers are kept as the client's half has them; a segment of the backend is translated first. *Up* is the
//! stream from the client to the backend, *down* the one back.
//!
//! | file | knows |
//! |---|---|
//! | `state` | what is remembered of a flow, and how numbers translate |
//! | `connect` | the backend half's handshake, try by try; early data |
//! | `header` | the PROXY protocol |
//! | `icmp` | ICMP errors about what passed |
//! | `pass` | segments of connected flows |
//! | `close` | FINs, RSTs, TIME_WAIT, what remains of a flow |
//! | `timer` | what the passing of time leads to |
//! | `rewrite` | what changes in a segment that passes |
//! | `translate` | the same, done to a frame |
//! | `rebuild` | the same, where headers change their length or a segment is split |

mod close;
mod connect;
mod header;
mod icmp;
mod pass;
mod rebuild;
mod rewrite;
mod state;
mod timer;
mod translate;

pub use header::{Behalf, MAX_HEADER, proxy_header, proxy_header_len};
pub use icmp::{Complaint, Quoted, write_complaint};
pub use rebuild::{Pieces, split};
pub use rewrite::{Ops, Rewrite};
pub use state::Splice;
pub use timer::TimerStep;
pub use translate::{Outward, translate};

use crate::cause::Reason;
use crate::tcp::Policy;
pub use crate::tcp::client::Learned;
use crate::time::Now;
use crate::verdict::{End, Event};
use crate::wire::{Reply, SeqNum};

/// One of the two connections of a proxied flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Half {
    /// Between the client and us.
    Client,
    /// Between us and the backend.
    Backend,
}

impl Half {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Backend,
            Self::Backend => Self::Client,
        }
    }
}

/// How a backend is tried: what commit chose. Each try has an ISN of its own, so that answers to an earlier
/// one are recognised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    /// Which addresses and ports the backend half has; only the owner knows what it stands for.
    pub path: u16,
    /// Our port on the backend half.
    pub local_port: u16,
    /// The backend; only the owner knows which.
    pub backend: u16,
    /// The ISN of this try.
    pub iss: SeqNum,
    /// Added to the clock for the TSval of our SYN, where the half has a tuple of our own. `None` where the
    /// client's tuple is used: then its TSvals pass as they are.
    pub ts_offset: Option<u32>,
    /// Length of the PROXY header that goes in front of the client's data, in bytes; 0 for none.
    pub header_len: u8,
    /// The largest MSS that the way between this client and the backend takes.
    pub mss: u16,
    /// What is known of the backend.
    pub learned: Learned,
}

/// Everything but state and segment that a step depends on.
#[derive(Clone, Copy, Debug)]
pub struct SpliceContext<'a> {
    /// The present.
    pub now: Now,
    /// The configuration's choices.
    pub policy: &'a Policy,
    /// The window that the client's SYN-ACK offered: how much of early data is held.
    pub window: u16,
    /// How many backends a flow tries, 1 or more.
    pub tries: u8,
}

/// What becomes of one segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passage {
    /// It goes on to the other half, rewritten so.
    Forward(Rewrite),
    /// It goes on in pieces of at most so many bytes of payload, each rewritten so.
    Split(Rewrite, u16),
    /// Its buffer becomes this segment, back to where it came from.
    Answer(Reply),
    /// It waits until the backend half is open. If it cannot be kept, call [`Splice::not_held`].
    Hold,
    /// Taken in; there is nothing to say.
    Deliver,
    /// The old connection is over and this may begin a new one: ask [`Splice::reopen`].
    Reopen,
    /// Dropped.
    Drop(Reason),
}

/// What becomes of its flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// It goes on.
    Stay,
    /// It goes on in another state, or wakes earlier: count and schedule it anew.
    Moved,
    /// The backend half is open: what was held goes on, each frame as [`Splice::pass_held`] says. Then ask
    /// [`Splice::learned`] whether the backend is what it was taken for.
    Opened,
    /// This backend was tried in vain: choose another and [`Splice::retry`], or end with
    /// [`End::NoBackend`] as for `Abort`.
    NextTry(TryEnd),
    /// Send [`Splice::syn`] again, behind the answer that goes out with this step.
    SynAgain,
    /// It is over, and both ends are to be told what [`Splice::abort`] says. The record is freed, or keeps what [`Splice::spent`] says.
    Abort(End),
    /// It is over. The record is freed, or keeps what [`Splice::spent`] says.
    End(End),
}

/// Why a try ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TryEnd {
    /// The backend refused.
    Refused,
    /// The backend did not answer in time.
    TimedOut,
    /// The backend remembers an earlier connection of these ports (TIME_WAIT), also after a RST: another
    /// port may do.
    InTimeWait,
}

impl TryEnd {
    /// Why the flow ends if this was its last try.
    #[must_use]
    pub const fn end(self) -> End {
        match self {
            Self::Refused => End::BackendRefused,
            Self::TimedOut | Self::InTimeWait => End::ConnectTimeout,
        }
    }
}

/// Everything decided about one segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// What becomes of it.
    pub passage: Passage,
    /// What becomes of its flow.
    pub then: Then,
    /// What happened, if anybody should know.
    pub event: Option<Event>,
}

impl Step {
    /// A step after which the flow goes on as before.
    const fn stay(passage: Passage) -> Self {
        Self { passage, then: Then::Stay, event: None }
    }

    /// A step that drops its segment.
    const fn drop(reason: Reason) -> Self {
        Self::stay(Passage::Drop(reason))
    }
}

#[cfg(test)]
mod tests;
