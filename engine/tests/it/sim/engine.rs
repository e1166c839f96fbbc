//! The protocol under test, on the simplest table there can be: no worker, no wheel, no port.

use std::collections::HashMap;

use usher_proto::cookie::{IsnKey, Keys, Secret};
use usher_proto::tcp::{Admission, Context, Policy, State, Tcb, listen, refuse};
use usher_proto::time::Now;
use usher_proto::verdict::{Change, Decision, Event, Verdict};
use usher_proto::wire::{
    Link, Mac, Parsed, PortView, Reply, RxChecksums, Segment, Tuple, TxChecksums, answer_in_place,
    emit, parse,
};

use super::network::Weather;
use super::reference::answer;
use super::server::Server;
use super::world::{MTU, SERVER_MAC, World, service};

/// When SYNs are answered by cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cookies {
    Always,
    Never,
    Auto,
}

/// What is configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) cookies: Cookies,
    pub(crate) half_open_limit: usize,
    pub(crate) capacity: usize,
    pub(crate) answer: usize,
    /// The engine has run for so many milliseconds when the world begins, and Unix time is this.
    pub(crate) uptime_ms: u64,
    pub(crate) unix_ms: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            cookies: Cookies::Auto,
            half_open_limit: 65_536,
            capacity: 4096,
            answer: 2000,
            uptime_ms: 5000,
            unix_ms: 1_764_000_000_000,
        }
    }
}

pub(crate) struct Engine {
    setup: Setup,
    policy: Policy,
    keys: Keys,
    isn: IsnKey,
    answer: Vec<u8>,
    table: HashMap<Tuple, (Tcb, [u8; 6])>,
    established: u64,
}

pub(crate) fn world(seed: u64, weather: Weather, setup: &Setup) -> World<Engine> {
    let secret = Secret::from_bytes([7; 32]);
    let engine = Engine {
        setup: *setup,
        policy: Policy::default(),
        keys: Keys::new(&secret),
        isn: IsnKey::new(&secret),
        answer: answer(setup.answer),
        table: HashMap::new(),
        established: 0,
    };
    World::new(seed, weather, answer(setup.answer), engine)
}

impl Engine {
    pub(crate) fn established(&self) -> u64 {
        self.established
    }
    pub(crate) fn half_open(&self) -> usize {
        self.table.values().filter(|(t, _)| t.state == State::SynRcvd).count()
    }
    pub(crate) fn capacity(&self) -> usize {
        self.setup.capacity
    }

    fn context(&self, now: Now, v6: bool) -> Context<'_> {
        let half = self.half_open();
        let admission = match self.setup.cookies {
            Cookies::Always => Admission::Cookie,
            Cookies::Never if half >= self.setup.half_open_limit => Admission::Full,
            Cookies::Auto if half >= self.setup.half_open_limit / 2 => Admission::Cookie,
            _ => Admission::Stateful,
        };
        Context {
            now,
            policy: &self.policy,
            keys: &self.keys,
            isn: &self.isn,
            admission,
            check_cookies: self.setup.cookies != Cookies::Never,
            mss: MTU - if v6 { 60 } else { 40 },
            answer_len: self.answer.len() as u32,
        }
    }

    fn change(
        &mut self,
        tuple: &Tuple,
        mac: [u8; 6],
        change: &Change,
        event: Option<Event>,
    ) -> bool {
        match change {
            Change::Keep => {}
            Change::Open(tcb) => {
                if self.table.len() >= self.setup.capacity && !self.table.contains_key(tuple) {
                    let spent = self
                        .table
                        .iter()
                        .find(|(_, (t, _))| matches!(t.state, State::Closed | State::TimeWait))
                        .map(|(k, _)| *k);
                    let Some(spent) = spent else { return false };
                    self.table.remove(&spent);
                }
                self.table.insert(*tuple, (*tcb, mac));
            }
            Change::Update(tcb) => self.table.get_mut(tuple).unwrap().0 = *tcb,
            Change::End(_) => drop(self.table.remove(tuple)),
        }
        if matches!(event, Some(Event::Established { .. })) {
            self.established += 1;
        }
        true
    }

    fn emit(&self, tuple: &Tuple, mac: [u8; 6], reply: &Reply, out: &mut Vec<Vec<u8>>) {
        let mut buf = vec![0; 1600];
        let link = Link { src: Mac(SERVER_MAC), dst: Mac(mac), vlan: 0 };
        let from = reply.payload_offset as usize;
        let payload = if reply.payload_len == 0 {
            &[]
        } else {
            &self.answer[from..from + reply.payload_len as usize]
        };
        let len = emit(&mut buf, &link, tuple, reply, payload, TxChecksums::default()).unwrap();
        buf.truncate(len);
        out.push(buf);
    }

    fn advance(&mut self, now: Now, tuple: &Tuple, out: &mut Vec<Vec<u8>>) {
        while let Some((tcb, mac)) = self.table.get(tuple).copied() {
            let Some((reply, next)) = tcb.next_segment(&self.context(now, !tuple.remote.is_v4()))
            else {
                return;
            };
            self.emit(tuple, mac, &reply, out);
            self.table.get_mut(tuple).unwrap().0 = next;
        }
    }

    fn segment(&mut self, now: Now, frame: &[u8], seg: &Segment, out: &mut Vec<Vec<u8>>) {
        let cx = self.context(now, !seg.tuple.remote.is_v4());
        let served = seg.tuple.local_port == service(false).port();
        let decision: Decision = match self.table.get(&seg.tuple) {
            Some((tcb, _)) => tcb.decide(seg, &cx),
            None if served => listen(seg, &cx),
            None => refuse(seg, &cx),
        };
        let mac = frame[6..12].try_into().unwrap();
        if !self.change(&seg.tuple, mac, &decision.change, decision.event) {
            return;
        }
        if let Verdict::Answer(reply) = decision.verdict {
            let mut buf = frame.to_vec();
            buf.resize(1600, 0);
            let from = reply.payload_offset as usize;
            let payload = if reply.payload_len == 0 {
                &[]
            } else {
                &self.answer[from..from + reply.payload_len as usize]
            };
            let len =
                answer_in_place(&mut buf, seg, &reply, payload, TxChecksums::default()).unwrap();
            buf.truncate(len);
            out.push(buf);
        }
        self.advance(now, &seg.tuple, out);
    }
}

impl Server for Engine {
    fn turn(&mut self, now: u64, burst: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let now = Now::new(now + self.setup.uptime_ms * 1000, self.setup.unix_ms + now / 1000);
        let mut out = Vec::new();
        let port = PortView { mac: Mac(SERVER_MAC), vlan: 0, index: 0 };
        for frame in burst {
            if let Ok(Parsed::Tcp(seg)) = parse(frame, &port, RxChecksums::default()) {
                self.segment(now, frame, &seg, &mut out);
            }
        }
        let due: Vec<Tuple> = self
            .table
            .iter()
            .filter(|(_, (t, _))| t.deadline(&self.policy).is_due(now.tick))
            .map(|(k, _)| *k)
            .collect();
        for tuple in due {
            let (tcb, mac) = self.table[&tuple];
            let cx = self.context(now, !tuple.remote.is_v4());
            let (reply, change, event) = tcb.on_timer(&cx);
            if let Some(reply) = reply {
                self.emit(&tuple, mac, &reply, &mut out);
            }
            self.change(&tuple, mac, &change, event);
            self.advance(now, &tuple, &mut out);
        }
        out
    }
    fn flows(&self) -> usize {
        self.table.len()
    }
    fn audit(&mut self) -> Vec<String> {
        Vec::new()
    }
}
