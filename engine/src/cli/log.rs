//! The log of a running engine, on standard error: as text or JSON, at a level that can change, and bounded.
//!
//! Workers never log. What the other threads say again and again, for whatever reason, is written [`LINES`] times in a
//! window, and then how often it was left out: a log that fills a disk helps nobody.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::callsite::Identifier;
use tracing::{Event, Metadata, Subscriber, warn};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::reload::Handle;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::clock::{Clock, SystemClock};
use crate::config::{EnginePlan, LOG_LEVELS, LogFormat, is_log_level};

/// Lines of one kind, which differ in their numbers at most, in a window. Fewer hide what an operator does by hand.
const LINES: u32 = 10;

/// A window, in µs.
const WINDOW_US: u64 = 10_000_000;

/// The log of this process.
pub(super) struct Log {
    filter: Handle<EnvFilter, Registry>,
    limits: Limits,
    level: String,
}

/// What becomes the log when it is installed.
pub(super) struct Sink {
    filter: reload::Layer<EnvFilter, Registry>,
    limits: Limits,
    format: LogFormat,
}

impl Log {
    /// A log as `plan` says. The variable `USHER_LOG` goes before its level, `format` before its format.
    pub(super) fn new(plan: &EnginePlan, format: Option<LogFormat>) -> (Self, Sink) {
        let wanted = std::env::var("USHER_LOG").ok().filter(|level| is_log_level(level));
        let level = wanted.unwrap_or_else(|| plan.log_level.clone());
        let (filter, handle) = reload::Layer::new(EnvFilter::new(&level));
        let limits = Limits::default();
        let format = format.unwrap_or(plan.log_format);
        (Self { filter: handle, limits: limits.clone(), level }, Sink { filter, limits, format })
    }

    /// What is logged.
    pub(super) fn level(&self) -> &str {
        &self.level
    }

    /// Logs more or less from now on.
    ///
    /// # Errors
    ///
    /// When `level` is none: one sentence.
    pub(super) fn set_level(&mut self, level: &str) -> Result<(), String> {
        if !is_log_level(level) {
            return Err(format!(
                "{level:?} says no log level: it is one of {}",
                LOG_LEVELS.join(", ")
            ));
        }
        self.filter.reload(EnvFilter::new(level)).map_err(|cause| cause.to_string())?;
        self.level = level.into();
        Ok(())
    }

    /// Says what was left out in windows that are over.
    pub(super) fn tell(&self) {
        for (place, count) in self.limits.over() {
            warn!("{count} more lines like those of {place} were left out");
        }
    }
}

impl Sink {
    /// Takes what this process logs from now on.
    pub(super) fn install(self) {
        let registry = tracing_subscriber::registry().with(self.filter).with(Limited(self.limits));
        let lines = fmt::layer().with_writer(std::io::stderr);
        // a log that is there already is as good
        let _ = match self.format {
            LogFormat::Text => {
                let colours = std::io::stderr().is_terminal();
                registry.with(lines.with_ansi(colours)).try_init()
            }
            LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
        };
    }
}

/// How often each place in the program has logged in its window.
#[derive(Clone)]
struct Limits(Arc<Mutex<Windows>>);

struct Windows {
    clock: SystemClock,
    windows: HashMap<Identifier, Window>,
}

struct Window {
    place: String,
    ends_us: u64,
    lines: u32,
}

impl Default for Limits {
    fn default() -> Self {
        let windows = Windows { clock: SystemClock::start(), windows: HashMap::new() };
        Self(Arc::new(Mutex::new(windows)))
    }
}

impl Limits {
    fn windows(&self) -> MutexGuard<'_, Windows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more line from this place is written.
    fn allows(&self, place: &'static Metadata<'static>) -> bool {
        let mut windows = self.windows();
        let now_us = windows.clock.now().us;
        windows.count(place, now_us)
    }

    /// The windows that are over: how many lines were left out, and of which place.
    fn over(&self) -> Vec<(String, u32)> {
        let mut windows = self.windows();
        let now_us = windows.clock.now().us;
        windows.over(now_us)
    }
}

impl Windows {
    /// Counts a line; whether it is one of the first of its window.
    fn count(&mut self, place: &'static Metadata<'static>, now_us: u64) -> bool {
        let named = || {
            let (file, line) = (place.file().unwrap_or_default(), place.line().unwrap_or_default());
            format!("{file}:{line}")
        };
        let begin = || Window { place: named(), ends_us: now_us + WINDOW_US, lines: 0 };
        let window = self.windows.entry(place.callsite()).or_insert_with(begin);
        window.lines = window.lines.saturating_add(1);
        window.lines <= LINES
    }

    fn over(&mut self, now_us: u64) -> Vec<(String, u32)> {
        let mut over = Vec::new();
        self.windows.retain(|_, window| {
            let lasts = now_us < window.ends_us;
            if !lasts && window.lines > LINES {
                over.push((window.place.clone(), window.lines - LINES));
            }
            lasts
        });
        over
    }
}

/// Keeps the limits.
struct Limited(Limits);

impl<S: Subscriber> Layer<S> for Limited {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.allows(event.metadata())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a subscriber with these limits writes while `work` logs.
    fn written(limits: &Limits, work: impl FnOnce()) -> String {
        let text = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&text);
        let lines = fmt::layer().json().with_writer(move || Writer(Arc::clone(&into)));
        let registry = tracing_subscriber::registry().with(Limited(limits.clone())).with(lines);
        tracing::subscriber::with_default(registry, work);
        String::from_utf8(text.lock().unwrap().clone()).unwrap()
    }

    struct Writer(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Writer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// A place is limited, whatever it says, and others are not.
    #[test]
    fn what_comes_again_and_again_is_left_out() {
        let limits = Limits::default();
        let text = written(&limits, || {
            (0..100).for_each(|number| warn!("again {number}"));
            warn!("once");
        });
        assert_eq!((text.matches("again").count(), text.matches("once").count()), (10, 1));
        assert!(text.contains("again 9\"") && !text.contains("again 10\""));
        assert_eq!(limits.over(), [], "their window is not over");
        let mut windows = limits.windows();
        let later_us = windows.clock.now().us + WINDOW_US;
        let over = windows.over(later_us);
        let [(place, 90)] = &over[..] else { panic!("{over:?}") };
        assert!(place.contains("log.rs:"), "{place}");
        assert_eq!(windows.over(later_us), []);
    }
}
