//! Many clients at once, in every mode and weather, with floods beside them.

use super::engine::{Cookies, Engine, Setup, world};
use super::frame::{ACK, PSH, SYN};
use super::hand::{Hand, REQUEST};
use super::network::Weather;
use super::plan::{MILLI, Plan, SECOND};
use super::rng::Rng;
use super::server::Server;
use super::world::World;

/// Longer than idle time, TIME_WAIT, markers and the last retransmission.
const SETTLE: u64 = 700 * SECOND;

fn crowd(
    seed: u64,
    weather: Weather,
    setup: &Setup,
    clients: u64,
    plan: fn(&mut Rng) -> Plan,
) -> World<Engine> {
    let mut world = world(seed, weather, setup);
    let mut rng = Rng::new(seed ^ 0xc0ffee);
    for index in 0..clients {
        let plan = plan(&mut rng);
        world.add(2 * SECOND + index * 700, plan);
    }
    world.run(600 * SECOND);
    let established = world.server.established();
    assert!(
        established <= clients,
        "seed {seed}: {established} flows were opened for {clients} clients"
    );
    world
}

/// Runs a mode and a weather with one seed, or with as many as `USHER_SIM_SEEDS` says: for hunting.
pub(crate) fn hunt(first: u64, run: impl Fn(u64)) {
    let seeds =
        std::env::var("USHER_SIM_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    (0..seeds).for_each(|index| run(first + 1000 * index));
}

const MODES: [Cookies; 3] = [Cookies::Always, Cookies::Never, Cookies::Auto];

#[test]
fn everybody_is_served_in_clear_weather() {
    for (seed, cookies) in (100..).zip(MODES) {
        let setup = Setup { cookies, ..Setup::default() };
        hunt(seed, |seed| crowd(seed, Weather::CLEAR, &setup, 700, Plan::any).finish(SETTLE, 0));
    }
}

#[test]
fn everybody_is_served_in_rain() {
    for (seed, cookies) in (200..).zip(MODES) {
        for answer in [1, 5000, 65_536] {
            let setup = Setup { cookies, answer, ..Setup::default() };
            let clients = if answer > 10_000 { 100 } else { 300 };
            hunt(seed, |seed| {
                crowd(seed, Weather::RAIN, &setup, clients, Plan::any).finish(SETTLE, 0)
            });
        }
    }
}

/// No flow breaks on a reload, whatever state it is in.
#[test]
fn nobody_notices_reloads() {
    for (seed, cookies) in (900..).zip(MODES) {
        let setup = Setup { cookies, answer: 30_000, ..Setup::default() };
        hunt(seed, |seed| {
            let mut world = world(seed, Weather::RAIN, &setup);
            let mut rng = Rng::new(seed);
            for index in 0..200 {
                world.add(2 * SECOND + index * 20_000, Plan::orderly(&mut rng));
            }
            for nth in 0..100 {
                world.run(100 * MILLI);
                world.server.reload(world.now, nth);
            }
            world.run(600 * SECOND);
            world.finish(SETTLE, 0);
        });
    }
}

/// Every fifth frame is lost or spoilt: a connection may be given up, but nothing may be left.
#[test]
fn nearly_everybody_is_served_in_a_storm() {
    for (seed, cookies) in (300..).zip(MODES) {
        let setup = Setup { cookies, answer: 9000, ..Setup::default() };
        hunt(seed, |seed| crowd(seed, Weather::STORM, &setup, 250, Plan::any).finish(SETTLE, 10));
    }
}

/// Ticks wrap after 49.7 days, TSvals as often: nobody notices.
#[test]
fn clocks_wrap_unnoticed() {
    for (seed, cookies) in (450..).zip(MODES) {
        let wrap = 1 << 32;
        let uptime_ms = wrap - 20_000 - seed;
        let setup = Setup {
            cookies,
            answer: 9000,
            uptime_ms,
            unix_ms: 411 * wrap - 15_000,
            ..Setup::default()
        };
        crowd(seed, Weather::STORM, &setup, 150, Plan::any).finish(SETTLE, 6);
    }
}

/// The port completes checksums, and the parser is told that they are good.
#[test]
fn a_port_with_offloads_serves_as_well() {
    let setup = Setup { offloads: true, ..Setup::default() };
    crowd(400, Weather::RAIN, &setup, 300, Plan::any).finish(SETTLE, 0);
}

/// Through a switch that tags, with any priority.
#[test]
fn a_port_with_a_vlan_serves_as_well() {
    let setup = Setup { vlan: 7, offloads: true, ..Setup::default() };
    crowd(410, Weather::RAIN, &setup, 200, Plan::any).finish(SETTLE, 0);
    let setup = Setup { vlan: 4094, ..Setup::default() };
    crowd(411, Weather::RAIN, &setup, 200, Plan::any).finish(SETTLE, 0);
}

/// A port so small that buffers run out and frames are refused: what is lost is sent again.
#[test]
fn a_tiny_port_loses_frames_and_no_buffers() {
    for (seed, cookies) in (420..).zip(MODES) {
        let setup = Setup { cookies, buffers: 24, ring: 12, answer: 30_000, ..Setup::default() };
        crowd(seed, Weather::CLEAR, &setup, 60, Plan::orderly).finish(SETTLE, 0);
    }
}

/// SYNs from addresses that never answer.
fn flood(world: &mut World<Engine>, syns: usize, first: usize) {
    for index in 0..syns {
        let mut hand = Hand::new(0, index % 2 == 0);
        let host = (first + index) as u32;
        hand.ends.local.set_ip(std::net::Ipv4Addr::from(0xc612_0000 + host).into());
        hand.seq = host.wrapping_mul(2_654_435_761);
        let syn = hand.syn(world);
        world.inject(&syn);
    }
}

#[test]
fn cookies_serve_beside_a_flood() {
    for (seed, cookies) in [(500, Cookies::Auto), (501, Cookies::Always)] {
        let setup = Setup { cookies, half_open_limit: 64, answer: 3000, ..Setup::default() };
        let mut world = world(seed, Weather::CLEAR, &setup);
        let mut rng = Rng::new(seed);
        for round in 0..60 {
            flood(&mut world, 60, round * 60);
            let now = world.now;
            for _ in 0..3 {
                world.add(now, Plan::orderly(&mut rng));
            }
            world.pass(50_000);
            assert!(world.server.half_open() <= 64);
        }
        world.run(300 * SECOND);
        world.finish(SETTLE, 0);
    }
}

/// With `never` the limit refuses, and lets in again when the flood's records have timed out.
#[test]
fn without_cookies_the_half_open_limit_refuses_and_recovers() {
    let setup = Setup { cookies: Cookies::Never, half_open_limit: 50, ..Setup::default() };
    let mut world = world(502, Weather::CLEAR, &setup);
    flood(&mut world, 80, 0);
    assert_eq!(world.server.half_open(), 50);
    let refused = Hand::new(1, true);
    let syn = refused.syn(&world);
    assert!(world.inject(&syn).is_empty());
    world.pass(70 * SECOND);
    assert_eq!(world.server.half_open(), 0);
    Hand::new(1, true).knock(&mut world);
    world.finish(70 * SECOND, 0);
}

/// A full table refuses, whoever is in it stays, and it recovers.
#[test]
fn a_full_table_refuses_and_recovers() {
    for cookies in [Cookies::Never, Cookies::Always] {
        let setup =
            Setup { cookies, capacity: 64, half_open_limit: 1000, answer: 100, ..Setup::default() };
        let mut world = world(503, Weather::CLEAR, &setup);
        let capacity = world.server.capacity();
        let mut hands: Vec<_> = (0..capacity).map(|index| Hand::new(index, true)).collect();
        for hand in &mut hands {
            hand.connect(&mut world);
        }
        assert_eq!(world.server.flows(), capacity);
        let mut late = Hand::new(capacity, true);
        let syn = late.syn(&world);
        for answer in world.inject(&syn) {
            late.seq = syn.end();
            late.ack = answer.end();
            late.recent = answer.time().map_or(0, |(val, _)| val);
            let request = late.segment(&world, ACK | PSH, REQUEST);
            assert!(world.inject(&request).is_empty(), "a full table took a flow");
        }
        assert_eq!(world.server.flows(), capacity);
        // Those inside are served; then their markers and TIME_WAIT give way to new ones.
        for hand in &mut hands {
            hand.fetch(&mut world);
            hand.say(&mut world, ACK | super::frame::FIN, b"");
        }
        for index in 0..capacity / 2 {
            let mut hand = Hand::new(1000 + index, true);
            hand.connect(&mut world);
            hand.fetch(&mut world);
        }
        world.finish(SETTLE, 0);
    }
}

/// A SYN, its copy and somebody else's SYN in one burst.
#[test]
fn a_burst_is_handled_in_its_order() {
    let mut world =
        world(504, Weather::CLEAR, &Setup { cookies: Cookies::Never, ..Setup::default() });
    let (one, two) = (Hand::new(0, true), Hand::new(1, true));
    let (syn, other) = (one.syn(&world), two.syn(&world));
    let answers = world.inject_all(&[syn.clone(), syn, other]);
    assert_eq!(answers.len(), 3);
    assert!(answers.iter().all(|p| p.flags == SYN | ACK));
    assert_eq!((answers[0].seq, world.server.flows()), (answers[1].seq, 2));
    world.finish(SETTLE, 0);
}
