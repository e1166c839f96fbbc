//! Neighbours on the link: answering their questions, asking ours, echo.
//!
//! [`answer`] turns a question about one of our addresses into its answer, in the frame that it came
//! in, and says what the frame taught. It always goes back to the station that sent the frame, needs
//! no table for that, and never answers for an address that is not ours. [`announce`] and [`solicit`]
//! write frames of our own; [`Cache`] remembers next hops. The worker calls all of them for frames that
//! are no TCP, and at housekeeping.
//!
//! What others say about themselves only updates what we have asked for ([`Cache::learn`]): a flood of
//! questions from made-up addresses fills nothing (RFC 6583).

mod arp;
mod cache;
mod echo;
mod ndp;

#[cfg(test)]
mod tests;

pub use cache::{Cache, Due, HELD, Lookup};

use crate::cause::Reason;
use crate::verdict::Verdict;
use crate::wire::{Addr, Link, Mac, Parsed, PortView, TooSmall, ethernet};

/// What became of a frame from a neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// `Reflect`: the frame is now the answer. `Deliver`: there is nothing to answer.
    pub verdict: Verdict,
    /// The frame's new length in bytes if the verdict is `Reflect`; else 0.
    pub len: usize,
    /// What the frame taught, for the [`Cache`].
    pub lesson: Option<Lesson>,
}

/// What a frame teaches about a neighbour, in the terms of RFC 4861 §7.2.5; ARP fits in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lesson {
    /// The neighbour's address.
    pub addr: Addr,
    /// Its MAC, unless the frame only confirms that it is there.
    pub mac: Option<Mac>,
    /// Whether it answers a question of ours, which shows that both directions work.
    pub confirms: bool,
    /// Whether it may replace another MAC that we have.
    pub overrides: bool,
}

/// Answers a frame that came in by `port`, in place. `buf` is the frame's whole writable room, `ours`
/// tells whether an address is one of ours on this port, VIPs included.
///
/// TCP and ICMP errors are none of this module's business and are dropped as such.
pub fn answer(
    parsed: &Parsed,
    buf: &mut [u8],
    port: &PortView,
    ours: impl Fn(&Addr) -> bool,
) -> Outcome {
    let (result, lesson) = match parsed {
        Parsed::Arp(view) => arp::answer(view, buf, port, ours),
        Parsed::Ndp(view) => ndp::answer(view, buf, port, ours),
        Parsed::Echo(view) => (echo::answer(view, buf, port, ours), None),
        Parsed::Tcp(_) | Parsed::Icmp(_) => (Err(Reason::OtherProtocol), None),
    };
    match result {
        Ok(Some(len)) => Outcome { verdict: Verdict::Reflect, len, lesson },
        Ok(None) => Outcome { verdict: Verdict::Deliver, len: 0, lesson },
        Err(reason) => Outcome { verdict: Verdict::Drop(reason), len: 0, lesson },
    }
}

/// Writes the announcement that `addr` is at `port`: an ARP announcement (RFC 5227 §2.3) or an
/// unsolicited neighbour advertisement (RFC 4861 §7.2.6). Returns the frame's length.
///
/// # Errors
/// When `buf` has no room for it.
pub fn announce(buf: &mut [u8], port: &PortView, addr: &Addr) -> Result<usize, TooSmall> {
    match addr.as_v4() {
        Some(v4) => arp::announce(buf, port, v4),
        None => ndp::announce(buf, port, addr),
    }
}

/// Writes the question for the MAC of `target`, asked by our address `source`: to everybody concerned,
/// or only to `known`, to learn whether it is still there. Returns the frame's length.
///
/// # Errors
/// When `buf` has no room for it.
pub fn solicit(
    buf: &mut [u8],
    port: &PortView,
    source: &Addr,
    target: &Addr,
    known: Option<Mac>,
) -> Result<usize, TooSmall> {
    match (source.as_v4(), target.as_v4()) {
        (Some(source), Some(target)) => arp::request(buf, port, source, target, known),
        _ => ndp::solicit(buf, port, source, target, known),
    }
}

/// The group MAC that a port must receive besides its own to be found at `addr`: that of the
/// solicited-node group (RFC 4291 §2.7.1) for IPv6; none for IPv4, as ARP is broadcast.
#[must_use]
pub fn group_of(addr: &Addr) -> Option<Mac> {
    use crate::wire::ndp::{group_mac, solicited_node};
    (!addr.is_v4()).then(|| group_mac(&solicited_node(addr)))
}

/// What answering a frame gives: the answer's length, or `None` when there is nothing to answer.
type Answer = Result<Option<usize>, Reason>;

/// The envelope of an answer: back to the frame's own source.
fn back(port: &PortView, source: Mac) -> Link {
    Link { src: port.mac, dst: source, vlan: port.vlan }
}

/// Writes an envelope and one value behind it; returns the frame's length.
fn write<T: zerocopy::IntoBytes + zerocopy::Immutable>(
    buf: &mut [u8],
    link: &Link,
    ethertype: u16,
    packet: &T,
) -> Result<usize, TooSmall> {
    let rest = ethernet::write(buf, link, ethertype)?;
    packet.write_to_prefix(rest).map_err(|_| TooSmall)?;
    Ok(ethernet::len(link.vlan).wrapping_add(size_of::<T>()))
}

impl From<TooSmall> for Reason {
    fn from(_: TooSmall) -> Self {
        Self::NoBuffer
    }
}
