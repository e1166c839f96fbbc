//! Initial sequence numbers of stateful handshakes (RFC 6528) and timestamp offsets (RFC 7323 §5.4).

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::secret::{Purpose, Secret};
use super::siphash::Key;
use crate::time::Now;
use crate::wire::{SeqNum, Tuple};

/// The key of RFC 6528's F. It leaves zeros where it was.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct IsnKey(Key);

impl IsnKey {
    /// The key derived from `secret`.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        Self(secret.key(Purpose::Isn))
    }

    /// The ISN of a connection that begins now, and the offset to add to the clock for its TSvals.
    ///
    /// RFC 6528 §3: ISN = M + F(addresses, ports, key), M counting units of 4 µs. M is taken from Unix
    /// time, so that the ISNs of one tuple keep rising (but for M's wrap, every 4.77 hours) over a
    /// restart and from node to node. It moves on 250 units at a time, each millisecond.
    ///
    /// The offset depends on nothing but addresses, ports and key: TSvals of one tuple never go
    /// backward from a connection to the next, and those of different tuples do not betray the clock.
    #[must_use]
    #[inline]
    pub fn isn(&self, tuple: &Tuple, now: &Now) -> (SeqNum, u32) {
        let hash = self.0.hash_tuple(tuple, 0, 0);
        let clock = now.ts_clock.wrapping_mul(250);
        (SeqNum(hash as u32).add(clock), (hash >> 32) as u32)
    }
}

impl fmt::Debug for IsnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IsnKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Addr;

    fn tuple(remote_port: u16) -> Tuple {
        let (remote, local) = (Addr::v4([10, 0, 0, 1]), Addr::v4([10, 0, 0, 2]));
        Tuple { remote, local, remote_port, local_port: 80, ..Tuple::default() }
    }

    /// RFC 6528 §3: the ISN of one tuple rises with the clock, 250,000 a second.
    #[test]
    fn isns_of_a_tuple_rise_with_the_clock() {
        let key = IsnKey::new(&Secret::from_bytes([1; 32]));
        let (early, offset) = key.isn(&tuple(1000), &Now::new(0, 1 << 40));
        let (late, same) = key.isn(&tuple(1000), &Now::new(9, (1 << 40) + 1000));
        assert_eq!((late.since(early), same), (250_000, offset));
    }

    /// RFC 6528 §3 and RFC 7323 §5.4: what one tuple sees says nothing about another.
    #[test]
    fn tuples_and_keys_have_unrelated_isns() {
        let now = Now::new(0, 1 << 40);
        let isns = |secret: u8| {
            let key = IsnKey::new(&Secret::from_bytes([secret; 32]));
            (0..1000).map(move |port| key.isn(&tuple(port), &now))
        };
        let all: std::collections::BTreeSet<_> =
            isns(1).chain(isns(2)).map(|(isn, offset)| (isn.0, offset)).collect();
        assert_eq!(all.len(), 2000);
        let mean = all.iter().map(|(isn, _)| u64::from(*isn)).sum::<u64>() / 2000;
        assert!(mean.abs_diff(1 << 31) < 1 << 28, "a mean of {mean}");
    }

    #[test]
    fn vlan_and_port_do_not_enter() {
        let key = IsnKey::new(&Secret::from_bytes([1; 32]));
        let other = Tuple { vlan: 5, port: 1, ..tuple(1) };
        assert_eq!(key.isn(&tuple(1), &Now::default()), key.isn(&other, &Now::default()));
    }
}
