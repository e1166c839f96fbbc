//! Benchmarks of Usher.
