//! What `cps` is told.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use clap::{ArgGroup, Args};
use serde::Serialize;
use usher::testing::VIP;

use super::{Device, Span};
use crate::Failure;
use crate::client::{Close, Pace, Script, Sources, Stack};
use crate::mac::MacArg;
use crate::netns::Permit;
use crate::prefix::Prefix;
use crate::rounds::Rounds;

/// What to load, and how.
#[derive(Args, Clone, Debug, Serialize)]
#[command(group = ArgGroup::new("pace").required(true))]
pub struct Cps {
    /// The server; with `memory`, where its services are, the IPv4 one unless given
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub to: Option<SocketAddr>,
    /// `memory`: an engine in this process. Else a DPDK device, such as net_memif0,role=client,socket=PATH
    #[arg(long, default_value = "memory")]
    pub device: Device,
    #[command(flatten)]
    #[serde(flatten)]
    /// Where load may go
    pub permit: Permit,
    /// Prefix of the sources; with `memory` one on its link unless given
    #[arg(long)]
    pub from: Option<Prefix>,
    /// Source addresses
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub sources: u32,
    /// Source ports of each, FIRST-LAST
    #[arg(long, default_value = "1024-65535", value_parser = ports)]
    pub ports: PortRange,
    /// The server's station, or that of the router on the way; asked for unless given
    #[arg(long)]
    pub mac: Option<MacArg>,
    /// The router on the way, if the server is not on this link
    #[arg(long)]
    pub gateway: Option<IpAddr>,
    /// Open loop: connections a second
    #[arg(long, group = "pace", value_parser = positive)]
    pub rate: Option<f64>,
    /// Closed loop: connections at a time
    #[arg(long, group = "pace", value_parser = clap::value_parser!(u32).range(1..))]
    pub concurrency: Option<u32>,
    /// Seconds in which an open loop's rate rises from 0
    #[arg(long, default_value_t = 0.0, value_parser = seconds)]
    pub ramp: f64,
    /// Seconds of load that are not measured; the ramp at least
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub warm_up: f64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 5.0, value_parser = positive)]
    pub seconds: f64,
    /// Connections of a round at most, those of the warm-up included
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Requests on a connection, one after the other's answer
    #[arg(long, default_value_t = 1)]
    pub requests: u16,
    /// Bytes of a request: an HTTP request if it fits
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub request_bytes: u32,
    /// Bytes of an answer; without it, what comes until the server closes
    #[arg(long)]
    pub answer_bytes: Option<u32>,
    /// Who closes first
    #[arg(long, value_enum, default_value_t)]
    pub close: Close,
    /// Whose options SYNs carry
    #[arg(long = "as", value_enum, default_value_t)]
    pub stack: Stack,
    /// The MSS to announce
    #[arg(long, default_value_t = 1460, value_parser = clap::value_parser!(u16).range(64..))]
    pub mss: u16,
    /// Seconds after which what is not acknowledged is sent again, twice as long after each time
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    pub rto: f64,
    /// How often a SYN is sent again
    #[arg(long, default_value_t = 3)]
    pub syn_retries: u8,
    /// Seconds after which a connection is given up
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    pub timeout: f64,
    /// With `memory`: SYNs are answered by cookie
    #[arg(long)]
    pub cookies: bool,
    /// Core of the client
    #[arg(long)]
    pub core: Option<usize>,
    /// With `memory`: core of the worker
    #[arg(long)]
    pub server_core: Option<usize>,
    /// A further argument for DPDK's environment
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub eal_arg: Vec<String>,
    /// Starts this command before each round and waits for its line `usher ready`; each round is a process of its own
    #[arg(long, value_name = "COMMAND")]
    pub beside: Option<String>,
    /// Rounds
    #[command(flatten)]
    #[serde(flatten)]
    pub rounds: Rounds,
}

type PortRange = RangeInclusive<u16>;

fn ports(text: &str) -> Result<PortRange, &'static str> {
    let (first, last) = text.split_once('-').ok_or("expected FIRST-LAST, such as 1024-65535")?;
    match (first.parse(), last.parse()) {
        (Ok(0), _) => Err("port 0 is no port"),
        (Ok(first), Ok(last)) if first <= last => Ok(first..=last),
        (Ok(_), Ok(_)) => Err("the first port is above the last"),
        _ => Err("expected ports from 1 to 65535"),
    }
}

/// At most 10¹², so that times in ns fit.
fn seconds(text: &str) -> Result<f64, &'static str> {
    match text.parse() {
        Ok(value) if (0.0..=1e9).contains(&value) => Ok(value),
        _ => Err("expected a number from 0 to 1e9"),
    }
}

pub(crate) fn positive(text: &str) -> Result<f64, &'static str> {
    match seconds(text)? {
        0.0 => Err("expected a number above 0"),
        value => Ok(value),
    }
}

fn ns(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

impl Cps {
    /// The same for one round, beside a server that runs already.
    #[must_use]
    pub fn one_round(&self) -> Self {
        let rounds = Rounds { rounds: 1, tries: Some(1), ..self.rounds };
        Self { beside: None, rounds, ..self.clone() }
    }

    /// What cannot be told from one argument alone.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let to = self.to()?;
        let from = self.from()?;
        if to.is_ipv4() != from.is_v4() {
            return Err("--to and --from must be of one address family".into());
        }
        if self.requests > 1 && self.answer_bytes.is_none() {
            return Err(
                "several requests need --answer-bytes: else the answer ends with the connection"
                    .into(),
            );
        }
        if self.close != Close::Server && self.answer_bytes.is_none() && self.requests > 0 {
            return Err(
                "who closes first must know the answer's length: give --answer-bytes".into()
            );
        }
        if self.ramp > 0.0 && self.rate.is_none() {
            return Err("--ramp is for an open loop: give --rate".into());
        }
        let sources = self.sources()?;
        if let Some(limit) = self.concurrency.filter(|limit| *limit > sources.len()) {
            return Err(format!(
                "{limit} connections at a time need as many sources, and there are {}: raise --sources",
                sources.len()
            )
            .into());
        }
        Ok(())
    }

    pub(super) fn to(&self) -> Result<SocketAddr, Failure> {
        match (self.to, &self.device) {
            (Some(to), _) => Ok(to),
            (None, Device::Memory) => Ok(SocketAddr::new(VIP, 80)),
            (None, Device::Dpdk(_)) => Err("--to ADDRESS:PORT is missing".into()),
        }
    }

    fn from(&self) -> Result<Prefix, Failure> {
        match (self.from, &self.device) {
            (Some(from), _) => Ok(from),
            (None, Device::Memory) if self.to()?.is_ipv4() => Ok("10.10.128.0/17".parse()?),
            (None, Device::Memory) => Ok("fd00::1:0:0/96".parse()?),
            (None, Device::Dpdk(_)) => Err("--from PREFIX is missing".into()),
        }
    }

    pub(super) fn sources(&self) -> Result<Sources, Failure> {
        Ok(Sources::new(self.from()?, self.sources, &self.ports)?)
    }

    pub(crate) fn pace(&self) -> Pace {
        match (self.rate, self.concurrency) {
            (Some(rate), _) => Pace::Open { rate, ramp_ns: ns(self.ramp) },
            (None, limit) => Pace::Closed(limit.unwrap_or(1)),
        }
    }

    pub(crate) fn span(&self) -> Span {
        Span {
            warm_up_ns: ns(self.warm_up.max(self.ramp)),
            measured_ns: ns(self.seconds),
            drain_ns: ns(self.timeout),
            limit: self.count.unwrap_or(u64::MAX),
        }
    }

    pub(super) fn script(&self) -> Script {
        Script {
            stack: self.stack,
            requests: self.requests,
            request_len: self.request_bytes,
            answer_len: self.answer_bytes,
            close: self.close,
            rto_ns: ns(self.rto),
            syn_retries: self.syn_retries,
            timeout_ns: ns(self.timeout),
        }
    }

    /// HTTP/1.1, padded, if there is room; else something.
    pub(super) fn request(&self) -> Box<[u8]> {
        let keep =
            if self.close == Close::Server && self.requests == 1 { "close" } else { "keep-alive" };
        let head = format!("GET / HTTP/1.1\r\nHost: bench\r\nConnection: {keep}\r\nX: ");
        let len = self.request_bytes as usize;
        let bytes = match len.checked_sub(head.len() + 4) {
            Some(padding) => format!("{head}{}\r\n\r\n", "x".repeat(padding)),
            None => "x".repeat(len),
        };
        bytes.into_bytes().into()
    }
}
