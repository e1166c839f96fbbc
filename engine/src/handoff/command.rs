//! What a consumer tells a worker to do.
//!
//! Commands of one consumer are carried out in the order in which they were sent, a bounded batch a turn, and none while
//! there is no room for an answer to it. Each names a flow by the id that [`Event::Established`](super::Event) gave it.
//! What cannot be done is answered by [`Event::Refused`](super::Event::Refused), and what was done shows in the flow's
//! further events: there is no other confirmation.
//!
//! A flow is *undecided* from its establishment to the first of `Proxy`, `Own`, `Respond` and `Reset` that is carried
//! out; then it is *proxied* or *owned*, and stays so.
//!
//! A command is *late* if its flow has ended, or is in another phase, when the worker comes to it: nothing is done, and
//! the answer says why. A program that sends commands from what it has heard meets this whenever a client resets.

#![forbid(unsafe_code)]

use super::chunk::Chunk;
use super::lease::Lease;
use crate::flow::FlowId;

/// One command to a `ring` service's worker.
#[derive(Debug)]
pub enum Command {
    /// Joins an undecided flow to a backend, as a proxy service does: what was held is sent on. Of the flow only
    /// [`Ended`](super::Event::Ended) is heard afterwards.
    Proxy {
        /// Which flow.
        flow: FlowId,
        /// Which of the service's `backends`, counted from 0 in the configuration's order, whether it is healthy or
        /// not; no other one is tried then. `None`: the balancer's choice, and another one if that does not answer.
        backend: Option<u16>,
    },
    /// Makes an undecided flow an owned one: what was held is acknowledged, and from now on the flow's bytes are
    /// [`Data`](super::Event::Data) as they arrive.
    Own {
        /// Which flow.
        flow: FlowId,
        /// Whether what was peeked at is not given again.
        skip_peeked: bool,
    },
    /// Sends bytes on an owned flow, behind those that were written before.
    Write {
        /// Which flow.
        flow: FlowId,
        /// The bytes: not more than the flow's credit.
        data: Payload,
    },
    /// Closes our side of an owned flow behind what was written: a FIN follows the last byte. Nothing can be written
    /// afterwards; what the client still sends is heard. A second one is answered as being in the wrong phase.
    Close {
        /// Which flow.
        flow: FlowId,
    },
    /// Ends a flow in any phase: client and backend get a RST. [`Ended`](super::Event::Ended) follows.
    Reset {
        /// Which flow.
        flow: FlowId,
    },
    /// Owns an undecided flow without giving again what was peeked at, writes these bytes, and closes.
    Respond {
        /// Which flow.
        flow: FlowId,
        /// The bytes: not more than the flow's credit.
        data: Payload,
    },
}

// A ring has thousands of them.
const _: () = assert!(size_of::<Command>() <= 48);

/// Bytes to send. The worker lets go of them when the client has acknowledged them, or the flow has ended.
#[derive(Debug)]
pub enum Payload {
    /// Bytes that a client has sent, of this worker's flows or another's.
    Lease(Lease),
    /// Bytes that were copied: [`ConsumerEnd::write`](super::ConsumerEnd::write) makes these.
    Chunk(Chunk),
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Lease(lease) => lease.bytes(),
            Self::Chunk(chunk) => chunk.bytes(),
        }
    }
}

impl Command {
    /// The flow that it names.
    #[must_use]
    pub const fn flow(&self) -> FlowId {
        match self {
            Self::Proxy { flow, .. }
            | Self::Own { flow, .. }
            | Self::Write { flow, .. }
            | Self::Close { flow }
            | Self::Reset { flow }
            | Self::Respond { flow, .. } => *flow,
        }
    }

    /// What it carries.
    pub(crate) fn into_payload(self) -> Option<Payload> {
        match self {
            Self::Write { data, .. } | Self::Respond { data, .. } => Some(data),
            Self::Proxy { .. } | Self::Own { .. } | Self::Close { .. } | Self::Reset { .. } => None,
        }
    }

    /// Which command it is.
    #[must_use]
    pub const fn kind(&self) -> CommandKind {
        match self {
            Self::Proxy { .. } => CommandKind::Proxy,
            Self::Own { .. } => CommandKind::Own,
            Self::Write { .. } => CommandKind::Write,
            Self::Close { .. } => CommandKind::Close,
            Self::Reset { .. } => CommandKind::Reset,
            Self::Respond { .. } => CommandKind::Respond,
        }
    }
}

/// A command without what it carries, as answers name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum CommandKind {
    /// [`Command::Proxy`]
    Proxy,
    /// [`Command::Own`]
    Own,
    /// [`Command::Write`]
    Write,
    /// [`Command::Close`]
    Close,
    /// [`Command::Reset`]
    Reset,
    /// [`Command::Respond`]
    Respond,
}
