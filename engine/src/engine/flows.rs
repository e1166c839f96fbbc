//! Samples of the workers' flow tables.

#![forbid(unsafe_code)]

use std::net::SocketAddr;

use crossbeam::channel::bounded;
use usher_proto::wire::{Addr, Tuple};

use super::thread::Order;
use super::{Engine, listed};
use crate::clock::Clock;
use crate::control::{Flow, FlowQuery, Flows};
use crate::port::Port;
use crate::worker::{FlowFilter, Sample, SampledFlow, View};

/// Visits to each worker for one sample, a millisecond apart. More keeps reloads and signals waiting; with fewer, a
/// filter that few flows pass finds fewer of them in a large table.
const VISITS: usize = 500;

impl<P: Port + 'static> Engine<P> {
    /// Some of the flows that pass the filters of `query`, from all workers in turn. What is not complete begins at
    /// another place each time.
    ///
    /// # Errors
    ///
    /// When the query makes no sense: one sentence.
    pub fn flows(&self, query: &FlowQuery) -> Result<Flows, String> {
        let (filter, limit) = (self.filter(query)?, query.limit()?);
        let mut clock = self.clock;
        // any place is as good as another, and this one is another each time
        let start = clock.now().us as u32;
        let new = |_| Some(Box::new(Sample::new(filter.clone(), limit, start)));
        let mut samples: Vec<Option<Box<Sample>>> = (0..self.orders.len()).map(new).collect();
        for _ in 0..VISITS {
            if !self.visit(&mut samples) {
                break;
            }
        }
        Ok(self.gather(&samples, limit))
    }

    /// Has every worker look a bit further; `false` when none had anything to do.
    fn visit(&self, samples: &mut [Option<Box<Sample>>]) -> bool {
        let mut sent = Vec::new();
        for (place, orders) in samples.iter_mut().zip(&self.orders) {
            let Some(sample) = place.take_if(|sample| !sample.is_finished()) else { continue };
            let (back, returned) = bounded(1);
            // One that has ended has no flows.
            let _ = orders.send(Order::Sample(sample, back));
            sent.push((place, returned));
        }
        let any = !sent.is_empty();
        for (place, returned) in sent {
            *place = returned.recv().ok();
        }
        any
    }

    /// What the workers found, by turns.
    fn gather(&self, samples: &[Option<Box<Sample>>], limit: usize) -> Flows {
        let samples =
            || samples.iter().enumerate().filter_map(|(i, one)| Some((i, one.as_deref()?)));
        let most = samples().map(|(_, sample)| sample.flows().len()).max().unwrap_or(0);
        let found = (0..most).flat_map(|turn| {
            samples().filter_map(move |(worker, sample)| Some((worker, sample.flows().get(turn)?)))
        });
        let total: usize = samples().map(|(_, sample)| sample.flows().len()).sum();
        let ports: Vec<String> = self.plan.ports.iter().map(|port| port.name.clone()).collect();
        Flows {
            flows: found
                .take(limit)
                .map(|(worker, flow)| row(&self.view, &ports, worker, flow))
                .collect(),
            looked: samples().map(|(_, sample)| u64::from(sample.looked())).sum(),
            complete: total <= limit && samples().all(|(_, sample)| sample.is_complete()),
        }
    }

    fn filter(&self, query: &FlowQuery) -> Result<FlowFilter, String> {
        let service = query.service.as_deref().map(|name| self.service(name)).transpose()?;
        let backends = query.backend.map(|at| self.slots_of(at)).transpose()?;
        Ok(FlowFilter { service, backends, state: query.state()?, client: query.client()? })
    }

    /// The index of the service of this name, which may be one that is no more.
    fn service(&self, name: &str) -> Result<usize, String> {
        let services = self.view.services();
        let index = services.iter().position(|service| service == name);
        index.ok_or_else(|| match listed(services.iter().map(|name| format!("{name:?}"))) {
            Some(there) => format!("there is no service {name:?}: there are {there}"),
            None => format!("there is no service {name:?}: there is none at all"),
        })
    }

    /// The slots of the backends with this address.
    fn slots_of(&self, at: SocketAddr) -> Result<Box<[u16]>, String> {
        let there = self.view.backends().filter(|(_, _, address)| *address == at);
        let slots: Box<[u16]> = there.map(|(slot, ..)| slot).collect();
        if slots.is_empty() {
            return Err(format!("no service has a backend {at}: see `usher backend list`"));
        }
        Ok(slots)
    }
}

fn row(view: &View, ports: &[String], worker: usize, flow: &SampledFlow) -> Flow {
    let SampledFlow { tuple, backend_tuple, service, state, backend, age_ms, idle_ms } = *flow;
    let address =
        |slot: u16| view.backends().find(|(other, ..)| *other == slot).map(|(_, _, at)| at);
    let remote = |tuple: Tuple| socket(tuple.remote, tuple.remote_port);
    Flow {
        worker,
        service: view.services().get(service).cloned().unwrap_or_default(),
        state,
        client: remote(tuple),
        local: socket(tuple.local, tuple.local_port),
        port: ports.get(usize::from(tuple.port)).cloned().unwrap_or_default(),
        // one that is configured no more has a name on its half only
        backend: backend.and_then(address).or(backend_tuple.map(remote)),
        source: backend_tuple.map(|tuple| socket(tuple.local, tuple.local_port)),
        age_ms,
        idle_ms,
    }
}

fn socket(addr: Addr, port: u16) -> SocketAddr {
    SocketAddr::new(addr.into(), port)
}
