//! Frames as the client side writes and reads them: slow, obvious, and sharing no line with the engine, so
//! that a mistake of its parser, builders or checksums is not made twice.
//!
//! `read` is strict: everything that a correct stack never sends is an error with its reason.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const ECE: u8 = 0x40;
pub(crate) const CWR: u8 = 0x80;

pub(crate) type Mac = [u8; 6];

/// One TCP option, in the order in which it stands in the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Opt {
    Nop,
    Mss(u16),
    Scale(u8),
    SackOk,
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
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) options: Vec<Opt>,
    pub(crate) payload: Vec<u8>,
}

impl Packet {
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

    /// The frame on the wire, padded to Ethernet's minimum of 60 bytes with rubbish that must be ignored.
    pub(crate) fn write(&self) -> Vec<u8> {
        let segment = self.segment();
        let mut frame = Vec::with_capacity(54 + segment.len());
        frame.extend(self.dst_mac);
        frame.extend(self.src_mac);
        match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => write_v4(&mut frame, src, dst, segment.len()),
            (IpAddr::V6(src), IpAddr::V6(dst)) => write_v6(&mut frame, src, dst, segment.len()),
            _ => panic!("a packet has one family"),
        }
        frame.extend(segment);
        while frame.len() < 60 {
            frame.push(0xa5);
        }
        frame
    }

    fn segment(&self) -> Vec<u8> {
        let options = write_options(&self.options);
        let mut out = Vec::with_capacity(20 + options.len() + self.payload.len());
        out.extend(self.src.port().to_be_bytes());
        out.extend(self.dst.port().to_be_bytes());
        out.extend(self.seq.to_be_bytes());
        out.extend(self.ack.to_be_bytes());
        out.push(((5 + options.len() / 4) as u8) << 4);
        out.push(self.flags);
        out.extend(self.window.to_be_bytes());
        out.extend([0; 4]);
        out.extend(options);
        out.extend(&self.payload);
        let sum = !tcp_sum(self.src.ip(), self.dst.ip(), &out);
        out[16..18].copy_from_slice(&sum.to_be_bytes());
        out
    }
}

fn write_v4(frame: &mut Vec<u8>, src: Ipv4Addr, dst: Ipv4Addr, len: usize) {
    frame.extend([0x08, 0x00]);
    let mut header = vec![0x45, 0];
    header.extend((20 + len as u16).to_be_bytes());
    header.extend([0x12, 0x34, 0x40, 0, 64, 6, 0, 0]);
    header.extend(src.octets());
    header.extend(dst.octets());
    let sum = !ones_sum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend(header);
}

fn write_v6(frame: &mut Vec<u8>, src: Ipv6Addr, dst: Ipv6Addr, len: usize) {
    frame.extend([0x86, 0xdd, 0x60, 0x03, 0x14, 0x15]);
    frame.extend((len as u16).to_be_bytes());
    frame.extend([6, 64]);
    frame.extend(src.octets());
    frame.extend(dst.octets());
}

fn write_options(options: &[Opt]) -> Vec<u8> {
    let mut out = Vec::new();
    for option in options {
        match option {
            Opt::Nop => out.push(1),
            Opt::Mss(mss) => {
                out.extend([2, 4]);
                out.extend(mss.to_be_bytes());
            }
            Opt::Scale(shift) => out.extend([3, 3, *shift]),
            Opt::SackOk => out.extend([4, 2]),
            Opt::Time(val, ecr) => {
                out.extend([8, 10]);
                out.extend(val.to_be_bytes());
                out.extend(ecr.to_be_bytes());
            }
            Opt::Other(kind, value) => {
                out.extend([*kind, 2 + value.len() as u8]);
                out.extend(value);
            }
        }
    }
    while out.len() % 4 != 0 {
        out.push(0);
    }
    out
}

/// The one's complement sum of 16-bit words, what is missing at the end being zero (RFC 1071 §1), taken
/// in pairs of words (§2(C)).
pub(crate) fn ones_sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u64;
    let mut pairs = bytes.chunks_exact(4);
    for pair in &mut pairs {
        sum += u64::from(word(pair, 0));
    }
    let mut rest = pairs.remainder().to_vec();
    rest.resize(4, 0);
    sum += u64::from(word(&rest, 0));
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn tcp_sum(src: IpAddr, dst: IpAddr, segment: &[u8]) -> u16 {
    sum_with_pseudo_header(src, dst, 6, segment)
}

/// The sum over a message and its pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1).
pub(crate) fn sum_with_pseudo_header(
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    message: &[u8],
) -> u16 {
    let mut pseudo = Vec::with_capacity(40 + message.len());
    for address in [src, dst] {
        match address {
            IpAddr::V4(a) => pseudo.extend(a.octets()),
            IpAddr::V6(a) => pseudo.extend(a.octets()),
        }
    }
    pseudo.extend((message.len() as u32).to_be_bytes());
    pseudo.extend([0, 0, 0, protocol]);
    pseudo.extend(message);
    ones_sum(&pseudo)
}

/// Reads a frame, or says what is wrong with it.
pub(crate) fn read(frame: &[u8]) -> Result<Packet, String> {
    if frame.len() < 54 {
        return Err(format!("{} bytes are too few", frame.len()));
    }
    let (src, dst, segment) = match (frame[12], frame[13]) {
        (0x08, 0x00) => read_v4(&frame[14..])?,
        (0x86, 0xdd) => read_v6(&frame[14..])?,
        other => return Err(format!("ethertype {other:02x?}")),
    };
    if segment.len() < 20 {
        return Err("no room for a TCP header".into());
    }
    if tcp_sum(src, dst, segment) != 0xffff {
        return Err("TCP checksum".into());
    }
    let offset = usize::from(segment[12] >> 4) * 4;
    if offset < 20 || offset > segment.len() {
        return Err(format!("data offset {offset}"));
    }
    if segment[12] & 0x0f != 0 {
        return Err("reserved bits are set".into());
    }
    if segment[18..20] != [0, 0] {
        return Err("an urgent pointer without URG".into());
    }
    Ok(Packet {
        dst_mac: frame[..6].try_into().unwrap(),
        src_mac: frame[6..12].try_into().unwrap(),
        src: SocketAddr::new(src, half(segment, 0)),
        dst: SocketAddr::new(dst, half(segment, 2)),
        seq: word(segment, 4),
        ack: word(segment, 8),
        flags: segment[13],
        window: half(segment, 14),
        options: read_options(&segment[20..offset])?,
        payload: segment[offset..].to_vec(),
    })
}

fn read_v4(packet: &[u8]) -> Result<(IpAddr, IpAddr, &[u8]), String> {
    if packet[0] != 0x45 {
        return Err(format!("version and header length {:02x}", packet[0]));
    }
    if ones_sum(&packet[..20]) != 0xffff {
        return Err("IPv4 checksum".into());
    }
    let total = usize::from(half(packet, 2));
    if total < 40 || total > packet.len() {
        return Err(format!("total length {total} in {}", packet.len()));
    }
    if packet[6] & 0xbf != 0 || packet[7] != 0 || packet[9] != 6 {
        return Err("a fragment, or not TCP".into());
    }
    let address =
        |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    Ok((address(12).into(), address(16).into(), &packet[20..total]))
}

fn read_v6(packet: &[u8]) -> Result<(IpAddr, IpAddr, &[u8]), String> {
    if packet[0] >> 4 != 6 || packet[6] != 6 {
        return Err("version or next header".into());
    }
    let length = usize::from(half(packet, 4));
    if 40 + length > packet.len() {
        return Err(format!("payload length {length} in {}", packet.len()));
    }
    let address = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
    Ok((address(8).into(), address(24).into(), &packet[40..40 + length]))
}

fn read_options(mut bytes: &[u8]) -> Result<Vec<Opt>, String> {
    let mut options = Vec::new();
    while let Some(&kind) = bytes.first() {
        match kind {
            0 => break,
            1 => {
                options.push(Opt::Nop);
                bytes = &bytes[1..];
                continue;
            }
            _ => {}
        }
        let length = usize::from(*bytes.get(1).ok_or("an option without length")?);
        if length < 2 || length > bytes.len() {
            return Err(format!("option {kind} of length {length}"));
        }
        options.push(match (kind, length) {
            (2, 4) => Opt::Mss(half(bytes, 2)),
            (3, 3) => Opt::Scale(bytes[2]),
            (4, 2) => Opt::SackOk,
            (8, 10) => Opt::Time(word(bytes, 2), word(bytes, 6)),
            (2 | 3 | 4 | 8, _) => return Err(format!("option {kind} of length {length}")),
            _ => Opt::Other(kind, bytes[2..length].to_vec()),
        });
        bytes = &bytes[length..];
    }
    Ok(options)
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// One line about a frame, for the trace of a failed run.
pub(crate) fn describe(frame: &[u8]) -> String {
    let packet = match read(frame) {
        Ok(packet) => packet,
        Err(why) => return format!("unreadable ({why}): {:02x?}", &frame[..frame.len().min(60)]),
    };
    let names =
        [(SYN, "S"), (FIN, "F"), (RST, "R"), (PSH, "P"), (ACK, "."), (ECE, "E"), (CWR, "W")];
    let flags: String =
        names.iter().filter(|(bit, _)| packet.has(*bit)).map(|(_, name)| *name).collect();
    let options: Vec<_> = packet.options.iter().filter(|o| **o != Opt::Nop).collect();
    format!(
        "{} > {} {flags} seq {} ack {} win {} len {} {options:?}",
        packet.src,
        packet.dst,
        packet.seq,
        packet.ack,
        packet.window,
        packet.payload.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(v6: bool) -> Packet {
        let (src, dst) =
            if v6 { ("[fd00::1]:5", "[fd00::2]:80") } else { ("10.0.0.1:5", "10.0.0.2:80") };
        Packet {
            src_mac: [2, 0, 0, 0, 0, 1],
            dst_mac: [2, 0, 0, 0, 0, 2],
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            seq: 0xdead_beef,
            ack: 7,
            flags: ACK | PSH,
            window: 1000,
            options: vec![Opt::Nop, Opt::Nop, Opt::Time(1, 2), Opt::Other(254, vec![9, 9])],
            payload: b"odd".to_vec(),
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

    #[test]
    fn the_sum_is_that_of_the_worked_example() {
        // RFC 1071 §3
        assert_eq!(ones_sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }
}
