//! Probes against backends that are played by hand.

use std::net::SocketAddr;

use proptest::prelude::*;
use usher_proto::tcp::client::Learned;
use usher_proto::time::Now;
use usher_proto::wire::{Addr, Flags, Options, Reply, Segment, SeqNum, Timestamps, Tuple};

use super::{Failure, Probe, Script, Step};
use crate::config::Check;

const ISS: SeqNum = SeqNum(u32::MAX - 1);
const IRS: SeqNum = SeqNum(u32::MAX - 5);
const RESEND: u32 = 100;

/// `ms` after the start.
fn at(ms: u64) -> Now {
    Now::new(ms * 1000, 1_700_000_000_000 + ms)
}

/// A probe, what it asks, and the backend's next number.
struct Play {
    probe: Probe,
    script: Script,
    syn: Reply,
    nxt: SeqNum,
}

impl Play {
    fn new(check: &Check, header: &[u8]) -> Self {
        let script = Script::new(check, SocketAddr::from(([10, 20, 0, 3], 80)), header);
        let (probe, syn) = Probe::new(ISS, 9, 1460, RESEND, &at(0));
        Self { probe, script, syn, nxt: IRS }
    }

    fn tcp() -> Self {
        Self::new(&Check::Tcp, b"")
    }

    fn http() -> Self {
        Self::new(&Check::Http { path: "/up".into(), expect: 200..=299 }, b"")
    }

    /// A segment of the backend at its next number, which acknowledges `acked` bytes.
    fn segment(&self, flags: Flags, acked: u32) -> Segment {
        let timestamps = Some(Timestamps { val: 77, ecr: 0 });
        Segment {
            tuple: Tuple { remote: Addr::v4([10, 20, 0, 3]), ..Tuple::default() },
            seq: self.nxt,
            ack: ISS.add(1 + acked),
            flags,
            window: 5000,
            options: Options { timestamps, ..Options::default() },
            ..Segment::default()
        }
    }

    fn take(&mut self, seg: &Segment, payload: &[u8]) -> Step {
        let seg = Segment { payload_len: payload.len() as u16, ..*seg };
        self.probe.take(&seg, payload, &self.script, &at(10))
    }

    fn syn_ack(&self) -> Segment {
        let options = Options {
            mss: Some(1400),
            window_scale: Some(9),
            sack_permitted: true,
            timestamps: Some(Timestamps { val: 76, ecr: 0 }),
        };
        Segment { options, ..self.segment(Flags::SYN | Flags::ACK | Flags::ECE, 0) }
    }

    /// The handshake, and what the probe says then.
    fn open(&mut self) -> Reply {
        let step = self.take(&self.syn_ack(), b"");
        assert_eq!(step.end, None);
        self.nxt = IRS.add(1);
        step.reply.expect("the third ACK")
    }

    /// Data of the backend, which has got the whole request.
    fn data(&mut self, payload: &[u8]) -> Step {
        let seg = self.segment(Flags::ACK | Flags::PSH, self.script.bytes().len() as u32);
        self.nxt = self.nxt.add(payload.len() as u32);
        self.take(&seg, payload)
    }
}

const LEARNED: Learned =
    Learned { mss: 1400, scale: Some(9), sack: true, timestamps: true, ecn: true, window: 5000 };

#[test]
fn a_handshake_tells_what_a_backend_can_do() {
    let mut play = Play::tcp();
    let options = play.syn.options;
    assert_eq!((play.syn.seq, play.syn.flags), (ISS, Flags::SYN | Flags::ECE | Flags::CWR));
    assert_eq!((options.mss, options.sack_permitted), (Some(1460), true));
    assert!(options.window_scale.is_some() && options.timestamps.is_some());
    let step = play.take(&play.syn_ack(), b"");
    assert_eq!(step.end, Some(Ok(LEARNED)));
    let last = step.reply.unwrap();
    assert_eq!((last.flags, last.seq, last.ack), (Flags::RST | Flags::ACK, ISS.add(1), IRS.add(1)));
    assert_eq!(last.options.timestamps.unwrap().ecr, 76);
}

/// A backend without any option: no timestamps in what follows, and windows as they are.
#[test]
fn a_plain_backend_is_spoken_to_plainly() {
    let mut play = Play::http();
    let plain = Segment { options: Options::default(), ..play.segment(Flags::SYN | Flags::ACK, 0) };
    let reply = play.take(&plain, b"").reply.unwrap();
    assert_eq!((reply.options.timestamps, reply.window), (None, play.syn.window));
    play.nxt = IRS.add(1);
    let end = play.data(b"HTTP/1.1 200 OK\r\n").end;
    let learned =
        Learned { mss: 536, scale: None, sack: false, timestamps: false, ecn: false, window: 5000 };
    assert_eq!(end, Some(Ok(learned)));
}

#[test]
fn a_refusal_fails() {
    let mut play = Play::tcp();
    let foreign = Segment { ack: ISS, ..play.segment(Flags::RST | Flags::ACK, 0) };
    assert_eq!(play.take(&foreign, b""), Step::default());
    let refusal = play.segment(Flags::RST | Flags::ACK, 0);
    assert_eq!(play.take(&refusal, b""), Step { reply: None, end: Some(Err(Failure::Refused)) });
}

/// A backend that remembers an earlier check of these ports is told, and answers the next SYN.
#[test]
fn an_old_connection_is_reset() {
    let mut play = Play::tcp();
    let old = play.segment(Flags::ACK, 5000);
    let step = play.take(&old, b"");
    let reset = step.reply.unwrap();
    assert_eq!((reset.flags, reset.seq, step.end), (Flags::RST, old.ack, None));
    assert!(play.take(&play.syn_ack(), b"").end.is_some());
}

#[test]
fn what_is_not_answered_is_sent_again() {
    let mut play = Play::http();
    assert_eq!(play.probe.deadline(), at(100).tick);
    assert_eq!(play.probe.on_timer(&play.script, &at(99)), None);
    let again = play.probe.on_timer(&play.script, &at(100)).unwrap();
    assert_eq!((again.seq, again.flags), (ISS, Flags::SYN), "without ECN");
    assert_eq!(play.probe.on_timer(&play.script, &at(101)), None);
    let request = play.open();
    let again = play.probe.on_timer(&play.script, &at(200)).unwrap();
    assert_eq!((again.seq, again.payload_len), (request.seq, request.payload_len));
    // the backend has not heard of the third ACK
    let syn_ack = Segment { seq: IRS, ..play.syn_ack() };
    let again = play.take(&syn_ack, b"").reply.unwrap();
    assert_eq!((again.seq, again.payload_len), (request.seq, request.payload_len));
}

#[test]
fn a_header_is_enough_for_a_tcp_check() {
    let mut play = Play::new(&Check::Tcp, b"PROXY HEADER");
    let header = play.open();
    assert_eq!((header.seq, header.payload_offset, header.payload_len), (ISS.add(1), 0, 12));
    assert!(header.flags.has(Flags::ACK | Flags::PSH));
    let part = play.segment(Flags::ACK, 5);
    let rest = play.take(&part, b"").reply.unwrap();
    assert_eq!((rest.seq, rest.payload_offset, rest.payload_len), (ISS.add(6), 5, 7));
    let late = play.segment(Flags::ACK, 2);
    let rest = play.take(&late, b"").reply.unwrap();
    assert_eq!((rest.seq, rest.payload_offset), (ISS.add(6), 5), "an ACK that was overtaken");
    let step = play.take(&play.segment(Flags::ACK, 12), b"");
    assert_eq!((step.end, step.reply.unwrap().seq), (Some(Ok(LEARNED)), ISS.add(13)));
}

#[test]
fn a_status_line_decides() {
    for (pieces, end) in [
        (&["HTTP/1.1 204 No Content\r\n\r\n"][..], Ok(LEARNED)),
        (&["HTT", "P/1.1 2", "00 OK\r\n"], Ok(LEARNED)),
        (&["HTTP/1.1 503 Busy\r\n"], Err(Failure::Status(503))),
        (&["220 mail.example ESMTP\r\n"], Err(Failure::NotHttp)),
    ] {
        let mut play = Play::http();
        let request = play.open();
        assert_eq!(usize::from(request.payload_len), play.script.bytes().len());
        assert_eq!(request.window, play.syn.window >> play.syn.options.window_scale.unwrap());
        let (last, first) = pieces.split_last().unwrap();
        for piece in first {
            let step = play.data(piece.as_bytes());
            assert_eq!((step.reply.unwrap().ack, step.end), (play.nxt, None));
        }
        let step = play.data(last.as_bytes());
        assert_eq!(step.end, Some(end), "{pieces:?}");
        let reset = step.reply.unwrap();
        assert_eq!((reset.flags, reset.ack), (Flags::RST | Flags::ACK, play.nxt));
    }
}

#[test]
fn data_counts_in_order_and_once() {
    let mut play = Play::http();
    play.open();
    let line = b"HTTP/1.1 200 OK\r\n";
    let all = play.script.bytes().len() as u32;
    let later = Segment { seq: play.nxt.add(6), ..play.segment(Flags::ACK, all) };
    let step = play.take(&later, &line[6..]);
    let reply = step.reply.unwrap();
    assert_eq!((reply.ack, step.end), (play.nxt, None), "a gap");
    assert_eq!(reply.options.timestamps.unwrap().ecr, 76, "RFC 7323 §4.3: not of what is ahead");
    let first = play.segment(Flags::ACK, all);
    play.data(&line[..6]);
    let step = play.take(&first, &line[..6]);
    assert_eq!((step.reply.unwrap().ack, step.end), (play.nxt, None), "again");
    let overlapping = Segment { seq: first.seq, ..play.segment(Flags::ACK, all) };
    assert_eq!(play.take(&overlapping, line).end, Some(Ok(LEARNED)));
}

#[test]
fn a_backend_that_hangs_up_fails() {
    let mut play = Play::http();
    play.open();
    let fin = play.segment(Flags::ACK | Flags::FIN, 0);
    assert_eq!(play.take(&fin, b"").end, Some(Err(Failure::NotHttp)));
    let mut play = Play::http();
    play.open();
    let near = Segment { seq: play.nxt.add(1), ..play.segment(Flags::RST, 0) };
    assert_eq!(play.take(&near, b""), Step::default());
    let exact = play.segment(Flags::RST, 0);
    assert_eq!(play.take(&exact, b"").end, Some(Err(Failure::Reset)));
}

#[test]
fn a_long_request_goes_in_pieces() {
    let path = format!("/{}", "x".repeat(254));
    let mut play = Play::new(&Check::Http { path: path.into(), expect: 200..=200 }, b"");
    let syn_ack = play.syn_ack();
    let small = Segment { options: Options { mss: Some(100), ..syn_ack.options }, ..syn_ack };
    let mut reply = play.take(&small, b"").reply.unwrap();
    play.nxt = IRS.add(1);
    let mut said = Vec::new();
    while reply.payload_len > 0 {
        assert!(reply.payload_len <= 88);
        let (offset, len) = (reply.payload_offset as usize, usize::from(reply.payload_len));
        assert_eq!(offset, said.len());
        said.extend_from_slice(&play.script.bytes()[offset..offset + len]);
        let ack = play.segment(Flags::ACK, said.len() as u32);
        reply = match play.take(&ack, b"").reply {
            Some(reply) => reply,
            None => break,
        };
    }
    assert_eq!(said, play.script.bytes());
}

#[test]
fn a_check_that_is_given_up_leaves_nothing() {
    let mut play = Play::http();
    assert_eq!(play.probe.abort(&at(5)), None);
    let request = play.open();
    let reset = play.probe.abort(&at(500)).unwrap();
    assert_eq!((reset.flags, reset.seq), (Flags::RST | Flags::ACK, request.seq));
}

proptest! {
    /// Whatever a backend sends: what the probe says is of its script and in order, and it ends once.
    #[test]
    fn no_backend_confuses_a_probe(
        segments in prop::collection::vec(
            (any::<u8>(), -40..40_i32, -40..600_i32, prop::collection::vec(any::<u8>(), 0..30), any::<bool>()),
            1..60,
        ),
    ) {
        let mut play = Play::http();
        for (flags, seq, ack, payload, http) in segments {
            let payload = if http { b"HTTP/1.1 200 OK"[..payload.len().min(15)].to_vec() } else { payload };
            let seg = Segment {
                seq: IRS.add(seq as u32),
                ack: ISS.add(ack as u32),
                flags: Flags(flags),
                ..play.syn_ack()
            };
            let step = play.take(&seg, &payload);
            if let Some(reply) = step.reply {
                let end = reply.payload_offset as usize + usize::from(reply.payload_len);
                prop_assert!(end <= play.script.bytes().len());
                if reply.payload_len > 0 {
                    prop_assert_eq!(reply.seq, ISS.add(1 + reply.payload_offset));
                }
            }
            if step.end.is_some() {
                break;
            }
        }
    }
}
