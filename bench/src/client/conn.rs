//! One connection of a client: handshake, requests and answers, close. Pure: segments and time go in, segments come
//! out. The first half of it, what may answer a SYN, is `usher_proto::tcp::client`.
//!
//! A client takes everything that comes in order at once and keeps nothing of it, so its window never closes; what comes
//! out of order it asks for again. It sends a request within the server's window and goes back to what is not
//! acknowledged when its timer fires: no congestion control, as requests are short. It keeps no TIME_WAIT: a number may
//! be used again at once, with a higher ISN and TSval, which RFC 6191 lets every server take.

use usher_proto::tcp::client::{Answer, Learned, answer};
use usher_proto::wire::{Flags, Reply, ReplyOptions, Segment, SeqNum, Timestamps};

use super::Stack;

/// What a client does with each of its connections.
#[derive(Clone, Debug)]
pub struct Script {
    /// Whom its segments look like.
    pub stack: Stack,
    /// Requests, one after the other's answer; none sends nothing.
    pub requests: u16,
    /// Bytes of a request.
    pub request_len: u32,
    /// Bytes of an answer; `None`: whatever comes until the server closes.
    pub answer_len: Option<u32>,
    /// Who closes first, and how.
    pub close: Close,
    /// How long a SYN or data waits for its acknowledgement, in ns; twice as long after each time.
    pub rto_ns: u64,
    /// How often a SYN is sent again.
    pub syn_retries: u8,
    /// After how long a connection is given up, in ns.
    pub timeout_ns: u64,
}

/// Who closes first.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Close {
    /// The server, with or after its last answer
    #[default]
    Server,
    /// The client, when the last answer is whole
    Client,
    /// The client, by RST
    Reset,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Both closed after the last answer, or we reset it as the script says.
    Closed,
    /// A RST answered our SYN.
    Refused,
    /// A RST came later.
    Reset,
    /// Nothing answered our SYNs.
    NoAnswer,
    /// It took too long.
    TimedOut,
    /// The server closed before its last answer was whole.
    ClosedEarly,
    /// More came than was to be answered.
    TooLong,
}

impl End {
    /// Every way to fail.
    pub const FAILURES: [Self; 6] = [
        Self::Refused,
        Self::Reset,
        Self::NoAnswer,
        Self::TimedOut,
        Self::ClosedEarly,
        Self::TooLong,
    ];

    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Refused => "refused by RST",
            Self::Reset => "reset by the server",
            Self::NoAnswer => "SYN not answered",
            Self::TimedOut => "timed out",
            Self::ClosedEarly => "closed before the answer was whole",
            Self::TooLong => "answer too long",
        }
    }
}

/// What a segment or a timer did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Step {
    /// What to say. Its payload is that part of the request.
    pub reply: Option<Reply>,
    /// Whether the handshake has come to its end.
    pub opened: bool,
    /// Whether the first byte of the first answer has come.
    pub first_byte: bool,
    /// Whether an answer is whole now; its request was sent at this time, in ns.
    pub answered: Option<u64>,
    /// Whether the connection is over.
    pub end: Option<End>,
}

/// What a timer asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// Its SYN, once more.
    Syn,
    /// This segment, once more.
    Again(Reply),
    /// It is over; the RST tells the server, if it knows of it.
    Over(End, Option<Reply>),
}

/// Where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Stage {
    /// No connection.
    #[default]
    Idle,
    SynSent,
    /// From the third ACK to the end.
    Open,
}

/// The state of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conn {
    stage: Stage,
    /// Our FIN is `snd_end`'s last number.
    fin: bool,
    peer_fin: bool,
    has_stamps: bool,
    is_scaled: bool,
    /// Some byte of an answer has come.
    is_answered: bool,
    snd_shift: u8,
    retries: u8,
    mss: u16,
    /// Answers that are not whole, the present one included.
    answers: u16,
    snd_una: SeqNum,
    snd_nxt: SeqNum,
    /// Behind all that was asked for so far.
    snd_end: SeqNum,
    snd_wnd: u32,
    rcv_nxt: SeqNum,
    ts_recent: u32,
    /// Bytes of the present answer.
    received: u32,
    deadline_ns: u64,
    /// When the present request began to be sent.
    asked_ns: u64,
    /// When it was to begin.
    pub intended_ns: u64,
    /// When its first SYN was sent.
    pub begun_ns: u64,
    /// Whether a look at its timer is scheduled.
    pub is_watched: bool,
}

const _: () = assert!(size_of::<Conn>() <= 88);

impl Conn {
    /// Whether there is no connection.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.stage == Stage::Idle
    }

    /// The number of its SYN: while that is not acknowledged.
    #[must_use]
    pub const fn iss(&self) -> SeqNum {
        self.snd_una
    }

    /// Begins a connection, whose SYN the caller sends; returns the SYN's number: `wanted`, or what the number's last
    /// connection ended with, if that is later.
    pub fn begin(
        &mut self,
        wanted: SeqNum,
        intended_ns: u64,
        now_ns: u64,
        script: &Script,
    ) -> SeqNum {
        let is_first = self.snd_end == SeqNum::default();
        let iss = if is_first { wanted } else { wanted.max(self.snd_end.add(1)) };
        *self = Self {
            stage: Stage::SynSent,
            snd_una: iss,
            snd_nxt: iss.add(1),
            snd_end: iss.add(1),
            deadline_ns: now_ns + script.rto_ns,
            intended_ns,
            begun_ns: now_ns,
            is_watched: self.is_watched,
            ..Self::default()
        };
        iss
    }

    /// Takes a segment in, at `now_ns`; `ts_val` is our TSval now.
    pub fn take(&mut self, seg: &Segment, now_ns: u64, ts_val: u32, script: &Script) -> Step {
        match self.stage {
            Stage::Idle => Step { reply: stray(seg), ..Step::default() },
            Stage::SynSent => self.take_answer(seg, now_ns, ts_val, script),
            Stage::Open => self.take_open(seg, now_ns, ts_val, script),
        }
    }

    /// The next segment that may be sent now, without one that asks for it.
    pub fn more(&mut self, ts_val: u32, script: &Script) -> Option<Reply> {
        let in_flight = self.snd_nxt.since(self.snd_una);
        let room = self.snd_wnd.saturating_sub(in_flight);
        if self.stage == Stage::Open { self.segment(room, ts_val, script) } else { None }
    }

    /// What its timer asks for at `now_ns`.
    pub fn on_timer(&mut self, now_ns: u64, ts_val: u32, script: &Script) -> Due {
        if self.is_idle() || now_ns < self.deadline_ns {
            return Due::Nothing;
        }
        let is_late = now_ns.saturating_sub(self.begun_ns) >= script.timeout_ns;
        if self.stage == Stage::SynSent {
            if is_late || self.retries >= script.syn_retries {
                return self.over(End::NoAnswer, None);
            }
            self.wait_longer(now_ns, script);
            return Due::Syn;
        }
        if is_late {
            let reset = self.reset();
            return self.over(End::TimedOut, Some(reset));
        }
        if self.snd_una == self.snd_end {
            self.deadline_ns = now_ns + script.rto_ns;
            return Due::Nothing; // it waits for the server, whose timers run
        }
        self.wait_longer(now_ns, script);
        self.snd_nxt = self.snd_una;
        // into a closed window one byte, as a probe (RFC 9293 §3.8.6.1)
        self.segment(self.snd_wnd.max(1), ts_val, script).map_or(Due::Nothing, Due::Again)
    }

    fn take_answer(&mut self, seg: &Segment, now_ns: u64, ts_val: u32, script: &Script) -> Step {
        match answer(seg, self.snd_una) {
            Answer::Accepted(learned) => self.open(seg, &learned, now_ns, ts_val, script),
            Answer::Refused => self.end(End::Refused, None),
            Answer::Stale(reset) => Step { reply: Some(reset), ..Step::default() },
            Answer::Drop(_) => Step::default(),
        }
    }

    fn open(
        &mut self,
        seg: &Segment,
        learned: &Learned,
        now_ns: u64,
        ts_val: u32,
        script: &Script,
    ) -> Step {
        self.stage = Stage::Open;
        (self.snd_una, self.rcv_nxt) = (seg.ack, seg.end());
        self.is_scaled = learned.scale.is_some() && script.stack.window_scale().is_some();
        self.snd_shift = if self.is_scaled { learned.scale.unwrap_or_default() } else { 0 };
        self.has_stamps = learned.timestamps;
        self.ts_recent = seg.options.timestamps.map_or(0, |stamps| stamps.val);
        // RFC 6691 §2: options take their room from what is sent
        self.mss = learned.mss.saturating_sub(if self.has_stamps { 12 } else { 0 }).max(1);
        self.snd_wnd = learned.window.into();
        self.answers = script.requests;
        self.ask(now_ns, script);
        self.acknowledged(now_ns, script);
        self.finish(seg, now_ns, ts_val, script, Step { opened: true, ..Step::default() })
    }

    /// Puts the next request behind what there is to send.
    fn ask(&mut self, now_ns: u64, script: &Script) {
        if self.answers > 0 {
            (self.received, self.asked_ns) = (0, now_ns);
            self.snd_end = self.snd_end.add(script.request_len);
        }
    }

    /// Twice as long each time, up to 64 times (RFC 6298 §5.5).
    fn wait_longer(&mut self, now_ns: u64, script: &Script) {
        self.retries = self.retries.saturating_add(1);
        self.deadline_ns = now_ns + (script.rto_ns << self.retries.min(6));
    }

    fn acknowledged(&mut self, now_ns: u64, script: &Script) {
        self.retries = 0;
        self.deadline_ns = now_ns + script.rto_ns;
    }

    fn take_open(&mut self, seg: &Segment, now_ns: u64, ts_val: u32, script: &Script) -> Step {
        if seg.flags.has(Flags::RST) {
            let is_ours = seg.seq.is_within(self.rcv_nxt, WINDOW);
            return if is_ours { self.end(End::Reset, None) } else { Step::default() };
        }
        if seg.flags.has(Flags::SYN) || !seg.flags.has(Flags::ACK) {
            return Step { reply: Some(self.ack(ts_val, script)), ..Step::default() };
        }
        if let Some(stamps) = seg.options.timestamps
            && !seg.seq.is_after(self.rcv_nxt)
        {
            self.ts_recent = stamps.val;
        }
        if seg.ack.is_after(self.snd_una) && !seg.ack.is_after(self.snd_end) {
            self.snd_una = seg.ack;
            self.snd_nxt = self.snd_nxt.max(seg.ack);
            self.acknowledged(now_ns, script);
        }
        self.snd_wnd = u32::from(seg.window) << self.snd_shift;
        let mut step = Step::default();
        let new = self.receive(seg);
        if new > 0 && !self.is_answered {
            (self.is_answered, step.first_byte) = (true, true);
        }
        self.received = self.received.saturating_add(new);
        self.finish(seg, now_ns, ts_val, script, step)
    }

    /// Takes what comes in order; returns how many bytes are new.
    fn receive(&mut self, seg: &Segment) -> u32 {
        let data_end = seg.seq.add(seg.payload_len.into());
        if self.peer_fin || seg.seq.is_after(self.rcv_nxt) || data_end.is_before(self.rcv_nxt) {
            return 0;
        }
        let new = data_end.since(self.rcv_nxt);
        self.rcv_nxt = data_end;
        if seg.flags.has(Flags::FIN) {
            self.peer_fin = true;
            self.rcv_nxt = data_end.add(1);
        }
        new
    }

    /// What follows from a segment that was taken in: the next request, our FIN, the end, an answer.
    fn finish(
        &mut self,
        seg: &Segment,
        now_ns: u64,
        ts_val: u32,
        script: &Script,
        mut step: Step,
    ) -> Step {
        if script.answer_len.is_some_and(|len| self.received > len) {
            return self.end(End::TooLong, Some(self.reset()));
        }
        let is_whole = match script.answer_len {
            // a server may answer before it has heard all; no answer at all is one to what it has heard
            Some(len) => self.received == len && (len > 0 || self.snd_una == self.snd_end),
            None => self.peer_fin,
        };
        if self.answers > 0 && is_whole {
            step.answered = Some(self.asked_ns);
            self.answers -= 1;
            self.ask(now_ns, script);
        }
        if self.answers == 0 && !self.fin {
            match script.close {
                Close::Reset => return Step { end: Some(End::Closed), ..self.reset_after(step) },
                Close::Client => self.close(now_ns, script),
                Close::Server if self.peer_fin => self.close(now_ns, script),
                Close::Server => {}
            }
        }
        if self.peer_fin && self.answers > 0 {
            let end = self.end(End::ClosedEarly, Some(self.reset()));
            return Step { opened: step.opened, first_byte: step.first_byte, ..end };
        }
        let is_over = self.fin && self.peer_fin && self.snd_una == self.snd_end;
        let owes = !seg.is_empty() || seg.seq.is_before(self.rcv_nxt);
        step.reply = match self.more(ts_val, script) {
            Some(reply) => Some(reply),
            None if owes => Some(self.ack(ts_val, script)),
            None => None,
        };
        if is_over {
            self.stage = Stage::Idle;
            step.end = Some(End::Closed);
        }
        step
    }

    fn close(&mut self, now_ns: u64, script: &Script) {
        self.fin = true;
        self.snd_end = self.snd_end.add(1);
        self.acknowledged(now_ns, script);
    }

    fn reset_after(&mut self, step: Step) -> Step {
        self.stage = Stage::Idle;
        Step { reply: Some(self.reset()), ..step }
    }

    fn end(&mut self, end: End, reply: Option<Reply>) -> Step {
        self.stage = Stage::Idle;
        Step { reply, end: Some(end), ..Step::default() }
    }

    fn over(&mut self, end: End, reply: Option<Reply>) -> Due {
        self.stage = Stage::Idle;
        Due::Over(end, reply)
    }

    /// The segment at `snd_nxt`, of `room` bytes at most.
    fn segment(&mut self, room: u32, ts_val: u32, script: &Script) -> Option<Reply> {
        let left = self.snd_end.since(self.snd_nxt);
        if left == 0 {
            return None;
        }
        let data = left - u32::from(self.fin);
        // what is left ends with a request, so its place in one follows from the end
        let of_this = match data % script.request_len.max(1) {
            0 => data.min(script.request_len),
            part => part,
        };
        let len = of_this.min(room).min(self.mss.into());
        let fin = self.fin && len == data;
        if len == 0 && !fin {
            return None;
        }
        let offset = script.request_len - of_this;
        let mut flags = if len > 0 { Flags::ACK | Flags::PSH } else { Flags::ACK };
        if fin {
            flags = flags | Flags::FIN;
        }
        let seq = self.snd_nxt;
        self.snd_nxt = seq.add(len + u32::from(fin));
        let ack = self.ack(ts_val, script);
        Some(Reply { seq, flags, payload_offset: offset, payload_len: len as u16, ..ack })
    }

    fn ack(&self, ts_val: u32, script: &Script) -> Reply {
        let stamps = Timestamps { val: ts_val, ecr: self.ts_recent };
        let timestamps = self.has_stamps.then_some(stamps);
        Reply {
            seq: self.snd_nxt,
            ack: self.rcv_nxt,
            flags: Flags::ACK,
            window: script.stack.open_window(self.is_scaled),
            options: ReplyOptions { timestamps, ..ReplyOptions::default() },
            ..Reply::default()
        }
    }

    fn reset(&self) -> Reply {
        let (seq, ack) = (self.snd_nxt, self.rcv_nxt);
        Reply { seq, ack, flags: Flags::RST | Flags::ACK, ..Reply::default() }
    }
}

/// The window in which a RST is believed, in bytes: at most what any stack here announces.
const WINDOW: u32 = 65_536;

/// What to say to a segment of a connection that is over here: to the server's last FIN the ACK that it may have
/// missed, to a SYN-ACK a RST.
fn stray(seg: &Segment) -> Option<Reply> {
    if seg.flags.has(Flags::RST) || !seg.flags.has(Flags::ACK) {
        return None;
    }
    if seg.flags.has(Flags::SYN) {
        return match answer(seg, seg.ack) {
            Answer::Stale(reset) => Some(reset),
            Answer::Accepted(_) | Answer::Refused | Answer::Drop(_) => None,
        };
    }
    let options = seg.options.timestamps.map(|ts| Timestamps { val: ts.ecr, ecr: ts.val });
    let options = ReplyOptions { timestamps: options, ..ReplyOptions::default() };
    let ack =
        Reply { seq: seg.ack, ack: seg.end(), flags: Flags::ACK, options, ..Reply::default() };
    seg.flags.has(Flags::FIN).then_some(Reply { window: 501, ..ack })
}

#[cfg(test)]
mod tests;
