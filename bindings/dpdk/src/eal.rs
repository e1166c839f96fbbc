//! EAL, DPDK's environment: started once a process, torn down when the last thing made from it is gone.

use std::ffi::{CStr, CString, c_char};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use dpdk_sys as sys;
use rustix::thread::{CpuSet, sched_getaffinity};

use crate::{Error, Options, Pages, error, log};

/// EAL allows one start a process, even after its cleanup.
static STARTED: AtomicBool = AtomicBool::new(false);

/// A handle to the running EAL. Pools and ports keep one, so that cleanup comes after them.
#[derive(Clone, Debug)]
pub struct Eal(Arc<Running>);

#[derive(Debug)]
struct Running {
    pages: Pages,
    arguments: Vec<String>,
    /// Threads known to EAL, which have a cache in every pool. See `Mempool`'s drop.
    registered: Mutex<usize>,
}

impl Eal {
    /// Starts EAL. Takes some 140 ms.
    ///
    /// `rte_eal_init` pins its caller, and threads started by it inherit that; so it runs on a thread of its own that
    /// ends with it, and the caller's affinity stays what it was.
    ///
    /// # Errors
    /// When EAL was started before in this process, or refuses.
    pub fn start(options: &Options) -> Result<Self, Error> {
        if STARTED.swap(true, Ordering::AcqRel) {
            return Err(Error::ours("EAL runs once a process", "start another process"));
        }
        if options.sets_log_level() {
            log::leave_open();
        }
        let pages = options.pages();
        let arguments = options.arguments(pages, &allowed_cores());
        let given = arguments.clone();
        let started = thread::Builder::new().name("eal-start".into()).spawn(move || init(&given));
        let result = match started.map(thread::JoinHandle::join) {
            Ok(Ok(result)) => result,
            _ => Err(Error::ours("cannot start a thread for EAL", "raise the limit of threads")),
        };
        result.map_err(|refused| advise(refused, pages))?;
        Ok(Self(Arc::new(Running { pages, arguments, registered: Mutex::new(0) })))
    }

    /// Which pages buffers live in.
    #[must_use]
    pub fn pages(&self) -> Pages {
        self.0.pages
    }

    /// The arguments that EAL was started with.
    #[must_use]
    pub fn arguments(&self) -> &[String] {
        &self.0.arguments
    }

    pub(crate) fn registered(&self) -> &Mutex<usize> {
        &self.0.registered
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: EAL runs, and nothing made from it is left: everything keeps a handle.
        let (_, _) = log::listen(|| unsafe { sys::rte_eal_cleanup() });
    }
}

/// The release of DPDK that is loaded.
#[must_use]
pub fn version() -> String {
    // SAFETY: takes nothing and only returns a pointer.
    let text = unsafe { sys::usher_version() };
    // SAFETY: it points to a static, terminated string.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

fn allowed_cores() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else { return vec![0] };
    (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

fn init(arguments: &[String]) -> Result<(), Error> {
    let doing = format!("EAL does not start with `{}`", arguments.join(" "));
    let mut argv = Vec::new();
    for argument in std::iter::once("usher").chain(arguments.iter().map(String::as_str)) {
        let Ok(argument) = CString::new(argument) else {
            return Err(Error::ours(doing, "an argument holds a zero byte"));
        };
        // EAL keeps pointers into its arguments for as long as the process runs.
        argv.push(argument.into_raw());
    }
    let count = i32::try_from(argv.len()).unwrap_or(i32::MAX);
    argv.push(std::ptr::null_mut());
    let argv: &'static mut [*mut c_char] = argv.leak();
    // SAFETY: argv holds `count` terminated strings and a null, all of them leaked; `STARTED` lets one thread in once.
    let (result, said) = log::listen(|| unsafe { sys::rte_eal_init(count, argv.as_mut_ptr()) });
    if result < 0 { Err(Error::refused(doing, error::last(), said)) } else { Ok(()) }
}

fn advise(refused: Error, pages: Pages) -> Error {
    match (pages, refused.code()) {
        (Pages::Huge, 1 | 2 | 12 | 13) => refused.with_remedy(
            "reserve huge pages and run with access to them, or choose memory without huge pages",
        ),
        (Pages::Ordinary, 12) => refused.with_remedy("give less memory or free some on the host"),
        (_, 0) => refused.with_remedy(
            "stop another engine that runs with the same --file-prefix, or check the arguments",
        ),
        _ => refused,
    }
}
