//! Each subcommand once, small: what it counts, not how fast it is.

use clap::{Args, Parser};

use super::*;
use crate::progress::Progress;
use crate::report::Report;

#[derive(Parser)]
struct Cli<T: Args> {
    #[command(flatten)]
    of: T,
}

fn parse<T: Args>(arguments: &str) -> T {
    let words = std::iter::once("bench").chain(arguments.split_whitespace());
    Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).of
}

fn value(report: &Report, name: &str) -> f64 {
    let found = report.results.figures.iter().find(|figure| figure.name == name);
    found.map_or(f64::NAN, |figure| figure.value)
}

#[test]
fn every_syn_is_timed() {
    for more in ["", "--arrivals even --load 0.5"] {
        let command: LatencyUnderLoad = parse(&format!("--syns 5000 --rounds 2 --tries 2 {more}"));
        let report = command.run(&Progress::silent()).expect("it runs");
        assert_eq!(report.results.latencies[0].count(), 10_000);
        assert!(value(&report, "offered") < value(&report, "capacity, SYNs"));
    }
}

#[test]
fn loads_beyond_the_capacity_are_refused() {
    let refused = Cli::<LatencyUnderLoad>::try_parse_from(["bench", "--load", "1"]).map(|_| ());
    assert!(refused.unwrap_err().to_string().contains("the queue only grows"));
}

#[test]
fn as_many_cores_as_workers() {
    let command: Scaling = parse("--workers 3 --cores 0,1");
    let error = command.run(&Progress::silent()).expect_err("refused").to_string();
    assert!(error.contains("2 cores for 3 workers"), "{error}");
}

#[test]
fn one_worker_and_several_are_compared() {
    let command: Scaling = parse("syn --workers 2 --rounds 1 --tries 1");
    let report = command.run(&Progress::silent()).expect("it runs");
    assert!(value(&report, "ratio") > 0.0 && value(&report, "ratio of turns alone") > 0.0);
    assert_eq!(report.rounds.map(|rounds| rounds.tried), Some(1));
}

/// Other tests of this process have memory of their own: how much it grows says nothing here.
#[test]
fn a_soak_leaves_nothing_behind() {
    let command: Soak =
        parse("--minutes 0.01 --look 0.2 --concurrency 50 --ports 1024-4000 --growth 4000000000");
    let report = command.run(&Progress::silent()).expect("nothing is left behind");
    assert!(value(&report, "connections closed well") > 0.0);
    assert_eq!(value(&report, "failed"), 0.0);
}
