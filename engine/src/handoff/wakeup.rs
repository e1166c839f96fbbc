//! What a thread sleeps on: an eventfd.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// Is set by any thread and waited for by one.
#[derive(Debug)]
pub(super) struct Wakeup(OwnedFd);

impl Wakeup {
    /// Not set.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Sets it and never waits: it stays set until it was waited for.
    pub(super) fn set(&self) {
        // Fails only with 2⁶⁴ - 2 sets unseen, and then it is set.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Waits until it is set, `timeout` has passed or a signal came. Returns `false` if only time has passed.
    pub(super) fn wait(&self, timeout: Option<Duration>) -> bool {
        // What is longer than time itself is for ever.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let slept = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], timeout.as_ref());
        // Fails if it is not set.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
        !matches!(slept, Ok(0))
    }
}
