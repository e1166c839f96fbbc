//! P11: several workers against one, each in a thread of its own with its own memory port and its own generator. They
//! share nothing, so what is lost is what the machine makes them share.

use std::sync::Barrier;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use usher::config::Cookies;

use crate::Failure;
use crate::pin::pin;
use crate::progress::Progress;
use crate::report::{Plot, Report, Unit};
use crate::rig::Rig;
use crate::rounds::Rounds;
use crate::time::Stopwatch;

/// How many workers, and what they do.
#[derive(Args, Clone, Debug, Serialize)]
pub struct Scaling {
    /// What a worker does
    #[arg(value_enum, default_value_t)]
    pub what: Task,
    /// Workers to compare with one
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(2..=256))]
    pub workers: u16,
    /// Cores, one a worker: as many as workers
    #[arg(long, value_delimiter = ',', value_name = "CORE,…")]
    pub cores: Vec<usize>,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Rounds
    #[command(flatten)]
    #[serde(flatten)]
    pub rounds: Rounds,
}

/// What a worker does.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Answers SYNs by cookie
    Syn,
    /// Serves whole connections, from a record
    #[default]
    Stateful,
    /// Serves whole connections, by cookie
    Cookie,
}

/// Done by all workers, a second: with their generators, and by the workers' turns alone.
#[derive(Clone, Copy)]
struct Rate {
    all: f64,
    turns: f64,
}

/// Between two looks at the clock.
const CHUNK: u64 = 3200;

impl Scaling {
    /// Measures one and several by turns.
    ///
    /// # Errors
    /// When a core is not to be had, or their number is not that of the workers.
    pub fn run(&self, progress: &Progress) -> Result<Report, Failure> {
        if !self.cores.is_empty() && self.cores.len() != usize::from(self.workers) {
            return Err(format!(
                "--cores names {} cores for {} workers",
                self.cores.len(),
                self.workers
            )
            .into());
        }
        let outcome = self
            .rounds
            .run(progress, || Ok::<_, Failure>((self.measure(1)?, self.measure(self.workers)?)))?;
        let mut report = Report::new("scale", self);
        let several = format!("{} workers", self.workers);
        let each =
            |value: fn(&(Rate, Rate)) -> f64| outcome.values().map(value).collect::<Vec<_>>();
        report.median_of("1 worker", "done", each(|it| it.0.all), Unit::PerSecond);
        report.median_of(&several, "done", each(|it| it.1.all), Unit::PerSecond);
        report.median_of("1 worker", "by its turns alone", each(|it| it.0.turns), Unit::PerSecond);
        report.median_of(&several, "by their turns alone", each(|it| it.1.turns), Unit::PerSecond);
        report.median_of("", "ratio", each(|it| it.1.all / it.0.all), Unit::Ratio);
        report.median_of(
            "",
            "ratio of turns alone",
            each(|it| it.1.turns / it.0.turns),
            Unit::Ratio,
        );
        let figures = &report.results.figures;
        let bars = figures.iter().take(2).map(|figure| (figure.of.clone(), figure.value)).collect();
        report.plot(Plot::Bars { title: "done a second".into(), unit: Unit::PerSecond, bars });
        report.rounds = Some(outcome.record());
        Ok(report)
    }

    fn measure(&self, workers: u16) -> Result<Rate, Failure> {
        let barrier = Barrier::new(workers.into());
        let results: Vec<Result<Rate, Failure>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers)
                .map(|number| {
                    scope.spawn({
                        let barrier = &barrier;
                        move || self.one(number, barrier)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err("a worker panicked".into())))
                .collect()
        });
        results.into_iter().try_fold(Rate { all: 0.0, turns: 0.0 }, |sum, one| {
            let one = one?;
            Ok(Rate { all: sum.all + one.all, turns: sum.turns + one.turns })
        })
    }

    /// One worker, from the moment at which all are ready.
    fn one(&self, number: u16, barrier: &Barrier) -> Result<Rate, Failure> {
        let pinned = pin(self.cores.get(usize::from(number)).copied());
        let cookies = if self.what == Task::Stateful { Cookies::Never } else { Cookies::Always };
        let mut rig = Rig::new(cookies);
        let mut work = || match self.what {
            Task::Syn => rig.syns(CHUNK),
            Task::Stateful | Task::Cookie => rig.connections(CHUNK),
        };
        work(); // caches
        barrier.wait();
        pinned?;
        let (watch, mut turns, mut done) = (Stopwatch::start(), Duration::ZERO, 0u64);
        while watch.elapsed().as_secs() < self.seconds {
            turns += work();
            done += CHUNK;
        }
        let done = done as f64;
        Ok(Rate { all: done / watch.elapsed().as_secs_f64(), turns: done / turns.as_secs_f64() })
    }
}
