//! A report as people read it in a terminal.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};

use super::{Figure, Report, Unit};
use crate::latency::{Latency, PERCENTILES};

/// Figures, latencies, and what must be known of them.
pub(super) fn table(report: &Report) -> String {
    std::iter::once(tables(report)).chain(report.sentences()).collect::<Vec<_>>().join("\n")
}

/// Lines, figures and latencies.
pub(super) fn tables(report: &Report) -> String {
    let mut parts = report.lines.clone();
    if !report.results.figures.is_empty() {
        parts.push(figures(&report.results.figures));
    }
    if !report.results.latencies.is_empty() {
        parts.push(latencies(&report.results.latencies));
    }
    parts.join("\n")
}

fn figures(figures: &[Figure]) -> String {
    let mut table = with_header(["", "", "FIGURE", "FROM", "TO"].map(str::to_owned));
    for Figure { of, name, value, unit, range } in figures {
        let [from, to] = range.map_or_else(Default::default, |range| range.map(|x| unit.show(x)));
        table.add_row([of, name, &unit.show(*value), &from, &to]);
    }
    right_aligned(table, 2)
}

fn latencies(latencies: &[Latency]) -> String {
    let percentiles = PERCENTILES.map(|percent| match percent {
        100.0 => "MAX".to_owned(),
        _ => format!("P{percent}"),
    });
    let head = ["LATENCY".to_owned(), "COUNT".to_owned()];
    let mut table = with_header(head.into_iter().chain(percentiles));
    for latency in latencies {
        let times =
            PERCENTILES.map(|percent| Unit::Nanoseconds.show(latency.percentile(percent) as f64));
        let head = [latency.name().to_owned(), latency.count().to_string()];
        table.add_row(head.into_iter().chain(times));
    }
    right_aligned(table, 1)
}

fn with_header(names: impl IntoIterator<Item = String>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header(names.into_iter().collect::<Vec<_>>());
    table
}

fn right_aligned(mut table: Table, from: usize) -> String {
    for column in table.column_iter_mut().skip(from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    #[test]
    fn a_table_has_the_figures_their_range_and_the_rounds() {
        let text = table(&report());
        let line = |name: &str| text.lines().find(|line| line.contains(name)).expect("a line");
        for part in ["usher", "2.00M/s", "1.00M/s", "3.00M/s"] {
            assert!(line("connections").contains(part), "{text}");
        }
        assert!(line("SYN to SYN-ACK").contains("99.0 µs"), "{text}");
        assert!(line("2 of 3 rounds count").contains("0.1 cores"), "{text}");
        assert!(text.contains("busy <machine>"), "{text}");
    }
}
