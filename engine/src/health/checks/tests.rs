//! Checks of several backends, against a clock that is moved by hand.

use std::path::Path;

use proptest::prelude::*;
use usher_proto::wire::{Addr, Flags, Options};

use super::*;
use crate::config::Plan;
use crate::service::Slots;

/// A worker's part, reduced to what checks need.
struct Bench {
    slots: Slots,
    subjects: Subjects,
    backends: Backends,
    checks: Checks,
    ms: u64,
    next_port: u16,
}

/// A plan with these services, each with these backends' last bytes.
fn plan(services: &[(&str, &str)]) -> Plan {
    let head = "[engine]\ncores = [1]\n[[port]]\nname = \"wan\"\ndevice = \"net_null0\"\n\
                addresses = [\"10.10.0.2/16\"]\n";
    let service = |(index, (backends, more)): (usize, &(&str, &str))| {
        format!(
            "[[service]]\nname = \"s{index}\"\nlisten = [\"10.10.0.1{index}:80\"]\nkind = \"proxy\"\n\
             backends = [{backends}]\n{more}\n"
        )
    };
    let text: String = services.iter().enumerate().map(service).collect();
    Plan::parse(&format!("{head}{text}"), Path::new("a.toml")).unwrap_or_else(|e| panic!("{e}"))
}

const ONE: &str = "\"10.10.0.3:80\"";
const TWO: &str = "\"10.10.0.3:80\", \"10.10.0.4:80\"";

impl Bench {
    fn new(services: &[(&str, &str)]) -> Self {
        let mut bench = Self {
            slots: Slots::default(),
            subjects: Subjects::default(),
            backends: Backends::default(),
            checks: Checks::new(Position::ALONE, Seed::from_bytes([1; 32]), Tick(0)),
            ms: 0,
            next_port: 2000,
        };
        bench.renew(services);
        bench
    }

    /// Follows a plan; the checks that were given up.
    fn renew(&mut self, services: &[(&str, &str)]) -> Vec<Ended> {
        let plan = plan(services);
        self.slots = self.slots.renew(&plan.services).unwrap();
        self.subjects = Subjects::new(&plan.services, &self.slots);
        self.backends.renew(&self.slots);
        let (now, mut over) = (self.now(), Vec::new());
        self.checks.renew(&self.subjects, 7, &now, |ended| over.push(ended));
        over
    }

    fn now(&self) -> Now {
        Now::new(self.ms * 1000, 1_700_000_000_000 + self.ms)
    }

    fn task(&mut self) -> Option<Task> {
        let now = self.now();
        self.checks.next_task(&self.subjects, &mut self.backends, &now)
    }

    /// Begins the check that is due for `slot`; its connection and SYN.
    fn begin(&mut self, slot: u16) -> (Tuple, Reply) {
        let remote = self.subjects.get(slot).expect("a backend").remote;
        self.next_port += 1;
        let tuple = Tuple {
            remote: Addr::from(remote.ip()),
            local: Addr::v4([10, 10, 0, 2]),
            remote_port: remote.port(),
            local_port: self.next_port,
            ..Tuple::default()
        };
        let now = self.now();
        let isn = (SeqNum(100), 0);
        let syn = self.checks.begin(slot, tuple, isn, 1460, &self.subjects, &now);
        (tuple, syn.expect("a SYN"))
    }

    /// The backend's answer to the SYN of a check.
    fn answer(&mut self, tuple: Tuple, flags: Flags) -> Option<Taken> {
        let options = Options { mss: Some(1300), sack_permitted: true, ..Options::default() };
        let seg =
            Segment { tuple, ack: SeqNum(101), flags, window: 9000, options, ..Segment::default() };
        let now = self.now();
        self.checks.take(&seg, b"", &self.subjects, &mut self.backends, &now)
    }
}

#[test]
fn a_check_that_passes_teaches() {
    let mut bench = Bench::new(&[(TWO, "")]);
    assert_eq!(bench.task(), Some(Task::Begin(0)));
    let (tuple, syn) = bench.begin(0);
    assert!(syn.flags.has(Flags::SYN));
    assert_eq!(bench.task(), Some(Task::Begin(1)));
    bench.checks.postpone(1);
    assert_eq!(bench.task(), None);
    let stranger = Tuple { local_port: 9, ..tuple };
    assert_eq!(bench.answer(stranger, Flags::SYN | Flags::ACK), None);
    let Some(Taken::Ended(ended)) = bench.answer(tuple, Flags::SYN | Flags::ACK) else {
        panic!("it is over")
    };
    assert_eq!((ended.slot, ended.tuple, ended.failure, ended.turn), (0, tuple, None, None));
    assert!(ended.reply.unwrap().flags.has(Flags::RST));
    let backend = bench.backends.get(0);
    assert_eq!((backend.counts.passed, backend.learned.unwrap().mss), (1, 1300));
    bench.ms += u64::from(ECHOES) - 1;
    let late = bench.answer(tuple, Flags::FIN | Flags::ACK);
    assert_eq!(late, Some(Taken::Nothing), "sent before our RST was there");
    bench.ms += 1;
    assert_eq!(bench.answer(tuple, Flags::FIN | Flags::ACK), None, "our RST is lost");
}

#[test]
fn silence_is_asked_again_and_brings_a_backend_down() {
    let mut bench = Bench::new(&[(ONE, "health_check = { type = \"tcp\", fall = 2, rise = 1 }")]);
    let mut turns = Vec::new();
    let (mut again, mut tuple) = (0, Tuple::default());
    for ms in 0..2500 {
        bench.ms = ms;
        while let Some(task) = bench.task() {
            match task {
                Task::Begin(slot) => tuple = bench.begin(slot).0,
                Task::Send(said) => {
                    assert_eq!(said.tuple, tuple);
                    again += 1;
                }
                Task::End(ended) => {
                    assert_eq!((ended.tuple, ended.failure), (tuple, Some(Failure::TimedOut)));
                    assert_eq!(std::mem::take(&mut again), 2, "three SYNs in all");
                    turns.push((ms, ended.turn));
                }
            }
        }
    }
    let [(500, None), (second, Some(Turn::Down)), ..] = turns[..] else { panic!("{turns:?}") };
    assert!((1375..=1625).contains(&second), "an interval later, and a timeout");
    assert!(!bench.backends.get(0).is_usable());
}

#[test]
fn connections_that_fail_bring_down_all_but_the_last() {
    let mut bench = Bench::new(&[(TWO, ""), (ONE, "")]);
    let mut strike = |slot| {
        let Bench { checks, subjects, backends, .. } = &mut bench;
        checks.struck(slot, subjects, backends)
    };
    assert_eq!([0; 3].map(&mut strike), [None, None, Some(Turn::Down)]);
    assert_eq!([1; 9].map(&mut strike), [None; 9], "the last of its service");
    assert_eq!([2; 9].map(&mut strike), [None; 9], "the only one of its service");
    assert!(!bench.backends.get(0).up && bench.backends.get(1).up && bench.backends.get(2).up);
}

#[test]
fn a_new_plan_gives_up_checks_and_keeps_states() {
    let mut bench = Bench::new(&[(TWO, "health_check = { type = \"tcp\", fall = 1 }")]);
    for slot in [0, 1] {
        assert_eq!(bench.task(), Some(Task::Begin(slot)));
        bench.begin(slot);
    }
    assert_eq!(bench.task(), None);
    bench.ms = 500;
    assert!(matches!(bench.task(), Some(Task::End(Ended { slot: 0, turn: Some(Turn::Down), .. }))));
    assert!(matches!(bench.task(), Some(Task::End(Ended { slot: 1, turn: Some(Turn::Down), .. }))));
    assert_eq!(bench.task(), None);
    bench.ms = 1500;
    assert_eq!(bench.task(), Some(Task::Begin(0)));
    let (tuple, _) = bench.begin(0);
    let over = bench.renew(&[(ONE, "health_check = { type = \"http\", path = \"/\" }")]);
    assert_eq!(over.iter().map(|ended| ended.tuple).collect::<Vec<_>>(), [tuple]);
    assert!(bench.checks.slots.is_empty());
    assert_eq!(bench.answer(tuple, Flags::SYN | Flags::ACK), None);
    assert!(!bench.backends.get(0).up);
    bench.ms = 3000;
    assert_eq!(bench.task(), Some(Task::Begin(0)));
    bench.checks.postpone(0);
    assert_eq!(bench.task(), None, "the other one is gone");
}

#[test]
fn subjects_are_asked_as_their_service_would() {
    let bench = Bench::new(&[
        (TWO, "proxy_protocol = \"crc32c\""),
        (ONE, "forward = \"l2\"\nproxy_protocol = true"),
    ]);
    let subject = |slot| bench.subjects.get(slot).unwrap();
    assert_eq!(subject(1).remote.to_string(), "10.10.0.4:80");
    assert_eq!((&*subject(1).peers, &*subject(2).peers), (&[0, 1][..], &[2][..]));
    assert_eq!(
        subject(2).remote.to_string(),
        "10.10.0.11:80",
        "the service\'s address, at its MAC"
    );
    // haproxy's proxy-protocol.txt §2.2: version 2, LOCAL, no addresses
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    assert_eq!(subject(2).script.bytes(), local);
    assert_eq!(
        (&subject(0).script.bytes()[..13], subject(0).script.bytes().len()),
        (&local[..13], 23)
    );
    assert!(bench.subjects.get(3).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// However backends behave and however often the worker comes round, each is checked once an interval
    /// and no check is left.
    #[test]
    fn nobody_is_forgotten(
        pauses in prop::collection::vec(1..40_u64, 100..300),
        answers in prop::collection::vec(0..4_u8, 1..50),
    ) {
        let mut bench = Bench::new(&[(TWO, ""), (TWO, ""), (ONE, "")]);
        let mut begun = [0_u64; 5];
        let mut answers = answers.iter().cycle();
        for pause in pauses {
            bench.ms += pause;
            while let Some(task) = bench.task() {
                let Task::Begin(slot) = task else { continue };
                begun[usize::from(slot)] += 1;
                let answer = answers.next().unwrap();
                if *answer == 0 {
                    bench.checks.postpone(slot);
                    continue;
                }
                let (tuple, _) = bench.begin(slot);
                match answer {
                    1 => { bench.answer(tuple, Flags::SYN | Flags::ACK); }
                    2 => { bench.answer(tuple, Flags::RST | Flags::ACK); }
                    _ => {}
                }
            }
            prop_assert!(bench.checks.slots.len() <= 5);
        }
        let (least, most) = (bench.ms * 8 / 9_360, bench.ms * 8 / 7_000 + 1);
        for count in begun {
            prop_assert!((least..=most).contains(&count), "{count} in {} ms", bench.ms);
        }
    }
}
