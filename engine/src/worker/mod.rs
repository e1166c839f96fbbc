//! One worker: polls its queues, decides each frame, carries the decision out, keeps time.
//!
//! A worker shares nothing writable but the board it publishes its counts on. After [`Worker::new`] it
//! neither allocates nor locks, and nothing on a frame's way formats or panics. Whoever owns it calls
//! [`Worker::turn`] as often as possible: the engine's threads with the machine's clock, tests with
//! their own.
//!
//! | file | holds |
//! |---|---|
//! | `listeners` | where services listen |
//! | `view` | the plan, prepared for look-ups |
//! | `gate` | what new SYNs get |
//! | `limiter` | how many RSTs and challenge ACKs go out |
//! | `egress` | the way out of a port |
//! | `turn` | one burst, front to back |
//! | `around` | ARP, neighbour discovery, echo: answers, questions, announcements |
//! | `front` | proxy services and their backends, prepared for look-ups |
//! | `proxy` | proxied flows, from the third ACK to the end |
//! | `reach` | which backend and port a proxied flow gets; what backends teach |
//! | `passing` | the way of a proxied flow's frames |
//! | `offers` | what SYN-ACKs of proxy services agree to |
//! | `checks` | health checks of backends |
//! | `held` | what waits for a backend half |
//! | `ways` | ports and next hops of the paths to backends |
//! | `slots` | what is kept of each flow of a `ring` service |
//! | `rings` | the ends of rings, and what consumers are still to hear |
//! | `handing` | flows of `ring` services, and the commands of consumers |
//! | `owned` | flows that a consumer owns |
//! | `outbox` | what consumers have written |
//! | `early` | what came before its turn |
//! | `commit` | what a decision does to the table, and what timers do |
//! | `sample` | copies of flows, for those who want to see some |
//! | `share` | a queue pair, or a way to a worker that has one |
//! | `owners` | whose a frame is |
//! | `redirect` | frames that go on to their worker |
//! | `news` | what workers tell each other |
//! | `housekeeping` | timers, announcements, drain, counts |

#![forbid(unsafe_code)]

mod around;
mod checks;
mod commit;
mod early;
mod egress;
mod front;
mod gate;
mod handing;
mod held;
mod housekeeping;
mod limiter;
mod listeners;
mod news;
mod offers;
mod outbox;
mod owned;
mod owners;
mod passing;
mod proxy;
mod reach;
mod redirect;
mod rings;
mod sample;
mod share;
mod slots;
mod turn;
mod view;
mod ways;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use usher_proto::tcp::State;
use usher_proto::time::{Now, Tick};
use usher_proto::wire::Tuple;

use self::egress::Egress;
use self::gate::Gate;
use self::handing::Handing;
use self::housekeeping::Chores;
use self::limiter::Limiter;
use self::offers::Offers;
use self::proxy::Proxies;
pub use self::redirect::Peers;
use self::rings::Rings;
pub use self::sample::{FlowFilter, Sample, SampledFlow};
pub use self::share::Share;
use self::turn::{Limits, Turn};
pub use self::view::{Exhausted, Keyring, Standing, Station, View};
use self::ways::Ways;
use crate::flow::{Seed, Table};
use crate::handoff::WorkerEnd;
use crate::health::Checks;
use crate::port::{PortError, QueuePair};
use crate::service::Position;
use crate::stats::{Board, Counter, Tally, WorkerSnapshot};

/// What a worker's hashes are keyed with; each worker has its own.
#[derive(Clone, Copy)]
pub struct Seeds {
    table: Seed,
    resets: Seed,
    challenges: Seed,
    errors: Seed,
    checks: Seed,
}

impl Seeds {
    /// The seeds made of these bytes, which must come from a random number generator.
    #[must_use]
    pub const fn from_bytes(bytes: [[u8; 32]; 5]) -> Self {
        let [table, resets, challenges, errors, checks] = bytes;
        Self {
            table: Seed::from_bytes(table),
            resets: Seed::from_bytes(resets),
            challenges: Seed::from_bytes(challenges),
            errors: Seed::from_bytes(errors),
            checks: Seed::from_bytes(checks),
        }
    }
}

/// What a worker exchanges when the plan is reloaded: made by the engine's thread, so that the worker
/// allocates nothing, and given back to it, so that it frees nothing.
#[derive(Debug)]
pub struct Outfit {
    position: Position,
    view: Arc<View>,
    tally: Tally,
    /// All workers', of which each writes its own.
    boards: Arc<[Arc<Board>]>,
    ways: Ways,
    offers: Offers,
    rings: Box<Rings>,
}

impl Outfit {
    /// What each of so many workers needs for `view`, in order.
    #[must_use]
    pub fn all(view: &Arc<View>, workers: u16) -> Vec<Self> {
        let boards: Arc<[Arc<Board>]> = (0..workers).map(|_| view.board()).collect();
        let one = |position| Self {
            position,
            tally: view.tally(),
            boards: Arc::clone(&boards),
            ways: Ways::new(&view.targets, position),
            offers: Offers::new(view.edition_count()),
            rings: Box::new(Rings::new(view.rings(), view.capacity)),
            view: Arc::clone(view),
        };
        Position::all(workers).map(one).collect()
    }

    /// Where the worker will publish its counts.
    #[must_use]
    pub fn board(&self) -> &Arc<Board> {
        &self.boards[usize::from(self.position.index())]
    }
}

/// Everything that one pinned thread owns, on cache lines that no other worker writes.
#[repr(align(128))]
pub struct Worker<Q: QueuePair> {
    view: Arc<View>,
    flows: Table,
    gate: Gate,
    limits: Box<Limits>,
    tally: Tally,
    boards: Arc<[Arc<Board>]>,
    links: Vec<Egress<Q>>,
    peers: Peers<Q::Frame>,
    proxies: Proxies<Q::Frame>,
    handing: Handing<Q::Frame>,
    chores: Chores,
}

impl<Q: QueuePair> Worker<Q> {
    /// A worker for `capacity` flows with its share of each port of the view, in the view's order, and the rings
    /// between it and the others.
    ///
    /// # Panics
    ///
    /// If `capacity` exceeds 2³⁰, `shares` are not as many as the view's ports, or `outfit` and `peers` are not the
    /// same worker's.
    #[must_use]
    pub fn new(
        outfit: Outfit,
        shares: Vec<Share<Q>>,
        peers: Peers<Q::Frame>,
        capacity: u32,
        seeds: Seeds,
        now: Now,
    ) -> Self {
        let Outfit { position, view, tally, boards, ways, offers, rings } = outfit;
        assert_eq!(shares.len(), view.port_count(), "one share a port");
        assert_eq!(position, peers.position(), "one worker's");
        let mut flows = Table::new(capacity, seeds.table, now.tick);
        flows.set_paths(Arc::clone(view.targets.paths()));
        let checks = Checks::new(position, seeds.checks, now.tick);
        let mut proxies = Proxies::new(view.buffers, position, ways, offers, checks);
        proxies.follow(&view, &now, flows.hash(&Tuple::default()));
        Self {
            flows,
            gate: Gate::default(),
            limits: Box::new(Limits {
                resets: Limiter::new(seeds.resets),
                challenges: Limiter::new(seeds.challenges),
                errors: Limiter::new(seeds.errors),
            }),
            tally,
            boards,
            links: (0..).zip(shares).map(|(port, share)| Egress::new(port, share)).collect(),
            peers,
            proxies,
            handing: Handing::new(rings, view.buffers),
            chores: Chores::new(&now),
            view,
        }
    }

    /// One round over all ports: receive, decide, send, and whatever time has brought. Returns the
    /// number of frames that came, from ports and from other workers.
    pub fn turn(&mut self, now: Now) -> usize {
        let mut turn = Turn {
            now,
            view: &self.view,
            flows: &mut self.flows,
            gate: &mut self.gate,
            limits: &mut self.limits,
            tally: &mut self.tally,
            links: &mut self.links,
            peers: &mut self.peers,
            boards: &self.boards,
            proxies: &mut self.proxies,
            handing: &mut self.handing,
        };
        turn.hear_consumers();
        let mut received = 0;
        if !turn.peers.position().is_alone() {
            turn.hear_news();
            received += turn.take_over();
            let (links, tally) = (turn.links.iter_mut(), &mut *turn.tally);
            received += links.map(|link| link.relay(tally)).sum::<usize>();
        }
        received += (0..turn.links.len()).map(|port| turn.burst(port)).sum::<usize>();
        if self.chores.are_due(&now) {
            self.chores.run(&mut turn);
            turn.tell_consumers();
            let slots = self.proxies.report_some(&mut self.tally);
            self.handing.report(&mut self.tally);
            self.boards[usize::from(self.peers.position().index())]
                .publish_part(&self.tally, slots);
        } else {
            turn.tell_consumers();
        }
        for link in &mut self.links {
            link.finish(&mut self.tally);
        }
        self.peers.publish();
        self.tally.add(Counter::Turns, 1);
        self.tally.add(Counter::IdleTurns, u64::from(received == 0));
        received
    }

    /// Takes no new connections from `now` on. Third ACKs may come for a second; what is left in `ms` is reset.
    pub const fn drain(&mut self, now: Tick, ms: u32) {
        self.gate.draining = true;
        self.chores.drain(now, ms);
    }

    /// Goes on with the view of a reloaded plan, which follows the present one; its counts too. Flows keep the
    /// editions of services that they have. Returns what is no longer needed.
    #[must_use]
    pub fn adopt(&mut self, outfit: Outfit, now: Now) -> Outfit {
        let Outfit { position, view, mut tally, boards, mut ways, offers, mut rings } = outfit;
        self.proxies.follow(&view, &now, self.flows.hash(&Tuple::default()));
        ways.adopt(&mut self.proxies.ways);
        rings.adopt(&mut self.handing.rings);
        self.flows.set_paths(Arc::clone(view.targets.paths()));
        tally.adopt(&self.tally);
        if view.has_new_addresses {
            self.chores.announce_again(&now);
        }
        let old = Outfit {
            position,
            view: std::mem::replace(&mut self.view, view),
            tally: std::mem::replace(&mut self.tally, tally),
            boards: std::mem::replace(&mut self.boards, boards),
            ways: std::mem::replace(&mut self.proxies.ways, ways),
            offers: std::mem::replace(&mut self.proxies.offers, offers),
            rings: std::mem::replace(&mut self.handing.rings, rings),
        };
        self.publish();
        old
    }

    /// Takes the backend in `slot` out, or back in: one that is out keeps its flows and gets no new ones.
    pub fn set_drained(&mut self, slot: u16, drained: bool) {
        self.proxies.backends.get_mut(slot).drained = drained;
        self.proxies.offers.forget();
        self.publish();
    }

    /// Lets a consumer take the flows that this worker has of a service, by its number in the view.
    ///
    /// # Errors
    ///
    /// Gives the end back if the service is no `ring`, or has a consumer at this worker that is neither gone nor silent.
    pub fn attach(
        &mut self,
        service: usize,
        end: Box<WorkerEnd>,
        now: Now,
    ) -> Result<(), Box<WorkerEnd>> {
        self.handing.give_up(now.tick, &mut self.tally);
        self.handing.rings.attach(service, end)
    }

    /// Whether no flow is left that a drain waits for, and consumers have heard of all.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.flows.active() == 0 && !self.handing.rings.are_behind()
    }

    /// How many flows of `ring` services there are, those included whose end a consumer is still to hear of.
    #[must_use]
    pub const fn handed(&self) -> usize {
        self.handing.rings.flows()
    }

    /// How many buffers consumers have.
    #[must_use]
    pub fn leases(&self) -> usize {
        self.handing.leases()
    }

    /// How many frames came before their turn, and how many payloads wait to be acknowledged.
    #[must_use]
    pub const fn kept(&self) -> (u32, u32) {
        self.handing.kept()
    }

    /// How many flows are in `state`.
    #[must_use]
    pub const fn flows(&self, state: State) -> u32 {
        self.flows.count(state)
    }

    /// How many records are in use, spent markers and TIME_WAIT included.
    #[must_use]
    pub fn records(&self) -> u32 {
        self.flows.len()
    }

    /// What it goes by.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Where it publishes its counts.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.boards[usize::from(self.peers.position().index())]
    }

    /// How many frames of clients wait for their backends.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.proxies.held()
    }

    /// How many source ports connections to backends have.
    #[must_use]
    pub fn ports_taken(&self) -> usize {
        self.proxies.ways.taken()
    }

    /// What it has counted so far.
    #[must_use]
    pub fn stats(&self) -> WorkerSnapshot {
        self.tally.snapshot()
    }

    /// Adds the time that rounds took, in microseconds.
    pub fn note_time(&mut self, busy_us: u64, total_us: u64) {
        self.tally.add(Counter::BusyUs, busy_us);
        self.tally.set(Counter::TimeUs, total_us);
    }

    /// Publishes all counts now.
    pub fn publish(&mut self) {
        let slots = 0..self.tally.backends();
        self.proxies.report(&mut self.tally, slots);
        self.handing.report(&mut self.tally);
        self.boards[usize::from(self.peers.position().index())].publish(&self.tally);
    }

    /// The queue pairs that it has.
    pub fn queues(&mut self) -> impl Iterator<Item = &mut Q> {
        self.links.iter_mut().filter_map(|link| link.share.queue())
    }

    /// To be called on the worker's thread before anything else: see [`QueuePair::on_thread`].
    ///
    /// # Errors
    ///
    /// When a port cannot be used from this thread.
    pub fn on_thread(&mut self) -> Result<(), PortError> {
        self.links.iter_mut().try_for_each(|link| link.share.on_thread())
    }

    /// To be called on the worker's thread after everything else: see [`QueuePair::off_thread`].
    pub fn off_thread(&mut self) {
        self.links.iter_mut().for_each(|link| link.share.off_thread());
    }
}
