//! Routers between the engine and the ends, which have something against what passes: what one half is told
//! reaches the other, in its own words.

use std::net::IpAddr;

use usher::stats::Counter;

use super::super::crowds::hunt;
use super::super::network::Weather;
use super::super::peer::{Begin, Habits, Peer, Script};
use super::super::plan::{MILLI, SECOND};
use super::crowds::{client, world};
use super::engine::{Engine, Setup, backend};
use super::host::Draw;
use super::icmp::{Router, Trouble};
use super::world::World;

/// Backends with and without what is translated: segments grow on their way to a client.
const ANSWERS: Draw = |rng| {
    let habits = Habits { timestamps: rng.chance(500), sack: rng.chance(500), ..Habits::LINUX };
    (habits, Script { begin: Begin::OnFirstByte, ..Script::plain(60_000) })
};

fn send_clients(world: &mut World<Engine>, v6: impl Fn(usize) -> bool) {
    for nth in 0..12 {
        let at = 5 * SECOND + nth as u64 * 50 * MILLI;
        world.plan(at, 0, client(nth, v6(nth)), Habits::LINUX, Script::plain(60_000));
    }
}

fn heard(peers: &[Peer], trouble: fn(&Trouble) -> bool) -> usize {
    peers.iter().filter(|peer| peer.troubles.iter().any(trouble)).count()
}

/// A narrow link towards clients, towards backends, or both: whoever sends too much learns the size, and
/// everything arrives.
#[test]
fn narrow_paths_are_told_to_the_sender() {
    let is_size = |trouble: &Trouble| matches!(trouble, Trouble::TooBig(_));
    for (seed, weather) in [(6000, Weather::CLEAR), (6001, Weather::RAIN)] {
        for backends_v6 in [false, true] {
            for narrow in [&[0][..], &[1], &[0, 1]] {
                hunt(seed, |seed| {
                    let setup = Setup { backends_v6, ..Setup::DEFAULT };
                    let mut world = world(seed, weather, &setup, ANSWERS);
                    for port in narrow {
                        world.routers.insert(*port, Router { mtu: 1300, ..Router::WIDE });
                    }
                    send_clients(&mut world, |nth| nth % 2 == 1);
                    world.run(300 * SECOND);
                    let [clients, backends @ ..] = &world.hosts[..] else { panic!("machines") };
                    let backends: usize =
                        backends.iter().map(|host| heard(&host.peers, is_size)).sum();
                    assert!(!narrow.contains(&0) || backends >= 10, "{narrow:?}: {backends}");
                    let clients = heard(&clients.peers, is_size);
                    assert!(clients >= 10, "{narrow:?}: {clients}");
                    world.finish(0);
                });
            }
        }
    }
}

/// As a bridge, clients behind a narrow link.
#[test]
fn narrow_paths_are_told_through_a_bridge() {
    let setup = Setup { l2: true, ..Setup::DEFAULT };
    let mut world = world(6010, Weather::CLEAR, &setup, ANSWERS);
    world.routers.insert(0, Router { mtu: 1300, ..Router::WIDE });
    send_clients(&mut world, |_| false);
    world.run(300 * SECOND);
    let told = |host: usize| heard(&world.hosts[host].peers, |t| *t == Trouble::TooBig(1300));
    assert!(told(1) + told(2) >= 10);
    world.finish(0);
}

/// Packets to a client, or to a backend, that go in circles for a while: their sender is told, and goes on later.
#[test]
fn packets_that_go_in_circles_are_told() {
    for (seed, backends_v6) in [(6030, false), (6031, true)] {
        let setup = Setup { backends_v6, backends: 1, ..Setup::DEFAULT };
        let mut world = world(seed, Weather::CLEAR, &setup, ANSWERS);
        let script = Script { piece: 500, pause: 100 * MILLI, ..Script::plain(60_000) };
        for nth in 0..2 {
            world.plan(5 * SECOND, 0, client(nth, nth == 1), Habits::LINUX, script);
        }
        world.run(5500 * MILLI);
        let ends = [(0, client(0, false).local.ip()), (0, client(1, true).local.ip())];
        let behind: IpAddr = backend(0, backends_v6).trim_matches(['[', ']']).parse().unwrap();
        for (port, circles) in [(1, behind)].into_iter().chain(ends) {
            world.routers.insert(port, Router { circles: Some(circles), ..Router::WIDE });
            world.run(2 * SECOND);
            world.routers.remove(&port);
        }
        world.run(300 * SECOND);
        let is_told = |peer: &Peer| peer.troubles.contains(&Trouble::Expired);
        assert!(world.hosts[0].peers.iter().all(is_told), "clients");
        assert_eq!(world.hosts[1].peers.iter().filter(|peer| is_told(peer)).count(), 2, "backends");
        world.finish(0);
    }
}

/// For three seconds no router knows the way to a backend: who asks for a connection gets another one at once,
/// who has one is told and goes on later.
#[test]
fn a_backend_that_is_out_of_reach_for_a_while_loses_nothing() {
    for (seed, backends_v6) in [(6020, false), (6021, true)] {
        let setup = Setup { backends_v6, ..Setup::DEFAULT };
        let mut world = world(seed, Weather::CLEAR, &setup, ANSWERS);
        for nth in 0..60 {
            let at = 5 * SECOND + nth as u64 * 50 * MILLI;
            let script = Script { piece: 10_000, pause: SECOND, ..Script::plain(60_000) };
            world.plan(at, 0, client(nth, nth % 2 == 1), Habits::LINUX, script);
        }
        world.run(5500 * MILLI);
        let away: IpAddr = backend(0, backends_v6).trim_matches(['[', ']']).parse().unwrap();
        world.routers.insert(1, Router { lost: Some(away), ..Router::WIDE });
        world.run(300 * MILLI);
        assert!(world.middle.total(Counter::BackendRetries) > 0);
        world.run(2700 * MILLI);
        world.routers.remove(&1);
        world.run(300 * SECOND);
        assert!(heard(&world.hosts[0].peers, |t| *t == Trouble::NoRoute) > 5);
        world.finish(0);
    }
}
