//! Rounds of a measurement, each with what others did to the machine meanwhile: only those count that had it
//! to themselves.

use std::fmt::Display;

use clap::Args;
use serde::Serialize;

use crate::load::{Load, Meter};
use crate::progress::Progress;

/// How often to measure, and which rounds count.
#[derive(Args, Clone, Copy, Debug, Serialize)]
pub struct Rounds {
    /// Rounds that should count
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: u16,
    /// Rounds at most, if some do not count; twice as many as should count unless given
    #[arg(long, value_name = "ROUNDS")]
    pub tries: Option<u16>,
    /// Foreign processor time and steal, in cores, above which a round does not count
    #[arg(long, default_value_t = 0.1, value_name = "CORES", value_parser = limit)]
    pub busy_limit: f64,
}

fn limit(text: &str) -> Result<f64, &'static str> {
    match text.parse() {
        Ok(limit) if limit >= 0.0 => Ok(limit),
        _ => Err("expected a number of cores from 0 on, such as 0.1"),
    }
}

/// One round.
#[derive(Clone, Debug)]
pub struct Round<T> {
    /// What was measured.
    pub value: T,
    /// What others did meanwhile.
    pub load: Load,
    /// Whether that was below the limit.
    pub counts: bool,
}

/// All rounds, in order.
#[derive(Clone, Debug)]
pub struct Outcome<T> {
    rounds: Vec<Round<T>>,
    limit: f64,
}

/// Rounds shorter than this, in s, are judged together with those beside them: `/proc` counts in hundredths.
const SAMPLE: f64 = 0.5;

impl Rounds {
    /// So many rounds.
    #[must_use]
    pub const fn of(rounds: u16) -> Self {
        Self { rounds, tries: None, busy_limit: 0.1 }
    }

    /// Measures until enough rounds count, or as often as may be tried.
    ///
    /// # Errors
    /// The first of a round's.
    pub fn run<T, E>(
        &self,
        progress: &Progress,
        mut one: impl FnMut() -> Result<T, E>,
    ) -> Result<Outcome<T>, E> {
        let tries = self.tries.unwrap_or(self.rounds.saturating_mul(2)).max(self.rounds);
        let mut rounds = Vec::new();
        let (mut counted, mut meter, mut waiting) = (0, Meter::start(), Vec::new());
        while counted < self.rounds && rounds.len() + waiting.len() < usize::from(tries) {
            waiting.push(one()?);
            let due = counted + waiting.len() as u16;
            let last = due >= self.rounds || rounds.len() + waiting.len() == usize::from(tries);
            if meter.seconds() >= SAMPLE || last {
                let load = meter.load();
                meter = Meter::start();
                let counts = load.lost() <= self.busy_limit;
                counted += if counts { waiting.len() as u16 } else { 0 };
                rounds.extend(waiting.drain(..).map(|value| Round { value, load, counts }));
                progress.say(&note(rounds.len(), counted, self.rounds, &load));
            }
        }
        Ok(Outcome { rounds, limit: self.busy_limit })
    }
}

fn note(done: usize, counted: u16, wanted: u16, load: &Load) -> impl Display {
    format!(
        "round {done}: {counted} of {wanted} count; foreign {:.2}, steal {:.2} cores",
        load.foreign, load.steal
    )
}

impl<T> Outcome<T> {
    /// Those that count; all of them if none does, which [`Self::record`] says.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        let none = !self.rounds.iter().any(|round| round.counts);
        self.rounds.iter().filter(move |round| round.counts || none).map(|round| &round.value)
    }

    /// Every round, whether it counts or not.
    #[must_use]
    pub fn all(&self) -> &[Round<T>] {
        &self.rounds
    }

    /// What the report says of them.
    #[must_use]
    pub fn record(&self) -> Record {
        let loads: Vec<Load> = self.rounds.iter().map(|round| round.load).collect();
        let counted = self.rounds.iter().filter(|round| round.counts).count();
        Record { tried: loads.len(), counted, limit: self.limit, loads }
    }
}

/// How many rounds there were, and what others did in each.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Record {
    /// Rounds that were measured.
    pub tried: usize,
    /// Rounds that count.
    pub counted: usize,
    /// The limit of foreign time and steal, in cores.
    pub limit: f64,
    /// The load of each round.
    pub loads: Vec<Load>,
}

impl Record {
    /// A sentence for people.
    #[must_use]
    pub fn sentence(&self) -> String {
        let most = |of: fn(&Load) -> f64| self.loads.iter().map(of).fold(0.0, f64::max);
        let (foreign, steal) = (most(|load| load.foreign), most(|load| load.steal));
        let Self { tried, counted, limit, .. } = self;
        let counting = match counted {
            0 => format!(
                "the machine was too busy to trust: none of {tried} rounds stayed below {limit} cores of foreign time and steal; all are shown"
            ),
            _ => format!("{counted} of {tried} rounds count (limit {limit} cores)"),
        };
        format!("{counting}; at most foreign {foreign:.2}, steal {steal:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(lost: &[f64]) -> Outcome<usize> {
        let round = |(value, foreign): (usize, &f64)| {
            let load = Load { seconds: 1.0, foreign: *foreign, ..Load::default() };
            Round { value, load, counts: load.lost() <= 0.1 }
        };
        Outcome { rounds: lost.iter().enumerate().map(round).collect(), limit: 0.1 }
    }

    #[test]
    fn busy_rounds_do_not_count_and_are_told() {
        let outcome = outcome(&[0.0, 0.5, 0.1]);
        assert_eq!(outcome.values().collect::<Vec<_>>(), [&0, &2]);
        let record = outcome.record();
        assert_eq!((record.tried, record.counted, record.loads.len()), (3, 2, 3));
        assert!(record.sentence().starts_with("2 of 3 rounds count"), "{}", record.sentence());
    }

    #[test]
    fn where_none_counts_all_are_shown_with_a_warning() {
        let outcome = outcome(&[0.2, 0.3]);
        assert_eq!(outcome.values().count(), 2);
        assert!(outcome.record().sentence().contains("too busy to trust"));
    }

    #[test]
    fn rounds_end_at_the_number_wanted_or_at_that_of_tries() {
        let run = |rounds: Rounds| {
            rounds.run(&Progress::silent(), || Ok::<_, ()>(1)).expect("no error").all().len()
        };
        let all_count = Rounds { busy_limit: f64::INFINITY, ..Rounds::of(3) };
        assert_eq!(run(all_count), 3);
        let none_counts = Rounds { busy_limit: -1.0, tries: Some(7), ..Rounds::of(3) };
        assert_eq!(run(none_counts), 7);
    }

    #[test]
    fn a_failed_round_ends_them() {
        let mut left = 2;
        let outcome = Rounds::of(5).run(&Progress::silent(), || {
            left -= 1;
            if left == 0 { Err("broken") } else { Ok(()) }
        });
        assert_eq!(outcome.err(), Some("broken"));
    }
}
