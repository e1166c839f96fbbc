//! Where services listen: from address and port to service, for every segment without a flow.
//!
//! The configuration chooses what is in it and the network only what is asked for, so that an open table with
//! a fixed hash does: half empty, the number of steps is bounded by the configuration alone.

#![forbid(unsafe_code)]

use usher_proto::wire::{Addr, Tuple};

/// Where a service listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Listener {
    pub(super) addr: Addr,
    pub(super) tcp_port: u16,
    /// The port's index.
    pub(super) port: u16,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Listeners {
    /// A power of two of slots, at least twice as many as there are listeners.
    slots: Box<[Option<(Listener, u16)>]>,
}

impl Listeners {
    /// Listeners, each with its service's index; of equal ones the first counts.
    pub(super) fn new(listeners: &[(Listener, u16)]) -> Self {
        let count = (2 * listeners.len()).next_power_of_two().max(2);
        let mut slots: Box<[_]> = std::iter::repeat_n(None, count).collect();
        for (listener, service) in listeners {
            let mut slot = place(listener, count);
            while slots[slot].is_some_and(|(other, _)| other != *listener) {
                slot = (slot + 1) % count;
            }
            slots[slot].get_or_insert((*listener, *service));
        }
        Self { slots }
    }

    /// The service that listens where `tuple` goes.
    #[inline]
    pub(super) fn find(&self, tuple: &Tuple) -> Option<u16> {
        let wanted = Listener { addr: tuple.local, tcp_port: tuple.local_port, port: tuple.port };
        let mut slot = place(&wanted, self.slots.len());
        while let Some((listener, service)) = &self.slots[slot] {
            if *listener == wanted {
                return Some(*service);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        None
    }
}

/// Where the search for a listener begins (multiplicative hashing, Knuth 6.4).
#[inline]
fn place(listener: &Listener, count: usize) -> usize {
    let addr = u128::from_ne_bytes(listener.addr.0);
    let ports = u64::from(listener.tcp_port) << 16 | u64::from(listener.port);
    let mixed = (addr as u64 ^ (addr >> 64) as u64 ^ ports).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as usize & (count - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(n: u16) -> Listener {
        let [a, b] = n.to_be_bytes();
        Listener { addr: Addr::v4([10, 0, a, b]), tcp_port: 80 + n % 3, port: n % 2 }
    }

    fn tuple(listener: &Listener) -> Tuple {
        let Listener { addr, tcp_port, port } = *listener;
        Tuple { local: addr, local_port: tcp_port, port, ..Tuple::default() }
    }

    #[test]
    fn each_is_found_and_nothing_else() {
        for count in [0, 1, 2, 3, 100] {
            let all: Vec<_> = (0..count).map(|n| (listener(n), n)).collect();
            let listeners = Listeners::new(&all);
            for (listener, service) in &all {
                assert_eq!(listeners.find(&tuple(listener)), Some(*service));
                let other = Listener { tcp_port: 1, ..*listener };
                assert_eq!(listeners.find(&tuple(&other)), None);
                let other = Listener { port: listener.port + 7, ..*listener };
                assert_eq!(listeners.find(&tuple(&other)), None);
            }
            assert_eq!(listeners.find(&tuple(&listener(5000))), None);
        }
    }
}
