//! How far a run is, on standard error, for whoever waits for it.

use std::fmt::Display;

/// Where progress goes.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    command: Option<&'static str>,
}

impl Progress {
    /// Lines that begin with the command's name.
    #[must_use]
    pub const fn of(command: &'static str) -> Self {
        Self { command: Some(command) }
    }

    /// Nowhere.
    #[must_use]
    pub const fn silent() -> Self {
        Self { command: None }
    }

    /// Says one line.
    pub fn say(&self, what: &impl Display) {
        if let Some(command) = self.command {
            eprintln!("{command}: {what}");
        }
    }
}
