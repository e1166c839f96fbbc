//! Clients and network held to account by the reference server, before they judge the engine.

use super::frame::{self, ACK, FIN, Opt, Packet};
use super::network::Weather;
use super::plan::{Close, Plan, SECOND, Style, Third};
use super::rng::Rng;
use super::server::{Reference, Server};
use super::world::{SERVER_MAC, World};

pub(crate) fn answer(len: usize) -> Vec<u8> {
    (0..len).map(|at| b'0' + (at * 31 % 43) as u8).collect()
}

fn world(seed: u64, weather: Weather, len: usize) -> World<Reference> {
    World::new(seed, weather, answer(len), Reference::new(SERVER_MAC, answer(len)))
}

#[test]
fn every_style_and_close_is_served_in_clear_weather() {
    let mut world = world(1, Weather::CLEAR, 20_000);
    for style in Style::ALL {
        for close in Close::ORDERLY {
            for third in [Third::AckThenRequest, Third::AckAndWait(5000), Third::WithRequest] {
                for v6 in [false, true] {
                    world.add(2 * SECOND, Plan { style, close, third, v6, ..Plan::plain() });
                }
            }
        }
    }
    world.run(60 * SECOND);
    world.finish(120 * SECOND, 0);
}

#[test]
fn all_are_served_in_rain_and_nearly_all_in_a_storm() {
    for (seed, weather, failures) in [(2, Weather::RAIN, 0), (3, Weather::STORM, 3)] {
        let mut world = world(seed, weather, 9000);
        let mut rng = Rng::new(seed);
        for index in 0..100 {
            world.add(SECOND + index * 1000, Plan::any(&mut rng));
        }
        world.run(400 * SECOND);
        world.finish(120 * SECOND, failures);
    }
}

/// A reference server whose packets are spoilt on the way out.
struct Liar(Reference, Lie);

type Lie = fn(&mut Packet);

impl Server for Liar {
    fn turn(&mut self, now: u64, burst: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let sent = self.0.turn(now, burst);
        let spoil = |frame: &Vec<u8>| {
            let mut packet = frame::read(frame).unwrap();
            (self.1)(&mut packet);
            packet.write()
        };
        sent.iter().map(spoil).collect()
    }

    fn flows(&self) -> usize {
        self.0.flows()
    }

    fn audit(&mut self) -> Vec<String> {
        self.0.audit()
    }
}

#[test]
fn the_monitor_notices_every_lie() {
    let lies: [(&str, Lie); 9] = [
        ("not the answer's bytes", |p| p.payload.iter_mut().for_each(|byte| *byte ^= 1)),
        ("only 81 arrived", |p| p.ack = p.ack.wrapping_add(u32::from(p.flags == ACK) * 5000)),
        ("TSval", |p| {
            let back = u32::from(p.flags == ACK);
            p.options.iter_mut().for_each(|o| {
                if let Opt::Time(val, _) = o {
                    *val -= back
                }
            })
        }),
        ("echoes a timestamp", |p| {
            p.options.iter_mut().for_each(|o| {
                if let Opt::Time(_, ecr) = o {
                    *ecr ^= 7
                }
            })
        }),
        ("no timestamps", |p| p.options.retain(|o| p.flags != ACK || !matches!(o, Opt::Time(..)))),
        ("MSS", |p| p.options.retain(|o| !matches!(o, Opt::Mss(_)))),
        ("answers no SYN", |p| p.ack = p.ack.wrapping_add(1)),
        ("to a stranger", |p| p.dst.set_port(9)),
        ("a second FIN", |p| p.flags |= u8::from(!p.payload.is_empty()) * FIN),
    ];
    for (what, lie) in lies {
        let liar = Liar(Reference::new(SERVER_MAC, answer(5000)), lie);
        let mut world = World::new(4, Weather::CLEAR, answer(5000), liar);
        world.add(2 * SECOND, Plan::plain());
        world.run(5 * SECOND);
        let faults = &world.monitor.faults;
        assert!(faults.iter().any(|fault| fault.contains(what)), "{what}: {:?}", faults.first());
    }
}
