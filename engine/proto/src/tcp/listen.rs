//! Segments that have no flow: a SYN, a cookie's ACK, or a stray (RFC 9293 §3.10.7.1, §3.10.7.2).

use super::reset::{drop, keep, reset_for};
use super::retransmit::SYN_ACK_WAIT;
use super::state::largest_window;
use super::{Admission, Context, Kind, Refusal, State, Tcb, Traits, transfer};
use crate::cookie::{LEAST_MSS, Offer};
use crate::verdict::{Change, CookieUse, Decision, Event, Reason, Verdict};
use crate::wire::{Flags, Reply, ReplyOptions, Segment, SeqNum, Timestamps};

/// Decides a segment for a service, where no flow is known or only a spent one (RFC 9293 §3.10.7.2): RST,
/// ACK and SYN are looked at in this order, whatever stands beside them. A flow that begins is written to
/// `flow`.
///
/// A SYN with FIN is dropped, as Linux does: only T/TCP, historic by RFC 6247, had a use for one.
#[must_use]
pub fn listen(seg: &Segment, cx: &Context<'_>, flow: &mut Tcb) -> Decision {
    if seg.flags.has(Flags::RST) {
        return drop(Reason::ResetUnwanted);
    }
    if seg.flags.has(Flags::SYN | Flags::ACK) {
        return turn_away(seg, cx.policy.invalid_ack, Reason::SimultaneousOpen);
    }
    if seg.flags.has(Flags::ACK) {
        return stray_ack(seg, cx, flow);
    }
    if seg.flags.only(Flags::SYN | Flags::FIN) != Flags::SYN {
        return drop(Reason::BadFlags);
    }
    syn(seg, cx, flow)
}

/// Decides a segment for an address of ours on which nobody listens: whatever is no RST may draw one, a
/// segment without any flag, too (RFC 9293 §3.10.7.1).
#[must_use]
pub fn refuse(seg: &Segment, cx: &Context<'_>) -> Decision {
    if seg.flags.has(Flags::RST) {
        return drop(Reason::ResetUnwanted);
    }
    turn_away(seg, cx.policy.unknown_port, Reason::UnknownPort)
}

/// RST or silence, as policy says.
fn turn_away(seg: &Segment, refusal: Refusal, reason: Reason) -> Decision {
    match refusal {
        Refusal::Drop => drop(reason),
        Refusal::Reset => keep(Verdict::Answer(reset_for(seg))),
    }
}

/// A first SYN: to a record, a cookie, or nothing.
pub(super) fn syn(seg: &Segment, cx: &Context<'_>, flow: &mut Tcb) -> Decision {
    match cx.admission {
        Admission::Draining => drop(Reason::Draining),
        Admission::Full => drop(Reason::HalfOpenFull),
        Admission::Cookie => answer_by_cookie(seg, cx),
        Admission::Stateful => {
            let (iss, ts_offset) = cx.isn.isn(&seg.tuple, &cx.now);
            flow.open(seg, cx, iss, ts_offset)
        }
    }
}

/// What the client's SYN offered, its MSS defaulted as RFC 9293 §3.7.1 says, without what the service does
/// not agree to: a cookie so proves what was agreed on, not what was asked for.
fn offer_of(seg: &Segment, cx: &Context<'_>) -> Offer {
    let default_mss = if seg.tuple.remote.is_v4() { 536 } else { 1220 };
    Offer {
        mss: seg.options.mss.unwrap_or(default_mss),
        window_scale: seg.options.window_scale,
        sack: cx.offer.sack && seg.options.sack_permitted,
        timestamps: cx.offer.timestamps && seg.options.timestamps.is_some(),
        ecn: cx.policy.ecn && cx.offer.ecn && seg.flags.has(Flags::ECE | Flags::CWR),
    }
}

/// Answers a SYN and keeps nothing.
fn answer_by_cookie(seg: &Segment, cx: &Context<'_>) -> Decision {
    let offer = offer_of(seg, cx);
    let issued = cx.keys.issue(&seg.tuple, seg.seq, &offer, &cx.now);
    let timestamps =
        seg.options.timestamps.zip(issued.ts_val).map(|(ts, val)| Timestamps { val, ecr: ts.val });
    let agreed = Agreed {
        is_scaled: offer.window_scale.is_some(),
        sack: offer.sack,
        ecn: offer.ecn && offer.timestamps, // see `Offer::kept`
        timestamps,
    };
    let answer = Verdict::Answer(agreed.syn_ack(issued.isn, seg.seq, cx));
    Decision { cookie: Some(CookieUse::Sent), ..keep(answer) }
}

/// What a SYN-ACK agrees to.
struct Agreed {
    is_scaled: bool,
    sack: bool,
    ecn: bool,
    timestamps: Option<Timestamps>,
}

impl Agreed {
    /// Offers only what was offered (RFC 9293 §3.7.1, RFC 7323 §1.3, RFC 2018 §2); its window is not
    /// scaled (RFC 7323 §2.2); ECN is agreed to by ECE alone (RFC 3168 §6.1.1).
    #[inline]
    fn syn_ack(&self, iss: SeqNum, irs: SeqNum, cx: &Context<'_>) -> Reply {
        let ece = if self.ecn { Flags::ECE } else { Flags::default() };
        let shift = rcv_shift(self.is_scaled, cx);
        Reply {
            seq: iss,
            ack: irs.add(1),
            flags: Flags::SYN | Flags::ACK | ece,
            window: match cx.kind {
                Kind::Respond { .. } | Kind::Owned(_) => largest_window(shift) as u16,
                Kind::Proxy | Kind::Ring => cx.offer.window,
            },
            options: ReplyOptions {
                mss: Some(cx.mss.min(cx.offer.mss)),
                window_scale: self.is_scaled.then_some(shift),
                sack_permitted: self.sack,
                timestamps: self.timestamps,
            },
            ..Reply::default()
        }
    }
}

/// The scale of our windows.
fn rcv_shift(is_scaled: bool, cx: &Context<'_>) -> u8 {
    if is_scaled { cx.policy.window_scale.min(14) } else { 0 }
}

/// What the timestamps option takes of every segment, with padding (RFC 7323 appendix A).
pub(crate) const TIMESTAMPS_LEN: u16 = 12;

/// The state that a handshake with this offer leads to; the caller adds what the offer does not say.
fn from_offer(irs: SeqNum, iss: SeqNum, offer: &Offer, cx: &Context<'_>) -> Tcb {
    let mut traits = Traits::default();
    traits.set(Traits::TIMESTAMPS, offer.timestamps);
    traits.set(Traits::SCALED, offer.window_scale.is_some());
    traits.set(Traits::SACK, offer.sack);
    traits.set(Traits::ECN, offer.ecn);
    let options_len = if offer.timestamps { TIMESTAMPS_LEN } else { 0 };
    Tcb {
        traits,
        rcv_shift: rcv_shift(offer.window_scale.is_some(), cx),
        snd_shift: offer.window_scale.map_or(0, |shift| shift.min(14)),
        mss: offer.mss.max(LEAST_MSS).min(cx.mss.max(LEAST_MSS)).saturating_sub(options_len),
        iss,
        irs,
        snd_una: iss,
        snd_nxt: iss.add(1),
        snd_max: iss.add(1),
        rcv_nxt: irs.add(1),
        held_to: irs.add(1),
        heard_at: cx.now.tick,
        opened_at: cx.now.tick,
        ..Tcb::default()
    }
}

/// An ACK without a flow: the third of a handshake that was answered by cookie, or a stray.
fn stray_ack(seg: &Segment, cx: &Context<'_>, flow: &mut Tcb) -> Decision {
    if let Some(decision) = redeem(seg, cx, flow) {
        return decision;
    }
    let cookie = cx.check_cookies.then_some(CookieUse::Rejected);
    Decision { cookie, ..turn_away(seg, cx.policy.invalid_ack, Reason::InvalidAck) }
}

/// Opens a flow in `flow` if `seg` proves a cookie of ours. Data in it is taken at once; if the third ACK
/// was lost, the first data segment proves as much.
pub(super) fn redeem(seg: &Segment, cx: &Context<'_>, flow: &mut Tcb) -> Option<Decision> {
    let plain_ack = seg.flags.only(Flags::SYN | Flags::RST | Flags::ACK) == Flags::ACK;
    if !cx.check_cookies || !plain_ack {
        return None;
    }
    let (irs, iss) = (seg.seq.sub(1), seg.ack.sub(1));
    let offer = cx.keys.verify(&seg.tuple, irs, iss, seg.options.timestamps, &cx.now)?;
    *flow = from_offer(irs, iss, &offer, cx);
    flow.traits.set(Traits::BY_COOKIE, true);
    if let Some(ts) = seg.options.timestamps.filter(|_| offer.timestamps) {
        flow.go_on_from(ts, cx);
    }
    flow.establish(seg);
    let established = Event::Established { by_cookie: true, handshake_us: None };
    if cx.kind.takes_nothing() {
        flow.await_consumer(cx);
        return Some(Decision {
            verdict: Verdict::Connect,
            change: Change::Open,
            event: Some(established),
            cookie: Some(CookieUse::Accepted),
        });
    }
    let taken = flow.take(seg, cx);
    Some(Decision {
        verdict: taken.verdict,
        change: match taken.change {
            Change::Keep | Change::Open | Change::Update => Change::Open,
            Change::End(end) => Change::End(end),
        },
        event: Some(established),
        cookie: Some(CookieUse::Accepted),
    })
}

impl Tcb {
    /// Gives a SYN this record and its SYN-ACK (RFC 9293 §3.10.7.2).
    pub(super) fn open(
        &mut self,
        seg: &Segment,
        cx: &Context<'_>,
        iss: SeqNum,
        ts_offset: u32,
    ) -> Decision {
        *self = from_offer(seg.seq, iss, &offer_of(seg, cx), cx);
        self.state = State::SynRcvd;
        self.ts_offset = ts_offset;
        self.ts_recent = seg.options.timestamps.map_or(0, |ts| ts.val);
        self.rtt_at_us = cx.now.us as u32;
        self.rtx_at = cx.now.tick.after(SYN_ACK_WAIT);
        Decision {
            verdict: Verdict::Answer(self.syn_ack(cx)),
            change: Change::Open,
            event: Some(Event::HalfOpen),
            cookie: None,
        }
    }

    /// The SYN-ACK of a stateful handshake.
    pub(super) fn syn_ack(&self, cx: &Context<'_>) -> Reply {
        let agreed = Agreed {
            is_scaled: self.traits.has(Traits::SCALED),
            sack: self.traits.has(Traits::SACK),
            ecn: self.traits.has(Traits::ECN),
            timestamps: self.timestamps(cx),
        };
        agreed.syn_ack(self.iss, self.irs, cx)
    }

    /// Lets our TSvals go on from the one that the client echoed, whichever node made it
    /// (RFC 7323 §5.4).
    pub(super) fn go_on_from(&mut self, ts: Timestamps, cx: &Context<'_>) {
        self.ts_offset = ts.ecr.wrapping_sub(cx.now.ts_clock);
        self.ts_recent = ts.val;
    }

    /// SYN_RCVD (or a proven cookie) → ESTABLISHED by the third ACK (RFC 9293 §3.10.7.4).
    pub(super) fn establish(&mut self, seg: &Segment) {
        self.state = State::Established;
        self.snd_una = seg.ack;
        self.snd_wnd = u32::from(seg.window) << self.snd_shift;
        self.snd_wnd_max = self.snd_wnd;
        self.snd_wl1 = seg.seq;
        self.retries = 0;
        self.traits.set(Traits::TIMED, false);
        self.cwnd = transfer::initial_window(self.mss);
        self.ssthresh = u32::MAX;
        self.recover = self.iss;
    }
}
