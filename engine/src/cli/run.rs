//! `usher run`: from a plan to a running engine, and back.

use std::path::Path;

use super::{FAILED, MISUSED, complain, load};

/// Runs until a signal; returns the exit code.
pub(super) fn run(file: &Path) -> u8 {
    if load(file).is_err() {
        return MISUSED;
    }
    complain("the engine is not part of this build yet");
    FAILED
}
