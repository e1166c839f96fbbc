//! A running engine: its pinned threads, and the handle that stops them and reads their counts.
//!
//! [`Engine::start`] starts the ports, spawns a thread for each core and returns once every one of them
//! polls. Threads hear of orders at housekeeping, about once a millisecond; nothing else is shared with
//! them but the boards that they publish their counts on.
//!
//! | file | holds |
//! |---|---|
//! | `flows` | samples of the flow tables |
//! | `consumers` | the consumers' ends of `ring` services |
//! | `keys` | secrets: from a file or random, and what a reload may do to them |
//! | `overrides` | what operators have ordered beyond the file |
//! | `shared` | what readers of counts see |
//! | `thread` | a worker's thread and the orders that it obeys |

#![forbid(unsafe_code)]

mod consumers;
mod flows;
mod keys;
mod overrides;
mod shared;
mod thread;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{Sender, bounded};

use self::consumers::{Untaken, first_ends};
use self::overrides::Overrides;
use self::shared::Shared;
use self::thread::{Idle, Order, Post};
use crate::clock::{Clock, SystemClock};
use crate::config::Plan;
use crate::control::Source;
use crate::port::{Port, PortError, groups_of};
use crate::stats::{BackendSnapshot, Snapshot};
use crate::worker::{Keyring, Outfit, Peers, Share, Station, View};

/// How many names an error lists.
const LISTED: usize = 8;

/// A running engine. Dropping it stops it.
pub struct Engine<P: Port> {
    /// What runs, as its file says.
    plan: Plan,
    /// What runs otherwise.
    overrides: Overrides,
    view: Arc<View>,
    clock: SystemClock,
    shared: Arc<Shared<P>>,
    orders: Vec<Sender<Order>>,
    threads: Vec<JoinHandle<()>>,
    untaken: Untaken,
}

impl<P: Port + 'static> Engine<P>
where
    P::Queue: 'static,
{
    /// Starts `ports` and a worker for each of `cores`; a worker is pinned unless its core is `None`
    /// (tests). Returns once every worker polls. `ports` stand in the plan's order.
    ///
    /// # Errors
    ///
    /// When a port does not start, randomness cannot be had, or a thread cannot be pinned or used by a
    /// device. Whatever was started is stopped.
    pub fn start(
        plan: &Plan,
        mut ports: Vec<P>,
        cores: &[Option<usize>],
    ) -> Result<Self, PortError> {
        let clock = SystemClock::start();
        let keyring = keys::keyring(&plan.handshake)?;
        let stations: Vec<_> =
            ports.iter().map(|port| Station { mac: port.mac(), mtu: port.mtu() }).collect();
        let view = Arc::new(View::new(plan, &stations, keyring));
        let count = u16::try_from(cores.len()).map_err(|_| "more workers than there can be")?;
        let (shares, outfits) = (shares(&mut ports, count)?, Outfit::all(&view, count));
        let (ends, untaken) = first_ends(plan, &view, cores.len())?;
        let idle = Arc::new(Idle::none(cores.len()));
        let (mut boards, mut posts) = (Vec::new(), Vec::new());
        let equipment =
            Peers::among(count).into_iter().zip(shares).zip(outfits.into_iter().zip(ends));
        for ((number, &core), ((peers, shares), (outfit, ends))) in
            cores.iter().enumerate().zip(equipment)
        {
            boards.push((core.unwrap_or_default(), Arc::clone(outfit.board())));
            posts.push(Post {
                number,
                idle: Arc::clone(&idle),
                core,
                shares,
                peers,
                outfit,
                ends,
                capacity: plan.flow_capacity,
                seeds: keys::random_seeds()?,
                clock,
            });
        }
        let shared = Arc::new(Shared::new(ports, boards, &view, clock));
        let (orders, threads) = (Vec::new(), Vec::new());
        let overrides = Overrides::default();
        let plan = plan.clone();
        let mut engine = Self { plan, overrides, view, clock, shared, orders, threads, untaken };
        engine.spawn(posts)?;
        Ok(engine)
    }

    fn spawn(&mut self, posts: Vec<Post<P::Queue>>) -> Result<(), PortError> {
        let (ready, readiness) = bounded(posts.len());
        for (number, post) in posts.into_iter().enumerate() {
            let (order, orders) = bounded(4);
            let ready = ready.clone();
            let thread = Builder::new().name(format!("usher-{number}"));
            self.threads.push(thread.spawn(move || thread::work(post, &orders, &ready))?);
            self.orders.push(order);
        }
        drop(ready);
        for _ in 0..self.threads.len() {
            readiness.recv().map_err(|_| "a worker's thread ended before it polled")??;
        }
        Ok(())
    }

    /// The plan that runs.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Goes on with `plan`: returns when every worker has it. Flows that there are go on as they began, those of
    /// services that it changes or no longer has, too; timeouts hold for a flow from its next segment on.
    ///
    /// # Errors
    ///
    /// When it differs in what cannot change while the engine runs: one sentence, and nothing has changed.
    pub fn reload(&mut self, plan: &Plan) -> Result<(), String> {
        let keyring = self.admit(plan)?;
        let overrides = self.overrides.following(plan);
        self.go_on(&overrides.applied_to(plan), keyring)?;
        let before = std::mem::replace(&mut self.plan, plan.clone());
        self.overrides = overrides;
        self.make_ends(&before).map_err(|cause| cause.to_string())
    }

    /// What [`Self::reload`] with `plan` would refuse: nothing, or a sentence. Changes nothing.
    #[must_use]
    pub fn refusal(&self, plan: &Plan) -> Option<String> {
        let keyring = self.admit(plan);
        let view = keyring.and_then(|keyring| self.next_view(plan, keyring));
        view.err()
    }

    /// The keys for `plan`, if the running engine can go on with it.
    fn admit(&self, plan: &Plan) -> Result<Keyring, String> {
        if self.shared.is_draining() {
            return Err("the engine is draining".into());
        }
        let fixed = self.plan.fixed_differences(plan);
        if !fixed.is_empty() {
            let keys = fixed.join(", ");
            return Err(format!("{keys} cannot change while the engine runs: restart it"));
        }
        let mut clock = self.clock;
        let epoch = clock.now().epoch;
        keys::follow(self.view.keyring(), &self.plan.handshake, &plan.handshake, epoch)
    }

    fn next_view(&self, plan: &Plan, keyring: Keyring) -> Result<View, String> {
        let in_use = |edition| self.shared.holds(edition);
        self.view.following(plan, keyring, in_use).map_err(|exhausted| exhausted.to_string())
    }

    /// Gives the workers `plan`, overrides and all.
    fn go_on(&mut self, plan: &Plan, keyring: Keyring) -> Result<(), String> {
        let view = Arc::new(self.next_view(plan, keyring)?);
        for (port, addresses) in self.shared.ports().iter_mut().zip(view.addresses()) {
            port.join(&groups_of(addresses));
        }
        self.exchange(&view);
        self.view = view;
        Ok(())
    }

    /// Gives every worker what it needs for `view`, and waits until each has it.
    fn exchange(&self, view: &Arc<View>) {
        let (back, returned) = bounded(self.orders.len());
        let mut boards = Vec::new();
        for (orders, outfit) in self.orders.iter().zip(Outfit::all(view, self.orders.len() as u16))
        {
            boards.push(Arc::clone(outfit.board()));
            // One that has ended needs none; its last counts go with its board.
            let _ = orders.send(Order::Adopt(outfit, back.clone()));
        }
        drop(back);
        // What comes back is freed here. The channel closes when every worker has answered or ended.
        returned.iter().for_each(drop);
        self.shared.replace(boards, view);
    }

    /// Takes a service's backend out, or back in: one that is out keeps its flows and gets no new ones, until it
    /// is taken in or the engine ends. Returns what came of it when every worker has heard.
    ///
    /// # Errors
    ///
    /// When there is no such service or backend: one sentence, with those that there are.
    pub fn set_drained(
        &self,
        service: &str,
        address: SocketAddr,
        drained: bool,
    ) -> Result<String, String> {
        let slot = self.slot(service, address)?;
        self.tell_of_backend(slot, drained);
        let backends = self.stats().backends;
        let is_one =
            |backend: &&BackendSnapshot| backend.service == service && backend.address == address;
        let connections = backends.iter().find(is_one).map_or(0, |one| one.sum.connections);
        let forsaken = backends.iter().filter(|one| one.service == service);
        let forsaken = !forsaken.clone().any(|one| one.sum.state.is_usable());
        Ok(match (drained, forsaken) {
            (true, false) => {
                format!("{address} of {service:?} gets no new connections; it has {connections}")
            }
            (true, true) => format!(
                "{address} of {service:?} gets no new connections; it has {connections}; no other is usable, so new clients are turned away"
            ),
            (false, _) => format!("{address} of {service:?} gets new connections while it is up"),
        })
    }

    /// The slot of a service's backend, or the sentence that says which there are.
    fn slot(&self, service: &str, address: SocketAddr) -> Result<u16, String> {
        let all = || self.view.backends();
        let own = || all().filter(|(_, name, _)| *name == service);
        if let Some((slot, ..)) = own().find(|(_, _, at)| *at == address) {
            return Ok(slot);
        }
        let there = listed(own().map(|(_, _, at)| at.to_string()));
        let services = listed(all().map(|(_, name, _)| format!("{name:?}")));
        Err(match (there, services) {
            (Some(there), _) => {
                format!("service {service:?} has no backend {address}: there are {there}")
            }
            (None, Some(services)) => {
                format!("there is no proxy service {service:?}: there are {services}")
            }
            (None, None) => "there is no proxy service, and so no backend".into(),
        })
    }

    /// Tells every worker, and waits until each has done it.
    fn tell_of_backend(&self, slot: u16, drained: bool) {
        let (done, heard) = bounded(self.orders.len());
        for orders in &self.orders {
            // One that has ended needs none.
            let _ = orders.send(Order::Backend { slot, drained, done: done.clone() });
        }
        drop(done);
        // The channel closes when every worker has answered or ended.
        heard.iter().for_each(drop);
    }

    /// Takes no new connections; existing ones finish, and what is left after `timeout` is reset. The
    /// engine is finished when none is left.
    pub fn drain(&self, timeout: Duration) {
        self.shared.drain();
        let ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX >> 1).min(u32::MAX >> 1);
        self.tell(|| Order::Drain(ms));
    }

    /// Whether every worker has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// How many workers there are.
    #[must_use]
    pub const fn workers(&self) -> usize {
        self.orders.len()
    }

    /// How many rounds each worker has made that has not ended, published about once a millisecond.
    #[must_use]
    pub fn turns(&self) -> Vec<u64> {
        let turns = self.shared.turns().into_iter().zip(&self.threads);
        turns.filter(|(_, thread)| !thread.is_finished()).map(|(turns, _)| turns).collect()
    }

    /// The counts of now.
    #[must_use]
    pub fn stats(&self) -> Snapshot {
        self.shared.snapshot()
    }

    /// Where servers read the counts.
    #[must_use]
    pub fn source(&self) -> Arc<dyn Source> {
        Arc::clone(&self.shared) as Arc<dyn Source>
    }
}

impl<P: Port> Engine<P> {
    fn tell(&self, order: impl Fn() -> Order) {
        for orders in &self.orders {
            // A worker that has ended, or has more orders than it could carry out, needs no other.
            let _ = orders.try_send(order());
        }
    }
}

impl<P: Port> Engine<P> {
    /// Ends every worker at once, whatever it has, and waits for that. The counts stay.
    pub fn stop(&mut self) {
        self.tell(|| Order::Stop);
        self.finish();
    }

    /// Waits until every worker has ended: after [`Self::drain`], when no connection is left.
    pub fn finish(&mut self) {
        for thread in self.threads.drain(..) {
            // A panic in a worker has been printed; in release builds it has ended the process.
            let _ = thread.join();
        }
    }
}

impl<P: Port> Drop for Engine<P> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Each of `names` once, for a sentence; `None` if there are none.
fn listed(names: impl Iterator<Item = String>) -> Option<String> {
    let mut names: Vec<String> = names.collect();
    names.dedup();
    let more = names.len().saturating_sub(LISTED);
    names.truncate(LISTED);
    let text = names.join(", ");
    match more {
        _ if text.is_empty() => None,
        0 => Some(text),
        more => Some(format!("{text} and {more} more")),
    }
}

/// Each worker's shares, one of each port.
fn shares<P: Port>(ports: &mut [P], workers: u16) -> Result<Vec<Vec<Share<P::Queue>>>, PortError> {
    let mut shares: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
    for port in ports {
        let queues = port.start()?;
        if queues.is_empty() {
            return Err(format!("port {} has no queue pair", port.name()).into());
        }
        let dealt = Share::deal(queues, workers);
        shares.iter_mut().zip(dealt).for_each(|(own, share)| own.push(share));
    }
    Ok(shares)
}
