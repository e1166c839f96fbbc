//! `usher backend`: which backends a running engine has, and which of them get new connections.

use std::net::SocketAddr;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{DONE, Running, ask, order, say};
use crate::control::backends_table;

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Every backend with its state
    List(List),
    /// Give a backend no new connections; it keeps those that it has
    Drain(One),
    /// Give a drained backend connections again
    Enable(One),
    /// Give a backend another share of new connections, until the file says another
    Weight(Weight),
}

#[derive(Args, Debug)]
pub(super) struct List {
    /// Those of this service alone
    service: Option<String>,
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
    /// Address and TCP port of the backend
    address: SocketAddr,
    #[command(flatten)]
    running: Running,
}

#[derive(Args, Debug)]
pub(super) struct Weight {
    /// Name of the service
    service: String,
    /// Address and TCP port of the backend
    address: SocketAddr,
    /// Its share beside the others, 1 to 1000
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    weight: u16,
    #[command(flatten)]
    running: Running,
}

/// Asks a running engine; returns the exit code.
pub(super) fn backend(command: &Command) -> u8 {
    match command {
        Command::List(List { service, json, running }) => {
            let asked = json!({ "command": "backend list", "service": service });
            ask(running, &asked, |answer| {
                say(&if *json { answer.to_string() } else { backends_table(&answer) });
                DONE
            })
        }
        Command::Drain(one) => one.order("backend drain"),
        Command::Enable(one) => one.order("backend enable"),
        Command::Weight(Weight { service, address, weight, running }) => order(
            running,
            &json!({
                "command": "backend weight",
                "service": service,
                "address": address,
                "weight": weight,
            }),
        ),
    }
}

impl One {
    fn order(&self, command: &str) -> u8 {
        let Self { service, address, running } = self;
        order(running, &json!({ "command": command, "service": service, "address": address }))
    }
}
