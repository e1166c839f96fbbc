//! Which cores there are, and which of them `engine.cores` means.

use std::fmt;
use std::path::Path;

use super::plan::Cores;

/// The machine's cores as the kernel describes them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Topology {
    /// Cores that run and that this process may use, ascending.
    pub usable: Vec<usize>,
    /// Cores that the kernel's scheduler leaves alone (`isolcpus`), ascending.
    pub isolated: Vec<usize>,
    /// The NUMA node of each core in `usable`; empty where there are no nodes.
    pub nodes: Vec<usize>,
}

impl Topology {
    /// Reads the machine's.
    #[must_use]
    pub fn read() -> Self {
        let cpus = Path::new("/sys/devices/system/cpu");
        let allowed = core_affinity::get_core_ids().unwrap_or_default();
        let mut usable: Vec<usize> = allowed.iter().map(|core| core.id).collect();
        let isolated = list(&cpus.join("isolated"));
        // isolated cores are not in the inherited mask of every process, but may be asked for
        usable.extend(isolated.iter().filter(|core| online(cpus, **core)));
        usable.sort_unstable();
        usable.dedup();
        let nodes = usable.iter().map_while(|core| node(cpus, *core)).collect();
        Self { usable, isolated, nodes }
    }

    /// The NUMA node of `core`.
    #[must_use]
    pub fn node(&self, core: usize) -> Option<usize> {
        let index = self.usable.iter().position(|usable| *usable == core)?;
        self.nodes.get(index).copied()
    }
}

impl Cores {
    /// The cores that are meant on this machine, at least one.
    ///
    /// # Errors
    ///
    /// A core that does not run or may not be used.
    pub fn resolve(&self, machine: &Topology) -> Result<Vec<usize>, CoreError> {
        match self {
            Self::These(cores) => match cores.iter().find(|core| !machine.usable.contains(core)) {
                Some(&core) => Err(CoreError { core, usable: machine.usable.clone() }),
                None => Ok(cores.clone()),
            },
            Self::Auto => Ok(automatic(machine)),
        }
    }
}

/// All isolated cores, or else all but the first, or else the only one.
fn automatic(machine: &Topology) -> Vec<usize> {
    let usable = |core: &&usize| machine.usable.contains(core);
    let isolated: Vec<usize> = machine.isolated.iter().filter(usable).copied().collect();
    match machine.usable.as_slice() {
        _ if !isolated.is_empty() => isolated,
        [_, others @ ..] if !others.is_empty() => others.to_vec(),
        [only, ..] => vec![*only],
        [] => vec![0],
    }
}

/// A core of `engine.cores` cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoreError {
    core: usize,
    usable: Vec<usize>,
}

impl fmt::Display for CoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { core, usable } = self;
        write!(
            f,
            "`engine.cores` names core {core}, which this process cannot use; it has {usable:?}"
        )
    }
}

impl std::error::Error for CoreError {}

fn online(cpus: &Path, core: usize) -> bool {
    let text = std::fs::read_to_string(cpus.join(format!("cpu{core}/online")));
    text.is_ok_and(|text| text.trim() == "1")
}

/// A core's directory has a link to its node's.
fn node(cpus: &Path, core: usize) -> Option<usize> {
    let entries = std::fs::read_dir(cpus.join(format!("cpu{core}"))).ok()?;
    let name = |entry: std::fs::DirEntry| entry.file_name().into_string().ok();
    entries.flatten().filter_map(name).find_map(|name| name.strip_prefix("node")?.parse().ok())
}

fn list(path: &Path) -> Vec<usize> {
    std::fs::read_to_string(path).map(|text| parse_list(&text)).unwrap_or_default()
}

/// A kernel's list of cores: `1,4-6`. What is no number is skipped.
fn parse_list(text: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(usable: &[usize], isolated: &[usize]) -> Topology {
        Topology { usable: usable.to_vec(), isolated: isolated.to_vec(), nodes: Vec::new() }
    }

    #[test]
    fn auto_prefers_isolated_cores_and_spares_the_first() {
        let auto = |usable: &[usize], isolated: &[usize]| {
            Cores::Auto.resolve(&machine(usable, isolated)).unwrap()
        };
        assert_eq!(auto(&[0, 1, 2, 3], &[2, 3]), [2, 3]);
        assert_eq!(auto(&[0, 1, 2], &[]), [1, 2]);
        assert_eq!(auto(&[5], &[]), [5]);
    }

    #[test]
    fn a_core_that_is_not_there_is_named() {
        let error = Cores::These(vec![1, 9]).resolve(&machine(&[0, 1], &[])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`engine.cores` names core 9, which this process cannot use; it has [0, 1]"
        );
    }

    #[test]
    fn kernel_lists_are_read() {
        assert_eq!(parse_list("1,4-6\n"), [1, 4, 5, 6]);
        assert!(parse_list("\n").is_empty());
    }
}
