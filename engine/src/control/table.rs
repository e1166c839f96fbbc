//! The counts as a table: for people, at exit and for `usher stats`.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use serde_json::{Map, Value};
use usher_proto::verdict::{End, Reason};

use crate::stats::{BackendCounter, Counter, ServiceCounter, Snapshot};

/// What `usher run` prints when it ends: connections, cookies, verdicts by reason.
#[must_use]
pub fn exit_table(snapshot: &Snapshot) -> String {
    let mut rows = Rows::new();
    connections(&mut rows, snapshot);
    cookies(&mut rows, snapshot);
    backends(&mut rows, snapshot);
    verdicts(&mut rows, snapshot);
    rows.print()
}

/// What `usher stats` prints of the object that the engine answered with.
#[must_use]
pub fn stats_table(stats: &Value) -> String {
    let mut rows = Rows::new();
    rows.head("engine");
    rows.text("version", plain(&stats["version"]));
    rows.text("uptime", format!("{:.1} s", stats["uptime_s"].as_f64().unwrap_or_default()));
    for worker in objects(&stats["workers"]) {
        rows.head(&format!("worker {} on core {}", worker["worker"], worker["core"]));
        let busy = worker["busy_ratio"].as_f64().unwrap_or_default() * 100.0;
        rows.text("busy", format!("{busy:.1} %"));
        numbers(&mut rows, worker, &["worker", "core", "busy_ratio", "busy_us", "time_us"]);
        if let Some(flows) = worker["flows"].as_object() {
            numbers(&mut rows, flows, &[]);
        }
    }
    for (list, name) in [("services", "service"), ("backends", "backend"), ("ports", "port")] {
        for object in objects(&stats[list]) {
            rows.head(&format!("{name} {}", title(object)));
            numbers(&mut rows, object, &[]);
            if let Some(learned) = object.get("learned") {
                rows.text("learned", said(learned));
            }
        }
    }
    rows.print()
}

/// What `usher backend list` prints of the object that the engine answered with.
#[must_use]
pub fn backends_table(answer: &Value) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header(["SERVICE", "BACKEND", "STATE", "CONNECTIONS", "CHECKS FAILED", "LEARNED"]);
    for object in objects(&answer["backends"]) {
        let [service, address] = ["service", "address"].map(|key| plain(&object[key]));
        let [connections, failed] =
            ["connections", "checks_failed"].map(|key| object[key].to_string());
        let state = standing(object).into();
        table.add_row([service, address, state, connections, failed, said(&object["learned"])]);
    }
    table.to_string()
}

/// What `usher service list` prints of the object that the engine answered with.
#[must_use]
pub fn services_table(answer: &Value) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header(["SERVICE", "KIND", "LISTENS AT", "STATE", "STARTED", "OPENED"]);
    for object in objects(&answer["services"]) {
        let [name, kind] = ["name", "kind"].map(|key| plain(&object[key]));
        let listen = object["listen"].as_array().into_iter().flatten().map(plain);
        let listen = listen.collect::<Vec<_>>().join("\n");
        let state = if object["drained"] == true { "drained" } else { "serves" }.to_owned();
        let [started, opened] =
            ["handshakes_started", "handshakes_completed"].map(|key| object[key].to_string());
        table.add_row([name, kind, listen, state, started, opened]);
    }
    table.to_string()
}

/// What `usher flows` prints of the object that the engine answered with.
#[must_use]
pub fn flows_table(answer: &Value) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header([
        "CLIENT", "SERVICE", "AT", "STATE", "BACKEND", "FROM", "AGE", "IDLE", "WORKER",
    ]);
    for flow in objects(&answer["flows"]) {
        let text = |key: &str| flow[key].as_str().unwrap_or("-").to_owned();
        let time = |key: &str| format!("{:.1} s", flow[key].as_f64().unwrap_or_default());
        let [client, service, local, state, backend, source] =
            ["client", "service", "local", "state", "backend", "source"].map(text);
        let [age, idle] = ["age_s", "idle_s"].map(time);
        let worker = flow["worker"].to_string();
        table.add_row([client, service, local, state, backend, source, age, idle, worker]);
    }
    let (count, looked) = (objects(&answer["flows"]).count(), &answer["looked_at"]);
    let which = match answer["complete"] == true {
        true => "all that there are",
        false => "a sample",
    };
    format!("{table}\n{count} flow(s), {which}: {looked} record(s) looked at")
}

/// An object's name; of a backend its service's and its address.
fn title(object: &Map<String, Value>) -> String {
    match object.get("address") {
        Some(address) => format!("{} of {}", plain(address), plain(&object["service"])),
        None => plain(&object["name"]),
    }
}

/// A backend's state in a word or two.
fn standing(backend: &Map<String, Value>) -> &'static str {
    match (backend["up"] == true, backend["drained"] == true) {
        (true, false) => "up",
        (true, true) => "up, drained",
        (false, false) => "down",
        (false, true) => "down, drained",
    }
}

/// What a backend's SYN-ACK said, in a line.
pub(crate) fn said(learned: &Value) -> String {
    if learned.is_null() {
        return "nothing yet".into();
    }
    let flag = |key: &str, name: &str| (learned[key] == true).then(|| name.to_owned());
    let scale = learned["window_scale"].as_u64().map(|scale| format!("scale {scale}"));
    let parts = [
        Some(format!("MSS {}", learned["mss"])),
        Some(format!("window {}", learned["window"])),
        scale,
        flag("sack", "SACK"),
        flag("timestamps", "timestamps"),
        flag("ecn", "ECN"),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The numbers of an object that are not 0, and its yes or no.
fn numbers(rows: &mut Rows, object: &Map<String, Value>, but: &[&str]) {
    for (key, value) in object.iter().filter(|(key, _)| !but.contains(&key.as_str())) {
        match value {
            Value::Bool(flag) => rows.text(key, if *flag { "yes" } else { "no" }.into()),
            _ => rows.some(key, value.as_u64().unwrap_or_default()),
        }
    }
}

fn objects(list: &Value) -> impl Iterator<Item = &Map<String, Value>> {
    list.as_array().into_iter().flatten().filter_map(Value::as_object)
}

fn plain(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}

fn connections(rows: &mut Rows, snapshot: &Snapshot) {
    let sum = |counter| snapshot.services.iter().map(|s| s.counter(counter)).sum();
    let ended = |end: End| snapshot.services.iter().map(|s| s.ended(end)).sum::<u64>();
    rows.head("connections");
    rows.add("handshakes started", sum(ServiceCounter::Started));
    rows.add("opened", sum(ServiceCounter::Completed));
    rows.add("closed", End::ALL.iter().map(|end| ended(*end)).sum());
    for end in End::ALL {
        rows.some(&format!("  {}", end.name()), ended(*end));
    }
    for end in End::ALL {
        let failed = snapshot.services.iter().map(|s| s.failed(*end)).sum();
        rows.some(&format!("handshakes failed: {}", end.name()), failed);
    }
    rows.some("spent markers evicted", snapshot.total(Counter::EvictedSpent));
    rows.some("TIME_WAIT evicted", snapshot.total(Counter::EvictedTimeWait));
    for service in &snapshot.services {
        if let (Some(half), Some(most)) =
            (service.latency.quantile_us(0.5), service.latency.quantile_us(0.99))
        {
            let label = format!("handshake of {}, p50 / p99", service.name);
            rows.text(&label, format!("{half} / {most} µs"));
        }
    }
}

fn cookies(rows: &mut Rows, snapshot: &Snapshot) {
    rows.head("cookies");
    rows.add("sent", snapshot.total(Counter::CookiesSent));
    rows.add("accepted", snapshot.total(Counter::CookiesAccepted));
    rows.add("rejected", snapshot.total(Counter::CookiesRejected));
    rows.some("accepted, but the table was full", snapshot.total(Counter::CookiesUnplaced));
}

fn backends(rows: &mut Rows, snapshot: &Snapshot) {
    if snapshot.backends.is_empty() {
        return;
    }
    rows.head("backends");
    for counter in BackendCounter::ALL {
        let sum = snapshot.backends.iter().map(|backend| backend.sum.counter(*counter)).sum();
        rows.add(&counter.name().replace('_', " "), sum);
    }
    rows.some("tried in vain", snapshot.total(Counter::BackendRetries));
    rows.some("without a free source port", snapshot.total(Counter::PortsExhausted));
}

fn verdicts(rows: &mut Rows, snapshot: &Snapshot) {
    rows.head("frames");
    let lines = [
        ("received", Counter::Received),
        ("  answered", Counter::Answered),
        ("  reflected", Counter::Reflected),
        ("  delivered", Counter::Delivered),
        ("  forwarded", Counter::Forwarded),
        ("  held", Counter::Held),
        ("  dropped", Counter::Dropped),
    ];
    lines.iter().for_each(|(label, counter)| rows.add(label, snapshot.total(*counter)));
    for reason in Reason::ALL {
        rows.some(&format!("    {}", reason.name()), snapshot.dropped(*reason));
    }
    rows.some("held and released", snapshot.total(Counter::Released));
    rows.some("held and lost", snapshot.total(Counter::Lost));
    rows.add("generated", snapshot.total(Counter::Generated));
    rows.add("sent", snapshot.total(Counter::Sent));
    rows.add("  SYN-ACKs", snapshot.total(Counter::SynAcks));
    rows.add("  RSTs", snapshot.total(Counter::Resets));
    rows.some("refused by a port", snapshot.total(Counter::Refused));
    rows.some("withheld for want of a buffer", snapshot.total(Counter::Withheld));
}

/// Rows of a label and a number, under headings.
struct Rows(Table);

impl Rows {
    fn new() -> Self {
        let mut table = Table::new();
        table.load_style(UTF8_BORDERS_ONLY);
        Self(table)
    }

    fn head(&mut self, title: &str) {
        self.0.add_row([title.to_uppercase(), String::new()]);
    }

    fn add(&mut self, label: &str, value: u64) {
        self.text(label, value.to_string());
    }

    /// A row for a number that is worth one only if it is not 0.
    fn some(&mut self, label: &str, value: u64) {
        if value > 0 {
            self.add(label, value);
        }
    }

    fn text(&mut self, label: &str, value: String) {
        self.0.add_row([format!("  {label}"), value]);
    }

    fn print(mut self) -> String {
        if let Some(column) = self.0.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        self.0.to_string()
    }
}
