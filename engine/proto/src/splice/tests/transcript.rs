//! One connection as either end sees it: a scripted client and a scripted backend, each in its own numbers.

use std::fmt::Write as _;
use std::string::String;

use super::*;

struct Script {
    fixture: Fixture,
    splice: Splice,
    held: std::vec::Vec<Segment>,
    text: String,
    ms: u32,
}

impl Script {
    fn line(&mut self, arrow: &str, half: Half, said: (Flags, SeqNum, SeqNum, u16), rest: &str) {
        let (flags, seq, ack, len) = said;
        let (ours, theirs) = match half {
            Half::Client => (ISS, IRS),
            Half::Backend => (UP, DOWN),
        };
        let goes_out = arrow.contains("> backend") || arrow.contains("client  <");
        let (seq_base, ack_base) = if goes_out { (ours, theirs) } else { (theirs, ours) };
        let ack = if flags.has(Flags::ACK) { ack.since(ack_base) } else { 0 };
        let seq = seq.since(seq_base);
        let _ = writeln!(self.text, "{arrow:<20} {flags:?} seq {seq} ack {ack} len {len} {rest}");
    }

    fn reply(&mut self, half: Half, reply: &Reply) {
        let stamps = reply.options.timestamps.map(|ts| (ts.val, ts.ecr));
        let arrow = if half == Half::Client { "client  < usher" } else { "usher > backend" };
        let rest = std::format!("window {} stamps {stamps:?}", reply.window);
        self.line(arrow, half, (reply.flags, reply.seq, reply.ack, reply.payload_len), &rest);
    }

    fn passes(&mut self, from: Half, seg: &Segment, passage: Passage) {
        match passage {
            Passage::Forward(rewrite) => {
                let arrow =
                    if from == Half::Client { "      ... > backend" } else { "client  < ..." };
                let rest = std::format!(
                    "window {} stamps {:?}",
                    rewrite.window,
                    (rewrite.ts_val, rewrite.ts_ecr)
                );
                let said = (seg.flags, rewrite.seq, rewrite.ack, seg.payload_len);
                self.line(arrow, from.other(), said, &rest);
            }
            Passage::Answer(reply) => self.reply(from, &reply),
            Passage::Hold => {
                self.held.push(*seg);
                let _ = writeln!(self.text, "      held");
            }
            other
            @ (Passage::Split(..) | Passage::Deliver | Passage::Reopen | Passage::Drop(_)) => {
                let _ = writeln!(self.text, "      {other:?}");
            }
        }
    }

    /// `seg` comes from `from`, a millisecond after what came before.
    fn say(&mut self, from: Half, seg: Segment) {
        self.ms += 1;
        let arrow = if from == Half::Client { "client  >" } else { "        < backend" };
        self.line(arrow, from, (seg.flags, seg.seq, seg.ack, seg.payload_len), "");
        let step = self.splice.pass(from, &seg, &self.fixture.at(self.ms));
        self.passes(from, &seg, step.passage);
        if step.then == Then::Opened {
            for seg in std::mem::take(&mut self.held) {
                let passage = self.splice.pass_held(&seg, &self.fixture.at(self.ms));
                self.passes(Half::Client, &seg, passage);
            }
        }
        if step.then != Then::Stay {
            let _ = writeln!(self.text, "      {:?}: {}", step.then, self.splice.state().name());
        }
    }
}

/// A request that arrives early, a PROXY header whose acknowledgement comes in two parts, an answer, and the
/// backend's close.
#[test]
fn a_connection_as_either_end_sees_it() {
    let fixture = Fixture::new();
    let header = Choice { header_len: 28, ..choice() };
    let splice = Splice::open(&tcb(), &header, &fixture.at(0));
    let syn = splice.syn();
    let (held, text) = (std::vec::Vec::new(), String::new());
    let mut script = Script { fixture, splice, held, text, ms: 0 };
    let (up, down) = (Half::Client, Half::Backend);
    let fin = Flags::FIN | Flags::ACK;
    script.reply(down, &syn);
    script.say(up, client(Flags::ACK | Flags::PSH, 0, 0, 200));
    script.say(up, client(Flags::SYN, u32::MAX, 0, 0));
    script.say(down, syn_ack(&full()));
    script.say(down, backend(Flags::ACK, 0, 20, 0));
    script.say(down, backend(Flags::ACK, 0, 228, 0));
    script.say(down, backend(Flags::ACK, 0, 228, 1000));
    script.say(up, client(Flags::ACK, 200, 1000, 0));
    script.say(up, client(Flags::ACK, 200, 5000, 0));
    script.say(down, backend(fin, 1000, 228, 0));
    script.say(up, client(Flags::ACK, 200, 1001, 0));
    script.say(up, client(fin, 200, 1001, 0));
    script.say(down, backend(Flags::ACK, 1001, 229, 0));
    script.say(up, client(fin, 200, 1001, 0));
    script.say(up, client(Flags::SYN, 1 << 20, 0, 0));
    insta::assert_snapshot!(script.text);
}
