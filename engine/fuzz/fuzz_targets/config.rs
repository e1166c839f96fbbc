//! A configuration file may hold any text: it becomes a plan, or a report in which everything that is wrong has its line.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use usher::config::Plan;

fuzz_target!(|text: &str| {
    // Files that are named are read, and some of the machine's never end.
    if ["/dev", "/proc", "/sys"].iter().any(|path| text.contains(path)) {
        return;
    }
    let file = "/usher-fuzz/usher.toml";
    let Err(error) = Plan::parse(text, Path::new(file)) else { return };
    let report = error.to_string();
    assert!(error.count() > 0);
    assert!(report.matches(&format!("--> {file}:")).count() >= error.count(), "{report}");
});
