//! A TCP client for load: many connections from many addresses through one queue pair, by a script.
//!
//! [`Client::turn`] is one round: connections that are due begin, what has come is answered in its own buffer, timers are
//! looked at. Time is an argument, so that the same client runs against a server in the same thread with a fake clock
//! and at millions of connections a second. It finds a connection by arithmetic, writes SYNs from a template and allocates
//! nothing after [`Client::new`].
//!
//! Times are counted from when a connection *was to begin*, so that a server (or a client) that stalls does not hide the
//! connections that it kept from beginning (coordinated omission).
//!
//! | file | holds |
//! |---|---|
//! | `conn` | one connection, pure |
//! | `pace` | when connections begin |
//! | `sources` | where they come from |
//! | `stack`, `syn` | what they look like |
//! | `tally` | counts and times |

mod conn;
mod pace;
mod sources;
mod stack;
mod syn;
mod tally;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;

use usher::port::{BURST, Burst, Frame, PortError, QueuePair};
use usher_proto::neighbor::{self, Lesson};
use usher_proto::verdict::Verdict;
use usher_proto::wire::{
    Addr, Link, Mac, Parsed, PortView, Reply, Segment, SeqNum, TooSmall, Tuple, TxChecksums,
    answer_in_place, emit, parse,
};

pub use self::conn::{Close, Conn, Due, End, Script, Step};
pub use self::pace::Pace;
pub use self::sources::Sources;
pub use self::stack::Stack;
pub use self::syn::{Syn, Template};
pub use self::tally::Tally;

/// The present.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moment {
    /// Since the client's start, in ns.
    pub ns: u64,
    /// Unix time in ms, its low bits: what TSvals and ISNs follow, so that they rise over restarts, too.
    pub unix_ms: u32,
}

/// What a client is made of.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The server.
    pub to: SocketAddr,
    /// Our station and the server's, or that of the router on the way.
    pub link: Link,
    /// Where connections come from.
    pub sources: Sources,
    /// What each does.
    pub script: Script,
    /// A request's bytes, as many as the script says.
    pub request: Box<[u8]>,
    /// The largest segment that we take, in bytes.
    pub mss: u16,
}

/// Connections to one server through one queue pair.
pub struct Client<Q: QueuePair> {
    queue: Q,
    setup: Setup,
    view: PortView,
    template: Template,
    conns: Box<[Conn]>,
    /// The number to try next.
    next: u32,
    active: u32,
    pace: Option<Pace>,
    /// Connections of this pace that have begun, at most `limit`, since `since_ns`.
    begun: u64,
    limit: u64,
    since_ns: u64,
    /// Connections whose timers are to be looked at, in order of time. Each is in it once at most.
    watched: VecDeque<(u64, u32)>,
    arrived: Burst<Q::Frame>,
    out: Burst<Q::Frame>,
    /// What has happened.
    pub tally: Tally,
}

/// How exact timers are: a connection's is looked at so often.
const LOOK_NS: u64 = 50_000_000;
/// How many numbers in use are passed over before a connection waits for the next turn.
const PASSED_OVER: u32 = 64;

impl<Q: QueuePair> Client<Q> {
    /// A client at rest.
    #[must_use]
    pub fn new(queue: Q, setup: Setup) -> Self {
        let count = setup.sources.len();
        let template = Template::new(setup.script.stack, &setup.link, setup.to, setup.mss);
        Self {
            queue,
            view: PortView { mac: setup.link.src, vlan: 0, index: 0 },
            template,
            conns: vec![Conn::default(); count as usize].into_boxed_slice(),
            next: 0,
            active: 0,
            pace: None,
            begun: 0,
            limit: 0,
            since_ns: 0,
            watched: VecDeque::with_capacity(count as usize),
            arrived: Burst::new(),
            out: Burst::new(),
            tally: Tally::default(),
            setup,
        }
    }

    /// Lets connections begin at this pace from `now` on, at most `limit`. What was counted is forgotten.
    pub fn begin(&mut self, pace: Pace, limit: u64, now: Moment) {
        (self.pace, self.limit, self.begun, self.since_ns) = (Some(pace), limit, 0, now.ns);
        self.tally.clear(now.ns);
    }

    /// Lets no further connection begin.
    pub fn stop(&mut self) {
        self.pace = None;
    }

    /// Connections under way.
    #[must_use]
    pub const fn active(&self) -> u32 {
        self.active
    }

    /// Whether all connections of this pace have begun and ended.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.active == 0 && (self.pace.is_none() || self.begun == self.limit)
    }

    /// Prepares the queue pair for this thread.
    ///
    /// # Errors
    /// When the device cannot be used from it.
    pub fn on_thread(&mut self) -> Result<(), PortError> {
        self.queue.on_thread()
    }

    /// Ends the queue pair's use by this thread.
    pub fn off_thread(&mut self) {
        self.arrived.clear();
        self.out.clear();
        self.queue.off_thread();
    }

    /// One round. Returns whether there was anything to do.
    pub fn turn(&mut self, now: Moment) -> bool {
        let sent = self.flush();
        if self.out.is_empty() {
            self.queue.rx(&mut self.arrived);
        }
        let received = self.arrived.len();
        self.tally.received += received as u64;
        for frame in std::mem::take(&mut self.arrived) {
            self.take(frame, now);
        }
        self.look_at_timers(now);
        self.begin_due(now);
        self.flush() + sent + received > 0
    }

    /// Asks who has `target`'s address, from our first. What is heard comes by [`Self::listen`].
    pub fn ask(&mut self, target: &Addr) {
        let source = self.setup.sources.address(0);
        if let Some(mut frame) = self.queue.alloc()
            && let Ok(len) = neighbor::solicit(frame.room(), &self.view, &source, target, None)
        {
            self.push(frame, len);
            self.flush();
        }
    }

    /// The station of `target`, if something that has come says it. Nothing else is done with what comes.
    pub fn listen(&mut self, target: &Addr) -> Option<Mac> {
        let mut found = None;
        self.queue.rx(&mut self.arrived);
        for frame in std::mem::take(&mut self.arrived) {
            if let Ok(parsed) = parse(frame.bytes(), &self.view, frame.rx_checksums()) {
                let lesson = self.neighbour(frame, &parsed);
                found = found.or(lesson.filter(|it| it.addr == *target).and_then(|it| it.mac));
            }
        }
        self.flush();
        found
    }

    /// Sends to this station from now on.
    pub fn set_next_hop(&mut self, mac: Mac) {
        self.setup.link.dst = mac;
        let Setup { script, link, to, mss, .. } = &self.setup;
        self.template = Template::new(script.stack, link, *to, *mss);
    }

    fn take(&mut self, frame: Q::Frame, now: Moment) {
        match parse(frame.bytes(), &self.view, frame.rx_checksums()) {
            Ok(Parsed::Tcp(seg)) => match self.number(&seg) {
                Some(number) => self.take_segment(frame, number, &seg, now),
                None => self.tally.strange += 1,
            },
            Ok(parsed) => {
                self.neighbour(frame, &parsed);
            }
            Err(_) => self.tally.strange += 1,
        }
    }

    /// Answers a neighbour's question about one of our addresses.
    fn neighbour(&mut self, mut frame: Q::Frame, parsed: &Parsed) -> Option<Lesson> {
        let sources = &self.setup.sources;
        let outcome = neighbor::answer(parsed, frame.room(), &self.view, |addr| sources.has(addr));
        if outcome.verdict == Verdict::Reflect {
            self.push(frame, outcome.len);
        }
        outcome.lesson
    }

    fn number(&self, seg: &Segment) -> Option<u32> {
        let Tuple { local, local_port, remote_port, .. } = seg.tuple;
        let number = self.setup.sources.number(&local, local_port)?;
        (remote_port == self.setup.to.port()).then_some(number)
    }

    fn take_segment(&mut self, frame: Q::Frame, number: u32, seg: &Segment, now: Moment) {
        let conn = &mut self.conns[number as usize];
        let (was_idle, ts_val) = (conn.is_idle(), now.unix_ms);
        let step = conn.take(seg, now.ns, ts_val, &self.setup.script);
        let (intended, begun) = (conn.intended_ns, conn.begun_ns);
        self.tally.note(&step, intended, begun, now.ns);
        if was_idle {
            self.tally.strange += 1;
        }
        if step.end.is_some() {
            self.active -= 1;
        }
        let Some(reply) = step.reply else { return };
        self.answer(frame, seg, &reply);
        while let Some(reply) = self.conns[number as usize].more(ts_val, &self.setup.script) {
            if !self.say(number, &reply) {
                break; // its timer sends it
            }
        }
    }

    fn answer(&mut self, mut frame: Q::Frame, seg: &Segment, reply: &Reply) {
        let payload = payload(&self.setup.request, reply);
        let len = answer_in_place(frame.room(), seg, reply, payload, TxChecksums::default());
        if let Ok(len) = len {
            self.push(frame, len);
        }
    }

    /// Sends a segment that answers none; `false` without a buffer.
    fn say(&mut self, number: u32, reply: &Reply) -> bool {
        let Some(mut frame) = self.queue.alloc() else { return false };
        let Setup { to, link, request, sources, .. } = &self.setup;
        let (local, local_port) = sources.at(number);
        let (remote, remote_port) = (to.ip().into(), to.port());
        let tuple = Tuple { remote, local, remote_port, local_port, vlan: 0, port: 0 };
        let (room, payload) = (frame.room(), payload(request, reply));
        let len = emit(room, link, &tuple, reply, payload, TxChecksums::default());
        len.is_ok_and(|len| {
            self.push(frame, len);
            true
        })
    }

    fn push(&mut self, mut frame: Q::Frame, len: usize) {
        frame.set_len(len);
        frame.request_tx_checksums(TxChecksums::default(), 0, 0, false);
        if self.out.is_full() {
            self.flush();
        }
        // what a full port refuses is lost, as on a wire, and sent again
        let _ = self.out.try_push(frame);
    }

    /// Sends what waits; what the port refuses waits on. How many it took.
    fn flush(&mut self) -> usize {
        let waiting = self.out.len();
        if waiting > 0 {
            self.queue.tx(&mut self.out);
        }
        let taken = waiting - self.out.len();
        self.tally.sent += taken as u64;
        taken
    }

    fn look_at_timers(&mut self, now: Moment) {
        for _ in 0..BURST {
            let Some((at_ns, number)) = self.watched.front().copied() else { return };
            if at_ns > now.ns || self.out.is_full() {
                return;
            }
            self.watched.pop_front();
            self.fire(number, now);
            let conn = &mut self.conns[number as usize];
            conn.is_watched = !conn.is_idle();
            if conn.is_watched {
                self.watched.push_back((now.ns + LOOK_NS, number));
            }
        }
    }

    fn fire(&mut self, number: u32, now: Moment) {
        let conn = &mut self.conns[number as usize];
        match conn.on_timer(now.ns, now.unix_ms, &self.setup.script) {
            Due::Nothing => {}
            Due::Syn => {
                let seq = conn.iss();
                if let Some(mut frame) = self.queue.alloc()
                    && let Ok(len) = self.write_syn(frame.room(), number, seq, now)
                {
                    self.tally.again += 1;
                    self.push(frame, len);
                }
            }
            Due::Again(reply) => {
                self.tally.again += 1;
                self.say(number, &reply);
            }
            Due::Over(end, reset) => {
                self.active -= 1;
                self.tally.fail(end);
                if let Some(reset) = reset {
                    self.say(number, &reset);
                }
            }
        }
    }

    fn begin_due(&mut self, now: Moment) {
        let Some(pace) = self.pace else { return };
        let since = now.ns - self.since_ns;
        let due = pace.due(since, self.begun, self.active).min(self.limit);
        while self.begun < due && !self.out.is_full() {
            let Some(mut frame) = self.queue.alloc() else { return };
            let Some(number) = self.free_number() else {
                self.tally.exhausted += 1;
                return;
            };
            let intended_ns = self.since_ns + pace.intended(self.begun, since);
            let (conn, script) = (&mut self.conns[number as usize], &self.setup.script);
            let seq = conn.begin(isn(number, now), intended_ns, now.ns, script);
            self.begun += 1;
            self.tally.begun += 1;
            self.active += 1;
            self.watch(number, now);
            if let Ok(len) = self.write_syn(frame.room(), number, seq, now) {
                self.push(frame, len);
            }
        }
    }

    fn watch(&mut self, number: u32, now: Moment) {
        let conn = &mut self.conns[number as usize];
        if !conn.is_watched {
            conn.is_watched = true;
            self.watched.push_back((now.ns + LOOK_NS, number));
        }
    }

    /// The next number that is not in use, going round.
    fn free_number(&mut self) -> Option<u32> {
        for _ in 0..PASSED_OVER.min(self.setup.sources.len()) {
            let number = self.next;
            self.next = if number + 1 == self.setup.sources.len() { 0 } else { number + 1 };
            if self.conns[number as usize].is_idle() {
                return Some(number);
            }
        }
        None
    }

    fn write_syn(
        &self,
        room: &mut [u8],
        number: u32,
        seq: SeqNum,
        now: Moment,
    ) -> Result<usize, TooSmall> {
        let syn = Syn { from: self.setup.sources.at(number), seq, ts_val: now.unix_ms };
        self.template.write(room, &syn)
    }
}

/// RFC 6528's shape: a clock, and a number of the connection's own. No secret: nobody attacks a load generator.
fn isn(number: u32, now: Moment) -> SeqNum {
    let clock = now.unix_ms.wrapping_mul(1000);
    SeqNum(number.wrapping_mul(0x9e37_79b1).wrapping_add(clock))
}

/// The part of a request that a segment carries.
fn payload<'a>(request: &'a [u8], reply: &Reply) -> &'a [u8] {
    let from = reply.payload_offset as usize;
    request.get(from..from + usize::from(reply.payload_len)).unwrap_or_default()
}
