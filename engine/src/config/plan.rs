//! What a configuration comes to: everything resolved, checked and ready for use.
//!
//! A plan is immutable and shared (`Arc<Plan>`); the engine and its workers only read it. Nothing here
//! refers to the file any more, except for paths that are needed at run time. Indices point into the
//! plan's own vectors and are valid by construction.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use usher_proto::cookie::Secret;
use usher_proto::tcp::{Policy, Refusal};
use usher_proto::wire::Mac;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::guarded::Guarded;

/// A validated configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// `[engine]`
    pub engine: EnginePlan,
    /// `[dpdk]`
    pub dpdk: DpdkPlan,
    /// `[[port]]`, in the file's order: at least one, at most 64.
    pub ports: Vec<PortPlan>,
    /// `flow_table.capacity`: flows a worker.
    pub flow_capacity: u32,
    /// What `[handshake]` and `[timeouts]` say to the protocol.
    pub policy: Policy,
    /// `[handshake]`, what of it is not the protocol's policy.
    pub handshake: HandshakePlan,
    /// `[[service]]`, in the file's order: at least one.
    pub services: Vec<ServicePlan>,
    /// `metrics.listen`; `None` without a `[metrics]` section.
    pub metrics: Option<SocketAddr>,
    /// What the file says and is not done to the letter, a sentence each.
    pub notices: Vec<String>,
}

/// `[engine]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnginePlan {
    /// One worker per core.
    pub cores: Cores,
    /// After so long a drain resets what is left.
    pub drain_timeout: Duration,
    /// Where the control socket is.
    pub control_socket: PathBuf,
    /// The group that may use it beside the engine's user, by number.
    pub control_group: Option<u32>,
    /// What is logged: see `is_log_level`.
    pub log_level: String,
    /// How it is written.
    pub log_format: LogFormat,
}

/// `engine.log_format`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// `engine.cores`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cores {
    /// All isolated cores, or else all but the first: see `Cores::resolve`.
    Auto,
    /// These, in this order, each once.
    These(Vec<usize>),
}

/// `[dpdk]`: how the environment abstraction layer is set up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DpdkPlan {
    /// Which memory packet buffers live in.
    pub memory: Memory,
    /// How much of it, if the file says; else DPDK's choice, or what `--no-huge` needs.
    pub memory_mb: Option<u32>,
    /// Arguments passed on as they are.
    pub eal_args: Vec<String>,
    /// Packet buffers of each port.
    pub mbufs_per_port: u32,
}

/// `dpdk.memory`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memory {
    /// Huge pages if there are any free, else none.
    Auto,
    /// Huge pages, or fail.
    Huge,
    /// `--no-huge`.
    None,
}

/// `[[port]]`: a device and what we are on its link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortPlan {
    /// The name services use.
    pub name: String,
    /// What its frames come in and go out by.
    pub device: Device,
    /// Queue pairs, if the file says; else one a worker.
    pub queues: Option<u16>,
    /// Our own addresses.
    pub addresses: Vec<Prefix>,
    /// Next hops for destinations off the link.
    pub gateways: Vec<IpAddr>,
    /// The only VLAN we take and send; 0 = untagged.
    pub vlan: u16,
    /// Largest packet, without the Ethernet header.
    pub mtu: u16,
    /// Service addresses (without TCP ports) that are answered for on this port, each once; own
    /// addresses are not repeated here.
    pub vips: Vec<IpAddr>,
}

/// `port.device`. All ports of a plan have devices of one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Device {
    /// As DPDK knows it: a PCI address or a virtual device with its arguments.
    Dpdk(String),
    /// Captures: one is played, one is written.
    Pcap(PcapFiles),
}

/// The device `pcap:in=FILE,out=FILE`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PcapFiles {
    /// The capture that is played.
    pub input: PathBuf,
    /// Where what is sent goes.
    pub output: PathBuf,
    /// The port's MAC.
    pub mac: Mac,
}

impl Device {
    /// DPDK's name of it, if it is one of DPDK's.
    #[must_use]
    pub fn dpdk(&self) -> Option<&str> {
        match self {
            Self::Dpdk(device) => Some(device),
            Self::Pcap(_) => None,
        }
    }
}

/// An address and the length of its network's prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Prefix {
    /// The address itself, host bits kept.
    pub addr: IpAddr,
    /// Prefix length in bits.
    pub len: u8,
}

impl Prefix {
    /// Whether `other` is in this network.
    #[must_use]
    pub fn contains(&self, other: IpAddr) -> bool {
        match (self.addr, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let shift = 32 - u32::from(self.len);
                (u32::from(a) ^ u32::from(b)).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let shift = 128 - u32::from(self.len);
                (u128::from(a) ^ u128::from(b)).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// `[handshake]`, what of it is not the protocol's policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HandshakePlan {
    /// When SYNs are answered by cookie.
    pub cookies: Cookies,
    /// Half-open flows a worker.
    pub half_open_limit: u32,
    /// The shared secrets of `secret_file`; `None` = a random one is made at start.
    pub secret: Option<SecretPlan>,
}

/// `handshake.cookies`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cookies {
    /// Above half of the half-open limit.
    Auto,
    /// For every SYN.
    Always,
    /// For none.
    Never,
}

/// A secret file that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretPlan {
    /// Where it was read from.
    pub file: PathBuf,
    /// What it says.
    pub secrets: Guarded<Secrets>,
}

/// What a secret file says: the secret, and the next one if a change is announced.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secrets {
    /// The secret in force.
    pub current: Secret,
    /// The secret that follows and the epoch (Unix time / 64 s) from which it holds.
    pub next: Option<(u32, Secret)>,
}

/// `[[service]]`: addresses and what answers there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServicePlan {
    /// Its name in metrics and tables.
    pub name: String,
    /// Where it listens; at least one, none of them another service's on the same port.
    pub listen: Vec<SocketAddr>,
    /// Index of its port in `Plan::ports`.
    pub port: usize,
    /// What answers.
    pub kind: ServiceKind,
    /// Whether it takes no new connections: an operator's order. A file never says so.
    pub drained: bool,
}

/// `service.kind`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServiceKind {
    /// The same bytes for everyone, after the first request segment: 1 to 65536 bytes.
    Respond(Arc<[u8]>),
    /// A connection to one of the backends.
    Proxy(Arc<ProxyPlan>),
    /// A program.
    Ring(Arc<RingPlan>),
}

impl ServicePlan {
    /// The bytes that a `respond` service sends.
    #[must_use]
    pub fn answer(&self) -> Option<&Arc<[u8]>> {
        match &self.kind {
            ServiceKind::Respond(bytes) => Some(bytes),
            ServiceKind::Proxy(_) | ServiceKind::Ring(_) => None,
        }
    }

    /// How connections reach backends, of a service that has any.
    #[must_use]
    pub fn proxy(&self) -> Option<&Arc<ProxyPlan>> {
        match &self.kind {
            ServiceKind::Respond(_) => None,
            ServiceKind::Proxy(plan) => Some(plan),
            ServiceKind::Ring(plan) => plan.proxy.as_ref(),
        }
    }

    /// How a `ring` service's connections are handed over.
    #[must_use]
    pub fn ring(&self) -> Option<&Arc<RingPlan>> {
        match &self.kind {
            ServiceKind::Ring(plan) => Some(plan),
            ServiceKind::Respond(_) | ServiceKind::Proxy(_) => None,
        }
    }
}

/// `kind = "ring"`: a program takes the connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RingPlan {
    /// Events, and commands, that a worker's ring has room for: a power of two.
    pub size: u32,
    /// A consumer that lets events wait for so long counts as dead.
    pub consumer_timeout: Duration,
    /// Where the engine runs consumers, each core once; none if the program has threads of its own.
    pub consumer_cores: Vec<usize>,
    /// What becomes of the connections of a consumer that is dead.
    pub consumer_gone: ConsumerGone,
    /// Where connections go that the program says `proxy` to, if there are backends.
    pub proxy: Option<Arc<ProxyPlan>>,
}

impl Default for RingPlan {
    fn default() -> Self {
        Self {
            size: 4096,
            consumer_timeout: Duration::from_secs(5),
            consumer_cores: Vec::new(),
            consumer_gone: ConsumerGone::Reset,
            proxy: None,
        }
    }
}

/// `service.consumer_gone`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsumerGone {
    /// They are reset.
    Reset,
    /// What was written on them is delivered, then they are closed; those that nothing was decided about are reset.
    Drain,
}

/// Services with backends: where connections go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProxyPlan {
    /// How a backend is reached.
    pub forward: Forward,
    /// Whether backends are told of the client by a PROXY protocol header, and with what in it.
    pub proxy_protocol: Option<ProxyHeader>,
    /// What a connection's backend follows from.
    pub balance: Balance,
    /// In the file's order, each address once: 1 to 512.
    pub backends: Vec<BackendPlan>,
    /// How it is found out which of them work.
    pub health_check: HealthPlan,
    /// How many other backends are tried for a connection.
    pub retries: u8,
    /// What a client gets that no backend takes.
    pub no_backend: Refusal,
}

/// `service.forward`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forward {
    /// From an own address of the backend's port; families and TCP ports may differ.
    Snat,
    /// To the backend's MAC, nothing else changed: it is a neighbour, of the same family, and listens
    /// on the service's own TCP ports.
    L2,
}

/// `service.proxy_protocol`: a header of version 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProxyHeader {
    /// Whether it has a checksum (`PP2_TYPE_CRC32C`).
    pub crc32c: bool,
}

/// `service.balance`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Balance {
    /// Addresses and ports of the client's connection.
    Maglev,
    /// The client's address.
    MaglevSource,
}

/// One of `service.backends`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BackendPlan {
    /// Its address and TCP port: never ours.
    pub address: SocketAddr,
    /// Its share, 1 to 1000.
    pub weight: u16,
    /// Index in `Plan::ports` of the port it is reached by.
    pub port: usize,
}

/// `service.health_check`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthPlan {
    /// What is asked for.
    pub check: Check,
    /// From the beginning of one check to that of the next.
    pub interval: Duration,
    /// A check that takes longer has failed; never longer than `interval`.
    pub timeout: Duration,
    /// So many good results in a row make a backend healthy.
    pub rise: u8,
    /// So many bad ones make it unhealthy.
    pub fall: u8,
}

impl Default for HealthPlan {
    fn default() -> Self {
        Self {
            check: Check::Tcp,
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            rise: 2,
            fall: 3,
        }
    }
}

/// `service.health_check.type`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Check {
    /// A handshake.
    Tcp,
    /// A handshake and a GET.
    Http {
        /// What is asked for: begins with `/`, visible ASCII, at most 255 bytes.
        path: Box<str>,
        /// The status codes that are good.
        expect: RangeInclusive<u16>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_contain_their_network_only() {
        let prefix = |addr: &str, len| Prefix { addr: addr.parse().unwrap(), len };
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(prefix("10.10.0.2", 16).contains(ip("10.10.255.1")));
        assert!(!prefix("10.10.0.2", 16).contains(ip("10.11.0.1")));
        assert!(prefix("10.10.0.2", 0).contains(ip("1.2.3.4")));
        assert!(prefix("fd00:10::2", 64).contains(ip("fd00:10::ff")));
        assert!(
            prefix("fd00::", 0).contains(ip("::1"))
                && !prefix("fd00::", 128).contains(ip("fd00::1"))
        );
        assert!(!prefix("10.0.0.1", 0).contains(ip("fd00::1")));
    }
}
