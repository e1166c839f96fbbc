//! Owning wrappers over DPDK.
