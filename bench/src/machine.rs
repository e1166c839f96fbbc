//! What a figure was taken on.

use std::fs;

use serde::Serialize;

/// The machine, as far as a figure depends on it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Machine {
    /// The processor's model, as it calls itself.
    pub cpu: String,
    /// Logical processors that this process may use.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let kernel = read("/proc/sys/kernel/osrelease");
        Self {
            cpu: model(&read("/proc/cpuinfo")).unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.trim().to_owned(),
        }
    }
}

/// The first processor's model in what `/proc/cpuinfo` says.
fn model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, model)| model.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_that_of_the_first_processor() {
        let text =
            "processor\t: 0\nmodel name\t: AMD EPYC 9554\nprocessor\t: 1\nmodel name\t: other\n";
        assert_eq!(model(text), Some("AMD EPYC 9554"));
        assert_eq!(model("processor\t: 0\n"), None);
    }
}
