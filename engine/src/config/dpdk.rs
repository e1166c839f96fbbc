//! What a plan says to DPDK.

use usher_proto::wire::Addr;

use super::plan::{Memory, Plan, PortPlan};
use crate::port;
use crate::port::dpdk::{Pages, PortSetup, Setup};

impl Plan {
    /// What DPDK needs to know to serve a worker on each of `cores`. Ports that play captures are none of its.
    #[must_use]
    pub fn dpdk_setup(&self, cores: &[usize]) -> Setup {
        Setup {
            pages: match self.dpdk.memory {
                Memory::Auto => Pages::Auto,
                Memory::Huge => Pages::Huge,
                Memory::None => Pages::Ordinary,
            },
            megabytes: self.dpdk.memory_mb,
            arguments: self.dpdk.eal_args.clone(),
            buffers: self.dpdk.mbufs_per_port,
            cores: cores.to_vec(),
            ports: self.ports.iter().filter_map(port_setup).collect(),
        }
    }
}

fn port_setup(port: &PortPlan) -> Option<PortSetup> {
    Some(PortSetup {
        name: port.name.clone(),
        device: port.device.dpdk()?.to_owned(),
        queues: port.queues,
        mtu: port.mtu,
        groups: port::groups_of(addresses(port)),
    })
}

fn addresses(port: &PortPlan) -> impl Iterator<Item = Addr> {
    let own = port.addresses.iter().map(|prefix| prefix.addr);
    own.chain(port.vips.iter().copied()).map(Addr::from)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use usher_proto::wire::Mac;

    use super::*;

    const CONFIG: &str = r#"
[engine]
cores = [1, 2]
[dpdk]
memory = "none"
memory_mb = 512
eal_args = ["--telemetry"]
mbufs_per_port = 4096
[[port]]
name = "wan"
device = "net_null0"
queues = 2
mtu = 9000
addresses = ["10.10.0.2/16", "fd00:10::1:2:3/64"]
[[port]]
name = "lan"
device = "net_null1"
addresses = ["10.20.0.2/16"]
[[service]]
name = "hello"
listen = ["10.10.0.10:80", "[fd00:10::10]:80", "[fd00:10::1:2:3]:80"]
port = "wan"
kind = "respond"
response = "hello"
"#;

    #[test]
    fn every_key_reaches_dpdk() {
        let plan = Plan::parse(CONFIG, Path::new("test.toml")).expect("a good configuration");
        let port = |name: &str, device: &str, queues, mtu, groups| PortSetup {
            name: name.into(),
            device: device.into(),
            queues,
            mtu,
            groups,
        };
        let groups = vec![
            Mac([0x33, 0x33, 0, 0, 0, 1]),
            Mac([0x33, 0x33, 0xff, 0, 0, 0x10]),
            Mac([0x33, 0x33, 0xff, 2, 0, 3]),
        ];
        let expected = Setup {
            pages: Pages::Ordinary,
            megabytes: Some(512),
            arguments: vec!["--telemetry".into()],
            buffers: 4096,
            cores: vec![1, 2],
            ports: vec![
                port("wan", "net_null0", Some(2), 9000, groups),
                port("lan", "net_null1", None, 1500, vec![]),
            ],
        };
        assert_eq!(plan.dpdk_setup(&[1, 2]), expected);
    }
}
