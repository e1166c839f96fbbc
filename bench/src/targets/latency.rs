//! P12: how long a SYN is inside the engine, from its arrival to its SYN-ACK, at a share of the engine's capacity, with
//! cookies.
//!
//! Time is made of the worker's own: it passes while the worker turns, by the clock, and from one arrival to the next
//! while there is nothing to do. Who sends the SYNs and takes the answers costs none of it. A SYN arrives when it is
//! due, whether the worker is busy or not, so waiting counts; what the system takes from the worker's turns counts, too.

use std::convert::Infallible;

use clap::{Args, ValueEnum};
use serde::Serialize;
use usher::config::Cookies;

use crate::Failure;
use crate::latency::Latency;
use crate::progress::Progress;
use crate::random::SplitMix;
use crate::report::{Plot, Report, Unit};
use crate::rig::Rig;
use crate::rounds::Rounds;

/// How much to load a worker, and with what.
#[derive(Args, Clone, Copy, Debug, Serialize)]
pub struct LatencyUnderLoad {
    /// Share of the worker's capacity to offer
    #[arg(long, default_value_t = 0.8, value_parser = share)]
    pub load: f64,
    /// SYNs of a round
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub syns: u64,
    /// How SYNs follow each other
    #[arg(long, value_enum, default_value_t)]
    pub arrivals: Arrivals,
    /// Same seed, same arrivals
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Rounds
    #[command(flatten)]
    #[serde(flatten)]
    pub rounds: Rounds,
}

/// How SYNs follow each other.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// Each on its own: gaps are distributed exponentially
    #[default]
    Poisson,
    /// All gaps are equal
    Even,
}

fn share(text: &str) -> Result<f64, &'static str> {
    match text.parse() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("expected a share between 0 and 1: above the capacity the queue only grows"),
    }
}

struct Round {
    capacity: f64,
    latency: Latency,
}

impl LatencyUnderLoad {
    /// Measures it.
    ///
    /// # Errors
    /// None: what goes wrong here is a panic of the rig.
    pub fn run(&self, progress: &Progress) -> Result<Report, Failure> {
        let mut rig = Rig::new(Cookies::Always);
        let mut random = SplitMix(self.seed);
        rig.syns(100_000); // caches
        let outcome =
            self.rounds.run(progress, || Ok::<_, Infallible>(self.round(&mut rig, &mut random)))?;
        let mut report = Report::new("latency", self);
        let capacities: Vec<f64> = outcome.values().map(|round| round.capacity).collect();
        report.median_of("", "capacity, SYNs", capacities.iter().copied(), Unit::PerSecond);
        report.median_of(
            "",
            "offered",
            capacities.iter().map(|it| it * self.load),
            Unit::PerSecond,
        );
        for (name, percent) in [("p50", 50.0), ("p99.9", 99.9)] {
            let times = outcome.values().map(|round| round.latency.percentile(percent) as f64);
            report.median_of("", name, times, Unit::Nanoseconds);
        }
        let mut all = Latency::new(NAME);
        outcome.values().for_each(|round| all.merge(&round.latency));
        let latencies = vec![all.clone()];
        report.plot(Plot::Percentiles { title: "SYN to SYN-ACK in the engine".into(), latencies });
        report.latency(all);
        report.rounds = Some(outcome.record());
        Ok(report)
    }

    fn round(&self, rig: &mut Rig, random: &mut SplitMix) -> Round {
        let took = rig.syns(self.syns).as_secs_f64();
        let capacity = self.syns as f64 / took;
        let mean = 1e9 / (capacity * self.load);
        let mut latency = Latency::new(NAME);
        let gap = || match self.arrivals {
            Arrivals::Poisson => random.gap(mean),
            Arrivals::Even => mean,
        };
        rig.syns_as_they_come(self.syns, gap, |ns| latency.record(ns));
        Round { capacity, latency }
    }
}

const NAME: &str = "arrival to SYN-ACK";
