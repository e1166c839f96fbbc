//! `usher log-level`: how much a running engine logs.

use clap::Args;
use serde_json::json;

use super::{MISUSED, Running, complain, order};
use crate::config::{LOG_LEVELS, is_log_level};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// off, error, warn, info, debug or trace; or a list such as warn,usher::control=debug. Without it: tells the present one
    level: Option<String>,
    #[command(flatten)]
    running: Running,
}

/// Asks a running engine; returns the exit code.
pub(super) fn log_level(options: &Options) -> u8 {
    if let Some(level) = options.level.as_deref().filter(|level| !is_log_level(level)) {
        complain(&format!("{level:?} says no log level: it is one of {}", LOG_LEVELS.join(", ")));
        return MISUSED;
    }
    order(&options.running, &json!({ "command": "log level", "level": options.level }))
}
