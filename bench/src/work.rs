//! A fixed amount of a worker's work: for an instruction counter, whose counts do not drift with the machine
//! (`scripts/instructions`), and for a quick look at the time.

use std::convert::Infallible;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use usher::config::Cookies;

use crate::Failure;
use crate::front::{Front, Kind};
use crate::progress::Progress;
use crate::report::{Report, Unit};
use crate::rig::Rig;
use crate::rounds::Rounds;

/// Proxied flows whose segments are measured.
const FLOWS: usize = 10_000;

/// What to do, and how often.
#[derive(Args, Clone, Copy, Debug, Serialize)]
pub struct Work {
    /// The work
    pub what: What,
    /// Packets or connections
    #[arg(long, default_value_t = 1_000_000)]
    pub count: u64,
    /// Rounds
    #[command(flatten)]
    #[serde(flatten)]
    pub rounds: Rounds,
}

/// Work that is counted.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// P1: a SYN answered by cookie
    Syn,
    /// P4: a whole connection that keeps a record from its SYN on
    Stateful,
    /// P4: a whole connection opened by cookie
    Cookie,
    /// A whole connection that a program answers: worker, ring, consumer, ring, worker, on one thread
    Ring,
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
            Self::Stateful | Self::Ring | Self::Segment | Self::Sack | Self::ProxiedStateful => {
                Cookies::Never
            }
            Self::Syn | Self::Cookie | Self::ProxiedCookie => Cookies::Always,
        }
    }
}

/// Does it.
///
/// # Errors
/// None: what goes wrong here is a panic of the rig.
pub fn run(work: &Work, progress: &Progress) -> Result<Report, Failure> {
    let mut one = rig(work);
    let outcome = work.rounds.run(progress, || Ok::<_, Infallible>(one()))?;
    let mut report = Report::new("work", work);
    let each = outcome.values().map(|time| time.as_nanos() as f64 / work.count as f64);
    report.median_of("", format!("{:?}, each", work.what), each, Unit::Nanoseconds);
    report.rounds = Some(outcome.record());
    Ok(report)
}

/// What does the work once, and tells the worker's time.
fn rig(work: &Work) -> Box<dyn FnMut() -> Duration> {
    let (count, cookies) = (work.count, work.what.cookies());
    match work.what {
        What::Syn => {
            let mut rig = Rig::new(cookies);
            Box::new(move || rig.syns(count))
        }
        What::Stateful | What::Cookie => {
            let mut rig = Rig::new(cookies);
            Box::new(move || rig.connections(count))
        }
        What::Ring => {
            let mut rig = Rig::with_consumer(cookies);
            Box::new(move || rig.answered_connections(count))
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
    }
}
