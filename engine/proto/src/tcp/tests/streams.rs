//! A consumer's streams against slow, obvious models of its client, over a network that loses, repeats and
//! reorders.

use std::vec;

use proptest::prelude::*;

use super::*;

const MSS: u16 = 100;

/// A consumer's flow whose numbers begin here.
fn owned(fixture: &Fixture, (irs, iss): (u32, u32), window: u32) -> Tcb {
    let (irs, iss) = (SeqNum(irs), SeqNum(iss));
    let first = iss.add(1);
    fixture.source.set(Some(Source { end: first, closed: false, edge: irs.add(1 + window) }));
    let mut tcb = Tcb {
        mss: MSS,
        iss,
        irs,
        snd_nxt: first,
        snd_max: first,
        rcv_nxt: irs.add(1),
        ..Tcb::default()
    };
    tcb.establish(&Segment { window: 5000, ..segment(Flags::ACK, irs.add(1), first) });
    tcb
}

fn change(fixture: &Fixture, change: impl FnOnce(&mut Source)) {
    fixture.source.set(fixture.source.get().map(|mut source| {
        change(&mut source);
        source
    }));
}

/// Near the wrap as often as anywhere.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![any::<u32>(), (u32::MAX - 3000)..=u32::MAX]
}

/// The client's stream as it has arrived, octet by octet.
struct Arrived {
    octets: Vec<bool>,
    fin: bool,
}

impl Arrived {
    fn mark(&mut self, from: u32, to: u32) {
        self.octets[from as usize..to as usize].fill(true);
    }

    /// How many are there without a gap.
    fn whole(&self) -> u32 {
        self.octets.iter().take_while(|&&there| there).count() as u32
    }
}

const STREAM: u32 = 4000;

proptest! {
    /// Whatever order pieces come in, overlapping and repeated, with a window that follows the consumer:
    /// what is taken is each octet once, in order, as soon as everything before it is there.
    #[test]
    fn every_byte_is_taken_once_and_in_order(
        start in (number(), number()),
        pieces in prop::collection::vec((0..1200u32, 0..400u32, any::<bool>(), 0..700u32), 1..120),
    ) {
        let fixture = Fixture::new();
        let mut room = 1500u32;
        let mut tcb = owned(&fixture, start, room);
        let mut arrived = Arrived { octets: vec![false; STREAM as usize], fin: false };
        let mut kept: Vec<Segment> = Vec::new();
        let mut read = 0;
        for (ahead, len, fin, reads) in pieces {
            let cx = fixture.at(0);
            let offset = (read + ahead).saturating_sub(500).min(STREAM);
            let len = len.min(STREAM - offset);
            let fin = fin && offset + len == STREAM;
            let flags = if fin { Flags::ACK | Flags::FIN } else { Flags::ACK };
            let seg = data(segment(flags, tcb.irs.add(1 + offset), tcb.snd_una), len as u16);
            let before = tcb.rcv_nxt;
            let (decision, mut next) = meet(&tcb, &seg, &cx);
            let mut taken = vec![];
            if decision.change == Change::Update {
                taken.push((seg, Taken::of(&seg, before, next.rcv_nxt)));
                // RFC 9293 table 6 looks at both ends only: what begins before the window and ends behind it is refused.
                let spans = offset < read && offset + seg.len() > room;
                if offset <= read && !spans {
                    arrived.mark(offset, (offset + len).max(offset).min(room).max(offset));
                    arrived.fin |= fin;
                } else if offset > read && offset + len <= room && !seg.is_empty() {
                    kept.push(seg);
                    arrived.mark(offset, offset + len);
                    arrived.fin |= fin;
                }
            }
            while let Some((index, part)) = kept.iter().enumerate().find_map(|(index, seg)| {
                let part = next.absorb(seg, &cx);
                (!part.is_nothing()).then_some((index, part))
            }) {
                taken.push((kept.swap_remove(index), part));
            }
            kept.retain(|seg| seg.end().is_after(next.rcv_nxt));
            for (seg, part) in taken {
                if part.len > 0 {
                    prop_assert_eq!(seg.seq.add(part.skip.into()), tcb.irs.add(1 + read));
                    prop_assert!(part.skip + part.len <= seg.payload_len);
                }
                read += u32::from(part.len);
            }
            tcb = next;
            prop_assert_eq!(read, arrived.whole());
            let closed = arrived.fin && read == STREAM;
            prop_assert_eq!(tcb.state.peer_closed(), closed);
            prop_assert_eq!(tcb.rcv_nxt, tcb.irs.add(1 + read + u32::from(closed)));
            room = room.max(read + reads);
            change(&fixture, |source| source.edge = tcb.irs.add(1 + room));
        }
    }
}

/// A client that keeps whatever comes in any order, and acknowledges it.
struct Client {
    first: SeqNum,
    arrived: Arrived,
    window: u16,
}

impl Client {
    fn hear(&mut self, reply: &Reply, written: u32, closed: bool) {
        let end = reply.payload_offset + u32::from(reply.payload_len);
        assert!(end <= written, "nothing is sent that was not written");
        assert!(reply.payload_len <= MSS);
        assert_eq!(reply.seq, self.first.add(reply.payload_offset));
        self.arrived.mark(reply.payload_offset, end);
        if reply.flags.has(Flags::FIN) {
            assert!(closed && end == written, "the FIN is behind all of it");
            self.arrived.fin = true;
        }
    }

    fn has_all(&self, written: u32) -> bool {
        self.arrived.fin && self.arrived.whole() == written
    }

    fn ack(&self, tcb: &Tcb, written: u32) -> Segment {
        let whole = self.arrived.whole();
        let fin = self.arrived.fin && whole == written;
        let ack = self.first.add(whole + u32::from(fin));
        Segment { window: self.window, ..segment(Flags::ACK, tcb.rcv_nxt, ack) }
    }
}

/// One step of the world.
#[derive(Clone, Copy, Debug)]
enum Step {
    Write(u32),
    Close,
    /// A segment under way arrives, and perhaps stays under way.
    Arrive(usize, bool),
    Lose(usize),
    /// The client acknowledges, with this window; perhaps the ACK is lost.
    Acknowledge(u16, bool),
    Timer,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let window = prop_oneof![Just(0u16), 1..300u16, Just(5000)];
    prop::collection::vec(
        prop_oneof![
            3 => (1..600u32).prop_map(Step::Write),
            1 => Just(Step::Close),
            6 => (any::<usize>(), any::<bool>()).prop_map(|(which, again)| Step::Arrive(which, again)),
            2 => any::<usize>().prop_map(Step::Lose),
            5 => (window, any::<bool>()).prop_map(|(window, heard)| Step::Acknowledge(window, heard)),
            1 => Just(Step::Timer),
        ],
        1..150,
    )
}

struct World<'f> {
    fixture: &'f Fixture,
    tcb: Tcb,
    ms: u64,
    written: u32,
    closed: bool,
    flight: Vec<Reply>,
    client: Client,
}

impl World<'_> {
    fn say(&mut self) {
        let cx = self.fixture.at(self.ms);
        while let Some(reply) = self.tcb.next_segment(&cx) {
            self.flight.push(reply);
        }
    }

    fn acknowledge(&mut self) {
        let ack = self.client.ack(&self.tcb, self.written);
        let (decision, next) = meet(&self.tcb, &ack, &self.fixture.at(self.ms));
        match decision.verdict {
            Verdict::Answer(reply) if reply.payload_len > 0 || reply.flags.has(Flags::FIN) => {
                self.flight.push(reply);
            }
            _ => {}
        }
        self.tcb = next;
        self.say();
    }

    /// The next timer, if one runs.
    fn timer(&mut self) {
        if !self.tcb.traits.has(Traits::TIMED) {
            return;
        }
        self.ms = self.ms.max(self.tcb.rtx_at.0.into());
        let (probe, change, _) = self.tcb.on_timer(&self.fixture.at(self.ms));
        assert!(!matches!(change, Change::End(_)), "not given up");
        self.flight.extend(probe);
        self.say();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write(len) if !self.closed => {
                self.written += len;
                self.client.arrived.octets.resize(self.written as usize, false);
                change(self.fixture, |source| source.end = source.end.add(len));
                self.tcb.stream_grew(&self.fixture.at(self.ms));
                self.say();
            }
            Step::Close => {
                self.closed = true;
                change(self.fixture, |source| source.closed = true);
                self.tcb.stream_grew(&self.fixture.at(self.ms));
                self.say();
            }
            Step::Arrive(which, again) if !self.flight.is_empty() => {
                let which = which % self.flight.len();
                let reply = self.flight[which];
                self.client.hear(&reply, self.written, self.closed);
                if !again {
                    self.flight.swap_remove(which);
                }
            }
            Step::Lose(which) if !self.flight.is_empty() => {
                self.flight.swap_remove(which % self.flight.len());
            }
            Step::Acknowledge(window, heard) => {
                self.client.window = window;
                if heard {
                    self.acknowledge();
                }
            }
            // Few enough in a row that nobody loses patience.
            Step::Timer if self.tcb.retries < 3 => self.timer(),
            Step::Write(_) | Step::Arrive(..) | Step::Lose(_) | Step::Timer => {}
        }
        let sent = self.tcb.snd_max.since(self.tcb.iss.add(1));
        assert!(sent <= self.written + u32::from(self.closed));
    }
}

proptest! {
    /// However a consumer writes and the network loses: the client receives every octet and the FIN, and the
    /// flow knows it.
    #[test]
    fn every_byte_written_is_delivered(start in (number(), number()), steps in steps()) {
        let fixture = Fixture::new();
        let tcb = owned(&fixture, start, 1000);
        let arrived = Arrived { octets: Vec::new(), fin: false };
        let client = Client { first: tcb.iss.add(1), arrived, window: 5000 };
        let (flight, written, closed) = (Vec::new(), 0, false);
        let mut world = World { fixture: &fixture, tcb, ms: 0, written, closed, flight, client };
        for step in steps {
            world.step(step);
        }
        world.step(Step::Close);
        world.client.window = 5000;
        for _ in 0..1000 {
            for reply in std::mem::take(&mut world.flight) {
                world.client.hear(&reply, world.written, true);
            }
            world.acknowledge();
            if world.flight.is_empty() {
                world.timer();
            }
        }
        prop_assert!(world.client.has_all(world.written));
        prop_assert_eq!(world.tcb.state, State::FinWait2);
        prop_assert_eq!(world.tcb.delivered(&fixture.at(world.ms)), world.written);
    }
}
