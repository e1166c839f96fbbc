//! The operator's hand in mid-crowd: reloads, backends that are drained and enabled, and who gets which.

use std::collections::{BTreeMap, BTreeSet};

use usher::stats::BackendCounter;

use super::super::client::Ends;
use super::super::crowds::hunt;
use super::super::network::Weather;
use super::super::peer::{Begin, Habits, Script};
use super::super::plan::{MILLI, SECOND};
use super::super::rng::Rng;
use super::crowds::{client, world};
use super::drawn::{orderly, short, speaks};
use super::engine::{Engine, Setup};
use super::host::Draw;
use super::world::World;

/// Clients for ten seconds, whom somebody disturbs every 100 ms; then each has had all it was to have.
fn disturbed(seed: u64, setup: &Setup, disturb: impl Fn(&mut World<Engine>, u64)) {
    let draw: Draw = |rng| short(orderly(rng));
    let mut world = world(seed, Weather::RAIN, setup, draw);
    let mut rng = Rng::new(seed ^ 0xc0ffee);
    for nth in 0..100 {
        let (habits, script) = draw(&mut rng);
        let at = 5 * SECOND + nth as u64 * 100 * MILLI;
        let v6 = if setup.l2 { setup.backends_v6 } else { rng.chance(400) };
        world.plan(at, 0, client(nth, v6), habits, speaks(script));
    }
    for nth in 0..150 {
        world.run(100 * MILLI);
        disturb(&mut world, nth);
    }
    world.run(900 * SECOND);
    world.finish(0);
}

/// No flow breaks on a reload, whatever state it is in: another edition of the service, backends that come and go.
#[test]
fn nobody_notices_reloads() {
    for (seed, l2) in [(5000, false), (5001, true)] {
        let setup = Setup { l2, backends: 3, ..Setup::DEFAULT };
        hunt(seed, |seed| {
            disturbed(seed, &setup, |world, nth| {
                let backends = 2 + nth as usize % 2;
                let connect = if nth % 5 < 3 { "15s" } else { "12s" };
                world.middle.reload(world.now, &Setup { backends, connect, ..setup });
            });
        });
    }
}

/// No flow breaks when its backend is drained, and from then on it gets no other.
#[test]
fn nobody_notices_a_drain() {
    for (seed, l2) in [(5010, false), (5011, true)] {
        let setup = Setup { l2, ..Setup::DEFAULT };
        hunt(seed, |seed| {
            disturbed(seed, &setup, |world, nth| {
                let drained = nth / 25 % 3;
                (0..2).for_each(|slot| world.middle.set_drained(slot, slot as u64 + 1 == drained));
            });
        });
    }
}

/// Connections that each backend has had.
fn had(world: &World<Engine>) -> Vec<u64> {
    let counters = world.middle.backends();
    counters.iter().map(|row| row.counter(BackendCounter::Connected)).collect()
}

/// In clear weather, where a try takes a moment: what is drained gets nothing, what is enabled gets its share.
#[test]
fn a_drained_backend_gets_no_new_connection() {
    let draw: Draw =
        |_| (Habits::LINUX, Script { begin: Begin::OnFirstByte, ..Script::plain(20_000) });
    let mut world = world(5020, Weather::CLEAR, &Setup::DEFAULT, draw);
    for nth in 0..400 {
        let script = Script { pause: SECOND, piece: 10_000, ..Script::plain(20_000) };
        world.plan(
            5 * SECOND + nth as u64 * 25 * MILLI,
            0,
            client(nth, false),
            Habits::LINUX,
            script,
        );
    }
    world.run(6500 * MILLI);
    world.middle.set_drained(0, true);
    world.run(100 * MILLI);
    let before = had(&world);
    world.run(3 * SECOND);
    let during = had(&world);
    assert_eq!(before[0], during[0]);
    assert!(during[1] > before[1] + 50, "{before:?} {during:?}");
    world.middle.set_drained(0, false);
    world.run(100 * SECOND);
    assert!(had(&world)[0] > during[0] + 20, "{during:?} {:?}", had(&world));
    world.finish(0);
}

/// RFC 4861 §7.3.3: a backend that moves to another station is asked after and found there; flows go on, if not at
/// once.
#[test]
fn a_backend_that_moves_is_found_again() {
    let draw: Draw =
        |_| (Habits::LINUX, Script { begin: Begin::OnFirstByte, ..Script::plain(20_000) });
    for (seed, backends_v6) in [(5040, false), (5041, true)] {
        let setup = Setup { backends: 1, backends_v6, ..Setup::DEFAULT };
        let mut world = world(seed, Weather::CLEAR, &setup, draw);
        let script = Script { piece: 500, pause: SECOND, ..Script::plain(10_000) };
        for nth in 0..10 {
            let at = 5 * SECOND + nth as u64 * 100 * MILLI;
            world.plan(at, 0, client(nth, nth % 2 == 1), Habits::LINUX, script);
        }
        world.run(10 * SECOND);
        world.hosts[1].mac = [2, 0, 0, 0, 1, 99];
        world.run(5 * SECOND);
        assert!(world.hosts[0].peers.iter().all(|peer| !peer.is_done()), "they are cut off");
        world.run(300 * SECOND);
        world.finish(0);
    }
}

/// By source, all connections of an address have one backend, also beside a failure that moves others.
#[test]
fn a_client_keeps_its_backend_by_source() {
    let draw: Draw =
        |_| (Habits::LINUX, Script { begin: Begin::OnFirstByte, ..Script::plain(5000) });
    let setup = Setup { balance: "maglev-source", backends: 3, ..Setup::DEFAULT };
    let mut world = world(5030, Weather::RAIN, &setup, draw);
    let of = |address: usize, nth: usize| {
        let Ends { local, .. } = client(address, address % 2 == 1);
        let mut ends = client(address, address % 2 == 1);
        ends.local.set_port(local.port() % 50_000 + 100 * nth as u16);
        ends
    };
    for nth in 0..6 {
        for address in 0..30 {
            let at = 5 * SECOND + (nth * 30 + address) as u64 * 20 * MILLI;
            world.plan(at, 0, of(address, nth), Habits::LINUX, Script::plain(5000));
        }
    }
    world.run(7 * SECOND);
    world.middle.set_drained(2, true);
    world.run(900 * SECOND);
    let mut seen = BTreeMap::<_, BTreeSet<usize>>::new();
    for peer in &world.hosts[0].peers {
        let (host, _) = world.backend_of(peer).expect("a backend");
        seen.entry(peer.ends.local.ip()).or_default().insert(host);
    }
    assert_eq!(seen.len(), 30);
    let all: BTreeSet<_> = seen.values().flatten().collect();
    assert_eq!(all.len(), 3, "all backends have clients: {seen:?}");
    for (address, hosts) in &seen {
        assert!(hosts.len() == 1 || hosts.contains(&3), "{address} had {hosts:?}");
    }
    assert!(seen.values().any(|hosts| hosts.len() == 2), "the drain moved somebody");
    world.finish(0);
}
