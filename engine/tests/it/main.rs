//! The integration tests, one binary.

mod captures;
mod cli;
mod control;
mod sim;
mod supply;
mod tidy;
