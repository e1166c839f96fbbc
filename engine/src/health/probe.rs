//! One check of one backend: a real handshake, and a request if there is one.
//!
//! The probe is a small TCP client that sends one thing and reads thirteen bytes. It asks for every
//! option there is, so that the SYN-ACK tells what the backend can do. It closes by RST as soon as it knows
//! enough: nothing lingers on either side, however often it is checked. Where nothing is to be said the RST
//! answers the SYN-ACK itself, so that a backend's program never hears of the check.

#![forbid(unsafe_code)]

use usher_proto::tcp::client::{self, Answer, Asked, Learned};
use usher_proto::time::{Now, Tick};
use usher_proto::wire::{Flags, Reply, ReplyOptions, Segment, SeqNum, Timestamps};

use super::script::{Script, Status, StatusLine};

/// The window we announce: more than any status line takes, and a multiple of the scale, so that the right
/// edge never retreats. What is received is taken at once.
const WINDOW: u16 = 16_384;
/// The window scale we announce, as Linux does.
const SCALE: u8 = 7;
/// The least MSS that is believed, as for flows.
const LEAST_MSS: u16 = 88;
/// What the timestamps option takes of a segment, with padding (RFC 7323 appendix A).
const TIMESTAMPS_LEN: u16 = 12;

/// Why a check failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The backend refused the connection.
    Refused,
    /// It reset it later.
    Reset,
    /// It did not answer in time: what the owner of a probe reports that it aborts.
    TimedOut,
    /// It closed the connection or said something that is no HTTP.
    NotHttp,
    /// It answered with this status code.
    Status(u16),
}

/// What a segment or the passing of time leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Step {
    /// What is to be sent to the backend; its payload is of [`Script::bytes`].
    pub reply: Option<Reply>,
    /// How the check ended: the probe is over, and `reply` was its last word.
    pub end: Option<Result<Learned, Failure>>,
}

/// A check that is under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    iss: SeqNum,
    ts_offset: u32,
    mss: u16,
    /// What the SYN-ACK said; `None` in SYN_SENT.
    learned: Option<Learned>,
    rcv_nxt: SeqNum,
    ts_recent: u32,
    /// Bytes of the script that the backend has acknowledged.
    acked: u16,
    line: StatusLine,
    resend_at: Tick,
    resend_every: u32,
}

impl Probe {
    /// A check that begins now, and its SYN. `iss` and `ts_offset` are those of its tuple
    /// ([`usher_proto::cookie::IsnKey::isn`]), `mss` is what we announce. What is not answered is sent again
    /// `resend_every` ms later: a third of the check's timeout lets two frames be lost.
    #[must_use]
    pub fn new(
        iss: SeqNum,
        ts_offset: u32,
        mss: u16,
        resend_every: u32,
        now: &Now,
    ) -> (Self, Reply) {
        let resend_every = resend_every.max(1);
        let probe = Self {
            iss,
            ts_offset,
            mss,
            learned: None,
            rcv_nxt: SeqNum(0),
            ts_recent: 0,
            acked: 0,
            line: StatusLine::default(),
            resend_at: now.tick.after(resend_every),
            resend_every,
        };
        let syn = probe.syn(true, now);
        (probe, syn)
    }

    /// When [`Probe::on_timer`] has something to say.
    #[must_use]
    pub const fn deadline(&self) -> Tick {
        self.resend_at
    }

    /// What is to be sent again at `now`; nothing if it was called early.
    pub fn on_timer(&mut self, script: &Script, now: &Now) -> Option<Reply> {
        if !self.resend_at.is_due(now.tick) {
            return None;
        }
        self.resend_at = now.tick.after(self.resend_every);
        Some(match self.learned {
            Some(_) => self.speak(script, now),
            // RFC 3168 §6.1.1.1: something on the way may drop what asks for ECN
            None => self.syn(false, now),
        })
    }

    /// The last word of a check that is given up, if the backend has a connection.
    #[must_use]
    pub fn abort(&self, now: &Now) -> Option<Reply> {
        self.learned.map(|_| self.reset(now))
    }

    /// Takes a segment of the probe's tuple with its payload.
    pub fn take(&mut self, seg: &Segment, payload: &[u8], script: &Script, now: &Now) -> Step {
        if self.learned.is_none() {
            return self.take_answer(seg, script, now);
        }
        if seg.flags.has(Flags::RST) {
            // RFC 5961 §3.2: only the exact number; this check is not worth a challenge
            let exact = seg.seq == self.rcv_nxt;
            return Step { reply: None, end: exact.then_some(Err(Failure::Reset)) };
        }
        if seg.flags.has(Flags::SYN)
            || !seg.flags.has(Flags::ACK)
            || !self.acknowledged(seg, script)
        {
            // the SYN-ACK again, if our answer was lost
            return Step { reply: Some(self.speak(script, now)), end: None };
        }
        let over = self.receive(seg, payload);
        match self.verdict(script, over) {
            Some(end) => Step { reply: Some(self.reset(now)), end: Some(end) },
            None if !seg.is_empty() || self.is_speaking(script) => {
                Step { reply: Some(self.speak(script, now)), end: None }
            }
            None => Step::default(),
        }
    }

    /// The answer to our SYN.
    fn take_answer(&mut self, seg: &Segment, script: &Script, now: &Now) -> Step {
        let learned = match client::answer(seg, self.iss) {
            Answer::Accepted(learned) => learned,
            Answer::Refused => return Step { reply: None, end: Some(Err(Failure::Refused)) },
            Answer::Stale(reset) => return Step { reply: Some(reset), end: None },
            Answer::Drop(_) => return Step::default(),
        };
        self.learned = Some(learned);
        self.rcv_nxt = seg.seq.add(1);
        self.ts_recent = seg.options.timestamps.map_or(0, |ts| ts.val);
        self.resend_at = now.tick.after(self.resend_every);
        match self.verdict(script, false) {
            Some(end) => Step { reply: Some(self.reset(now)), end: Some(end) },
            None => Step { reply: Some(self.speak(script, now)), end: None },
        }
    }

    /// Takes an acknowledgement; `false` if it is of something never sent.
    fn acknowledged(&mut self, seg: &Segment, script: &Script) -> bool {
        let acked = seg.ack.since(self.iss.add(1));
        let sent = u32::from(self.acked) + self.outstanding(script).len() as u32;
        if acked <= sent {
            self.acked = self.acked.max(acked as u16);
        }
        acked <= sent
    }

    /// Takes data in order; whether the backend has closed.
    fn receive(&mut self, seg: &Segment, payload: &[u8]) -> bool {
        if let Some(ts) = seg.options.timestamps
            && !seg.seq.is_after(self.rcv_nxt)
        {
            self.ts_recent = ts.val; // RFC 7323 §4.3
        }
        let known = self.rcv_nxt.since(seg.seq) as usize;
        if seg.seq.is_after(self.rcv_nxt) || known > payload.len() {
            return false;
        }
        self.line.take(&payload[known..]);
        self.rcv_nxt = self.rcv_nxt.add((payload.len() - known) as u32);
        let fin = seg.flags.has(Flags::FIN);
        if fin {
            self.rcv_nxt = self.rcv_nxt.add(1);
        }
        fin
    }

    /// How the check ends, if it does. `over`: the backend says nothing more.
    fn verdict(&self, script: &Script, over: bool) -> Option<Result<Learned, Failure>> {
        let learned = self.learned?;
        let Some(expects) = &script.expects else {
            return (usize::from(self.acked) == script.says.len()).then_some(Ok(learned));
        };
        match self.line.status(over) {
            Status::More => None,
            Status::Code(code) if expects.contains(&code) => Some(Ok(learned)),
            Status::Code(code) => Some(Err(Failure::Status(code))),
            Status::NotHttp => Some(Err(Failure::NotHttp)),
        }
    }

    fn is_speaking(&self, script: &Script) -> bool {
        usize::from(self.acked) < script.says.len()
    }

    /// What was sent, or is to be sent, and not acknowledged: one segment at a time.
    fn outstanding<'a>(&self, script: &'a Script) -> &'a [u8] {
        let rest = &script.says[usize::from(self.acked)..];
        let mss = self.learned.map_or(0, |learned| learned.mss.min(self.mss));
        let limit = usize::from(mss.max(LEAST_MSS) - TIMESTAMPS_LEN);
        &rest[..rest.len().min(limit)]
    }

    /// An ACK with what is outstanding.
    fn speak(&self, script: &Script, now: &Now) -> Reply {
        let outstanding = self.outstanding(script);
        let flags = if outstanding.is_empty() { Flags::ACK } else { Flags::ACK | Flags::PSH };
        Reply {
            payload_offset: u32::from(self.acked),
            payload_len: outstanding.len() as u16,
            ..self.segment(flags, now)
        }
    }

    fn reset(&self, now: &Now) -> Reply {
        self.segment(Flags::RST | Flags::ACK, now)
    }

    /// A segment without payload, at the number where the backend expects it.
    fn segment(&self, flags: Flags, now: &Now) -> Reply {
        let learned = self.learned.unwrap_or_default();
        let shift = if learned.scale.is_some() { SCALE } else { 0 };
        let val = now.ts_clock.wrapping_add(self.ts_offset);
        let timestamps = learned.timestamps.then_some(Timestamps { val, ecr: self.ts_recent });
        Reply {
            seq: self.iss.add(1 + u32::from(self.acked)),
            ack: self.rcv_nxt,
            flags,
            window: WINDOW >> shift,
            options: ReplyOptions { timestamps, ..ReplyOptions::default() },
            ..Reply::default()
        }
    }

    fn syn(&self, ecn: bool, now: &Now) -> Reply {
        let asked = Asked {
            mss: self.mss,
            window: WINDOW,
            window_scale: Some(SCALE),
            sack: true,
            ts_val: Some(now.ts_clock.wrapping_add(self.ts_offset)),
            ecn,
        };
        client::syn(self.iss, &asked)
    }
}
