//! The `usher-bench` binary: load for an engine or its peers, and what came of it. Exit codes: 0 done, 1 failed
//! while running, 2 wrong arguments.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use usher_bench::Failure;
use usher_bench::cps::{self, Cps};
use usher_bench::flood::{self, Flood};
use usher_bench::progress::Progress;
use usher_bench::replay::Replay;
use usher_bench::report::{Output, Report};
use usher_bench::targets::{LatencyUnderLoad, Memory, Scaling, Soak, Start};
use usher_bench::work::{self, Work};

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Opens connections to a server, by rate or by number, and says how many a second and how long they took
    Cps(Box<Cps>),
    /// Floods a target from an interface of a network namespace of our own, and says what honest clients see beside it
    Flood(Box<Flood>),
    /// Times SYNs inside the engine at a share of its capacity (P12)
    Latency(LatencyUnderLoad),
    /// Fills a flow table and says what a flow takes (P9)
    Memory(Memory),
    /// Plays a capture through a worker and says what became of each frame, and why
    Replay(Replay),
    /// Compares several workers with one (P11)
    Scale(Scaling),
    /// Loads an engine in this process for long, and looks for what is left behind
    Soak(Box<Soak>),
    /// Times fresh starts of `usher run` (P14)
    Start(Start),
    /// Does a fixed amount of a worker's work on a memory port
    Work(Work),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (name, report) = match &cli.command {
        Command::Cps(cps) if cli.output.one_round => {
            ("cps", cps::run(&cps.one_round(), &Progress::silent()))
        }
        Command::Cps(cps) => ("cps", cps::run(cps, &Progress::of("cps"))),
        Command::Flood(flood) => ("flood", flood::run(flood)),
        Command::Latency(latency) => ("latency", latency.run(&Progress::of("latency"))),
        Command::Memory(memory) => ("memory", memory.run(&Progress::of("memory"))),
        Command::Replay(replay) => ("replay", replay.run()),
        Command::Scale(scale) => ("scale", scale.run(&Progress::of("scale"))),
        Command::Soak(soak) => ("soak", soak.run(&Progress::of("soak"))),
        Command::Start(start) => ("start", start.run(&Progress::of("start"))),
        Command::Work(work) => ("work", work::run(work, &Progress::of("work"))),
    };
    match report.and_then(|report| show(&report, &cli.output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("usher-bench {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn show(report: &Report, output: &Output) -> Result<(), Failure> {
    Ok(report.show(output)?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
