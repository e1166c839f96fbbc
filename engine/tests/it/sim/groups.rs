//! More than one worker, more than one port, larger frames, another secret: what one worker on one port
//! cannot show.

use super::engine::{Cookies, Engine, NEXT_SECRET, Setup, world};
use super::frame::{ACK, PSH, SYN};
use super::hand::{Hand, REQUEST};
use super::network::Weather;
use super::plan::{Plan, SECOND};
use super::rng::Rng;
use super::server::Server;
use super::world::{World, client_ends, server_mac, service};

/// Longer than idle time, TIME_WAIT, markers and the last retransmission.
const SETTLE: u64 = 700 * SECOND;
/// The default of [`Setup::unix_ms`] is the first millisecond of this epoch.
const EPOCH: u32 = (Setup::DEFAULT.unix_ms / 64_000) as u32;
const MODES: [Cookies; 3] = [Cookies::Always, Cookies::Never, Cookies::Auto];

/// `clients` of any kind, at each port in turn.
fn crowd(seed: u64, setup: &Setup, clients: usize, adapt: fn(&mut Plan)) -> World<Engine> {
    let mut world = world(seed, Weather::RAIN, setup);
    let mut rng = Rng::new(seed ^ 0xc0ffee);
    for index in 0..clients {
        let mut plan = Plan::any(&mut rng);
        adapt(&mut plan);
        let ends = client_ends(index % setup.ports, index, plan.v6);
        world.add_at(2 * SECOND + index as u64 * 700, plan, ends);
    }
    world.run(600 * SECOND);
    world
}

#[test]
fn several_workers_on_several_ports_serve_everybody() {
    for (seed, cookies) in (800..).zip(MODES) {
        let setup = Setup { cookies, workers: 3, ports: 2, half_open_limit: 40, ..Setup::DEFAULT };
        super::crowds::hunt(seed, |seed| {
            let mut world = crowd(seed, &setup, 400, |_| {});
            let shares = world.server.shares();
            assert!(shares.iter().all(|&share| share > 50), "idle workers: {shares:?}");
            world.finish(SETTLE, 0);
        });
    }
}

/// The third ACK may come in by another queue than the SYN: it goes to the worker that issued the cookie.
#[test]
fn a_cookie_is_redeemed_by_its_worker() {
    let setup = Setup { cookies: Cookies::Always, workers: 4, ..Setup::DEFAULT };
    let mut moved = 0;
    for index in 0..12 {
        let mut world = world(803, Weather::CLEAR, &setup);
        let mut hand = Hand::new(index, index % 2 == 0);
        hand.knock(&mut world);
        world.server.reshuffle();
        let before = world.server.redirected();
        hand.fetch(&mut world);
        moved += usize::from((world.server.redirected() > 0) != (before > 0));
        assert_eq!(world.server.issued(), world.server.shares());
        assert_eq!(world.server.established(), 1);
        world.finish(SETTLE, 0);
    }
    assert!(moved > 1, "only {moved} came to another worker");
}

/// A service listens on its own port only.
#[test]
fn another_ports_service_is_met_with_silence() {
    let mut world = world(804, Weather::CLEAR, &Setup { ports: 2, ..Setup::DEFAULT });
    let hand = Hand::new(0, true);
    let syn = hand.syn(&world);
    for (mac, address) in [(0, 1), (1, 0)] {
        let mut strange = syn.clone();
        (strange.dst_mac, strange.dst) = (server_mac(mac), service(address, false));
        assert!(world.inject(&strange).is_empty(), "port {mac} answered for port {address}");
    }
    assert_eq!(world.server.flows(), 0);
    assert_eq!(world.inject(&syn)[0].flags, SYN | ACK);
    world.finish(SETTLE, 0);
}

/// Peers that take 8960 bytes at once get them, and the others what they can take.
#[test]
fn a_jumbo_port_serves_everybody() {
    for (seed, cookies) in (810..).zip(MODES) {
        let setup = Setup { cookies, mtu: 9000, answer: 65_536, ..Setup::DEFAULT };
        let large = |plan: &mut Plan| plan.mss = plan.v6.then_some(8940).or(Some(8960));
        crowd(seed, &setup, 100, large).finish(SETTLE, 0);
        crowd(seed, &setup, 100, |_| {}).finish(SETTLE, 0);
    }
    let mut world =
        world(813, Weather::CLEAR, &Setup { mtu: 9000, answer: 9000, ..Setup::DEFAULT });
    let mut hand = Hand::new(0, false);
    let mut syn = hand.syn(&world);
    syn.options[0] = super::frame::Opt::Mss(8960);
    hand.ack = world.inject(&syn)[0].end();
    hand.seq = syn.end();
    let answers = hand.say(&mut world, ACK | PSH, REQUEST);
    let lengths: Vec<_> = answers.iter().map(|packet| packet.payload.len()).collect();
    assert_eq!(lengths, [8960, 40]);
}

/// Connections begin before, during and after the change of the secret, and none is lost to it.
#[test]
fn a_new_secret_costs_nobody_a_connection() {
    for seed in 820..823 {
        let setup = Setup {
            cookies: Cookies::Always,
            shared: true,
            next_secret_from: Some(EPOCH + 1),
            unix_ms: Setup::DEFAULT.unix_ms + 64_000 - 2100,
            ..Setup::DEFAULT
        };
        crowd(seed, &setup, 300, |_| {}).finish(SETTLE, 0);
    }
}

/// DESIGN §3: two epochs and their secrets are valid at any time, whichever secret they have.
#[test]
fn a_cookie_outlives_its_secret_by_an_epoch() {
    let setup = Setup {
        cookies: Cookies::Always,
        shared: true,
        next_secret_from: Some(EPOCH + 1),
        ..Setup::DEFAULT
    };
    for timestamps in [false, true] {
        let mut world = world(824, Weather::CLEAR, &setup);
        let mut hands: Vec<_> = (0..4).map(|index| Hand::new(index, timestamps)).collect();
        hands[0].knock(&mut world);
        hands[1].knock(&mut world);
        world.pass(64 * SECOND);
        hands[2].knock(&mut world);
        hands[0].fetch(&mut world);
        world.pass(64 * SECOND);
        let late = hands[1].segment(&world, ACK | PSH, REQUEST);
        assert!(world.inject(&late).is_empty(), "a cookie of two epochs ago was redeemed");
        hands[2].fetch(&mut world);
        hands[3].knock(&mut world);
        hands[3].fetch(&mut world);
        assert_eq!(world.server.established(), 3);
        world.finish(SETTLE, 0);
    }
}

/// A successor that knows the new secret alone redeems what was issued under it, and nothing older.
#[test]
fn from_its_epoch_on_cookies_are_proved_by_the_new_secret() {
    let old = Setup {
        cookies: Cookies::Always,
        shared: true,
        next_secret_from: Some(EPOCH + 1),
        ..Setup::DEFAULT
    };
    let new = Setup { secret: NEXT_SECRET, next_secret_from: None, ..old };
    let mut world = world(827, Weather::CLEAR, &old);
    let (mut before, mut after) = (Hand::new(0, true), Hand::new(1, true));
    before.knock(&mut world);
    world.pass(64 * SECOND);
    after.knock(&mut world);
    world.server = Engine::new(828, world.now, &new);
    let third = before.segment(&world, ACK | PSH, REQUEST);
    assert!(world.inject(&third).is_empty());
    after.fetch(&mut world);
    assert_eq!(world.server.established(), 1);
    world.finish(SETTLE, 0);
}

/// With a shared secret an engine redeems what its predecessor issued, and nothing without.
#[test]
fn a_restart_honours_the_cookies_of_before() {
    for shared in [true, false] {
        let setup = Setup { cookies: Cookies::Always, shared, ..Setup::DEFAULT };
        let mut world = world(825, Weather::CLEAR, &setup);
        let mut hand = Hand::new(0, true);
        hand.knock(&mut world);
        world.pass(SECOND);
        world.server = Engine::new(826, world.now, &setup);
        let third = hand.segment(&world, ACK, b"");
        assert!(world.inject(&third).is_empty());
        assert_eq!(world.server.established(), u64::from(shared));
        if shared {
            hand.fetch(&mut world);
        }
        world.finish(SETTLE, 0);
    }
}
