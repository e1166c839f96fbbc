//! ICMP errors about segments that passed: believed only if the segment may be in flight (RFC 5927 §4.1), and
//! told to the end that had sent it, in its own half's words (RFC 5508 §4.2, RFC 7915 §4.2, §5.2).

use zerocopy::IntoBytes;
use zerocopy::network_endian::U16;

use super::rewrite::Ops;
use super::state::{Phase, Splice};
use super::translate::Outward;
use super::{Half, SpliceContext, Step};
use crate::cause::Reason;
use crate::tcp::TIMESTAMPS_LEN;
use crate::wire::checksum::Sum;
use crate::wire::{Addr, IcmpError, IcmpErrorKind, SeqNum, ethernet, icmp, ip, ipv4, ipv6};

/// What becomes of an ICMP error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Complaint {
    /// [`write_complaint`] tells the other half so.
    Pass(Quoted),
    /// It ended a try, as a RST would have.
    Ended(Step),
    /// Dropped.
    Drop(Reason),
}

/// What the other half is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quoted {
    /// The number of the segment as its sender knows it.
    pub seq: SeqNum,
    /// What is wrong, in the words of the other half's family; never `ParameterProblem`.
    pub kind: IcmpErrorKind,
}

/// What IPv6's header is longer than IPv4's.
const LONGER: u32 = 20;
/// The least MTU of an IPv6 link.
const LEAST_MTU_V6: u32 = 1280;

impl Splice {
    /// Decides an error about a segment that went out on `half`; `other_is_v4` is the family of the half that
    /// it had come in on.
    #[must_use]
    pub fn complaint(
        &self,
        half: Half,
        error: &IcmpError,
        other_is_v4: bool,
        cx: &SpliceContext<'_>,
    ) -> Complaint {
        let kind = match error.kind {
            kind @ (IcmpErrorKind::Unreachable { .. }
            | IcmpErrorKind::TooBig { .. }
            | IcmpErrorKind::TimeExceeded) => kind,
            // Its pointer is into a header that the sender has not written.
            IcmpErrorKind::ParameterProblem => return Complaint::Drop(Reason::OtherProtocol),
        };
        if self.phase == Phase::Opening {
            return self.complaint_about_syn(half, error, kind, cx);
        }
        let (seq, oldest, newest, delta) = match half {
            Half::Backend => {
                (error.seq.sub(self.up_delta), self.acknowledged_to_client(), self.up.nxt, 0)
            }
            Half::Client => (error.seq, self.down.una, self.down.nxt, self.down_delta),
        };
        if seq.is_before(oldest) || seq.is_after(newest) {
            return Complaint::Drop(Reason::IcmpUnbelievable);
        }
        let is_v4 = error.tuple.local.is_v4();
        let kind = match kind {
            IcmpErrorKind::TooBig { mtu } => {
                let inserts = half == Half::Client && self.down_ops.has(Ops::INSERT_STAMP);
                let inserted = if inserts { u32::from(TIMESTAMPS_LEN) } else { 0 };
                IcmpErrorKind::TooBig { mtu: other_mtu(mtu, is_v4, other_is_v4, inserted) }
            }
            IcmpErrorKind::Unreachable { code } => {
                IcmpErrorKind::Unreachable { code: other_code(code, is_v4, other_is_v4) }
            }
            IcmpErrorKind::TimeExceeded | IcmpErrorKind::ParameterProblem => kind,
        };
        Complaint::Pass(Quoted { seq: seq.sub(delta), kind })
    }

    /// A backend that cannot be reached is not waited for (RFC 5461 §4.1: there are others).
    fn complaint_about_syn(
        &self,
        half: Half,
        error: &IcmpError,
        kind: IcmpErrorKind,
        cx: &SpliceContext<'_>,
    ) -> Complaint {
        let is_ours = half == Half::Backend && error.seq == self.backend_iss();
        if is_ours && matches!(kind, IcmpErrorKind::Unreachable { .. }) {
            Complaint::Ended(self.refused(cx))
        } else {
            Complaint::Drop(Reason::IcmpUnbelievable)
        }
    }
}

/// How large a packet may be on one half so that it fits `mtu` on the other.
fn other_mtu(mtu: u32, is_v4: bool, other_is_v4: bool, inserted: u32) -> u32 {
    let mtu = mtu.saturating_sub(if mtu == 0 { 0 } else { inserted });
    match (is_v4, other_is_v4) {
        (true, false) if mtu == 0 => LEAST_MTU_V6, // from before RFC 1191
        (true, false) => mtu.saturating_add(LONGER),
        (false, true) => mtu.saturating_sub(LONGER),
        (true, true) | (false, false) => mtu,
    }
}

/// The code of "unreachable" in the other family: RFC 7915 §4.2 and §5.2.
const fn other_code(code: u8, is_v4: bool, other_is_v4: bool) -> u8 {
    match (is_v4, other_is_v4, code) {
        (true, false, 3) => 4,
        (true, false, 9 | 10 | 13 | 15) => 1,
        (true, false, _) => 0,
        (false, true, 1) => 10,
        (false, true, 4) => 3,
        (false, true, _) => 1,
        (true, true, code) | (false, false, code) => code,
    }
}

/// Writes the error for `out`, whose peer had sent the segment; `from` is who complained, where its
/// family is the half's. Quotes addresses, ports and the number: what RFC 792 asks for. Returns the frame's
/// length.
///
/// # Errors
/// [`Reason::NoBuffer`] when there is no room.
pub fn write_complaint(
    room: &mut [u8],
    out: &Outward,
    from: &Addr,
    quoted: &Quoted,
) -> Result<usize, Reason> {
    let is_v4 = out.tuple.local.is_v4();
    let from = if from.is_v4() == is_v4 { from } else { &out.tuple.local };
    let mut quote = [0; 8];
    let (ports, seq) = quote.split_at_mut(4);
    ports.copy_from_slice(&ports_of(out));
    seq.copy_from_slice(&quoted.seq.0.to_be_bytes());
    let written = if is_v4 {
        write_v4(room, out, from, quoted.kind, &quote)
    } else {
        write_v6(room, out, from, quoted.kind, &quote)
    };
    written.ok_or(Reason::NoBuffer)
}

fn ports_of(out: &Outward) -> [u8; 4] {
    let ([a, b], [c, d]) =
        (out.tuple.remote_port.to_be_bytes(), out.tuple.local_port.to_be_bytes());
    [a, b, c, d]
}

fn write_v4(
    room: &mut [u8],
    out: &Outward,
    from: &Addr,
    kind: IcmpErrorKind,
    quote: &[u8; 8],
) -> Option<usize> {
    let header = match kind {
        IcmpErrorKind::TooBig { mtu } => message(3, 4, mtu.min(0xffff)),
        IcmpErrorKind::Unreachable { code } => message(3, code, 0),
        IcmpErrorKind::TimeExceeded => message(11, 0, 0),
        IcmpErrorKind::ParameterProblem => return None,
    };
    let (local, remote) = (out.tuple.local.as_v4()?, out.tuple.remote.as_v4()?);
    let outer = ipv4::Header::new(from.as_v4()?, remote, ip::ICMP, 36).with_checksum();
    let inner = ipv4::Header::new(remote, local, ip::TCP, 20).with_checksum();
    let sum = Sum::ZERO.bytes(header.as_bytes()).bytes(inner.as_bytes()).bytes(quote);
    let header = icmp::Header { checksum: sum.checksum(), ..header };
    let rest = ethernet::write(room, &out.link, ethernet::IPV4).ok()?;
    put(rest, &[outer.as_bytes(), header.as_bytes(), inner.as_bytes(), quote])?;
    Some(ethernet::len(out.link.vlan).wrapping_add(56))
}

fn write_v6(
    room: &mut [u8],
    out: &Outward,
    from: &Addr,
    kind: IcmpErrorKind,
    quote: &[u8; 8],
) -> Option<usize> {
    let header = match kind {
        IcmpErrorKind::TooBig { mtu } => message(2, 0, mtu),
        IcmpErrorKind::Unreachable { code } => message(1, code, 0),
        IcmpErrorKind::TimeExceeded => message(3, 0, 0),
        IcmpErrorKind::ParameterProblem => return None,
    };
    let (local, remote) = (&out.tuple.local, &out.tuple.remote);
    let outer = ipv6::Header::new(from, remote, ip::ICMPV6, 64, 56);
    let inner = ipv6::Header::new(remote, local, ip::TCP, 64, 20);
    let sum = Sum::pseudo(from, remote, ip::ICMPV6, 56);
    let sum = sum.bytes(header.as_bytes()).bytes(inner.as_bytes()).bytes(quote);
    let header = icmp::Header { checksum: sum.checksum(), ..header };
    let rest = ethernet::write(room, &out.link, ethernet::IPV6).ok()?;
    put(rest, &[outer.as_bytes(), header.as_bytes(), inner.as_bytes(), quote])?;
    Some(ethernet::len(out.link.vlan).wrapping_add(96))
}

fn message(kind: u8, code: u8, rest: u32) -> icmp::Header {
    icmp::Header { kind, code, checksum: U16::ZERO, rest: rest.into() }
}

/// Writes the pieces one behind the other.
fn put(mut room: &mut [u8], pieces: &[&[u8]]) -> Option<()> {
    for piece in pieces {
        let (head, rest) = room.split_at_mut_checked(piece.len())?;
        head.copy_from_slice(piece);
        room = rest;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Fixture, backend, choice, client, full, opened};
    use super::super::{Passage, Then, TryEnd};
    use super::*;
    use crate::testing::{CLIENT_MAC, OUR_MAC, addr, port, read_icmp};
    use crate::verdict::{End, Event};
    use crate::wire::{Flags, Link, Parsed, RxChecksums, Tuple, parse};

    const TOO_BIG: IcmpErrorKind = IcmpErrorKind::TooBig { mtu: 1400 };

    fn error(seq: SeqNum, kind: IcmpErrorKind) -> IcmpError {
        let tuple = Tuple { local: addr("10.1.0.2"), ..Tuple::default() };
        IcmpError { source: addr("10.9.0.1"), tuple, seq, kind }
    }

    /// RFC 5927 §4.1: SND.UNA ≤ SEG.SEQ < SND.NXT, on whichever half; an ACK without data stands at SND.NXT.
    #[test]
    fn only_what_may_be_in_flight_is_believed() {
        let fixture = Fixture::new();
        let cx = fixture.at(2);
        let mut splice = opened(&full(), &choice(), &fixture);
        let sent = client(Flags::ACK, 0, 0, 700);
        let _ = splice.pass(Half::Client, &sent, &cx);
        let _ = splice.pass(Half::Backend, &backend(Flags::ACK, 0, 300, 500), &cx);
        let passed = |half, seq, told| {
            let believed = splice.complaint(half, &error(seq, TOO_BIG), true, &cx);
            let expected = match told {
                Some(seq) => Complaint::Pass(Quoted { seq, kind: TOO_BIG }),
                None => Complaint::Drop(Reason::IcmpUnbelievable),
            };
            assert_eq!(believed, expected, "{half:?} {seq:?}");
        };
        let (up, down) = (backend(Flags::ACK, 0, 0, 0).ack, client(Flags::ACK, 0, 0, 0).ack);
        let from = backend(Flags::ACK, 0, 0, 0).seq;
        passed(Half::Backend, up.add(299), None);
        passed(Half::Backend, up.add(300), Some(sent.seq.add(300)));
        passed(Half::Backend, up.add(700), Some(sent.seq.add(700)));
        passed(Half::Backend, up.add(701), None);
        passed(Half::Client, down.sub(1), None);
        passed(Half::Client, down.add(500), Some(from.add(500)));
        passed(Half::Client, down.add(501), None);
        let old = error(up.add(300), IcmpErrorKind::ParameterProblem);
        let dropped = Complaint::Drop(Reason::OtherProtocol);
        assert_eq!(splice.complaint(Half::Backend, &old, true, &cx), dropped);
        let kind = IcmpErrorKind::TimeExceeded;
        let told = Complaint::Pass(Quoted { seq: sent.seq.add(300), kind });
        assert_eq!(splice.complaint(Half::Backend, &error(up.add(300), kind), true, &cx), told);
    }

    /// RFC 5461 §4.1: a backend that is said to be unreachable is not waited for.
    #[test]
    fn an_unreachable_backend_ends_its_try() {
        let fixture = Fixture::new();
        let cx = fixture.at(2);
        let mut splice = Splice::open(&super::super::tests::tcb(), &choice(), &cx);
        let seq = choice().iss;
        let gone = error(seq, IcmpErrorKind::Unreachable { code: 1 });
        let refused =
            |then, event| Complaint::Ended(Step { passage: Passage::Deliver, then, event });
        let next = refused(Then::NextTry(TryEnd::Refused), None);
        assert_eq!(splice.complaint(Half::Backend, &gone, true, &cx), next);
        let circles = error(seq, IcmpErrorKind::TimeExceeded);
        for unbelievable in [error(seq.add(1), gone.kind), error(seq, TOO_BIG), circles] {
            let dropped = Complaint::Drop(Reason::IcmpUnbelievable);
            assert_eq!(splice.complaint(Half::Backend, &unbelievable, true, &cx), dropped);
        }
        splice.retry(&choice(), &cx);
        splice.retry(&choice(), &cx);
        let end = End::BackendRefused;
        let last = refused(Then::Abort(end), Some(Event::Ended(end)));
        assert_eq!(splice.complaint(Half::Backend, &gone, true, &cx), last);
    }

    /// RFC 7915 §4.2, §5.2: sizes and codes of the other family.
    #[test]
    fn families_have_their_own_sizes_and_codes() {
        assert_eq!(other_mtu(1400, true, true, 0), 1400);
        assert_eq!(other_mtu(1400, true, false, 0), 1420);
        assert_eq!(other_mtu(1400, false, true, 0), 1380);
        assert_eq!(other_mtu(1400, false, true, 12), 1368);
        assert_eq!((other_mtu(0, true, true, 12), other_mtu(0, true, false, 0)), (0, 1280));
        let to_v6 = [0, 3, 13, 1].map(|code| other_code(code, true, false));
        let to_v4 = [0, 1, 3, 4].map(|code| other_code(code, false, true));
        assert_eq!((to_v6, to_v4), ([0, 4, 1, 0], [1, 10, 1, 3]));
        assert_eq!((other_code(13, true, true), other_code(3, false, false)), (13, 3));
    }

    /// What is written is sound, goes to the sender, and names the flow as the sender does.
    #[test]
    fn an_error_reaches_the_sender_in_its_own_words() {
        for (remote, local, from, source) in [
            ("10.0.0.1", "10.0.0.2", "10.9.0.1", "10.9.0.1"),
            ("10.0.0.1", "10.0.0.2", "fd00::9", "10.0.0.2"),
            ("fd00::1", "fd00::2", "fd00::9", "fd00::9"),
        ] {
            let tuple = Tuple {
                remote: addr(remote),
                local: addr(local),
                remote_port: 4000,
                local_port: 80,
                ..Tuple::default()
            };
            let link = Link { src: OUR_MAC, dst: CLIENT_MAC, vlan: 0 };
            let out = Outward { link, tuple, hops: 1 };
            let gone = IcmpErrorKind::Unreachable { code: 1 };
            for kind in [TOO_BIG, gone, IcmpErrorKind::TimeExceeded] {
                let quoted = Quoted { seq: SeqNum(77), kind };
                let mut room = [0xee; 200];
                let len = write_complaint(&mut room, &out, &addr(from), &quoted).unwrap();
                let read = read_icmp(&room[..len]);
                assert_eq!(
                    (Addr::from(read.from), Addr::from(read.to)),
                    (addr(source), addr(remote))
                );
                // As the sender's own parser has it.
                room[..6].copy_from_slice(&OUR_MAC.0);
                room[6..12].copy_from_slice(&CLIENT_MAC.0);
                let Ok(Parsed::Icmp(error)) = parse(&room[..len], &port(), RxChecksums::default())
                else {
                    panic!("an error")
                };
                let sender = Tuple {
                    remote: addr(local),
                    local: addr(remote),
                    remote_port: 80,
                    local_port: 4000,
                    ..Tuple::default()
                };
                assert_eq!((error.tuple, error.seq, error.kind), (sender, SeqNum(77), kind));
            }
            let quoted = Quoted { seq: SeqNum(1), kind: TOO_BIG };
            let short = write_complaint(&mut [0; 60], &out, &addr(from), &quoted);
            assert_eq!(short, Err(Reason::NoBuffer));
        }
    }
}
