//! However many workers there are and whichever queues frames come in by, every connection has the same outcome.

use super::arrival::{self, Arrival};
use super::client::Outcome;
use super::crowds::hunt;
use super::engine::{Cookies, Engine, Setup, world};
use super::network::Weather;
use super::plan::{Plan, SECOND};
use super::rng::Rng;
use super::world::{World, client_ends};

/// Longer than idle time, TIME_WAIT, markers and the last retransmission.
const SETTLE: u64 = 700 * SECOND;
const MODES: [Cookies; 3] = [Cookies::Always, Cookies::Never, Cookies::Auto];

fn crowd(seed: u64, weather: Weather, setup: &Setup, clients: usize) -> World<Engine> {
    let mut world = world(seed, weather, setup);
    let mut rng = Rng::new(seed ^ 0xc0ffee);
    for index in 0..clients {
        let plan = Plan::any(&mut rng);
        let ends = client_ends(index % setup.ports, index, plan.v6);
        world.add_at(2 * SECOND + index as u64 * 700, plan, ends);
    }
    world.run(600 * SECOND);
    world
}

/// How each connection ended, and what it got.
fn outcomes(world: &World<Engine>) -> Vec<(Option<Outcome>, Vec<u8>)> {
    let all = world.clients.iter();
    all.map(|client| (client.outcome, client.received.clone())).collect()
}

/// With 1, 2, 3 and 4 workers, with RSS and without, and with every frame at the wrong worker.
#[test]
fn every_connection_ends_alike_however_many_workers_there_are() {
    for (seed, cookies) in (1200..).zip(MODES) {
        hunt(seed, |seed| {
            let mut first = None;
            for (workers, arrival) in arrival::some(cookies == Cookies::Auto) {
                let setup = Setup { cookies, workers, arrival, ports: 2, ..Setup::DEFAULT };
                let mut world = crowd(seed, Weather::CLEAR, &setup, 60);
                let ends = outcomes(&world);
                let redirected = world.server.redirected();
                world.finish(SETTLE, 0);
                let others = match arrival {
                    Arrival::Rss => redirected == 0,
                    Arrival::Wrong | Arrival::OneQueue | Arrival::Anywhere(_) => redirected > 50,
                };
                assert!(others, "{workers} workers, {arrival:?}: {redirected} frames handed on");
                assert_eq!(
                    *first.get_or_insert(ends.clone()),
                    ends,
                    "{workers} workers, {arrival:?}"
                );
            }
        });
    }
}

/// What weather does to a frame depends on its place among all: outcomes are not compared, but everybody is served.
#[test]
fn everybody_is_served_by_the_wrong_worker_in_rain() {
    for (seed, cookies) in (1210..).zip(MODES) {
        for arrival in [Arrival::Wrong, Arrival::OneQueue] {
            let setup = Setup { cookies, workers: 3, arrival, answer: 9000, ..Setup::DEFAULT };
            hunt(seed, |seed| crowd(seed, Weather::RAIN, &setup, 150).finish(SETTLE, 0));
        }
    }
}

/// Rings and pools that are too small lose frames, and no buffers; a flow's next frame finds it again.
#[test]
fn tiny_ports_lose_frames_and_no_buffers_with_several_workers() {
    for arrival in [Arrival::Wrong, Arrival::OneQueue] {
        let setup =
            Setup { workers: 2, arrival, buffers: 24, ring: 12, answer: 30_000, ..Setup::DEFAULT };
        let mut world = world(1220, Weather::CLEAR, &setup);
        let mut rng = Rng::new(1220);
        for index in 0..60 {
            world.add(2 * SECOND + index * 700, Plan::orderly(&mut rng));
        }
        world.run(600 * SECOND);
        world.finish(SETTLE, 0);
    }
}

/// No flow breaks on a reload, at whichever worker it is.
#[test]
fn nobody_notices_reloads_of_several_workers() {
    let setup = Setup { workers: 3, arrival: Arrival::Wrong, answer: 30_000, ..Setup::DEFAULT };
    let mut world = world(1230, Weather::RAIN, &setup);
    let mut rng = Rng::new(1230);
    for index in 0..120 {
        world.add(2 * SECOND + index * 20_000, Plan::orderly(&mut rng));
    }
    for nth in 0..50 {
        world.run(100 * super::plan::MILLI);
        world.server.reload(world.now, nth);
    }
    world.run(600 * SECOND);
    world.finish(SETTLE, 0);
}
