//! The `usher-bench` binary: bounded load against an engine on the same machine.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use usher_bench::flood::{self, Flood};
use usher_bench::work::{self, Work};

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
    /// Does a fixed amount of a worker's work on a memory port
    Work(Work),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Flood(flood) => report("flood", flood::run(&flood)),
        Command::Work(work) => report("work", io::Result::Ok(work::run(&work))),
    }
}

fn report(command: &str, result: Result<impl Display, impl Display>) -> ExitCode {
    match result {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("usher-bench {command}: {error}");
            ExitCode::FAILURE
        }
    }
}
