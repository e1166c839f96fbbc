//! What a simulated client is and does: its operating system's habits and its script.

use super::frame::Opt;
use super::rng::Rng;

pub(crate) const MILLI: u64 = 1000;
pub(crate) const SECOND: u64 = 1_000_000;

/// The habits of a client's TCP: what its SYN offers and in which order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Style {
    /// MSS, SACK, timestamps, window scale 7.
    Linux,
    /// MSS, window scale 8, SACK; no timestamps.
    Windows,
    /// No options at all: an MSS of 536 or 1220 and a window below 64 KiB.
    Iot,
    /// MSS and nothing else, smaller than usual (a tunnel).
    Tunnel,
    /// Timestamps first, options that nobody knows, a shift of 15 (read as 14), ECN asked for.
    Odd,
}

impl Style {
    pub(crate) const ALL: [Self; 5] =
        [Self::Linux, Self::Windows, Self::Iot, Self::Tunnel, Self::Odd];

    pub(crate) const fn timestamps(self) -> bool {
        matches!(self, Self::Linux | Self::Odd)
    }

    pub(crate) const fn ecn(self) -> bool {
        matches!(self, Self::Odd)
    }

    pub(crate) const fn sack(self) -> bool {
        matches!(self, Self::Linux | Self::Windows)
    }

    /// The shift that the client itself applies: 0 without the option.
    pub(crate) const fn shift(self) -> Option<u8> {
        match self {
            Self::Linux => Some(7),
            Self::Windows => Some(8),
            Self::Odd => Some(14),
            Self::Iot | Self::Tunnel => None,
        }
    }

    /// The largest payload that the server may send, without options (RFC 9293 §3.7.1).
    pub(crate) const fn mss(self, v6: bool) -> u16 {
        match self {
            Self::Iot => {
                if v6 {
                    1220
                } else {
                    536
                }
            }
            Self::Tunnel => 1300,
            _ => {
                if v6 {
                    1440
                } else {
                    1460
                }
            }
        }
    }

    /// The room of the client's receive buffer.
    pub(crate) const fn buffer(self) -> usize {
        match self {
            Self::Linux | Self::Windows => 65_536,
            Self::Odd => 1 << 18,
            Self::Iot => 5840,
            Self::Tunnel => 30_000,
        }
    }

    pub(crate) fn syn_options(self, v6: bool, ts: u32) -> Vec<Opt> {
        let mss = Opt::Mss(self.mss(v6));
        match self {
            Self::Linux => vec![mss, Opt::SackOk, Opt::Time(ts, 0), Opt::Nop, Opt::Scale(7)],
            Self::Windows => vec![mss, Opt::Nop, Opt::Scale(8), Opt::Nop, Opt::Nop, Opt::SackOk],
            Self::Iot => Vec::new(),
            Self::Tunnel => vec![mss],
            Self::Odd => vec![
                Opt::Time(ts, 0),
                Opt::Other(253, vec![0xf9, 0x89]),
                mss,
                Opt::Nop,
                Opt::Scale(15),
                Opt::Other(30, vec![0; 2]),
            ],
        }
    }
}

/// How the client completes the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Third {
    /// An ACK, and the request right behind it: they often share a burst.
    AckThenRequest,
    /// An ACK; the request after so many microseconds.
    AckAndWait(u64),
    /// The ACK carries the request.
    WithRequest,
}

/// How the client ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Close {
    /// Waits for the server's FIN.
    Second,
    /// FIN in the segment that ends the request.
    WithRequest,
    /// FIN in a segment of its own so many microseconds after the request: 0 makes both close at once.
    After(u64),
    /// FIN as soon as the first byte of the answer is there.
    OnFirstByte,
    /// FIN instead of a request.
    WithoutRequest,
    /// RST as soon as the connection is there.
    ResetFirst,
    /// RST so many microseconds after the request.
    ResetAfter(u64),
    /// RST instead of the last ACK.
    ResetLast,
    /// Never answers the SYN-ACK.
    VanishHalfOpen,
    /// Is silent once the handshake is complete.
    VanishIdle,
    /// Is silent once the request is sent.
    VanishBusy,
}

impl Close {
    /// The ways after which the client must have had the whole answer and an orderly close.
    pub(crate) const ORDERLY: [Self; 6] = [
        Self::Second,
        Self::WithRequest,
        Self::After(0),
        Self::After(300),
        Self::After(40 * MILLI),
        Self::OnFirstByte,
    ];

    /// Ways to end badly, that the server must survive.
    pub(crate) const RUDE: [Self; 8] = [
        Self::WithoutRequest,
        Self::ResetFirst,
        Self::ResetAfter(0),
        Self::ResetAfter(20 * MILLI),
        Self::ResetLast,
        Self::VanishHalfOpen,
        Self::VanishIdle,
        Self::VanishBusy,
    ];

    pub(crate) fn is_orderly(self) -> bool {
        Self::ORDERLY.contains(&self) || matches!(self, Self::After(_))
    }
}

/// Everything about one client.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) style: Style,
    pub(crate) v6: bool,
    pub(crate) third: Third,
    pub(crate) close: Close,
    pub(crate) request: usize,
    /// The request is sent in pieces of this size, each when the one before is acknowledged.
    pub(crate) piece: usize,
    /// Whether ACKs are delayed (every second segment or 40 ms) or immediate.
    pub(crate) delayed_ack: bool,
    /// The program reads so many bytes every 30 ms; `None`: everything at once.
    pub(crate) read_rate: Option<usize>,
    /// Replaces the style's receive buffer.
    pub(crate) buffer: Option<usize>,
    /// Replaces the style's MSS, if it offers one.
    pub(crate) mss: Option<u16>,
    /// Sends keepalive probes while it waits before its request.
    pub(crate) keepalive: bool,
}

impl Plan {
    /// A browser on Linux, in the simplest case.
    pub(crate) const fn plain() -> Self {
        Self {
            style: Style::Linux,
            v6: false,
            third: Third::AckThenRequest,
            close: Close::Second,
            request: 80,
            piece: usize::MAX,
            delayed_ack: false,
            read_rate: None,
            buffer: None,
            mss: None,
            keepalive: false,
        }
    }

    /// Any orderly client.
    pub(crate) fn orderly(rng: &mut Rng) -> Self {
        let style = rng.pick(&Style::ALL);
        let small = rng.pick(&[None, None, None, Some(3000)]);
        Self {
            style,
            v6: rng.chance(400),
            third: rng.pick(&[
                Third::AckThenRequest,
                Third::AckAndWait(20 * MILLI),
                Third::WithRequest,
            ]),
            close: rng.pick(&Close::ORDERLY),
            request: rng.pick(&[1, 80, 500, 1400, 4000, 20_000]),
            piece: rng.pick(&[usize::MAX, usize::MAX, usize::MAX, 700]),
            delayed_ack: rng.chance(500),
            read_rate: rng.pick(&[None, None, None, Some(4000)]),
            // A shift of 14 cannot say 3000.
            buffer: if style == Style::Odd { None } else { small },
            mss: None,
            keepalive: rng.chance(100),
        }
    }

    /// Any client at all: one in four is rude.
    pub(crate) fn any(rng: &mut Rng) -> Self {
        let mut plan = Self::orderly(rng);
        if rng.chance(250) {
            plan.close = rng.pick(&Close::RUDE);
        }
        plan
    }
}
