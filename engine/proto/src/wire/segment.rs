//! A parsed TCP segment: what the protocol needs to know of a frame, and nothing that borrows from it.

use super::{Flags, SeqNum, Tuple};

/// The timestamps option (RFC 7323 §3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timestamps {
    /// TSval: the sender's clock.
    pub val: u32,
    /// TSecr: the echo of the receiver's clock.
    pub ecr: u32,
}

/// The options of a received segment. Unknown options are skipped (RFC 9293 §3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Maximum segment size, of a SYN.
    pub mss: Option<u16>,
    /// Window scale shift of a SYN; above 14 is read as 14 (RFC 7323 §2.3).
    pub window_scale: Option<u8>,
    /// SACK-permitted, of a SYN (RFC 2018 §2).
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
}

/// A TCP segment that passed every check of its headers and checksums.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Segment {
    /// Who sent it (`remote`) and to whom (`local`).
    pub tuple: Tuple,
    /// Sequence number of the first octet, or of the SYN.
    pub seq: SeqNum,
    /// Acknowledgement number; means something only with ACK.
    pub ack: SeqNum,
    /// Control bits.
    pub flags: Flags,
    /// The window field as on the wire, not scaled.
    pub window: u16,
    /// Options.
    pub options: Options,
    /// Whether the packet came with congestion experienced (CE, RFC 3168 §5).
    pub ce: bool,
    /// Length of the TCP header with its options, in bytes: it ends where the payload begins.
    pub header_len: u8,
    /// Where the payload begins in the frame, in bytes.
    pub payload_offset: u16,
    /// Payload length in bytes; Ethernet padding is not part of it.
    pub payload_len: u16,
}

impl Segment {
    /// SEG.LEN of RFC 9293 §3.4: payload, and one each for SYN and FIN.
    #[must_use]
    pub fn len(&self) -> u32 {
        let control = u32::from(self.flags.has(Flags::SYN))
            .wrapping_add(u32::from(self.flags.has(Flags::FIN)));
        u32::from(self.payload_len).wrapping_add(control)
    }

    /// Whether the segment occupies no sequence space.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sequence number after its last octet.
    #[must_use]
    pub fn end(&self) -> SeqNum {
        self.seq.add(self.len())
    }
}

/// The options of a segment we send.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReplyOptions {
    /// Maximum segment size, on a SYN-ACK always.
    pub mss: Option<u16>,
    /// Window scale shift, on a SYN-ACK only.
    pub window_scale: Option<u8>,
    /// SACK-permitted, on a SYN-ACK only.
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
}

/// A TCP segment that we send, towards `Segment::tuple.remote`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reply {
    /// Sequence number.
    pub seq: SeqNum,
    /// Acknowledgement number; written as 0 without ACK.
    pub ack: SeqNum,
    /// Control bits.
    pub flags: Flags,
    /// The window field as on the wire.
    pub window: u16,
    /// Options.
    pub options: ReplyOptions,
    /// Payload: begins at this offset of the service's answer.
    pub payload_offset: u32,
    /// Payload length in bytes.
    pub payload_len: u16,
    /// Whether the sender's rate limit applies: RSTs, challenge ACKs and answers to what no honest
    /// peer repeats quickly.
    pub limited: bool,
}
