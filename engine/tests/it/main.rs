//! The integration tests, one binary.

mod sim;
mod supply;
mod tidy;
