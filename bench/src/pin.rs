//! Threads on cores.

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::Failure;

/// Lets this thread run on `core` alone; without one, where the system likes.
///
/// # Errors
/// When there is no such core, or this process may not use it.
pub fn pin(core: Option<usize>) -> Result<(), Failure> {
    let Some(core) = core else { return Ok(()) };
    if core >= CpuSet::MAX_CPU {
        return Err(format!("there is no core {core}").into());
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set)
        .map_err(|error| format!("cannot run on core {core}: {error}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_that_are_not_there_are_refused() {
        assert!(pin(Some(usize::MAX)).unwrap_err().to_string().contains("no core"));
        assert!(pin(Some(CpuSet::MAX_CPU - 1)).is_err());
        assert!(pin(None).is_ok());
    }
}
