//! Frames as the client side writes and reads them: slow, obvious, and sharing no line with the engine, so
//! that a mistake of its parser, builders or checksums is not made twice.
//!
//! `read` is strict: everything that a correct stack never sends is an error with its reason.

mod read;
mod sum;
mod write;

use std::net::SocketAddr;

pub(crate) use read::read;
pub(crate) use sum::{ones_sum, sum_with_pseudo_header};

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;
pub(crate) const ECE: u8 = 0x40;
pub(crate) const CWR: u8 = 0x80;

/// The congestion bits of an IP header (RFC 3168 §5): able to be marked, and marked.
pub(crate) const ECT: u8 = 2;
pub(crate) const CE: u8 = 3;

pub(crate) type Mac = [u8; 6];

/// One TCP option, in the order in which it stands in the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Opt {
    Nop,
    Mss(u16),
    Scale(u8),
    SackOk,
    /// Left and right edges, in the order in which they stand (RFC 2018 §3).
    Sack(Vec<(u32, u32)>),
    Time(u32, u32),
    Other(u8, Vec<u8>),
}

/// A TCP segment with everything below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) src_mac: Mac,
    pub(crate) dst_mac: Mac,
    pub(crate) src: SocketAddr,
    pub(crate) dst: SocketAddr,
    /// TTL or hop limit, and the congestion bits.
    pub(crate) ttl: u8,
    pub(crate) ecn: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) options: Vec<Opt>,
    pub(crate) payload: Vec<u8>,
}

impl Packet {
    /// From one to the other, with nothing in it.
    pub(crate) const fn between(
        src_mac: Mac,
        dst_mac: Mac,
        src: SocketAddr,
        dst: SocketAddr,
    ) -> Self {
        Self {
            src_mac,
            dst_mac,
            src,
            dst,
            ttl: 64,
            ecn: 0,
            seq: 0,
            ack: 0,
            flags: 0,
            window: 0,
            urgent: 0,
            options: Vec::new(),
            payload: Vec::new(),
        }
    }

    pub(crate) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// SEG.LEN: payload, SYN and FIN.
    pub(crate) const fn length(&self) -> u32 {
        self.payload.len() as u32 + self.has(SYN) as u32 + self.has(FIN) as u32
    }

    pub(crate) const fn end(&self) -> u32 {
        self.seq.wrapping_add(self.length())
    }

    pub(crate) fn time(&self) -> Option<(u32, u32)> {
        self.options
            .iter()
            .find_map(|o| if let Opt::Time(val, ecr) = o { Some((*val, *ecr)) } else { None })
    }

    pub(crate) fn mss(&self) -> Option<u16> {
        self.options.iter().find_map(|o| if let Opt::Mss(mss) = o { Some(*mss) } else { None })
    }

    pub(crate) fn scale(&self) -> Option<u8> {
        self.options
            .iter()
            .find_map(|o| if let Opt::Scale(shift) = o { Some(*shift) } else { None })
    }

    pub(crate) fn sack_ok(&self) -> bool {
        self.options.contains(&Opt::SackOk)
    }

    /// The blocks of a SACK option.
    pub(crate) fn sack(&self) -> &[(u32, u32)] {
        let blocks =
            self.options.iter().find_map(|o| if let Opt::Sack(b) = o { Some(b) } else { None });
        blocks.map_or(&[], Vec::as_slice)
    }

    /// One line about it and its so many bytes of payload.
    pub(crate) fn describe(&self, len: usize) -> String {
        let names = [
            (SYN, "S"),
            (FIN, "F"),
            (RST, "R"),
            (PSH, "P"),
            (ACK, "."),
            (URG, "U"),
            (ECE, "E"),
            (CWR, "W"),
        ];
        let flags: String =
            names.iter().filter(|(bit, _)| self.has(*bit)).map(|(_, name)| *name).collect();
        let options: Vec<_> = self.options.iter().filter(|o| **o != Opt::Nop).collect();
        format!(
            "{} > {} {flags} seq {} ack {} win {} len {len} {options:?}",
            self.src, self.dst, self.seq, self.ack, self.window,
        )
    }

    /// The bytes that the options take in the header.
    pub(crate) fn options_len(&self) -> usize {
        write::options(&self.options).len()
    }
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// A router marks a frame that says it can be marked.
pub(crate) fn mark(frame: &mut Vec<u8>) {
    if let Ok(packet) = read(frame)
        && packet.ecn != 0
    {
        *frame = Packet { ecn: CE, ..packet }.write();
    }
}

/// One line about a frame, for the trace of a failed run.
pub(crate) fn describe(frame: &[u8]) -> String {
    match read(frame) {
        Ok(packet) => packet.describe(packet.payload.len()),
        Err(why) => format!("unreadable ({why}): {:02x?}", &frame[..frame.len().min(60)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(v6: bool) -> Packet {
        let (src, dst) =
            if v6 { ("[fd00::1]:5", "[fd00::2]:80") } else { ("10.0.0.1:5", "10.0.0.2:80") };
        let macs = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        Packet {
            ttl: 63,
            ecn: ECT,
            seq: 0xdead_beef,
            ack: 7,
            flags: ACK | PSH | URG,
            window: 1000,
            urgent: 3,
            options: vec![
                Opt::Nop,
                Opt::Nop,
                Opt::Time(1, 2),
                Opt::Sack(vec![(u32::MAX, 3)]),
                Opt::Other(254, vec![9, 9]),
            ],
            payload: b"odd".to_vec(),
            ..Packet::between(macs.0, macs.1, src.parse().unwrap(), dst.parse().unwrap())
        }
    }

    #[test]
    fn what_was_written_is_read() {
        for packet in [sample(false), sample(true)] {
            assert_eq!(read(&packet.write()), Ok(packet));
        }
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let frame = sample(false).write();
        for at in 14..frame.len() {
            let mut changed = frame.clone();
            changed[at] ^= 0x10;
            assert!(read(&changed).is_err(), "byte {at}");
        }
    }
}
