//! What new SYNs get: a record, a cookie, or silence; and whether an ACK may be a cookie's.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use usher_proto::tcp::Admission;
use usher_proto::time::Now;

use super::View;
use crate::config::Cookies;

/// The epoch, plus one, in which this process last issued a cookie; 0 if it never did. Shared by its
/// workers, as an ACK may come to another one.
#[derive(Clone, Default, Debug)]
pub struct LastIssued(Arc<AtomicU32>);

/// Decides on new handshakes.
#[derive(Debug)]
pub(super) struct Gate {
    last_issued: LastIssued,
    /// Whether new SYNs are answered by cookie because too many flows are half-open.
    crowded: bool,
    pub(super) draining: bool,
}

impl Gate {
    pub(super) const fn new(last_issued: LastIssued) -> Self {
        Self { last_issued, crowded: false, draining: false }
    }

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
    pub(super) fn issued(&self, now: &Now) {
        // Relaxed: an ACK takes a network round trip, and `checks` only reads this one number.
        if self.last_issued.0.load(Ordering::Relaxed) != now.epoch + 1 {
            self.last_issued.0.store(now.epoch + 1, Ordering::Relaxed);
        }
    }

    /// Whether ACKs without a flow are checked as cookies: not at the price of a MAC for each stray
    /// when nobody can have issued one. What was issued before a reload made an end of cookies still counts.
    #[inline]
    pub(super) fn checks(&self, view: &View, now: &Now) -> bool {
        let recent = || {
            // Relaxed: see `issued`.
            let last = self.last_issued.0.load(Ordering::Relaxed);
            last != 0 && now.epoch.wrapping_sub(last - 1) < 2
        };
        (view.cookies != Cookies::Never && view.keyring.shared) || recent()
    }
}
