//! The stacks that a client can look like: which options their SYNs carry, in which order, and their windows.

use clap::ValueEnum;
use etherparse::TcpOptionElement;
use etherparse::TcpOptionElement::{
    MaximumSegmentSize, Noop, SelectiveAcknowledgementPermitted, Timestamp, WindowScale,
};
use serde::Serialize;

/// Whose SYNs to send.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stack {
    /// MSS, SACK, timestamps, window scale 7
    #[default]
    Linux,
    /// MSS, window scale 8, SACK; no timestamps
    Windows,
    /// MSS, window scale 6, timestamps, SACK
    Macos,
    /// No option at all, and a small window
    Iot,
}

impl Stack {
    /// The window of its SYN, in bytes.
    #[must_use]
    pub const fn window(self) -> u16 {
        match self {
            Self::Linux | Self::Windows => 64_240,
            Self::Macos => 65_535,
            Self::Iot => 5_840,
        }
    }

    /// The shift of the windows that it announces, if it offers to scale them.
    #[must_use]
    pub const fn window_scale(self) -> Option<u8> {
        match self {
            Self::Linux => Some(7),
            Self::Windows => Some(8),
            Self::Macos => Some(6),
            Self::Iot => None,
        }
    }

    /// The window field of its later segments: what comes is taken at once, so the window stays as it was.
    #[must_use]
    pub const fn open_window(self, is_scaled: bool) -> u16 {
        match self.window_scale() {
            Some(shift) if is_scaled => self.window() >> shift,
            _ => self.window(),
        }
    }

    /// How far behind the TCP header's twenty bytes the TSval stands, where there is one.
    pub(super) const fn ts_offset(self) -> Option<usize> {
        match self {
            Self::Linux => Some(8),
            Self::Macos => Some(12),
            Self::Windows | Self::Iot => None,
        }
    }

    /// The options of its SYN, the TSval still 0.
    pub(super) fn options(self, mss: u16) -> Vec<TcpOptionElement> {
        let mss = MaximumSegmentSize(mss);
        let (sack, stamps) = (SelectiveAcknowledgementPermitted, Timestamp(0, 0));
        match self {
            Self::Linux => vec![mss, sack, stamps, Noop, WindowScale(7)],
            Self::Windows => vec![mss, Noop, WindowScale(8), Noop, Noop, sack],
            Self::Macos => vec![mss, Noop, WindowScale(6), Noop, Noop, stamps, sack],
            Self::Iot => Vec::new(),
        }
    }
}
