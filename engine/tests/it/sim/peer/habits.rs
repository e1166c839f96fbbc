//! What a peer's kernel is like, and what its program does with a connection.

use super::super::plan::{MILLI, SECOND};
use super::super::rng::Rng;
use super::State;

/// A kernel's TCP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// What it announces; it sends no more than this either.
    pub(crate) mss: u16,
    /// The shift that it applies to its own windows; `None`: no scaling.
    pub(crate) shift: Option<u8>,
    pub(crate) timestamps: bool,
    pub(crate) sack: bool,
    pub(crate) ecn: bool,
    /// The room of the receive buffer.
    pub(crate) buffer: u64,
    /// ACKs wait for a second segment or 40 ms.
    pub(crate) delayed_ack: bool,
    /// As a client: data that is there already goes with the third ACK.
    pub(crate) eager: bool,
    /// Probes a closed window with a byte of data; else with an empty segment that is one octet old, as
    /// Linux does.
    pub(crate) probes_with_data: bool,
    /// In SYN_RCVD the third ACK must echo a TSval of ours between the first SYN-ACK's and the last's
    /// (Linux since 6.14).
    pub(crate) strict_echo: bool,
}

impl Habits {
    pub(crate) const LINUX: Self = Self {
        mss: 1460,
        shift: Some(7),
        timestamps: true,
        sack: true,
        ecn: false,
        buffer: 65_536,
        delayed_ack: true,
        eager: false,
        probes_with_data: false,
        strict_echo: true,
    };

    /// Any kernel on a link whose frames carry `mtu` bytes of IP.
    pub(crate) fn any(rng: &mut Rng, mtu: u16) -> Self {
        let largest = mtu - 60;
        let mss = rng.pick(&[88, 536, 1220, largest, largest, largest, largest, 4000]).min(largest);
        let shift = rng.chance(750).then(|| rng.below(15) as u8);
        let least = u64::from(mss).max(2 << shift.unwrap_or(0));
        let buffer = rng.pick(&[least, 4 * least, 20_000, 65_536, 65_536, 1 << 18]).max(least);
        Self {
            mss,
            shift,
            timestamps: rng.chance(700),
            sack: rng.chance(700),
            ecn: rng.chance(300),
            buffer: if shift.is_none() { buffer.min(65_535) } else { buffer },
            delayed_ack: rng.chance(600),
            eager: rng.chance(300),
            probes_with_data: rng.chance(300),
            strict_echo: rng.chance(500),
        }
    }
}

/// When the program begins to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Begin {
    AtOnce,
    /// So long after the handshake.
    After(u64),
    /// When the other's first byte or FIN is there.
    OnFirstByte,
}

/// When the program closes its direction, once all is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Close {
    AtOnce,
    After(u64),
    /// After the other's FIN, or when it has waited so long.
    Second(u64),
}

/// The first moment that fits ends a connection without order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Moment {
    In(State),
    /// So many bytes were sent, or received.
    Sent(u64),
    Received(u64),
}

/// How it ends then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Break {
    /// RST, and RSTs for what still comes.
    Reset,
    /// The connection is forgotten (a reboot): RSTs for what still comes.
    Forget,
    /// Silence (a lost machine).
    Vanish,
}

/// A program's part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script {
    /// Bytes to be sent.
    pub(crate) len: u64,
    pub(crate) begin: Begin,
    /// Written in pieces of this size with so long a pause between them.
    pub(crate) piece: u64,
    pub(crate) pause: u64,
    /// An urgent pointer on every segment of data.
    pub(crate) urgent: bool,
    /// Reads at most so many bytes every 30 ms.
    pub(crate) read_rate: Option<u64>,
    pub(crate) close: Close,
    pub(crate) breaks: Option<(Moment, Break)>,
}

impl Script {
    /// So many bytes at once, then FIN.
    pub(crate) const fn plain(len: u64) -> Self {
        Self {
            len,
            begin: Begin::AtOnce,
            piece: u64::MAX,
            pause: 0,
            urgent: false,
            read_rate: None,
            close: Close::AtOnce,
            breaks: None,
        }
    }

    /// Any orderly program of a kernel with these habits: small segments carry no large streams.
    pub(crate) fn orderly(rng: &mut Rng, habits: &Habits) -> Self {
        let longest = 600 * u64::from(habits.mss);
        let most = rng.pick(&[0, 1, 8, 100, 1500, 10_000, 100_000, 1 << 20]).min(longest);
        let len = if most < 100 { most } else { rng.below(most) };
        let pieces = rng.pick(&[1, 1, 1, 2, 5]);
        let wait = rng.pick(&[0, 300, 5 * MILLI, 300 * MILLI]);
        Self {
            len,
            begin: rng.pick(&[Begin::AtOnce, Begin::After(wait), Begin::OnFirstByte]),
            piece: len / pieces + 1,
            pause: rng.pick(&[MILLI, 100 * MILLI, 2 * SECOND]),
            urgent: rng.chance(100),
            read_rate: rng.chance(150).then_some(longest.max(8000) / 8),
            close: rng.pick(&[
                Close::AtOnce,
                Close::AtOnce,
                Close::After(wait),
                Close::Second(2 * SECOND),
            ]),
            breaks: None,
        }
    }

    /// Any program: one in so many breaks off, at any point.
    pub(crate) fn any(rng: &mut Rng, habits: &Habits, one_in: u64) -> Self {
        let mut script = Self::orderly(rng, habits);
        if rng.below(one_in) == 0 {
            let moment = match rng.below(4) {
                0 => Moment::Sent(rng.below(script.len + 1)),
                1 => Moment::Received(1 + rng.below(20_000)),
                _ => Moment::In(rng.pick(&State::ALL)),
            };
            script.breaks = Some((moment, rng.pick(&[Break::Reset, Break::Forget, Break::Vanish])));
        }
        script
    }
}
