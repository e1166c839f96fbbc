//! Rounds of which each has a server and a client that were started for it: what a start decides (where memory
//! lies, how queues meet) then differs between rounds and shows in their range.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde_json::Value;

use crate::Failure;
use crate::report::{Plot, Report, Scale, Series, Unit};
use crate::rounds::Outcome;
use crate::time::{Stopwatch, pause};

/// A server that ends when this is dropped.
pub struct Server(Child);

/// How long a server may take to be ready, and to end.
const READY: Duration = Duration::from_secs(30);
const END: Duration = Duration::from_secs(5);

impl Server {
    /// Starts a command by the shell and waits until it prints the line `usher ready`.
    ///
    /// # Errors
    /// When it does not start, ends, or is not ready within 30 s.
    pub fn start(command: &str) -> Result<Self, Failure> {
        let mut child = Command::new("sh")
            .args(["-c", &format!("exec {command}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().ok_or("no standard output")?;
        let server = Self(child);
        let (ready, is_ready) = mpsc::channel();
        // reads on to the end, so that the server never waits for its reader
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if line == "usher ready" {
                    // nobody waits any more if it is late
                    let _ = ready.send(());
                }
            }
        });
        is_ready.recv_timeout(READY).map_err(|_| {
            format!("`{command}` did not print `usher ready` within 30 s, or ended before")
        })?;
        Ok(server)
    }

    fn end(&mut self) {
        // an id that is not ours any more was not waited for, so it cannot be another's
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
            // a drain waits for flows that nobody will end
            let _ = kill_process(pid, Signal::TERM);
        }
        let waited = Stopwatch::start();
        while waited.elapsed() < END {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            pause(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// The argument that makes this program measure one round and print it as JSON.
pub const ONE: &str = "--one-round";

/// Starts a server, and this program once more for one round of its own arguments; what that one found, as JSON.
///
/// # Errors
/// When either does not start or fails.
pub fn round(command: &str) -> Result<Value, Failure> {
    let server = Server::start(command)?;
    let arguments = std::env::args_os().skip(1);
    let client = Command::new(std::env::current_exe()?)
        .args(arguments)
        .arg(ONE)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    drop(server);
    if !client.status.success() {
        return Err(format!("the client ended with {}", client.status).into());
    }
    Ok(serde_json::from_slice(&client.stdout)?)
}

/// Medians and ranges of what the rounds' reports say.
#[must_use]
pub fn report(
    command: &'static str,
    arguments: &impl Serialize,
    outcome: &Outcome<Value>,
) -> Report {
    let mut report = Report::new(command, arguments);
    let rounds: Vec<&Value> = outcome.values().collect();
    let Some(first) = rounds.first() else { return report };
    for (index, figure) in list(first, "figures").iter().enumerate() {
        let name = figure["name"].as_str().unwrap_or_default();
        // counts that are 0 are left out, so places differ
        let values = rounds.iter().map(|round| {
            let figures = list(round, "figures");
            let found = figures.get(index).filter(|it| it["name"] == name);
            let found = found.or_else(|| figures.iter().find(|it| it["name"] == name));
            found.and_then(|it| it["value"].as_f64()).unwrap_or_default()
        });
        report.median_of("", name, values, Unit::of(figure["unit"].as_str().unwrap_or_default()));
    }
    if let Some(main) = report.results.figures.first() {
        let points = rounds.iter().enumerate().filter_map(|(number, round)| {
            Some((number as f64 + 1.0, list(round, "figures").first()?["value"].as_f64()?))
        });
        let series = vec![Series { name: main.name.clone(), points: points.collect() }];
        let (title, unit) = (format!("{}, each start", main.name), main.unit);
        report.plot(Plot::Lines { title, x: "start".into(), unit, scale: Scale::Linear, series });
    }
    for latency in list(first, "latencies") {
        let name = latency["name"].as_str().unwrap_or_default();
        for key in ["p50", "p99", "p99_9", "max"] {
            let values = rounds.iter().filter_map(|round| {
                let found = list(round, "latencies").iter().find(|it| it["name"] == name)?;
                found[key].as_f64()
            });
            let values: Vec<f64> = values.collect();
            report.median_of("", format!("{name}, {key}"), values, Unit::Nanoseconds);
        }
    }
    report.rounds = Some(outcome.record());
    report.note("each round had a server and a client of its own; times are medians of the rounds' percentiles");
    report
}

fn list<'a>(round: &'a Value, key: &str) -> &'a [Value] {
    round["results"][key].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Progress;
    use crate::rounds::Rounds;

    #[test]
    fn a_server_is_ready_when_it_says_so_and_ends_with_us() {
        let server =
            Server::start("sh -c 'echo hello; echo usher ready; sleep 60'").expect("ready");
        let pid = server.0.id();
        drop(server);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
        let error = Server::start("true").err().expect("it ends").to_string();
        assert!(error.contains("usher ready"), "{error}");
    }

    #[test]
    fn rounds_are_told_by_median_and_range() {
        let mut rates = [3.0, 1.0, 2.0].into_iter();
        let rounds = Rounds { busy_limit: f64::INFINITY, ..Rounds::of(3) };
        let outcome = rounds
            .run(&Progress::silent(), || {
                let rate = rates.next().ok_or("three rounds")?;
                Ok::<_, Failure>(serde_json::json!({"results": {
                    "figures": [{"name": "connections", "value": rate, "unit": "1/s"}],
                    "latencies": [{"name": "close", "p50": 10.0 * rate, "max": 70}],
                }}))
            })
            .expect("no error");
        let report = report("cps", &(), &outcome);
        let figures = &report.results.figures;
        assert_eq!(
            (figures[0].value, figures[0].range, figures[0].unit),
            (2.0, Some([1.0, 3.0]), Unit::PerSecond)
        );
        let named = |name: &str| figures.iter().find(|it| it.name == name).map(|it| it.value);
        assert_eq!((named("close, p50"), named("close, max")), (Some(20.0), Some(70.0)));
    }
}
