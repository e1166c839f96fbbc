//! What is remembered of a proxied flow, and how its numbers translate.

use super::rewrite::Ops;
use super::{Half, SpliceContext};
use crate::tcp::State;
use crate::time::Tick;
use crate::wire::{Flags, Reply, ReplyOptions, SeqNum, Timestamps};

/// How far a flow has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Phase {
    /// Our SYN to a backend is out.
    Opening,
    /// Segments pass.
    Open,
    /// Both FINs were acknowledged; old segments die out.
    TimeWait,
    /// A RST passed. Whoever did not believe it gets one that it must believe (RFC 5961 §3.2).
    Reset,
}

/// What was agreed with either end and what has happened, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Marks(pub(super) u16);

impl Marks {
    pub(super) const CLIENT_STAMPS: Self = Self(1);
    pub(super) const CLIENT_SACK: Self = Self(1 << 1);
    pub(super) const CLIENT_ECN: Self = Self(1 << 2);
    pub(super) const CLIENT_SCALED: Self = Self(1 << 3);
    pub(super) const BACKEND_STAMPS: Self = Self(1 << 4);
    pub(super) const BACKEND_SACK: Self = Self(1 << 5);
    pub(super) const BACKEND_ECN: Self = Self(1 << 6);
    pub(super) const BACKEND_SCALED: Self = Self(1 << 7);
    /// The client was let in by a cookie.
    pub(super) const BY_COOKIE: Self = Self(1 << 8);
    /// The client's FIN has passed.
    pub(super) const UP_FIN: Self = Self(1 << 9);
    /// The backend's FIN has passed.
    pub(super) const DOWN_FIN: Self = Self(1 << 10);
    /// The backend closed first.
    pub(super) const DOWN_FIRST: Self = Self(1 << 11);
    /// There is a PROXY header in front of the client's data, and acknowledgements within it are possible.
    pub(super) const HEADER: Self = Self(1 << 12);
    /// The PROXY header waits for its acknowledgement.
    pub(super) const HEADER_OUT: Self = Self(1 << 14);
    /// The backend answered this try's SYN from an earlier connection, once.
    pub(super) const WAS_STALE: Self = Self(1 << 13);

    /// The SYN no longer asks for ECN.
    pub(super) const ECN_WITHDRAWN: Self = Self(1 << 15);

    /// What must not be set for a segment to pass by the short way.
    pub(super) const UNUSUAL: Self = Self(Self::UP_FIN.0 | Self::DOWN_FIN.0 | Self::HEADER_OUT.0);

    pub(super) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) const fn set(&mut self, other: Self, on: bool) {
        self.0 = if on { self.0 | other.0 } else { self.0 & !other.0 };
    }
}

/// One direction's stream, in the numbers of the client's half.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Stream {
    /// Behind the highest number sent.
    pub(super) nxt: SeqNum,
    /// What the receiver acknowledged.
    pub(super) una: SeqNum,
    /// The highest right edge of the receiver's windows.
    pub(super) edge: SeqNum,
}

/// A proxied flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Splice {
    pub(super) up: Stream,
    pub(super) down: Stream,
    /// The client's ISN.
    pub(super) irs: SeqNum,
    /// Our ISN towards the client.
    pub(super) iss: SeqNum,
    /// Added to the client's sequence numbers for the backend.
    pub(super) up_delta: u32,
    /// Added to the backend's sequence numbers for the client; until it has answered, nothing.
    pub(super) down_delta: u32,
    /// Added to the client's TSvals for the backend. While opening: the TSval of our SYN.
    pub(super) ts_up: u32,
    /// Added to the backend's TSvals for the client, or to the clock if it has none. While opening: the
    /// TSval that the client echoed.
    pub(super) ts_down: u32,
    /// The client's newest TSval.
    pub(super) ts_client: u32,
    /// The backend's newest TSval.
    pub(super) ts_backend: u32,
    /// The backend's oldest TSval that may be echoed.
    pub(super) ts_floor: u32,
    /// When either end was last heard; while opening: when the try began; in TIME_WAIT: when that began.
    pub(super) heard_at: Tick,
    /// When our SYN, or the PROXY header, is sent again.
    pub(super) resend_at: Tick,
    /// When the client was let in.
    pub(super) opened_at: Tick,
    /// Which addresses and ports the backend half has.
    pub path: u16,
    /// Our port on the backend half.
    pub local_port: u16,
    /// The backend.
    pub backend: u16,
    /// Where what is held of the client waits; only the owner knows where that is.
    pub place: u16,
    /// The largest MSS that the way takes.
    pub(super) path_mss: u16,
    /// How much payload and options, in bytes, a segment may have that goes to the client as it is.
    pub(super) client_mss: u16,
    /// The same for the backend. While opening: the MSS of our SYN.
    pub(super) backend_mss: u16,
    pub(super) marks: Marks,
    /// What is done to segments for the backend.
    pub(super) up_ops: Ops,
    /// What is done to segments for the client.
    pub(super) down_ops: Ops,
    /// Length of the PROXY header in bytes.
    pub header_len: u8,
    /// The shift of the windows that the client announces.
    pub(super) client_shift: u8,
    /// The shift that the client applies to ours.
    pub(super) to_client_shift: u8,
    /// The shift of the windows that the backend announces.
    pub(super) backend_shift: u8,
    /// The shift that the backend applies to ours.
    pub(super) to_backend_shift: u8,
    /// Tries so far.
    pub(super) tries: u8,
    /// How often the SYN or the header was sent again.
    pub(super) resent: u8,
    /// Acknowledgements that let data pass and not the header, since that was sent last.
    pub(super) doubts: u8,
    pub(super) phase: Phase,
}

const _: () = assert!(size_of::<Splice>() <= 100 && align_of::<Splice>() == 4);

impl Splice {
    /// How many backends were tried so far.
    #[must_use]
    pub const fn tries(&self) -> u8 {
        self.tries
    }

    /// When either end was last heard; while opening: when the try began; in TIME_WAIT: when that began.
    #[must_use]
    pub const fn heard_at(&self) -> Tick {
        self.heard_at
    }

    /// When the client was let in.
    #[must_use]
    pub const fn opened_at(&self) -> Tick {
        self.opened_at
    }

    /// The state as a server on the client's half would have it.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Opening => State::SynSent,
            Phase::Reset => State::Closed,
            Phase::TimeWait => State::TimeWait,
            Phase::Open => self.open_state(),
        }
    }

    fn open_state(&self) -> State {
        let acknowledged = self.down.una == self.down.nxt;
        match (self.marks.has(Marks::UP_FIN), self.marks.has(Marks::DOWN_FIN)) {
            (false, false) => State::Established,
            (true, false) => State::CloseWait,
            (false, true) if acknowledged => State::FinWait2,
            (false, true) => State::FinWait1,
            (true, true) if self.marks.has(Marks::DOWN_FIRST) => State::Closing,
            (true, true) => State::LastAck,
        }
    }

    /// Our ISN on the backend's half.
    pub(super) const fn backend_iss(&self) -> SeqNum {
        self.irs.add(self.up_delta).sub(self.header_len as u32)
    }

    /// What the client may think was acknowledged last: nothing of the PROXY header.
    pub(super) fn acknowledged_to_client(&self) -> SeqNum {
        if self.marks.has(Marks::HEADER) { self.up.una.max(self.irs.add(1)) } else { self.up.una }
    }

    /// An ACK of ours to this half, which acknowledges nothing that the other end did not.
    pub(super) fn ack(&self, half: Half, cx: &SpliceContext<'_>) -> Reply {
        match half {
            Half::Client => self.ack_to_client(cx),
            Half::Backend => self.ack_to_backend(),
        }
    }

    fn ack_to_client(&self, cx: &SpliceContext<'_>) -> Reply {
        let ack = self.acknowledged_to_client();
        Reply {
            seq: self.down.nxt,
            ack,
            flags: Flags::ACK,
            window: field(self.up.edge.since(ack), self.to_client_shift),
            options: stamped(self.stamps_to_client(cx)),
            ..Reply::default()
        }
    }

    pub(super) fn ack_to_backend(&self) -> Reply {
        Reply {
            seq: self.up.nxt.add(self.up_delta),
            ack: self.down.una.sub(self.down_delta),
            flags: Flags::ACK,
            window: field(self.down.edge.since(self.down.una), self.to_backend_shift),
            options: stamped(self.stamps_to_backend()),
            ..Reply::default()
        }
    }

    /// The timestamps of a segment of ours to the client; they never go backward.
    pub(super) fn stamps_to_client(&self, cx: &SpliceContext<'_>) -> Option<Timestamps> {
        let val = match self.phase {
            Phase::Opening => self.ts_down,
            Phase::Open | Phase::TimeWait | Phase::Reset => {
                let has_own = self.marks.has(Marks::BACKEND_STAMPS);
                let base = if has_own { self.ts_backend } else { cx.now.ts_clock };
                base.wrapping_add(self.ts_down)
            }
        };
        let agreed = self.marks.has(Marks::CLIENT_STAMPS);
        agreed.then_some(Timestamps { val, ecr: self.ts_client })
    }

    fn stamps_to_backend(&self) -> Option<Timestamps> {
        let val = self.ts_client.wrapping_add(self.ts_up);
        let agreed = self.marks.has(Marks::BACKEND_STAMPS);
        agreed.then_some(Timestamps { val, ecr: self.ts_backend })
    }
}

fn stamped(timestamps: Option<Timestamps>) -> ReplyOptions {
    ReplyOptions { timestamps, ..ReplyOptions::default() }
}

/// The window field that announces `bytes`, or as many as it can: rounded down, but for a window of less than a
/// unit. That becomes one unit (RFC 7323 §2.4), as 0 would say that it is closed, and who then asks with empty
/// segments would hear so for ever; what exceeds it is less than a unit, and the receiver's to cut off.
#[inline(always)]
pub(super) fn field(bytes: u32, shift: u8) -> u16 {
    let units = (bytes >> shift).max(u32::from(bytes > 0));
    units.min(0xffff) as u16
}

/// The later of two TSvals (RFC 7323 §5.2).
pub(super) const fn later(a: u32, b: u32) -> u32 {
    if (b.wrapping_sub(a) as i32) > 0 { b } else { a }
}
