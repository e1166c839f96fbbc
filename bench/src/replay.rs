//! A capture through a worker of a configuration, frame by frame: what became of each, why, and what was sent for it.
//!
//! Time is made: the same gap between any two frames, whatever the capture says, so that a replay is the same each time.
//! Secrets are made, too, and always the same. A recorded client knows the numbers of the server that it talked to, not
//! those of this worker: its handshakes end where its ACK names another's ISN, and the verdict says so.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use usher::clock::{Clock, FakeClock};
use usher::config::Plan;
use usher::port::memory::{self, MemoryQueue, Options, Wire};
use usher::port::{Burst, Frame, pcap};
use usher::stats::{Counter, WorkerSnapshot};
use usher::testing;
use usher::worker::Worker;
use usher_proto::verdict::Reason;
use usher_proto::wire::{Mac, Parsed, PortView, RxChecksums, parse};

use crate::Failure;
use crate::mac::MacArg;
use crate::report::{Report, Unit};

/// Which capture, and by which configuration.
#[derive(Args, Clone, Debug, Serialize)]
pub struct Replay {
    /// The capture: pcap or pcapng, of Ethernet
    pub capture: PathBuf,
    /// The configuration; its devices are not opened
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// The port that frames come in by; the first unless given
    #[arg(long)]
    pub port: Option<String>,
    /// That port's MAC; the first station that a frame of the capture is sent to unless given
    #[arg(long)]
    pub mac: Option<MacArg>,
    /// Microseconds between two frames
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub gap: u64,
    /// Frames at most
    #[arg(long, default_value_t = 10_000)]
    pub count: usize,
}

/// What a frame can become, as counted.
const VERDICTS: [Counter; 6] = [
    Counter::Answered,
    Counter::Reflected,
    Counter::Delivered,
    Counter::Forwarded,
    Counter::Held,
    Counter::Dropped,
];

impl Replay {
    /// Plays it.
    ///
    /// # Errors
    /// When a file cannot be read or is wrong, or there is no such port.
    pub fn run(&self) -> Result<Report, Failure> {
        let (plan, text) = (&self.config, std::fs::read_to_string(&self.config));
        let text = text.map_err(|error| format!("{}: {error}", plan.display()))?;
        // not `load`, which asks whether this build has the devices
        let plan = Plan::parse(&text, plan).map_err(|error| error.to_string())?;
        let named = |name: &String| plan.ports.iter().position(|port| port.name == *name);
        let port = match &self.port {
            Some(name) => named(name)
                .ok_or_else(|| format!("{} has no port {name:?}", self.config.display()))?,
            None => 0,
        };
        let frames = pcap::frames(&self.capture)?;
        let mac = self.mac.map(Mac::from).or_else(|| first_station(&frames));
        let mut stage = Stage::new(&plan, port, mac.unwrap_or(Options::default().mac))?;
        let mut report = Report::new("replay", self);
        for (number, frame) in frames.iter().take(self.count).enumerate() {
            let verdict = stage.play(frame, self.gap);
            report.line(format!("{:>5}  {}  {verdict}", number + 1, stage.describe(frame)));
            for (on, sent) in stage.sent() {
                report.line(format!("       → {on}: {}", stage.describe(&sent)));
            }
        }
        let total = stage.snapshot();
        report.figure("frames", frames.len().min(self.count) as f64, Unit::Count);
        for verdict in VERDICTS {
            report.some(verdict.name(), total.counter(verdict));
        }
        for reason in Reason::ALL {
            report.some(format!("  {}", reason.name()), total.dropped(*reason));
        }
        if frames.len() > self.count {
            report.note(format!("the capture has {} frames: --count plays more", frames.len()));
        }
        Ok(report)
    }
}

/// Where the first frame that is for one station goes.
fn first_station(frames: &[Vec<u8>]) -> Option<Mac> {
    frames
        .iter()
        .find_map(|frame| frame.first_chunk().map(|mac| Mac(*mac)).filter(|mac| mac.is_station()))
}

/// A worker, its ports, and what it had counted before the present frame.
struct Stage {
    worker: Worker<MemoryQueue>,
    /// Name and other end of each port.
    wires: Vec<(String, Wire)>,
    port: usize,
    clock: FakeClock,
    before: WorkerSnapshot,
}

impl Stage {
    fn new(plan: &Plan, port: usize, mac: Mac) -> Result<Self, Failure> {
        let (mut ports, mut wires) = (Vec::new(), Vec::new());
        for (index, planned) in plan.ports.iter().enumerate() {
            let mac = if index == port { mac } else { Mac([2, 0, 0, 0, 1, index as u8]) };
            let options = Options { mac, mtu: planned.mtu, ..Options::default() };
            let (made, wire) = memory::new(&planned.name, &options);
            ports.push(made);
            wires.push((planned.name.clone(), wire));
        }
        let mut clock = FakeClock::default();
        let mut plan = plan.clone();
        plan.flow_capacity = plan.flow_capacity.min(1 << 20);
        let keyring = testing::keyring(true);
        let mut workers = testing::workers(&plan, keyring, &mut ports, 1, clock.now())?;
        let worker = workers.remove(0);
        let before = worker.stats();
        let mut stage = Self { worker, wires, port, clock, before };
        for _ in 0..4 {
            stage.turn(1_000_000); // announcements
            let _ = stage.sent();
        }
        stage.before = stage.snapshot();
        Ok(stage)
    }

    fn turn(&mut self, us: u64) {
        self.clock.advance_us(us);
        self.worker.turn(self.clock.now());
    }

    fn snapshot(&mut self) -> WorkerSnapshot {
        self.worker.publish();
        self.worker.stats()
    }

    /// What became of a frame.
    fn play(&mut self, frame: &[u8], gap: u64) -> String {
        if !self.wires[self.port].1.send(0, frame) {
            return "not played: longer than the port's MTU".into();
        }
        self.turn(gap);
        let now = self.snapshot();
        let before = std::mem::replace(&mut self.before, now);
        let is_new = |counter: &Counter| self.before.counter(*counter) > before.counter(*counter);
        let verdict = VERDICTS.into_iter().find(is_new);
        let reason = Reason::ALL.iter().find(|it| self.before.dropped(**it) > before.dropped(**it));
        match (verdict, reason) {
            (_, Some(reason)) => format!("dropped, {}: {}", reason.name(), reason.help()),
            (Some(verdict), None) => verdict.name().into(),
            (None, None) => "no verdict".into(),
        }
    }

    /// What was sent since the last call, with the port that it left by.
    fn sent(&self) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        for (name, wire) in &self.wires {
            let mut burst = Burst::new();
            loop {
                wire.receive_burst(0, &mut burst);
                if burst.is_empty() {
                    break;
                }
                all.extend(burst.drain(..).map(|frame| (name.clone(), frame.bytes().to_vec())));
            }
        }
        all
    }

    /// A frame in a line. Its station does not matter to that.
    fn describe(&self, frame: &[u8]) -> String {
        let mac = frame.first_chunk().map_or(Mac::ZERO, |mac| Mac(*mac));
        let view = PortView { mac, vlan: 0, index: 0 };
        match parse(frame, &view, RxChecksums::default()) {
            Ok(Parsed::Tcp(seg)) => {
                format!(
                    "{:?} {:?} seq {:?} ack {:?} len {}",
                    seg.tuple, seg.flags, seg.seq, seg.ack, seg.payload_len
                )
            }
            Ok(Parsed::Arp(_)) => "ARP".into(),
            Ok(Parsed::Ndp(_)) => "neighbour discovery".into(),
            Ok(Parsed::Echo(_)) => "ICMP echo".into(),
            Ok(Parsed::Icmp(_)) => "ICMP error".into(),
            Err(_) => format!("{} bytes", frame.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;
    use usher_proto::testing::{Envelope, OUR_MAC, TcpFrame, tcp};

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        replay: Replay,
    }

    const CONFIG: &str = r#"
        [[port]]
        name = "wan"
        device = "net_null0"
        addresses = ["10.10.0.2/16"]
        [[service]]
        name = "hello"
        listen = ["10.10.0.10:80"]
        kind = "respond"
        response = "hello"
    "#;

    fn to(address: &str) -> TcpFrame {
        tcp().from("10.10.1.1:40000").to(address)
    }

    /// A classic capture, written out.
    fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
        let words =
            |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let mut file = words(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1]);
        for frame in frames {
            let len = frame.len() as u32;
            file.extend(words(&[1, 0, len, len]));
            file.extend(frame);
        }
        file
    }

    #[test]
    fn each_frame_is_told_with_its_verdict_and_what_was_sent() {
        let directory = std::env::temp_dir().join(format!("usher-replay-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let write = |name: &str, bytes: &[u8]| {
            let path = directory.join(name);
            std::fs::write(&path, bytes).expect("written");
            path.display().to_string()
        };
        let frames = [
            to("10.10.0.10:80").syn(7).build(),
            to("10.10.0.10:80").bad_checksum().syn(7).build(),
            to("10.10.9.9:80").syn(7).build(),
        ];
        let (config, capture) =
            (write("c.toml", CONFIG.as_bytes()), write("c.pcap", &pcap(&frames)));
        let replay =
            Cli::try_parse_from(["replay", &capture, "-c", &config]).expect("right").replay;
        let report = replay.run().expect("it plays");
        std::fs::remove_dir_all(&directory).expect("gone");
        let lines = report.lines();
        assert!(lines[0].ends_with("answered"), "{lines:?}");
        assert!(lines[1].contains("→ wan: ") && lines[1].contains("ack 8"), "{lines:?}");
        assert!(lines[2].contains("dropped, bad_tcp_checksum"), "{lines:?}");
        assert!(lines[3].contains("dropped, other_address"), "{lines:?}");
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn the_first_station_is_not_a_group() {
        let broadcast = to("10.10.0.10:80").dst_mac(Mac::BROADCAST).build();
        let frames = [broadcast, to("10.10.0.10:80").build()];
        assert_eq!(first_station(&frames), Some(OUR_MAC));
        assert_eq!(first_station(&[vec![1]]), None);
    }

    #[test]
    fn wrong_files_and_ports_are_explained() {
        let refused = |arguments: &[&str]| {
            let all = std::iter::once("replay").chain(arguments.iter().copied());
            let replay = Cli::try_parse_from(all).expect("right").replay;
            replay.run().expect_err("refused").to_string()
        };
        assert!(refused(&["/none.pcap", "-c", "/none.toml"]).contains("/none.toml"));
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/demo.toml");
        let demo = demo.to_str().expect("text");
        assert!(refused(&["/none.pcap", "-c", demo]).contains("/none.pcap"));
        assert!(refused(&["/none.pcap", "-c", demo, "--port", "x"]).contains("no port \"x\""));
    }
}
