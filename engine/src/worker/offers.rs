//! What SYN-ACKs of proxy services agree to: what all usable backends would.

#![forbid(unsafe_code)]

use usher_proto::splice::proxy_header_len;
use usher_proto::tcp::Terms;

use super::front::Front;
use crate::handoff::Apart;
use crate::service::{Backends, HOLD};

/// One worker's offers, by edition; made anew when something is learned of a backend.
#[derive(Debug)]
pub(super) struct Offers(Apart<Offer>);

#[derive(Clone, Copy, Debug)]
enum Offer {
    /// Something was learned since.
    Stale,
    /// No backend is usable.
    Nothing,
    These(Terms),
}

impl Offers {
    pub(super) fn new(editions: usize) -> Self {
        Self(Apart::new(std::iter::repeat_n(Offer::Stale, editions), &Offer::Stale))
    }

    /// Something was learned of a backend.
    pub(super) fn forget(&mut self) {
        self.0.fill(Offer::Stale);
    }

    /// What the service of this edition agrees to; `None` if none of its backends is usable. `shift` is that
    /// of the windows we announce later: the first one is a multiple of it, so that its right edge stays.
    #[inline]
    pub(super) fn get(
        &mut self,
        edition: u16,
        front: &Front,
        backends: &Backends,
        shift: u8,
    ) -> Option<Terms> {
        let offer = self.0.get_mut(usize::from(edition))?;
        if matches!(offer, Offer::Stale) {
            *offer = make(front, backends, shift);
        }
        match offer {
            Offer::These(terms) => Some(*terms),
            Offer::Nothing | Offer::Stale => None,
        }
    }
}

/// What a `ring` service agrees to where no backend has a say.
pub(super) fn own_terms(shift: u8) -> Terms {
    Terms { window: whole(HOLD, shift), ..Terms::default() }
}

/// So much of a window as is a multiple of the scale, if anything is.
const fn whole(window: u16, shift: u8) -> u16 {
    let whole = window >> shift << shift;
    if whole > 0 { whole } else { window }
}

#[cold]
fn make(front: &Front, backends: &Backends, shift: u8) -> Offer {
    if front.slots.iter().any(|slot| backends.get(*slot).is_usable()) {
        let header = front
            .plan
            .proxy_protocol
            .map_or(0, |header| u16::from(proxy_header_len(false, header.crc32c)));
        let terms = backends.terms(&front.slots, front.mss, header);
        Offer::These(Terms { window: whole(terms.window, shift), ..terms })
    } else {
        Offer::Nothing
    }
}
