//! The integration tests, one binary.

mod cli;
mod sim;
mod supply;
mod tidy;
