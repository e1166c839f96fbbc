//! Times of many events: a histogram in nanoseconds, and the percentiles that are told of one.

use std::fmt;

use hdrhistogram::Histogram;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// Percentiles that a table and the JSON have. Those of a plot are finer.
pub const PERCENTILES: [f64; 6] = [50.0, 90.0, 99.0, 99.9, 99.99, 100.0];

/// The longest time that is told apart from longer ones: 100 s.
const LONGEST: u64 = 100_000_000_000;

/// Times of one kind of event, exact to three digits. Recording allocates nothing.
#[derive(Clone)]
pub struct Latency {
    name: &'static str,
    times: Histogram<u64>,
}

impl Latency {
    /// None yet.
    ///
    /// # Panics
    /// Never: the bounds are right.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        let times = Histogram::new_with_bounds(1, LONGEST, 3).expect("right bounds");
        Self { name, times }
    }

    /// What is timed.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The same times by another name.
    #[must_use]
    pub fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// Takes one in, of so many ns. More than 100 s count as 100 s.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        self.times.saturating_record(ns);
    }

    /// Takes in all of another's.
    ///
    /// # Panics
    /// Never: all have the same bounds.
    pub fn merge(&mut self, other: &Self) {
        self.times.add(&other.times).expect("the same bounds");
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.times.reset();
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.times.len()
    }

    /// The time, in ns, that so many percent do not exceed; 0 if there is none.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> u64 {
        self.times.value_at_percentile(percent)
    }

    /// The mean, in ns.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.times.mean()
    }

    /// Percentiles and times in ns, for a plot: ever finer towards the maximum, which comes once and last.
    #[must_use]
    pub fn curve(&self) -> Vec<(f64, u64)> {
        let steps = self.times.iter_quantiles(5);
        let mut points: Vec<(f64, u64)> = steps
            .map(|step| (step.quantile_iterated_to() * 100.0, step.value_iterated_to()))
            .collect();
        let most = points.last().map_or(0, |last| last.1);
        let first = points.partition_point(|point| point.1 < most);
        points.truncate(first + 1);
        points
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, times } = self;
        write!(f, "{name}: {} times", times.len())
    }
}

impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Latency", 10)?;
        out.serialize_field("name", self.name)?;
        out.serialize_field("unit", "ns")?;
        out.serialize_field("count", &self.count())?;
        out.serialize_field("mean", &self.mean())?;
        for (key, percent) in
            ["p50", "p90", "p99", "p99_9", "p99_99", "max"].iter().zip(PERCENTILES)
        {
            out.serialize_field(key, &self.percentile(percent))?;
        }
        out.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times: impl IntoIterator<Item = u64>) -> Latency {
        let mut latency = Latency::new("x");
        times.into_iter().for_each(|ns| latency.record(ns));
        latency
    }

    #[test]
    fn merged_histograms_are_those_of_all_times() {
        let mut merged = of((1..=1000).step_by(2));
        merged.merge(&of((2..=1000).step_by(2)));
        let whole = of(1..=1000);
        assert_eq!(merged.times, whole.times);
        assert_eq!(
            (merged.count(), merged.percentile(50.0), merged.percentile(100.0)),
            (1000, 500, 1000)
        );
    }

    #[test]
    fn what_is_too_long_counts_as_the_longest() {
        let latency = of([u64::MAX]);
        assert_eq!(latency.count(), 1);
        assert!(latency.percentile(100.0) >= LONGEST);
    }

    #[test]
    fn percentiles_have_names_in_json() {
        let json = serde_json::to_value(of([10, 20, 30])).expect("JSON");
        assert_eq!(
            (&json["p50"], &json["max"], &json["count"]),
            (&20.into(), &30.into(), &3.into())
        );
    }

    #[test]
    fn a_curve_ends_where_it_reaches_the_maximum() {
        let curve = of(1..=1000).curve();
        let (last, before) = (curve[curve.len() - 1], curve[curve.len() - 2]);
        assert_eq!(last.1, 1000);
        assert!(before.1 < 1000 && (99.8..=100.0).contains(&last.0), "{before:?} {last:?}");
        assert!(Latency::new("none").curve().is_empty());
    }
}
