//! What each page lists of what was answered. Pure.

use usher_proto::verdict::Reason;

use super::history::{History, Times, Track, WINDOW_S};
use super::units::{amount, percent, time};
use crate::control::said;

/// A page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Page {
    /// The beginnings of the others.
    Overview,
    Workers,
    Services,
    Backends,
    Drops,
    Ports,
}

/// A column. What does not fit into its width is cut off.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// In letters.
    pub(super) width: u16,
    pub(super) kind: Kind,
}

/// What stands in a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Words, at its left.
    Word,
    /// Words of any length: it gets what width is left.
    Text,
    /// Figures, at its right.
    Figure,
}

const fn word(title: &'static str, width: u16) -> Column {
    Column { title, width, kind: Kind::Word }
}

const fn text(title: &'static str, width: u16) -> Column {
    Column { title, width, kind: Kind::Text }
}

const fn figure(title: &'static str, width: u16) -> Column {
    Column { title, width, kind: Kind::Figure }
}

/// How good or bad what a cell says is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Tone {
    #[default]
    Plain,
    Good,
    Notable,
    Bad,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    pub(super) text: String,
    /// What it is sorted by; without it, its text.
    pub(super) weight: Option<f64>,
    pub(super) tone: Tone,
}

impl Cell {
    fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    fn figure(value: Option<f64>, print: impl Fn(f64) -> String) -> Self {
        let text = value.map_or_else(|| "-".into(), print);
        // what is not known comes last among the largest first
        Self { text, weight: Some(value.unwrap_or(-1.0)), ..Self::default() }
    }

    fn amount(value: Option<f64>) -> Self {
        Self::figure(value, amount)
    }

    fn count(value: u64) -> Self {
        Self::amount(Some(value as f64))
    }

    fn time(us: Option<u64>) -> Self {
        Self::figure(us.map(|us| us as f64), |us| time(us as u64))
    }

    fn toned(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }

    /// Stands out when it is more than 0.
    fn bad(self) -> Self {
        let tone = if self.weight > Some(0.0) { Tone::Bad } else { Tone::Plain };
        self.toned(tone)
    }
}

/// A row, by a name that no other of its page has.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) cells: Vec<Cell>,
}

/// Shares from which a worker is near its end, and at it.
const HIGH: [f64; 2] = [0.7, 0.9];

fn load(share: Option<f64>) -> Cell {
    let tone = match share {
        Some(share) if share >= HIGH[1] => Tone::Bad,
        Some(share) if share >= HIGH[0] => Tone::Notable,
        _ => Tone::Plain,
    };
    Cell::figure(share, percent).toned(tone)
}

const WORKERS: &[Column] = &[
    word("WORKER", 6),
    figure("CORE", 4),
    figure("POLLS", 5),
    figure("TIME", 5),
    figure("IN/s", 5),
    figure("OUT/s", 5),
    figure("OPEN/s", 6),
    figure("CLOSE/s", 7),
    figure("HALF", 5),
    figure("FLOWS", 5),
    figure("COOK/s", 6),
    figure("DROP/s", 6),
];
const SERVICES: &[Column] = &[
    text("SERVICE", 12),
    word("KIND", 7),
    word("STATE", 7),
    figure("BEGIN/s", 7),
    figure("OPEN/s", 6),
    figure("FAIL/s", 6),
    figure("CLOSE/s", 7),
    figure("P50", 7),
    figure("P99", 7),
];
const BACKENDS: &[Column] = &[
    text("BACKEND", 15),
    text("SERVICE", 8),
    word("STATE", 13),
    figure("CONNS", 5),
    figure("OPEN/s", 6),
    figure("FAIL/s", 6),
    text("LEARNED", 21),
];
const DROPS: &[Column] =
    &[word("DROPPED FOR", 20), figure("DROP/s", 6), figure("ALL", 6), text("WHICH MEANS", 40)];
const PORTS: &[Column] = &[
    word("PORT", 16),
    word("LINK", 4),
    figure("IN/s", 6),
    figure("OUT/s", 6),
    figure("REFUSED/s", 9),
    figure("MISSED/s", 8),
    figure("NOBUF/s", 7),
    figure("ERROR/s", 7),
];
/// The columns of an opened row.
const COUNTERS: &[Column] = &[word("COUNTER", 32), figure("PER SECOND", 10), figure("NOW", 10)];
/// The same of a reason for drops.
const BY_WORKER: &[Column] = &[word("WORKER", 32), figure("PER SECOND", 10), figure("ALL", 10)];

impl Page {
    pub(super) const ALL: [Self; 6] =
        [Self::Overview, Self::Workers, Self::Services, Self::Backends, Self::Drops, Self::Ports];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Workers => "workers",
            Self::Services => "services",
            Self::Backends => "backends",
            Self::Drops => "drops",
            Self::Ports => "ports",
        }
    }

    pub(super) const fn columns(self) -> &'static [Column] {
        match self {
            Self::Overview => &[],
            Self::Workers => WORKERS,
            Self::Services => SERVICES,
            Self::Backends => BACKENDS,
            Self::Drops => DROPS,
            Self::Ports => PORTS,
        }
    }

    /// By which column its rows are sorted at first, and whether the largest come first.
    pub(super) const fn order(self) -> (usize, bool) {
        if matches!(self, Self::Drops) { (1, true) } else { (0, false) }
    }

    pub(super) fn rows(self, history: &History) -> Vec<Row> {
        let all = |list: &str, cells: fn(&Track<'_>) -> Vec<Cell>| {
            let row = |track: &Track<'_>| Row { name: track.name.clone(), cells: cells(track) };
            history.tracks(list).iter().map(row).collect()
        };
        match self {
            Self::Overview => Vec::new(),
            Self::Workers => all("workers", worker),
            Self::Services => all("services", service),
            Self::Backends => all("backends", backend),
            Self::Drops => drops(&history.tracks("workers")),
            Self::Ports => all("ports", port),
        }
    }

    /// The list of `stats` that its rows are of.
    const fn list(self) -> &'static str {
        match self {
            Self::Overview | Self::Workers | Self::Drops => "workers",
            Self::Services => "services",
            Self::Backends => "backends",
            Self::Ports => "ports",
        }
    }

    /// Everything about the row `name`.
    pub(super) fn open(self, name: &str, history: &History) -> Opened {
        let tracks = history.tracks(self.list());
        if self == Self::Drops {
            let key = format!("drop_{name}");
            let row = |track: &Track<'_>| Row {
                name: track.name.clone(),
                cells: vec![
                    Cell::text(&*track.name),
                    Cell::amount(track.rate(&key)),
                    Cell::count(track.count(&key)),
                ],
            };
            let notes = vec![meaning(name).to_owned()];
            return Opened { notes, columns: BY_WORKER, rows: tracks.iter().map(row).collect() };
        }
        let Some(track) = tracks.into_iter().find(|track| track.name == name) else {
            return Opened {
                notes: vec!["It is gone.".into()],
                columns: COUNTERS,
                rows: Vec::new(),
            };
        };
        let notes = match self {
            Self::Services => about_service(&track),
            Self::Backends => vec![format!("learned: {}", said(track.value("learned")))],
            _ => Vec::new(),
        };
        Opened { notes, columns: COUNTERS, rows: counters(&track) }
    }
}

/// An opened row.
#[derive(Debug)]
pub(super) struct Opened {
    /// Lines above the table.
    pub(super) notes: Vec<String>,
    pub(super) columns: &'static [Column],
    pub(super) rows: Vec<Row>,
}

/// Whether a key counts dropped frames.
pub(super) fn is_drop(key: &str) -> bool {
    key.starts_with("drop_")
}

fn worker(track: &Track<'_>) -> Vec<Cell> {
    let idle = track.share("idle_turns", "turns");
    let number = track.count("worker");
    vec![
        Cell { weight: Some(number as f64), ..Cell::text(number.to_string()) },
        Cell {
            weight: Some(track.count("core") as f64),
            ..Cell::text(track.count("core").to_string())
        },
        load(idle.map(|idle| 1.0 - idle)),
        load(track.share("busy_us", "time_us")),
        Cell::amount(track.rate("received")),
        Cell::amount(track.rate("sent")),
        Cell::amount(track.rate("handshakes_completed")),
        Cell::amount(track.rate("flows_ended")),
        Cell::count(track.flows(|state| state == "SYN_RCVD")),
        Cell::count(track.flows(|state| state != "SPENT")),
        Cell::amount(track.rate("cookies_sent")),
        Cell::amount(track.rate_of(is_drop)).bad(),
    ]
}

fn service(track: &Track<'_>) -> Vec<Cell> {
    let times = track.recent_times();
    let state = match (track.text("kind"), track.is("drained")) {
        ("", _) => Cell::text("removed").toned(Tone::Notable),
        (_, true) => Cell::text("drained").toned(Tone::Notable),
        (_, false) => Cell::text("serves").toned(Tone::Good),
    };
    vec![
        Cell::text(&*track.name),
        Cell::text(track.text("kind")),
        state,
        Cell::amount(track.rate("handshakes_started")),
        Cell::amount(track.rate("handshakes_completed")),
        Cell::amount(track.rate_of(|key| key.starts_with("failed_"))).bad(),
        Cell::amount(track.rate_of(|key| key.starts_with("ended_"))),
        Cell::time(times.quantile_us(0.5)),
        Cell::time(times.quantile_us(0.99)),
    ]
}

fn about_service(track: &Track<'_>) -> Vec<String> {
    let listen = track
        .value("listen")
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|address| address.as_str());
    let line = |when: &str, times: &Times| {
        let quantile = |q| times.quantile_us(q).map_or_else(|| "-".into(), time);
        let [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map(quantile);
        let count = amount(times.count() as f64);
        format!("{when:11} {count:>6} handshakes: p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}")
    };
    vec![
        format!("listens at {}", listen.collect::<Vec<_>>().join(", ")),
        line(&format!("last {WINDOW_S} s"), &track.recent_times()),
        line("since start", &track.all_times()),
    ]
}

fn backend(track: &Track<'_>) -> Vec<Cell> {
    let state = match (track.is("up"), track.is("drained")) {
        (true, false) => Cell::text("up").toned(Tone::Good),
        (true, true) => Cell::text("up, drained").toned(Tone::Notable),
        (false, false) => Cell::text("down").toned(Tone::Bad),
        (false, true) => Cell::text("down, drained").toned(Tone::Bad),
    };
    let failed = track.rate_of(|key| ["refused", "timed_out", "mismatched"].contains(&key));
    vec![
        Cell::text(track.text("address")),
        Cell::text(track.text("service")),
        state,
        Cell::count(track.count("connections")),
        Cell::amount(track.rate("connected")),
        Cell::amount(failed).bad(),
        Cell::text(learned(track)),
    ]
}

/// What a backend's SYN-ACK said, in 21 letters at most: MSS, window scale, and which options there were.
fn learned(track: &Track<'_>) -> String {
    let learned = track.value("learned");
    let Some(mss) = learned["mss"].as_u64() else { return "-".into() };
    let scale = learned["window_scale"].as_u64().map(|scale| format!(" ws{scale}"));
    let flag = |key: &str, text: &'static str| if learned[key] == true { text } else { "" };
    let [sack, stamps] = [flag("sack", " sack"), flag("timestamps", " ts")];
    format!("{mss}{}{sack}{stamps}{}", scale.unwrap_or_default(), flag("ecn", " ecn"))
}

fn port(track: &Track<'_>) -> Vec<Cell> {
    let link = match track.is("link_up") {
        true => Cell::text("up").toned(Tone::Good),
        false => Cell::text("down").toned(Tone::Bad),
    };
    let bad = |key: &str| Cell::amount(track.rate(key)).bad();
    vec![
        Cell::text(&*track.name),
        link,
        Cell::amount(track.rate("received")),
        Cell::amount(track.rate("sent")),
        bad("refused"),
        bad("missed"),
        bad("no_buffer"),
        bad("errors"),
    ]
}

/// The reasons that frames were dropped for, the most frequent first.
fn drops(workers: &[Track<'_>]) -> Vec<Row> {
    let Some(one) = workers.first() else { return Vec::new() };
    let reasons =
        one.now.keys().filter_map(|key| key.strip_prefix("drop_").map(|name| (key, name)));
    let sums = reasons.map(|(key, name)| {
        let count = workers.iter().map(|worker| worker.count(key)).sum::<u64>();
        (count, key, name)
    });
    let mut sums: Vec<_> = sums.filter(|(count, ..)| *count > 0).collect();
    sums.sort_by_key(|(count, ..)| std::cmp::Reverse(*count));
    let row = |(count, key, name): (u64, &String, &str)| Row {
        name: name.into(),
        cells: vec![
            Cell::text(name),
            Cell::amount(workers.iter().map(|worker| worker.rate(key)).sum()).bad(),
            Cell::count(count),
            Cell::text(meaning(name)),
        ],
    };
    sums.into_iter().map(row).collect()
}

/// What a reason's name stands for; another version of the engine may know others.
fn meaning(name: &str) -> &'static str {
    let known = Reason::ALL.iter().find(|reason| reason.name() == name);
    known.map_or("This version of usher does not know this reason.", |reason| reason.help())
}

/// Every number of an object that is not 0, but what the notes say better.
fn counters(track: &Track<'_>) -> Vec<Row> {
    let row = |key: &str, rate: Option<f64>, count: u64| Row {
        name: key.into(),
        cells: vec![Cell::text(key), Cell::amount(rate), Cell::count(count)],
    };
    let is_told = |key: &str| ["worker", "core"].contains(&key) || key.starts_with("handshake_");
    let own = track.now.iter().filter_map(|(key, value)| Some((key, value.as_u64()?)));
    let own = own.filter(|(key, count)| *count > 0 && !is_told(key));
    let own = own.map(|(key, count)| {
        // connections come and go: that there are more says little
        let rate = if key == "connections" { None } else { track.rate(key) };
        row(key, rate, count)
    });
    let flows = track.value("flows").as_object().into_iter().flatten();
    let flows = flows.filter_map(|(state, count)| Some((state, count.as_u64()?)));
    let flows = flows.filter(|(_, count)| *count > 0);
    own.chain(flows.map(|(state, count)| row(&format!("flows in {state}"), None, count))).collect()
}
