//! The integration tests, one binary.

mod captures;
mod cli;
mod sim;
mod supply;
mod tidy;
