//! A bell for a consumer that sleeps while it has nothing to do.
//!
//! Producers ring it whenever they have published something, which costs a fence and a load unless somebody sleeps:
//! the [`Sleeper`] arms the bell before it looks for the last time. One bell may serve many rings, so that one thread
//! can sleep until any of them has something.

#![forbid(unsafe_code)]

use std::io;
use std::time::Duration;

use crossbeam::utils::CachePadded;

use super::sync::{Arc, AtomicBool, Ordering, fence};
use super::wakeup::Wakeup;

/// Makes a bell.
///
/// # Errors
/// When the process has no file descriptor left.
pub fn bell() -> io::Result<(Ringer, Sleeper)> {
    let bell = Bell { armed: CachePadded::new(AtomicBool::new(false)), wakeup: Wakeup::new()? };
    let bell = Arc::new(bell);
    Ok((Ringer(Arc::clone(&bell)), Sleeper(bell)))
}

#[derive(Debug)]
struct Bell {
    /// Whether the sleeper sleeps or is about to. Only it sets this.
    armed: CachePadded<AtomicBool>,
    wakeup: Wakeup,
}

/// Wakes the sleeper. Any number of threads may have one.
#[derive(Clone, Debug)]
pub struct Ringer(Arc<Bell>);

impl Ringer {
    /// Wakes the sleeper if it sleeps or is about to. To be called after what it waits for was published.
    #[inline]
    pub fn ring(&self) {
        // Between our publishing and our look at `armed`; pairs with the fence in `sleep`, between arming and the look
        // at what was published. One of the two sees what the other wrote.
        fence(Ordering::SeqCst);
        if self.0.armed.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        // Of several that ring at once, one wakes. Who disarms the bell does wake, so that no sleep goes unnoticed.
        if self.0.armed.swap(false, Ordering::AcqRel) {
            self.0.wakeup.set();
        }
    }
}

/// Sleeps until the bell rings.
#[derive(Debug)]
pub struct Sleeper(Arc<Bell>);

impl Sleeper {
    /// Sleeps until the bell rings, `timeout` has passed, or a signal came; not at all if `ready`, which is asked when
    /// the bell is armed, finds something to do. Returns `false` if only time has passed, and now and then `true`
    /// though there is nothing to do.
    pub fn sleep(&mut self, timeout: Option<Duration>, ready: impl FnOnce() -> bool) -> bool {
        let bell = &*self.0;
        // An exchange, so that it comes after the one in `wake` that it follows for everyone.
        bell.armed.swap(true, Ordering::AcqRel);
        // Pairs with the fence in `ring`.
        fence(Ordering::SeqCst);
        let woken = ready() || bell.wakeup.wait(timeout);
        bell.armed.store(false, Ordering::Relaxed);
        woken
    }
}
