//! What `configs/` ask Prometheus for is what an engine serves.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;

fn config(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()))
}

/// The names of all time series.
fn served() -> BTreeSet<String> {
    let text = prometheus_text(Seen.snapshot());
    let mut names = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        let parts: &[&str] =
            if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        names.extend(parts.iter().map(|part| format!("{name}{part}")));
    }
    names
}

/// Every word of `text` that begins like a metric of ours.
fn named(text: &str) -> BTreeSet<&str> {
    let is_part = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    text.split(|letter| !is_part(letter)).filter(|word| word.starts_with("usher_")).collect()
}

/// The values of a label that `text` selects by.
fn values<'a>(text: &'a str, label: &str) -> Vec<&'a str> {
    let start = format!("{label}=\"");
    text.split(start.as_str()).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn dashboards_and_alerts_name_what_is_served() {
    let served = served();
    for (file, least) in [("grafana/usher.json", 25), ("prometheus/usher.rules.yml", 12)] {
        let text = config(file).replace("\\\"", "\"");
        let named = named(&text);
        assert!(named.len() >= least, "{file} names {named:?}");
        for name in named {
            assert!(served.contains(name), "{file}: {name}");
        }
        for reason in values(&text, "reason") {
            let is_one = Reason::ALL.iter().any(|one| one.name() == reason);
            assert!(is_one, "{file}: {reason}");
        }
    }
}

/// Grafana takes it: JSON, panels that do not overlap, and each says what it shows.
#[test]
fn the_dashboard_is_whole() {
    let dashboard: serde_json::Value = serde_json::from_str(&config("grafana/usher.json")).unwrap();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(x < 24 && taken.insert((x, y)), "{}", panel["title"]);
            }
        }
        let is_row = panel["type"] == "row";
        assert!(is_row || panel["description"].as_str().is_some_and(|words| words.ends_with('.')));
        assert!(is_row || !panel["targets"].as_array().unwrap().is_empty());
    }
}
