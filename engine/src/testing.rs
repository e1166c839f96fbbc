//! What tests and benchmarks of a worker have in common: one port, one service, and a worker for them. Behind the
//! feature `testing`.

#![forbid(unsafe_code)]

mod host;

pub use host::{Connection, Host};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use usher_proto::cookie::{IsnKey, Keys, Secret};
use usher_proto::time::Now;

use crate::config::{Cookies, Plan, ServiceKind};
use crate::port::{Port, PortError, QueuePair};
use crate::worker::{Keyring, Outfit, Peers, Seeds, Share, Station, View, Worker};

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

/// A plan of the port `wan` and the service `hello`, which have the addresses above.
///
/// # Panics
/// Never, unless the configuration's language changes.
#[must_use]
pub fn plan(setup: &Setup<'_>) -> Plan {
    let text = r#"
        [[port]]
        name = "wan"
        device = "net_null0"
        addresses = ["10.10.0.2/16"]
        [[service]]
        name = "hello"
        listen = ["10.10.0.10:80", "[fd00::10]:80"]
        kind = "respond"
        response = "hello"
    "#;
    let mut plan = Plan::parse(text, Path::new("testing.toml")).expect("a right configuration");
    plan.handshake.cookies = setup.cookies;
    plan.handshake.half_open_limit = setup.half_open_limit;
    plan.flow_capacity = setup.capacity;
    plan.services[0].kind = ServiceKind::Respond(setup.answer.into());
    plan
}

/// Keys of a secret that is none.
#[must_use]
pub fn keyring(shared: bool) -> Keyring {
    let secret = Secret::from_bytes([7; 32]);
    Keyring::new(Keys::new(&secret), shared, IsnKey::new(&secret))
}

/// Starts `port` and makes a worker for it.
///
/// # Errors
/// When the port does not start.
pub fn worker<P: Port>(
    setup: &Setup<'_>,
    port: &mut P,
    now: Now,
) -> Result<Worker<P::Queue>, PortError> {
    let mut workers = workers(&plan(setup), keyring(setup.shared), [port], 1, now)?;
    Ok(workers.remove(0))
}

/// Starts `ports`, which are those of `plan`, and makes so many workers for them, each to be turned by a thread of
/// its own or all by one. Workers beyond a port's queue pairs live from what others hand on.
///
/// # Errors
/// When a port does not start.
pub fn workers<'p, P: Port + 'p>(
    plan: &Plan,
    keyring: Keyring,
    ports: impl IntoIterator<Item = &'p mut P>,
    count: u16,
    now: Now,
) -> Result<Vec<Worker<P::Queue>>, PortError> {
    let seeds = (0..count).map(|worker| Seeds::from_bytes([[7 + worker as u8; 32]; 5]));
    workers_with(plan, keyring, ports, seeds.collect(), now)
}

/// The same, a worker for each of `seeds`.
///
/// # Errors
/// When a port does not start.
pub fn workers_with<'p, P: Port + 'p>(
    plan: &Plan,
    keyring: Keyring,
    ports: impl IntoIterator<Item = &'p mut P>,
    seeds: Vec<Seeds>,
    now: Now,
) -> Result<Vec<Worker<P::Queue>>, PortError> {
    let count = seeds.len() as u16;
    let mut shares: Vec<Vec<_>> = seeds.iter().map(|_| Vec::new()).collect();
    let mut stations = Vec::new();
    for port in ports {
        stations.push(Station { mac: port.mac(), mtu: port.mtu() });
        let dealt = Share::deal(port.start()?, count);
        shares.iter_mut().zip(dealt).for_each(|(own, share)| own.push(share));
    }
    let view = Arc::new(View::new(plan, &stations, keyring));
    let equipment = Outfit::all(&view, count).into_iter().zip(Peers::among(count));
    let worker = |((outfit, peers), (shares, seeds))| {
        Worker::new(outfit, shares, peers, plan.flow_capacity, seeds, now)
    };
    Ok(equipment.zip(shares.into_iter().zip(seeds)).map(worker).collect())
}

/// What a proxied worker's second port is called and has: 10.20.0.1 in a network of 24 bits, with the backend
/// 10.20.0.2, TCP port 80. `service` is more of the service's table.
///
/// # Panics
/// If `service` is no right configuration.
#[must_use]
pub fn proxy_plan(setup: &Setup<'_>, service: &str) -> Plan {
    backed_plan(setup, "proxy", service)
}

/// The same with a `ring` service, whose consumer may hand flows on to that backend.
///
/// # Panics
/// If `service` is no right configuration.
#[must_use]
pub fn ring_plan(setup: &Setup<'_>, service: &str) -> Plan {
    backed_plan(setup, "ring", service)
}

fn backed_plan(setup: &Setup<'_>, kind: &str, service: &str) -> Plan {
    let text = format!(
        r#"
        [engine]
        cores = [1]
        [[port]]
        name = "wan"
        device = "net_null0"
        addresses = ["10.10.0.2/16"]
        [[port]]
        name = "lan"
        device = "net_null1"
        addresses = ["10.20.0.1/24"]
        [[service]]
        name = "web"
        listen = ["10.10.0.10:80"]
        port = "wan"
        kind = "{kind}"
        backends = ["10.20.0.2:80"]
        health_check = {{ type = "tcp", interval = "600s", timeout = "300s" }}
        {service}
        "#
    );
    let plan = Plan::parse(&text, Path::new("testing.toml"));
    let mut plan = plan.unwrap_or_else(|error| panic!("{error}"));
    plan.handshake.cookies = setup.cookies;
    plan.handshake.half_open_limit = setup.half_open_limit;
    plan.flow_capacity = setup.capacity;
    plan
}

/// Starts both ports and makes a worker that proxies between them by `plan`.
///
/// # Errors
/// When a port does not start.
pub fn proxy_worker<P: Port>(
    plan: &Plan,
    ports: [&mut P; 2],
    now: Now,
) -> Result<Worker<P::Queue>, PortError> {
    Ok(workers(plan, keyring(true), ports, 1, now)?.remove(0))
}

/// Lets the workers of one engine go on with `plan`, as it does.
///
/// # Panics
/// Without a worker, and when there have been too many services.
pub fn reload<Q: QueuePair>(workers: &mut [Worker<Q>], plan: &Plan, now: Now) {
    let view = workers[0].view();
    let in_use = |edition| workers.iter().any(|worker| worker.board().held(edition) > 0);
    let next = view.following(plan, view.keyring().clone(), in_use).expect("few services");
    let outfits = Outfit::all(&Arc::new(next), workers.len() as u16);
    for (worker, outfit) in workers.iter_mut().zip(outfits) {
        drop(worker.adopt(outfit, now));
    }
}
