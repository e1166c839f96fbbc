//! A DPDK device for a client: opened, started, and its server's station found.

use std::str::FromStr;

use serde::{Serialize, Serializer};

/// What the client sends through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Device {
    /// A worker of ours in this process, through memory.
    Memory,
    /// A device in DPDK's spelling.
    Dpdk(String),
}

impl FromStr for Device {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("expected `memory` or a DPDK device"),
            "memory" => Ok(Self::Memory),
            device => Ok(Self::Dpdk(device.to_owned())),
        }
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Memory => "memory",
            Self::Dpdk(device) => device,
        })
    }
}

#[cfg(feature = "dpdk")]
pub(super) use with_dpdk::{Opened, find, open};

#[cfg(feature = "dpdk")]
mod with_dpdk {
    use std::net::IpAddr;
    use std::time::Duration;

    use usher::port::dpdk::{DpdkPort, DpdkQueue, Pages, PortSetup, Setup};
    use usher::port::{Port, QueuePair, groups_of};
    use usher_proto::wire::Mac;

    use crate::Failure;
    use crate::client::{Client, Sources};
    use crate::time::{Stopwatch, pause};

    /// A started port and its queue pair. The port must outlive what uses the queue.
    pub(crate) struct Opened {
        pub(crate) port: DpdkPort,
        pub(crate) queue: DpdkQueue,
    }

    /// How long a link may take to come up.
    const LINK: Duration = Duration::from_secs(10);
    /// How long, and how often, a server is asked where it is.
    const FIND: Duration = Duration::from_secs(5);
    const ASK: Duration = Duration::from_millis(500);

    /// Starts DPDK with this one device and waits for its link.
    pub(crate) fn open(
        device: &str,
        arguments: &[String],
        core: usize,
        sources: &Sources,
    ) -> Result<Opened, Failure> {
        let port = PortSetup {
            name: "load".into(),
            device: device.into(),
            queues: Some(1),
            mtu: 1500,
            groups: groups_of([sources.address(0)]),
        };
        let setup = Setup {
            pages: Pages::Auto,
            megabytes: None,
            arguments: arguments.to_vec(),
            buffers: 65_535,
            cores: vec![core],
            ports: vec![port],
        };
        let mut port = usher::port::dpdk::open(&setup)?.pop().ok_or("no port")?;
        let queue = port.start()?.pop().ok_or("no queue pair")?;
        let waited = Stopwatch::start();
        while !port.is_link_up() {
            if waited.elapsed() > LINK {
                return Err(format!("{device}: its link does not come up within 10 s").into());
            }
            pause(Duration::from_millis(10));
        }
        Ok(Opened { port, queue })
    }

    /// The station of `target`, by asking for it.
    pub(crate) fn find<Q: QueuePair>(
        client: &mut Client<Q>,
        target: IpAddr,
    ) -> Result<Mac, Failure> {
        let (target, waited) = (target.into(), Stopwatch::start());
        while waited.elapsed() < FIND {
            client.ask(&target);
            let asked = Stopwatch::start();
            while asked.elapsed() < ASK {
                if let Some(mac) = client.listen(&target) {
                    return Ok(mac);
                }
            }
        }
        Err("nobody says where the target is: is it on this link? --mac names its station, or that of the router on the way".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_memory_or_dpdks() {
        assert_eq!("memory".parse(), Ok(Device::Memory));
        assert_eq!("net_memif0".parse(), Ok(Device::Dpdk("net_memif0".into())));
        assert!("".parse::<Device>().is_err());
    }
}
