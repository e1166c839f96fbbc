//! What a subcommand found, and its three faces: a table for people, one JSON object for machines, a page with
//! plots.
//!
//! A subcommand makes a [`Report`] of figures (a number with a unit), latencies (a histogram) and plots; what all
//! reports have in common (machine, date, version, rounds) is put there here. [`Output`] are the options by which
//! a face is chosen.

mod page;
mod plot;
mod table;
mod unit;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

pub use self::plot::{Plot, Scale, Series};
pub use self::unit::Unit;
use crate::latency::Latency;
use crate::load::Load;
use crate::machine::Machine;
use crate::rounds::Record;
use crate::time;

/// Which faces of the report to show.
#[derive(Args, Clone, Debug, Default)]
pub struct Output {
    /// One JSON object on standard output instead of a table
    #[arg(long, global = true)]
    pub json: bool,
    /// Also write a page with plots
    #[arg(long, global = true, value_name = "FILE.html")]
    pub html: Option<PathBuf>,
    /// One round, as JSON, for a process of ours that started this one
    #[arg(long, global = true, hide = true)]
    pub one_round: bool,
}

/// One number.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Figure {
    /// Of whom or what, where a report compares; else empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub of: String,
    /// What was measured or counted.
    pub name: String,
    /// The number: the median where there were rounds.
    pub value: f64,
    /// Its unit.
    pub unit: Unit,
    /// The smallest and the largest of the rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
}

/// What a run found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The subcommand.
    pub command: &'static str,
    /// Its arguments.
    pub parameters: Map<String, Value>,
    /// What it was taken on.
    pub machine: Machine,
    /// When it was made.
    pub date: String,
    /// Of this program.
    pub version: &'static str,
    /// The rounds, and what others did meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounds: Option<Record>,
    /// What others did meanwhile, where there were no rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// What was found.
    pub results: Results,
    /// What a reader must know of the figures.
    pub notes: Vec<String>,
    /// What comes before the figures, a line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<String>,
    #[serde(skip)]
    plots: Vec<Plot>,
}

/// Figures and times, in the order of the table.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Results {
    /// Numbers.
    pub figures: Vec<Figure>,
    /// Times.
    pub latencies: Vec<Latency>,
}

impl Report {
    /// An empty report of `command`, which was given these arguments.
    #[must_use]
    pub fn new(command: &'static str, arguments: &impl Serialize) -> Self {
        let parameters = match serde_json::to_value(arguments) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        Self {
            command,
            parameters,
            machine: Machine::here(),
            date: time::date(),
            version: env!("CARGO_PKG_VERSION"),
            rounds: None,
            load: None,
            results: Results::default(),
            notes: Vec::new(),
            lines: Vec::new(),
            plots: Vec::new(),
        }
    }

    /// Adds a number.
    pub fn figure(&mut self, name: impl Into<String>, value: f64, unit: Unit) {
        self.figure_of("", name, value, unit);
    }

    /// Adds a number of one of those that are compared.
    pub fn figure_of(&mut self, of: &str, name: impl Into<String>, value: f64, unit: Unit) {
        let (of, name) = (of.to_owned(), name.into());
        self.results.figures.push(Figure { of, name, value, unit, range: None });
    }

    /// Adds the median of what the rounds gave, with the smallest and the largest. Nothing if there are none.
    pub fn median_of(
        &mut self,
        of: &str,
        name: impl Into<String>,
        values: impl IntoIterator<Item = f64>,
        unit: Unit,
    ) {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let (Some(first), Some(last)) = (values.first(), values.last()) else { return };
        let range = Some([*first, *last]);
        let (of, name, value) = (of.to_owned(), name.into(), median(&values));
        self.results.figures.push(Figure { of, name, value, unit, range });
    }

    /// Adds a count that is only told if it is not 0.
    pub fn some(&mut self, name: impl Into<String>, count: u64) {
        if count > 0 {
            self.figure(name, count as f64, Unit::Count);
        }
    }

    /// Adds times.
    pub fn latency(&mut self, latency: Latency) {
        self.results.latencies.push(latency);
    }

    /// Adds a line that comes before the figures.
    pub fn line(&mut self, line: String) {
        self.lines.push(line);
    }

    /// The lines that come before the figures.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Adds a plot to the page.
    pub fn plot(&mut self, plot: Plot) {
        self.plots.push(plot);
    }

    /// Adds a sentence that a reader of the figures must know.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Shows it.
    ///
    /// # Errors
    /// When the page cannot be drawn or written, or standard output is closed.
    pub fn show(&self, output: &Output) -> io::Result<()> {
        if let Some(path) = output.html.as_ref().filter(|_| !output.one_round) {
            std::fs::write(path, page::page(self)?)
                .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
        }
        let mut out = io::stdout().lock();
        if output.json || output.one_round {
            serde_json::to_writer(&mut out, self)?;
            writeln!(out)
        } else {
            writeln!(out, "{}", table::table(self))
        }
    }

    /// What is told of it in words: the machine, the rounds, the notes.
    fn sentences(&self) -> impl Iterator<Item = String> + '_ {
        let Machine { cpu, cores, kernel } = &self.machine;
        let Self { version, date, .. } = self;
        let head = format!("{cpu}, {cores} cores, Linux {kernel}; version {version}, {date}");
        let rounds = self.rounds.iter().map(Record::sentence);
        let load = self.load.iter().map(|Load { foreign, steal, .. }| {
            format!("meanwhile foreign {foreign:.2}, steal {steal:.2} cores")
        });
        std::iter::once(head).chain(rounds).chain(load).chain(self.notes.iter().cloned())
    }
}

/// The middle of sorted values; of an even number, the mean of both.
fn median(sorted: &[f64]) -> f64 {
    let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn report() -> Report {
        #[derive(Serialize)]
        struct Arguments {
            rate: u32,
        }
        let mut report = Report::new("cps", &Arguments { rate: 7 });
        report.median_of("usher", "connections", [3e6, 1e6, 2e6], Unit::PerSecond);
        report.figure("failed", 2.0, Unit::Count);
        let mut latency = Latency::new("SYN to SYN-ACK");
        (1..=100).for_each(|us| latency.record(us * 1000));
        report.latency(latency);
        report.rounds =
            Some(Record { tried: 3, counted: 2, limit: 0.1, loads: vec![Load::default(); 3] });
        report.note("busy <machine>");
        report
    }

    #[test]
    fn json_is_one_object_with_everything() {
        let json = serde_json::to_value(report()).expect("JSON");
        assert_eq!(json["command"], "cps");
        assert_eq!(json["parameters"]["rate"], 7);
        assert_eq!((&json["rounds"]["tried"], &json["rounds"]["counted"]), (&3.into(), &2.into()));
        let figure = &json["results"]["figures"][0];
        assert_eq!((&figure["of"], &figure["unit"]), (&"usher".into(), &"1/s".into()));
        assert_eq!((&figure["value"], &figure["range"][1]), (&2e6.into(), &3e6.into()));
        assert_eq!(json["results"]["latencies"][0]["count"], 100);
        for key in ["machine", "date", "version"] {
            assert!(!json[key].is_null(), "{key}");
        }
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_both() {
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
    }
}
