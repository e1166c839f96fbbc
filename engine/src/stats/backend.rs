//! What is published of each backend.

#![forbid(unsafe_code)]

use std::net::SocketAddr;

use usher_proto::counters;
use usher_proto::tcp::client::Learned;

counters! {
    /// What a worker counts of each backend.
    BackendCounter {
        Connected "connected" "Connections that the backend took.",
        Refused "refused" "Connections that the backend refused.",
        TimedOut "timed_out" "Connections that the backend did not answer in time.",
        Mismatched "mismatched" "Connections that found the backend other than its check had.",
        ChecksPassed "checks_passed" "Health checks that the backend passed.",
        ChecksFailed "checks_failed" "Health checks that the backend failed.",
    }
}

/// How a backend is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BackendState {
    /// Whether checks and connections say that it works.
    pub up: bool,
    /// Whether an operator has taken it out.
    pub drained: bool,
    /// What its last SYN-ACK said.
    pub learned: Option<Learned>,
}

const UP: u64 = 1 << 40;
const DRAINED: u64 = 1 << 41;
const LEARNED: u64 = 1 << 42;
const SACK: u64 = 1 << 43;
const TIMESTAMPS: u64 = 1 << 44;
const ECN: u64 = 1 << 45;
const SCALED: u64 = 1 << 46;

impl BackendState {
    /// Whether it gets new connections.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        self.up && !self.drained
    }

    /// All of it in one word, so that a reader of a board never sees half of two states.
    pub(super) fn to_word(self) -> u64 {
        let flag = |set: bool, bit: u64| if set { bit } else { 0 };
        let mut word = flag(self.up, UP) | flag(self.drained, DRAINED);
        if let Some(learned) = self.learned {
            word |= LEARNED
                | flag(learned.sack, SACK)
                | flag(learned.timestamps, TIMESTAMPS)
                | flag(learned.ecn, ECN)
                | flag(learned.scale.is_some(), SCALED)
                | u64::from(learned.scale.unwrap_or_default()) << 32
                | u64::from(learned.window) << 16
                | u64::from(learned.mss);
        }
        word
    }

    /// What [`Self::to_word`] made a word of.
    pub(super) fn from_word(word: u64) -> Self {
        let has = |bit: u64| word & bit != 0;
        let learned = Learned {
            mss: word as u16,
            scale: has(SCALED).then_some((word >> 32) as u8),
            sack: has(SACK),
            timestamps: has(TIMESTAMPS),
            ecn: has(ECN),
            window: (word >> 16) as u16,
        };
        Self { up: has(UP), drained: has(DRAINED), learned: has(LEARNED).then_some(learned) }
    }
}

/// A worker's part of a backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WorkerBackend {
    /// How the worker takes it to be.
    pub state: BackendState,
    /// Connections that it has now.
    pub connections: u64,
    /// By [`BackendCounter`].
    pub counters: [u64; BackendCounter::COUNT],
}

impl WorkerBackend {
    /// The value of a counter.
    #[must_use]
    pub const fn counter(&self, counter: BackendCounter) -> u64 {
        self.counters[counter.index()]
    }

    /// Adds what another worker counted; the state stays that of the one whose checks are heeded.
    pub fn merge(&mut self, other: &Self) {
        self.connections += other.connections;
        self.counters.iter_mut().zip(other.counters).for_each(|(sum, one)| *sum += one);
    }
}

/// A backend of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackendSnapshot {
    /// The service's name.
    pub service: String,
    /// The backend's address and TCP port.
    pub address: SocketAddr,
    /// Its state, and what all workers counted.
    pub sum: WorkerBackend,
}

/// The name of a service none of whose backends gets new connections.
#[must_use]
pub fn forsaken(backends: &[BackendSnapshot]) -> Option<&str> {
    let usable = |name: &str| {
        let mut own = backends.iter().filter(|backend| backend.service == name);
        own.any(|backend| backend.sum.state.is_usable())
    };
    backends.iter().map(|backend| backend.service.as_str()).find(|name| !usable(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_word_holds_a_state(
            up: bool,
            drained: bool,
            learned in prop::option::of(any::<(u16, Option<u8>, bool, bool, bool, u16)>()),
        ) {
            let learned = learned.map(|(mss, scale, sack, timestamps, ecn, window)| {
                Learned { mss, scale, sack, timestamps, ecn, window }
            });
            let state = BackendState { up, drained, learned };
            prop_assert_eq!(BackendState::from_word(state.to_word()), state);
        }
    }

    #[test]
    fn a_service_is_forsaken_when_none_of_its_backends_is_usable() {
        let backend = |service: &str, up, drained| BackendSnapshot {
            service: service.into(),
            address: "10.20.0.2:80".parse().unwrap(),
            sum: WorkerBackend {
                state: BackendState { up, drained, learned: None },
                ..WorkerBackend::default()
            },
        };
        let one_left = [backend("a", false, false), backend("a", true, false)];
        assert_eq!(forsaken(&one_left), None);
        let none_left = [&one_left[..], &[backend("b", true, true), backend("b", false, false)]];
        assert_eq!(forsaken(&none_left.concat()), Some("b"));
    }
}
