//! Which flags mean what to a service, to a port without one, and to a flow (RFC 9293 §3.10.7).

use super::*;
use crate::verdict::{End, Reason};
use crate::wire::Reply;

const NONE: Flags = Flags(0);

/// Policies that answer where they may.
fn talkative() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.policy.invalid_ack = Refusal::Reset;
    fixture
}

fn stray(flags: Flags) -> Segment {
    data(segment(flags, SeqNum(IRS), SeqNum(77)), 5)
}

fn answer(decision: Decision) -> Option<Reply> {
    match decision.verdict {
        Verdict::Answer(reply) => Some(reply),
        Verdict::Deliver
        | Verdict::Connect
        | Verdict::Hold
        | Verdict::Reflect
        | Verdict::Drop(_) => None,
    }
}

/// RFC 9293 §3.10.7.1: whatever is no RST draws one, with the numbers that its sender can check.
#[test]
fn a_port_without_service_resets_everything_but_resets() {
    let fixture = talkative();
    for flags in (0..=u8::MAX).map(Flags) {
        let seg = stray(flags);
        let reply = answer(refuse(&seg, &fixture.at(0)));
        let expected = if flags.has(Flags::RST) {
            None
        } else if flags.has(Flags::ACK) {
            Some((Flags::RST, SeqNum(77), SeqNum(0)))
        } else {
            let (syn, fin) = (flags.has(Flags::SYN), flags.has(Flags::FIN));
            let end = IRS + 5 + u32::from(syn) + u32::from(fin);
            Some((Flags::RST | Flags::ACK, SeqNum(0), SeqNum(end)))
        };
        assert_eq!(reply.map(|r| (r.flags, r.seq, r.ack)), expected, "{flags:?}");
        assert!(reply.is_none_or(|r| r.limited && r.window == 0 && r.payload_len == 0));
    }
}

#[test]
fn a_port_without_service_may_be_silent() {
    let mut fixture = talkative();
    fixture.policy.unknown_port = Refusal::Drop;
    for flags in (0..=u8::MAX).map(Flags) {
        let silence =
            if flags.has(Flags::RST) { Reason::ResetUnwanted } else { Reason::UnknownPort };
        assert_eq!(refuse(&stray(flags), &fixture.at(0)).verdict, Verdict::Drop(silence));
    }
}

/// RFC 9293 §3.10.7.2: RST, then ACK, then SYN; the rest is dropped, and SYN with FIN by policy.
#[test]
fn a_service_looks_at_rst_ack_and_syn_in_this_order() {
    let fixture = talkative();
    for flags in (0..=u8::MAX).map(Flags) {
        let decision = listen(&stray(flags), &fixture.at(0));
        let control = flags.only(Flags::SYN | Flags::ACK | Flags::RST | Flags::FIN);
        let what = std::format!("{flags:?}: {decision:?}");
        if flags.has(Flags::RST) {
            assert_eq!(decision.verdict, Verdict::Drop(Reason::ResetUnwanted), "{what}");
        } else if flags.has(Flags::ACK) {
            let reply = answer(decision).expect("a RST");
            assert_eq!((reply.flags, reply.seq), (Flags::RST, SeqNum(77)), "{what}");
        } else if control == Flags::SYN {
            let reply = answer(decision).expect("a SYN-ACK");
            assert!(reply.flags.has(Flags::SYN | Flags::ACK), "{what}");
            assert_eq!(reply.ack, SeqNum(IRS + 1), "data on a SYN is not acknowledged");
        } else {
            assert_eq!(decision.verdict, Verdict::Drop(Reason::BadFlags), "{what}");
        }
        let opened = decision.change == Change::Open;
        assert_eq!(opened, control == Flags::SYN, "{what}");
    }
}

/// A SYN-ACK is a stray, as we never send a SYN to a client.
#[test]
fn simultaneous_open_is_refused() {
    let mut fixture = talkative();
    let syn_ack = stray(Flags::SYN | Flags::ACK);
    let reply = answer(listen(&syn_ack, &fixture.at(0))).expect("a RST");
    assert_eq!((reply.flags, reply.seq), (Flags::RST, SeqNum(77)));
    fixture.policy.invalid_ack = Refusal::Drop;
    let silence = Verdict::Drop(Reason::SimultaneousOpen);
    assert_eq!(listen(&syn_ack, &fixture.at(0)).verdict, silence);
}

/// RFC 9293 §3.10.7.4, RFC 5961 §3.2: a RST resets, and only a RST is as quiet, whatever stands beside it.
#[test]
fn a_reset_is_a_reset_whatever_stands_beside_it() {
    let fixture = Fixture::new();
    for state in OWN {
        let tcb = flow(state, &fixture);
        for more in [NONE, Flags::ACK, Flags::SYN, Flags::FIN, Flags::SYN | Flags::FIN, Flags(0xfb)]
        {
            let rst = segment(Flags::RST | more, tcb.rcv_nxt, tcb.snd_max);
            let decision = decide(&tcb, &rst, &fixture.at(20));
            assert_eq!(answer(decision), None, "{} {more:?}", state.name());
            let ends = match state {
                State::Closed | State::SynSent | State::TimeWait => None,
                State::SynRcvd => Some(Change::End(End::HandshakeReset)),
                State::Established
                | State::FinWait1
                | State::FinWait2
                | State::CloseWait
                | State::Closing
                | State::LastAck => Some(Change::End(End::ClosedByReset)),
            };
            assert_eq!(decision.change, ends.unwrap_or(Change::Keep), "{} {more:?}", state.name());
        }
    }
}

/// RFC 5961 §4.2: a SYN is challenged whatever its number and its other flags, and taken for nothing else.
#[test]
fn a_syn_in_a_synchronised_state_is_challenged() {
    let fixture = Fixture::new();
    let synchronised = [State::Established, State::FinWait1, State::FinWait2, State::CloseWait];
    for state in synchronised.into_iter().chain([State::Closing, State::LastAck]) {
        let tcb = flow(state, &fixture);
        for more in [NONE, Flags::ACK, Flags::FIN, Flags::ACK | Flags::FIN | Flags::PSH] {
            for seq in [tcb.irs, tcb.rcv_nxt, tcb.rcv_nxt.add(1 << 30)] {
                let syn = data(segment(Flags::SYN | more, seq, tcb.snd_max), 5);
                let decision = decide(&tcb, &syn, &fixture.at(20));
                let reply = answer(decision).expect("a challenge ACK");
                assert_eq!((reply.flags, reply.ack), (Flags::ACK, tcb.rcv_nxt));
                assert!(reply.limited && decision.change == Change::Keep);
            }
        }
    }
}

/// RFC 9293 §3.10.7.4: without ACK nothing is taken; out of the window it is acknowledged, as anything is.
#[test]
fn without_ack_nothing_is_taken() {
    let fixture = Fixture::new();
    for state in OWN {
        let tcb = flow(state, &fixture);
        for flags in [NONE, Flags::FIN, Flags::PSH | Flags::URG] {
            let mute = data(segment(flags, tcb.rcv_nxt, tcb.snd_max), 5);
            let decision = decide(&tcb, &mute, &fixture.at(20));
            assert_eq!(decision.verdict, Verdict::Drop(Reason::BadFlags), "{}", state.name());
            assert_eq!(decision.change, Change::Keep);
        }
    }
    let tcb = flow(State::Established, &fixture);
    let probe = data(segment(NONE, tcb.rcv_nxt.sub(1), tcb.snd_max), 1);
    let decision = decide(&tcb, &probe, &fixture.at(20));
    let reply = answer(decision).expect("an ACK");
    assert!(reply.limited && decision.change == Change::Keep, "no keepalive probe without ACK");
}
