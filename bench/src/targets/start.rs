//! P14: from the start of `usher run` to its line `usher ready`, each round a fresh process.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::Failure;
use crate::fresh::Server;
use crate::progress::Progress;
use crate::report::{Report, Unit};
use crate::rounds::Rounds;
use crate::time::Stopwatch;

/// What to start.
#[derive(Args, Clone, Debug, Serialize)]
pub struct Start {
    /// The program; the one beside this unless given
    #[arg(long, value_name = "FILE")]
    pub usher: Option<PathBuf>,
    /// Its configuration; one with a null device unless given
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["flows", "memory"])]
    pub config: Option<PathBuf>,
    /// Flows of its table
    #[arg(long, default_value_t = 1_000_000)]
    pub flows: u32,
    /// Its `dpdk.memory`
    #[arg(long, default_value = "auto", value_parser = ["auto", "huge", "none"])]
    pub memory: String,
    /// Rounds
    #[command(flatten)]
    #[serde(flatten)]
    pub rounds: Rounds,
}

impl Start {
    /// Measures it.
    ///
    /// # Errors
    /// When a file cannot be written or the engine does not start.
    pub fn run(&self, progress: &Progress) -> Result<Report, Failure> {
        let usher = match &self.usher {
            Some(usher) => usher.clone(),
            None => std::env::current_exe()?.with_file_name("usher"),
        };
        let scratch = Scratch::new()?;
        let config = match &self.config {
            Some(config) => config.clone(),
            None => scratch.write(&self.configuration(&scratch))?,
        };
        let command = format!("'{}' run -c '{}'", usher.display(), config.display());
        let outcome = self.rounds.run(progress, || -> Result<(f64, f64), Failure> {
            let watch = Stopwatch::start();
            let server = Server::start(&command)?;
            let ready = watch.elapsed().as_secs_f64();
            drop(server);
            Ok((ready, watch.elapsed().as_secs_f64() - ready))
        })?;
        let mut report = Report::new("start", self);
        report.median_of("", "start to ready", outcome.values().map(|it| it.0), Unit::Seconds);
        report.median_of("", "signal to end", outcome.values().map(|it| it.1), Unit::Seconds);
        report.rounds = Some(outcome.record());
        Ok(report)
    }

    fn configuration(&self, scratch: &Scratch) -> String {
        let Self { flows, memory, .. } = self;
        let socket = scratch.0.join("control.sock");
        format!(
            r#"
            [engine]
            cores = [0]
            control_socket = "{}"
            [dpdk]
            memory = "{memory}"
            [flow_table]
            capacity = {flows}
            [[port]]
            name = "null"
            device = "net_null0"
            addresses = ["10.10.0.2/16"]
            [[service]]
            name = "hello"
            listen = ["10.10.0.10:80"]
            kind = "respond"
            response = "x"
            "#,
            socket.display()
        )
    }
}

/// A directory that goes when this is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("usher-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn write(&self, text: &str) -> Result<PathBuf, Failure> {
        let path = self.0.join("usher.toml");
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // left behind in the system's temporary directory at worst
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;
    use usher::config::Plan;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        start: Start,
    }

    #[test]
    fn its_own_configuration_is_right() {
        let start = Cli::try_parse_from(["start", "--flows", "1000"]).expect("right").start;
        let text = start.configuration(&Scratch(PathBuf::from("/tmp/x")));
        let plan = Plan::parse(&text, Path::new("usher.toml"));
        assert!(plan.is_ok_and(|plan| plan.flow_capacity == 1000), "{text}");
    }

    #[test]
    fn a_program_that_is_not_ready_is_an_error() {
        let arguments = ["start", "--usher", "/bin/false", "--rounds", "1", "--flows", "1000"];
        let start = Cli::try_parse_from(arguments).expect("right").start;
        let error = start.run(&Progress::silent()).expect_err("it ends").to_string();
        assert!(error.contains("usher ready"), "{error}");
    }
}
