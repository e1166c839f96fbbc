//! Load for Usher: what drives it, and what measures it.
//!
//! The `usher-bench` binary is the face of it; criterion benches stand in `benches/`.

pub mod flood;
pub mod front;
mod packet_socket;
pub mod rig;
pub mod work;
