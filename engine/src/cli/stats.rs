//! `usher stats`: asks a running engine for its counts.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::{DONE, FAILED, Running, complain, connect, say};
use crate::control::stats_table;

/// How often `--watch` asks. Shorter than the workers' housekeeping shows nothing new; longer feels dead.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
pub(super) struct Options {
    /// One JSON object; with --watch, one a line
    #[arg(long)]
    json: bool,
    /// Ask again every second until interrupted
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    running: Running,
}

/// Prints the counts; returns the exit code.
pub(super) fn stats(options: &Options) -> u8 {
    let (mut engine, socket) = match connect(&options.running) {
        Ok(reached) => reached,
        Err(code) => return code,
    };
    loop {
        match engine.ask(&json!({ "command": "stats" })) {
            Ok(answer) => print(options, &Value::Object(answer)),
            Err(cause) => {
                complain(&format!("{}: {cause}", socket.display()));
                return FAILED;
            }
        }
        if !options.watch {
            return DONE;
        }
        std::thread::park_timeout(INTERVAL);
    }
}

fn print(options: &Options, value: &Value) {
    if options.json {
        return say(&value.to_string());
    }
    if options.watch && std::io::stdout().is_terminal() {
        say("\x1b[H\x1b[2J");
    }
    say(&stats_table(value));
}
