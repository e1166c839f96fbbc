//! The options of the service kinds that are not in this version: `proxy` and `ring`. They are checked
//! like all others, so that a file written for a later version can be validated by this one.

use std::time::Duration;

use super::section::Section;
use super::service::endpoint;

/// The keys of `kind = "proxy"`.
pub(super) const PROXY: &[&str] = &[
    "forward",
    "proxy_protocol",
    "balance",
    "backends",
    "health_check",
    "backend_retries",
    "no_backend",
];

/// The keys of `kind = "ring"`.
pub(super) const RING: &[&str] = &["consumer_cores", "ring_size", "consumer_timeout"];

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(3600);

/// Checks the options of a `proxy` service.
pub(super) fn proxy(section: &Section<'_>) {
    section.require(&["backends"]);
    section.choice("forward", &[("snat", ()), ("l2", ())]);
    section.boolean("proxy_protocol");
    section.choice("balance", &[("maglev", ()), ("maglev-source", ())]);
    backends(section);
    health_check(section);
    section.integer::<u8>("backend_retries", 0..=16);
    section.choice("no_backend", &[("reset", ()), ("drop", ())]);
}

fn backends(section: &Section<'_>) {
    let list = section.list("backends");
    if let Some(raw) = section.raw("backends").filter(|_| list.is_empty()) {
        section.problems().add(&raw, "there is no backend", section.write("backends"));
    }
    let mut seen = Vec::new();
    for raw in list {
        let text = raw.value.as_str().map(|text| raw.with(text));
        let text = text.or_else(|| weighted(section, &raw));
        let Some(address) = text.and_then(|text| endpoint(section, &text, "backends")) else {
            continue;
        };
        if seen.contains(&address.value) {
            let what = format!("backend {} is named twice", address.value);
            section.problems().add(
                &address,
                what,
                "name each backend once; `weight` gives it more",
            );
        }
        seen.push(address.value);
    }
}

/// `{ address = "…", weight = N }`.
fn weighted<'a>(
    section: &Section<'a>,
    raw: &super::section::Raw<'a>,
) -> Option<super::problem::At<&'a str>> {
    if !raw.value.is_table() {
        let right = "write \"10.20.0.2:80\" or { address = \"10.20.0.2:80\", weight = 2 }";
        section.problems().add(raw, "this is no backend", right);
        return None;
    }
    let table = Section::of("service.backends", raw, section.problems())?;
    table.require(&["address"]);
    table.integer::<u16>("weight", 1..=1000);
    table.text("address")
}

fn health_check(section: &Section<'_>) {
    let Some(check) = section.table("health_check") else { return };
    check.require(&["type"]);
    let http = check.choice("type", &[("tcp", false), ("http", true)]);
    check.duration("interval", SHORTEST..=LONGEST);
    check.duration("timeout", SHORTEST..=LONGEST);
    check.integer::<u8>("rise", 1..=100);
    check.integer::<u8>("fall", 1..=100);
    if http.is_some_and(|http| !http.value) {
        check.refuse(
            &["path", "expect"],
            "this key is for `type = \"http\"` and means nothing here",
        );
        return;
    }
    if let Some(path) = check.text("path").filter(|path| !path.value.starts_with('/')) {
        check.problems().add(&path, "a path begins with `/`", check.write("path"));
    }
    let expect = check.integers::<u16>("expect", 100..=599);
    if let Some(raw) =
        check.raw("expect").filter(|_| expect.len() != 2 || expect[0].value > expect[1].value)
    {
        check.problems().add(&raw, "this is no range of status codes", check.write("expect"));
    }
}

/// Checks the options of a `ring` service.
pub(super) fn ring(section: &Section<'_>) {
    section.require(&["consumer_cores"]);
    section.integers::<u16>("consumer_cores", 0..=1023);
    let size = section.integer::<u32>("ring_size", 2..=1_048_576);
    if let Some(size) = size.filter(|size| !size.value.is_power_of_two()) {
        let what = format!("{} is no power of two", size.value);
        section.problems().add(&size, what, section.write("ring_size"));
    }
    section.duration("consumer_timeout", SHORTEST..=LONGEST);
}
