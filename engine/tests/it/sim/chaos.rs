//! Peers that follow no protocol: segments with any flags, numbers near those that count, any window and
//! any timestamp, all with right checksums. Whatever they do, the monitor's rules hold, nothing panics,
//! and in the end no flow and no buffer is left.

use super::engine::{Cookies, Engine, Setup, world};
use super::frame::{ACK, FIN, Opt, PSH, Packet, RST, SYN};
use super::hand::Hand;
use super::network::Weather;
use super::plan::{MILLI, SECOND};
use super::rng::Rng;
use super::world::World;

/// A peer that knows the numbers of its connection and abuses them.
struct Fool {
    hand: Hand,
    /// What it may take for the truth: numbers seen from the server.
    acks: Vec<u32>,
    seqs: Vec<u32>,
}

impl Fool {
    fn new(index: usize, rng: &mut Rng) -> Self {
        let mut hand = Hand::new(index, rng.chance(500));
        hand.seq = rng.next() as u32;
        Self { acks: vec![0], seqs: vec![hand.seq], hand }
    }

    /// Mostly what a client would do next, with something changed.
    fn invent(&mut self, world: &World<Engine>, rng: &mut Rng) -> Packet {
        const USUAL: [u8; 12] = [
            SYN,
            SYN,
            ACK,
            ACK,
            ACK,
            ACK | PSH,
            ACK | PSH,
            ACK | FIN,
            ACK | FIN,
            RST,
            RST | ACK,
            SYN | ACK,
        ];
        let flags = if rng.chance(930) { rng.pick(&USUAL) } else { rng.next() as u8 };
        self.hand.seq = rng.pick(&self.seqs).wrapping_add_signed(near(rng));
        self.hand.ack = rng.pick(&self.acks).wrapping_add_signed(near(rng));
        self.hand.window = rng.pick(&[60_000, 60_000, 5000, 100, 1, 0]);
        let payload = [b'x'; 1400];
        let len = if flags & ACK == 0 { 0 } else { rng.pick(&[0, 0, 0, 1, 100, 1400]) };
        let mut packet = self.hand.segment(world, flags, &payload[..len]);
        if flags & SYN != 0 {
            // The same offer for the same number: the monitor could not tell which one was taken.
            let pick = packet.seq as usize;
            let mss = [100, 536, 1460, 65_535][pick % 4];
            packet.options.extend([Opt::Mss(mss), Opt::Scale([0, 7, 14, 255][pick / 4 % 4])]);
        } else if rng.chance(50) {
            packet.options.clear();
        } else if rng.chance(50) {
            packet.options = vec![Opt::Time(rng.next() as u32, rng.next() as u32)];
        }
        self.seqs.push(packet.end());
        self.keep_short();
        packet
    }

    fn learn(&mut self, answer: &Packet) {
        self.acks.push(answer.end());
        self.seqs.push(answer.ack);
        if let Some((val, _)) = answer.time() {
            self.hand.recent = val;
        }
        self.keep_short();
    }

    /// Recent numbers only, the newest several times as likely.
    fn keep_short(&mut self) {
        for numbers in [&mut self.acks, &mut self.seqs] {
            if numbers.len() > 4 {
                numbers.remove(0);
            }
        }
    }
}

fn near(rng: &mut Rng) -> i32 {
    let small = rng.pick(&[0, 0, 0, 0, 0, 0, 1, -1, 2, 1400, -1400, 65_535, -65_536, 1 << 30]);
    if rng.chance(20) { rng.next() as i32 } else { small }
}

/// One run: a few fools and much time.
fn run(seed: u64, setup: &Setup, fools: usize, steps: usize) -> World<Engine> {
    let mut world = world(seed, Weather::CLEAR, setup);
    let mut rng = Rng::new(seed);
    let mut fools: Vec<_> = (0..fools).map(|index| Fool::new(index, &mut rng)).collect();
    for _ in 0..steps {
        let which = rng.below(fools.len() as u64) as usize;
        let burst: Vec<_> =
            (0..=rng.below(3)).map(|_| fools[which].invent(&world, &mut rng)).collect();
        for answer in world.inject_all(&burst) {
            fools[which].learn(&answer);
        }
        let pause = rng.pick(&[0, 0, 0, MILLI, MILLI, 200 * MILLI, 2 * SECOND, 30 * SECOND]);
        if rng.chance(200) {
            world.pass(pause);
        }
        world.check_wire();
    }
    world.finish(900 * SECOND, 0);
    world
}

const fn roomy(cookies: Cookies) -> Setup {
    Setup { cookies, answer: 9000, half_open_limit: 4, ..Setup::DEFAULT }
}

const fn tight(cookies: Cookies) -> Setup {
    Setup { cookies, answer: 300, capacity: 16, half_open_limit: 4, ..Setup::DEFAULT }
}

#[test]
fn fools_break_no_rule() {
    for (seed, cookies) in (600..).zip([Cookies::Always, Cookies::Never, Cookies::Auto]) {
        super::crowds::hunt(seed, |seed| {
            drop(run(seed, &roomy(cookies), 6, 1200));
            drop(run(seed, &tight(cookies), 60, 1200));
        });
    }
}

/// The same frames at the same times.
#[test]
fn a_seed_is_a_run() {
    let run = || run(605, &tight(Cookies::Auto), 60, 1200);
    assert!(run().trace() == run().trace());
}

/// The limits' allowances, which are random a connection and a second, are the seed's as well.
#[test]
fn a_seed_allows_the_same_answers() {
    let drawn = || -> Vec<usize> {
        let mut world = world(606, Weather::CLEAR, &roomy(Cookies::Never));
        let challenges = |index| {
            let mut hand = Hand::new(index, true);
            hand.connect(&mut world);
            let syn = hand.syn(&world);
            (0..60).map(|_| world.inject(&syn).len()).sum()
        };
        (0..4).map(challenges).collect()
    };
    let first = drawn();
    assert!(first.iter().all(|drawn| (20..40).contains(drawn)), "{first:?}");
    assert_eq!(first, drawn());
}

/// The window of a segment that acknowledged more, but had an older number, was not believed.
#[test]
fn seed_21601_overran_the_window() {
    run(21_601, &roomy(Cookies::Never), 6, 4000);
}
