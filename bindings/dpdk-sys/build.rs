//! Finds libdpdk.

fn main() {}
