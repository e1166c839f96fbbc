//! What DPDK logs while it refuses something: the only place where it says why.
//!
//! While a call is listened to, DPDK writes to a file in memory instead of standard error; on success that is
//! forgotten. When the operator chose a log level, nothing is intercepted.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use dpdk_sys as sys;
use rustix::fs::{MemfdFlags, memfd_create};

/// Enough for any reason; a driver that says more is cut.
const LONGEST: usize = 2048;

static SINK: Mutex<Option<Sink>> = Mutex::new(None);
static OPEN: AtomicBool = AtomicBool::new(false);

/// Lets DPDK log to standard error from now on.
pub(crate) fn leave_open() {
    OPEN.store(true, Ordering::Relaxed);
}

/// Makes a call and returns what DPDK logged meanwhile, as one line. Must not be nested.
pub(crate) fn listen<R>(call: impl FnOnce() -> R) -> (R, String) {
    if OPEN.load(Ordering::Relaxed) {
        return (call(), String::new());
    }
    let mut sink = SINK.lock().unwrap_or_else(PoisonError::into_inner);
    if sink.is_none() {
        *sink = Sink::new();
    }
    let Some(sink) = sink.as_ref() else { return (call(), String::new()) };
    let stop = sink.begin();
    let result = call();
    drop(stop);
    (result, sink.text())
}

/// A stream is opened once and never closed: a thread of DPDK's may be writing to it at any time.
struct Sink {
    memory: File,
    stream: *mut sys::FILE,
}

// SAFETY: the stream is only handed to DPDK, whose writes stdio locks; all else happens under the mutex of `SINK`.
unsafe impl Send for Sink {}

impl Sink {
    fn new() -> Option<Self> {
        let memory: OwnedFd = memfd_create("dpdk-log", MemfdFlags::CLOEXEC).ok()?;
        // SAFETY: the descriptor is open, and the pair lives in a static, so it is closed by nobody.
        let stream = unsafe { sys::usher_log_open(memory.as_raw_fd()) };
        (!stream.is_null()).then(|| Self { memory: File::from(memory), stream })
    }

    fn begin(&self) -> Stop {
        // An old text that cannot be removed is only shown twice.
        let _ = self.memory.set_len(0);
        // SAFETY: the stream is open and stays open.
        unsafe { sys::rte_openlog_stream(self.stream) };
        Stop
    }

    /// The lines as one.
    fn text(&self) -> String {
        let mut bytes = [0; LONGEST];
        let len = self.memory.read_at(&mut bytes, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&bytes[..len]);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join("; ")
    }
}

/// Turns the stream back, also when the call panics.
struct Stop;

impl Drop for Stop {
    fn drop(&mut self) {
        // SAFETY: null means DPDK's own choice.
        unsafe { sys::rte_openlog_stream(std::ptr::null_mut()) };
    }
}
