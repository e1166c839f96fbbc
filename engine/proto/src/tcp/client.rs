//! The client's end of a handshake: our SYN, and what may answer it (RFC 9293 §3.10.7.3).
//!
//! Nothing here keeps state: whoever opens a connection (a spliced flow, a health probe, a load generator)
//! remembers its ISN and what it asked for.

use super::reset_for;
use crate::cause::Reason;
use crate::wire::{Flags, Reply, ReplyOptions, Segment, SeqNum, Timestamps};

/// What a SYN asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    /// The MSS we announce.
    pub mss: u16,
    /// The window, never scaled in a SYN (RFC 7323 §2.2).
    pub window: u16,
    /// The shift of the windows we shall announce.
    pub window_scale: Option<u8>,
    /// Whether SACK is permitted.
    pub sack: bool,
    /// Our TSval, to ask for timestamps.
    pub ts_val: Option<u32>,
    /// Whether ECN is asked for.
    pub ecn: bool,
}

/// What a SYN-ACK says of its sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Learned {
    /// Its MSS; 536 (IPv4) or 1220 (IPv6) if it named none (RFC 9293 §3.7.1).
    pub mss: u16,
    /// The shift of the windows it announces, if it scales them.
    pub scale: Option<u8>,
    /// Whether it permits SACK.
    pub sack: bool,
    /// Whether it agreed to timestamps.
    pub timestamps: bool,
    /// Whether it agreed to ECN (RFC 3168 §6.1.1: ECE without CWR).
    pub ecn: bool,
    /// The window it begins with, in bytes.
    pub window: u16,
}

impl Default for Learned {
    /// What can be assumed of a peer that was never heard: the least that RFC 9293 §3.7.1 lets it take,
    /// no options, and a window of four such segments.
    fn default() -> Self {
        Self { mss: 536, scale: None, sack: false, timestamps: false, ecn: false, window: 2144 }
    }
}

impl Learned {
    /// What this SYN-ACK says.
    #[must_use]
    pub fn of(seg: &Segment) -> Self {
        let default_mss = if seg.tuple.remote.is_v4() { 536 } else { 1220 };
        Self {
            mss: seg.options.mss.unwrap_or(default_mss),
            scale: seg.options.window_scale,
            sack: seg.options.sack_permitted,
            timestamps: seg.options.timestamps.is_some(),
            ecn: seg.flags.only(Flags::ECE | Flags::CWR) == Flags::ECE,
            window: seg.window,
        }
    }
}

/// What a segment means to a connection in SYN_SENT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The SYN-ACK.
    Accepted(Learned),
    /// A RST that acknowledges our SYN.
    Refused,
    /// It acknowledges something that this connection never sent: a SYN-ACK or a challenge ACK of an
    /// earlier one. This RST tells its sender so.
    Stale(Reply),
    /// Nothing.
    Drop(Reason),
}

/// The SYN that opens a connection at `iss`.
#[must_use]
pub fn syn(iss: SeqNum, asked: &Asked) -> Reply {
    let flags = if asked.ecn { Flags::SYN | Flags::ECE | Flags::CWR } else { Flags::SYN };
    Reply {
        seq: iss,
        flags,
        window: asked.window,
        options: ReplyOptions {
            mss: Some(asked.mss),
            window_scale: asked.window_scale,
            sack_permitted: asked.sack,
            timestamps: asked.ts_val.map(|val| Timestamps { val, ecr: 0 }),
        },
        ..Reply::default()
    }
}

/// Reads `seg` as an answer to the SYN with number `iss`: acknowledgement first, then RST, then SYN, in the
/// order of RFC 9293 §3.10.7.4. Simultaneous open is refused: we never wait for a SYN where we send one.
#[must_use]
pub fn answer(seg: &Segment, iss: SeqNum) -> Answer {
    let (has_ack, is_reset) = (seg.flags.has(Flags::ACK), seg.flags.has(Flags::RST));
    if has_ack && seg.ack != iss.add(1) {
        return if is_reset {
            Answer::Drop(Reason::ResetOutOfWindow)
        } else {
            Answer::Stale(reset_for(seg))
        };
    }
    match (is_reset, seg.flags.has(Flags::SYN), has_ack) {
        (true, _, true) => Answer::Refused,
        (true, _, false) => Answer::Drop(Reason::ResetOutOfWindow),
        (false, true, true) => Answer::Accepted(Learned::of(seg)),
        (false, true, false) => Answer::Drop(Reason::SimultaneousOpen),
        (false, false, _) => Answer::Drop(Reason::BadFlags),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Options;

    const ISS: SeqNum = SeqNum(u32::MAX);

    fn segment(flags: Flags, ack: u32) -> Segment {
        Segment { seq: SeqNum(70), ack: SeqNum(ack), flags, window: 5000, ..Segment::default() }
    }

    #[test]
    fn a_syn_asks_for_what_it_should() {
        let asked = Asked {
            mss: 1400,
            window: 65_000,
            window_scale: Some(9),
            sack: true,
            ts_val: Some(5),
            ecn: true,
        };
        let reply = syn(ISS, &asked);
        assert_eq!((reply.seq, reply.flags), (ISS, Flags::SYN | Flags::ECE | Flags::CWR));
        assert_eq!((reply.window, reply.options.mss), (65_000, Some(1400)));
        assert_eq!(reply.options.timestamps, Some(Timestamps { val: 5, ecr: 0 }));
        let plain = syn(ISS, &Asked { mss: 536, ..Asked::default() });
        let options = ReplyOptions { mss: Some(536), ..ReplyOptions::default() };
        assert_eq!((plain.flags, plain.options), (Flags::SYN, options));
    }

    /// RFC 9293 §3.10.7.3: acknowledgement, RST, SYN, in this order.
    #[test]
    fn only_the_exact_acknowledgement_opens_or_refuses() {
        let accepted = |answer| matches!(answer, Answer::Accepted(_));
        assert!(accepted(answer(&segment(Flags::SYN | Flags::ACK, 0), ISS)));
        assert_eq!(answer(&segment(Flags::RST | Flags::ACK, 0), ISS), Answer::Refused);
        for (flags, ack, reason) in [
            (Flags::RST | Flags::ACK, 1, Reason::ResetOutOfWindow),
            (Flags::RST, 0, Reason::ResetOutOfWindow),
            (Flags::SYN, 0, Reason::SimultaneousOpen),
            (Flags::ACK, 0, Reason::BadFlags),
        ] {
            assert_eq!(answer(&segment(flags, ack), ISS), Answer::Drop(reason), "{flags:?}");
        }
        for flags in [Flags::SYN | Flags::ACK, Flags::ACK] {
            let Answer::Stale(reset) = answer(&segment(flags, 9), ISS) else { panic!("stale") };
            assert_eq!((reset.seq, reset.flags), (SeqNum(9), Flags::RST));
        }
    }

    #[test]
    fn a_syn_ack_says_what_its_sender_takes() {
        let options = Options {
            mss: Some(1300),
            window_scale: Some(3),
            sack_permitted: true,
            timestamps: Some(Timestamps::default()),
        };
        let full = Segment { options, ..segment(Flags::SYN | Flags::ACK | Flags::ECE, 0) };
        let learned = Learned::of(&full);
        assert_eq!((learned.mss, learned.scale, learned.window), (1300, Some(3), 5000));
        assert!(learned.sack && learned.timestamps && learned.ecn);
        let reflected = segment(Flags::SYN | Flags::ACK | Flags::ECE | Flags::CWR, 0);
        assert!(!Learned::of(&reflected).ecn, "RFC 3168 §6.1.1: some hosts reflect both");
        assert_eq!(Learned::of(&reflected).mss, 1220, "a default tuple is IPv6");
    }
}
