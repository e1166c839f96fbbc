//! What a cookie can remember of a SYN's options, in eight bits.

/// What the client's SYN offered, as far as an answer depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Offer {
    /// The client's MSS; 536 (IPv4) or 1220 (IPv6) if the SYN had none (RFC 9293 §3.7.1).
    pub mss: u16,
    /// The client's window scale shift, 0 to 14.
    pub window_scale: Option<u8>,
    /// Whether SACK was permitted.
    pub sack: bool,
    /// Whether there were timestamps.
    pub timestamps: bool,
    /// Whether the SYN asked for ECN (ECE and CWR, RFC 3168 §6.1.1).
    pub ecn: bool,
}

/// The MSS values that a cookie can hold. A client's MSS is rounded down to one of them, as sending
/// more than it asked for is not allowed (RFC 9293 §3.7.1, MUST-16).
///
/// Found by where paths cluster: Ethernet (1460), less timestamps or one label (1440), PPPoE and
/// common tunnels (1400, 1360), the clamp of mobile and VPN gateways (1220), no option (536), jumbo
/// frames (8960). A sparser table sends shorter segments to clients in between; a denser one would
/// take bits from the MAC.
const MSS_V4: [u16; 8] = [LEAST_MSS, 536, 1220, 1360, 1400, 1440, 1460, 8960];

/// The same for IPv6, whose header takes 20 bytes more and whose least link MTU is 1280.
const MSS_V6: [u16; 8] = [LEAST_MSS, 536, 1220, 1340, 1380, 1420, 1440, 8940];

/// The least MSS that we send by. A client that names a smaller one gets segments of this size: an MSS
/// of a few bytes multiplies the segments and the work of an answer (CVE-2019-11479).
pub const LEAST_MSS: u16 = 64;

/// The code of "no window scale option"; 0 to 14 stand for themselves.
const NO_SCALE: u8 = 15;

impl Offer {
    /// What of this offer survives in a cookie: what `verify` will give back, and what the SYN-ACK
    /// may therefore agree to.
    ///
    /// The MSS is rounded down to the table, a shift above 14 is 14 (RFC 7323 §2.3), and ECN is
    /// remembered only with timestamps, as the ISN has no bit for it.
    #[must_use]
    pub fn kept(&self, is_v4: bool) -> Self {
        Self {
            ecn: self.ecn && self.timestamps,
            timestamps: self.timestamps,
            ..Self::decode(self.encode(is_v4), is_v4)
        }
    }

    /// The eight bits of this offer: MSS index 3, window scale 4, SACK 1. Every value is one that some
    /// offer has, so none has to be refused on its own.
    #[inline]
    pub(super) fn encode(&self, is_v4: bool) -> u8 {
        let index = if is_v4 { index(&MSS_V4, self.mss) } else { index(&MSS_V6, self.mss) };
        let scale = self.window_scale.map_or(NO_SCALE, |shift| shift.min(14));
        index << 5 | scale << 1 | u8::from(self.sack)
    }

    /// The offer of these eight bits.
    #[inline]
    pub(super) fn decode(bits: u8, is_v4: bool) -> Self {
        let scale = bits >> 1 & 0xf;
        Self {
            mss: table(is_v4).get(usize::from(bits >> 5)).copied().unwrap_or(LEAST_MSS),
            window_scale: (scale != NO_SCALE).then_some(scale),
            sack: bits & 1 != 0,
            timestamps: false,
            ecn: false,
        }
    }
}

/// The index of the largest entry that does not exceed `mss`, or 0. Sorted as it is, the entries after
/// the first that do not exceed it count the index, without a branch.
#[inline]
fn index([_, larger @ ..]: &[u16; 8], mss: u16) -> u8 {
    larger.iter().fold(0, |n, entry| n.wrapping_add(u8::from(*entry <= mss)))
}

#[inline]
fn table(is_v4: bool) -> &'static [u16; 8] {
    if is_v4 { &MSS_V4 } else { &MSS_V6 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tables_are_sorted_and_know_the_defaults() {
        for (table, default) in [(MSS_V4, 536), (MSS_V6, 1220)] {
            assert!(table.is_sorted_by(|a, b| a < b) && table.contains(&default));
        }
    }

    #[test]
    fn every_code_is_an_offer() {
        for is_v4 in [true, false] {
            for bits in 0..=255 {
                assert_eq!(Offer::decode(bits, is_v4).encode(is_v4), bits);
            }
        }
    }

    /// RFC 9293 §3.7.1 MUST-16: never more than the peer's MSS; RFC 7323 §2.3: at most 14.
    #[test]
    fn what_is_kept_never_exceeds_the_offer() {
        for is_v4 in [true, false] {
            for mss in LEAST_MSS..=u16::MAX {
                let kept = Offer { mss, ..Offer::default() }.kept(is_v4);
                let next = table(is_v4).iter().find(|entry| **entry > mss);
                assert!(kept.mss <= mss && table(is_v4).contains(&kept.mss));
                assert!(next.is_none_or(|next| *next > kept.mss), "the largest that fits");
            }
        }
        let wild = Offer { mss: 0, window_scale: Some(200), ecn: true, ..Offer::default() };
        let kept = Offer { mss: LEAST_MSS, window_scale: Some(14), ..Offer::default() };
        assert_eq!(wild.kept(true), kept);
    }

    proptest! {
        #[test]
        fn keeping_twice_changes_nothing(
            mss: u16, window_scale in prop::option::of(0u8..=255), bits: [bool; 3], is_v4: bool,
        ) {
            let [sack, timestamps, ecn] = bits;
            let kept = Offer { mss, window_scale, sack, timestamps, ecn }.kept(is_v4);
            prop_assert_eq!(kept.kept(is_v4), kept);
            prop_assert_eq!(kept.ecn, ecn && timestamps);
        }
    }
}
