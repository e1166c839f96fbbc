//! The threads of consumers that the engine runs.

#![forbid(unsafe_code)]

use std::thread::{Builder, JoinHandle};

use crossbeam::channel::{Sender, bounded};

use super::consumer::{Consumer, Runner};
use super::error::StartError;
use crate::config::Plan;
use crate::handoff::ConsumerEnd;

/// Runs a consumer at its end, on the thread that calls it.
type Job = Box<dyn FnOnce() + Send>;

/// The consumers of one service, which are made when there are ends for them.
pub(super) struct Recruit {
    pub(super) service: String,
    /// What runs the consumer of the worker of this number.
    hire: Box<dyn FnMut(usize, ConsumerEnd) -> Job + Send>,
}

impl Recruit {
    pub(super) fn new<C: Consumer + Send + 'static>(
        service: &str,
        mut make: impl FnMut(usize) -> C + Send + 'static,
    ) -> Self {
        let hire = move |worker, end| {
            let runner = Runner::new(end, make(worker));
            Box::new(move || drop(runner.run())) as Job
        };
        Self { service: service.to_owned(), hire: Box::new(hire) }
    }
}

/// Whether the program gives what the configuration asks for.
pub(super) fn check(plan: &Plan, recruits: &[Recruit]) -> Result<(), StartError> {
    let rings =
        || plan.services.iter().filter_map(|service| Some((&service.name, service.ring()?)));
    for Recruit { service, .. } in recruits {
        if !rings().any(|(name, _)| name == service) {
            return Err(StartError::NoSuchService { service: service.clone() });
        }
    }
    for (name, _) in rings().filter(|(_, ring)| !ring.consumer_cores.is_empty()) {
        if !recruits.iter().any(|recruit| recruit.service == *name) {
            return Err(StartError::NoConsumer { service: name.clone() });
        }
    }
    Ok(())
}

/// All of them. They end when their workers have.
#[derive(Debug, Default)]
pub(super) struct Crew(Vec<JoinHandle<()>>);

impl Crew {
    /// Starts a thread for each of `ends`, pinned to `cores` by turns; to none if that is empty. Returns when all run.
    pub(super) fn hire(
        &mut self,
        recruit: &mut Recruit,
        ends: Vec<ConsumerEnd>,
        cores: &[usize],
    ) -> Result<(), StartError> {
        let (ready, readiness) = bounded(ends.len());
        for (worker, end) in ends.into_iter().enumerate() {
            let core = worker.checked_rem(cores.len()).map(|at| cores[at]);
            let (job, ready) = ((recruit.hire)(worker, end), ready.clone());
            let thread = Builder::new().name(format!("{}-{worker}", recruit.service));
            let thread = thread.spawn(move || work(core, ready, job));
            self.0.push(thread.map_err(StartError::Thread)?);
        }
        drop(ready);
        // The channel closes when all have said that they run, or could not.
        match readiness.iter().find_map(Result::err) {
            Some(core) => Err(StartError::Pin { service: recruit.service.clone(), core }),
            None => Ok(()),
        }
    }

    /// Waits for all of them.
    pub(super) fn join(&mut self) {
        for thread in self.0.drain(..) {
            // A panic in a consumer has been printed.
            let _ = thread.join();
        }
    }
}

/// A consumer's thread. Tells first whether it runs, or the core that it may not use.
fn work(core: Option<usize>, ready: Sender<Result<(), usize>>, job: Job) {
    let pinned = match core {
        Some(id) if !core_affinity::set_for_current(core_affinity::CoreId { id }) => Err(id),
        _ => Ok(()),
    };
    let is_pinned = pinned.is_ok();
    // The builder waits for it.
    let _ = ready.send(pinned);
    drop(ready);
    if is_pinned {
        job();
    }
}
