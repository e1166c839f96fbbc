//! `usher backend`: which backends a running engine has, and which of them get new connections.

use std::net::SocketAddr;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{DONE, FAILED, Running, complain, report, say};
use crate::control::{backends_table, request};

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Every backend with its state
    List(List),
    /// Give a backend no new connections; it keeps those that it has
    Drain(One),
    /// Give a drained backend connections again
    Enable(One),
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

/// Asks a running engine; returns the exit code.
pub(super) fn ask(command: &Command) -> u8 {
    match command {
        Command::List(options) => {
            let asked = json!({ "command": "backend list" });
            send(&options.running, &asked, |answer| print(options, answer))
        }
        Command::Drain(one) => order("backend drain", one),
        Command::Enable(one) => order("backend enable", one),
    }
}

fn order(command: &str, One { service, address, running }: &One) -> u8 {
    let asked = json!({ "command": command, "service": service, "address": address.to_string() });
    send(running, &asked, |answer| {
        say(answer["done"].as_str().unwrap_or_default());
        DONE
    })
}

fn send(running: &Running, asked: &Value, print: impl FnOnce(Value) -> u8) -> u8 {
    let socket = match running.socket() {
        Ok(socket) => socket,
        Err(error) => return report(&error),
    };
    match request(&socket, asked) {
        Ok(answer) => print(answer),
        Err(cause) => {
            complain(&format!("{}: {cause}", socket.display()));
            FAILED
        }
    }
}

fn print(List { service, json, .. }: &List, mut answer: Value) -> u8 {
    if let (Some(name), Some(all)) = (service, answer["backends"].as_array_mut()) {
        all.retain(|backend| backend["service"] == **name);
        if all.is_empty() {
            complain(&format!("no proxy service {name:?} runs; `usher backend list` names all"));
            return FAILED;
        }
    }
    say(&if *json { answer.to_string() } else { backends_table(&answer) });
    DONE
}
