//! From a configuration to a running engine.

#![forbid(unsafe_code)]

use std::fmt;

use super::Engine;
use super::consumer::Consumer;
use super::crew::{self, Crew, Recruit};
use super::error::StartError;
use super::ports::{open, play};
use super::running::Running;
use crate::config::{Plan, Topology};
use crate::control::HttpServer;
use crate::engine;
use crate::port::{Port, PortError};

/// Opens ports and starts an engine on them.
type Start = Box<dyn FnOnce(&Plan, &[Option<usize>]) -> Result<Box<dyn Running>, PortError> + Send>;

/// An engine that has not started: [`Engine::builder`] makes it.
pub struct Builder {
    config: Plan,
    unpinned: Option<u16>,
    recruits: Vec<Recruit>,
    start: Start,
}

impl Builder {
    pub(super) fn new(config: Plan) -> Self {
        Self { config, unpinned: None, recruits: Vec::new(), start: Box::new(open_and_start) }
    }

    /// Has the engine run the consumers of a `ring` service, each on a thread of its own: pinned to the service's
    /// `consumer_cores` by turns, or to none if it has none. `make` is called at [`Self::start`], on its thread, with
    /// the number of each worker. Of two for one service, the first counts.
    #[must_use]
    pub fn consumer<C: Consumer + Send + 'static>(
        mut self,
        service: &str,
        make: impl FnMut(usize) -> C + Send + 'static,
    ) -> Self {
        self.recruits.push(Recruit::new(service, make));
        self
    }

    /// Uses these ports in the order of the configuration's, whose `device` keys count no more. For ports in memory, as
    /// tests have them, and for such as usher does not know.
    #[must_use]
    pub fn ports<P: Port + 'static>(mut self, ports: Vec<P>) -> Self {
        self.start = Box::new(|plan, cores| start_on(plan, ports, cores));
        self
    }

    /// Has so many workers on threads that the kernel places, instead of one on each of `engine.cores`; consumers are not
    /// pinned either. For tests: without cores of its own an engine loses frames.
    #[must_use]
    pub fn unpinned(mut self, workers: u16) -> Self {
        self.unpinned = Some(workers.max(1));
        self
    }

    /// Opens the ports and starts the engine: returns when every worker polls and every consumer runs. An engine with
    /// DPDK's devices can be started once in a process (DPDK's own rule), and needs the rights that `usher run` needs;
    /// `usher check` says what a machine lacks.
    ///
    /// # Errors
    ///
    /// [`StartError`] says which part did not start. Whatever was started is stopped.
    pub fn start(self) -> Result<Engine, StartError> {
        let Self { config, unpinned, mut recruits, start } = self;
        crew::check(&config, &recruits)?;
        let cores: Vec<_> = match unpinned {
            Some(workers) => (0..workers).map(|_| None).collect(),
            None => {
                let cores = config.engine.cores.resolve(&Topology::read());
                cores.map_err(StartError::Cores)?.into_iter().map(Some).collect()
            }
        };
        let running = start(&config, &cores).map_err(StartError::Port)?;
        // From here on dropping it stops what was started.
        let mut engine = Engine { running, crew: Crew::default(), metrics: None };
        for recruit in &mut recruits {
            let service = config.services.iter().find(|service| service.name == recruit.service);
            let own = service.and_then(|service| service.ring()).map(|ring| &*ring.consumer_cores);
            let cores = own.filter(|_| unpinned.is_none()).unwrap_or_default();
            let ends = engine.consumers(&recruit.service);
            engine.crew.hire(recruit, ends, cores)?;
        }
        if let Some(address) = config.metrics {
            let server = HttpServer::listen(address, engine.running.source());
            engine.metrics = Some(server.map_err(|cause| StartError::Metrics { address, cause })?);
        }
        Ok(engine)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services: Vec<_> = self.recruits.iter().map(|recruit| &recruit.service).collect();
        f.debug_struct("Builder")
            .field("config", &self.config)
            .field("consumers", &services)
            .finish()
    }
}

/// With the ports that the configuration names.
fn open_and_start(plan: &Plan, cores: &[Option<usize>]) -> Result<Box<dyn Running>, PortError> {
    match plan.pcap_setups() {
        Some(captures) => start_on(plan, play(&captures)?, cores),
        None => {
            let numbers: Vec<_> = cores.iter().copied().flatten().collect();
            start_on(plan, open(plan, &numbers)?, cores)
        }
    }
}

fn start_on<P: Port + 'static>(
    plan: &Plan,
    ports: Vec<P>,
    cores: &[Option<usize>],
) -> Result<Box<dyn Running>, PortError> {
    if ports.len() != plan.ports.len() {
        let (there, named) = (ports.len(), plan.ports.len());
        return Err(format!("the configuration has {named} ports, and {there} were given").into());
    }
    Ok(Box::new(engine::Engine::start(plan, ports, cores)?))
}
