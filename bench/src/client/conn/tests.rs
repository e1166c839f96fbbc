//! Connections against a server that is written out segment by segment.

use usher_proto::wire::Options;

use super::*;

const MS: u64 = 1_000_000;
const ISS: SeqNum = SeqNum(u32::MAX - 5);
const SERVER: SeqNum = SeqNum(7000);

fn script(close: Close, answer_len: Option<u32>) -> Script {
    Script {
        stack: Stack::Linux,
        requests: 1,
        request_len: 100,
        answer_len,
        close,
        rto_ns: 1000 * MS,
        syn_retries: 2,
        timeout_ns: 10_000 * MS,
    }
}

/// A connection, its script and where its server is.
struct Talk {
    conn: Conn,
    script: Script,
    seq: SeqNum,
    now_ns: u64,
}

impl Talk {
    /// One whose SYN is on its way.
    fn new(script: Script) -> Self {
        let mut conn = Conn::default();
        assert_eq!(conn.begin(ISS, 5, 10, &script), ISS);
        Self { conn, script, seq: SERVER, now_ns: 10 }
    }

    /// One that is open and whose request has been sent.
    fn open(script: Script) -> (Self, Step) {
        let mut talk = Self::new(script);
        let step = talk.hear(&talk.syn_ack());
        (talk, step)
    }

    fn syn_ack(&self) -> Segment {
        let options = Options { mss: Some(1000), window_scale: Some(7), ..Options::default() };
        let flags = Flags::SYN | Flags::ACK;
        Segment {
            seq: SERVER,
            ack: ISS.add(1),
            flags,
            window: 60_000,
            options,
            ..Segment::default()
        }
    }

    /// A segment of the server's that acknowledges so much of the client's stream.
    fn segment(&self, flags: Flags, payload_len: u16, acked: u32) -> Segment {
        let (seq, ack) = (self.seq, ISS.add(1 + acked));
        Segment {
            seq,
            ack,
            flags: flags | Flags::ACK,
            window: 500,
            payload_len,
            ..Segment::default()
        }
    }

    fn hear(&mut self, seg: &Segment) -> Step {
        self.now_ns += 1;
        self.seq = self.seq.max(seg.end());
        self.conn.take(seg, self.now_ns, 9, &self.script)
    }

    /// The server says so much in order.
    fn says(&mut self, flags: Flags, payload_len: u16, acked: u32) -> Step {
        self.hear(&self.segment(flags, payload_len, acked))
    }

    fn wait(&mut self, ms: u64) -> Due {
        self.now_ns += ms * MS;
        self.conn.on_timer(self.now_ns, 9, &self.script)
    }
}

fn said(step: &Step) -> (Flags, u32, u32, u16) {
    let reply = step.reply.expect("a reply");
    (reply.flags, reply.seq.since(ISS), reply.ack.since(SERVER), reply.payload_len)
}

/// Six frames: SYN, SYN-ACK, ACK with the request, answer with FIN, FIN, ACK.
#[test]
fn a_server_that_closes_with_its_answer() {
    let (mut talk, opened) = Talk::open(script(Close::Server, Some(30)));
    assert!(opened.opened && opened.end.is_none());
    assert_eq!(said(&opened), (Flags::ACK | Flags::PSH, 1, 1, 100));
    let answered = talk.says(Flags::FIN, 30, 100);
    assert!(answered.first_byte && answered.answered == Some(11));
    assert_eq!(said(&answered), (Flags::ACK | Flags::FIN, 101, 32, 0));
    let closed = talk.says(Flags::ACK, 0, 101);
    assert_eq!(closed, Step { end: Some(End::Closed), ..Step::default() });
    assert!(talk.conn.is_idle());
}

#[test]
fn a_client_that_closes_when_the_answer_is_whole() {
    let (mut talk, _) = Talk::open(script(Close::Client, Some(30)));
    let half = talk.says(Flags::PSH, 10, 100);
    assert!(half.first_byte && half.answered.is_none());
    assert_eq!(said(&half), (Flags::ACK, 101, 11, 0));
    let whole = talk.says(Flags::PSH, 20, 100);
    assert!(whole.answered.is_some() && !whole.first_byte);
    assert_eq!(said(&whole), (Flags::ACK | Flags::FIN, 101, 31, 0));
    let closed = talk.says(Flags::FIN, 0, 101);
    assert_eq!((said(&closed), closed.end), ((Flags::ACK, 102, 32, 0), Some(End::Closed)));
}

#[test]
fn a_client_that_closes_by_reset() {
    let (mut talk, _) = Talk::open(script(Close::Reset, Some(30)));
    let reset = talk.says(Flags::PSH, 30, 100);
    assert_eq!((said(&reset).0, reset.end), (Flags::RST | Flags::ACK, Some(End::Closed)));
    assert!(reset.answered.is_some() && talk.conn.is_idle());
}

#[test]
fn requests_follow_answers() {
    let (mut talk, _) = Talk::open(Script { requests: 3, ..script(Close::Client, Some(30)) });
    for number in 1..3 {
        let step = talk.says(Flags::PSH, 30, 100 * number);
        assert!(step.answered.is_some() && step.end.is_none());
        assert_eq!(said(&step), (Flags::ACK | Flags::PSH, 1 + 100 * number, 1 + 30 * number, 100));
        assert_eq!(step.first_byte, number == 1);
    }
    assert_eq!(said(&talk.says(Flags::PSH, 30, 300)).0, Flags::ACK | Flags::FIN);
}

/// As `respond` does: the first data asks for the answer.
#[test]
fn a_server_may_answer_and_close_before_it_has_heard_all() {
    let (mut talk, _) = Talk::open(Script { request_len: 2500, ..script(Close::Server, Some(30)) });
    while talk.conn.more(9, &talk.script).is_some() {}
    let answered = talk.says(Flags::FIN, 30, 1000);
    assert!(answered.answered.is_some() && answered.end.is_none());
    assert_eq!(said(&answered), (Flags::ACK | Flags::FIN, 2501, 32, 0));
    assert_eq!(talk.says(Flags::ACK, 0, 2500).end, None);
    assert_eq!(talk.says(Flags::ACK, 0, 2501).end, Some(End::Closed));
}

#[test]
fn a_part_of_a_request_that_is_sent_again_is_the_same_part() {
    let two = Script { request_len: 1500, requests: 2, ..script(Close::Client, Some(30)) };
    let (mut talk, first) = Talk::open(two);
    assert_eq!(first.reply.map(|it| (it.payload_offset, it.payload_len)), Some((0, 1000)));
    assert_eq!(
        talk.conn.more(9, &talk.script).map(|it| (it.payload_offset, it.payload_len)),
        Some((1000, 500))
    );
    talk.says(Flags::PSH, 30, 1000); // which asks for the second
    let Due::Again(again) = talk.wait(1000) else { panic!("due") };
    assert_eq!((again.seq, again.payload_offset, again.payload_len), (ISS.add(1001), 1000, 500));
    let next = talk.conn.more(9, &talk.script).expect("the second");
    assert_eq!((next.seq, next.payload_offset, next.payload_len), (ISS.add(1501), 0, 1000));
}

#[test]
fn without_a_length_the_answer_ends_with_the_connection() {
    let (mut talk, _) = Talk::open(script(Close::Server, None));
    assert_eq!(said(&talk.says(Flags::PSH, 900, 100)).0, Flags::ACK);
    let step = talk.says(Flags::FIN, 900, 100);
    assert!(step.answered.is_some());
    assert_eq!(said(&step).0, Flags::ACK | Flags::FIN);
}

#[test]
fn a_request_is_cut_into_segments_and_waits_for_the_window() {
    let (mut talk, step) =
        Talk::open(Script { request_len: 70_000, ..script(Close::Server, None) });
    assert_eq!(step.reply.map(|reply| (reply.payload_offset, reply.payload_len)), Some((0, 1000)));
    let more: Vec<u32> = std::iter::from_fn(|| talk.conn.more(9, &talk.script))
        .map(|reply| reply.payload_offset)
        .collect();
    assert_eq!(more, (1..60).map(|n| n * 1000).collect::<Vec<_>>(), "60,000 fit the window");
    let next = talk.says(Flags::ACK, 0, 60_000); // now scaled: 64,000
    assert_eq!(said(&next), (Flags::ACK | Flags::PSH, 60_001, 1, 1000));
}

#[test]
fn an_answer_that_ends_early_or_late_is_a_failure() {
    let (mut talk, _) = Talk::open(script(Close::Server, Some(30)));
    let early = talk.says(Flags::FIN, 29, 100);
    assert_eq!((early.end, said(&early).0), (Some(End::ClosedEarly), Flags::RST | Flags::ACK));
    let (mut talk, _) = Talk::open(script(Close::Server, Some(30)));
    assert_eq!(talk.says(Flags::PSH, 31, 100).end, Some(End::TooLong));
}

#[test]
fn resets_end_it_if_they_are_in_the_window() {
    let mut talk = Talk::new(script(Close::Server, Some(30)));
    let reset = Segment { ack: ISS.add(1), flags: Flags::RST | Flags::ACK, ..Segment::default() };
    assert_eq!(talk.hear(&reset).end, Some(End::Refused));
    let (mut talk, _) = Talk::open(script(Close::Server, Some(30)));
    let blind = Segment { seq: SERVER, flags: Flags::RST, ..Segment::default() };
    assert_eq!(talk.hear(&blind), Step::default());
    assert_eq!(talk.says(Flags::RST, 0, 0).end, Some(End::Reset));
}

#[test]
fn what_comes_out_of_order_is_asked_for_again_and_not_counted() {
    let (mut talk, _) = Talk::open(script(Close::Server, Some(30)));
    let first = talk.segment(Flags::PSH, 10, 100);
    let second = Segment { seq: first.end(), payload_len: 20, ..first };
    let early = talk.hear(&second);
    assert_eq!((said(&early), early.first_byte), ((Flags::ACK, 101, 1, 0), false));
    assert!(talk.hear(&first).first_byte);
    assert_eq!(said(&talk.hear(&first)), (Flags::ACK, 101, 11, 0), "a duplicate");
    assert!(talk.hear(&second).answered.is_some());
}

#[test]
fn syns_are_sent_again_and_given_up() {
    let mut talk = Talk::new(script(Close::Server, Some(30)));
    assert_eq!(talk.wait(500), Due::Nothing);
    assert_eq!((talk.wait(500), talk.wait(1500)), (Due::Syn, Due::Nothing));
    assert_eq!((talk.wait(500), talk.conn.iss()), (Due::Syn, ISS));
    assert_eq!(talk.wait(4000), Due::Over(End::NoAnswer, None));
    assert!(talk.conn.is_idle());
}

#[test]
fn requests_and_fins_are_sent_again() {
    let (mut talk, step) = Talk::open(script(Close::Client, Some(30)));
    let Due::Again(again) = talk.wait(1000) else { panic!("due") };
    assert_eq!(Some(again), step.reply);
    let fin = talk.says(Flags::PSH, 30, 100).reply.expect("a FIN");
    assert_eq!(talk.wait(1000), Due::Again(fin));
}

#[test]
fn a_closed_window_is_probed_by_a_byte() {
    let mut talk = Talk::new(script(Close::Server, None));
    let shut = Segment { window: 0, ..talk.syn_ack() };
    assert_eq!(said(&talk.hear(&shut)), (Flags::ACK, 1, 1, 0));
    let Due::Again(probe) = talk.wait(1000) else { panic!("due") };
    assert_eq!((probe.payload_len, probe.seq), (1, ISS.add(1)));
}

#[test]
fn a_silent_server_is_given_up() {
    let (mut talk, _) = Talk::open(script(Close::Server, Some(30)));
    talk.says(Flags::ACK, 0, 100);
    assert_eq!(talk.wait(9000), Due::Nothing, "nothing to send again");
    let Due::Over(End::TimedOut, Some(reset)) = talk.wait(2000) else { panic!("over") };
    assert_eq!(reset.flags, Flags::RST | Flags::ACK);
}

#[test]
fn a_number_is_used_again_behind_its_last_connection() {
    let (mut talk, _) = Talk::open(script(Close::Reset, Some(30)));
    talk.says(Flags::PSH, 30, 100);
    assert_eq!(talk.conn.begin(ISS, 0, 0, &talk.script), ISS.add(102));
    let later = ISS.add(1_000_000);
    assert_eq!(talk.conn.begin(later, 0, 0, &talk.script), later);
}

#[test]
fn the_servers_last_fin_is_acknowledged_again_and_old_syn_acks_are_reset() {
    let mut conn = Conn::default();
    let script = script(Close::Server, None);
    let mut hear = |flags| {
        let seg = Segment { seq: SERVER, ack: ISS, flags, ..Segment::default() };
        conn.take(&seg, 0, 9, &script).reply.map(|reply| (reply.flags, reply.ack))
    };
    assert_eq!(hear(Flags::FIN | Flags::ACK), Some((Flags::ACK, SERVER.add(1))));
    assert_eq!(hear(Flags::SYN | Flags::ACK).map(|reply| reply.0), Some(Flags::RST));
    assert_eq!((hear(Flags::ACK), hear(Flags::RST | Flags::ACK)), (None, None));
}

#[test]
fn stamps_and_scales_are_used_where_both_sides_have_them() {
    let mut talk = Talk::new(script(Close::Server, None));
    let mut syn_ack = talk.syn_ack();
    syn_ack.options.timestamps = Some(Timestamps { val: 77, ecr: 1 });
    let reply = talk.hear(&syn_ack).reply.expect("a reply");
    assert_eq!(reply.options.timestamps, Some(Timestamps { val: 9, ecr: 77 }));
    assert_eq!((reply.window, reply.payload_len), (501, 100));
    let mut talk = Talk::new(script(Close::Server, None));
    syn_ack.options = Options::default();
    let reply = talk.hear(&syn_ack).reply.expect("a reply");
    assert_eq!((reply.options, reply.window), (ReplyOptions::default(), 64_240));
}
