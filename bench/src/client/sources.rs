//! Where a client's connections come from: some addresses of a prefix, each with a range of ports. A connection is a
//! number, so that its record is found without a table.

use std::ops::RangeInclusive;

use usher_proto::wire::Addr;

use crate::prefix::Prefix;

/// Addresses and ports, numbered: ports first, so that neighbours in number differ in port.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Both halves of the first address.
    first: (u64, u64),
    prefix: Prefix,
    addresses: u32,
    first_port: u16,
    ports: u32,
}

impl Sources {
    /// The first `addresses` of `prefix` that can be hosts, each with these ports.
    ///
    /// # Errors
    /// When the prefix has fewer, or there are more connections than a number of 32 bits tells apart.
    pub fn new(
        prefix: Prefix,
        addresses: u32,
        ports: &RangeInclusive<u16>,
    ) -> Result<Self, String> {
        // of a whole network the first address names itself (RFC 4291 §2.6.1 for IPv6)
        let skip = u64::from(prefix.size() > 1);
        if u64::from(addresses) > prefix.size() - skip {
            return Err(format!("{prefix} has fewer than {addresses} addresses for hosts"));
        }
        let count = (u32::from(*ports.end()) + 1).saturating_sub((*ports.start()).into());
        if count == 0 || u64::from(addresses) * u64::from(count) > u64::from(u32::MAX) {
            return Err(format!(
                "{addresses} addresses with {count} ports each cannot be numbered"
            ));
        }
        let first = halves(&prefix.host(skip).into());
        Ok(Self { first, prefix, addresses, first_port: *ports.start(), ports: count })
    }

    /// How many connections there can be at a time.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.addresses * self.ports
    }

    /// Never: there is at least one.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where connection `number` comes from.
    #[inline]
    #[must_use]
    pub fn at(&self, number: u32) -> (Addr, u16) {
        let (address, port) = (number / self.ports, number % self.ports);
        (self.address(address), self.first_port + port as u16)
    }

    /// The address with this index.
    #[must_use]
    pub fn address(&self, index: u32) -> Addr {
        self.prefix.host(self.first.1 + u64::from(index)).into()
    }

    /// Which connection comes from there.
    #[inline]
    #[must_use]
    pub fn number(&self, from: &Addr, port: u16) -> Option<u32> {
        let address = self.index(from)?;
        let port = u32::from(port.checked_sub(self.first_port)?);
        (port < self.ports).then(|| address * self.ports + port)
    }

    /// Whether this is one of our addresses.
    #[must_use]
    pub fn has(&self, addr: &Addr) -> bool {
        self.index(addr).is_some()
    }

    fn index(&self, addr: &Addr) -> Option<u32> {
        let (network, host) = halves(addr);
        let index = u32::try_from(host.checked_sub(self.first.1)?).ok()?;
        (index < self.addresses && network == self.first.0).then_some(index)
    }
}

fn halves(addr: &Addr) -> (u64, u64) {
    let bits = u128::from_be_bytes(addr.0);
    ((bits >> 64) as u64, bits as u64)
}

#[cfg(test)]
mod tests {
    use usher_proto::testing::addr;

    use super::*;

    fn sources(
        prefix: &str,
        addresses: u32,
        ports: RangeInclusive<u16>,
    ) -> Result<Sources, String> {
        Sources::new(prefix.parse().expect("a prefix"), addresses, &ports)
    }

    #[test]
    fn numbers_and_sources_are_each_others_names() {
        for prefix in ["10.10.128.0/20", "fd00:0:0:1::/64", "10.1.1.128/25"] {
            let sources = sources(prefix, 3, 1000..=1009).expect("right");
            assert_eq!(sources.len(), 30);
            for number in 0..30 {
                let (from, port) = sources.at(number);
                assert_eq!(sources.number(&from, port), Some(number), "{prefix}");
                assert!(sources.has(&from));
            }
        }
    }

    #[test]
    fn strangers_have_no_number() {
        let sources = sources("10.10.128.0/20", 2, 1000..=1009).expect("right");
        assert_eq!(sources.at(0), (addr("10.10.128.1"), 1000));
        for (from, port) in [
            ("10.10.128.0", 1000),
            ("10.10.128.3", 1000),
            ("10.10.128.1", 999),
            ("10.10.128.1", 1010),
            ("fd00::a0a:8001", 1000),
        ] {
            assert_eq!(sources.number(&addr(from), port), None, "{from}");
        }
        let v6 = tests::sources("fd00::/64", 1, 1..=2).expect("right");
        assert!(v6.has(&addr("fd00::1")) && !v6.has(&addr("fd01::1")));
    }

    #[test]
    fn too_many_are_refused() {
        let refused = |prefix, addresses, ports| sources(prefix, addresses, ports).unwrap_err();
        assert!(refused("10.0.0.0/30", 4, 1..=2).contains("fewer than 4"));
        assert!(sources("10.0.0.7/32", 1, 1..=2).is_ok());
        assert!(refused("10.0.0.0/8", 100_000, 1..=65_535).contains("cannot be numbered"));
        let none = refused("10.0.0.0/8", 1, RangeInclusive::new(2, 1));
        assert!(none.contains("0 ports"));
    }
}
