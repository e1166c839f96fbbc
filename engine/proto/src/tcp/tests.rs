//! The transition table: every state against every kind of segment, kept as a snapshot, so that a new
//! transition is always a visible difference. Below it, what single rules ask of single segments.

mod flags;
mod handshake;
mod owned;
mod streams;
mod teardown;
mod transfer;
mod waiting;

use std::cell::Cell;
use std::fmt::Write as _;
use std::string::String;
use std::vec::Vec;

use super::*;
use crate::cookie::Secret;
use crate::verdict::{Change, Decision, Event, Verdict};
use crate::wire::{Addr, Flags, Options, Reply, Segment, SeqNum, Timestamps, Tuple};

/// The states of a flow of our own.
const OWN: [State; 9] = [
    State::Closed,
    State::SynRcvd,
    State::Established,
    State::FinWait1,
    State::FinWait2,
    State::CloseWait,
    State::Closing,
    State::LastAck,
    State::TimeWait,
];
const ANSWER: u32 = 100;
const IRS: u32 = 1000;

struct Fixture {
    policy: Policy,
    keys: Keys,
    isn: IsnKey,
    admission: Admission,
    answer_len: u32,
    /// How far a consumer has come, where it is one's flow.
    source: Cell<Option<Source>>,
}

impl Fixture {
    fn new() -> Self {
        let secret = Secret::from_bytes([9; 32]);
        Self {
            policy: Policy::default(),
            keys: Keys::new(&secret),
            isn: IsnKey::new(&secret),
            admission: Admission::Stateful,
            answer_len: ANSWER,
            source: Cell::new(None),
        }
    }

    fn at(&self, ms: u64) -> Context<'_> {
        let answer = Kind::Respond { answer_len: self.answer_len };
        Context {
            now: Now::new(ms * 1000, 64_000 * 1000 + ms),
            policy: &self.policy,
            keys: &self.keys,
            isn: &self.isn,
            admission: self.admission,
            check_cookies: true,
            mss: 1460,
            kind: self.source.get().map_or(answer, Kind::Owned),
            offer: Terms::default(),
        }
    }
}

fn segment(flags: Flags, seq: SeqNum, ack: SeqNum) -> Segment {
    let tuple = Tuple {
        remote: Addr::v4([10, 0, 0, 1]),
        local: Addr::v4([10, 0, 0, 2]),
        remote_port: 4000,
        local_port: 80,
        ..Tuple::default()
    };
    Segment { tuple, seq, ack, flags, window: 65_000, ..Segment::default() }
}

fn data(seg: Segment, payload_len: u16) -> Segment {
    Segment { payload_len, ..seg }
}

/// What is decided about a segment that meets `tcb`, and the state after it.
fn meet(tcb: &Tcb, seg: &Segment, cx: &Context<'_>) -> (Decision, Tcb) {
    let mut next = *tcb;
    let decision = next.decide(seg, cx);
    assert!(decision.change != Change::Keep || next == *tcb, "what is kept is not written to");
    (decision, next)
}

/// The decision alone.
fn decide(tcb: &Tcb, seg: &Segment, cx: &Context<'_>) -> Decision {
    meet(tcb, seg, cx).0
}

/// What is decided about a segment without a flow, and what it opens.
fn arrive(seg: &Segment, cx: &Context<'_>) -> (Decision, Tcb) {
    let mut flow = Tcb::default();
    let decision = super::listen(seg, cx, &mut flow);
    assert!(decision.change != Change::Keep || flow == Tcb::default());
    (decision, flow)
}

/// The decision alone.
fn listen(seg: &Segment, cx: &Context<'_>) -> Decision {
    arrive(seg, cx).0
}

/// The flow after `seg`.
fn step(tcb: &Tcb, seg: &Segment, cx: &Context<'_>) -> Tcb {
    let (decision, next) = meet(tcb, seg, cx);
    match decision.change {
        Change::Open | Change::Update => next,
        Change::Keep | Change::End(_) => *tcb,
    }
}

/// A flow in `state`, brought there by segments alone.
fn flow(state: State, fixture: &Fixture) -> Tcb {
    let cx = fixture.at(10);
    let (opened, half_open) = arrive(&segment(Flags::SYN, SeqNum(IRS), SeqNum(0)), &cx);
    assert_eq!(opened.change, Change::Open);
    let una = half_open.iss.add(1);
    let ack = |seq: u32, ack| segment(Flags::ACK, SeqNum(IRS + 1 + seq), ack);
    let fin = |seq: u32, ack| segment(Flags::ACK | Flags::FIN, SeqNum(IRS + 1 + seq), ack);
    let established = step(&half_open, &ack(0, una), &cx);
    let answered = step(&established, &data(ack(0, una), 5), &cx);
    let after_fin = una.add(ANSWER + 1);
    match state {
        State::Closed => Tcb { state: State::Closed, ..established },
        State::SynSent => panic!("only a proxied flow is in SYN_SENT"),
        State::SynRcvd => half_open,
        State::Established => established,
        State::FinWait1 => answered,
        State::FinWait2 => step(&answered, &ack(5, after_fin), &cx),
        State::CloseWait => {
            // The answer does not fit the window: the client's FIN overtakes ours.
            let shut = Segment { window: 10, ..data(fin(0, una), 5) };
            step(&established, &shut, &cx)
        }
        State::Closing => step(&answered, &fin(5, una), &cx),
        State::LastAck => step(&established, &fin(0, una), &cx),
        State::TimeWait => step(&answered, &fin(5, after_fin), &cx),
    }
}

/// A flow as its peer sees it: what is said to it at a time, and what it says.
struct Talk<'f> {
    fixture: &'f Fixture,
    tcb: Tcb,
    ms: u64,
}

impl<'f> Talk<'f> {
    /// A flow that `syn` opened, and the SYN-ACK.
    fn half_open(fixture: &'f Fixture, syn: &Segment) -> (Self, Reply) {
        let (decision, tcb) = arrive(syn, &fixture.at(0));
        let (Change::Open, Verdict::Answer(reply)) = (decision.change, decision.verdict) else {
            panic!("a SYN opens: {decision:?}");
        };
        (Self { fixture, tcb, ms: 0 }, reply)
    }

    /// An established flow of a client with these options, without a request.
    fn established(fixture: &'f Fixture, options: Options) -> Self {
        let (mut talk, _) = Self::half_open(fixture, &Segment { options, ..syn() });
        let third = talk.ack(0);
        assert!(talk.hear(&third).is_empty());
        assert_eq!(talk.tcb.state, State::Established);
        talk
    }

    /// The next segment of a peer that has received `octets` of the answer; its timestamp is the time.
    fn ack(&self, octets: u32) -> Segment {
        let seg = segment(Flags::ACK, self.tcb.rcv_nxt, self.tcb.iss.add(1).add(octets));
        let ecr = self.fixture.at(self.ms).now.ts_clock.wrapping_add(self.tcb.ts_offset);
        let stamps = Timestamps { val: 500 + self.ms as u32, ecr };
        let timestamps = self.tcb.traits.has(Traits::TIMESTAMPS).then_some(stamps);
        Segment { options: Options { timestamps, ..Options::default() }, ..seg }
    }

    /// What `seg` draws, at once and released by it.
    fn hear(&mut self, seg: &Segment) -> Vec<Reply> {
        let (decision, next) = meet(&self.tcb, seg, &self.fixture.at(self.ms));
        let said = match decision.verdict {
            Verdict::Answer(reply) => Some(reply),
            Verdict::Deliver
            | Verdict::Connect
            | Verdict::Hold
            | Verdict::Reflect
            | Verdict::Drop(_) => None,
        };
        self.become_of(decision.change, next);
        said.into_iter().chain(self.say()).collect()
    }

    /// What is said within `ms` milliseconds, each with the time since the beginning.
    fn wait(&mut self, ms: u64) -> Vec<(u64, Reply)> {
        let mut said = Vec::new();
        for _ in 0..ms {
            self.ms += 1;
            let mut next = self.tcb;
            let (reply, change, _) = next.on_timer(&self.fixture.at(self.ms));
            self.become_of(change, next);
            said.extend(reply.into_iter().chain(self.say()).map(|reply| (self.ms, reply)));
        }
        said
    }

    fn say(&mut self) -> Vec<Reply> {
        let cx = self.fixture.at(self.ms);
        let mut said = Vec::new();
        loop {
            let promised = self.tcb.has_segment(&cx);
            let reply = self.tcb.next_segment(&cx);
            assert_eq!(reply.is_some(), promised);
            let Some(reply) = reply else { return said };
            said.push(reply);
        }
    }

    fn become_of(&mut self, change: Change, next: Tcb) {
        match change {
            Change::Keep => assert_eq!(self.tcb, next),
            Change::Open | Change::Update => self.tcb = next,
            Change::End(_) => self.tcb = Tcb::default(),
        }
    }
}

fn syn() -> Segment {
    segment(Flags::SYN, SeqNum(IRS), SeqNum(0))
}

/// What Linux offers, with the clock of [`Talk::ack`] at 0.
fn linux() -> Options {
    Options {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some(Timestamps { val: 500, ecr: 0 }),
    }
}

/// Every kind of segment, as it relates to the flow that it meets.
fn kinds(tcb: &Tcb) -> [(&'static str, Segment); 17] {
    let (nxt, una, max) = (tcb.rcv_nxt, tcb.snd_una, tcb.snd_max);
    let ack = segment(Flags::ACK, nxt, max);
    [
        ("SYN again", segment(Flags::SYN, tcb.irs, SeqNum(0))),
        ("SYN higher", segment(Flags::SYN, nxt.add(100), SeqNum(0))),
        ("SYN far off", segment(Flags::SYN, nxt.add(1 << 30), SeqNum(0))),
        ("SYN,ACK", segment(Flags::SYN | Flags::ACK, nxt, max)),
        ("SYN,FIN higher", segment(Flags::SYN | Flags::FIN, nxt.add(100), SeqNum(0))),
        ("SYN,RST exact", segment(Flags::SYN | Flags::RST, nxt, SeqNum(0))),
        ("RST exact", segment(Flags::RST, nxt, SeqNum(0))),
        ("RST in window", segment(Flags::RST, nxt.add(9), SeqNum(0))),
        ("RST outside", segment(Flags::RST, nxt.sub(9), SeqNum(0))),
        ("ACK of all", ack),
        ("ACK of nothing new", segment(Flags::ACK, nxt, una)),
        ("ACK of the unsent", segment(Flags::ACK, nxt, max.add(9))),
        ("data in order", data(ack, 7)),
        ("data out of order", data(segment(Flags::ACK, nxt.add(50), max), 7)),
        ("FIN", segment(Flags::ACK | Flags::FIN, nxt, max)),
        ("FIN without ACK", segment(Flags::FIN, nxt, max)),
        ("no flags", segment(Flags::default(), nxt, max)),
    ]
}

/// The decision, and the state after it.
fn describe(decision: &Decision, next: &Tcb) -> String {
    let mut line = match decision.verdict {
        Verdict::Answer(reply) if reply.limited => std::format!("{:?} limited", reply.flags),
        Verdict::Answer(reply) if reply.payload_len > 0 => {
            std::format!("{:?} +{}", reply.flags, reply.payload_len)
        }
        Verdict::Answer(reply) => std::format!("{:?}", reply.flags),
        Verdict::Deliver => "deliver".into(),
        Verdict::Connect => "connect".into(),
        Verdict::Hold => "hold".into(),
        Verdict::Reflect => "reflect".into(),
        Verdict::Drop(reason) => std::format!("drop {}", reason.name()),
    };
    let _ = match decision.change {
        Change::Keep => Ok(()),
        Change::Open => write!(line, " -> new {}", next.state.name()),
        Change::Update => write!(line, " -> {}", next.state.name()),
        Change::End(end) => write!(line, " -> ended {}", end.name()),
    };
    line
}

#[test]
fn every_state_meets_every_kind_of_segment() {
    let fixture = Fixture::new();
    let mut table = String::new();
    for state in OWN {
        let tcb = flow(state, &fixture);
        assert_eq!(tcb.state, state);
        let _ = writeln!(table, "{}", state.name());
        for (kind, seg) in kinds(&tcb) {
            let (decision, next) = meet(&tcb, &seg, &fixture.at(20));
            let _ = writeln!(table, "  {kind:<20} {}", describe(&decision, &next));
        }
    }
    insta::assert_snapshot!(table);
}

/// What every decision keeps, whatever comes: no RST is answered, nothing shrinks what was acknowledged.
#[test]
fn no_reset_is_answered_by_a_reset() {
    let fixture = Fixture::new();
    for state in OWN {
        let tcb = flow(state, &fixture);
        for (kind, seg) in kinds(&tcb) {
            let verdict = decide(&tcb, &seg, &fixture.at(20)).verdict;
            if let (true, Verdict::Answer(reply)) = (seg.flags.has(Flags::RST), verdict) {
                assert!(!reply.flags.has(Flags::RST), "{kind} in {}", state.name());
            }
        }
    }
}

/// What a proxy's handshakes need of a fixture: a service that agrees to less than clients ask for.
fn proxy(fixture: &Fixture) -> Context<'_> {
    let offer = Terms { mss: 1400, sack: false, timestamps: true, ecn: false, window: 20_000 };
    Context { kind: Kind::Proxy, offer, ..fixture.at(10) }
}

fn full_syn() -> Segment {
    let options = Options {
        mss: Some(1440),
        window_scale: Some(9),
        sack_permitted: true,
        timestamps: Some(Timestamps { val: 77, ecr: 0 }),
    };
    let flags = Flags::SYN | Flags::ECE | Flags::CWR;
    Segment { options, ..segment(flags, SeqNum(IRS), SeqNum(0)) }
}

/// The third ACK to a SYN-ACK, with a request in it.
fn third_ack(syn_ack: &Reply) -> Segment {
    let echo = syn_ack.options.timestamps.map(|ts| Timestamps { val: 80, ecr: ts.val });
    let options = Options { timestamps: echo, ..Options::default() };
    Segment { options, ..data(segment(Flags::ACK, SeqNum(IRS + 1), syn_ack.seq.add(1)), 5) }
}

/// RFC 7323 §2.2: the window of a SYN-ACK is not scaled; what the backends do not offer is not agreed to, and
/// the cookie proves no more than what was.
#[test]
fn a_proxy_offers_what_its_backends_do_and_takes_nothing() {
    let fixture = Fixture::new();
    for admission in [Admission::Stateful, Admission::Cookie] {
        let cx = Context { admission, ..proxy(&fixture) };
        let (asked, half_open) = arrive(&full_syn(), &cx);
        let Verdict::Answer(syn_ack) = asked.verdict else { panic!("a SYN is answered") };
        assert_eq!((syn_ack.window, syn_ack.options.mss), (20_000, Some(1400)));
        assert_eq!(
            (syn_ack.options.window_scale, syn_ack.options.sack_permitted),
            (Some(7), false)
        );
        assert_eq!(syn_ack.flags, Flags::SYN | Flags::ACK, "no ECN");

        let seg = third_ack(&syn_ack);
        let cx = Context { now: Now::new(60_000, 64_000 * 1000 + 60), ..cx };
        let (answered, tcb) = match asked.change {
            Change::Open => meet(&half_open, &seg, &cx),
            _ => arrive(&seg, &cx),
        };
        assert_eq!(answered.verdict, Verdict::Connect);
        assert!(matches!(answered.change, Change::Open | Change::Update));
        assert_eq!((tcb.state, tcb.rcv_nxt), (State::Established, SeqNum(IRS + 1)));
        assert_eq!((tcb.snd_una, tcb.snd_shift, tcb.mss), (syn_ack.seq.add(1), 9, 1428));
        let agreed = [Traits::TIMESTAMPS, Traits::SCALED, Traits::SACK, Traits::ECN];
        assert_eq!(agreed.map(|bit| tcb.traits.has(bit)), [true, true, false, false]);
        let echoed = cx.now.ts_clock.wrapping_add(tcb.ts_offset);
        assert_eq!(Some(echoed), seg.options.timestamps.map(|ts| ts.ecr));
        assert!(matches!(answered.event, Some(Event::Established { .. })));
    }
}
