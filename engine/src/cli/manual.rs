//! `usher completions` and `usher man`: what a shell and `man` know of the commands, made from the same description.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use super::{Cli, DONE, FAILED, complain};

#[derive(Args, Debug)]
pub(super) struct Completions {
    /// For which shell
    shell: Shell,
}

#[derive(Args, Debug)]
pub(super) struct Manual {
    /// Write a page for each command into this directory, which is made if need be; else usher(1) goes to standard output
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Prints what a shell reads to complete command lines; returns the exit code.
pub(super) fn completions(options: &Completions) -> u8 {
    let mut script = Vec::new();
    generate(options.shell, &mut command(), "usher", &mut script);
    written(io::Write::write_all(&mut io::stdout(), &script))
}

/// Prints the page, or writes all of them; returns the exit code.
pub(super) fn manual(options: &Manual) -> u8 {
    match &options.out {
        None => written(Man::new(command()).render(&mut io::stdout())),
        Some(dir) => {
            written(pages(dir).map_err(|cause| {
                io::Error::new(cause.kind(), format!("{}: {cause}", dir.display()))
            }))
        }
    }
}

/// The commands as they are described.
fn command() -> clap::Command {
    Cli::command()
}

/// Writes `usher.1`, `usher-run.1`, `usher-backend-list.1` and so on.
fn pages(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(command(), dir)
}

fn written(outcome: io::Result<()>) -> u8 {
    match outcome {
        Ok(()) => DONE,
        // whoever reads has had enough
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => DONE,
        Err(cause) => {
            complain(&format!("cannot be written: {cause}"));
            FAILED
        }
    }
}
