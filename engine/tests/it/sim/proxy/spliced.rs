//! Connections through the engine, scenario by scenario.

use usher::stats::Counter;

use super::super::engine::Cookies;
use super::super::network::Weather;
use super::super::peer::{Begin, Break, Close, Habits, Moment, Outcome, Peer, Script, State};
use super::super::plan::SECOND;
use super::super::rng::Rng;
use super::crowds::{client, world};
use super::engine::{Engine, Setup};
use super::host::{Draw, Manner};
use super::world::World;

fn echoes(_: &mut Rng) -> (Habits, Script) {
    (Habits::LINUX, Script { begin: Begin::OnFirstByte, ..Script::plain(20_000) })
}

/// Both forwardings, both ways to let a client in.
fn setups() -> Vec<Setup> {
    let modes = [Cookies::Always, Cookies::Never];
    let setup = |cookies, l2| Setup { cookies, l2, ..Setup::DEFAULT };
    modes.iter().flat_map(|&cookies| [false, true].map(|l2| setup(cookies, l2))).collect()
}

/// These clients one after the other, each with its habits and script, to backends that are drawn so.
fn meet(
    seed: u64,
    weather: Weather,
    setup: &Setup,
    backend: Draw,
    clients: &[(Habits, Script)],
) -> World<Engine> {
    let mut world = world(seed, weather, setup, backend);
    for (nth, &(habits, script)) in clients.iter().enumerate() {
        world.plan((5 + nth as u64) * SECOND, 0, client(nth, false), habits, script);
    }
    world.run(900 * SECOND);
    world
}

const LOSSY: Weather = Weather { loss: 60, delay: 5000, ..Weather::CLEAR };

/// Every pair of window scales, none included, with windows that fill.
#[test]
fn all_window_scales_meet() {
    for setup in setups() {
        for shift in [None, Some(0), Some(1), Some(7), Some(13), Some(14)] {
            let habits = |shift: Option<u8>| {
                let buffer = shift.map_or(65_535, |shift| 1 << (shift + 3).max(15));
                Habits { shift, buffer, ..Habits::LINUX }
            };
            let backend: Draw = |rng| {
                let shift = rng.pick(&[None, Some(0), Some(3), Some(9), Some(14)]);
                let buffer = shift.map_or(65_535, |shift: u8| 1 << (shift + 3).max(15));
                (Habits { shift, buffer, ..Habits::LINUX }, Script::plain(200_000))
            };
            let clients = [(habits(shift), Script::plain(200_000)); 6];
            meet(4000, LOSSY, &setup, backend, &clients).finish(0);
        }
    }
}

/// Each option that one end has and the other has not.
#[test]
fn options_that_differ_are_translated() {
    for setup in setups() {
        let without = [
            Habits { timestamps: false, ..Habits::LINUX },
            Habits { sack: false, ..Habits::LINUX },
            Habits { shift: None, buffer: 65_535, ..Habits::LINUX },
            Habits { ecn: true, ..Habits::LINUX },
            Habits { timestamps: false, sack: false, shift: None, buffer: 65_535, ..Habits::LINUX },
        ];
        let backend: Draw = |rng| {
            let (timestamps, sack, ecn) = (rng.chance(500), rng.chance(500), rng.chance(500));
            (Habits { timestamps, sack, ecn, ..Habits::LINUX }, Script::plain(60_000))
        };
        let clients: Vec<_> = without
            .iter()
            .cycle()
            .take(15)
            .map(|&habits| (habits, Script::plain(60_000)))
            .collect();
        let weather = Weather { mark: 30, ..LOSSY };
        meet(4010, weather, &setup, backend, &clients).finish(0);
    }
}

/// Sequence numbers and timestamps of both ends wrap, with losses around it: SACK blocks reach across.
#[test]
fn numbers_wrap_on_both_halves() {
    for setup in setups() {
        let mut world = world(4015, LOSSY, &setup, |_| (Habits::LINUX, Script::plain(60_000)));
        world.hosts.iter_mut().for_each(|host| host.wraps = true);
        let habits = Habits { mss: 536, ..Habits::LINUX };
        let script = Script { piece: 10_000, pause: SECOND, ..Script::plain(60_000) };
        for nth in 0..12 {
            world.plan((5 + nth as u64) * SECOND, 0, client(nth, false), habits, script);
        }
        world.run(300 * SECOND);
        world.finish(0);
    }
}

/// MSS of 88 to 8960, each against each: what is too large for the other end arrives in pieces.
#[test]
fn all_sizes_of_segments_meet() {
    for setup in setups() {
        let setup = Setup { mtu: 9000, ..setup };
        let backend: Draw = |rng| {
            let mss = rng.pick(&[88, 536, 1460, 8960]);
            let timestamps = rng.chance(500);
            (Habits { mss, timestamps, ..Habits::LINUX }, Script::plain(40_000))
        };
        let habits = [88, 536, 1460, 8960].map(|mss| Habits { mss, ..Habits::LINUX });
        let clients: Vec<_> =
            habits.iter().cycle().take(16).map(|&habits| (habits, Script::plain(40_000))).collect();
        meet(4020, LOSSY, &setup, backend, &clients).finish(0);
    }
}

/// Either end closes first and goes on reading, or both at once.
#[test]
fn closes_are_those_of_the_ends() {
    use State::{CloseWait, Closing, FinWait2, LastAck, TimeWait};
    let late = Close::After(10 * SECOND);
    let client_first: Draw =
        |_| (Habits::LINUX, Script { pause: SECOND, piece: 10_000, ..Script::plain(50_000) });
    let backend_first: Draw = |_| (Habits::LINUX, Script::plain(100));
    for setup in setups() {
        let passed = |client: Script, backend: Draw| {
            let mut world = meet(4030, Weather::CLEAR, &setup, backend, &[(Habits::LINUX, client)]);
            world.finish(0);
            let (host, peer) = world.backend_of(&world.hosts[0].peers[0]).unwrap();
            [world.hosts[0].peers[0].passed.clone(), world.hosts[host].peers[peer].passed.clone()]
        };
        let [client, backend] = passed(Script::plain(100), client_first);
        assert!(client.ends_with(&[FinWait2, TimeWait, State::Closed]), "{client:?}");
        assert!(backend.ends_with(&[CloseWait, LastAck, State::Closed]), "{backend:?}");
        let half = Script { pause: SECOND, piece: 10_000, close: late, ..Script::plain(50_000) };
        let [client, backend] = passed(half, backend_first);
        assert!(client.ends_with(&[CloseWait, LastAck, State::Closed]), "{client:?}");
        assert!(backend.ends_with(&[FinWait2, TimeWait, State::Closed]), "{backend:?}");
        let at_once = Script { begin: Begin::After(330), ..Script::plain(100) };
        let [client, backend] = passed(at_once, backend_first);
        assert!(client.contains(&Closing) && backend.contains(&Closing), "{client:?} {backend:?}");
    }
}

/// Each end breaks off in each state, in each way.
#[test]
fn breaks_in_every_state_reach_the_other_end() {
    for (seed, setup) in (4040..).zip(setups()) {
        let mut clients = Vec::new();
        for state in State::ALL {
            for how in [Break::Reset, Break::Forget, Break::Vanish] {
                let breaks = Some((Moment::In(state), how));
                clients.push((Habits::LINUX, Script { breaks, ..Script::plain(5000) }));
                let close = Close::Second(2 * SECOND);
                clients.push((Habits::LINUX, Script { breaks, close, ..Script::plain(5000) }));
            }
        }
        meet(seed, LOSSY, &setup, echoes, &clients).finish(0);
        let breaks: Draw = |rng| {
            let moment = Moment::In(rng.pick(&State::ALL));
            let how = rng.pick(&[Break::Reset, Break::Forget, Break::Vanish]);
            (Habits::LINUX, Script { breaks: Some((moment, how)), ..Script::plain(5000) })
        };
        let mut world =
            meet(seed, LOSSY, &setup, breaks, &[(Habits::LINUX, Script::plain(5000)); 40]);
        world.backends_break = true;
        world.finish(0);
    }
}

/// A world whose backends were healthy for four seconds; then these are not what they were.
fn turned(seed: u64, setup: &Setup, manner: Manner, which: &[usize]) -> World<Engine> {
    let mut world = world(seed, Weather::CLEAR, setup, echoes);
    world.pass(4 * SECOND);
    which.iter().for_each(|&host| world.hosts[host].manner = manner);
    world
}

/// Of three backends one serves: the client notices nothing but time.
#[test]
fn backends_that_do_not_serve_give_way() {
    for manner in [Manner::Refuses, Manner::IsSilent, Manner::IsHaunted, Manner::IsLate(4 * SECOND)]
    {
        for setup in setups() {
            let setup = Setup { backends: 3, connect: "9s", ..setup };
            let mut world = turned(4050, &setup, manner, &[1, 2]);
            for nth in 0..12 {
                let at = world.now + 1000 * (1 + nth as u64);
                world.plan(at, 0, client(nth, false), Habits::LINUX, Script::plain(5000));
            }
            world.run(300 * SECOND);
            world.finish(0);
            let retries = world.middle.total(Counter::BackendRetries);
            assert_eq!(retries > 0, manner != Manner::IsHaunted, "{manner:?}: {retries} retries");
        }
    }
}

/// When none serves, the client is told, before its handshake if that is known; and nothing is left.
#[test]
fn without_a_backend_the_client_is_reset() {
    for manner in [Manner::Refuses, Manner::IsSilent] {
        for setup in setups() {
            let mut world = turned(4060, &setup, manner, &[1, 2]);
            let at = world.now + 1000;
            world.plan(at, 0, client(0, false), Habits::LINUX, Script::plain(5000));
            world.plan(at + 100 * SECOND, 0, client(1, false), Habits::LINUX, Script::plain(5000));
            world.run(200 * SECOND);
            let outcomes: Vec<_> = world.hosts[0].peers.iter().map(|peer| peer.outcome).collect();
            assert_eq!(outcomes, [Some(Outcome::Reset), Some(Outcome::Refused)], "{manner:?}");
            world.finish(2);
        }
    }
}

/// A machine that is lost in mid-connection, and one that comes back without memory of it.
#[test]
fn a_backend_lost_in_mid_connection_ends_it() {
    for setup in setups() {
        let lost: Draw = |rng| {
            let how = if rng.chance(500) { Break::Vanish } else { Break::Forget };
            let breaks = Some((Moment::Received(50_000), how));
            (Habits::LINUX, Script { breaks, ..Script::plain(0) })
        };
        let clients = [(Habits::LINUX, Script::plain(300_000)); 6];
        let mut world = meet(4070, LOSSY, &setup, lost, &clients);
        let outcomes: Vec<_> = world.hosts[0].peers.iter().map(|peer| peer.outcome).collect();
        let ended = |end| outcomes.contains(&Some(end));
        assert!(ended(Outcome::Reset) && ended(Outcome::TimedOut), "{outcomes:?}");
        world.finish(0);
    }
}

/// A backend with a smaller window than the client was promised: what is too much is dropped there and sent
/// again.
#[test]
fn a_backend_with_less_room_than_was_promised_gets_all() {
    for setup in setups() {
        let small: Draw = |_| {
            let habits = Habits { shift: None, buffer: 2920, ..Habits::LINUX };
            (habits, Script { begin: Begin::OnFirstByte, ..Script::plain(20_000) })
        };
        let mut world = world(4080, Weather::CLEAR, &setup, small);
        world.hosts.iter_mut().for_each(|host| host.least_buffer = 0);
        for nth in 0..4 {
            let at = (5 + nth as u64) * SECOND;
            world.plan(at, 0, client(nth, false), Habits::LINUX, Script::plain(100_000));
        }
        world.run(300 * SECOND);
        for peer in &world.hosts[0].peers {
            let (host, index) = world.backend_of(peer).unwrap();
            let backend: &Peer = &world.hosts[host].peers[index];
            assert!(peer.heard.is(backend.stream) && backend.heard.is(peer.stream));
        }
    }
}

/// RFC 7323 §2.4: a backend whose whole window is less than a unit of the scale that its clients were offered.
#[test]
fn a_window_below_a_unit_is_used() {
    for setup in setups() {
        let tiny: Draw = |_| {
            let habits = Habits { shift: None, buffer: 120, mss: 88, ..Habits::LINUX };
            (habits, Script { begin: Begin::OnFirstByte, ..Script::plain(2000) })
        };
        let mut world = world(4085, Weather::CLEAR, &setup, tiny);
        world.hosts.iter_mut().for_each(|host| host.least_buffer = 0);
        for nth in 0..4 {
            let at = (5 + nth as u64) * SECOND;
            world.plan(at, 0, client(nth, false), Habits::LINUX, Script::plain(2000));
        }
        world.run(300 * SECOND);
        for peer in &world.hosts[0].peers {
            let (host, index) = world.backend_of(peer).unwrap();
            let backend: &Peer = &world.hosts[host].peers[index];
            assert!(peer.heard.is(backend.stream) && backend.heard.is(peer.stream));
        }
    }
}

/// RFC 6191 on both halves: a tuple of a client again and again, while the backend that closed first, and the
/// engine, are in TIME_WAIT.
#[test]
fn a_clients_tuple_is_used_again_at_once() {
    let closes: Draw = |rng| {
        let timestamps = rng.chance(700);
        (Habits { timestamps, ..Habits::LINUX }, Script::plain(100))
    };
    for setup in setups() {
        let mut world = world(4090, Weather::CLEAR, &Setup { backends: 1, ..setup }, closes);
        world.pass(4 * SECOND);
        let script = Script { close: Close::Second(5 * SECOND), ..Script::plain(100) };
        for round in 0..30 {
            world.plan(world.now + 1, 0, client(0, false), Habits::LINUX, script);
            world.run(20 * SECOND);
            assert_eq!(world.hosts[0].peers[round].outcome, Some(Outcome::Closed), "round {round}");
        }
        world.finish(0);
    }
}

/// Many connections a second through one own address, to two backends that close first and so have each
/// TIME_WAIT: none fails, and no port is kept back. As many as fit into a test; all of the ports are used, and
/// used again, with `USHER_SIM_REUSE=20000x60 cargo test --release -p usher --test it ports_are_used_again`.
#[test]
fn ports_are_used_again() {
    let asked = std::env::var("USHER_SIM_REUSE").ok();
    let numbers = asked.as_deref().and_then(|text| text.split_once('x'));
    let parsed = numbers.and_then(|(rate, seconds)| rate.parse().ok().zip(seconds.parse().ok()));
    let (rate, seconds): (u64, u64) = parsed.unwrap_or((200, 4));
    let closes: Draw =
        |_| (Habits::LINUX, Script { begin: Begin::OnFirstByte, ..Script::plain(100) });
    let setup = Setup { capacity: 2_000_000, cookies: Cookies::Never, ..Setup::DEFAULT };
    let mut world = world(4100, Weather::CLEAR, &setup, closes);
    let script = Script { close: Close::Second(5 * SECOND), ..Script::plain(100) };
    for nth in 0..rate * seconds {
        let at = 5 * SECOND + nth * SECOND / rate;
        world.plan(at, 0, client(nth as usize % 65_536, false), Habits::LINUX, script);
    }
    world.run((seconds + 60) * SECOND);
    let [retries, exhausted] = [Counter::BackendRetries, Counter::PortsExhausted]
        .map(|counter| world.middle.total(counter));
    assert_eq!((retries, exhausted), (0, 0));
    world.finish(0);
}
