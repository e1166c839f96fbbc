//! TCP: the handshake, the transfer of data, the close.
//!
//! Pure: a segment or a timer, the state it meets and the present go in, a [`Decision`] and the next state
//! come out, the state in place. What is never done here: looking at a table, reading a clock, touching a
//! frame.
//!
//! | file | knows |
//! |---|---|
//! | `state` | the states and what is remembered of a connection |
//! | `reset` | RSTs, ACKs and challenge ACKs |
//! | `listen` | segments without a flow: SYNs, cookies, strays |
//! | [`client`] | the other end: our SYN, and what may answer it |
//! | `syn_rcvd` | half-open flows |
//! | `retransmit` | timers, RTO, what a silent peer leads to |
//! | `transfer` | our sender: windows, congestion, what may be sent next |
//! | `segment` | segments of synchronised flows |
//! | `owned` | flows of a consumer |
//! | `teardown` | FINs, TIME_WAIT, spent markers |

pub mod client;
mod listen;
mod owned;
mod reset;
mod retransmit;
mod segment;
mod state;
mod syn_rcvd;
mod teardown;
mod transfer;

#[cfg(test)]
mod tests;

pub(crate) use listen::TIMESTAMPS_LEN;
pub use listen::{listen, refuse};
pub use owned::{Source, Taken};
pub(crate) use reset::reset_for;
pub use retransmit::TimerOutcome;
pub use state::{State, Tcb, Traits};

use crate::cookie::{IsnKey, Keys};
use crate::time::Now;

#[cfg(doc)]
use crate::verdict::{Decision, Verdict};

/// How to turn away what we do not want.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Refusal {
    /// Silence.
    #[default]
    Drop,
    /// A RST, rate-limited.
    Reset,
}

/// The limits and choices of a configuration that the protocol obeys. Times are in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// An established flow that is silent for so long is reset.
    pub idle: u32,
    /// A flow that we closed and the peer did not is reset after so long a silence.
    pub half_closed: u32,
    /// How long TIME_WAIT lasts.
    pub time_wait: u32,
    /// How often a SYN-ACK is sent again, 0 to 12; the first wait is 1 s, each next one twice as long.
    pub syn_ack_retries: u8,
    /// How long a proxied flow may take to reach a backend, all tries together.
    pub connect: u32,
    /// The window scale shift we offer, 0 to 14; the same on all nodes that share a secret.
    pub window_scale: u8,
    /// Whether ECN is agreed to (RFC 3168 §6.1.1).
    pub ecn: bool,
    /// What a segment to a port without service gets.
    pub unknown_port: Refusal,
    /// What an ACK gets that belongs to no flow and is no cookie.
    pub invalid_ack: Refusal,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            idle: 300_000,
            half_closed: 60_000,
            time_wait: 60_000,
            connect: 3000,
            syn_ack_retries: 5,
            window_scale: 7,
            ecn: true,
            unknown_port: Refusal::Reset,
            invalid_ack: Refusal::Drop,
        }
    }
}

/// What the worker lets a new SYN have at this moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// A record.
    Stateful,
    /// A cookie.
    Cookie,
    /// Nothing: the half-open limit is reached and cookies are off.
    Full,
    /// Nothing: the engine is draining.
    Draining,
}

/// Everything but state and segment that a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The present.
    pub now: Now,
    /// The configuration's choices.
    pub policy: &'a Policy,
    /// Cookie keys.
    pub keys: &'a Keys,
    /// The key of stateful initial sequence numbers.
    pub isn: &'a IsnKey,
    /// What new SYNs get.
    pub admission: Admission,
    /// Whether ACKs without a flow are checked as cookies.
    pub check_cookies: bool,
    /// The MSS we announce: the port's MTU less 40 (IPv4) or 60 (IPv6).
    pub mss: u16,
    /// What becomes of a flow whose handshake is complete.
    pub kind: Kind,
    /// What the service lets us agree to.
    pub offer: Terms,
}

/// What becomes of a flow whose handshake is complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// We are its server.
    Respond {
        /// Length in bytes of the answer.
        answer_len: u32,
    },
    /// A backend is: nothing of it is taken here, see [`Verdict::Connect`].
    Proxy,
    /// A consumer will say: until then nothing is taken either, see [`Traits::AWAITING`].
    Ring,
    /// A consumer is, who has come so far.
    Owned(Source),
}

impl Kind {
    /// Whether a third ACK leaves everything to somebody else.
    pub(super) const fn takes_nothing(self) -> bool {
        matches!(self, Self::Proxy | Self::Ring)
    }
}

/// What a SYN-ACK may agree to: for a proxy, what every healthy backend would. Window scaling is always
/// agreed to, as scales are translated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// The largest MSS that is announced, beside what the port allows.
    pub mss: u16,
    /// Whether SACK may be permitted.
    pub sack: bool,
    /// Whether timestamps may be agreed on.
    pub timestamps: bool,
    /// Whether ECN may be agreed on, beside what the policy says.
    pub ecn: bool,
    /// The window of a SYN-ACK in bytes where the flow is not ours yet: what may be held for a backend or a
    /// consumer, and at most the smallest window that a backend begins with. A multiple of the scale, so that its right edge never
    /// retreats.
    pub window: u16,
}

impl Default for Terms {
    fn default() -> Self {
        Self { mss: u16::MAX, sack: true, timestamps: true, ecn: true, window: u16::MAX }
    }
}
