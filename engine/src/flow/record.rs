//! What the table keeps of one flow: one hot cache line that finds and wakes it, and a cold part.
//!
//! The two live in arrays of their own, so that looking a flow up touches one line of its record and
//! the timers touch no other. Together they are 176 bytes (P9: 192 a flow, buckets included).
#![forbid(unsafe_code)]

use usher_proto::splice::Splice;
use usher_proto::tcp::{State, Tcb};
use usher_proto::time::Tick;
use usher_proto::wire::{Addr, Mac, Tuple};

/// No record: the end of a list, or a link that is not in use.
pub(super) const NIL: u32 = u32::MAX;

/// The most records a table may have: links keep their top bit for the wheel's slots.
pub(super) const MAX_RECORDS: usize = 1 << 30;

/// The line that finds a flow, recognises its id and wakes it.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Hot {
    /// The flow's name.
    pub(super) tuple: Tuple,
    /// Counts the record's lives: odd while a flow lives in it.
    pub(super) generation: u32,
    /// When the wheel wakes the flow; meaningful while linked.
    pub(super) due: Tick,
    /// The wheel's list: the next record of the slot, or `NIL`.
    pub(super) wheel_next: u32,
    /// The wheel's list: the record before, or the slot, or `NIL` when not linked (see `wheel`).
    pub(super) wheel_prev: u32,
    /// Where the peer's frames come from.
    pub(super) peer: Mac,
    /// See `NewFlow`.
    pub(super) edition: u16,
}

impl Hot {
    /// A record that has never held a flow.
    pub(super) const FREE: Self = Self {
        tuple: Tuple {
            remote: Addr([0; 16]),
            local: Addr([0; 16]),
            remote_port: 0,
            local_port: 0,
            vlan: 0,
            port: 0,
        },
        generation: 0,
        due: Tick(0),
        wheel_next: NIL,
        wheel_prev: NIL,
        peer: Mac::ZERO,
        edition: 0,
    };

    /// Whether this is the record of `tuple`. Compared as five numbers: field by field it is six branches, as
    /// bytes a call.
    #[inline]
    pub(super) fn is(&self, tuple: &Tuple) -> bool {
        let own: [u64; 5] = zerocopy::transmute!(self.tuple);
        let other: [u64; 5] = zerocopy::transmute!(*tuple);
        own.iter().zip(&other).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
    }

    /// Whether a flow lives here.
    pub(super) const fn is_live(&self) -> bool {
        self.generation & 1 == 1
    }
}

/// What the protocol remembers of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// A connection that ends here, or a handshake that is not complete.
    Own(Tcb),
    /// A connection of a client that is joined to one of ours to a backend.
    Spliced(Splice),
}

impl Body {
    /// The connection's state as the client sees it.
    #[inline]
    #[must_use]
    pub fn state(&self) -> State {
        match self {
            Self::Own(tcb) => tcb.state,
            Self::Spliced(splice) => splice.state(),
        }
    }

    /// When the flow was opened; while half-open: when its SYN came.
    #[must_use]
    pub const fn opened_at(&self) -> Tick {
        match self {
            Self::Own(tcb) => tcb.opened_at,
            Self::Spliced(splice) => splice.opened_at(),
        }
    }

    /// When a peer was last heard; in TIME_WAIT: when that began.
    #[must_use]
    pub const fn heard_at(&self) -> Tick {
        match self {
            Self::Own(tcb) => tcb.heard_at,
            Self::Spliced(splice) => splice.heard_at(),
        }
    }
}

/// What only the decision about a segment needs.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Cold {
    /// The protocol's state.
    pub(super) body: Body,
    /// The next record of the list that this one is in (free, spent, TIME_WAIT), or `NIL`.
    pub(super) next: u32,
    /// In a list: the record before, or `NIL`. In none, the four bytes keep when the SYN came (see
    /// `Table::started_us`), because no flow needs both.
    pub(super) prev_or_started: u32,
}

const _: () = {
    assert!(size_of::<Hot>() == 64 && align_of::<Hot>() == 64);
    assert!(size_of::<Body>() <= 104);
    assert!(size_of::<Hot>() + size_of::<Cold>() <= 176);
};
