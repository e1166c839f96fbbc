//! A bounded SYN flood: 74-byte SYNs, as Linux sends them, from random addresses and ports of one prefix.
//!
//! It never answers a SYN-ACK, never runs without a bound in count, rate and time, and leaves only through an interface
//! of a namespace of ours. `scripts/demo` and `scripts/real-clients` run it beside an honest client.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use etherparse::{PacketBuilder, TcpOptionElement};
use serde::Serialize;
use usher::clock::{Clock, SystemClock};

use crate::Failure;
use crate::mac::MacArg;
use crate::packet_socket::PacketSocket;
use crate::prefix::Prefix;
use crate::random::SplitMix;
use crate::report::{Report, Unit};
use crate::time::pause;

/// What to send, where to, and when to stop: at whichever bound comes first.
#[derive(Args, Clone, Debug, Serialize)]
pub struct Flood {
    /// Network namespace to send from; its name starts with `usher-`
    #[arg(long)]
    pub netns: String,
    /// Interface in that namespace
    #[arg(long)]
    pub interface: String,
    /// MAC address of the engine
    #[arg(long)]
    pub mac: MacArg,
    /// Address under attack
    #[arg(long)]
    pub to: IpAddr,
    /// Port under attack
    #[arg(long, default_value_t = 80)]
    pub port: u16,
    /// Prefix of the made-up sources, of the same family
    #[arg(long)]
    pub from: Prefix,
    /// SYNs at most
    #[arg(long, default_value_t = 20_000, value_parser = RangedU64ValueParser::<u64>::new().range(1..=5_000_000))]
    pub count: u64,
    /// SYNs a second
    #[arg(long, default_value_t = 10_000, value_parser = RangedU64ValueParser::<u64>::new().range(1..=1_000_000))]
    pub rate: u64,
    /// Seconds at most
    #[arg(long, default_value_t = 10, value_parser = RangedU64ValueParser::<u64>::new().range(1..=60))]
    pub seconds: u64,
    /// Same seed, same sources
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// What was sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// SYNs that the interface took.
    sent: u64,
    /// SYNs that found its queue full.
    refused: u64,
    took: Duration,
}

/// Sends the flood and says what became of it.
///
/// # Errors
/// When the namespace or interface is refused, or the socket fails.
pub fn run(flood: &Flood) -> Result<Report, Failure> {
    let Sent { sent, refused, took } = send(flood)?;
    let mut report = Report::new("flood", flood);
    report.figure("SYNs sent", sent as f64, Unit::Count);
    report.figure("SYNs that the interface refused", refused as f64, Unit::Count);
    report.figure("time", took.as_secs_f64(), Unit::Seconds);
    report.figure("rate", sent as f64 / took.as_secs_f64(), Unit::PerSecond);
    Ok(report)
}

fn send(flood: &Flood) -> io::Result<Sent> {
    if flood.to.is_ipv4() != flood.from.is_v4() {
        return Err(io::Error::other("--to and --from must be of one address family"));
    }
    let socket = PacketSocket::open(&flood.netns, &flood.interface)?;
    let mut random = SplitMix(flood.seed);
    let mut frame = Vec::with_capacity(128);
    let mut clock = SystemClock::start();
    let start = clock.now().us;
    let mut report = Sent { sent: 0, refused: 0, took: Duration::ZERO };
    loop {
        report.took = Duration::from_micros(clock.now().us - start);
        let tried = report.sent + report.refused;
        let due = due(flood, report.took);
        if tried >= flood.count || report.took >= Duration::from_secs(flood.seconds) {
            return Ok(report);
        }
        if tried >= due {
            pause(PAUSE);
        }
        for _ in tried..due {
            write_syn(&mut frame, flood, &mut random);
            let taken = socket.send(&frame)?;
            report.sent += u64::from(taken);
            report.refused += u64::from(!taken);
        }
    }
}

/// Between two looks at the clock. Longer makes bursts that a veth's queue of 1,000 cannot hold; shorter only wakes more often.
const PAUSE: Duration = Duration::from_millis(1);

/// How many SYNs should have left after `elapsed`.
fn due(flood: &Flood, elapsed: Duration) -> u64 {
    let paced = u128::from(flood.rate) * elapsed.as_micros() / 1_000_000;
    u64::try_from(paced).unwrap_or(u64::MAX).min(flood.count)
}

/// Linux's option layout, which is that of nearly every real SYN: 74 bytes over IPv4.
fn write_syn(frame: &mut Vec<u8>, flood: &Flood, random: &mut SplitMix) {
    frame.clear();
    let source = flood.from.host(random.next());
    let noise = random.next().to_be_bytes();
    let [a, b, c, d, e, f, ..] = noise;
    // A locally administered unicast MAC of nobody's: the client's kernel drops the SYN-ACKs at its first look.
    let link = PacketBuilder::ethernet2([0x02, 0, 0, 0xf1, 0x00, 0xd0], flood.mac.0);
    let network = match (source, flood.to) {
        (IpAddr::V4(source), IpAddr::V4(to)) => link.ipv4(source.octets(), to.octets(), 64),
        (IpAddr::V6(source), IpAddr::V6(to)) => link.ipv6(source.octets(), to.octets(), 64),
        _ => unreachable!("the families were compared at start"),
    };
    network
        .tcp(1024 | u16::from_be_bytes([a, b]), flood.port, u32::from_be_bytes([c, d, e, f]), 64240)
        .syn()
        .options(&[
            TcpOptionElement::MaximumSegmentSize(1460),
            TcpOptionElement::SelectiveAcknowledgementPermitted,
            TcpOptionElement::Timestamp(u32::from_be_bytes([a, c, e, f]), 0),
            TcpOptionElement::Noop,
            TcpOptionElement::WindowScale(7),
        ])
        .expect("twenty bytes of options fit")
        .write(frame, &[])
        .expect("a vector takes every byte");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flood(to: &str, from: &str) -> Flood {
        Flood {
            netns: "usher-none".into(),
            interface: "c0".into(),
            mac: "02:00:00:00:00:01".parse().expect("a MAC"),
            to: to.parse().expect("an address"),
            port: 80,
            from: from.parse().expect("a prefix"),
            count: 1000,
            rate: 100,
            seconds: 1,
            seed: 7,
        }
    }

    #[test]
    fn a_syn_is_74_bytes_over_ipv4_and_94_over_ipv6() {
        let mut frame = Vec::new();
        write_syn(&mut frame, &flood("10.10.0.10", "10.10.128.0/17"), &mut SplitMix(1));
        assert_eq!(frame.len(), 74);
        write_syn(&mut frame, &flood("fd00:10::10", "fd00:10::/64"), &mut SplitMix(1));
        assert_eq!(frame.len(), 94);
    }

    #[test]
    fn pace_follows_time_and_stops_at_the_count() {
        let flood = flood("10.10.0.10", "10.10.128.0/17");
        assert_eq!(due(&flood, Duration::from_millis(10)), 1);
        assert_eq!(due(&flood, Duration::from_secs(1000)), 1000);
    }

    #[test]
    fn mixed_families_are_refused() {
        let error = run(&flood("10.10.0.10", "fd00:10::/64")).expect_err("refused");
        assert!(error.to_string().contains("one address family"));
    }
}
