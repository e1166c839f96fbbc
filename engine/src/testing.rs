//! What tests and benchmarks of a worker have in common: one port, one service, and a worker for them. Behind the
//! feature `testing`.

#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use usher_proto::cookie::{IsnKey, Keys, Secret};
use usher_proto::tcp::Policy;
use usher_proto::time::Now;

use crate::config::{Cookies, Device, HandshakePlan, PortPlan, Prefix, ServiceKind, ServicePlan};
use crate::port::{Port, PortError};
use crate::stats::Board;
use crate::worker::{Keyring, LastIssued, Seeds, Station, View, Worker};

/// Our own address, 10.10.0.2 in a network of 16 bits.
pub const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 10, 0, 2));
/// The service's IPv4 address, 10.10.0.10; it listens on TCP port 80.
pub const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 10, 0, 10));
/// The service's IPv6 address, `fd00::10`.
pub const VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x10));

/// What differs between tests.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// When SYNs are answered by cookie.
    pub cookies: Cookies,
    /// Half-open flows.
    pub half_open_limit: u32,
    /// Flows.
    pub capacity: u32,
    /// Whether other nodes may have issued valid cookies.
    pub shared: bool,
    /// What the service answers.
    pub answer: &'a [u8],
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            cookies: Cookies::Auto,
            half_open_limit: 1000,
            capacity: 1000,
            shared: false,
            answer: b"HTTP/1.0 200 OK\r\n\r\nhello",
        }
    }
}

/// The port `wan` with the addresses above.
#[must_use]
pub fn port_plan() -> PortPlan {
    PortPlan {
        name: "wan".into(),
        device: Device::Dpdk("net_null0".into()),
        queues: None,
        addresses: vec![Prefix { addr: OWN, len: 16 }],
        gateways: vec![],
        vlan: 0,
        mtu: 1500,
        vips: vec![VIP, VIP6],
    }
}

/// The service `hello` with the addresses above.
#[must_use]
pub fn service_plan(answer: &[u8]) -> ServicePlan {
    ServicePlan {
        name: "hello".into(),
        listen: vec![SocketAddr::new(VIP, 80), SocketAddr::new(VIP6, 80)],
        port: 0,
        kind: ServiceKind::Respond(answer.into()),
    }
}

/// Keys of a secret that is none.
#[must_use]
pub fn keyring(shared: bool) -> Keyring {
    let secret = Secret::from_bytes([7; 32]);
    Keyring { cookies: Keys::new(&secret), shared, isn: IsnKey::new(&secret) }
}

/// The view of this port and this service.
#[must_use]
pub fn view(setup: &Setup<'_>, station: Station) -> View {
    let handshake = HandshakePlan {
        cookies: setup.cookies,
        half_open_limit: setup.half_open_limit,
        secret: None,
    };
    let (ports, services) = ([port_plan()], [service_plan(setup.answer)]);
    let keyring = keyring(setup.shared);
    View::of(Policy::default(), &handshake, &ports, &services, &[station], keyring)
}

/// Starts `port` and makes a worker for all its queues.
///
/// # Errors
/// When the port does not start.
pub fn worker<P: Port>(
    setup: &Setup<'_>,
    port: &mut P,
    now: Now,
) -> Result<Worker<P::Queue>, PortError> {
    let view = Arc::new(view(setup, Station { mac: port.mac(), mtu: port.mtu() }));
    let queues = port.start()?.into_iter().map(Some).collect();
    let board = Arc::new(Board::new(view.port_count(), view.service_count()));
    let (issued, seeds) = (LastIssued::default(), Seeds::from_bytes([[7; 32]; 3]));
    Ok(Worker::new(view, queues, setup.capacity, board, issued, seeds, now))
}
