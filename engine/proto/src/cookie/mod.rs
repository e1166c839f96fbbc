//! SYN cookies, and the initial sequence numbers of handshakes that keep state.
//!
//! A cookie is an ISN that carries its own proof: [`Keys::issue`] puts what must be remembered of a SYN
//! into the SYN-ACK, [`Keys::verify`] gets it back from the ACK, and in between nothing is stored. The
//! listener calls both; nothing here looks at flags, ports in use or tables, keeps state, or reads a
//! clock or a random number.
//!
//! # Layout
//!
//! | field | bits | |
//! |---|---|---|
//! | ISN 31–8 | 24 | MAC |
//! | ISN 7–5, 4–1, 0 | 8 | MSS index, window scale (15: none), SACK; masked |
//! | TSval 31–5 | 27 | the clock, one step behind, so that the TSval never leads it |
//! | TSval 4 | 1 | ECN, masked |
//! | TSval 3–0 | 4 | more MAC |
//!
//! One SipHash-2-4 over addresses, ports, the client's ISN, the epoch and the TSval's clock bits (0
//! for a SYN without timestamps; with, a bit is set that a TSval's clock bits never set) yields a pad:
//! *sum* (24 bits), *factor* (24), *mask* (9), *stamp* (4). With the nine bits *m* of options and ECN,
//! the MAC is *sum* + *factor* × *m* in GF(2²⁴), the masked bits are *m* + *mask*, and *stamp* is the
//! MAC in the TSval.
//!
//! Window scale and SACK so survive for clients without timestamps, too.
//!
//! Timestamps in an ACK whose SYN had none, which RFC 7323 §3.2 forbids to send, are ignored, as is any
//! option that was not agreed on. What the SYN had does not show in the ACK. To accept whichever reading
//! proves a cookie would give a guess the chances of both; so the echo decides which one counts. An echo
//! of 0, which is nobody's (no TSval of a cookie is 0) and what a stack sends that has heard none, or one
//! without our MAC is not ours, and the cookie is read as one without timestamps. Of all other echoes a
//! sixteenth passes for ours by chance: such an ACK does not get in.
//!
//! # Why a guess opens a flow with a probability of at most 2⁻²³
//!
//! SipHash under an unknown key is a pseudo-random function: the pad of a SYN is 61 bits that look
//! uniform and independent of every other pad, whatever else was seen. So:
//!
//! * *Blind.* For given addresses, ports and ISN, whatever the 8 masked bits of a guess decode to, the
//!   MAC must equal *sum* + …, and *sum* is uniform: 2⁻²⁴ for an epoch, and two epochs are valid:
//!   2⁻²³. A guess with timestamps is read either with them, if it meets the 4 bits of *stamp*, or
//!   without them, if it does not; either way its MAC must equal the one *sum* that counts.
//! * *From one cookie to another.* Whoever holds a cookie knows *mask*, as he knows his options, and one
//!   equation in *sum* and *factor*. A cookie of the same SYN with other options differs in its MAC by
//!   *factor* × (*m* + *m*′): uniform, as *factor* is and the other factor is not 0. So the options
//!   cannot be altered but with probability 2⁻²⁴. Adding, dropping or changing timestamps, another
//!   tuple, ISN or epoch changes the hash's input, and thereby everything.
//! * *By asking.* SYNs with two different offers and all else equal solve for *factor*. Their sender then
//!   knows every cookie of his own tuple, ISN and epoch: nothing that he could not have asked for.
//! * *In the ISN's bits* nothing shows: sum and mask are uniform, so every bit of the ISN is.
//!
//! A blind flood of 10 million ACKs a second would open one flow a second or so, each for an address
//! that never asked and a record that ends by the idle timeout; the flood of valid cookies that a real
//! client can draw is the larger concern, and the spent marker is there for it.
//!
//! # Secrets
//!
//! Cookies and ISNs have their own keys, derived from one [`Secret`]. An epoch has exactly one secret
//! ([`Keys::rotate`] announces the next for a future epoch), so changing it adds no third chance to a
//! guess. Every node with the same secrets accepts the others' cookies.

mod isn;
mod keys;
mod secret;
mod siphash;
mod tables;

#[cfg(test)]
mod tests;

pub use isn::IsnKey;
pub use keys::{COOKIE_LIFE_MS, Issued, Keys, NotFuture};
pub use secret::{Secret, SecretError};
pub use tables::{LEAST_MSS, Offer};
