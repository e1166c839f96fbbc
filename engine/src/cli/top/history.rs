//! What the engine answered of late, and what follows from two answers: rates, shares, percentiles. Pure.
//!
//! A counter that fell, an object that was not there before and a first answer have no rate; none is ever negative.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value};

/// How far back percentiles look, in seconds of the engine's clock. Shorter makes those of a quiet service jump,
/// longer hides what has just begun.
pub(super) const WINDOW_S: f64 = 10.0;

/// How many answers are kept however often the engine is asked: enough for the window by the shortest interval.
const MOMENTS: usize = 128;

type Object = Map<String, Value>;

/// Answers to `stats` of one engine, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Value>);

impl History {
    /// Adds an answer. One of an engine that has run for less time than the last is of another engine, which has no past.
    pub(super) fn push(&mut self, stats: Value) {
        let now = uptime(&stats);
        if self.0.back().is_some_and(|last| uptime(last) > now) {
            self.forget();
        }
        self.0.push_back(stats);
        while self.0.len() > MOMENTS || (self.0.len() > 2 && uptime(&self.0[0]) < now - WINDOW_S) {
            self.0.pop_front();
        }
    }

    /// Drops all: what comes next may be another engine's.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// The last answer.
    pub(super) fn latest(&self) -> Option<&Value> {
        self.0.back()
    }

    /// Each object of `list` in the last answer, with what it was in the one before and at the window's beginning.
    pub(super) fn tracks(&self, list: &str) -> Vec<Track<'_>> {
        let Some(latest) = self.latest() else { return Vec::new() };
        let before = self.0.len().checked_sub(2).and_then(|index| self.0.get(index));
        let first = self.0.front().filter(|_| before.is_some());
        let seconds = before.map_or(0.0, |before| uptime(latest) - uptime(before));
        let now = objects(&latest[list]);
        now.map(|now| {
            let name = name(now);
            let [before, first] = [before, first].map(|stats| find(stats?, list, &name));
            Track { name, now, before, first, seconds }
        })
        .collect()
    }
}

fn find<'a>(stats: &'a Value, list: &str, wanted: &str) -> Option<&'a Object> {
    objects(&stats[list]).find(|object| name(object) == wanted)
}

fn objects(list: &Value) -> impl Iterator<Item = &Object> {
    list.as_array().into_iter().flatten().filter_map(Value::as_object)
}

fn uptime(stats: &Value) -> f64 {
    stats["uptime_s"].as_f64().unwrap_or_default()
}

/// What an object is called, which no other of its list is: a worker by its number and core, a backend by its address
/// and service.
fn name(object: &Object) -> String {
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    match (object.get("worker"), text("address")) {
        (Some(worker), _) => format!("{worker} on core {}", number(object, "core")),
        (None, Some(address)) => format!("{address} of {}", text("service").unwrap_or_default()),
        (None, None) => text("name").unwrap_or_default().into(),
    }
}

/// The number at `key`, and 0 if there is none.
fn number(object: &Object, key: &str) -> u64 {
    object.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// One worker, service, backend or port at up to three moments.
#[derive(Debug)]
pub(super) struct Track<'a> {
    pub(super) name: String,
    pub(super) now: &'a Object,
    before: Option<&'a Object>,
    first: Option<&'a Object>,
    /// Between `before` and `now`.
    seconds: f64,
}

impl Track<'_> {
    /// The number at `key`, now.
    pub(super) fn count(&self, key: &str) -> u64 {
        number(self.now, key)
    }

    /// The text at `key`, now.
    pub(super) fn text(&self, key: &str) -> &str {
        self.now.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// What is at `key`, now; null if nothing is.
    pub(super) fn value(&self, key: &str) -> &Value {
        self.now.get(key).unwrap_or(&Value::Null)
    }

    /// Whether it says yes to `key`, now.
    pub(super) fn is(&self, key: &str) -> bool {
        self.now.get(key) == Some(&Value::Bool(true))
    }

    /// How many flows it has, now, in the states that are `meant`.
    pub(super) fn flows(&self, meant: impl Fn(&str) -> bool) -> u64 {
        let flows = self.now.get("flows").and_then(Value::as_object);
        let flows = flows.into_iter().flatten().filter(|(state, _)| meant(state));
        flows.filter_map(|(_, count)| count.as_u64()).sum()
    }

    /// By how much the number at `key` grew.
    fn growth(&self, key: &str) -> Option<u64> {
        self.count(key).checked_sub(number(self.before?, key))
    }

    /// By how much the number at `key` grows a second.
    pub(super) fn rate(&self, key: &str) -> Option<f64> {
        let growth = self.growth(key)?;
        (self.seconds > 0.0).then(|| growth as f64 / self.seconds)
    }

    /// The rates of all keys that `is_meant` together.
    pub(super) fn rate_of(&self, is_meant: impl Fn(&str) -> bool) -> Option<f64> {
        let keys = self.now.keys().filter(|key| is_meant(key));
        keys.map(|key| self.rate(key)).sum()
    }

    /// What share of the growth of `whole` the growth of `part` is, 0 to 1.
    pub(super) fn share(&self, part: &str, whole: &str) -> Option<f64> {
        let (part, whole) = (self.growth(part)?, self.growth(whole)?);
        (whole > 0).then(|| (part as f64 / whole as f64).min(1.0))
    }

    /// The handshakes' times within the window.
    pub(super) fn recent_times(&self) -> Times {
        match self.first {
            Some(first) => Times::of(self.now).since(&Times::of(first)),
            None => Times::default(),
        }
    }

    /// The handshakes' times since the engine's start.
    pub(super) fn all_times(&self) -> Times {
        Times::of(self.now)
    }
}

/// A histogram: buckets by their ends in µs, and the handshakes in each.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct Times(pub(super) BTreeMap<u64, u64>);

impl Times {
    fn of(service: &Object) -> Self {
        let pair = |pair: &Value| Some((pair[0].as_u64()?, pair[1].as_u64()?));
        let pairs = service.get("handshake_times").and_then(Value::as_array);
        Self(pairs.into_iter().flatten().filter_map(pair).collect())
    }

    /// What came since `earlier`.
    fn since(mut self, earlier: &Self) -> Self {
        self.0.retain(|end, count| {
            *count = count.saturating_sub(earlier.0.get(end).copied().unwrap_or_default());
            *count > 0
        });
        self
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The end of the bucket that the fraction `q` (0 to 1) of all does not exceed, in µs.
    pub(super) fn quantile_us(&self, q: f64) -> Option<u64> {
        let rank = ((self.count() as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        let mut ends = self.0.iter();
        ends.find(|(_, count)| {
            seen += **count;
            seen >= rank
        })
        .map(|(end, _)| *end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn history(moments: &[Value]) -> History {
        let mut history = History::default();
        moments.iter().cloned().for_each(|stats| history.push(stats));
        history
    }

    fn one_worker(uptime: f64, received: u64) -> Value {
        json!({ "uptime_s": uptime, "workers": [{ "worker": 0, "core": 1, "received": received }] })
    }

    fn rate(history: &History) -> Option<f64> {
        history.tracks("workers")[0].rate("received")
    }

    #[test]
    fn a_rate_is_growth_over_the_engine_s_own_time() {
        let mut history = history(&[one_worker(1.0, 100)]);
        assert_eq!(rate(&history), None, "nothing to compare with");
        history.push(one_worker(1.5, 600));
        assert_eq!(rate(&history), Some(1000.0));
        history.push(one_worker(1.5, 600));
        assert_eq!(rate(&history), None, "no time has passed");
    }

    #[test]
    fn what_restarts_has_no_rate() {
        let mut history = history(&[one_worker(90.0, 100), one_worker(91.0, 7)]);
        assert_eq!(rate(&history), None, "a counter fell");
        history.push(one_worker(0.5, 50));
        assert_eq!(rate(&history), None, "another engine");
        history.push(one_worker(1.0, 55));
        assert_eq!(rate(&history), Some(10.0));
        history.forget();
        history.push(one_worker(2.0, 90));
        assert_eq!(rate(&history), None, "who knows which engine");
    }

    #[test]
    fn objects_are_compared_by_name_and_what_has_gone_is_gone() {
        let backend = |port: u16, connected: u64| {
            let address = format!("10.20.0.2:{port}");
            json!({ "service": "web", "address": address, "connected": connected })
        };
        let at =
            |uptime: f64, backends: Vec<Value>| json!({ "uptime_s": uptime, "backends": backends });
        let before = at(1.0, vec![backend(80, 1000), backend(81, 5)]);
        let history = history(&[before, at(2.0, vec![backend(81, 9), backend(82, 3)])]);
        let tracks = history.tracks("backends");
        let rates: Vec<_> = tracks.iter().map(|t| (&*t.name, t.rate("connected"))).collect();
        assert_eq!(rates, [("10.20.0.2:81 of web", Some(4.0)), ("10.20.0.2:82 of web", None)]);
        assert!(history.tracks("ports").is_empty());
    }

    #[test]
    fn a_share_is_that_of_what_came_since() {
        let at = |uptime: f64, turns: u64, idle: u64| {
            let worker = json!({ "worker": 0, "core": 1, "turns": turns, "idle_turns": idle });
            json!({ "uptime_s": uptime, "workers": [worker] })
        };
        let mut history = history(&[at(1.0, 100, 100), at(2.0, 300, 150)]);
        assert_eq!(history.tracks("workers")[0].share("idle_turns", "turns"), Some(0.25));
        history.push(at(3.0, 300, 150));
        assert_eq!(history.tracks("workers")[0].share("idle_turns", "turns"), None);
    }

    #[test]
    fn percentiles_are_those_of_the_window() {
        let at = |uptime: f64, times: Value| json!({ "uptime_s": uptime, "services": [{ "name": "web", "handshake_times": times }] });
        let mut history = history(&[at(0.0, json!([[112, 1000]]))]);
        assert_eq!(history.tracks("services")[0].recent_times(), Times::default());
        history.push(at(8.0, json!([[112, 1000], [640, 98], [5120, 2]])));
        let tracks = history.tracks("services");
        let [recent, all] = [tracks[0].recent_times(), tracks[0].all_times()];
        assert_eq!((recent.count(), all.count()), (100, 1100));
        assert_eq!([0.5, 0.98, 0.99].map(|q| recent.quantile_us(q)), [640, 640, 5120].map(Some));
        assert_eq!((all.quantile_us(0.5), Times::default().quantile_us(0.5)), (Some(112), None));
        history.push(at(15.0, json!([[112, 1000], [640, 98], [5120, 3]])));
        let tracks = history.tracks("services");
        assert_eq!(tracks[0].recent_times().0, BTreeMap::from([(5120, 1)]), "0 s is out of it");
    }

    #[test]
    fn the_past_is_bounded() {
        let mut history = History::default();
        (0..1000_u32).for_each(|n| history.push(one_worker(f64::from(n) / 1000.0, 0)));
        assert_eq!(history.0.len(), MOMENTS);
    }

    proptest! {
        #[test]
        fn no_rate_is_negative(moments in prop::collection::vec((0.0..100.0, any::<u64>()), 1..6)) {
            let moments: Vec<_> = moments.iter().map(|(s, n)| one_worker(*s, *n)).collect();
            prop_assert!(rate(&history(&moments)).is_none_or(|rate| rate >= 0.0));
        }
    }
}
