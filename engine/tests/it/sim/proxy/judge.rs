//! What must hold of a connection's two ends when it is over.

use super::super::peer::{Outcome, Peer, State};
use super::cable::Middle;
use super::world::World;

/// What is wrong with one end and what it heard of the other.
fn end_fault(own: &Peer, other: &Peer) -> Option<String> {
    if let Some(fault) = own.faults.first() {
        return Some(format!("{} faults, first: {fault}", own.faults.len()));
    }
    if !own.heard.begins(other.stream) {
        return Some(format!("{:?} of {:?}", own.heard, other.stream));
    }
    None
}

/// What is wrong with a connection: both streams whole and an orderly end, unless somebody broke it; then
/// a beginning of each, and an end.
pub(crate) fn connection_fault(client: &Peer, backend: &Peer) -> Option<String> {
    let ends = [(client, backend, "client"), (backend, client, "backend")];
    let broken = |peer: &Peer| matches!(peer.outcome, Some(Outcome::Broken(_)));
    let orderly = !broken(client) && !broken(backend);
    for (own, other, name) in ends {
        let closed = match own.outcome {
            None => own.state() == State::TimeWait,
            Some(outcome) => outcome == Outcome::Closed,
        };
        let fault = end_fault(own, other).or_else(|| {
            (orderly && !closed).then(|| format!("ended as {:?}", own.outcome)).or_else(|| {
                let whole = own.heard.is(other.stream);
                (orderly && !whole).then(|| format!("{:?} of {:?}", own.heard, other.stream))
            })
        });
        if let Some(fault) = fault.or_else(|| (!own.is_done()).then(|| "never ended".to_owned())) {
            return Some(format!("{name}: {fault}"));
        }
    }
    None
}

/// What is wrong with a client that no backend has heard of.
fn lonely_fault(client: &Peer, backends_break: bool) -> Option<String> {
    // Streams so short say not whose they are.
    let short = client.stream.len.max(client.heard.len) < 8 && client.is_done();
    match (client.faults.first(), client.outcome) {
        (Some(fault), _) => Some(fault.clone()),
        (None, Some(Outcome::Broken(_))) => None,
        (None, None | Some(Outcome::Closed)) if short => None,
        (None, Some(Outcome::Reset | Outcome::TimedOut)) if backends_break => None,
        (None, outcome) => Some(format!("no backend was reached: {outcome:?}")),
    }
}

/// One connection that went wrong.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) client: (usize, usize),
    pub(crate) backend: Option<(usize, usize)>,
    pub(crate) why: String,
}

impl<M: Middle> World<M> {
    /// Every connection of a client that went wrong; `find` gives the other end.
    pub(crate) fn failures(
        &self,
        find: impl Fn(&Self, &Peer) -> Option<(usize, usize)>,
    ) -> Vec<Failure> {
        let mut failures = Vec::new();
        for (host, machine) in self.hosts.iter().enumerate().filter(|(_, h)| h.listens.is_none()) {
            for (index, client) in machine.peers.iter().enumerate() {
                let backend = find(self, client);
                let why = match backend {
                    Some((host, peer)) => connection_fault(client, &self.hosts[host].peers[peer]),
                    None => lonely_fault(client, self.backends_break),
                };
                let failure = |why| Failure { client: (host, index), backend, why };
                failures.extend(why.map(failure));
            }
        }
        failures
    }

    /// Fails unless at most so many connections went wrong.
    pub(crate) fn expect(&self, failures: &[Failure], at_most: usize) {
        let Some(first) = failures.get(at_most) else { return };
        let ends: Vec<_> = [Some(first.client), first.backend].into_iter().flatten().collect();
        let peers = ends.iter().map(|&(host, peer)| &self.hosts[host].peers[peer]);
        let portraits: Vec<_> = peers
            .map(|p| format!("{:?}\n{:?}\n{:?} {:?}", p.habits, p.script, p.passed, p.outcome))
            .collect();
        panic!(
            "seed {}: {} connections failed: {}\n{}\n{}",
            self.seed,
            failures.len(),
            first.why,
            portraits.join("\n"),
            self.story(&ends)
        );
    }
}
