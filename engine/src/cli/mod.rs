//! The command line: one file a subcommand. Exit codes: 0 done, 1 failed while running, 2 usage or
//! configuration error.

mod backend;
mod check;
mod drain;
mod flows;
mod keeper;
mod log;
mod log_level;
mod manual;
mod privileges;
mod reload;
mod run;
mod secret;
mod service;
mod stats;
mod supervisor;
mod top;
mod version;

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde_json::Value;

use crate::config::{ConfigError, DEFAULT_SOCKET, Plan};
use crate::control::Connection;

/// Done.
const DONE: u8 = 0;
/// Failed while running.
const FAILED: u8 = 1;
/// Usage or configuration error.
const MISUSED: u8 = 2;

/// Handshake offload engine: answers TCP's handshakes at line rate and closes connections for the
/// machines behind it.
#[derive(Parser, Debug)]
#[command(name = "usher", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run until SIGINT or SIGTERM, then drain
    Run(run::Options),
    /// Check a configuration and the host; start nothing
    Check {
        /// Configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Counters of a running engine
    Stats(stats::Options),
    /// Live screen of a running engine: load, rates, services, backends, drops
    Top(top::Options),
    /// Sample of the flows of a running engine
    Flows(flows::Options),
    /// Bounded capture from a running engine (not in this version)
    Capture(Later),
    /// Let a running engine take no new connections and end when none is left, as SIGTERM does
    Drain(drain::Options),
    /// Have a running engine read its configuration again
    Reload(reload::Options),
    /// List, drain or enable services of a running engine
    #[command(subcommand)]
    Service(service::Command),
    /// How much a running engine logs
    LogLevel(log_level::Options),
    /// This program's version, and the running engine's
    Version(version::Options),
    /// Make a secret file, or announce the next secret in it
    #[command(subcommand)]
    Secret(secret::Command),
    /// Completions for a shell, on standard output
    Completions(manual::Completions),
    /// Manual pages
    Man(manual::Manual),
    /// List, drain, enable or weigh backends of a running engine
    #[command(subcommand)]
    Backend(backend::Command),
}

/// Whatever a command of a later version may be given.
#[derive(Args, Debug)]
struct Later {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    arguments: Vec<String>,
}

/// How to find a running engine.
#[derive(Args, Debug)]
#[group(multiple = false)]
struct Running {
    /// Its control socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Its configuration file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Running {
    /// Whether nobody said where.
    const fn is_default(&self) -> bool {
        self.socket.is_none() && self.config.is_none()
    }

    /// Where its control socket is.
    fn socket(&self) -> Result<PathBuf, ConfigError> {
        match (&self.socket, &self.config) {
            (Some(socket), _) => Ok(socket.clone()),
            (None, Some(file)) => Ok(Plan::load(file)?.engine.control_socket),
            (None, None) => Ok(PathBuf::from(DEFAULT_SOCKET)),
        }
    }
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let code = match Cli::parse().command {
        Command::Run(options) => run::run(&options),
        Command::Check { config } => check::check(&config),
        Command::Stats(options) => stats::stats(&options),
        Command::Top(options) => top::top(&options),
        Command::Flows(options) => flows::flows(&options),
        Command::Capture(_) => not_yet("capture", "tcpdump sees the frames of kernel interfaces"),
        Command::Drain(options) => drain::drain(&options),
        Command::Reload(options) => reload::reload(&options),
        Command::Service(command) => service::service(&command),
        Command::LogLevel(options) => log_level::log_level(&options),
        Command::Secret(command) => secret::secret(&command),
        Command::Completions(options) => manual::completions(&options),
        Command::Man(options) => manual::manual(&options),
        Command::Version(options) => version::version(&options),
        Command::Backend(command) => backend::backend(&command),
    };
    ExitCode::from(code)
}

fn not_yet(command: &str, instead: &str) -> u8 {
    complain(&format!("`usher {command}` is not in this version; {instead}"));
    MISUSED
}

/// Asks a running engine and hands its answer on; says what is wrong if there is none. Returns the exit code.
fn ask(running: &Running, asked: &Value, print: impl FnOnce(Value) -> u8) -> u8 {
    match connect(running).map(|(mut engine, socket)| (engine.ask(asked), socket)) {
        Ok((Ok(answer), _)) => print(Value::Object(answer)),
        Ok((Err(cause), socket)) => {
            complain(&format!("{}: {cause}", socket.display()));
            FAILED
        }
        Err(code) => code,
    }
}

/// The same for an order, whose outcome is a sentence.
fn order(running: &Running, asked: &Value) -> u8 {
    ask(running, asked, |answer| {
        say(answer["done"].as_str().unwrap_or_default());
        DONE
    })
}

/// A connection to a running engine, and the path of its socket; else what is wrong is said, and this is the exit code.
fn connect(running: &Running) -> Result<(Connection, PathBuf), u8> {
    let socket = running.socket().map_err(|error| report(&error))?;
    let place = socket.display();
    Connection::open(&socket).map(|engine| (engine, socket.clone())).map_err(|cause| {
        let remedy = match cause.kind() {
            ErrorKind::PermissionDenied => {
                "ask as the user that it runs as, or let a group in by `engine.control_group`"
            }
            _ if running.is_default() => {
                "is `usher run` running? With a `control_socket` of its own, name its file by -c, or the socket by --socket"
            }
            _ => "is `usher run` running there?",
        };
        complain(&format!("no engine answers at {place}: {cause}; {remedy}"));
        FAILED
    })
}

/// The plan of `file`, or the report of what is wrong with it on standard error.
fn load(file: &Path) -> Result<Plan, u8> {
    Plan::load_without_consumers(file).map_err(|error| report(&error))
}

fn report(error: &ConfigError) -> u8 {
    let mut err = std::io::stderr();
    let styled = err.is_terminal();
    let _ = writeln!(err, "{}", error.render(styled));
    MISUSED
}

/// A line on standard output; nobody reading it is no error.
fn say(line: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// A sentence on standard error.
fn complain(sentence: &str) {
    let _ = writeln!(std::io::stderr(), "usher: {sentence}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_of_later_versions_take_any_arguments() {
        let cli = Cli::parse_from(["usher", "capture", "-w", "x.pcapng", "--count", "3"]);
        assert!(matches!(cli.command, Command::Capture(later) if later.arguments.len() == 4));
    }

    #[test]
    fn a_socket_and_a_file_exclude_each_other() {
        assert!(Cli::try_parse_from(["usher", "stats", "--socket", "a", "-c", "b"]).is_err());
        assert!(Cli::try_parse_from(["usher", "stats", "--json", "-c", "b"]).is_ok());
    }
}
