//! Every phase against every kind of segment of either half, kept as a snapshot.

use std::fmt::Write as _;
use std::string::String;

use super::super::state::Stream;
use super::*;
use crate::cookie::{IsnKey, Keys, Secret};
use crate::tcp::{Admission, Context, Kind, Terms};
use crate::verdict::{Change, Verdict};

/// The ways to each state; in all but the first and the last, 10 octets are under way up and 20 down.
const STATES: [State; 9] = [
    State::SynSent,
    State::Established,
    State::CloseWait,
    State::FinWait1,
    State::FinWait2,
    State::Closing,
    State::LastAck,
    State::TimeWait,
    State::Closed,
];

fn flow(state: State, fixture: &Fixture) -> Splice {
    if state == State::SynSent {
        return Splice::open(&tcb(), &choice(), &fixture.at(0));
    }
    let mut splice = opened(&full(), &choice(), fixture);
    let fin = Flags::FIN | Flags::ACK;
    let data = [client(Flags::ACK, 0, 0, 10), backend(Flags::ACK, 0, 0, 20)];
    let rest: &[Segment] = &match state {
        State::Established => std::vec![],
        State::CloseWait => std::vec![client(fin, 10, 0, 0)],
        State::FinWait1 => std::vec![backend(fin, 20, 0, 0)],
        State::FinWait2 => std::vec![backend(fin, 20, 0, 0), client(Flags::ACK, 10, 21, 0)],
        State::Closing => std::vec![backend(fin, 20, 0, 0), client(fin, 10, 0, 0)],
        State::LastAck => std::vec![client(fin, 10, 0, 0), backend(fin, 20, 0, 0)],
        State::TimeWait => {
            std::vec![client(fin, 10, 0, 0), backend(fin, 20, 11, 0), client(Flags::ACK, 11, 21, 0)]
        }
        State::Closed => std::vec![client(Flags::RST, 10, 0, 0)],
        State::SynSent | State::SynRcvd => panic!("above, and never"),
    };
    for seg in data.iter().chain(rest) {
        let is_client = seg.options.timestamps.is_some_and(|ts| ts.val == CLIENT_CLOCK);
        let half = if is_client { Half::Client } else { Half::Backend };
        forwarded(splice.pass(half, seg, &fixture.at(5)));
    }
    splice
}

/// Every kind of segment of `half`, as it relates to the flow that it meets.
fn kinds(splice: &Splice, half: Half) -> [(&'static str, Segment); 16] {
    let (own, other) = match half {
        Half::Client => (splice.up, splice.down),
        Half::Backend => (splice.down, splice.up),
    };
    let say = |flags, seq: SeqNum, ack: SeqNum, len| match half {
        Half::Client => Segment { seq, ack, ..client(flags, 0, 0, len) },
        Half::Backend if splice.state() == State::SynSent => {
            backend(flags, u32::MAX, ack.since(other.nxt), len)
        }
        Half::Backend => {
            let (seq, ack) = (seq.sub(splice.down_delta), ack.add(splice.up_delta));
            Segment { seq, ack, ..backend(flags, 0, 0, len) }
        }
    };
    let Stream { nxt, una, edge } = own;
    let (all, ack) = (other.nxt, Flags::ACK);
    let isn = match half {
        Half::Client => splice.irs,
        Half::Backend => splice.iss,
    };
    [
        ("SYN again", say(Flags::SYN, isn, SeqNum(0), 0)),
        ("SYN higher", say(Flags::SYN, nxt.add(1 << 30), SeqNum(0), 0)),
        ("SYN,ACK again", say(Flags::SYN | ack, isn, splice.irs.add(1), 0)),
        ("SYN,ACK alien", say(Flags::SYN | ack, nxt.add(99), all.add(99), 0)),
        ("RST at what was acknowledged", say(Flags::RST, una, SeqNum(0), 0)),
        ("RST behind all", say(Flags::RST | ack, nxt, all, 0)),
        ("RST in window", say(Flags::RST, nxt.add(9), all.add(99), 0)),
        ("RST outside", say(Flags::RST, edge.add(9), all.add(99), 0)),
        ("ACK of all", say(ack, nxt, all, 0)),
        ("ACK of nothing new", say(ack, nxt, other.una, 0)),
        ("ACK of the unsent", say(ack, nxt, all.add(9), 0)),
        ("data in order", say(ack, nxt, all, 7)),
        ("data out of order", say(ack, nxt.add(50), all, 7)),
        ("data beyond the window", say(ack, edge.add(1), all, 7)),
        ("FIN", say(ack | Flags::FIN, nxt, all, 0)),
        ("data without ACK", say(Flags::PSH, nxt, all, 7)),
    ]
}

fn describe(step: &Step, after: &Splice) -> String {
    let mut line = match step.passage {
        Passage::Forward(_) => "forward".into(),
        Passage::Split(_, most) => std::format!("split {most}"),
        Passage::Answer(reply) if reply.limited => std::format!("answer {:?} limited", reply.flags),
        Passage::Answer(reply) => std::format!("answer {:?}", reply.flags),
        Passage::Hold => "hold".into(),
        Passage::Deliver => "deliver".into(),
        Passage::Reopen => "reopen".into(),
        Passage::Drop(reason) => std::format!("drop {}", reason.name()),
    };
    let _ = match step.then {
        Then::Stay => Ok(()),
        Then::Moved | Then::Opened => write!(line, " -> {}", after.state().name()),
        Then::NextTry(why) => write!(line, " -> next try: {why:?}"),
        Then::SynAgain => write!(line, " -> SYN again"),
        Then::Abort(end) => write!(line, " -> RST to both: {}", end.name()),
        Then::End(end) => write!(line, " -> ended: {}", end.name()),
    };
    if let Some(event) = step.event {
        let _ = write!(line, " ({event:?})");
    }
    line
}

#[test]
fn every_phase_meets_every_kind_of_segment() {
    let fixture = Fixture::new();
    let mut table = String::new();
    for state in STATES {
        let splice = flow(state, &fixture);
        assert_eq!(splice.state(), state);
        for half in [Half::Client, Half::Backend] {
            let _ = writeln!(table, "{} {half:?}", state.name());
            for (kind, seg) in kinds(&splice, half) {
                let mut after = splice;
                let step = after.pass(half, &seg, &fixture.at(20));
                let _ = writeln!(table, "  {kind:<29} {}", describe(&step, &after));
            }
        }
    }
    insta::assert_snapshot!(table);
}

/// RFC 9293 §3.5.2: a RST is never answered by one; and what does not move the flow says so.
#[test]
fn resets_draw_no_resets_and_states_move_only_when_said() {
    let fixture = Fixture::new();
    for state in STATES {
        let splice = flow(state, &fixture);
        for half in [Half::Client, Half::Backend] {
            for (kind, seg) in kinds(&splice, half) {
                let mut after = splice;
                let step = after.pass(half, &seg, &fixture.at(20));
                if let (true, Passage::Answer(reply)) = (seg.flags.has(Flags::RST), step.passage) {
                    assert!(!reply.flags.has(Flags::RST), "{kind} of {half:?} in {}", state.name());
                }
                if step.then == Then::Stay {
                    assert_eq!(after.state(), state, "{kind} of {half:?}");
                }
            }
        }
    }
}

/// RFC 6191 §2, and cookies: what may begin where a flow is over; after a RST, who does not believe it is
/// told at its own number (RFC 9293 §3.10.7.1).
#[test]
fn a_client_may_begin_anew_where_its_flow_is_over() {
    let fixture = Fixture::new();
    let secret = Secret::from_bytes([9; 32]);
    let (keys, isn) = (Keys::new(&secret), IsnKey::new(&secret));
    let scx = fixture.at(20);
    let cx = Context {
        now: scx.now,
        policy: &fixture.policy,
        keys: &keys,
        isn: &isn,
        admission: Admission::Stateful,
        check_cookies: true,
        mss: 1460,
        kind: Kind::Proxy,
        offer: Terms::default(),
    };
    let newer = |seg: Segment| {
        let timestamps = Some(Timestamps { val: CLIENT_CLOCK.wrapping_add(50), ecr: 0 });
        Segment { options: Options { timestamps, ..seg.options }, ..seg }
    };
    for (state, flags, seq, is_newer, becomes) in [
        (State::TimeWait, Flags::SYN, 1 << 30, true, Some(State::SynRcvd)),
        (State::TimeWait, Flags::SYN, 0, false, None),
        (State::TimeWait, Flags::ACK, 1 << 30, true, None),
        (State::Closed, Flags::SYN, 1 << 30, false, Some(State::SynRcvd)),
        (State::Closed, Flags::ACK, 10, false, None),
    ] {
        let mut splice = flow(state, &fixture);
        let seg = client(flags, seq, 0, 0);
        let seg = if is_newer { newer(seg) } else { seg };
        assert_eq!(splice.pass(Half::Client, &seg, &scx).passage, Passage::Reopen);
        let mut next = Tcb::default();
        let decision = splice.reopen(&seg, &cx, &scx, &mut next);
        let opens = decision.change == Change::Open;
        assert_eq!(opens.then_some(next.state), becomes, "{} {flags:?}", state.name());
        let Verdict::Answer(reply) = decision.verdict else { panic!("an answer") };
        let expected = match (opens, state) {
            (true, _) => Flags::SYN | Flags::ACK,
            (false, State::Closed) => Flags::RST,
            (false, _) => Flags::ACK,
        };
        assert_eq!(reply.flags, expected);
        if opens && state == State::TimeWait {
            assert!(next.iss.is_after(splice.down.nxt), "RFC 6191: above what was used");
        }
    }
    let issued = keys.issue(
        &client(Flags::SYN, 0, 0, 0).tuple,
        SeqNum(1 << 29),
        &Default::default(),
        &cx.now,
    );
    let third = Segment {
        seq: SeqNum((1 << 29) + 1),
        ack: issued.isn.add(1),
        options: Options::default(),
        ..client(Flags::ACK, 0, 0, 0)
    };
    for state in [State::TimeWait, State::Closed] {
        let mut splice = flow(state, &fixture);
        assert_eq!(splice.pass(Half::Client, &third, &scx).passage, Passage::Reopen);
        let mut next = Tcb::default();
        let decision = splice.reopen(&third, &cx, &scx, &mut next);
        assert_eq!((decision.verdict, decision.change), (Verdict::Connect, Change::Open));
        assert_eq!((next.state, next.irs), (State::Established, SeqNum(1 << 29)));
    }
}
