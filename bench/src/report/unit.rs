//! Units, as machines and as people read them.

use serde::{Serialize, Serializer};

/// What a figure is counted in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Things.
    Count,
    /// Things a second.
    PerSecond,
    /// Nanoseconds.
    Nanoseconds,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Bytes a second.
    BytesPerSecond,
    /// One figure divided by another of its kind.
    Ratio,
}

impl Unit {
    /// As the JSON and the axis of a plot have it.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Count => "",
            Self::PerSecond => "1/s",
            Self::Nanoseconds => "ns",
            Self::Seconds => "s",
            Self::Bytes => "B",
            Self::BytesPerSecond => "B/s",
            Self::Ratio => "x",
        }
    }

    /// The unit with this symbol; things if there is none.
    #[must_use]
    pub fn of(symbol: &str) -> Self {
        let all = [
            Self::PerSecond,
            Self::Nanoseconds,
            Self::Seconds,
            Self::Bytes,
            Self::BytesPerSecond,
            Self::Ratio,
        ];
        all.into_iter().find(|unit| unit.symbol() == symbol).unwrap_or(Self::Count)
    }

    /// A value of this unit for people: three or four digits, and a larger unit where there is one.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Count if value.fract() == 0.0 => format!("{value:.0}"),
            Self::Count | Self::Ratio => format!("{value:.2}"),
            Self::PerSecond => scaled(value, "", &[(1e9, "G/s"), (1e6, "M/s"), (1e3, "k/s")], "/s"),
            Self::Nanoseconds => duration(value),
            Self::Seconds => duration(value * 1e9),
            Self::Bytes => scaled(value, " ", &[(1e9, "GB"), (1e6, "MB"), (1e3, "kB")], "B"),
            Self::BytesPerSecond => {
                scaled(value, " ", &[(1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s")], "B/s")
            }
        }
    }
}

impl Serialize for Unit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.symbol())
    }
}

/// A time in ns, for people.
fn duration(ns: f64) -> String {
    scaled(ns, " ", &[(1e9, "s"), (1e6, "ms"), (1e3, "µs")], "ns")
}

fn scaled(value: f64, gap: &str, larger: &[(f64, &str)], unit: &str) -> String {
    let found = larger.iter().find(|(factor, _)| value.abs() >= *factor);
    let (factor, unit) = found.copied().unwrap_or((1.0, unit));
    let value = value / factor;
    let digits = match value.abs() {
        small if small < 10.0 => 2,
        middle if middle < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}{gap}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_three_digits_and_a_fitting_unit() {
        for (unit, value, text) in [
            (Unit::Count, 12_345.0, "12345"),
            (Unit::PerSecond, 1_950_000.0, "1.95M/s"),
            (Unit::PerSecond, 950.0, "950/s"),
            (Unit::Nanoseconds, 413.4, "413 ns"),
            (Unit::Nanoseconds, 12_345.0, "12.3 µs"),
            (Unit::Seconds, 0.37, "370 ms"),
            (Unit::Bytes, 192.0, "192 B"),
            (Unit::BytesPerSecond, 2.08e8, "208 MB/s"),
            (Unit::Ratio, 1.369, "1.37"),
        ] {
            assert_eq!((unit.show(value).as_str(), Unit::of(unit.symbol())), (text, unit));
        }
    }
}
