//! A consumer that echoes: it owns every flow, and holds the worker to what events promise.

use std::collections::{HashMap, VecDeque};

use usher::flow::FlowId;
use usher::handoff::{Command, ConsumerEnd, Event, Lease, Payload};
use usher_proto::verdict::End;

use super::super::rng::Rng;

/// What the program is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Reads at most so many bytes of each flow at a time, once in so many microseconds; else all at once.
    pub(crate) slow: Option<(usize, u64)>,
    /// Closes its side when a flow begins, and says nothing.
    pub(crate) closes_first: bool,
    /// Keeps every buffer until it is told otherwise.
    pub(crate) hoards: bool,
}

impl Manner {
    pub(crate) const PROMPT: Self = Self { slow: None, closes_first: false, hoards: false };
}

/// A flow as its events tell of it.
#[derive(Default, Debug)]
pub(crate) struct Flow {
    credit: usize,
    skip_peeked: bool,
    /// Not read yet, and read but not said again.
    unread: VecDeque<Lease>,
    to_say: VecDeque<Lease>,
    peer_closed: bool,
    has_closed: bool,
    /// Bytes that were heard, and those that the client was said to have.
    pub(crate) heard: u64,
    pub(crate) said: u64,
    pub(crate) delivered: u64,
    pub(crate) ended: Option<(End, u64)>,
}

impl Flow {
    fn kept(&self) -> usize {
        self.unread.iter().chain(&self.to_say).map(|lease| lease.len()).sum()
    }
}

/// The program.
pub(crate) struct Program {
    pub(crate) end: ConsumerEnd,
    pub(crate) manner: Manner,
    pub(crate) flows: HashMap<FlowId, Flow>,
    /// The most bytes that it ever had of one flow.
    pub(crate) most_kept: usize,
    order: Vec<FlowId>,
    read_at: u64,
    rng: Rng,
}

impl Program {
    pub(crate) fn new(end: ConsumerEnd, manner: Manner, seed: u64) -> Self {
        let (flows, order) = (HashMap::new(), Vec::new());
        Self { end, manner, flows, most_kept: 0, order, read_at: 0, rng: Rng::new(seed) }
    }

    /// Takes what there is to hear, and says what there is to say. Returns whether anything happened.
    pub(crate) fn run(&mut self, now: u64) -> bool {
        let mut events = Vec::new();
        self.end.poll(usize::MAX, |event| events.push(event));
        let mut busy = !events.is_empty();
        for event in events {
            self.hear(event);
        }
        if self.manner.hoards {
            return busy;
        }
        let reads = self.manner.slow.is_none() || self.read_at <= now;
        if let Some((_, every)) = self.manner.slow.filter(|_| reads) {
            self.read_at = now + every;
        }
        for index in 0..self.order.len() {
            let id = self.order[index];
            if reads {
                self.read(id);
            }
            busy |= self.speak(id);
        }
        busy
    }

    fn hear(&mut self, event: Event) {
        let id = event.flow();
        if let Event::Established(established) = &event {
            let skip_peeked = self.rng.chance(500);
            let credit = established.credit as usize;
            let flow = Flow { credit, skip_peeked, ..Flow::default() };
            assert!(self.flows.insert(id, flow).is_none(), "established once");
            self.order.push(id);
            return self.command(Command::Own { flow: id, skip_peeked });
        }
        let flow = self.flows.get_mut(&id).expect("established first");
        assert_eq!(flow.ended, None, "nothing after the end: {event:?}");
        match event {
            Event::Established(_) => {}
            Event::Data { data, peeked, .. } => {
                assert!(!data.is_empty() && !flow.peer_closed);
                // What was only shown comes again, if that was asked for.
                if flow.skip_peeked || !peeked {
                    flow.heard += data.len() as u64;
                    flow.unread.push_back(data);
                    self.most_kept = self.most_kept.max(flow.kept());
                }
            }
            Event::Acknowledged { bytes, .. } => {
                assert!(bytes > 0);
                flow.delivered += u64::from(bytes);
                flow.credit += bytes as usize;
                assert!(flow.delivered <= flow.said);
            }
            Event::PeerClosed { .. } => {
                assert!(!flow.peer_closed, "once");
                flow.peer_closed = true;
            }
            Event::Ended { why, lost, .. } => {
                assert_eq!(lost, flow.said - flow.delivered, "what is lost is told");
                flow.ended = Some((why, lost));
                flow.unread.clear();
                flow.to_say.clear();
            }
            Event::Refused { command, why, .. } => {
                let late = flow.ended.is_some();
                assert!(late, "{command:?} was refused: {why:?}");
            }
        }
    }

    fn command(&mut self, command: Command) {
        assert!(self.end.send(command).is_ok(), "room for a command");
    }

    /// Reads what the manner allows.
    fn read(&mut self, id: FlowId) {
        let flow = self.flows.get_mut(&id).expect("a flow");
        let mut left = self.manner.slow.map_or(usize::MAX, |(bytes, _)| bytes);
        while let Some(lease) = flow.unread.front().filter(|lease| lease.len() <= left) {
            left -= lease.len();
            flow.to_say.extend(flow.unread.pop_front());
        }
    }

    /// Says again what was read, as far as there is credit: leased or copied.
    fn speak(&mut self, id: FlowId) -> bool {
        let mut busy = false;
        loop {
            let flow = self.flows.get_mut(&id).expect("a flow");
            if flow.ended.is_some() || flow.has_closed || self.manner.closes_first {
                flow.to_say.clear();
                break;
            }
            let Some(mut lease) = flow.to_say.pop_front() else { break };
            let count = lease.len().min(flow.credit);
            if count == lease.len() && self.rng.chance(500) {
                flow.credit -= count;
                flow.said += count as u64;
                self.command(Command::Write { flow: id, data: Payload::Lease(lease) });
                busy = true;
                continue;
            }
            let written = self.end.write(id, &lease[..count]);
            flow.credit -= written;
            flow.said += written as u64;
            busy |= written > 0;
            lease.skip(written);
            if !lease.is_empty() {
                flow.to_say.push_front(lease);
                return busy;
            }
        }
        let flow = self.flows.get_mut(&id).expect("a flow");
        let is_over = self.manner.closes_first || flow.peer_closed && flow.unread.is_empty();
        if is_over && !flow.has_closed && flow.ended.is_none() {
            flow.has_closed = true;
            self.command(Command::Close { flow: id });
            busy = true;
        }
        busy
    }

    /// Lets go of every buffer and goes on as another.
    pub(crate) fn become_prompt(&mut self) {
        self.manner = Manner::PROMPT;
    }

    /// Why flows ended that did not end in order.
    pub(crate) fn disorderly(&self) -> Vec<&Flow> {
        self.flows.values().filter(|flow| flow.ended != Some((End::Closed, 0))).collect()
    }
}
