//! The states of a connection and what is remembered of one.

use crate::time::Tick;
use crate::wire::SeqNum;

/// The states of RFC 9293 §3.3.2 that a server can be in. A flow in CLOSED is a *spent marker*: it
/// remembers that its cookie has been used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[repr(u8)]
pub enum State {
    /// No connection; in the table: a spent marker.
    #[default]
    Closed,
    /// SYN received, SYN-ACK sent.
    SynRcvd,
    /// Data flows.
    Established,
    /// We closed; our FIN is not acknowledged.
    FinWait1,
    /// Our FIN is acknowledged; the peer has not closed.
    FinWait2,
    /// The peer closed; we have not.
    CloseWait,
    /// Both closed at once; our FIN is not acknowledged.
    Closing,
    /// The peer closed, then we; our FIN is not acknowledged.
    LastAck,
    /// Both closed; old segments die out.
    TimeWait,
}

impl State {
    /// Every state, in order.
    pub const ALL: [Self; 9] = [
        Self::Closed,
        Self::SynRcvd,
        Self::Established,
        Self::FinWait1,
        Self::FinWait2,
        Self::CloseWait,
        Self::Closing,
        Self::LastAck,
        Self::TimeWait,
    ];

    /// The RFC's spelling.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::SynRcvd => "SYN_RCVD",
            Self::Established => "ESTABLISHED",
            Self::FinWait1 => "FIN_WAIT_1",
            Self::FinWait2 => "FIN_WAIT_2",
            Self::CloseWait => "CLOSE_WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST_ACK",
            Self::TimeWait => "TIME_WAIT",
        }
    }
}

/// The transmission control block: the protocol state of one flow (RFC 9293 §3.3.1). Small and `Copy`:
/// decisions take one and return the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tcb {
    /// State.
    pub state: State,
    /// What was negotiated and what has happened, one bit each.
    pub traits: u16,
    /// Our initial sequence number.
    pub iss: SeqNum,
    /// The peer's initial sequence number.
    pub irs: SeqNum,
    /// When the peer was last heard.
    pub heard_at: Tick,
}
