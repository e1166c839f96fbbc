//! What a worker tells a consumer.
//!
//! Of each flow a consumer hears [`Event::Established`] first and [`Event::Ended`] last, each exactly once, and between
//! them what happened, in that order and each thing once. Between different flows the order is that in which the worker
//! saw things. [`Event::Refused`] answers a command: it comes after everything that the worker told before it read the
//! command, and may name a flow that has ended long ago.
//!
//! Nothing is late by itself: an event that finds the ring full is kept and told as soon as there is room, and what
//! cannot be kept (a new flow, data) is not accepted from the client, who sends it again.

#![forbid(unsafe_code)]

use std::net::SocketAddr;

use usher_proto::verdict::End;
use usher_proto::wire::{SeqNum, Tuple};

use super::command::CommandKind;
use super::lease::Lease;
use crate::flow::FlowId;

/// One event of a `ring` service.
#[derive(Debug)]
pub enum Event {
    /// A client has completed its handshake. Nothing is decided about the flow: what the client sends is shown
    /// ([`Self::Data`] with `peeked`) and held, unacknowledged, until a command says what becomes of it.
    Established(Established),
    /// Bytes of the client, in order and without gaps.
    Data {
        /// Whose.
        flow: FlowId,
        /// The bytes, at least one. The buffer is the consumer's until it drops this, and one of a bounded number: of
        /// a flow that is owned, the client is told to send less for each byte that is kept.
        data: Lease,
        /// Whether they are a copy of what is held while nothing is decided about the flow. They are shown again by
        /// [`Own`](super::Command::Own) if it asks for that.
        peeked: bool,
    },
    /// The client has acknowledged bytes that were written to an owned flow: as much may be written again.
    Acknowledged {
        /// Whose.
        flow: FlowId,
        /// How many, since the last event of this kind.
        bytes: u32,
    },
    /// The client of an owned flow has closed its side: no [`Self::Data`] of the flow follows. What is written is still
    /// delivered.
    PeerClosed {
        /// Whose.
        flow: FlowId,
    },
    /// The flow is over: the last event of it, and its id is stale. Commands that were sent before this was read are
    /// answered by [`Self::Refused`].
    Ended {
        /// Whose.
        flow: FlowId,
        /// Why.
        why: End,
        /// Bytes that were written and not acknowledged: whether the client has them is not known.
        lost: u64,
    },
    /// A command was not carried out, and nothing of it was done. What it carried is freed.
    Refused {
        /// What the command named.
        flow: FlowId,
        /// Which command.
        command: CommandKind,
        /// Why not.
        why: Objection,
    },
}

// A ring has thousands of them.
const _: () = assert!(size_of::<Event>() <= 96);

impl Event {
    /// The flow that it is about.
    #[must_use]
    pub const fn flow(&self) -> FlowId {
        match self {
            Self::Established(established) => established.flow,
            Self::Data { flow, .. }
            | Self::Acknowledged { flow, .. }
            | Self::PeerClosed { flow }
            | Self::Ended { flow, .. }
            | Self::Refused { flow, .. } => *flow,
        }
    }
}

/// A flow as it is when its handshake is complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Established {
    /// Its name in events and commands: of this worker, and of this flow only. It is stale when the flow has ended.
    pub flow: FlowId,
    /// Both addresses and TCP ports, the client's as `remote`; VLAN and port.
    pub tuple: Tuple,
    /// The client's initial sequence number.
    pub irs: SeqNum,
    /// Ours.
    pub iss: SeqNum,
    /// What the two agreed on.
    pub options: Negotiated,
    /// Whether a cookie proved it, and no record was kept of the handshake.
    pub by_cookie: bool,
    /// When, in microseconds since the engine's start.
    pub at_us: u64,
    /// Microseconds from the SYN to the third ACK, where that is known: not by cookie, and the SYN-ACK was sent once.
    pub handshake_us: Option<u32>,
    /// How many bytes may be written before the first [`Event::Acknowledged`].
    pub credit: u32,
}

impl Established {
    /// The client's address and TCP port.
    #[must_use]
    pub fn client(&self) -> SocketAddr {
        SocketAddr::new(self.tuple.remote.into(), self.tuple.remote_port)
    }

    /// The service's address and TCP port.
    #[must_use]
    pub fn service(&self) -> SocketAddr {
        SocketAddr::new(self.tuple.local.into(), self.tuple.local_port)
    }
}

/// What a handshake agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Negotiated {
    /// The largest payload in bytes that a segment to the client has.
    pub mss: u16,
    /// The shifts of the windows that the client and we announce (RFC 7323 §2).
    pub window_scales: Option<(u8, u8)>,
    /// Selective acknowledgements (RFC 2018).
    pub sack: bool,
    /// Timestamps (RFC 7323 §3).
    pub timestamps: bool,
    /// Explicit congestion notification (RFC 3168).
    pub ecn: bool,
}

/// Why a command was not carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Objection {
    /// The flow has ended, or is none of this consumer's.
    NoSuchFlow,
    /// The flow is not in the phase that the command needs, which [`Command`](super::Command) says.
    WrongPhase,
    /// More bytes than the flow's credit.
    OverCredit,
    /// The service has no such backend, or none that can be connected to.
    NoBackend,
}

impl Objection {
    /// One sentence.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::NoSuchFlow => "The flow has ended, or is none of this consumer's.",
            Self::WrongPhase => {
                "It is too late, or too early, in the flow's life for this command."
            }
            Self::OverCredit => "More bytes than the flow's credit.",
            Self::NoBackend => "The service has no such backend, or none that can be connected to.",
        }
    }
}
