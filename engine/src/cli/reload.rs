//! SIGHUP and `usher reload`: the configuration is read again, and the engine goes on with it.

use std::path::Path;

use clap::Args;
use serde_json::json;

use super::{Running, order};
use crate::config::Plan;
use crate::engine::Engine;
use crate::port::Port;

#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    running: Running,
}

/// Asks a running engine to reload; returns the exit code.
pub(super) fn ask(options: &Options) -> u8 {
    order(&options.running, &json!({ "command": "reload" }))
}

/// Reads `file` again and goes on with it; what it refuses leaves everything as it was.
pub(super) fn reload<P: Port + 'static>(
    engine: &mut Engine<P>,
    file: &Path,
) -> Result<String, String> {
    let unchanged = |why: String| format!("{why}; nothing was changed");
    let plan = Plan::load(file)
        .map_err(|error| format!("the file is wrong and nothing was changed\n{error}"))?;
    let name = file.display();
    if plan == *engine.plan() {
        return Ok(format!("{name} says what runs already"));
    }
    engine.reload(&plan).map_err(unchanged)?;
    Ok(format!("{name} is in force: {} service(s)", plan.services.len()))
}
