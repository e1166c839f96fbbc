//! A fixed amount of a worker's work: for an instruction counter, whose counts do not drift with the machine
//! (`scripts/instructions`), and for a quick look at the time.

use std::fmt;
use std::time::Duration;

use clap::{Args, ValueEnum};
use usher::config::Cookies;

use crate::front::{Front, Kind};
use crate::rig::Rig;

/// Proxied flows whose segments are measured.
const FLOWS: usize = 10_000;

/// What to do, and how often.
#[derive(Args, Clone, Copy, Debug)]
pub struct Work {
    /// The work
    pub what: What,
    /// Packets or connections
    #[arg(long, default_value_t = 1_000_000)]
    pub count: u64,
    /// How often to measure; the median counts
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: u16,
}

/// Work that is counted.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// P1: a SYN answered by cookie
    Syn,
    /// P4: a whole connection that keeps a record from its SYN on
    Stateful,
    /// P4: a whole connection opened by cookie
    Cookie,
    /// P5: a client's data segment of one of 10,000 proxied flows, at random
    Segment,
    /// P5: a backend's ACK with a SACK block, likewise
    Sack,
    /// P6: a whole proxied connection that keeps a record from its SYN on
    ProxiedStateful,
    /// P6: a whole proxied connection opened by cookie
    ProxiedCookie,
}

impl What {
    fn cookies(self) -> Cookies {
        match self {
            Self::Stateful | Self::Segment | Self::Sack | Self::ProxiedStateful => Cookies::Never,
            Self::Syn | Self::Cookie | Self::ProxiedCookie => Cookies::Always,
        }
    }
}

/// What a packet or a connection took.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    work: Work,
    median: Duration,
    best: Duration,
}

/// Does it.
#[must_use]
pub fn run(work: &Work) -> Report {
    let (count, cookies) = (work.count, work.what.cookies());
    let mut one: Box<dyn FnMut() -> Duration> = match work.what {
        What::Syn => {
            let mut rig = Rig::new(cookies);
            Box::new(move || rig.syns(count))
        }
        What::Stateful | What::Cookie => {
            let mut rig = Rig::new(cookies);
            Box::new(move || rig.connections(count))
        }
        What::Segment | What::Sack => {
            let mut front = Front::new(cookies);
            front.establish(FLOWS);
            let kind = if work.what == What::Sack { Kind::Sack } else { Kind::Data };
            Box::new(move || front.segments(kind, count))
        }
        What::ProxiedStateful | What::ProxiedCookie => {
            let mut front = Front::new(cookies);
            Box::new(move || front.connections(count))
        }
    };
    let mut times: Vec<Duration> = (0..work.rounds).map(|_| one()).collect();
    times.sort_unstable();
    Report { work: *work, median: times[times.len() / 2], best: times[0] }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = |time: Duration| time.as_nanos() as f64 / self.work.count as f64;
        let Work { what, count, rounds } = self.work;
        let (median, best) = (each(self.median), each(self.best));
        write!(f, "{what:?}: {median:.1} ns, best {best:.1} ns ({rounds} rounds of {count})")
    }
}
