//! The integration tests, one binary.

mod captures;
mod cli;
mod control;
mod docs;
mod secrets;
mod sim;
mod supply;
mod tidy;
