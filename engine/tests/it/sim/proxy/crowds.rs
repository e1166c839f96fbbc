//! Crowds of clients through the engine to backends, in every mode and weather.

use std::net::SocketAddr;

use super::super::client::Ends;
use super::super::crowds::hunt;
use super::super::engine::Cookies;
use super::super::frame::Mac;
use super::super::network::Weather;
use super::super::peer::Peer;
use super::super::plan::SECOND;
use super::super::rng::Rng;
use super::cable::Middle;
use super::drawn::{any, jumbo, orderly, short, speaks};
use super::engine::{Engine, MACS, Setup, backend};
use super::header;
use super::host::{Draw, Host, Manner};
use super::world::World;

/// Longer than the idle time, TIME_WAIT, and what follows a cookie.
pub(crate) const SETTLE: u64 = 500 * SECOND;
/// The window that the engine promises to clients before a backend has spoken, and the longest header. A
/// backend is drawn anew for each connection: another one than what a check has seen.
pub(crate) const PROMISED: u64 = 14_600 + 59;
/// The window scale that the engine offers to clients.
pub(crate) const SHIFT: u8 = 7;
pub(crate) const CLIENTS: Mac = [2, 0, 0, 0, 0, 1];

fn vip(v6: bool) -> SocketAddr {
    if v6 { "[fd00:10::10]:80".parse().unwrap() } else { "10.10.0.10:80".parse().unwrap() }
}

/// The `nth` client: thousands of addresses, ports from all over.
pub(crate) fn client(nth: usize, v6: bool) -> Ends {
    let port = 1024 + (nth * 7919 % 60_000) as u16;
    let ip = if v6 {
        format!("fd00:10::ffff:{nth:x}")
    } else {
        format!("10.10.{}.{}", 100 + (nth >> 8) % 150, nth & 255)
    };
    let local = SocketAddr::new(ip.parse().unwrap(), port);
    Ends { mac: CLIENTS, server_mac: MACS[0], local, remote: vip(v6) }
}

/// An engine between clients and as many backends as are configured.
pub(crate) fn world(seed: u64, weather: Weather, setup: &Setup, draw: Draw) -> World<Engine> {
    let mut hosts = vec![Host::new(CLIENTS, 0, None, draw, Rng::new(seed + 1), 0)];
    for nth in 0..setup.backends {
        let address: SocketAddr =
            format!("{}:80", backend(nth, setup.backends_v6)).parse().unwrap();
        let listens = if setup.l2 { vip(setup.backends_v6) } else { address };
        let (mac, rng) = ([2, 0, 0, 0, 1, nth as u8], Rng::new(seed + 2 + nth as u64));
        let ids = (nth as u64 + 1) << 32;
        let mut host = Host::new(mac, setup.lan(), Some(listens), draw, rng, ids);
        host.addresses.push(address.ip());
        host.least_buffer = PROMISED;
        host.beyond = (1 << SHIFT) - 1;
        host.wants_header = setup.proxy_protocol != "false";
        hosts.push(host);
    }
    let weather = vec![weather; setup.lan() + 1];
    let mut world = World::new(seed, &weather, Engine::new(setup), hosts);
    world.monitor.in_order =
        weather[0].reorder + weather[0].duplicate == 0 && weather[0].jitter == 0;
    world
}

impl<M: Middle> World<M> {
    /// The other end of a client's connection, if either has said enough.
    pub(crate) fn backend_of(&self, client: &Peer) -> Option<(usize, usize)> {
        let said = client.heard.id().map(|id| ((id >> 32) as usize, id as u32 as usize));
        let there = said.filter(|&(h, p)| self.hosts.get(h).is_some_and(|h| p < h.peers.len()));
        there.or_else(|| self.partners.get(&client.stream.id).copied())
    }
}

impl World<Engine> {
    /// After a run: every connection is as it must be but for so many, no rule was broken, nothing is left.
    pub(crate) fn finish(&mut self, failures: usize) {
        let failed = self.failures(Self::backend_of);
        self.expect(&failed, failures);
        self.check_headers();
        self.pass(SETTLE);
        let faults = &self.monitor.faults;
        let first = faults.first().map(|fault| (fault, faults.len()));
        assert!(first.is_none(), "seed {}: {first:?}\n{}", self.seed, self.story_of_fault());
        // Backends are still checked: between two checks nothing is under way.
        self.hosts.iter_mut().for_each(|host| host.manner = Manner::Serves);
        self.pass(5 * SECOND);
        for _ in 0..200 {
            if !self.middle.audit().is_empty() {
                self.pass(10_000);
            }
        }
        let books = self.middle.audit();
        assert!(books.is_empty(), "seed {}: {books:#?}\n{:?}", self.seed, self.middle.stats());
    }

    /// What backends were told of their clients is true.
    fn check_headers(&self) {
        let with_sum = self.middle.setup.proxy_protocol == "\"crc32c\"";
        for client in &self.hosts[0].peers {
            let backend = self.backend_of(client).map(|(host, peer)| &self.hosts[host].peers[peer]);
            let said = backend.and_then(|backend| Some((backend.header.as_ref()?, backend)));
            if let Some((said, backend)) = said {
                let right = header::of(&client.ends, with_sum);
                let whole = backend.heard.len == 0 || said.len() == right.len();
                assert!(right.starts_with(said) && whole, "seed {}: {said:02x?}", self.seed);
            }
        }
    }

    fn story_of_fault(&self) -> String {
        let Some(fault) = self.monitor.faults.first() else { return String::new() };
        let near = |text: &str| fault.contains(text);
        for (h, host) in self.hosts.iter().enumerate() {
            for (p, peer) in host.peers.iter().enumerate() {
                if near(&peer.ends.local.to_string()) && near(&peer.ends.remote.to_string()) {
                    let other = self.backend_of(peer);
                    let both: Vec<_> = [Some((h, p)), other].into_iter().flatten().collect();
                    return self.story(&both);
                }
            }
        }
        String::new()
    }
}

pub(crate) fn crowd(
    seed: u64,
    weather: Weather,
    setup: &Setup,
    clients: usize,
    draw: Draw,
) -> World<Engine> {
    let mut world = world(seed, weather, setup, draw);
    let mut rng = Rng::new(seed ^ 0xc0ffee);
    for nth in 0..clients {
        let (habits, script) = draw(&mut rng);
        let v6 = if setup.l2 { setup.backends_v6 } else { rng.chance(400) };
        let at = 5 * SECOND + nth as u64 * 700;
        world.plan(at, 0, client(nth, v6), habits, speaks(script));
    }
    world.run(900 * SECOND);
    world
}

const MODES: [Cookies; 3] = [Cookies::Always, Cookies::Never, Cookies::Auto];

#[test]
fn everybody_is_joined_in_clear_weather() {
    for (seed, cookies) in (3000..).zip(MODES) {
        for (l2, backends_v6) in [(false, false), (false, true), (true, false), (true, true)] {
            let setup = Setup { cookies, l2, backends_v6, ..Setup::DEFAULT };
            hunt(seed, |seed| {
                crowd(seed, Weather::CLEAR, &setup, 40, |rng| short(orderly(rng))).finish(0)
            });
        }
    }
}

#[test]
fn everybody_is_joined_in_rain() {
    for (seed, cookies) in (3010..).zip(MODES) {
        for (l2, backends_v6) in [(false, false), (false, true), (true, false)] {
            let setup = Setup { cookies, l2, backends_v6, ..Setup::DEFAULT };
            hunt(seed, |seed| {
                crowd(seed, Weather::RAIN, &setup, 25, |rng| short(orderly(rng))).finish(0)
            });
        }
    }
}

#[test]
fn nearly_everybody_is_joined_in_a_storm() {
    for (seed, cookies) in (3020..).zip(MODES) {
        let setup = Setup { cookies, ..Setup::DEFAULT };
        hunt(seed, |seed| {
            crowd(seed, Weather::STORM, &setup, 15, |rng| short(orderly(rng))).finish(3)
        });
    }
}

#[test]
fn one_arm_and_large_frames_do_as_well() {
    let one_armed = Setup { one_armed: true, ..Setup::DEFAULT };
    hunt(3030, |seed| {
        crowd(seed, Weather::RAIN, &one_armed, 25, |rng| short(orderly(rng))).finish(0)
    });
    let large = Setup { mtu: 9000, offloads: true, ..Setup::DEFAULT };
    hunt(3031, |seed| crowd(seed, Weather::RAIN, &large, 20, |rng| short(jumbo(rng))).finish(0));
}

/// Ends that break off in any state: the other comes to an end, and nothing is left.
#[test]
fn whatever_breaks_leaves_nothing() {
    for (seed, cookies) in (3040..).zip(MODES) {
        for l2 in [false, true] {
            let setup = Setup { cookies, l2, ..Setup::DEFAULT };
            hunt(seed, |seed| {
                let mut world = crowd(seed, Weather::RAIN, &setup, 60, |rng| short(any(rng)));
                world.backends_break = true;
                world.finish(0);
            });
        }
    }
}

/// A header with and without its sum, in front of streams of any length, in any weather.
#[test]
fn backends_are_told_whose_connections_they_have() {
    let modes = [("true", Weather::CLEAR), ("\"crc32c\"", Weather::RAIN), ("true", Weather::STORM)];
    for (seed, (proxy_protocol, weather)) in (3050..).zip(modes) {
        for (l2, backends_v6) in [(false, false), (false, true), (true, false)] {
            let setup = Setup { proxy_protocol, l2, backends_v6, ..Setup::DEFAULT };
            hunt(seed, |seed| {
                crowd(seed, weather, &setup, 20, |rng| short(orderly(rng))).finish(2)
            });
        }
    }
}
