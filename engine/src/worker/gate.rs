//! What new SYNs get: a record, a cookie, or silence; and whether an ACK may be a cookie's.

#![forbid(unsafe_code)]

use usher_proto::tcp::Admission;
use usher_proto::time::Now;

use super::View;
use crate::config::Cookies;

/// Decides on new handshakes.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// The epoch in which this worker last issued a cookie, whose ACK is this worker's, too.
    last_issued: Option<u32>,
    /// Whether new SYNs are answered by cookie because too many flows are half-open.
    crowded: bool,
    pub(super) draining: bool,
}

impl Gate {
    /// What a SYN gets while `half_open` flows of at most `capacity` are half-open. Cookies begin at half
    /// of the limit and end at three eighths: a gap that one burst does not cross.
    #[inline]
    pub(super) fn admission(&mut self, view: &View, half_open: u32, capacity: u32) -> Admission {
        let limit = view.half_open_limit;
        match view.cookies {
            _ if self.draining => Admission::Draining,
            Cookies::Always => Admission::Cookie,
            Cookies::Never if half_open >= limit => Admission::Full,
            Cookies::Never => Admission::Stateful,
            Cookies::Auto => {
                let limit = limit.min(capacity);
                let threshold = if self.crowded { limit / 8 * 3 } else { limit / 2 };
                self.crowded = half_open >= threshold.max(1);
                if self.crowded { Admission::Cookie } else { Admission::Stateful }
            }
        }
    }

    /// Whether new SYNs were answered by cookie lately because too many flows are half-open.
    pub(super) const fn is_crowded(&self) -> bool {
        self.crowded
    }

    /// A cookie was issued.
    #[inline]
    pub(super) const fn issued(&mut self, now: &Now) {
        self.last_issued = Some(now.epoch);
    }

    /// Whether ACKs without a flow are checked as cookies: not at the price of a MAC for each stray
    /// when nobody can have issued one. What was issued before a reload made an end of cookies still counts.
    #[inline]
    pub(super) fn checks(&self, view: &View, now: &Now) -> bool {
        let recent = || self.last_issued.is_some_and(|last| now.epoch.wrapping_sub(last) < 2);
        (view.cookies != Cookies::Never && view.keyring.shared) || recent()
    }
}
