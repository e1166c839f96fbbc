//! The states of a connection and what is remembered of one.

use super::{Context, Kind, Policy};
use crate::cookie::COOKIE_LIFE_MS;
use crate::time::Tick;
use crate::wire::{Segment, SeqNum, Timestamps};

/// The states of RFC 9293 §3.3.2 that a flow can be in. A flow in CLOSED is a *spent marker*: it
/// remembers that its cookie has been used. A [`Tcb`] is never in SYN_SENT: that is a proxied flow whose
/// backend has not answered yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// No connection; in the table: a spent marker.
    #[default]
    Closed,
    /// SYN sent to a backend.
    SynSent,
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
    pub const ALL: [Self; 10] = [
        Self::Closed,
        Self::SynSent,
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
            Self::SynSent => "SYN_SENT",
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

    /// Whether the flow is over and only lingers: it gives way to a new one.
    #[must_use]
    pub const fn gives_way(self) -> bool {
        matches!(self, Self::Closed | Self::TimeWait)
    }

    /// Whether the peer's FIN has been taken.
    pub(super) const fn peer_closed(self) -> bool {
        matches!(self, Self::CloseWait | Self::Closing | Self::LastAck | Self::TimeWait)
    }

    /// Whether we have sent our FIN.
    pub(super) const fn we_closed(self) -> bool {
        matches!(
            self,
            Self::FinWait1 | Self::FinWait2 | Self::Closing | Self::LastAck | Self::TimeWait
        )
    }
}

/// What was negotiated for a connection and what has happened to it, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traits(pub u16);

impl Traits {
    /// Timestamps run through the connection (RFC 7323 §3).
    pub const TIMESTAMPS: Self = Self(1);
    /// Both sides offered window scaling (RFC 7323 §2).
    pub const SCALED: Self = Self(1 << 1);
    /// Both sides permit SACK.
    pub const SACK: Self = Self(1 << 2);
    /// ECN was agreed on.
    pub const ECN: Self = Self(1 << 3);
    /// The flow was opened by a cookie: it leaves a spent marker.
    pub const BY_COOKIE: Self = Self(1 << 4);
    /// A request has arrived: the answer is due.
    pub const ANSWERING: Self = Self(1 << 5);
    /// The retransmission (or persist) timer runs: `rtx_at` counts.
    pub const TIMED: Self = Self(1 << 6);
    /// One segment at `snd_una` is due again.
    pub const RESEND: Self = Self(1 << 7);
    /// Fast recovery is under way (RFC 6582 §3).
    pub const RECOVERING: Self = Self(1 << 8);
    /// A round-trip measurement is under way: `rtt_seq` and `rtt_at_us` count.
    pub const MEASURING: Self = Self(1 << 9);
    /// CE was seen and not yet answered by CWR: our ACKs carry ECE (RFC 3168 §6.1.3).
    pub const ECHO_CE: Self = Self(1 << 10);
    /// Something was sent again since the handshake began: no round trip is taken of it (Karn).
    pub const RESENT: Self = Self(1 << 11);
    /// The flow waits for its consumer: what the client sends is held and not acknowledged.
    pub const AWAITING: Self = Self(1 << 12);
    /// What is held ends with the client's FIN.
    pub const HELD_FIN: Self = Self(1 << 13);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets the bits of `other` to `on`.
    pub const fn set(&mut self, other: Self, on: bool) {
        self.0 = if on { self.0 | other.0 } else { self.0 & !other.0 };
    }
}

/// The transmission control block: the protocol state of one flow (RFC 9293 §3.3.1). Small and `Copy`:
/// decisions turn one into the next, in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tcb {
    /// State.
    pub state: State,
    /// The shift of the windows we announce.
    pub rcv_shift: u8,
    /// The shift of the windows the peer announces.
    pub snd_shift: u8,
    /// Duplicate ACKs in a row.
    pub dup_acks: u8,
    /// What was negotiated and what has happened.
    pub traits: Traits,
    /// The largest payload we may send in a segment, in bytes: options are already taken off.
    pub mss: u16,
    /// Retransmissions or probes in a row without an answer; also the exponent of the back-off.
    pub retries: u8,
    /// Our initial sequence number.
    pub iss: SeqNum,
    /// The peer's initial sequence number.
    pub irs: SeqNum,
    /// Oldest number not acknowledged.
    pub snd_una: SeqNum,
    /// Next number to send; falls back to `snd_una` when a retransmission timer fires.
    pub snd_nxt: SeqNum,
    /// Highest number ever sent, plus one.
    pub snd_max: SeqNum,
    /// The peer's window in bytes.
    pub snd_wnd: u32,
    /// The largest window the peer ever announced, in bytes (RFC 5961 §5.2).
    pub snd_wnd_max: u32,
    /// Sequence number of the segment that last updated the window.
    pub snd_wl1: SeqNum,
    /// Next number expected.
    pub rcv_nxt: SeqNum,
    /// While the flow waits for its consumer: the number behind what is held. Else nothing is.
    pub held_to: SeqNum,
    /// TS.Recent (RFC 7323 §4.3).
    pub ts_recent: u32,
    /// Added to the node's timestamp clock to make our TSval.
    pub ts_offset: u32,
    /// Congestion window in bytes.
    pub cwnd: u32,
    /// Slow start threshold in bytes.
    pub ssthresh: u32,
    /// Fast recovery ends when this is acknowledged.
    pub recover: SeqNum,
    /// Smoothed round trip in µs; 0 until measured.
    pub srtt_us: u32,
    /// Round trip variation in µs; until the round trip is measured, a fourth of the timeout that is
    /// begun with, or 0.
    pub rttvar_us: u32,
    /// The number whose acknowledgement ends the measurement.
    pub rtt_seq: SeqNum,
    /// When the measurement began, µs since the engine's start, wrapping.
    pub rtt_at_us: u32,
    /// When the retransmission timer fires, if it runs.
    pub rtx_at: Tick,
    /// When the peer was last heard; in TIME_WAIT: when that began.
    pub heard_at: Tick,
    /// When the flow was opened.
    pub opened_at: Tick,
}

const _: () = assert!(size_of::<Tcb>() <= 100);

/// The largest window in bytes that a SYN-ACK, too, can announce, and a multiple of the scale.
pub(super) const fn largest_window(shift: u8) -> u32 {
    (0xffff >> shift) << shift
}

impl Tcb {
    /// The window we keep open, in bytes. What we receive for ourselves is taken at once, so it never
    /// shrinks, and a multiple of the scale, so its right edge never retreats (RFC 9293 §3.8.6); a
    /// consumer's edge stays where it was announced.
    #[must_use]
    pub const fn rcv_wnd(&self, cx: &Context<'_>) -> u32 {
        match cx.kind {
            Kind::Respond { .. } | Kind::Proxy => largest_window(self.rcv_shift),
            Kind::Ring => cx.offer.window as u32,
            Kind::Owned(source) if source.edge.is_before(self.rcv_nxt) => 0,
            Kind::Owned(source) => source.edge.since(self.rcv_nxt),
        }
    }

    /// Our TSval and the echo of the peer's, where timestamps were agreed on.
    pub(super) fn timestamps(&self, cx: &Context<'_>) -> Option<Timestamps> {
        let val = cx.now.ts_clock.wrapping_add(self.ts_offset);
        self.traits.has(Traits::TIMESTAMPS).then_some(Timestamps { val, ecr: self.ts_recent })
    }

    /// Where the stream ends that we send: behind the answer, or behind nothing if there was no request;
    /// behind what a consumer has written so far. Our FIN, if there is one, has this number.
    pub(super) const fn stream_end(&self, cx: &Context<'_>) -> SeqNum {
        let first = self.iss.add(1);
        match cx.kind {
            Kind::Respond { answer_len } if self.traits.has(Traits::ANSWERING) => {
                first.add(answer_len)
            }
            Kind::Respond { .. } | Kind::Proxy | Kind::Ring => first,
            Kind::Owned(source) => source.end,
        }
    }

    /// Whether any octet of `seg` lies in the receive window (RFC 9293 §3.4, table 6). At a shut window
    /// what begins exactly there is looked at for its acknowledgement, with or without data
    /// (RFC 9293 §3.10.7.4).
    pub(super) fn is_acceptable(&self, seg: &Segment, cx: &Context<'_>) -> bool {
        let wnd = self.rcv_wnd(cx);
        let len = seg.len();
        seg.seq.is_within(self.rcv_nxt, wnd)
            || (len > 0 && seg.seq.add(len.wrapping_sub(1)).is_within(self.rcv_nxt, wnd))
            || seg.seq == self.rcv_nxt
    }

    /// Whether the timestamp is older than the newest one seen (RFC 7323 §5.2).
    pub(super) fn is_old_timestamp(&self, seg: &Segment) -> bool {
        self.traits.has(Traits::TIMESTAMPS)
            && seg
                .options
                .timestamps
                .is_some_and(|ts| (ts.val.wrapping_sub(self.ts_recent) as i32) < 0)
    }

    /// Whether a timestamp was agreed on and is missing (RFC 7323 §3.2).
    pub(super) fn lacks_timestamp(&self, seg: &Segment) -> bool {
        self.traits.has(Traits::TIMESTAMPS) && seg.options.timestamps.is_none()
    }

    /// Whether this record's handshake is the one that `seg`, read as a cookie's ACK, would complete.
    pub(super) fn is_handshake_of(&self, seg: &Segment) -> bool {
        self.irs.add(1) == seg.seq && self.iss.add(1) == seg.ack
    }

    /// The next point in time at which [`Tcb::on_timer`] must be called; calling it earlier is harmless.
    #[must_use]
    pub fn deadline(&self, policy: &Policy) -> Tick {
        let silence = match self.state {
            State::Closed | State::SynSent => return self.opened_at.after(COOKIE_LIFE_MS),
            State::SynRcvd => return self.rtx_at,
            State::TimeWait => return self.heard_at.after(policy.time_wait),
            State::FinWait2 => policy.half_closed,
            State::Established
            | State::FinWait1
            | State::CloseWait
            | State::Closing
            | State::LastAck => policy.idle,
        };
        let silent_until = self.heard_at.after(silence);
        if self.traits.has(Traits::TIMED) { silent_until.min(self.rtx_at) } else { silent_until }
    }
}
