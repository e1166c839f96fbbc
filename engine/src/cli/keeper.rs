//! What the main thread does while an engine runs: it obeys signals and the control socket.

use std::path::Path;
use std::time::Duration;

use crossbeam::channel::Receiver;
use humantime::format_duration;
use serde_json::json;
use signal_hook::consts::SIGHUP;
use tracing::{error, info, warn};

use super::log::Log;
use super::supervisor::Supervisor;
use super::{DONE, FAILED};
use crate::config::Plan;
use crate::control::{Errand, Outcome, Request, done, flows_json};
use crate::engine::Engine;
use crate::port::Port;

/// How often the main thread looks for signals and for the end of a drain. Longer is felt at exit;
/// shorter wakes a core that others may need.
const WATCH: Duration = Duration::from_millis(20);

/// The longest drain: ticks compare within 24.8 days.
const LONGEST_DRAIN: Duration = Duration::from_secs(20 * 86_400);

/// A running engine, and what it is kept by.
pub(super) struct Keeper<'a, P: Port> {
    pub(super) engine: Engine<P>,
    file: &'a Path,
    log: Log,
    supervisor: Supervisor,
    draining: bool,
}

impl<'a, P: Port + 'static> Keeper<'a, P> {
    /// Keeps `engine`, which serves clients already, and says so to whoever supervises this process.
    pub(super) fn new(engine: Engine<P>, file: &'a Path, log: Log) -> Self {
        let mut supervisor = Supervisor::of_environment();
        supervisor.ready(serving(engine.plan()));
        Self { engine, file, log, supervisor, draining: false }
    }

    /// Obeys until the workers have ended; returns the exit code. `signal` returns the next one that has come.
    pub(super) fn watch(
        &mut self,
        asked: &Receiver<Errand>,
        mut signal: impl FnMut() -> Option<i32>,
    ) -> u8 {
        while !self.engine.is_finished() {
            self.supervisor.watch(|| self.engine.turns());
            match signal() {
                Some(SIGHUP) => match self.reload() {
                    Ok(done) => info!("reload: {done}"),
                    Err(error) => error!("reload: {error}"),
                },
                Some(_) if self.draining => {
                    warn!("a second signal: ending at once");
                    return FAILED;
                }
                Some(_) => {
                    self.drain(None);
                }
                None => {
                    if let Ok(Errand { request, answer }) = asked.recv_timeout(WATCH) {
                        // one that went away hears nothing
                        let _ = answer.send(self.carry_out(request));
                    }
                    self.log.tell();
                }
            }
        }
        if !self.draining {
            error!("every worker has ended by itself");
        }
        if self.draining { DONE } else { FAILED }
    }

    /// Does what a client of the control socket asked for.
    fn carry_out(&mut self, request: Request) -> Outcome {
        let said = match request {
            Request::Flows(query) => {
                return self.engine.flows(&query).map(|found| flows_json(&found));
            }
            Request::Reload { dry_run: true } => return self.preview(),
            Request::LogLevel(None) => format!("the log level is {}", self.log.level()),
            Request::LogLevel(Some(level)) => self.set_log_level(&level)?,
            Request::Reload { dry_run: false } => self.reload()?,
            Request::Drain { timeout } => return self.drain_once(timeout),
            Request::Backend { service, address, drained } => {
                self.engine.set_drained(&service, address, drained)?
            }
            Request::Weight { service, address, weight } => {
                self.engine.set_weight(&service, address, weight)?
            }
            Request::Service { service, drained } => {
                self.engine.set_service_drained(&service, drained)?
            }
        };
        info!("by the control socket: {said}");
        Ok(done(said))
    }

    fn set_log_level(&mut self, level: &str) -> Result<String, String> {
        self.log.set_level(level)?;
        Ok(format!("the log level is {level} now"))
    }

    /// Begins a drain; returns how long it may last.
    fn drain(&mut self, timeout: Option<Duration>) -> Duration {
        self.draining = true;
        let limit = timeout.unwrap_or(self.engine.plan().engine.drain_timeout).min(LONGEST_DRAIN);
        let status = format!("draining, for at most {}", format_duration(limit));
        info!("{status}");
        self.supervisor.stopping(limit, status);
        self.engine.drain(limit);
        limit
    }

    fn drain_once(&mut self, timeout: Option<Duration>) -> Outcome {
        if self.draining {
            return Err("the engine is draining already; a signal ends it at once".into());
        }
        let limit = format_duration(self.drain(timeout));
        Ok(done(format!("draining, for at most {limit}; then the engine ends")))
    }

    /// Reads the file again and goes on with it, and tells the supervisor.
    fn reload(&mut self) -> Result<String, String> {
        self.supervisor.reloading();
        let outcome = self.go_on();
        let serving = serving(self.engine.plan());
        self.supervisor.ready(match &outcome {
            Ok(_) => serving,
            Err(_) => format!("{serving}; the last reload was refused"),
        });
        outcome
    }

    /// Goes on with the file as it is; what the engine refuses leaves everything as it was.
    fn go_on(&mut self) -> Result<String, String> {
        let plan = self.read_again()?;
        let (name, old) = (self.file.display(), self.engine.plan());
        if plan == *old {
            return Ok(format!("{name} says what runs already"));
        }
        let level =
            (plan.engine.log_level != old.engine.log_level).then_some(&plan.engine.log_level);
        self.engine.reload(&plan).map_err(|why| format!("{why}; nothing was changed"))?;
        if let Some(level) = level {
            self.log.set_level(level)?;
        }
        Ok(format!("{name} is in force: {} service(s)", plan.services.len()))
    }

    /// What a reload would change, and what it would refuse.
    fn preview(&self) -> Outcome {
        let plan = self.read_again()?;
        let changes = self.engine.plan().changes(&plan);
        let refused = self.engine.refusal(&plan);
        let sentence = match (&refused, changes.len()) {
            (Some(why), _) => format!("a reload would be refused: {why}"),
            (None, 0) => format!("{} says what runs already", self.file.display()),
            (None, count) => format!("a reload would change {count} thing(s)"),
        };
        Ok(json!({ "done": sentence, "changes": changes, "refused": refused }))
    }

    fn read_again(&self) -> Result<Plan, String> {
        let wrong = |error| format!("the file is wrong and nothing was changed\n{error}");
        Plan::load_without_consumers(self.file).map_err(wrong)
    }
}

/// What a supervisor shows beside the engine's name.
fn serving(plan: &Plan) -> String {
    let (ports, services) = (plan.ports.len(), plan.services.len());
    format!("serving: {ports} port(s), {services} service(s)")
}

#[cfg(test)]
mod tests {
    use usher_proto::testing::OUR_MAC;

    use super::*;
    use crate::port::memory::{self, Options};

    const CONFIG: &str = "[[port]]\nname = \"wan\"\ndevice = \"net_null0\"\n[[service]]\nname = \"a\"\n\
                          listen = [\"10.10.0.10:80\"]\nkind = \"respond\"\nresponse = \"a\"\n";

    #[test]
    fn a_second_drain_is_refused() {
        let plan = Plan::parse(CONFIG, Path::new("usher.toml")).unwrap_or_else(|e| panic!("{e}"));
        let (port, _wire) = memory::new("wan", &Options { mac: OUR_MAC, ..Options::default() });
        let engine = Engine::start(&plan, vec![port], &[None]).unwrap();
        let (log, _) = Log::new(&plan.engine, None);
        let mut keeper = Keeper::new(engine, Path::new("nowhere.toml"), log);
        let drain = |timeout| Request::Drain { timeout };
        let begun = keeper.carry_out(drain(None)).unwrap();
        assert_eq!(begun["done"], "draining, for at most 10s; then the engine ends");
        let again = keeper.carry_out(drain(Some(Duration::ZERO))).unwrap_err();
        assert_eq!(again, "the engine is draining already; a signal ends it at once");
        let error = keeper.carry_out(Request::Reload { dry_run: false }).unwrap_err();
        assert!(error.starts_with("the file is wrong and nothing was changed"), "{error}");
        let outcome = keeper.watch(&crossbeam::channel::never(), || None);
        assert_eq!(outcome, DONE);
    }
}
