//! Kernels and networks held to account by each other, before they judge the engine.

use std::cell::RefCell;
use std::net::SocketAddr;

use super::super::client::Ends;
use super::super::crowds::hunt;
use super::super::frame::{ACK, FIN, Mac, Opt, Packet, SYN};
use super::super::network::Weather;
use super::super::peer::{
    Begin, Break, Close, Habits, Marks, Moment, Outcome, Peer, Script, State,
};
use super::super::plan::SECOND;
use super::super::rng::Rng;
use super::cable::Cable;
use super::drawn::{any, jumbo, orderly, plain, speaks};
use super::host::{Draw, Host, Manner};
use super::world::World;

const CLIENT: Mac = [2, 0, 0, 0, 0, 1];
const BACKEND: Mac = [2, 0, 0, 0, 1, 1];
const BACKEND_IDS: u64 = 1 << 32;

fn backend_address(v6: bool) -> SocketAddr {
    if v6 { "[fd00:20::2]:80".parse().unwrap() } else { "10.20.0.2:80".parse().unwrap() }
}

fn ends(index: usize, v6: bool) -> Ends {
    let port = 1024 + (index % 60_000) as u16;
    let local: SocketAddr = if v6 {
        format!("[fd00:10::ff]:{port}").parse().unwrap()
    } else {
        format!("10.10.0.9:{port}").parse().unwrap()
    };
    Ends { mac: CLIENT, server_mac: BACKEND, local, remote: backend_address(v6) }
}

/// A client machine and a backend with a cable between them.
fn world(seed: u64, weather: Weather, v6: bool, draw: Draw) -> World<Cable> {
    let hosts = vec![
        Host::new(CLIENT, 0, None, draw, Rng::new(seed + 1), 0),
        Host::new(BACKEND, 1, Some(backend_address(v6)), draw, Rng::new(seed + 2), BACKEND_IDS),
    ];
    World::new(seed, &[weather, Weather::CLEAR], Cable { spoil: None }, hosts)
}

/// The newest connection of the backend that has the client's tuple.
fn partner(world: &World<Cable>, client: &Peer) -> Option<(usize, usize)> {
    let own = (client.ends.local, client.ends.remote);
    let fits = |peer: &Peer| (peer.ends.remote, peer.ends.local) == own;
    Some((1, world.hosts[1].peers.iter().rposition(fits)?))
}

fn crowd(seed: u64, weather: Weather, clients: usize, draw: Draw) -> World<Cable> {
    let v6 = seed % 2 == 1;
    let mut world = world(seed, weather, v6, draw);
    let mut rng = Rng::new(seed);
    for index in 0..clients {
        let (habits, script) = draw(&mut rng);
        world.plan(SECOND + index as u64 * 700, 0, ends(index, v6), habits, speaks(script));
    }
    world.run(900 * SECOND);
    world
}

fn expect_all(world: &World<Cable>) {
    world.expect(&world.failures(partner), 0);
}

#[test]
fn all_kernels_understand_each_other_in_clear_weather() {
    hunt(2000, |seed| expect_all(&crowd(seed, Weather::CLEAR, 120, orderly)));
    hunt(2001, |seed| expect_all(&crowd(seed, Weather::CLEAR, 40, jumbo)));
}

#[test]
fn all_kernels_understand_each_other_in_rain_and_storm() {
    for (first, weather, clients) in
        [(2010, Weather::RAIN, 80), (2011, Weather::RAIN, 80), (2012, Weather::STORM, 40)]
    {
        hunt(first, |seed| expect_all(&crowd(seed, weather, clients, orderly)));
    }
    hunt(2013, |seed| expect_all(&crowd(seed, Weather::RAIN, 20, jumbo)));
}

/// Whoever breaks off in whatever state, the other comes to an end; and every state was broken off in.
#[test]
fn whatever_breaks_comes_to_an_end() {
    let seen = RefCell::new(Vec::new());
    hunt(2020, |seed| {
        let world = crowd(seed, Weather::RAIN, 300, any);
        expect_all(&world);
        let peers = world.hosts.iter().flat_map(|host| &host.peers);
        let broken = peers.filter(|peer| matches!(peer.outcome, Some(Outcome::Broken(_))));
        seen.borrow_mut().extend(broken.flat_map(|peer| peer.passed.iter().copied()));
    });
    for state in State::ALL {
        assert!(seen.borrow().contains(&state), "{state:?} was never broken off in");
    }
}

/// RFC 9293 §3.3.2: each way to close passes its states.
#[test]
fn closes_pass_their_states() {
    use State::*;
    let first = Script::plain(100);
    let second = Script { close: Close::Second(5 * SECOND), ..Script::plain(100) };
    let passed = |client: Script, backend: Draw| -> [Vec<State>; 2] {
        let mut world = world(2030, Weather::CLEAR, false, backend);
        world.plan(SECOND, 0, ends(0, false), Habits::LINUX, client);
        world.run(30 * SECOND);
        expect_all(&world);
        [0, 1].map(|host| {
            let passed = world.hosts[host].peers[0].passed.iter().copied();
            passed.skip_while(|state| [SynSent, SynRcvd, Established].contains(state)).collect()
        })
    };
    let waits: Draw =
        |_| (Habits::LINUX, Script { close: Close::Second(SECOND), ..Script::plain(9) });
    let closes: Draw = |_| (Habits::LINUX, Script::plain(9));
    let late: Draw =
        |_| (Habits::LINUX, Script { close: Close::After(SECOND), ..Script::plain(9) });
    let (active, passive) = (vec![FinWait1, FinWait2, TimeWait], vec![CloseWait, LastAck, Closed]);
    assert_eq!(passed(first, late), [active.clone(), passive.clone()]);
    assert_eq!(passed(second, closes), [passive, vec![FinWait1, TimeWait]]);
    let both = vec![FinWait1, Closing, TimeWait];
    let at_once = Script { begin: Begin::After(0), ..first };
    assert_eq!(passed(at_once, closes), [both.clone(), both]);
    assert!(passed(second, waits)[0].contains(&LastAck));
}

/// One client that fails as it must.
fn alone(seed: u64, manner: Manner, script: Script, limit: u64) -> World<Cable> {
    let mut world = world(seed, Weather::CLEAR, false, plain);
    world.hosts[1].manner = manner;
    world.plan(SECOND, 0, ends(0, false), Habits::LINUX, script);
    world.run(limit);
    world
}

#[test]
fn backends_have_their_manners() {
    let outcome = |world: &World<Cable>| world.hosts[0].peers[0].outcome;
    let refused = alone(2040, Manner::Refuses, Script::plain(9), 5 * SECOND);
    assert_eq!((outcome(&refused), refused.hosts[1].strays), (Some(Outcome::Refused), 1));
    let silent = alone(2041, Manner::IsSilent, Script::plain(9), 200 * SECOND);
    assert_eq!(outcome(&silent), Some(Outcome::TimedOut));
    let late = alone(2042, Manner::IsLate(20 * SECOND), Script::plain(9), 60 * SECOND);
    expect_all(&late);
    let haunted = alone(2043, Manner::IsHaunted, Script::plain(9), 60 * SECOND);
    expect_all(&haunted);
    assert_eq!(haunted.hosts[1].peers.len(), 1);
}

/// A machine that is lost is silent; one that came back knows nothing and says so.
#[test]
fn lost_machines_end_their_connections() {
    for (how, end) in [(Break::Vanish, Outcome::TimedOut), (Break::Forget, Outcome::Reset)] {
        let draw: Draw = match how {
            Break::Vanish => |_| (Habits::LINUX, lost(Break::Vanish)),
            _ => |_| (Habits::LINUX, lost(Break::Forget)),
        };
        let mut world = world(2050, Weather::CLEAR, false, draw);
        world.plan(SECOND, 0, ends(0, false), Habits::LINUX, Script::plain(200_000));
        world.run(300 * SECOND);
        expect_all(&world);
        assert_eq!(world.hosts[0].peers[0].outcome, Some(end));
    }
}

fn lost(how: Break) -> Script {
    Script { breaks: Some((Moment::Received(50_000), how)), ..Script::plain(0) }
}

/// RFC 6191: one tuple again and again, against a backend that closes first.
#[test]
fn time_wait_gives_way() {
    let closes: Draw = |rng| {
        let timestamps = rng.chance(500);
        (Habits { timestamps, ..Habits::LINUX }, Script::plain(100))
    };
    let mut world = world(2060, Weather::CLEAR, false, closes);
    let script = Script { close: Close::Second(5 * SECOND), ..Script::plain(100) };
    for round in 0..40 {
        world.plan(world.now + 1, 0, ends(0, false), Habits::LINUX, script);
        world.run(30 * SECOND);
        assert_eq!(world.hosts[1].peers.len(), round + 1);
        assert_eq!(world.hosts[1].peers[round].state(), State::TimeWait);
        assert_eq!(world.hosts[0].peers[round].outcome, Some(Outcome::Closed));
    }
    world.pass(70 * SECOND);
    assert_eq!(world.hosts[1].peers[39].outcome, Some(Outcome::Closed));
}

/// RFC 3168: marks are echoed until the sender says that it slowed down; nobody else hears of them.
#[test]
fn congestion_marks_are_echoed() {
    let mut marks = Marks::default();
    let draw: Draw =
        |rng| (Habits { ecn: rng.chance(800), ..Habits::LINUX }, Script::plain(60_000));
    let weather = Weather { mark: 50, ..Weather::RAIN };
    let world = crowd(2070, weather, 20, draw);
    expect_all(&world);
    for peer in world.hosts.iter().flat_map(|host| &host.peers) {
        marks.seen += peer.marks.seen;
        marks.echoes += peer.marks.echoes;
        marks.reduced += peer.marks.reduced;
    }
    assert!(marks.seen > 20 && marks.echoes > marks.seen / 2 && marks.reduced > 10, "{marks:?}");
}

type Lie = fn(usize, &mut Packet);

fn change_time(packet: &mut Packet, change: impl Fn(&mut u32)) {
    for option in &mut packet.options {
        if let Opt::Time(_, echo) = option {
            change(echo);
        }
    }
}

/// What a middle could do wrong is noticed by one of the ends.
#[test]
fn peers_notice_every_lie() {
    let lies: [(&str, Lie); 11] = [
        ("Heard", |_, p| p.payload.iter_mut().skip(8).for_each(|byte| *byte ^= 1)),
        ("acknowledges what was never sent", |port, p| {
            p.ack += if p.has(SYN) { 0 } else { port as u32 * 400_000 }
        }),
        ("the third ACK echoes no TSval", |_, p| {
            let off = u32::from(p.flags == ACK) * 5;
            change_time(p, |echo| *echo += off);
        }),
        ("echoes what was never sent", |port, p| {
            change_time(p, |echo| *echo += port as u32 * 1_000_000);
        }),
        ("no timestamps", |_, p| {
            let syn = p.has(SYN);
            p.options.retain(|o| syn || !matches!(o, Opt::Time(..)));
        }),
        ("scale only if offered", |_, p| p.options.extend(p.has(SYN).then_some(Opt::Scale(1)))),
        ("always an MSS", |port, p| p.options.retain(|o| port == 0 || !matches!(o, Opt::Mss(_)))),
        ("larger than the MSS", |_, p| {
            let more = if p.payload.len() > 1400 { 100 } else { 0 };
            p.payload.extend(vec![0; more]);
        }),
        ("data beyond the window", |_, p| p.window = p.window.saturating_mul(3)),
        ("SACK only if offered", |_, p| p.options.extend(p.has(SYN).then_some(Opt::SackOk))),
        ("a second FIN", |_, p| p.flags |= u8::from(p.payload.len() > 1000) * FIN),
    ];
    let draw: Draw = |_| {
        let begin = Begin::OnFirstByte;
        (bare(), Script { begin, read_rate: Some(5000), ..Script::plain(300_000) })
    };
    for (what, lie) in lies {
        let mut world = world(2080, Weather::CLEAR, false, draw);
        world.middle.spoil = Some(lie);
        world.plan(SECOND, 0, ends(0, false), bare(), Script::plain(300_000));
        world.run(60 * SECOND);
        let failures = world.failures(partner);
        let faults = world.hosts.iter().flat_map(|h| &h.peers).flat_map(|p| &p.faults);
        let noticed = faults.chain(failures.iter().map(|f| &f.why)).any(|f| f.contains(what));
        assert!(noticed, "{what}: {failures:?}");
    }
}

/// Without scaling and SACK, and with a small buffer.
fn bare() -> Habits {
    Habits { shift: None, sack: false, buffer: 20_000, ..Habits::LINUX }
}
