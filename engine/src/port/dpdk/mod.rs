//! Ports of DPDK: NICs by their PCI address, and virtual devices on kernel interfaces, files and shared memory.
//!
//! [`open`] starts DPDK's environment and opens all devices of the configuration; it is called once a process, by the
//! engine's thread, which afterwards holds the [`DpdkPort`]s. Their queue pairs go to the workers. Whatever order they
//! are dropped in, queues stop before ports, ports before pools, and the environment goes last.
//!
//! It decides nothing about frames, and allocates nothing once a port is started.

#![forbid(unsafe_code)]

mod driver;
mod queue;
mod socket;

#[cfg(test)]
mod tests;

use dpdk::{Device, Eal, Mempool, Port as Raw};
use usher_proto::wire::Mac;

pub use self::queue::{DpdkFrame, DpdkPool, DpdkQueue};
use super::{Port, PortError, PortStats, Spread};

pub use dpdk::Reception;

/// Which memory packet buffers live in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pages {
    /// Huge pages if enough are free, else ordinary ones.
    Auto,
    /// Huge pages, or fail.
    Huge,
    /// Ordinary pages.
    Ordinary,
}

/// All that DPDK needs to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setup {
    /// Which memory packet buffers live in.
    pub pages: Pages,
    /// How much of it, if the operator says.
    pub megabytes: Option<u32>,
    /// Arguments of the operator's for DPDK's environment; one that contradicts ours replaces it.
    pub arguments: Vec<String>,
    /// Packet buffers of each port.
    pub buffers: u32,
    /// The workers' cores, one a worker.
    pub cores: Vec<usize>,
    /// The ports.
    pub ports: Vec<PortSetup>,
}

/// One port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortSetup {
    /// Its name in the configuration.
    pub name: String,
    /// Its device in DPDK's spelling.
    pub device: String,
    /// Queue pairs, if the operator says; else one a worker.
    pub queues: Option<u16>,
    /// The largest IP packet.
    pub mtu: u16,
    /// Groups whose frames are for us.
    pub groups: Vec<Mac>,
}

/// Starts DPDK's environment and opens all ports, in order. Once a process.
///
/// # Errors
/// When the environment does not start or a device cannot be opened: one sentence, with what to do.
pub fn open(setup: &Setup) -> Result<Vec<DpdkPort>, PortError> {
    let workers = u16::try_from(setup.cores.len()).unwrap_or(u16::MAX).max(1);
    let mut devices = Vec::new();
    for port in &setup.ports {
        let mut device =
            Device::parse(&port.device).map_err(|error| of_port(&port.name, &error))?;
        driver::fit(&mut device, port.queues.unwrap_or(workers), port.mtu);
        socket::clear(&device).map_err(|error| of_port(&port.name, &error))?;
        devices.push(device);
    }
    let eal = Eal::start(&environment(setup, &devices)).map_err(with_remedy)?;
    let ports = setup.ports.iter().zip(&devices);
    ports.map(|(port, device)| DpdkPort::open(&eal, port, device, setup.buffers, workers)).collect()
}

/// The release of DPDK that is loaded.
#[must_use]
pub fn version() -> String {
    dpdk::version()
}

fn environment(setup: &Setup, devices: &[Device]) -> dpdk::Options {
    let pool =
        |port: &PortSetup| dpdk::PoolSize { count: setup.buffers, frame: driver::room(port.mtu) };
    dpdk::Options {
        memory: match setup.pages {
            Pages::Auto => dpdk::Memory::Auto,
            Pages::Huge => dpdk::Memory::Huge,
            Pages::Ordinary => dpdk::Memory::None,
        },
        megabytes: setup.megabytes,
        pools: setup.ports.iter().map(pool).collect(),
        worker_cores: setup.cores.clone(),
        devices: devices.to_vec(),
        extra: setup.arguments.clone(),
    }
}

fn of_port(name: &str, error: &dyn std::fmt::Display) -> PortError {
    format!("port {name}: {error}").into()
}

fn with_remedy(error: dpdk::Error) -> PortError {
    let remedy = "scripts/hugepages reserves huge pages, and `dpdk.memory = \"none\"` does without";
    if error.is_lack_of_memory() { format!("{error}: {remedy}").into() } else { error.into() }
}

/// A port of DPDK's.
#[derive(Debug)]
pub struct DpdkPort {
    name: String,
    mac: Mac,
    mtu: u16,
    groups: Vec<[u8; 6]>,
    reception: Option<Reception>,
    raw: Raw,
    pool: Mempool,
    eal: Eal,
    queues: u16,
    ring: u16,
    workers: u16,
    leads: Leads,
}

/// How a started device leads frames to queues.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Leads {
    /// By our table: each hash to its worker's queue.
    pub by_table: bool,
    /// By our key, and frames carry their hash.
    pub by_key: bool,
}

/// Frames that a receive or transmit ring holds, if there are buffers for so many. It is DPDK's own usual choice, not
/// yet measured here: at 14.88 Mpps it bridges 69 µs in which a worker does not poll. Fewer lose frames when a worker
/// is late, more spread the buffers in use over more cache.
const RING: u16 = 1024;

impl DpdkPort {
    fn open(
        eal: &Eal,
        setup: &PortSetup,
        device: &Device,
        buffers: u32,
        workers: u16,
    ) -> Result<Self, PortError> {
        let failed = |error: dpdk::Error| of_port(&setup.name, &error);
        let refused = |what: String| of_port(&setup.name, &format!("{device} {what}"));
        let raw = Raw::open(eal, device).map_err(failed)?;
        let info = raw.info();
        let queues = queues(setup.queues, workers, info.queues).map_err(refused)?;
        let carries = driver::interface_mtu(device).unwrap_or(info.max_mtu);
        check_mtu(setup.mtu, carries).map_err(refused)?;
        let (pool, room) = (format!("usher-{}", raw.id()), driver::room(setup.mtu));
        let pool = Mempool::new(eal, &pool, buffers, room, info.node).map_err(failed)?;
        // A quarter of the buffers for each direction of all queues leaves half for the caches and for frames held.
        let ring = (buffers / 4 / u32::from(queues)).clamp(64, u32::from(RING));
        Ok(Self {
            name: setup.name.clone(),
            mac: Mac(raw.mac().map_err(failed)?),
            mtu: setup.mtu,
            groups: setup.groups.iter().map(|group| group.0).collect(),
            reception: None,
            pool,
            raw,
            eal: eal.clone(),
            queues,
            workers,
            leads: Leads::default(),
            ring: u16::try_from(ring).unwrap_or(RING),
        })
    }

    /// Whether packet buffers live in huge pages.
    #[must_use]
    pub fn has_huge_pages(&self) -> bool {
        self.eal.pages() == dpdk::Pages::Huge
    }

    /// How many queue pairs it has.
    #[must_use]
    pub const fn queues(&self) -> u16 {
        self.queues
    }

    /// How frames for our groups get through; `None` before the start and without groups.
    #[must_use]
    pub fn reception(&self) -> Option<Reception> {
        self.reception
    }

    /// Whether the device spreads frames by addresses and TCP ports: what it has no queue for, or leads elsewhere, is
    /// handed on from worker to worker.
    #[must_use]
    pub fn has_rss(&self) -> bool {
        self.raw.info().offloads.rss
    }

    /// How it leads frames to queues once it has been started with several.
    #[must_use]
    pub const fn leads(&self) -> Leads {
        self.leads
    }

    /// Gives a started device our key and table. It may have neither: nothing rests on them but speed.
    fn lead(&self) -> Leads {
        let info = self.raw.info();
        if self.queues == 1 || !info.offloads.rss {
            return Leads::default();
        }
        let spread = Spread::over(self.workers);
        let table: Vec<u16> = spread.queues(usize::from(info.reta), self.queues).collect();
        let is_ours = self.raw.hashes_symmetrically();
        Leads { by_table: self.raw.spread(&table), by_key: is_ours && info.offloads.rx_hash }
    }

    /// The arguments that DPDK's environment was started with.
    #[must_use]
    pub fn arguments(&self) -> &[String] {
        self.eal.arguments()
    }
}

/// Queue pairs to start: as many as asked for, or one a worker as far as the device has them.
fn queues(asked: Option<u16>, workers: u16, most: u16) -> Result<u16, String> {
    match asked {
        Some(asked) if asked > most => {
            Err(format!("has {most} queue pairs, not {asked}; lower `queues`, or leave it out"))
        }
        asked => Ok(asked.unwrap_or(workers).min(most).max(1)),
    }
}

fn check_mtu(asked: u16, most: u16) -> Result<(), String> {
    if asked > most {
        return Err(format!(
            "carries an MTU of {most}, not {asked}; lower `mtu`, or raise the device's"
        ));
    }
    Ok(())
}

impl Port for DpdkPort {
    type Queue = DpdkQueue;

    fn name(&self) -> &str {
        &self.name
    }

    fn driver(&self) -> &str {
        &self.raw.info().driver
    }

    fn mac(&self) -> Mac {
        self.mac
    }

    fn mtu(&self) -> u16 {
        self.mtu
    }

    fn start(&mut self) -> Result<Vec<DpdkQueue>, PortError> {
        let setup = dpdk::Setup {
            queues: self.queues,
            mtu: self.mtu,
            rx_ring: self.ring,
            tx_ring: self.ring,
        };
        let pairs =
            self.raw.start(&setup, &self.pool).map_err(|error| of_port(&self.name, &error))?;
        if !self.groups.is_empty() {
            self.reception = Some(self.raw.join(&self.groups));
        }
        self.leads = self.lead();
        let queue = |pair| DpdkQueue::new(&self.eal, &self.pool, pair, self.leads.by_key);
        Ok(pairs.into_iter().map(queue).collect())
    }

    fn join(&mut self, groups: &[Mac]) {
        let groups: Vec<_> = groups.iter().map(|group| group.0).collect();
        if groups != self.groups {
            self.reception = Some(self.raw.join(&groups));
            self.groups = groups;
        }
    }

    fn is_link_up(&self) -> bool {
        self.raw.is_link_up()
    }

    fn stats(&self) -> PortStats {
        let counted = self.raw.stats();
        PortStats {
            received: counted.received,
            sent: counted.sent,
            missed: counted.missed,
            no_buffer: counted.no_buffer,
            errors: counted.rx_errors,
        }
    }
}
