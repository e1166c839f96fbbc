//! `usher version`: this program's, and the running engine's.

use clap::Args;
use serde_json::{Value, json};

use super::{DONE, FAILED, Running, say};
use crate::control::request;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    running: Running,
}

/// Prints both; returns the exit code. That no engine runs is an error only if it was said where.
pub(super) fn version(options: &Options) -> u8 {
    let own = env!("CARGO_PKG_VERSION");
    let dpdk = cfg!(feature = "dpdk");
    let engine = options.running.socket().map_err(|error| error.to_string()).and_then(|socket| {
        let asked = json!({ "command": "version" });
        request(&socket, &asked).map_err(|cause| format!("{}: {cause}", socket.display()))
    });
    if options.json {
        let engine = engine.as_ref().ok();
        say(&json!({ "version": own, "dpdk": dpdk, "engine": engine }).to_string());
    } else {
        say(&format!("usher {own}, {} DPDK", if dpdk { "with" } else { "without" }));
        say(&engine.as_ref().map_or_else(|cause| format!("no engine: {cause}"), running));
    }
    if engine.is_err() && !options.running.is_default() { FAILED } else { DONE }
}

fn running(engine: &Value) -> String {
    let uptime = engine["uptime_s"].as_f64().unwrap_or_default();
    let version = engine["version"].as_str().unwrap_or_default();
    let ready = match engine["not_ready"].as_str() {
        Some(why) => format!("not ready: {why}"),
        None => "ready".into(),
    };
    format!("engine {version}, up for {uptime:.1} s, {ready}")
}
