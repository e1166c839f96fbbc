//! The consumers' ends of `ring` services: made when a service begins, handed out once, replaced when their consumer is
//! gone.

#![forbid(unsafe_code)]

use crossbeam::channel::bounded;

use super::{Engine, Order, listed};
use crate::config::Plan;
use crate::handoff::{ConsumerEnd, WorkerEnd, ends_with_bell};
use crate::port::{Port, PortError};
use crate::worker::View;

/// The ends that nobody has taken yet: of each service, one a worker.
pub(super) type Untaken = Vec<(String, Vec<ConsumerEnd>)>;

/// What one worker begins with: its ends, with the number of each one's service in the view.
pub(super) type OwnEnds = Vec<(usize, Box<WorkerEnd>)>;

/// The ends of all `ring` services of `plan`, whose view is `view`: for each of so many workers its own, and those that
/// consumers will take. Workers have theirs before they poll, so that no client comes before its consumer.
pub(super) fn first_ends(
    plan: &Plan,
    view: &View,
    workers: usize,
) -> Result<(Vec<OwnEnds>, Untaken), PortError> {
    let mut own: Vec<OwnEnds> = (0..workers).map(|_| OwnEnds::new()).collect();
    let mut untaken = Untaken::new();
    for (number, name) in view.services().iter().enumerate() {
        let service = plan.services.iter().find(|service| service.name == *name);
        let Some(ring) = service.and_then(|service| service.ring()) else { continue };
        let mut consumers = Vec::new();
        for own in &mut own {
            let (end, consumer) = ends_with_bell(ring.size as usize)?;
            own.push((number, Box::new(end)));
            consumers.push(consumer);
        }
        untaken.push((name.clone(), consumers));
    }
    Ok((own, untaken))
}

impl<P: Port + 'static> Engine<P> {
    /// The consumers' ends of a `ring` service, one for each worker, in the workers' order; none if it is no such service
    /// or they were taken before. They may go to threads of their own or be polled by one.
    ///
    /// The service takes connections from the start, and those that come before this wait in the rings: an end that is
    /// not polled for `consumer_timeout` while something waits counts as dead.
    pub fn take_consumers(&mut self, service: &str) -> Vec<ConsumerEnd> {
        let at = self.untaken.iter().position(|(name, _)| name == service);
        at.map(|at| self.untaken.swap_remove(at).1).unwrap_or_default()
    }

    /// A new consumer's end for a service at a worker whose consumer is gone: dropped, or silent for `consumer_timeout`.
    /// Flows of the earlier one are not heard of.
    ///
    /// # Errors
    ///
    /// When there is no such `ring` service or worker, or its consumer is there: one sentence.
    pub fn attach(&self, service: &str, worker: usize) -> Result<ConsumerEnd, String> {
        let workers = self.orders.len();
        if worker >= workers {
            return Err(format!("there is no worker {worker}: there are {workers}, from 0 on"));
        }
        let Some(plan) = self.plan.services.iter().find(|plan| plan.name == service) else {
            return Err(self.no_ring(service));
        };
        let Some(ring) = plan.ring() else { return Err(self.no_ring(service)) };
        let consumer = self.attach_to(service, worker, ring.size);
        let consumer = consumer.map_err(|cause| format!("an end for {service:?}: {cause}"))?;
        consumer.ok_or_else(|| {
            format!("the consumer of {service:?} at worker {worker} is there, or the worker has ended: drop the end that it has")
        })
    }

    fn no_ring(&self, service: &str) -> String {
        let rings = self.plan.services.iter().filter(|plan| plan.ring().is_some());
        match listed(rings.map(|plan| format!("{:?}", plan.name))) {
            Some(there) => format!("there is no ring service {service:?}: there are {there}"),
            None => "there is no ring service".into(),
        }
    }

    /// Makes the ends of those `ring` services that `before` has not.
    pub(super) fn make_ends(&mut self, before: &Plan) -> Result<(), PortError> {
        let had = |name: &str| {
            let mut services = before.services.iter();
            services.any(|plan| plan.name == name && plan.ring().is_some())
        };
        let plan = self.plan.clone();
        self.untaken.retain(|(name, _)| had(name));
        for service in plan.services.iter().filter(|service| !had(&service.name)) {
            let Some(ring) = service.ring() else { continue };
            let mut consumers = Vec::new();
            for worker in 0..self.orders.len() {
                // A service that comes back before its consumer has let go of the flows of before keeps it.
                consumers.extend(self.attach_to(&service.name, worker, ring.size)?);
            }
            self.untaken.push((service.name.clone(), consumers));
        }
        Ok(())
    }

    /// Gives a worker an end, if its service has none there; the other one is returned.
    fn attach_to(
        &self,
        service: &str,
        worker: usize,
        size: u32,
    ) -> Result<Option<ConsumerEnd>, PortError> {
        let number = self.view.services().iter().position(|name| name == service);
        let Some((number, orders)) = number.zip(self.orders.get(worker)) else { return Ok(None) };
        let (end, consumer) = ends_with_bell(size as usize)?;
        let (done, heard) = bounded(1);
        let order = Order::Attach { service: number, end: Box::new(end), done };
        // A worker that has ended answers neither.
        let is_sent = orders.send(order).is_ok();
        let is_refused = heard.recv().map(|refused| refused.is_some());
        Ok((is_sent && is_refused == Ok(false)).then_some(consumer))
    }
}
