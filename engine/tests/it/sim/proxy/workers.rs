//! However many workers proxy, and by whichever queues frames of either half come in, every connection has the same
//! outcome; and what one worker finds out of a backend all know.

use usher::stats::Counter;

use super::super::arrival::{self, Arrival};
use super::super::crowds::hunt;
use super::super::engine::Cookies;
use super::super::network::Weather;
use super::super::peer::{Habits, Outcome, Script, State};
use super::super::plan::SECOND;
use super::super::rng::Rng;
use super::crowds::{client, crowd, world};
use super::drawn::{any, orderly, plain, short, speaks};
use super::engine::{Engine, Setup};
use super::host::Manner;
use super::world::World;

/// How each client's connection ended, and how much it was told and was heard of it.
fn outcomes(world: &World<Engine>) -> Vec<(bool, Option<Outcome>, u64, u64)> {
    let ends = world.hosts[0].peers.iter();
    ends.map(|peer| {
        let lingers = peer.outcome.is_none() && peer.state() == State::TimeWait;
        (lingers, peer.outcome, peer.heard.len, peer.acknowledged())
    })
    .collect()
}

/// Clients of any orderly kind, and backends that are all alike, whoever reaches them first.
fn crowd_of_clients(seed: u64, setup: &Setup, clients: usize) -> World<Engine> {
    let mut world = world(seed, Weather::CLEAR, setup, plain);
    let mut rng = Rng::new(seed ^ 0xc0ffee);
    for nth in 0..clients {
        let (habits, script) = short(orderly(&mut rng));
        let v6 = if setup.l2 { setup.backends_v6 } else { rng.chance(400) };
        world.plan(5 * SECOND + nth as u64 * 700, 0, client(nth, v6), habits, speaks(script));
    }
    world.run(900 * SECOND);
    world
}

/// With 1, 2, 3 and 4 workers, with RSS and without, and with every frame at the wrong worker.
#[test]
fn every_proxied_connection_ends_alike_however_many_workers_there_are() {
    for (seed, (l2, backends_v6, cookies)) in (3200..).zip([
        (false, false, Cookies::Auto),
        (false, true, Cookies::Always),
        (true, false, Cookies::Never),
    ]) {
        hunt(seed, |seed| {
            let mut first = None;
            for (workers, arrival) in arrival::some(cookies == Cookies::Auto) {
                let setup = Setup { cookies, l2, backends_v6, workers, arrival, ..Setup::DEFAULT };
                let mut world = crowd_of_clients(seed, &setup, 16);
                let ends = outcomes(&world);
                world.finish(0);
                assert_eq!(
                    *first.get_or_insert(ends.clone()),
                    ends,
                    "{workers} workers, {arrival:?}"
                );
                let redirected = world.middle.total(Counter::RedirectedIn);
                let right = match arrival {
                    // answers to checks are to ports of ours, too
                    Arrival::Rss => (redirected > 0) == (workers > 1),
                    Arrival::Wrong | Arrival::OneQueue | Arrival::Anywhere(_) => redirected > 50,
                };
                assert!(right, "{workers} workers, {arrival:?}: {redirected} frames handed on");
            }
        });
    }
}

#[test]
fn everybody_is_joined_by_the_wrong_worker_in_rain() {
    for (seed, arrival) in (3210..).zip([Arrival::Wrong, Arrival::OneQueue]) {
        for l2 in [false, true] {
            let setup = Setup { l2, workers: 3, arrival, ..Setup::DEFAULT };
            hunt(seed, |seed| {
                crowd(seed, Weather::RAIN, &setup, 25, |rng| short(orderly(rng))).finish(0);
            });
        }
    }
}

#[test]
fn whatever_breaks_leaves_nothing_at_any_worker() {
    for (seed, l2) in (3220..).zip([false, true]) {
        let setup = Setup { l2, workers: 3, arrival: Arrival::Wrong, ..Setup::DEFAULT };
        hunt(seed, |seed| {
            let mut world = crowd(seed, Weather::RAIN, &setup, 60, |rng| short(any(rng)));
            world.backends_break = true;
            world.finish(0);
        });
    }
}

/// A backend that is silent is found to be down by one worker, and tried by none; it is found to be up again by that
/// one, and used by all.
#[test]
fn what_a_check_shows_all_workers_know() {
    for l2 in [false, true] {
        let setup = Setup { l2, workers: 4, arrival: Arrival::OneQueue, ..Setup::DEFAULT };
        let mut world = world(3230, Weather::CLEAR, &setup, plain);
        let mut met = 0;
        let mut meet = |world: &mut World<Engine>| {
            for _ in 0..40 {
                let at = world.now + 1000;
                world.plan(at, 0, client(met, false), Habits::LINUX, Script::plain(100));
                met += 1;
            }
            world.run(100 * SECOND);
        };
        world.pass(4 * SECOND);
        world.hosts[1].manner = Manner::IsSilent;
        world.pass(8 * SECOND);
        let tried = |world: &World<Engine>| world.hosts[1].peers.len();
        let before = tried(&world);
        meet(&mut world);
        assert_eq!((world.middle.total(Counter::BackendRetries), tried(&world)), (0, before));
        world.hosts[1].manner = Manner::Serves;
        world.pass(8 * SECOND);
        let before = tried(&world);
        meet(&mut world);
        assert!(tried(&world) > before + 10, "it is not used again");
        world.finish(0);
    }
}
