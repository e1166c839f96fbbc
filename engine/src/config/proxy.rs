//! `kind = "proxy"`, and `kind = "ring"` with backends: where a service's connections go, and how it is found out what is there.
//!
//! [`read`] takes the values that are right in themselves, [`Proxy::resolve`] makes them fit to the
//! ports and to the other services.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use usher_proto::tcp::Refusal;

use super::plan::{
    BackendPlan, Balance, Check, Forward, HealthPlan, Prefix, ProxyHeader, ProxyPlan,
};
use super::port::Port;
use super::problem::{At, Problems};
use super::resolve::room_for_ipv6;
use super::section::{Raw, Section};
use super::service::{Service, endpoint};

/// The keys of services with backends.
pub(super) const KEYS: &[&str] = &[
    "forward",
    "proxy_protocol",
    "balance",
    "backends",
    "health_check",
    "backend_retries",
    "no_backend",
];

/// Backends of a service. Each has some hundred entries of the balancer's table at least, so that their
/// shares are right within a few per cent (Maglev, §5.3).
const BACKENDS_MAX: usize = 512;

/// Backends of all services together: what is kept for each is allocated at start.
pub const BACKENDS: usize = 1024;

/// The longest path that a health check asks for: its request is one segment for every backend.
const PATH_MAX: usize = 255;

/// The most often a backend is checked.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(3600);

/// A service's backends as the file has them, each value right in itself.
pub(super) struct Proxy {
    /// Without the backends.
    plan: ProxyPlan,
    backends: Vec<Backend>,
}

struct Backend {
    address: At<SocketAddr>,
    weight: u16,
}

/// Reads the options of a service with backends.
pub(super) fn read(section: &Section<'_>) -> Proxy {
    section.require(&["backends"]);
    let forward = section.choice("forward", &[("snat", Forward::Snat), ("l2", Forward::L2)]);
    let balance = [("maglev", Balance::Maglev), ("maglev-source", Balance::MaglevSource)];
    let balance = section.choice("balance", &balance);
    let retries = section.integer::<u8>("backend_retries", 0..=16);
    let refusal = [("reset", Refusal::Reset), ("drop", Refusal::Drop)];
    let no_backend = section.choice("no_backend", &refusal);
    Proxy {
        backends: backends(section),
        plan: ProxyPlan {
            forward: forward.map_or(Forward::Snat, |at| at.value),
            proxy_protocol: proxy_protocol(section),
            balance: balance.map_or(Balance::Maglev, |at| at.value),
            backends: Vec::new(),
            health_check: health_check(section),
            retries: retries.map_or(2, |at| at.value),
            no_backend: no_backend.map_or(Refusal::Reset, |at| at.value),
        },
    }
}

/// `true`, `false` or `"crc32c"`.
fn proxy_protocol(section: &Section<'_>) -> Option<ProxyHeader> {
    let raw = section.raw("proxy_protocol")?;
    match (raw.value.as_bool(), raw.value.as_str()) {
        (Some(wanted), _) => wanted.then_some(ProxyHeader { crc32c: false }),
        (_, Some("crc32c")) => Some(ProxyHeader { crc32c: true }),
        _ => {
            let right = "write true, or \"crc32c\" for a header with a checksum, or false";
            section.problems().add(&raw, "this is not a value of this key", right);
            None
        }
    }
}

fn backends(section: &Section<'_>) -> Vec<Backend> {
    let list = section.list("backends");
    if let Some(raw) = section.raw("backends").filter(|_| list.is_empty()) {
        section.problems().add(&raw, "there is no backend", section.write("backends"));
    }
    if let Some(raw) = list.get(BACKENDS_MAX) {
        let what = format!("{} backends", list.len());
        section.problems().add(raw, what, format!("a service has at most {BACKENDS_MAX}"));
    }
    let mut found: Vec<Backend> = Vec::new();
    for raw in &list {
        let Some(backend) = backend(section, raw) else { continue };
        let address = &backend.address;
        if found.iter().any(|earlier| earlier.address.value == address.value) {
            let what = format!("backend {} is named twice", address.value);
            let right = "name each backend once; `weight` gives it more";
            section.problems().add(address, what, right);
        }
        found.push(backend);
    }
    found
}

/// `"10.20.0.2:80"` or `{ address = "10.20.0.2:80", weight = 2 }`.
fn backend(section: &Section<'_>, raw: &Raw<'_>) -> Option<Backend> {
    let (text, weight) = match raw.value.as_str() {
        Some(text) => (raw.with(text), 1),
        None if raw.value.is_table() => {
            let table = Section::of("service.backends", raw, section.problems())?;
            table.require(&["address"]);
            let weight = table.integer::<u16>("weight", 1..=1000).map_or(1, |at| at.value);
            (table.text("address")?, weight)
        }
        None => {
            let right = "write \"10.20.0.2:80\" or { address = \"10.20.0.2:80\", weight = 2 }";
            section.problems().add(raw, "this is no backend", right);
            return None;
        }
    };
    Some(Backend { address: endpoint(section, &text, "backends")?, weight })
}

fn health_check(section: &Section<'_>) -> HealthPlan {
    let default = HealthPlan::default();
    let Some(table) = section.table("health_check") else { return default };
    table.require(&["type"]);
    let http = table.choice("type", &[("tcp", false), ("http", true)]);
    let interval = table.duration("interval", SHORTEST_INTERVAL..=LONGEST);
    let timeout = table.duration("timeout", SHORTEST_TIMEOUT..=LONGEST);
    let rise = table.integer::<u8>("rise", 1..=100);
    let fall = table.integer::<u8>("fall", 1..=100);
    let interval = interval.map_or(default.interval, |at| at.value);
    if let Some(timeout) = timeout.as_ref().filter(|timeout| timeout.value > interval) {
        let what = "a check takes longer than the pause between two";
        let right = format!("at most the interval, {}", humantime::format_duration(interval));
        table.problems().add(timeout, what, right);
    }
    let check = match http.map(|at| at.value) {
        Some(true) => http_check(&table),
        Some(false) => {
            let because = "this key is for `type = \"http\"` and means nothing here";
            table.refuse(&["path", "expect"], because);
            Check::Tcp
        }
        None => Check::Tcp,
    };
    HealthPlan {
        check,
        interval,
        timeout: timeout.map_or(default.timeout.min(interval), |at| at.value),
        rise: rise.map_or(default.rise, |at| at.value),
        fall: fall.map_or(default.fall, |at| at.value),
    }
}

fn http_check(table: &Section<'_>) -> Check {
    let path = table.text("path");
    let wrong = path.as_ref().and_then(|path| {
        let visible = path.value.bytes().all(|byte| byte.is_ascii_graphic());
        match path.value {
            text if !text.starts_with('/') => Some("a path begins with `/`".to_owned()),
            _ if !visible => Some("a path is of visible ASCII characters; escape others".into()),
            text if text.len() > PATH_MAX => Some(format!("a path of {} bytes", text.len())),
            _ => None,
        }
    });
    if let Some((path, what)) = path.as_ref().zip(wrong) {
        let right = format!("{}, of at most {PATH_MAX} bytes", table.write("path"));
        table.problems().add(path, what, right);
    }
    let expect = table.integers::<u16>("expect", 100..=599);
    let range = match expect.as_slice() {
        [low, high] if low.value <= high.value => Some(low.value..=high.value),
        _ => None,
    };
    if let Some(raw) = table.raw("expect").filter(|_| range.is_none()) {
        table.problems().add(&raw, "this is no range of status codes", table.write("expect"));
    }
    Check::Http {
        path: path.map_or("/", |path| path.value).into(),
        expect: range.unwrap_or(200..=399),
    }
}

/// What is wrong and what would be right.
type Wrong = (String, String);

impl Proxy {
    /// The plan of this proxy, which is `service`, listening on the port of index `port`. What does not
    /// fit is recorded and left out.
    pub(super) fn resolve(
        &self,
        service: &Service,
        port: usize,
        services: &[Service],
        ports: &[Port],
        problems: &Problems,
    ) -> Arc<ProxyPlan> {
        let mut plan = self.plan.clone();
        for backend in &self.backends {
            let address = backend.address.value;
            let fits = not_ours(address.ip(), services, ports)
                .and_then(|()| reach(address.ip(), port, ports))
                .and_then(|by| self.forwards(address, service, &ports[by]).map(|()| by));
            match fits {
                Ok(port) => {
                    if address.is_ipv6() {
                        room_for_ipv6(&ports[port], problems);
                    }
                    plan.backends.push(BackendPlan { address, weight: backend.weight, port });
                }
                Err((what, right)) => {
                    problems.add(&backend.address, format!("backend {address} {what}"), right);
                }
            }
        }
        Arc::new(plan)
    }

    /// Whether the backend can be reached by `port` in the way that the service forwards.
    fn forwards(&self, backend: SocketAddr, service: &Service, port: &Port) -> Result<(), Wrong> {
        let (ip, name) = (backend.ip(), &port.name.value);
        match self.plan.forward {
            Forward::Snat => {
                let own = |own: &At<Prefix>| same_family(own.value.addr, ip);
                port.addresses.iter().any(own).then_some(()).ok_or_else(|| {
                    let family = family(ip);
                    let what = format!("is behind port `{name}`, which has no {family} address");
                    (what, format!("add one to connect from to the `addresses` of `{name}`"))
                })
            }
            Forward::L2 => {
                on_link(ip, port)?;
                service.listen.iter().try_for_each(|listen| untranslated(backend, listen.value))
            }
        }
    }
}

/// A backend is neither a service's address nor our own on any port.
fn not_ours(ip: IpAddr, services: &[Service], ports: &[Port]) -> Result<(), Wrong> {
    let mut listen = services.iter().flat_map(|service| &service.listen);
    if listen.any(|listen| listen.value.ip() == ip) {
        let right = "name the backend by an address that is its own alone";
        return Err(("is an address that we listen on".into(), right.into()));
    }
    match ports.iter().find(|port| port.addresses.iter().any(|own| own.value.addr == ip)) {
        Some(port) => {
            let what = format!("is our own address on port `{}`", port.name.value);
            Err((what, "name the backend by its address".into()))
        }
        None => Ok(()),
    }
}

/// The port by which `ip` is reached: that of the narrowest network that holds it, or else one with a
/// gateway. Among equals the service's own port, then the first of the file.
fn reach(ip: IpAddr, own: usize, ports: &[Port]) -> Result<usize, Wrong> {
    let candidates = || std::iter::once(own).chain((0..ports.len()).filter(|port| *port != own));
    let network = |port: &usize| {
        let holding = ports[*port].addresses.iter().filter(|net| net.value.contains(ip));
        holding.map(|net| net.value.len).max()
    };
    // of equal keys the last counts, so that the order is turned round
    let near = candidates().collect::<Vec<_>>().into_iter().rev().max_by_key(network);
    let far = || {
        let leads = |gateway: &At<IpAddr>| same_family(gateway.value, ip);
        candidates().find(|port| ports[*port].gateways.iter().any(leads))
    };
    near.filter(|port| network(port).is_some()).or_else(far).ok_or_else(|| {
        let what =
            format!("is in no port's network, and no port has an {} gateway", family(ip));
        let right = "add our address in its network to the `addresses` of a port, or a router to its \
                     `gateways`";
        (what, right.into())
    })
}

fn on_link(ip: IpAddr, port: &Port) -> Result<(), Wrong> {
    let holds = |net: &At<Prefix>| net.value.contains(ip);
    port.addresses.iter().any(holds).then_some(()).ok_or_else(|| {
        let what = "is behind a gateway, and `forward = \"l2\"` reaches neighbours only";
        (what.into(), "write `forward = \"snat\"`, or add our address in its network".into())
    })
}

/// `forward = "l2"` changes the MAC and nothing else.
fn untranslated(backend: SocketAddr, listen: SocketAddr) -> Result<(), Wrong> {
    if !same_family(backend.ip(), listen.ip()) {
        let what = format!("is {}, and the service listens on {listen}", family(backend.ip()));
        let right = "`forward = \"l2\"` does not translate: make a service of each family";
        return Err((what, right.into()));
    }
    if backend.port() != listen.port() {
        let what = format!("has another TCP port than the service, which listens on {listen}");
        let right = format!("`forward = \"l2\"` does not translate: write port {}", listen.port());
        return Err((what, right));
    }
    Ok(())
}

const fn same_family(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4()
}

const fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Refuses more backends in all than an engine keeps.
pub(super) fn not_too_many(services: &[Service], problems: &Problems) {
    let proxies = services.iter().filter_map(Service::proxy);
    let all: Vec<&Backend> = proxies.flat_map(|proxy| &proxy.backends).collect();
    if let Some(first) = all.get(BACKENDS) {
        let what = format!("{} backends in all services together", all.len());
        problems.add(&first.address, what, format!("an engine has at most {BACKENDS}"));
    }
}
