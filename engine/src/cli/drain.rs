//! `usher drain`: what SIGTERM does, by the control socket.

use std::io::ErrorKind;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::{DONE, FAILED, Running, complain, connect, say};
use crate::control::Connection;

/// How often it is looked whether the engine has ended. Shorter finds nothing sooner than the engine itself.
const INTERVAL: Duration = Duration::from_millis(100);

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Reset what is left after so long, whatever the file says
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// Return when the engine has ended
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    running: Running,
}

fn duration(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|e| format!("{e}: write e.g. 10s or 5m"))?;
    let fits = u32::try_from(time.as_millis()).is_ok();
    fits.then_some(time).ok_or_else(|| "at most 49 days".into())
}

/// Has a running engine drain and end; returns the exit code.
pub(super) fn drain(options: &Options) -> u8 {
    let (mut engine, socket) = match connect(&options.running) {
        Ok(reached) => reached,
        Err(code) => return code,
    };
    let timeout_ms = options.timeout.map(|time| time.as_millis() as u64);
    match engine.ask(&json!({ "command": "drain", "timeout_ms": timeout_ms })) {
        Ok(answer) => say(answer.get("done").and_then(Value::as_str).unwrap_or_default()),
        Err(cause) => {
            complain(&format!("{}: {cause}", socket.display()));
            return FAILED;
        }
    }
    if options.wait {
        wait_for_end(&mut engine);
    }
    DONE
}

/// Returns when the engine has closed its socket.
fn wait_for_end(engine: &mut Connection) {
    let is_there = |outcome: std::io::Result<_>| match outcome {
        Ok(_) => true,
        // it is slow, and there
        Err(cause) => cause.kind() == ErrorKind::WouldBlock,
    };
    while is_there(engine.ask(&json!({ "command": "version" }))) {
        std::thread::park_timeout(INTERVAL);
    }
}
