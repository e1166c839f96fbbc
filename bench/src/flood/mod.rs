//! A bounded flood of one kind of frame from made-up or given addresses, and beside it honest clients and what they
//! see.
//!
//! It never answers, never runs without a bound in count, rate and time, and leaves only through an interface of a namespace
//! of ours. `scripts/demo` and `scripts/real-clients` run it beside an honest client of their own.

mod frame;

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{ArgGroup, Args};
use serde::Serialize;
use usher_proto::wire::Mac;

pub use self::frame::Kind;
use self::frame::{Frames, LONGEST};
use crate::Failure;
use crate::honest::{Honest, Seen};
use crate::load::Meter;
use crate::mac::MacArg;
use crate::packet_socket::{BURST, PacketSocket};
use crate::prefix::Prefix;
use crate::random::SplitMix;
use crate::report::{Plot, Report, Unit};
use crate::time::{Stopwatch, pause};

/// What to send, where to, and when to stop: at whichever bound comes first.
#[derive(Args, Clone, Debug, Serialize)]
#[command(group = ArgGroup::new("sources").required(true))]
pub struct Flood {
    /// What the flood consists of
    #[arg(long, value_enum, default_value_t)]
    pub kind: Kind,
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
    #[arg(long, group = "sources")]
    pub from: Option<Prefix>,
    /// These sources instead, by turns
    #[arg(long, group = "sources", value_delimiter = ',', value_name = "ADDRESS,…")]
    pub source: Vec<IpAddr>,
    /// Frames at most
    #[arg(long, default_value_t = 20_000, value_parser = RangedU64ValueParser::<u64>::new().range(1..=1_000_000_000))]
    pub count: u64,
    /// Frames a second
    #[arg(long, default_value_t = 10_000, value_parser = RangedU64ValueParser::<u64>::new().range(1..=20_000_000))]
    pub rate: u64,
    /// Seconds at most
    #[arg(long, default_value_t = 10, value_parser = RangedU64ValueParser::<u64>::new().range(1..=3600))]
    pub seconds: u64,
    /// Honest clients beside the flood, and as many before it to compare with
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=10_000))]
    pub honest: u32,
    /// Milliseconds from one honest client to the next
    #[arg(long, default_value_t = 100)]
    pub honest_every: u64,
    /// Same seed, same frames
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// What was sent.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    /// Frames that the interface took.
    sent: u64,
    /// Frames that found its queue full.
    refused: u64,
    /// Frames that came back meanwhile.
    back: u64,
    took: Duration,
}

/// Sends the flood and says what became of it, and of the honest clients beside it.
///
/// # Errors
/// When the namespace or interface is refused, or the socket fails.
pub fn run(flood: &Flood) -> Result<Report, Failure> {
    let sources = Sources::of(flood)?;
    let socket = PacketSocket::open(&flood.netns, &flood.interface)?;
    let honest = Honest {
        to: SocketAddr::new(flood.to, flood.port),
        clients: flood.honest,
        every: Duration::from_millis(flood.honest_every),
        timeout: TIMEOUT,
    };
    let before = honest.run();
    let meter = Meter::start();
    let (sent, beside) = std::thread::scope(|scope| {
        // a thread begins in the namespace of who starts it
        let clients = scope.spawn(|| honest.run());
        let sent = send(flood, &sources, &socket);
        (sent, clients.join())
    });
    let (sent, load) = (sent?, meter.load());
    let beside = beside.map_err(|_| "an honest client panicked")?;
    let mut report = report(flood, &sent);
    if flood.honest > 0 {
        compare(&mut report, flood, &before, &beside);
    }
    report.load = Some(load);
    report.note("a server on this machine counts as foreign");
    Ok(report)
}

/// How long an honest client waits: longer than the first two repetitions of a SYN.
const TIMEOUT: Duration = Duration::from_secs(5);

fn report(flood: &Flood, sent: &Sent) -> Report {
    let Sent { sent, refused, back, took } = sent;
    let mut report = Report::new("flood", flood);
    let seconds = took.as_secs_f64();
    report.figure("frames sent", *sent as f64, Unit::Count);
    report.figure("frames that the interface refused", *refused as f64, Unit::Count);
    report.figure("time", seconds, Unit::Seconds);
    report.figure("sent", *sent as f64 / seconds, Unit::PerSecond);
    report.figure("came back", *back as f64 / seconds, Unit::PerSecond);
    if *sent + *refused < flood.count && seconds > 0.0 {
        report.note("the time was over before the count");
    }
    report
}

/// What honest clients saw before the flood and beside it.
fn compare(report: &mut Report, flood: &Flood, before: &Seen, beside: &Seen) {
    let mut plotted = Vec::new();
    for (of, seen) in [("before the flood", before), ("beside the flood", beside)] {
        report.figure_of(of, "honest clients", f64::from(flood.honest), Unit::Count);
        report.figure_of(of, "connected", f64::from(seen.connected), Unit::Count);
        report.figure_of(of, "served", f64::from(seen.served), Unit::Count);
        for (name, percent) in [("median", 50.0), ("worst", 100.0)] {
            let time = seen.connect.percentile(percent) as f64;
            report.figure_of(of, format!("time to connect, {name}"), time, Unit::Nanoseconds);
        }
        plotted.push(seen.connect.clone().named(of));
    }
    if before.connected > 0 && beside.connected > 0 {
        let [idle, loaded] = [before, beside].map(|seen| seen.connect.percentile(50.0) as f64);
        report.figure(
            "median beside the flood, against before",
            loaded / idle.max(1.0),
            Unit::Ratio,
        );
    }
    let title = "honest clients: time to connect".into();
    report.plot(Plot::Percentiles { title, latencies: plotted });
    report.latency(beside.connect.clone());
    report.latency(beside.whole.clone());
}

/// Where frames say that they come from.
enum Sources {
    Random(Prefix),
    Given(Vec<IpAddr>),
}

impl Sources {
    fn of(flood: &Flood) -> Result<Self, Failure> {
        let sources = match flood.from {
            Some(prefix) => Self::Random(prefix),
            None => Self::Given(flood.source.clone()),
        };
        let fits = match &sources {
            Self::Random(prefix) => prefix.is_v4() == flood.to.is_ipv4(),
            Self::Given(all) => all.iter().all(|one| one.is_ipv4() == flood.to.is_ipv4()),
        };
        if fits {
            Ok(sources)
        } else {
            Err("target and sources must be of one address family".into())
        }
    }

    fn of_frame(&self, number: u64, random: &mut SplitMix) -> IpAddr {
        match self {
            Self::Random(prefix) => prefix.host(random.next()),
            Self::Given(all) => all[number as usize % all.len()],
        }
    }
}

/// A locally administered unicast MAC of nobody's: the client's kernel drops the answers at its first look.
const NOBODY: Mac = Mac([0x02, 0, 0, 0xf1, 0x00, 0xd0]);

fn send(flood: &Flood, sources: &Sources, socket: &PacketSocket) -> io::Result<Sent> {
    let frames =
        Frames::new(flood.kind, NOBODY, flood.mac.into(), SocketAddr::new(flood.to, flood.port));
    let mut random = SplitMix(flood.seed);
    let mut rooms = vec![[0; LONGEST]; BURST];
    let mut lens = [0; BURST];
    let before = received(&flood.interface)?;
    let (watch, mut sent) = (Stopwatch::start(), Sent::default());
    loop {
        sent.took = watch.elapsed();
        let tried = sent.sent + sent.refused;
        let due = due(flood, sent.took);
        if tried >= flood.count || sent.took >= Duration::from_secs(flood.seconds) {
            sent.back = received(&flood.interface)?.saturating_sub(before);
            return Ok(sent);
        }
        if tried >= due {
            pause(PAUSE);
            continue;
        }
        let burst = (due - tried).min(BURST as u64) as usize;
        for (number, (room, len)) in rooms.iter_mut().zip(&mut lens).take(burst).enumerate() {
            let source = sources.of_frame(tried + number as u64, &mut random);
            *len = frames.write(room, source, &mut random);
        }
        let filled = rooms.iter().zip(&lens).take(burst).map(|(room, len)| &room[..*len]);
        let taken = socket.send(filled)? as u64;
        sent.sent += taken;
        sent.refused += burst as u64 - taken;
    }
}

/// Between two looks at the clock. Longer makes bursts that a veth's queue of 1,000 cannot hold; shorter only wakes more often.
const PAUSE: Duration = Duration::from_millis(1);

/// How many frames should have left after `elapsed`.
fn due(flood: &Flood, elapsed: Duration) -> u64 {
    let paced = u128::from(flood.rate) * elapsed.as_micros() / 1_000_000;
    u64::try_from(paced).unwrap_or(u64::MAX).min(flood.count)
}

/// Frames that an interface of this thread's namespace has received.
fn received(interface: &str) -> io::Result<u64> {
    let table = fs::read_to_string("/proc/thread-self/net/dev")?;
    received_in(&table, interface)
        .ok_or_else(|| io::Error::other(format!("/proc/net/dev does not count for {interface}")))
}

/// The second number behind its name (proc_pid_net(5)).
fn received_in(table: &str, interface: &str) -> Option<u64> {
    let of = |line: &str| {
        line.split_once(':')
            .filter(|(name, _)| name.trim() == interface)
            .map(|(_, rest)| rest.to_owned())
    };
    table.lines().find_map(of)?.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        flood: Flood,
    }

    fn parse(more: &str) -> Result<Flood, String> {
        let fixed = "flood --netns usher-none --interface c0 --mac 02:00:00:00:00:01";
        let words = fixed.split_whitespace().chain(more.split_whitespace());
        Cli::try_parse_from(words).map(|cli| cli.flood).map_err(|error| error.to_string())
    }

    #[test]
    fn pace_follows_time_and_stops_at_the_count() {
        let flood =
            parse("--to 10.10.0.10 --from 10.10.128.0/17 --count 1000 --rate 100").expect("right");
        assert_eq!(due(&flood, Duration::from_millis(10)), 1);
        assert_eq!(due(&flood, Duration::from_secs(1000)), 1000);
    }

    #[test]
    fn wrong_arguments_are_explained() {
        for (arguments, why) in [
            ("--to 10.10.0.10", "--from"),
            ("--to 10.10.0.10 --from 10.0.0.0/8 --source 10.0.0.1", "cannot be used with"),
            ("--to 10.10.0.10 --from 10.0.0.0/8 --kind push", "possible values"),
            ("--to 10.10.0.10 --from 10.0.0.0/8 --rate 0", "0 is not in"),
            ("--to 10.10.0.10 --from fd00:10::/64", "one address family"),
            ("--to 10.10.0.10 --source 10.0.0.1,fd00::1", "one address family"),
            ("--to 10.10.0.10 --source 10.0.0.1", "usher-none"),
        ] {
            let error = parse(arguments)
                .and_then(|flood| run(&flood).map(|_| ()).map_err(|error| error.to_string()));
            let error = error.expect_err("refused");
            assert!(error.contains(why), "{arguments}: {error}");
        }
    }

    #[test]
    fn given_sources_take_turns() {
        let flood = parse("--to 10.10.0.10 --source 10.0.0.1,10.0.0.2").expect("right");
        let sources = Sources::of(&flood).expect("one family");
        let mut random = SplitMix(1);
        let names: Vec<String> =
            (0..3).map(|n| sources.of_frame(n, &mut random).to_string()).collect();
        assert_eq!(names, ["10.0.0.1", "10.0.0.2", "10.0.0.1"]);
    }

    #[test]
    fn what_an_interface_received_is_read() {
        let table = "Inter-|   Receive\n face |bytes    packets errs\n    lo: 10 20 0\n    c0:1234   56 0 0\n";
        assert_eq!((received_in(table, "c0"), received_in(table, "lo")), (Some(56), Some(20)));
        assert_eq!(received_in(table, "c1"), None);
    }
}
