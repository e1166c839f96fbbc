//! What a worker knows of each backend, and what its clients can be offered for it.

#![forbid(unsafe_code)]

use usher_proto::tcp::Terms;
use usher_proto::tcp::client::Learned;

use super::slots::{SLOTS, Slots};

/// The most that a client may send before its backend is reached, in bytes: ten segments of 1460, as many
/// as it would send before it hears of the first (RFC 6928 §2). Less makes clients wait that send more at
/// once; more is never used, and is held in buffers where many clients are evil.
pub const HOLD: u16 = 14_600;

/// A backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backend {
    /// Whether checks and connections say that it works: presumed until they do not.
    pub up: bool,
    /// Whether an operator has taken it out: it keeps its flows and gets no new ones.
    pub drained: bool,
    /// What its last SYN-ACK said.
    pub learned: Option<Learned>,
    /// What happened with it.
    pub counts: Counts,
    /// The generation in which it got its slot.
    since: u32,
}

/// What happened with a backend since it got its slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Flows that it has now.
    pub flows: u32,
    /// Connections that it took.
    pub connected: u64,
    /// Connections that it refused.
    pub refused: u64,
    /// Connections that it did not answer in time.
    pub timed_out: u64,
    /// Connections that found it other than it had been learned to be.
    pub mismatched: u64,
    /// Checks that it passed.
    pub passed: u64,
    /// Checks that it failed.
    pub failed: u64,
}

impl Default for Backend {
    fn default() -> Self {
        Self { up: true, drained: false, learned: None, counts: Counts::default(), since: 0 }
    }
}

impl Backend {
    /// The generation in which it got its slot.
    #[must_use]
    pub const fn since(&self) -> u32 {
        self.since
    }

    /// Whether it gets new connections.
    #[inline]
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        self.up && !self.drained
    }
}

/// The backends of an engine, by slot, as one worker knows them.
#[derive(Clone, Debug)]
pub struct Backends(Box<[Backend]>);

impl Default for Backends {
    /// A place for every slot there can be.
    fn default() -> Self {
        Self(vec![Backend::default(); SLOTS].into_boxed_slice())
    }
}

impl Backends {
    /// Follows a new plan: a slot that has got another owner is as new.
    pub fn renew(&mut self, slots: &Slots) {
        for (slot, owner) in slots.iter() {
            let backend = &mut self.0[usize::from(slot)];
            if backend.since != owner.since {
                *backend = Backend { since: owner.since, ..Backend::default() };
            }
        }
    }

    /// Whether the backend that got `slot` in the generation `since` has it, or is the next to have it: the plan that
    /// says so is on its way, and the backend is as new until something is said of it.
    ///
    /// # Panics
    ///
    /// If there is no such slot.
    pub fn expect(&mut self, slot: u16, since: u32) -> bool {
        let backend = &mut self.0[usize::from(slot)];
        if backend.since < since {
            *backend = Backend { since, ..Backend::default() };
        }
        backend.since == since
    }

    /// The backend of a slot.
    ///
    /// # Panics
    ///
    /// If there is no such slot: it comes from [`Slots`].
    #[inline]
    #[must_use]
    pub const fn get(&self, slot: u16) -> &Backend {
        &self.0[slot as usize]
    }

    /// The same, to change it.
    ///
    /// # Panics
    ///
    /// If there is no such slot.
    #[inline]
    pub const fn get_mut(&mut self, slot: u16) -> &mut Backend {
        &mut self.0[slot as usize]
    }

    /// Whether none of `slots` but `slot` gets new connections.
    #[must_use]
    pub fn is_last(&self, slot: u16, slots: &[u16]) -> bool {
        !slots.iter().any(|other| *other != slot && self.get(*other).is_usable())
    }

    /// What the SYN-ACKs of a service with these backends agree to: what every usable one would, `mss` at
    /// most; `header` bytes of ours take room in the first window, in front of what the client sends.
    ///
    /// Of a backend that was never heard it is assumed that it takes what the way takes, that it permits
    /// SACK, and that it has neither timestamps nor ECN. Where SACK proves wrong, blocks are stripped from
    /// what passes and nothing else is lost. Timestamps that a backend lacks would have to be put into every
    /// segment to the client, which makes them longer and the splice's work dearer, for a flow's whole life;
    /// ECN that it lacks would lose congestion marks.
    #[must_use]
    pub fn terms(&self, slots: &[u16], mss: u16, header: u16) -> Terms {
        let unknown = Terms { mss, sack: true, timestamps: false, ecn: false, window: HOLD };
        let usable = slots.iter().map(|slot| self.get(*slot)).filter(|one| one.is_usable());
        let each = usable.map(|backend| match backend.learned {
            None => unknown,
            Some(learned) => Terms {
                mss: learned.mss.min(mss),
                sack: learned.sack,
                timestamps: learned.timestamps,
                ecn: learned.ecn,
                window: learned.window.saturating_sub(header).min(HOLD),
            },
        });
        each.reduce(meet).unwrap_or(unknown)
    }
}

/// What both agree to.
fn meet(a: Terms, b: Terms) -> Terms {
    Terms {
        mss: a.mss.min(b.mss),
        sack: a.sack && b.sack,
        timestamps: a.timestamps && b.timestamps,
        ecn: a.ecn && b.ecn,
        window: a.window.min(b.window),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Plan;

    const LINUX: Learned = Learned {
        mss: 1460,
        scale: Some(7),
        sack: true,
        timestamps: true,
        ecn: true,
        window: 65_160,
    };

    /// Backends that were learned to be so.
    fn learned(all: &[Option<Learned>]) -> (Backends, Vec<u16>) {
        let mut backends = Backends::default();
        for (slot, learned) in (0..).zip(all) {
            backends.get_mut(slot).learned = *learned;
        }
        (backends, (0..all.len() as u16).collect())
    }

    #[test]
    fn before_anything_was_learned_the_offer_is_safe() {
        let (backends, slots) = learned(&[None, None]);
        let safe = Terms { mss: 1440, sack: true, timestamps: false, ecn: false, window: 14_600 };
        assert_eq!(backends.terms(&slots, 1440, 0), safe);
        assert_eq!(backends.terms(&[], 1440, 0), safe, "nobody is there to be asked");
    }

    #[test]
    fn who_is_not_used_has_no_say() {
        let poor = Learned { mss: 536, sack: false, window: 4096, ..LINUX };
        let (mut backends, slots) = learned(&[Some(LINUX), Some(poor), None]);
        let none = Terms { mss: 536, sack: false, timestamps: false, ecn: false, window: 4096 };
        assert_eq!(backends.terms(&slots, 8960, 0), none);
        assert_eq!(backends.terms(&slots, 8960, 96).window, 4000);
        backends.get_mut(1).up = false;
        backends.get_mut(2).drained = true;
        let all = Terms { mss: 1460, sack: true, timestamps: true, ecn: true, window: 14_600 };
        assert_eq!(backends.terms(&slots, 8960, 0), all);
        assert_eq!(backends.terms(&slots, 1400, 0).mss, 1400);
    }

    #[test]
    fn the_last_one_is_known() {
        let (mut backends, slots) = learned(&[None; 3]);
        backends.get_mut(1).up = false;
        assert!(!backends.is_last(0, &slots));
        backends.get_mut(2).drained = true;
        assert!(backends.is_last(0, &slots) && !backends.is_last(2, &slots));
    }

    #[test]
    fn a_new_owner_of_a_slot_begins_anew() {
        let slots = |text: &str, before: &Slots| {
            let text = format!(
                "[engine]\ncores = [1]\n[[port]]\nname = \"wan\"\ndevice = \"net_null0\"\n\
                 addresses = [\"10.10.0.2/16\"]\n[[service]]\nname = \"a\"\n\
                 listen = [\"10.10.0.10:80\"]\nkind = \"proxy\"\nbackends = [{text}]"
            );
            let plan = Plan::parse(&text, Path::new("a.toml")).unwrap();
            before.renew(&plan.services).unwrap()
        };
        let first = slots("\"10.10.0.3:80\", \"10.10.0.4:80\"", &Slots::default());
        let mut backends = Backends::default();
        backends.renew(&first);
        for slot in [0, 1] {
            *backends.get_mut(slot) = Backend { up: false, drained: true, ..*backends.get(slot) };
        }
        let second = slots("\"10.10.0.4:80\"", &first);
        backends.renew(&second);
        assert!(backends.get(1).drained, "it is still there");
        backends.renew(&slots("\"10.10.0.3:80\", \"10.10.0.4:80\"", &second));
        assert!(backends.get(0).drained && backends.get(2).is_usable(), "what returns is new");
    }

    proptest! {
        /// Nothing is agreed to that one of the backends would not agree to.
        #[test]
        fn terms_exceed_no_backend(
            all in prop::collection::vec(
                prop::option::of((536..9000_u16, any::<[bool; 4]>(), any::<u16>())), 1..20),
        ) {
            let all: Vec<Option<Learned>> = all.into_iter().map(|one| one.map(
                |(mss, [sack, timestamps, ecn, _], window)|
                Learned { mss, scale: None, sack, timestamps, ecn, window })).collect();
            let (backends, slots) = learned(&all);
            let terms = backends.terms(&slots, 1460, 0);
            prop_assert!(terms.mss <= 1460 && terms.window <= HOLD);
            for one in all.iter() {
                let has = |what: fn(&Learned) -> bool| one.is_some_and(|one| what(&one));
                prop_assert!(!terms.timestamps || has(|one| one.timestamps));
                prop_assert!(!terms.ecn || has(|one| one.ecn));
                prop_assert!(!terms.sack || one.is_none() || has(|one| one.sack));
                prop_assert!(one.is_none_or(|one| terms.mss <= one.mss && terms.window <= one.window));
            }
        }
    }
}
