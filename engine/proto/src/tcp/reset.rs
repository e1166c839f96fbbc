//! Answers without state of their own: RSTs, ACKs and challenge ACKs.

use super::{Context, State, Tcb, Traits};
use crate::verdict::{Change, Decision, Reason, Verdict};
use crate::wire::{Flags, Reply, ReplyOptions, Segment, SeqNum};

/// A decision that leaves the flow as it is.
pub(super) const fn keep(verdict: Verdict) -> Decision {
    Decision { verdict, change: Change::Keep, event: None, cookie: None }
}

/// A decision to drop the segment and leave everything as it is.
pub(super) const fn drop(reason: Reason) -> Decision {
    keep(Verdict::Drop(reason))
}

/// The RST to a segment that belongs to no connection (RFC 9293 §3.10.7.1). Never ask for one in answer
/// to a RST.
pub(crate) fn reset_for(seg: &Segment) -> Reply {
    let (seq, ack, flags) = if seg.flags.has(Flags::ACK) {
        (seg.ack, SeqNum(0), Flags::RST)
    } else {
        (SeqNum(0), seg.end(), Flags::RST | Flags::ACK)
    };
    Reply { seq, ack, flags, limited: true, ..Reply::default() }
}

impl Tcb {
    /// `<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>`.
    pub(super) fn ack(&self, cx: &Context<'_>) -> Reply {
        let mut flags = Flags::ACK;
        if self.traits.has(Traits::ECHO_CE) {
            flags = flags | Flags::ECE;
        }
        Reply {
            seq: self.snd_max,
            ack: self.rcv_nxt,
            flags,
            window: (self.rcv_wnd(cx) >> self.rcv_shift).min(0xffff) as u16,
            options: ReplyOptions { timestamps: self.timestamps(cx), ..ReplyOptions::default() },
            ..Reply::default()
        }
    }

    /// The ACK that makes a peer prove itself (RFC 5961 §3.2, §4.2, §5.2), or that answers an
    /// unacceptable segment (RFC 9293 §3.10.7.4); rate-limited (RFC 5961 §7).
    pub(super) fn challenge(&self, cx: &Context<'_>) -> Decision {
        keep(Verdict::Answer(Reply { limited: true, ..self.ack(cx) }))
    }

    /// The RST that ends this flow from our side, or `None` where there is nobody to tell.
    #[must_use]
    pub fn abort(&self, cx: &Context<'_>) -> Option<Reply> {
        let dead = matches!(self.state, State::Closed | State::TimeWait);
        (!dead).then(|| Reply { flags: Flags::RST | Flags::ACK, window: 0, ..self.ack(cx) })
    }
}
