//! By which queue of a port a frame comes in, and whose it is by the rules of `ARCHITECTURE`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use usher_proto::wire::toeplitz;

use super::frame::Packet;

/// How a device spreads frames over the workers' queues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arrival {
    /// By a hash that is not ours, and changes when this number does.
    Anywhere(u64),
    /// By ours, as RSS does with the engine's key and table.
    Rss,
    /// Each by another worker's queue than that of the worker whose it is.
    Wrong,
    /// There is one queue.
    OneQueue,
}

impl Arrival {
    /// So many queues has a port.
    pub(crate) const fn queues(self, workers: usize) -> usize {
        if matches!(self, Self::OneQueue) { 1 } else { workers }
    }

    /// The queue that a packet comes in by; `sources` are addresses from which connections are opened.
    pub(crate) fn queue(self, packet: &Packet, workers: usize, sources: &[IpAddr]) -> usize {
        match self {
            Self::Anywhere(key) => {
                let mut hasher = DefaultHasher::new();
                (packet.src, packet.dst, key).hash(&mut hasher);
                hasher.finish() as usize % workers
            }
            Self::Rss => by_hash(packet.src, packet.dst, workers),
            Self::Wrong => {
                let port = packet.dst.port();
                let owner = if sources.contains(&packet.dst.ip()) && port >= 1024 {
                    usize::from(port) % workers
                } else {
                    by_hash(packet.src, packet.dst, workers)
                };
                (owner + 1) % workers
            }
            Self::OneQueue => 0,
        }
    }
}

/// The low seven bits of the hash that devices compute, by turns over the workers.
fn by_hash(src: SocketAddr, dst: SocketAddr, workers: usize) -> usize {
    let mut input = Vec::new();
    for end in [src, dst] {
        match end.ip() {
            IpAddr::V4(ip) => input.extend(ip.octets()),
            IpAddr::V6(ip) => input.extend(ip.octets()),
        }
    }
    input.extend(src.port().to_be_bytes());
    input.extend(dst.port().to_be_bytes());
    toeplitz::hash(&toeplitz::SYMMETRIC_KEY, &input) as usize % 128 % workers
}

/// One worker, then more of them, each number with every way that frames can come to them: 2, 3 and 4, or 3 alone.
pub(crate) fn some(all: bool) -> impl Iterator<Item = (usize, Arrival)> {
    let several = |workers| {
        [Arrival::Rss, Arrival::Wrong, Arrival::OneQueue, Arrival::Anywhere(7)]
            .map(|way| (workers, way))
    };
    std::iter::once((1, Arrival::Rss))
        .chain([2, 3, 4].into_iter().filter(move |workers| all || *workers == 3).flat_map(several))
}
