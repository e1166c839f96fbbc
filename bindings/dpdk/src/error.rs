//! Errors: what was tried, what DPDK said, what to do about it.

use std::ffi::CStr;
use std::fmt;

use dpdk_sys as sys;

use crate::log;

/// Why DPDK refused; prints as one sentence with its remedy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    doing: String,
    code: i32,
    said: String,
    remedy: &'static str,
}

impl Error {
    /// A mistake that was found without asking DPDK.
    pub(crate) fn ours(doing: impl Into<String>, remedy: &'static str) -> Self {
        Self { doing: doing.into(), code: 0, said: String::new(), remedy }
    }

    /// A refusal with an errno of either sign, or 0 if DPDK gave none, and what DPDK logged meanwhile.
    pub(crate) fn refused(doing: impl Into<String>, code: i32, said: String) -> Self {
        let code = match code.saturating_abs() {
            // Drivers return a bare -1 for any failure; what they logged tells EPERM from that.
            1 if said.contains("No such") => 19,
            1 if !said.is_empty() && !said.contains("ermi") => 0,
            code => code,
        };
        Self { doing: doing.into(), code, said, remedy: remedy(code) }
    }

    /// The same refusal with a remedy that fits better than the one its errno suggests.
    pub(crate) fn with_remedy(self, remedy: &'static str) -> Self {
        Self { remedy, ..self }
    }

    /// Whether memory did not suffice.
    #[must_use]
    pub fn is_lack_of_memory(&self) -> bool {
        matches!(self.code, 12 | 105)
    }

    /// The errno, 0 if DPDK gave none.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.doing)?;
        if self.code != 0 {
            write!(f, ": {}", text(self.code))?;
        }
        if !self.said.is_empty() {
            write!(f, " (DPDK says \"{}\")", self.said)?;
        }
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Makes a call whose negative results are errnos, and listens to what DPDK logs meanwhile.
pub(crate) fn checked(
    doing: impl FnOnce() -> String,
    call: impl FnOnce() -> i32,
) -> Result<i32, Error> {
    let (result, said) = log::listen(call);
    if result < 0 { Err(Error::refused(doing(), result, said)) } else { Ok(result) }
}

/// DPDK's `rte_errno` of this thread.
pub(crate) fn last() -> i32 {
    // SAFETY: reads a thread-local of DPDK's.
    unsafe { sys::usher_errno() }
}

fn text(code: i32) -> String {
    // SAFETY: any code is allowed; the answer is a buffer of this thread's that lives until its next call.
    let text = unsafe { sys::rte_strerror(code) };
    if text.is_null() {
        return format!("error {code}");
    }
    // SAFETY: it is terminated, and nothing on this thread calls rte_strerror while it is read.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// What usually helps. The numbers are Linux's.
fn remedy(code: i32) -> &'static str {
    match code {
        1 | 13 => "run as root, or grant CAP_NET_RAW and CAP_NET_ADMIN",
        2 | 6 | 14 | 19 => {
            "check that the device exists and, if it is a PCI device, that a driver for DPDK holds it"
        }
        12 | 105 => "reserve more huge pages, give more memory, or ask for fewer buffers",
        16 | 98 => "another process holds the device: stop it first",
        17 => "give each device a number of its own, as in net_null0 and net_null1",
        22 | 95 => "check the device's arguments and what its driver can do",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_sentence_with_text_and_remedy() {
        let error = Error::refused("cannot start port e0", -1, "socket: not permitted".into());
        assert_eq!(
            error.to_string(),
            "cannot start port e0: Operation not permitted (DPDK says \"socket: not permitted\"); \
             run as root, or grant CAP_NET_RAW and CAP_NET_ADMIN"
        );
    }

    #[test]
    fn a_bare_minus_one_is_not_called_a_lack_of_permission() {
        let error = Error::refused("cannot open device e0", -1, "bad frame size".into());
        assert_eq!(error.to_string(), "cannot open device e0 (DPDK says \"bad frame size\")");
    }

    #[test]
    fn no_errno_is_not_called_success() {
        let error = Error::refused("EAL does not start", 0, String::new());
        assert_eq!(error.to_string(), "EAL does not start");
    }
}
