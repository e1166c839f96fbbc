//! The backend half's handshake, try by try, and what the client sends meanwhile.

use super::pass::{FIXED_HEADER, Numbers};
use super::rewrite::{Ops, Rewrite};
use super::state::{Marks, Phase, Splice, Stream, field};
use super::{Choice, Half, Passage, SpliceContext, Step, Then, TryEnd};
use crate::cause::Reason;
use crate::cookie::LEAST_MSS;
use crate::tcp::client::{self, Answer, Asked, Learned};
use crate::tcp::{TIMESTAMPS_LEN, Tcb, Traits};
use crate::verdict::{End, Event};
use crate::wire::{Flags, Reply, Segment, SeqNum};

/// The first wait for a SYN-ACK, or for the acknowledgement of a PROXY header, in ms; each next one is twice
/// as long (RFC 6298 §2.1, §5.5).
pub(super) const FIRST_WAIT: u32 = 1000;

/// The least MSS that our SYN announces. Linux reads a smaller one as this (TCP_MIN_MSS); what it sends is
/// split for a client that takes less.
const MSS_FLOOR: u16 = 88;

impl Splice {
    /// The flow whose client has been let in with `tcb`, and of whom perhaps something is held, and the
    /// first try of a backend: send [`Splice::syn`] there.
    #[must_use]
    pub fn open(tcb: &Tcb, choice: &Choice, cx: &SpliceContext<'_>) -> Self {
        let mut marks = Marks::default();
        for (agreed, mark) in [
            (Traits::TIMESTAMPS, Marks::CLIENT_STAMPS),
            (Traits::SACK, Marks::CLIENT_SACK),
            (Traits::ECN, Marks::CLIENT_ECN),
            (Traits::SCALED, Marks::CLIENT_SCALED),
            (Traits::BY_COOKIE, Marks::BY_COOKIE),
            (Traits::HELD_FIN, Marks::UP_FIN),
        ] {
            marks.set(mark, tcb.traits.has(agreed));
        }
        let (first_up, first_down) = (tcb.irs.add(1), tcb.iss.add(1));
        let edge = first_up.add(u32::from(cx.window));
        let down_edge = first_down.add(tcb.snd_wnd);
        let stamps = marks.has(Marks::CLIENT_STAMPS);
        let options_len = if stamps { TIMESTAMPS_LEN } else { 0 };
        let mut splice = Self {
            up: Stream { nxt: tcb.held_to, una: first_up, edge },
            down: Stream { nxt: first_down, una: first_down, edge: down_edge },
            irs: tcb.irs,
            iss: tcb.iss,
            up_delta: 0,
            down_delta: 0,
            ts_up: 0,
            ts_down: cx.now.ts_clock.wrapping_add(tcb.ts_offset),
            ts_client: tcb.ts_recent,
            ts_backend: 0,
            ts_floor: 0,
            heard_at: cx.now.tick,
            resend_at: cx.now.tick,
            opened_at: tcb.opened_at,
            path: 0,
            local_port: 0,
            backend: 0,
            place: u16::MAX,
            path_mss: 0,
            client_mss: tcb.mss.saturating_add(options_len),
            backend_mss: 0,
            marks,
            up_ops: Ops::default(),
            down_ops: Ops::default(),
            header_len: 0,
            client_shift: tcb.snd_shift,
            to_client_shift: tcb.rcv_shift,
            backend_shift: 0,
            to_backend_shift: 0,
            tries: 0,
            resent: 0,
            doubts: 0,
            phase: Phase::Opening,
        };
        splice.retry(choice, cx);
        splice
    }

    /// Another try, after [`Then::NextTry`]: send [`Splice::syn`] there.
    pub fn retry(&mut self, choice: &Choice, cx: &SpliceContext<'_>) {
        self.path = choice.path;
        self.local_port = choice.local_port;
        self.backend = choice.backend;
        self.header_len = choice.header_len;
        let header_len = u32::from(choice.header_len);
        self.up_delta = choice.iss.add(header_len).since(self.irs);
        self.up.una = self.irs.add(1).sub(header_len);
        self.marks.set(Marks::HEADER, header_len > 0);
        self.marks.set(Marks::HEADER_OUT, header_len > 0);
        self.marks.set(Marks::WAS_STALE, false);
        self.marks.set(Marks::ECN_WITHDRAWN, false);
        self.ts_up = match choice.ts_offset {
            Some(offset) => cx.now.ts_clock.wrapping_add(offset),
            None => self.ts_client,
        };
        self.path_mss = choice.mss;
        self.backend_mss = self.syn_mss(choice);
        self.tries = self.tries.saturating_add(1);
        self.resent = 0;
        self.doubts = 0;
        self.heard_at = cx.now.tick;
        self.resend_at = cx.now.tick.after(FIRST_WAIT);
    }

    /// What the client takes, what the way takes, and less by what translation may put in: timestamps, if
    /// the backend may not have them.
    fn syn_mss(&self, choice: &Choice) -> u16 {
        let stamps = self.marks.has(Marks::CLIENT_STAMPS);
        let inserted = if stamps && !choice.learned.timestamps { TIMESTAMPS_LEN } else { 0 };
        self.client_mss.min(choice.mss).saturating_sub(inserted).max(MSS_FLOOR)
    }

    /// The SYN of the present try. It asks for what the client agreed to, and for its window scale.
    #[must_use]
    pub fn syn(&self) -> Reply {
        let asked = |mark| self.marks.has(mark);
        client::syn(
            self.backend_iss(),
            &Asked {
                mss: self.backend_mss,
                window: field(self.down.edge.since(self.down.una), 0),
                window_scale: asked(Marks::CLIENT_SCALED).then_some(self.client_shift),
                sack: asked(Marks::CLIENT_SACK),
                ts_val: asked(Marks::CLIENT_STAMPS).then_some(self.ts_up),
                ecn: self.asks_for_ecn(),
            },
        )
    }

    const fn asks_for_ecn(&self) -> bool {
        self.marks.has(Marks::CLIENT_ECN) && !self.marks.has(Marks::ECN_WITHDRAWN)
    }

    /// Whether another backend may be tried, and what becomes of the flow.
    pub(super) fn try_ended(&self, why: TryEnd, cx: &SpliceContext<'_>) -> Then {
        if self.tries < cx.tries { Then::NextTry(why) } else { Then::Abort(why.end()) }
    }

    /// The last word of a flow that never reached a backend.
    fn given_up(then: Then) -> Option<Event> {
        match then {
            Then::Abort(end) | Then::End(end) => Some(Event::Ended(end)),
            Then::Stay | Then::Moved | Then::Opened | Then::NextTry(_) | Then::SynAgain => None,
        }
    }

    /// A segment of the backend that may answer our SYN.
    pub(super) fn answered(&mut self, seg: &Segment, cx: &SpliceContext<'_>) -> Step {
        match client::answer(seg, self.backend_iss()) {
            Answer::Accepted(learned) => self.accepted(seg, &learned, cx),
            Answer::Refused => self.refused(cx),
            Answer::Stale(reset) if seg.flags.has(Flags::SYN) => {
                Step::stay(Passage::Answer(reset)) // of an earlier try: RFC 9293 §3.10.7.3
            }
            Answer::Stale(reset) => self.is_stale(reset, cx),
            Answer::Drop(reason) => Step::drop(reason),
        }
    }

    /// The present backend does not want the flow.
    pub(super) fn refused(&self, cx: &SpliceContext<'_>) -> Step {
        let then = self.try_ended(TryEnd::Refused, cx);
        Step { passage: Passage::Deliver, then, event: Self::given_up(then) }
    }

    /// The backend is still in TIME_WAIT of an earlier connection: our RST ends that, and the SYN goes again.
    /// RFC 1337 §3 lets it ignore the RST: then another try must do.
    fn is_stale(&mut self, reset: Reply, cx: &SpliceContext<'_>) -> Step {
        let passage = Passage::Answer(reset);
        if self.marks.has(Marks::WAS_STALE) {
            let then = self.try_ended(TryEnd::InTimeWait, cx);
            return Step { passage, then, event: Self::given_up(then) };
        }
        self.marks.set(Marks::WAS_STALE, true);
        Step { passage, then: Then::SynAgain, event: None }
    }

    /// The SYN-ACK: from here on segments pass.
    fn accepted(&mut self, seg: &Segment, learned: &Learned, cx: &SpliceContext<'_>) -> Step {
        self.agree(learned);
        let held = self.up.nxt != self.irs.add(1);
        self.phase = Phase::Open;
        self.down_delta = self.iss.since(seg.seq);
        let edge = self.up.una.add(u32::from(learned.window));
        self.up.edge = self.up.edge.max(edge);
        match seg.options.timestamps {
            Some(ts) if self.marks.has(Marks::BACKEND_STAMPS) => {
                self.ts_up = self.ts_up.wrapping_sub(self.ts_client);
                self.ts_down = self.ts_down.wrapping_sub(ts.val);
                (self.ts_backend, self.ts_floor) = (ts.val, ts.val);
            }
            _ => self.ts_down = self.ts_down.wrapping_sub(cx.now.ts_clock),
        }
        self.heard_at = cx.now.tick;
        self.resend_at = cx.now.tick.after(FIRST_WAIT);
        self.resent = 0;
        let passage = if self.header_len > 0 {
            Passage::Answer(self.header())
        } else if held {
            Passage::Deliver // what was held acknowledges it
        } else {
            Passage::Answer(self.ack(Half::Backend, cx))
        };
        Step { passage, then: Then::Opened, event: None }
    }

    /// What both ends agreed to passes; what only the client did is translated.
    fn agree(&mut self, learned: &Learned) {
        let marks = self.marks;
        let both = |client, learned| marks.has(client) && learned;
        let stamps = both(Marks::CLIENT_STAMPS, learned.timestamps);
        let sack = both(Marks::CLIENT_SACK, learned.sack);
        let ecn = both(Marks::CLIENT_ECN, learned.ecn);
        let scale = learned.scale.filter(|_| marks.has(Marks::CLIENT_SCALED));
        self.marks.set(Marks::BACKEND_STAMPS, stamps);
        self.marks.set(Marks::BACKEND_SACK, sack);
        self.marks.set(Marks::BACKEND_ECN, ecn);
        self.marks.set(Marks::BACKEND_SCALED, scale.is_some());
        self.backend_shift = scale.unwrap_or(0).min(14);
        self.to_backend_shift = if scale.is_some() { self.client_shift } else { 0 };
        let common = Ops::default().with(Ops::STRIP_SACK, !sack).with(Ops::CLEAR_ECN, !ecn);
        let unechoed = marks.has(Marks::CLIENT_ECN) && !ecn;
        self.up_ops = common
            .with(Ops::STAMP, stamps)
            .with(Ops::STRIP_STAMP, !stamps)
            .with(Ops::DROP_MARKED, unechoed);
        let inserts = marks.has(Marks::CLIENT_STAMPS) && !stamps;
        self.down_ops = common
            .with(Ops::STAMP, stamps)
            .with(Ops::STRIP_STAMP, !stamps)
            .with(Ops::INSERT_STAMP, inserts);
        if inserts {
            self.client_mss = self.client_mss.saturating_sub(TIMESTAMPS_LEN);
        }
        self.backend_mss = learned.mss.min(self.path_mss).max(LEAST_MSS);
    }

    /// The PROXY header, as the owner has it, in a segment of its own.
    pub(super) fn header(&self) -> Reply {
        Reply {
            seq: self.backend_iss().add(1),
            flags: Flags::ACK | Flags::PSH,
            payload_len: u16::from(self.header_len),
            ..self.ack_to_backend()
        }
    }

    /// Whether an acknowledgement shows that the PROXY header is missing: it repeats itself although data was sent
    /// behind the header. Three times is enough (RFC 5681 §3.2), once where SACK blocks tell that something behind it
    /// has arrived (RFC 6675 §5); true once for each time that it was sent.
    pub(super) fn is_header_missed(&mut self, seg: &Segment, ack: SeqNum) -> bool {
        const ENOUGH: u8 = 3;
        let first = self.irs.add(1);
        let repeats = ack == self.up.una && ack.is_before(first) && self.up.nxt.is_after(first);
        if !self.marks.has(Marks::HEADER_OUT) || !repeats || !seg.is_empty() {
            return false;
        }
        let stamps = if self.marks.has(Marks::BACKEND_STAMPS) { TIMESTAMPS_LEN } else { 0 };
        let has_blocks = u16::from(seg.header_len) > stamps.saturating_add(FIXED_HEADER);
        let counts = if has_blocks { ENOUGH } else { 1 };
        let before = self.doubts;
        self.doubts = before.saturating_add(counts);
        before < ENOUGH && self.doubts >= ENOUGH
    }

    /// What is known of the backend after [`Then::Opened`], given what was `known`. Of what the client did
    /// not agree to, and so was not asked for, nothing new is known. A difference is a mismatch.
    #[must_use]
    pub fn learned(&self, known: &Learned, syn_ack: &Segment) -> Learned {
        let seen = Learned::of(syn_ack);
        let asked = |mark| self.marks.has(mark);
        Learned {
            mss: seen.mss,
            window: seen.window,
            scale: if asked(Marks::CLIENT_SCALED) { seen.scale } else { known.scale },
            sack: if asked(Marks::CLIENT_SACK) { seen.sack } else { known.sack },
            timestamps: if asked(Marks::CLIENT_STAMPS) {
                seen.timestamps
            } else {
                known.timestamps
            },
            ecn: if self.asks_for_ecn() { seen.ecn } else { known.ecn },
        }
    }

    /// A segment of the client while no backend has answered.
    pub(super) fn early(&mut self, seg: &Segment, cx: &SpliceContext<'_>) -> Step {
        if seg.flags.has(Flags::RST) {
            return self.early_reset(seg, cx);
        }
        if seg.flags.has(Flags::SYN) {
            return self.challenge(Half::Client, cx);
        }
        if !seg.flags.has(Flags::ACK) {
            return Step::drop(Reason::BadFlags);
        }
        if seg.ack != self.iss.add(1) || seg.seq.is_after(self.up.edge) {
            return self.challenge(Half::Client, cx);
        }
        let edge = seg.ack.add(u32::from(seg.window) << self.client_shift);
        self.down.edge = self.down.edge.max(edge);
        let fits = !seg.end().is_after(self.up.edge);
        let has_closed = self.marks.has(Marks::UP_FIN);
        if seg.is_empty() || seg.seq != self.up.nxt || !fits || has_closed {
            return Step::stay(Passage::Deliver); // the client keeps what is not acknowledged
        }
        self.up.nxt = seg.end();
        self.marks.set(Marks::UP_FIN, seg.flags.has(Flags::FIN));
        Step::stay(Passage::Hold)
    }

    /// The segment that was just to be held could not be: the client will send it again.
    pub fn not_held(&mut self, seg: &Segment) {
        if self.phase == Phase::Opening && self.up.nxt == seg.end() {
            self.up.nxt = seg.seq;
            self.marks.set(Marks::UP_FIN, false);
        }
    }

    /// The client gave up: so do we, and the backend, if it has our SYN, is told at its only number.
    fn early_reset(&mut self, seg: &Segment, cx: &SpliceContext<'_>) -> Step {
        if seg.seq != self.irs.add(1) && seg.seq != self.up.nxt {
            let inside = seg.seq.is_within(self.up.una, u32::from(cx.window));
            return if inside {
                self.challenge(Half::Client, cx)
            } else {
                Step::drop(Reason::ResetOutOfWindow)
            };
        }
        let rewrite = Rewrite {
            seq: self.backend_iss().add(1),
            ops: Ops::STRIP_STAMP,
            clear: Flags::ACK.0,
            ..Rewrite::default()
        };
        Step {
            passage: Passage::Forward(rewrite),
            then: Then::End(End::ClosedByReset),
            event: Some(Event::Ended(End::ClosedByReset)),
        }
    }

    /// What becomes of a frame that was held, now that the backend half is open.
    pub fn pass_held(&mut self, seg: &Segment, cx: &SpliceContext<'_>) -> Passage {
        if self.is_unechoed(Half::Client, seg) {
            return Passage::Drop(Reason::CongestionUnechoed);
        }
        let numbers = Numbers { seq: seg.seq, ack: seg.ack, window: self.bytes(Half::Client, seg) };
        let rewrite = self.rewrite(Half::Client, seg, numbers, cx);
        self.sized(Half::Client, seg, rewrite)
    }
}
