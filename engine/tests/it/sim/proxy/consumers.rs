//! Crowds of clients whose connections a program takes, in every mode and weather.

use usher::config::Cookies;
use usher::stats::ServiceCounter;
use usher_proto::verdict::Reason;

use super::super::crowds::hunt;
use super::super::network::Weather;
use super::super::peer::Outcome;
use super::super::plan::{MILLI, SECOND};
use super::super::rng::Rng;
use super::crowds::{CLIENTS, PROMISED, SETTLE, SHIFT, client};
use super::drawn::{any, orderly, short, speaks};
use super::engine::backend;
use super::handed::{Handed, Program};
use super::host::{Draw, Host};
use super::world::World;

const MODES: [Cookies; 3] = [Cookies::Always, Cookies::Never, Cookies::Auto];

fn crowd(
    seed: u64,
    weather: Weather,
    (program, cookies): (Program, Cookies),
    clients: usize,
    draw: Draw,
) -> World<Handed> {
    let mut hosts = vec![Host::new(CLIENTS, 0, None, draw, Rng::new(seed + 1), 0)];
    for nth in 0..2 {
        let address: std::net::SocketAddr = format!("{}:80", backend(nth, false)).parse().unwrap();
        let (mac, rng) = ([2, 0, 0, 0, 1, nth as u8], Rng::new(seed + 2 + nth as u64));
        let mut host = Host::new(mac, 1, Some(address), draw, rng, (nth as u64 + 1) << 32);
        host.addresses.push(address.ip());
        host.least_buffer = PROMISED;
        host.beyond = (1 << SHIFT) - 1;
        hosts.push(host);
    }
    let middle = Handed::new(program, cookies, Rng::new(seed ^ 0xbeef));
    let mut world = World::new(seed, &[weather; 2], middle, hosts);
    world.monitor.in_order = weather.reorder + weather.duplicate == 0 && weather.jitter == 0;
    let mut rng = Rng::new(seed ^ 0xc0ffee);
    for nth in 0..clients {
        let (habits, script) = draw(&mut rng);
        let at = 5 * SECOND + nth as u64 * 700;
        world.plan(at, 0, client(nth, rng.chance(400)), habits, speaks(script));
    }
    world
}

impl World<Handed> {
    /// After a run: every connection is as it must be but for so many, what was peeked at is what was said, nothing is
    /// left.
    fn finish_handed(&mut self, failures: usize) {
        let failed = self.failures(Self::backend_of);
        self.expect(&failed, failures);
        for peer in &self.hosts[0].peers {
            let Some(peeked) = self.middle.peeked(peer.ends.local) else { continue };
            let said = peer.stream;
            assert!(peeked.begins(said), "seed {}: {peeked:?} of {said:?}", self.seed);
        }
        self.pass(SETTLE);
        self.middle.look_again(self.now);
        self.pass(5 * SECOND);
        for _ in 0..200 {
            if !self.middle.audit().is_empty() {
                self.pass(10_000);
            }
        }
        let faults = [&self.monitor.faults, &self.middle.faults].map(|faults| faults.first());
        assert_eq!(faults, [None, None], "seed {}", self.seed);
        let books = self.middle.audit();
        assert!(books.is_empty(), "seed {}: {books:#?}\n{:?}", self.seed, self.middle.stats());
    }
}

#[test]
fn a_program_has_everybody_joined_in_any_weather() {
    let weathers = [(Weather::CLEAR, 0), (Weather::RAIN, 0), (Weather::STORM, 3)];
    for (nth, cookies) in (0..).zip(MODES) {
        for (at, (weather, lost)) in (0..).zip(weathers) {
            hunt(7000 + 10 * nth + at, |seed| {
                let setup = (Program::EAGER, cookies);
                let mut world = crowd(seed, weather, setup, 12, |rng| short(orderly(rng)));
                world.run(900 * SECOND);
                assert!(world.middle.told >= 12 - lost);
                world.finish_handed(lost);
            });
        }
    }
}

/// Ends that break off in any state, and a program that resets: everybody comes to an end, and nothing is left.
#[test]
fn whatever_breaks_is_told_once() {
    for (seed, cookies) in (7100..).zip(MODES) {
        let program = Program { resets: 4, every: 2 * MILLI, ..Program::EAGER };
        hunt(seed, |seed| {
            let mut world =
                crowd(seed, Weather::RAIN, (program, cookies), 40, |rng| short(any(rng)));
            world.run(900 * SECOND);
            world.backends_break = true;
            assert!(world.middle.reset > 0);
            world.finish_handed(40);
        });
    }
}

/// A ring of 16 events, a program that takes 8 of them every 20 ms: everybody waits for a turn and gets it.
#[test]
fn a_full_ring_recovers_by_itself() {
    for (seed, cookies) in (7200..).zip(MODES) {
        let program = Program { ring: 16, every: 20 * MILLI, at_once: 8, ..Program::EAGER };
        hunt(seed, |seed| {
            let mut world =
                crowd(seed, Weather::CLEAR, (program, cookies), 120, |rng| short(orderly(rng)));
            world.run(900 * SECOND);
            let stats = world.middle.stats();
            assert!(stats.dropped(Reason::RingFull) > 0);
            assert_eq!(
                world.middle.count(ServiceCounter::RingFull),
                stats.dropped(Reason::RingFull)
            );
            world.finish_handed(0);
        });
    }
}

/// The program dies in the crowd and another takes its place a second later. What was proxied goes on, what was not is
/// reset, and who comes meanwhile is let in when somebody is there.
#[test]
fn a_program_that_dies_is_replaced() {
    for (seed, gone) in [(7300, "reset"), (7301, "drain")] {
        hunt(seed, |seed| {
            let program = Program { gone, every: 5 * MILLI, ..Program::EAGER };
            let setup = (program, Cookies::Auto);
            let mut world = crowd(seed, Weather::CLEAR, setup, 80, |rng| short(orderly(rng)));
            world.run(4 * SECOND + 30 * MILLI);
            world.middle.die();
            world.run(SECOND);
            let now = world.now;
            world.middle.attach(now);
            world.run(900 * SECOND);
            let resets =
                world.hosts[0].peers.iter().filter(|peer| peer.outcome == Some(Outcome::Reset));
            let resets = resets.count();
            assert!((1..80).contains(&resets), "{resets}");
            assert!(world.middle.stats().dropped(Reason::NoConsumer) > 0);
            assert_eq!(world.middle.count(ServiceCounter::ConsumersLost), 1);
            world.backends_break = true;
            world.finish_handed(0);
        });
    }
}

/// A program that looks at nothing any more is given up after its timeout.
#[test]
fn a_program_that_falls_silent_is_given_up() {
    hunt(7400, |seed| {
        let program = Program { timeout: "2s", ..Program::EAGER };
        let setup = (program, Cookies::Never);
        let mut world = crowd(seed, Weather::CLEAR, setup, 40, |rng| short(orderly(rng)));
        world.run(4 * SECOND + 10 * MILLI);
        world.middle.fall_silent();
        world.run(SECOND);
        assert_eq!(world.middle.count(ServiceCounter::ConsumersLost), 0);
        world.run(2 * SECOND);
        assert_eq!(world.middle.count(ServiceCounter::ConsumersLost), 1);
        assert!(world.middle.is_given_up());
        let now = world.now;
        world.middle.attach(now);
        world.middle.look_again(now);
        world.run(900 * SECOND);
        world.backends_break = true;
        world.finish_handed(0);
    });
}

/// A drain lets flows finish, resets what is left, and waits for the program to hear of all.
#[test]
fn a_drain_waits_for_the_program() {
    hunt(7500, |seed| {
        let setup = (Program { every: 30 * MILLI, ..Program::EAGER }, Cookies::Auto);
        let mut world = crowd(seed, Weather::CLEAR, setup, 60, |rng| short(orderly(rng)));
        world.run(4 * SECOND + 20 * MILLI);
        let now = world.now;
        world.middle.drain(now, 2000);
        world.pass(10 * SECOND);
        assert!(world.middle.is_idle());
        assert!(world.middle.told > 0);
        world.run(900 * SECOND);
        world.backends_break = true;
        world.finish_handed(60);
    });
}
