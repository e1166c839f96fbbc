//! What the documentation lists is what there is.

use std::collections::BTreeSet;
use std::path::Path;

use usher_proto::verdict::{End, Reason};

/// The names in the first cells of the tables below these headings.
fn listed(page: &str, heading: impl Fn(&str) -> bool) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let text = std::fs::read_to_string(path).expect("a page");
    let mut names = Vec::new();
    let mut is_there = false;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            is_there = heading(title);
        }
        let cell = line.strip_prefix("| `").and_then(|rest| rest.split(" | ").next());
        if let Some(cell) = cell.filter(|_| is_there) {
            names.extend(cell.split(", ").map(|name| name.trim_matches('`').to_owned()));
        }
    }
    names
}

fn once(names: Vec<String>) -> BTreeSet<String> {
    let set: BTreeSet<_> = names.iter().cloned().collect();
    assert_eq!(set.len(), names.len(), "each once: {names:?}");
    set
}

#[test]
fn every_reason_to_drop_a_frame_is_explained() {
    let there: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name().to_owned()).collect();
    assert_eq!(once(listed("REASONS.md", |title| title.starts_with("Dropped"))), there);
}

#[test]
fn every_end_of_a_flow_is_explained() {
    let there: BTreeSet<_> = End::ALL.iter().map(|end| end.name().to_owned()).collect();
    assert_eq!(once(listed("REASONS.md", |title| title == "Ends of flows")), there);
}
