//! A builder of TCP segments.

use std::vec::Vec;

use super::envelope::{Envelope, Outer};
use super::{End, slow_pseudo_checksum};
use crate::wire::{Flags, Tuple};

/// A TCP segment to be; sound unless told otherwise.
#[derive(Clone, Debug)]
pub struct TcpFrame {
    outer: Outer,
    ports: (u16, u16),
    seq: u32,
    ack: u32,
    flags: Flags,
    window: u16,
    urgent: u16,
    options: Vec<u8>,
    data_offset: Option<u8>,
    payload: Vec<u8>,
    bad_checksum: bool,
}

/// A segment without flags, options or payload from 10.0.0.1:40000 to 10.0.0.2:80.
#[must_use]
pub fn tcp() -> TcpFrame {
    TcpFrame {
        outer: Outer::default(),
        ports: (40000, 80),
        seq: 0,
        ack: 0,
        flags: Flags(0),
        window: 65535,
        urgent: 0,
        options: Vec::new(),
        data_offset: None,
        payload: Vec::new(),
        bad_checksum: false,
    }
}

impl Envelope for TcpFrame {
    fn outer(&mut self) -> &mut Outer {
        &mut self.outer
    }
}

impl TcpFrame {
    /// Sent by this end.
    #[must_use]
    pub fn from(mut self, end: impl End) -> Self {
        (self.outer.from, self.ports.0) = end.end();
        self
    }

    /// Sent to this end.
    #[must_use]
    pub fn to(mut self, end: impl End) -> Self {
        (self.outer.to, self.ports.1) = end.end();
        self
    }

    /// From the remote end of `tuple` to the local one.
    #[must_use]
    pub fn tuple(self, tuple: &Tuple) -> Self {
        self.from((tuple.remote, tuple.remote_port)).to((tuple.local, tuple.local_port))
    }

    /// A SYN with this initial sequence number.
    #[must_use]
    pub fn syn(self, isn: u32) -> Self {
        self.seq(isn).with(Flags::SYN)
    }

    /// ACK of `ack`, at `seq`.
    #[must_use]
    pub fn ack(mut self, seq: u32, ack: u32) -> Self {
        self.ack = ack;
        self.seq(seq).with(Flags::ACK)
    }

    /// FIN as well.
    #[must_use]
    pub fn fin(self) -> Self {
        self.with(Flags::FIN)
    }

    /// RST as well, at `seq`.
    #[must_use]
    pub fn rst(self, seq: u32) -> Self {
        self.seq(seq).with(Flags::RST)
    }

    /// These flags as well.
    #[must_use]
    pub fn with(mut self, flags: Flags) -> Self {
        self.flags = self.flags | flags;
        self
    }

    /// Exactly these flags.
    #[must_use]
    pub fn flags(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }

    /// With this sequence number.
    #[must_use]
    pub fn seq(mut self, seq: u32) -> Self {
        self.seq = seq;
        self
    }

    /// With this window field.
    #[must_use]
    pub fn window(mut self, window: u16) -> Self {
        self.window = window;
        self
    }

    /// With URG and this urgent pointer.
    #[must_use]
    pub fn urgent(mut self, pointer: u16) -> Self {
        self.urgent = pointer;
        self.with(Flags::URG)
    }

    /// With the option MSS.
    #[must_use]
    pub fn mss(self, mss: u16) -> Self {
        let [a, b] = mss.to_be_bytes();
        self.option(&[2, 4, a, b])
    }

    /// With the option window scale.
    #[must_use]
    pub fn window_scale(self, shift: u8) -> Self {
        self.option(&[1, 3, 3, shift])
    }

    /// With the option SACK-permitted.
    #[must_use]
    pub fn sack_permitted(self) -> Self {
        self.option(&[4, 2])
    }

    /// With the option timestamps.
    #[must_use]
    pub fn timestamps(self, val: u32, ecr: u32) -> Self {
        self.option(&[8, 10]).option(&val.to_be_bytes()).option(&ecr.to_be_bytes())
    }

    /// With the option SACK: both edges of each block (RFC 2018 §3).
    #[must_use]
    pub fn sack(mut self, blocks: &[(u32, u32)]) -> Self {
        self.options.extend([5, 2 + 8 * blocks.len() as u8]);
        for (left, right) in blocks {
            self.options.extend(left.to_be_bytes());
            self.options.extend(right.to_be_bytes());
        }
        self
    }

    /// Linux's SYN options: MSS, SACK-permitted, timestamps, window scale.
    #[must_use]
    pub fn linux(self, mss: u16, ts_val: u32, shift: u8) -> Self {
        self.mss(mss).sack_permitted().timestamps(ts_val, 0).window_scale(shift)
    }

    /// With these bytes of options as they are; the whole is padded with zeros to words.
    #[must_use]
    pub fn option(mut self, bytes: &[u8]) -> Self {
        self.options.extend(bytes);
        self
    }

    /// With this payload.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// With this data offset in words instead of the right one.
    #[must_use]
    pub fn data_offset(mut self, words: u8) -> Self {
        self.data_offset = Some(words);
        self
    }

    /// With a wrong TCP checksum.
    #[must_use]
    pub fn bad_checksum(mut self) -> Self {
        self.bad_checksum = true;
        self
    }

    /// The frame.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut segment = Vec::new();
        segment.extend(self.ports.0.to_be_bytes());
        segment.extend(self.ports.1.to_be_bytes());
        segment.extend(self.seq.to_be_bytes());
        segment.extend(self.ack.to_be_bytes());
        let option_words = self.options.len().div_ceil(4);
        assert!(option_words <= 10, "a TCP header has room for 40 bytes of options");
        let words = self.data_offset.unwrap_or(5 + option_words as u8);
        segment.extend([words << 4, self.flags.0]);
        segment.extend(self.window.to_be_bytes());
        segment.extend([0; 2]);
        segment.extend(self.urgent.to_be_bytes());
        segment.extend(&self.options);
        segment.resize(20 + 4 * option_words, 0);
        segment.extend(&self.payload);
        let sum = slow_pseudo_checksum(&self.outer.from, &self.outer.to, 6, &segment);
        let sum = sum ^ u16::from(self.bad_checksum);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        self.outer.wrap_ip(6, &segment)
    }
}
