//! Raw DPDK bindings: what `build.rs` allows, and the shim.
//!
//! For the crate `dpdk` only; nothing above it may name anything of here. The names are C's. What DPDK offers only as
//! inline functions or macros has a one-line stand-in in `shim/`, under the prefix `usher_`.
//!
//! It never decides anything and holds no state.

#[allow(
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::multiple_unsafe_ops_per_block,
    clippy::undocumented_unsafe_blocks,
    unnameable_types,
    unsafe_op_in_unsafe_fn,
    unused_qualifications,
    clippy::use_self,
    reason = "generated from C headers, whose names and shapes are not ours to choose"
)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use bindings::*;

/// The mbuf is two cache lines; everything the engine touches on receive is in the first.
const _: () = {
    assert!(USHER_MBUF_SIZE == 128);
    assert!(USHER_MBUF_DATA_LEN < 64 && USHER_MBUF_OL_FLAGS < 64 && USHER_MBUF_BUF_LEN < 64);
    assert!(size_of::<rte_mbuf>() == USHER_MBUF_SIZE as usize);
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn the_loaded_library_is_the_one_we_were_built_with() {
        // SAFETY: takes nothing and only returns a pointer.
        let version = unsafe { usher_version() };
        // SAFETY: it points to a static, terminated string.
        let version = unsafe { CStr::from_ptr(version) }.to_str().expect("ASCII");
        let (year, month) = (USHER_VERSION >> 24, USHER_VERSION >> 16 & 0xff);
        assert!(
            version.contains(&format!("{year}.{month:02}.")),
            "{version} is not {year}.{month}"
        );
    }
}
