//! TCP: the handshake, the transfer of data, the close.

mod state;

pub use state::{State, Tcb};
