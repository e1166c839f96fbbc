//! Prefixes of addresses, as arguments.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// An address and the number of its leading bits that stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefix {
    base: IpAddr,
    length: u32,
}

impl FromStr for Prefix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (base, length) = text.split_once('/').ok_or("expected ADDRESS/LENGTH")?;
        let base: IpAddr = base.parse().map_err(|_| "not an address")?;
        let length = length.parse().map_err(|_| "not a length")?;
        let bits = if base.is_ipv4() { 32 } else { 128 };
        if length > bits {
            Err("the length exceeds the address")
        } else {
            Ok(Self { base, length })
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.length)
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Prefix {
    /// Whether its addresses are of IPv4.
    #[must_use]
    pub const fn is_v4(self) -> bool {
        self.base.is_ipv4()
    }

    /// How many addresses it has, as far as 64 bits count.
    #[must_use]
    pub fn size(self) -> u64 {
        let bits = if self.is_v4() { 32 } else { 128 };
        1u64.checked_shl(bits - self.length).unwrap_or(u64::MAX)
    }

    /// The address whose remaining bits, 64 at most, are those of `host`.
    #[must_use]
    pub fn host(self, host: u64) -> IpAddr {
        match self.base {
            IpAddr::V4(base) => {
                let free = u32::MAX.checked_shr(self.length).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(base.to_bits() & !free | host as u32 & free))
            }
            IpAddr::V6(base) => {
                let free = u128::MAX.checked_shr(self.length).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(base.to_bits() & !free | u128::from(host) & free))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_stay_in_their_prefix() {
        let prefix: Prefix = "10.10.128.0/17".parse().expect("a prefix");
        assert_eq!(prefix.host(0).to_string(), "10.10.128.0");
        assert_eq!(prefix.host(u64::MAX).to_string(), "10.10.255.255");
        assert_eq!(prefix.size(), 1 << 15);
        let prefix: Prefix = "fd00:10:0:1::/64".parse().expect("a prefix");
        assert_eq!(prefix.host(0xbeef).to_string(), "fd00:10:0:1::beef");
        assert_eq!(prefix.size(), u64::MAX);
    }

    #[test]
    fn a_whole_length_leaves_one_host() {
        let prefix: Prefix = "10.0.0.1/32".parse().expect("a prefix");
        assert_eq!((prefix.host(u64::MAX).to_string(), prefix.size()), ("10.0.0.1".into(), 1));
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for (text, why) in [
            ("10.0.0.1", "expected ADDRESS/LENGTH"),
            ("10.0.0/8", "not an address"),
            ("10.0.0.0/x", "not a length"),
            ("10.0.0.0/33", "the length exceeds the address"),
        ] {
            assert_eq!(text.parse::<Prefix>(), Err(why));
        }
    }
}
