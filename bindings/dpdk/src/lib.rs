//! Owning, safe wrappers over DPDK: the only user of `dpdk-sys`.
//!
//! What is made here is given back when it is dropped, in the right order whatever order the caller drops in: queues
//! keep their port, ports their pool, pools the EAL. No type of DPDK's shows in a signature, nothing here decides about
//! a frame, and nothing allocates once a port is started. `usher::port::dpdk` is the only caller.

mod args;
mod burst;
mod device;
mod eal;
mod error;
mod log;
mod mbuf;
mod mempool;
mod offload;
mod port;
mod queue;
mod thread;

pub use args::{Memory, Options, Pages, PoolSize};
pub use burst::{Burst, Drain};
pub use device::Device;
pub use eal::{Eal, version};
pub use error::Error;
pub use mbuf::{HEADROOM, Mbuf};
pub use mempool::Mempool;
pub use offload::{Checked, Offloads};
pub use port::{Info, Port, Reception, Setup, Stats};
pub use queue::{RxQueue, TxQueue};
