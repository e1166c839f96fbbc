//! Clients of a program that owns its flows: it hears their streams and says them again.

mod engine;
mod program;
mod streams;
