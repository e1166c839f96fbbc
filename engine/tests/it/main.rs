//! The integration tests, one binary.

mod captures;
mod cli;
mod control;
mod docs;
mod sim;
mod supply;
mod tidy;
