//! Samples of the flow table: copies of what passes a filter, a bounded number of records at a time.
//!
//! The engine's thread makes a [`Sample`] with room for all that it may hold; the worker fills it between two rounds and
//! sends it back, as often as it comes. It allocates nothing, waits for nobody and lets frames wait for no longer than
//! any other housekeeping does.

#![forbid(unsafe_code)]

use usher_proto::tcp::State;
use usher_proto::time::Now;
use usher_proto::wire::Tuple;

use super::Worker;
use crate::config::Prefix;
use crate::flow::Body;
use crate::port::QueuePair;

/// Records that one visit looks at: two cache lines each that nobody has fetched, so about 100 µs at most. More
/// lets a receive queue overflow at line rate; fewer makes a large table take longer.
const RECORDS: u32 = 512;

/// Which flows are wanted: those that pass every filter that there is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FlowFilter {
    /// Of this service, by its index in the view.
    pub service: Option<usize>,
    /// In this state.
    pub state: Option<State>,
    /// Of clients with such an address.
    pub client: Option<Prefix>,
    /// With a backend in one of these slots.
    pub backends: Option<Box<[u16]>>,
}

/// A flow as it was when a worker came by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SampledFlow {
    /// Its name: the client and the service's address.
    pub tuple: Tuple,
    /// Its name on its backend's half.
    pub backend_tuple: Option<Tuple>,
    /// The index of its service in the view.
    pub service: usize,
    /// Its state as the client sees it.
    pub state: State,
    /// The slot of its backend.
    pub backend: Option<u16>,
    /// For how long it has been open, or half-open, in ms.
    pub age_ms: u32,
    /// For how long nobody was heard, in ms.
    pub idle_ms: u32,
}

/// What a worker is to copy, and what it has copied so far.
#[derive(Debug)]
pub struct Sample {
    filter: FlowFilter,
    /// At most as many as there is room for: it never grows.
    flows: Vec<SampledFlow>,
    /// Where the next visit begins.
    next: u32,
    /// Records looked at.
    looked: u32,
    /// Records that there are to look at.
    records: u32,
}

impl Sample {
    /// A sample of at most `limit` flows that begins at the record `start`, counted modulo the table's.
    #[must_use]
    pub fn new(filter: FlowFilter, limit: usize, start: u32) -> Self {
        let flows = Vec::with_capacity(limit);
        Self { filter, flows, next: start, looked: 0, records: u32::MAX }
    }

    /// Whether every record was looked at.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.looked >= self.records
    }

    /// Whether another visit would bring nothing: all is seen, or there is no room left.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.is_complete() || self.flows.len() == self.flows.capacity()
    }

    /// How many records were looked at.
    #[must_use]
    pub const fn looked(&self) -> u32 {
        self.looked
    }

    /// What was found.
    #[must_use]
    pub fn flows(&self) -> &[SampledFlow] {
        &self.flows
    }
}

impl FlowFilter {
    fn passes(&self, tuple: &Tuple, state: State, service: usize, backend: Option<u16>) -> bool {
        let is_of = |prefix: Prefix| prefix.contains(tuple.remote.into());
        let is_at = |slots: &[u16]| backend.is_some_and(|slot| slots.contains(&slot));
        self.state.is_none_or(|wanted| wanted == state)
            && self.service.is_none_or(|wanted| wanted == service)
            && self.client.is_none_or(is_of)
            && self.backends.as_deref().is_none_or(is_at)
    }
}

impl<Q: QueuePair> Worker<Q> {
    /// Looks at the next records for `sample`: a bounded number of them, and none twice.
    pub fn sample(&self, sample: &mut Sample, now: &Now) {
        // A table that grows meanwhile is looked at as it was.
        sample.records = sample.records.min(self.flows.used());
        let from = sample.next.checked_rem(sample.records).unwrap_or(0);
        let left = sample.records.saturating_sub(sample.looked);
        let count = RECORDS.min(left).min(sample.records - from);
        let mut end = from + count;
        for index in self.flows.flows(from, count) {
            if sample.flows.len() == sample.flows.capacity() {
                end = index.get();
                break;
            }
            let (tuple, body) = (self.flows.tuple(index), self.flows.body(index));
            let service = self.view.service(self.flows.edition(index));
            let backend = match body {
                Body::Own(_) => None,
                Body::Spliced(splice) => Some(splice.backend),
            };
            if sample.filter.passes(tuple, body.state(), service, backend) {
                sample.flows.push(SampledFlow {
                    tuple: *tuple,
                    backend_tuple: self.flows.backend_tuple(index),
                    service,
                    state: body.state(),
                    backend,
                    age_ms: now.tick.since(body.opened_at()),
                    idle_ms: now.tick.since(body.heard_at()),
                });
            }
        }
        sample.looked += end - from;
        sample.next = end;
    }
}
