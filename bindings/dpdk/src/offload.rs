//! What a device does for us: asked for only where it offers it, else `configure` would fail as a whole.

use dpdk_sys as sys;

/// The device's word on a checksum of a received frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checked {
    /// Right.
    Good,
    /// Not computed, but the data is known to be good, as virtio says.
    Unfinished,
    /// Wrong.
    Bad,
    /// It did not look.
    Unknown,
}

impl Checked {
    pub(crate) fn ip(flags: u64) -> Self {
        match flags & sys::USHER_RX_IP_CKSUM_MASK {
            sys::USHER_RX_IP_CKSUM_GOOD => Self::Good,
            sys::USHER_RX_IP_CKSUM_NONE => Self::Unfinished,
            sys::USHER_RX_IP_CKSUM_BAD => Self::Bad,
            _ => Self::Unknown,
        }
    }

    pub(crate) fn l4(flags: u64) -> Self {
        match flags & sys::USHER_RX_L4_CKSUM_MASK {
            sys::USHER_RX_L4_CKSUM_GOOD => Self::Good,
            sys::USHER_RX_L4_CKSUM_NONE => Self::Unfinished,
            sys::USHER_RX_L4_CKSUM_BAD => Self::Bad,
            _ => Self::Unknown,
        }
    }
}

/// Offloads of a port: of what we use, what the device has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offloads {
    /// Checks the IPv4 header's checksum.
    pub rx_ipv4: bool,
    /// Checks TCP's checksum.
    pub rx_tcp: bool,
    /// Leaves the RSS hash in the buffer.
    pub rx_hash: bool,
    /// Completes the IPv4 header's checksum.
    pub tx_ipv4: bool,
    /// Completes TCP's checksum over a pseudo-header's sum.
    pub tx_tcp: bool,
    /// Spreads TCP over IPv4 and IPv6 over queues by a hash.
    pub rss: bool,
}

impl Offloads {
    pub(crate) fn of(info: &sys::rte_eth_dev_info) -> Self {
        let rx = |bit| info.rx_offload_capa & bit != 0;
        let tx = |bit| info.tx_offload_capa & bit != 0;
        Self {
            rx_ipv4: rx(sys::USHER_RX_OFFLOAD_IPV4_CKSUM),
            rx_tcp: rx(sys::USHER_RX_OFFLOAD_TCP_CKSUM),
            rx_hash: rx(sys::USHER_RX_OFFLOAD_RSS_HASH),
            tx_ipv4: tx(sys::USHER_TX_OFFLOAD_IPV4_CKSUM),
            tx_tcp: tx(sys::USHER_TX_OFFLOAD_TCP_CKSUM),
            rss: info.flow_type_rss_offloads & RSS != 0,
        }
    }

    pub(crate) fn rx_bits(self) -> u64 {
        bit(self.rx_ipv4, sys::USHER_RX_OFFLOAD_IPV4_CKSUM)
            | bit(self.rx_tcp, sys::USHER_RX_OFFLOAD_TCP_CKSUM)
            | bit(self.rx_hash, sys::USHER_RX_OFFLOAD_RSS_HASH)
    }

    pub(crate) fn tx_bits(self) -> u64 {
        bit(self.tx_ipv4, sys::USHER_TX_OFFLOAD_IPV4_CKSUM)
            | bit(self.tx_tcp, sys::USHER_TX_OFFLOAD_TCP_CKSUM)
    }
}

/// The packets that RSS shall spread by addresses and ports.
pub(crate) const RSS: u64 = sys::USHER_RSS_IPV4_TCP | sys::USHER_RSS_IPV6_TCP;

fn bit(wanted: bool, bit: u64) -> u64 {
    if wanted { bit } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_computed_but_good_counts_as_good() {
        assert_eq!(Checked::l4(sys::USHER_RX_L4_CKSUM_NONE), Checked::Unfinished);
        assert_eq!(Checked::l4(sys::USHER_RX_L4_CKSUM_GOOD), Checked::Good);
        assert_eq!(Checked::l4(sys::USHER_RX_L4_CKSUM_BAD), Checked::Bad);
        assert_eq!(Checked::l4(sys::USHER_RX_IP_CKSUM_BAD), Checked::Unknown);
        assert_eq!(Checked::ip(sys::USHER_RX_IP_CKSUM_NONE), Checked::Unfinished);
        assert_eq!(Checked::ip(sys::USHER_RX_IP_CKSUM_BAD), Checked::Bad);
        assert_eq!(Checked::ip(0), Checked::Unknown);
    }

    #[test]
    fn only_what_the_device_offers_is_asked_for() {
        let none = Offloads::of(&sys::rte_eth_dev_info::default());
        assert_eq!((none, none.rx_bits(), none.tx_bits()), (Offloads::default(), 0, 0));
        let info = sys::rte_eth_dev_info { tx_offload_capa: u64::MAX, ..Default::default() };
        let some = Offloads::of(&info);
        assert_eq!(some.rx_bits(), 0);
        assert_eq!(
            some.tx_bits(),
            sys::USHER_TX_OFFLOAD_IPV4_CKSUM | sys::USHER_TX_OFFLOAD_TCP_CKSUM
        );
    }
}
