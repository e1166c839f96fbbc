//! The arguments of EAL: what we choose for it, and how an operator's own arguments replace that.

#![forbid(unsafe_code)]

use std::fs;

use crate::Device;
use crate::mempool::megabytes;

/// Which memory buffers are to live in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memory {
    /// Huge pages if enough are free, else none.
    Auto,
    /// Huge pages.
    Huge,
    /// Ordinary pages.
    None,
}

/// Which memory buffers do live in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pages {
    /// Huge pages.
    Huge,
    /// Ordinary pages.
    Ordinary,
}

/// A pool to come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolSize {
    /// Buffers.
    pub count: u32,
    /// Bytes of a frame in each.
    pub frame: u16,
}

/// Megabytes for queues and for what drivers allocate. Eight net_null or net_ring devices with 16 queues each start
/// with 4; the rest is for drivers that keep rings of their own. Too little and a queue cannot be set up; too much is
/// memory that nobody uses.
const BESIDE_POOLS: u32 = 64;

/// How EAL is to be started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The operator's choice of memory.
    pub memory: Memory,
    /// Megabytes, if the operator says.
    pub megabytes: Option<u32>,
    /// The pools that will be made: what memory must suffice for.
    pub pools: Vec<PoolSize>,
    /// Cores that EAL's own threads shall keep off, because workers poll there.
    pub worker_cores: Vec<usize>,
    /// All devices that will be opened; no other is touched.
    pub devices: Vec<Device>,
    /// Added as they are; one that contradicts a choice of ours replaces it.
    pub extra: Vec<String>,
}

impl Options {
    /// The pages that will be used on this host.
    #[must_use]
    pub fn pages(&self) -> Pages {
        self.pages_with(free_huge_megabytes())
    }

    fn pages_with(&self, free: u64) -> Pages {
        let huge = match self.memory {
            _ if self.says(&["--no-huge"]) => false,
            _ if self.says(&["--in-memory", "--huge-dir", "--legacy-mem"]) => true,
            Memory::Huge => true,
            Memory::None => false,
            Memory::Auto => free >= u64::from(self.megabytes.unwrap_or(self.needed(Pages::Huge))),
        };
        if huge { Pages::Huge } else { Pages::Ordinary }
    }

    /// Megabytes that the pools take, and a reserve.
    fn needed(&self, pages: Pages) -> u32 {
        let pools = self.pools.iter().map(|pool| megabytes(pool.count, pool.frame, pages));
        pools.fold(BESIDE_POOLS, u32::saturating_add)
    }

    /// Whether the operator chose what DPDK logs.
    pub(crate) fn sets_log_level(&self) -> bool {
        self.says(&["--log-level"])
    }

    /// The arguments after the program's name. `cores` is what the process may run on.
    pub(crate) fn arguments(&self, pages: Pages, cores: &[usize]) -> Vec<String> {
        let mut arguments = self.memory_arguments(pages);
        arguments.extend(self.device_arguments());
        if !self.says(&["--telemetry", "--no-telemetry"]) {
            arguments.push("--no-telemetry".into());
        }
        if !self.says(&["-l", "-c", "--lcores"]) {
            arguments.push(format!("--lcores=0@({})", self.main_lcore(cores)));
        }
        if !self.sets_log_level() {
            arguments.push("--log-level=warning".into());
        }
        arguments.extend(self.extra.iter().cloned());
        arguments
    }

    /// `--in-memory` leaves nothing behind after kill -9, but excludes `--no-huge`, which has a fixed size instead.
    fn memory_arguments(&self, pages: Pages) -> Vec<String> {
        let mut arguments: Vec<String> = Vec::new();
        match pages {
            Pages::Huge if self.says(&["--in-memory", "--huge-dir", "--legacy-mem"]) => {}
            Pages::Huge => arguments.push("--in-memory".into()),
            Pages::Ordinary => {
                for choice in ["--no-huge", "--no-shconf"] {
                    if !self.says(&[choice]) {
                        arguments.push(choice.into());
                    }
                }
            }
        }
        let fixed = (pages == Pages::Ordinary).then(|| self.needed(pages));
        if let Some(megabytes) = self.megabytes.or(fixed)
            && !self.says(&["-m", "--socket-mem"])
        {
            arguments.extend(["-m".into(), megabytes.to_string()]);
        }
        arguments
    }

    /// Without these EAL takes every device of the host that a driver of DPDK's can hold.
    fn device_arguments(&self) -> Vec<String> {
        let pci: Vec<&Device> = self.devices.iter().filter(|device| device.is_pci()).collect();
        if self.says(&["--no-pci", "-b", "--block"]) {
            return Vec::new();
        }
        if pci.is_empty() && !self.says(&["-a", "--allow"]) {
            return vec!["--no-pci".into()];
        }
        pci.iter().flat_map(|device| ["-a".into(), device.to_string()]).collect()
    }

    /// One lcore that covers the workers' cores: EAL puts its own threads on what is left. Nothing ever runs on it but
    /// the thread that starts EAL.
    fn main_lcore(&self, cores: &[usize]) -> String {
        let ours: Vec<String> = self
            .worker_cores
            .iter()
            .filter(|core| cores.contains(core))
            .map(ToString::to_string)
            .collect();
        if ours.is_empty() {
            cores.first().copied().unwrap_or(0).to_string()
        } else {
            ours.join(",")
        }
    }

    /// Whether the operator gave one of these options, whichever way: `-m 64`, `-m64`, `--lcores=0`.
    fn says(&self, options: &[&str]) -> bool {
        self.extra.iter().any(|argument| {
            options.iter().any(|option| match option.strip_prefix("--") {
                Some(_) => argument.split(['=', ' ']).next() == Some(option),
                None => argument.starts_with(option),
            })
        })
    }
}

/// Megabytes of free huge pages of all sizes.
fn free_huge_megabytes() -> u64 {
    let Ok(sizes) = fs::read_dir("/sys/kernel/mm/hugepages") else { return 0 };
    let free = sizes.flatten().filter_map(|size| {
        let name = size.file_name().into_string().ok()?;
        let kilobytes: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let count = fs::read_to_string(size.path().join("free_hugepages")).ok()?;
        Some(kilobytes.saturating_mul(count.trim().parse().ok()?) / 1024)
    });
    free.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(extra: &[&str]) -> Options {
        Options {
            memory: Memory::Auto,
            megabytes: None,
            pools: vec![PoolSize { count: 65_535, frame: 2048 }],
            worker_cores: vec![1, 3],
            devices: vec![Device::parse("net_null0").expect("a device")],
            extra: extra.iter().map(ToString::to_string).collect(),
        }
    }

    fn line(options: &Options, free: u64) -> String {
        options.arguments(options.pages_with(free), &[0, 1, 2, 3]).join(" ")
    }

    #[test]
    fn huge_pages_are_taken_when_enough_are_free() {
        let rest = "--no-pci --no-telemetry --lcores=0@(1,3) --log-level=warning";
        assert_eq!(line(&options(&[]), 300), format!("--in-memory {rest}"));
        assert_eq!(line(&options(&[]), 199), format!("--no-huge --no-shconf -m 322 {rest}"));
    }

    #[test]
    fn the_operator_chooses_memory_and_its_size() {
        let huge = Options { memory: Memory::Huge, megabytes: Some(64), ..options(&[]) };
        assert!(line(&huge, 0).starts_with("--in-memory -m 64 --no-pci"));
        let none = Options { memory: Memory::None, megabytes: Some(64), ..options(&[]) };
        assert!(line(&none, 999).starts_with("--no-huge --no-shconf -m 64 --no-pci"));
    }

    #[test]
    fn only_configured_pci_devices_are_allowed() {
        let pci = Device::parse("3b:00.0,x=1").expect("a device");
        let with = Options { devices: vec![pci], ..options(&[]) };
        assert!(line(&with, 999).contains(" -a 0000:3b:00.0,x=1 --no-telemetry"));
        assert!(!line(&with, 999).contains("--no-pci"));
    }

    #[test]
    fn an_argument_that_contradicts_ours_replaces_it() {
        let given = ["--no-huge", "-m64", "--telemetry", "-l", "0", "--log-level=debug"];
        assert_eq!(
            line(&options(&given), 999),
            "--no-shconf --no-pci --no-huge -m64 --telemetry -l 0 --log-level=debug"
        );
        let given = ["--huge-dir=/mnt/huge", "-a", "0000:01:00.0"];
        assert_eq!(
            line(&options(&given), 0),
            "--no-telemetry --lcores=0@(1,3) --log-level=warning --huge-dir=/mnt/huge -a 0000:01:00.0"
        );
    }

    #[test]
    fn cores_that_the_process_may_not_use_are_left_out() {
        let elsewhere = Options { worker_cores: vec![9], ..options(&[]) };
        assert!(line(&elsewhere, 999).contains("--lcores=0@(0)"));
    }
}
