//! Threads that EAL knows. Only they have a cache in each pool; without one, every buffer costs an atomic operation.

use std::cell::RefCell;
use std::sync::PoisonError;

use dpdk_sys as sys;

use crate::{Eal, Error, error, log};

thread_local! {
    static MEMBER: RefCell<Option<Member>> = const { RefCell::new(None) };
}

/// This thread's registration; dropped at the latest when the thread ends.
struct Member(Eal);

impl Eal {
    /// Makes EAL know this thread, until [`Self::unregister_thread`] or the thread's end. Harmless when repeated.
    ///
    /// # Errors
    /// When EAL knows as many threads as it can.
    pub fn register_thread(&self) -> Result<(), Error> {
        MEMBER.with_borrow_mut(|member| {
            if member.is_none() {
                *member = Some(Member::new(self)?);
            }
            Ok(())
        })
    }

    /// Makes EAL forget this thread.
    pub fn unregister_thread(&self) {
        let member = MEMBER.with_borrow_mut(Option::take);
        drop(member);
    }

    /// Runs `then` with no other thread registered, and none registering meanwhile: nobody else touches a cache.
    /// `None` when another thread is registered.
    pub(crate) fn alone<R>(&self, then: impl FnOnce() -> R) -> Option<R> {
        // A thread that is ending has lost its own mark and counts as another: then nothing is done, which is safe.
        let own =
            MEMBER.try_with(|member| member.try_borrow().is_ok_and(|member| member.is_some()));
        let registered = self.registered().lock().unwrap_or_else(PoisonError::into_inner);
        (*registered == usize::from(own.unwrap_or(false))).then(then)
    }
}

impl Member {
    fn new(eal: &Eal) -> Result<Self, Error> {
        let mut registered = eal.registered().lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: EAL runs, as the handle proves, and does not know this thread, as `MEMBER` says.
        let (result, said) = log::listen(|| unsafe { sys::rte_thread_register() });
        if result < 0 {
            let doing = "EAL does not register a worker's thread";
            return Err(Error::refused(doing, error::last(), said).with_remedy(
                "run fewer workers, or leave --proc-type and --lcores out of eal_args",
            ));
        }
        *registered = registered.saturating_add(1);
        drop(registered);
        Ok(Self(eal.clone()))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut registered = self.0.registered().lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: this thread is registered: a member is made by registering and never leaves its thread.
        unsafe { sys::rte_thread_unregister() };
        *registered = registered.saturating_sub(1);
    }
}
