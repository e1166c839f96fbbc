//! What clients of the program send, and whether they have all of it back.

use std::net::SocketAddr;

use usher::stats::Counter;

use super::super::client::Ends;
use super::super::crowds::hunt;
use super::super::engine::Cookies;
use super::super::network::Weather;
use super::super::peer::{Close, Habits, Outcome, Peer, Script, State};
use super::super::plan::{MILLI, SECOND};
use super::super::proxy::crowds::{CLIENTS, client};
use super::super::proxy::drawn::{orderly, short, speaks};
use super::super::proxy::host::Host;
use super::super::proxy::world::World;
use super::super::rng::Rng;
use super::engine::{ANSWER, Engine, Setup};
use super::program::Manner;

/// Longer than the idle time, TIME_WAIT, and what follows a cookie.
const SETTLE: u64 = 500 * SECOND;
/// What is held of a flow until its program owns it.
const HOLD: usize = 14_600;
/// Lossy, and out of order.
const ROUGH: Weather =
    Weather { loss: 40, duplicate: 40, reorder: 100, delay: 3 * MILLI, ..Weather::CLEAR };

fn world(seed: u64, weather: Weather, setup: &Setup) -> World<Engine> {
    let host = Host::new(CLIENTS, 0, None, orderly, Rng::new(seed + 1), 0);
    let mut world = World::new(seed, &[weather], Engine::new(setup, seed), vec![host]);
    world.echoes = true;
    world.monitor.in_order = weather.reorder + weather.duplicate == 0 && weather.jitter == 0;
    world
}

/// These clients one after the other, so many microseconds apart.
fn meet(
    world: &mut World<Engine>,
    apart: u64,
    clients: impl IntoIterator<Item = (Habits, Script)>,
) {
    for (nth, (habits, script)) in clients.into_iter().enumerate() {
        let at = world.now + 5 * SECOND + nth as u64 * apart;
        world.plan(at, 0, client(nth, nth % 3 == 1), habits, script);
    }
    world.run(1500 * SECOND);
}

fn is_closed(peer: &Peer) -> bool {
    peer.outcome.map_or(peer.state() == State::TimeWait, |outcome| outcome == Outcome::Closed)
}

impl World<Engine> {
    /// What is wrong with a client whose stream is to come back to it, or is only to be heard by the program.
    fn fault(&self, peer: &Peer, echoes: bool) -> Option<String> {
        let whole = if echoes { peer.heard.is(peer.stream) } else { peer.heard.len == 0 };
        let sent = peer.acknowledged() == peer.stream.len;
        match peer.faults.first() {
            Some(fault) => Some(fault.clone()),
            None if !is_closed(peer) => Some(format!("ended as {:?}", peer.outcome)),
            None if !whole || !sent => Some(format!("{:?} of {:?}", peer.heard, peer.stream)),
            None => None,
        }
    }

    /// After a run: every client has its stream back, the program heard of every end, nothing is left.
    fn finish_echo(&mut self, failures: usize) {
        self.finish(failures, |world, peer| world.fault(peer, true));
    }

    fn finish(&mut self, failures: usize, fault: impl Fn(&Self, &Peer) -> Option<String>) {
        let peers = self.hosts[0].peers.iter().enumerate();
        let failed: Vec<_> =
            peers.filter_map(|(nth, peer)| Some((nth, fault(self, peer)?))).collect();
        if let Some((nth, why)) = failed.get(failures) {
            let peer = &self.hosts[0].peers[*nth];
            panic!(
                "seed {}: {} failed, one is {nth}: {why}\n{:?}\n{:?}\n{}",
                self.seed,
                failed.len(),
                peer.habits,
                peer.script,
                self.story(&[(0, *nth)])
            );
        }
        self.pass(SETTLE);
        let faults = &self.monitor.faults;
        assert!(faults.is_empty(), "seed {}: {} faults: {:?}", self.seed, faults.len(), faults[0]);
        let disorderly = self.middle.program.disorderly();
        assert!(disorderly.len() <= failures, "seed {}: {disorderly:?}", self.seed);
        let books = self.middle.audit();
        assert!(books.is_empty(), "seed {}: {books:#?}\n{:?}", self.seed, self.middle.stats());
    }
}

const MODES: [Cookies; 3] = [Cookies::Always, Cookies::Never, Cookies::Auto];

fn crowd(seed: u64, weather: Weather, setup: &Setup, clients: usize) -> World<Engine> {
    let mut world = world(seed, weather, setup);
    let mut rng = Rng::new(seed ^ 0xc0ffee);
    let drawn = (0..clients).map(|_| {
        let (habits, script) = short(orderly(&mut rng));
        (habits, speaks(script))
    });
    meet(&mut world, 700, drawn.collect::<Vec<_>>());
    world
}

#[test]
fn every_byte_comes_back_in_clear_weather() {
    for (seed, cookies) in (7000..).zip(MODES) {
        let setup = Setup { cookies, ..Setup::DEFAULT };
        hunt(seed, |seed| crowd(seed, Weather::CLEAR, &setup, 40).finish_echo(0));
    }
}

#[test]
fn every_byte_comes_back_under_loss_duplication_and_reordering() {
    for (seed, cookies) in (7010..).zip(MODES) {
        let setup = Setup { cookies, ..Setup::DEFAULT };
        hunt(seed, |seed| crowd(seed, ROUGH, &setup, 25).finish_echo(0));
        hunt(seed + 5, |seed| crowd(seed, Weather::RAIN, &setup, 25).finish_echo(0));
    }
}

#[test]
fn nearly_everybody_has_all_back_in_a_storm() {
    for (seed, cookies) in (7020..).zip(MODES) {
        let setup = Setup { cookies, ..Setup::DEFAULT };
        hunt(seed, |seed| crowd(seed, Weather::STORM, &setup, 15).finish_echo(3));
    }
}

/// A megabyte each, with the window open all the way.
#[test]
fn long_streams_come_back() {
    for (seed, weather) in [(7030, Weather::CLEAR), (7031, Weather { loss: 5, ..ROUGH })] {
        let mut world = world(seed, weather, &Setup::DEFAULT);
        meet(&mut world, 700, [(Habits::LINUX, Script::plain(1 << 20)); 4]);
        world.finish_echo(0);
    }
}

/// RFC 9293 §3.6: the client closes first and still hears all of its stream; or the program closes at once and
/// still hears all of the client's.
#[test]
fn either_side_closes_first_and_goes_on_hearing() {
    for (seed, weather) in [(7040, Weather::CLEAR), (7041, ROUGH)] {
        let script = Script { pause: 300 * MILLI, piece: 10_000, ..Script::plain(50_000) };
        let mut clients_first = world(seed, weather, &Setup::DEFAULT);
        meet(&mut clients_first, 700, [(Habits::LINUX, script); 6]);
        for peer in &clients_first.hosts[0].peers {
            assert!(peer.passed.contains(&State::FinWait2), "{:?}", peer.passed);
        }
        clients_first.finish_echo(0);

        let manner = Manner { closes_first: true, ..Manner::PROMPT };
        let mut program_first = world(seed + 5, weather, &Setup { manner, ..Setup::DEFAULT });
        meet(&mut program_first, 700, [(Habits::LINUX, script); 6]);
        for peer in &program_first.hosts[0].peers {
            assert!(peer.passed.contains(&State::CloseWait), "{:?}", peer.passed);
        }
        let heard = program_first.middle.program.flows.values().map(|flow| flow.heard);
        assert!(heard.clone().all(|bytes| bytes == 50_000), "{:?}", heard.collect::<Vec<_>>());
        program_first.finish(0, |world, peer| world.fault(peer, false));
    }
}

/// A program that reads little at a time: the window shuts and opens again, it never has more than the window
/// and what it has peeked at, and nothing is lost.
#[test]
fn a_slow_program_shuts_the_window_and_loses_nothing() {
    for (seed, weather) in [(7050, Weather::CLEAR), (7051, ROUGH)] {
        let manner = Manner { slow: Some((8000, 200 * MILLI)), ..Manner::PROMPT };
        let mut world = world(seed, weather, &Setup { manner, ..Setup::DEFAULT });
        let close = Close::After(SECOND);
        meet(&mut world, 700, [(Habits::LINUX, Script { close, ..Script::plain(400_000) }); 4]);
        assert!(world.middle.shut > 10, "{} windows were shut", world.middle.shut);
        let kept = world.middle.program.most_kept;
        assert!((50_000..=0xffff + HOLD).contains(&kept), "it had {kept} bytes");
        world.finish_echo(0);
    }
}

/// A client that reads little at a time: what the program wrote waits for it.
#[test]
fn a_slow_client_gets_all_of_it() {
    let mut world = world(7055, Weather::RAIN, &Setup::DEFAULT);
    let habits = Habits { buffer: 6000, ..Habits::LINUX };
    let script = Script { read_rate: Some(2000), ..Script::plain(100_000) };
    meet(&mut world, 700, [(habits, script); 6]);
    world.finish_echo(0);
}

/// A ring of few places, and a burst of flows: what finds no room comes again.
#[test]
fn a_small_ring_loses_nothing() {
    let setup = Setup { ring: 64, ..Setup::DEFAULT };
    let mut world = world(7060, Weather::CLEAR, &setup);
    meet(&mut world, 1, [(Habits::LINUX, Script::plain(20_000)); 60]);
    world.finish_echo(0);
}

/// A program that keeps every buffer: it gets no more than its share, which the statistics show; the port serves
/// others all the while; and when it lets go, everybody gets on.
#[test]
fn who_keeps_buffers_gets_no_more_and_starves_nobody() {
    let manner = Manner { hoards: true, ..Manner::PROMPT };
    let buffers = 1024;
    let setup = Setup { manner, buffers, ..Setup::DEFAULT };
    let mut world = world(7070, Weather::CLEAR, &setup);
    let hello: SocketAddr = "10.10.0.11:80".parse().unwrap();
    for nth in 0..40 {
        let at = world.now + SECOND + nth * MILLI;
        world.plan(at, 0, client(nth as usize, false), Habits::LINUX, Script::plain(40_000));
    }
    let polite = Script { close: Close::Second(5 * SECOND), ..Script::plain(100) };
    for nth in 40..60 {
        let at = world.now + 10 * SECOND + nth * 100 * MILLI;
        let ends = Ends { remote: hello, ..client(nth as usize, false) };
        world.plan(at, 0, ends, Habits::LINUX, polite);
    }
    world.run(30 * SECOND);
    let budget = buffers as u64 / 4;
    assert_eq!(world.middle.most_leases, budget);
    assert_eq!(world.middle.stats().counter(Counter::LeasesOut), budget);
    let to_hello = |peer: &&Peer| peer.ends.remote == hello;
    let served: Vec<_> = world.hosts[0].peers.iter().filter(to_hello).collect();
    assert!(served.len() == 20 && served.iter().all(|peer| is_closed(peer)));
    assert!(served.iter().all(|peer| peer.heard.len == ANSWER as u64));

    world.middle.program.become_prompt();
    world.run(900 * SECOND);
    world.finish(0, |world, peer| match peer.ends.remote == hello {
        true => None,
        false => world.fault(peer, true),
    });
}
