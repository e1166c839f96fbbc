//! `usher reload`: a running engine reads its configuration again, or says what that would do.

use clap::Args;
use serde_json::{Value, json};

use super::{DONE, FAILED, Running, ask, say};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Say what would change and what would be refused, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    running: Running,
}

/// Asks a running engine to reload; returns the exit code.
pub(super) fn reload(options: &Options) -> u8 {
    let asked = json!({ "command": "reload", "dry_run": options.dry_run });
    ask(&options.running, &asked, |answer| {
        let changes = answer["changes"].as_array().into_iter().flatten();
        changes.filter_map(Value::as_str).for_each(|change| say(&format!("change: {change}")));
        say(answer["done"].as_str().unwrap_or_default());
        if answer["refused"].is_string() { FAILED } else { DONE }
    })
}
