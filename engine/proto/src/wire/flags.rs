//! TCP's control bits (RFC 9293 §3.1).

use core::fmt;
use core::ops::BitOr;

/// The control bits of a segment, as on the wire: CWR ECE URG ACK PSH RST SYN FIN.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement field counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These bits and those of `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Of these bits, only those in `mask`.
    #[must_use]
    pub const fn only(self, mask: Self) -> Self {
        Self(self.0 & mask.0)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(Flags, &str); 8] = [
            (Flags::CWR, "CWR"),
            (Flags::ECE, "ECE"),
            (Flags::URG, "URG"),
            (Flags::ACK, "ACK"),
            (Flags::PSH, "PSH"),
            (Flags::RST, "RST"),
            (Flags::SYN, "SYN"),
            (Flags::FIN, "FIN"),
        ];
        let mut first = true;
        for (flag, name) in NAMES {
            if self.has(flag) {
                f.write_str(if first { "" } else { "," })?;
                f.write_str(name)?;
                first = false;
            }
        }
        if first { f.write_str("none") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The six bits stand in the order URG ACK PSH RST SYN FIN; SYN = 000010, ACK = 010000, FIN = 000001.
    #[test]
    fn control_bits_stand_in_the_order_of_rfc_9293() {
        let order = [Flags::URG, Flags::ACK, Flags::PSH, Flags::RST, Flags::SYN, Flags::FIN];
        assert_eq!(
            order.map(|f| f.0),
            [0b100000, 0b010000, 0b001000, 0b000100, 0b000010, 0b000001]
        );
    }

    #[test]
    fn flags_print_by_name() {
        assert_eq!(std::format!("{:?}", Flags::SYN | Flags::ACK), "ACK,SYN");
        assert_eq!(std::format!("{:?}", Flags::default()), "none");
    }
}
