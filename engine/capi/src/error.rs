//! The text of the last error.

use std::cell::RefCell;
use std::ffi::{CString, c_char};

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Keeps what went wrong for whoever asks on this thread.
pub(crate) fn set_error(text: impl ToString) {
    let mut bytes = text.to_string().into_bytes();
    bytes.retain(|byte| *byte != 0);
    LAST.set(CString::new(bytes).unwrap_or_default());
}

/// Why the last call on this thread that failed has failed: UTF-8, of one or several lines, "" before there was one. The
/// text is valid until the next failure on this thread or its end.
#[unsafe(no_mangle)]
pub extern "C" fn usher_error() -> *const c_char {
    LAST.with_borrow(|last| last.as_ptr())
}
