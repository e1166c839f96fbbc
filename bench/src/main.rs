//! The `usher-bench` binary: bounded load against an engine on the same machine.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use usher_bench::flood::{self, Flood};

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sends SYNs from made-up sources out of an interface of a network namespace of our own
    Flood(Flood),
}

fn main() -> ExitCode {
    let Command::Flood(flood) = Cli::parse().command;
    match flood::run(&flood) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("usher-bench flood: {error}");
            ExitCode::FAILURE
        }
    }
}
