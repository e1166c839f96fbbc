//! Engines as C sees them.

use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use engine::{Config, Engine};

use crate::consumer::UsherConsumer;
use crate::error::set_error;

/// A running engine. One thread at a time may use it.
#[derive(Debug)]
pub struct UsherEngine {
    engine: Engine,
    /// Of each service that was asked for, the ends that are left, by worker.
    ends: Vec<(String, Vec<Option<engine::ConsumerEnd>>)>,
}

/// Starts an engine by the configuration file at `path`: returns when every port is polled. Services that have
/// `consumer_cores` cannot be run from C. NULL if it does not start.
///
/// # Safety
/// `path` is a string that ends with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn usher_start(path: *const c_char) -> *mut UsherEngine {
    // SAFETY: the caller promises a string.
    let path = unsafe { CStr::from_ptr(path) };
    let config = Config::load(Path::new(OsStr::from_bytes(path.to_bytes())));
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            set_error(error);
            return std::ptr::null_mut();
        }
    };
    match Engine::builder(config).start() {
        Ok(engine) => Box::into_raw(Box::new(UsherEngine { engine, ends: Vec::new() })),
        Err(error) => {
            set_error(error);
            std::ptr::null_mut()
        }
    }
}

/// How many workers it has, and so consumers for each service.
///
/// # Safety
/// `engine` is one that usher_start returned and that was not stopped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn usher_workers(engine: *const UsherEngine) -> usize {
    // SAFETY: the caller promises an engine that is there.
    unsafe { &*engine }.engine.workers()
}

/// The consumer of a `ring` service's flows at a worker, counted from 0: the first one, or a new one if the last is gone.
/// NULL if there is no such service or worker, or its consumer is there.
///
/// # Safety
/// `engine` is one that usher_start returned and that was not stopped; `service` is a string that ends with NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn usher_consumer(
    engine: *mut UsherEngine,
    service: *const c_char,
    worker: usize,
) -> *mut UsherConsumer {
    // SAFETY: the caller promises an engine that is there, and that no other thread uses it now.
    let engine = unsafe { &mut *engine };
    // SAFETY: the caller promises a string.
    let service = unsafe { CStr::from_ptr(service) }.to_string_lossy();
    let fresh = engine.engine.consumers(&service);
    if !fresh.is_empty() {
        engine.ends.retain(|(name, _)| *name != *service);
        let fresh = fresh.into_iter().map(Some).collect();
        engine.ends.push((service.clone().into_owned(), fresh));
    }
    let kept = engine.ends.iter_mut().find(|(name, _)| *name == *service);
    let kept = kept.and_then(|(_, ends)| ends.get_mut(worker)?.take());
    match kept.map_or_else(|| engine.engine.attach(&service, worker), Ok) {
        Ok(end) => Box::into_raw(Box::new(UsherConsumer(end))),
        Err(error) => {
            set_error(error);
            std::ptr::null_mut()
        }
    }
}

/// Takes no new connections from now on; what is left after so many milliseconds is reset. Returns at once.
///
/// # Safety
/// `engine` is one that usher_start returned and that was not stopped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn usher_drain(engine: *const UsherEngine, timeout_ms: u32) {
    // SAFETY: the caller promises an engine that is there.
    unsafe { &*engine }.engine.begin_drain(Duration::from_millis(timeout_ms.into()));
}

/// Whether a drain is done: no connection is left.
///
/// # Safety
/// `engine` is one that usher_start returned and that was not stopped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn usher_is_finished(engine: *const UsherEngine) -> bool {
    // SAFETY: the caller promises an engine that is there.
    unsafe { &*engine }.engine.is_finished()
}

/// Ends an engine at once and frees it. Its consumers are closed, and still have to be freed. NULL is none.
///
/// # Safety
/// `engine` is NULL, or one that usher_start returned and that was not stopped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn usher_stop(engine: *mut UsherEngine) {
    if !engine.is_null() {
        // SAFETY: it was made by `Box::into_raw` in `usher_start`, and this is its only end, as the caller promises.
        drop(unsafe { Box::from_raw(engine) });
    }
}
