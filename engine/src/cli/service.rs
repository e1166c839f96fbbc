//! `usher service`: which services a running engine has, and which of them take new connections.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{DONE, Running, ask, order, say};
use crate::control::services_table;

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Every service with where it listens and its state
    List(List),
    /// Let a service take no new connections; it keeps those that it has
    Drain(One),
    /// Let a drained service take connections again
    Enable(One),
}

#[derive(Args, Debug)]
pub(super) struct List {
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    running: Running,
}

#[derive(Args, Debug)]
pub(super) struct One {
    /// Name of the service
    service: String,
    #[command(flatten)]
    running: Running,
}

/// Asks a running engine; returns the exit code.
pub(super) fn service(command: &Command) -> u8 {
    match command {
        Command::List(List { json, running }) => {
            ask(running, &json!({ "command": "service list" }), |answer| {
                say(&if *json { answer.to_string() } else { services_table(&answer) });
                DONE
            })
        }
        Command::Drain(One { service, running }) => {
            order(running, &json!({ "command": "service drain", "service": service }))
        }
        Command::Enable(One { service, running }) => {
            order(running, &json!({ "command": "service enable", "service": service }))
        }
    }
}
