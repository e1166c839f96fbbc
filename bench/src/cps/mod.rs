//! Connections a second: a client against any server, or against a worker of ours in the same process.
//!
//! The load is open (a rate, whatever the server does) or closed (so many connections at a time). Times of an open
//! load are counted from when a connection was to begin; in a closed one a slow server slows its client down, too, so
//! its times say how long connections take and not how long they wait.

mod arguments;
mod device;
mod measure;

#[cfg(test)]
mod tests;

use usher::config::{Cookies, Plan};
use usher::engine::Engine;
use usher::port::memory::{self, MemoryPort, Options, Wire};
use usher::port::{Port, QueuePair};
use usher::testing;
use usher_proto::wire::{Link, Mac};

pub use self::arguments::Cps;
pub(crate) use self::arguments::positive;
pub use self::device::Device;
pub use self::measure::{Round, Span, round};
use crate::Failure;
use crate::client::{Client, End, Moment, Setup};
use crate::fresh;
use crate::latency::Latency;
use crate::pin::pin;
use crate::progress::Progress;
use crate::report::{Plot, Report, Scale, Series, Unit};
use crate::rounds::Outcome;
use crate::time::{self, Stopwatch};
use crate::wire_queue::WireQueue;

/// Measures it.
///
/// # Errors
/// When an argument is wrong, the target is refused, or a device or server does not start.
pub fn run(cps: &Cps, progress: &Progress) -> Result<Report, Failure> {
    cps.check()?;
    if let Some(command) = &cps.beside {
        let outcome = cps.rounds.run(progress, || fresh::round(command))?;
        return Ok(fresh::report("cps", cps, &outcome));
    }
    let outcome = match &cps.device {
        Device::Memory => rounds(&mut cps.hosted(|_| {})?.client, cps, progress)?,
        Device::Dpdk(device) => through(device, cps, progress)?,
    };
    Ok(report(cps, &outcome))
}

/// All rounds with a client that is ready.
fn rounds<Q: QueuePair>(
    client: &mut Client<Q>,
    cps: &Cps,
    progress: &Progress,
) -> Result<Outcome<Round>, Failure> {
    client.on_thread()?;
    let mut now = clock();
    let outcome = cps.rounds.run(progress, || Ok(round(client, cps.pace(), &cps.span(), &mut now)));
    client.off_thread();
    outcome
}

fn setup(cps: &Cps, link: Link) -> Result<Setup, Failure> {
    let sources = cps.sources()?;
    let (script, request) = (cps.script(), cps.request());
    Ok(Setup { to: cps.to()?, link, sources, script, request, mss: cps.mss })
}

/// The client's MAC on a memory port.
const CLIENT: Mac = Mac([2, 0, 0, 0, 0, 9]);

/// An engine of one worker in a thread of its own, a client, and the wire between them.
pub(crate) struct Hosted {
    pub(crate) client: Client<WireQueue>,
    pub(crate) engine: Engine<MemoryPort>,
    pub(crate) wire: Wire,
}

impl Cps {
    /// Starts them, the engine by a plan that `change` has seen, and moves this thread to the client's core.
    pub(crate) fn hosted(&self, change: impl FnOnce(&mut Plan)) -> Result<Hosted, Failure> {
        self.check()?;
        if self.device != Device::Memory {
            return Err("an engine in this process has no other device than `memory`".into());
        }
        let options = Options { buffers: 1 << 15, ring: 1 << 12, ..Options::default() };
        let (port, wire) = memory::new("wan", &options);
        let link = Link { src: CLIENT, dst: port.mac(), vlan: 0 };
        let answer = vec![b'x'; self.answer_bytes.unwrap_or(1) as usize];
        let mut plan = testing::plan(&testing::Setup {
            cookies: if self.cookies { Cookies::Always } else { Cookies::Never },
            half_open_limit: 1 << 16,
            capacity: 1 << 20,
            shared: true,
            answer: &answer,
        });
        change(&mut plan);
        let client = Client::new(WireQueue::new(wire.clone(), 0), setup(self, link)?);
        let engine = Engine::start(&plan, vec![port], &[self.server_core])?;
        pin(self.core)?;
        Ok(Hosted { client, engine, wire })
    }
}

/// Since now, and by Unix time.
pub(crate) fn clock() -> impl FnMut() -> Moment {
    let (watch, since) = (Stopwatch::start(), time::unix_ms());
    move || {
        let ns = watch.ns();
        Moment { ns, unix_ms: since.wrapping_add(ns / 1_000_000) as u32 }
    }
}

#[cfg(feature = "dpdk")]
fn through(device: &str, cps: &Cps, progress: &Progress) -> Result<Outcome<Round>, Failure> {
    let to = cps.to()?;
    cps.permit.admit(to.ip())?;
    let device::Opened { port, queue } =
        device::open(device, &cps.eal_arg, cps.core.unwrap_or(0), &cps.sources()?)?;
    let link =
        Link { src: port.mac(), dst: cps.mac.map_or(Mac::BROADCAST, |mac| mac.into()), vlan: 0 };
    let mut client = Client::new(queue, setup(cps, link)?);
    pin(cps.core)?;
    if cps.mac.is_none() {
        let hop = cps.gateway.unwrap_or(to.ip());
        let mac = device::find(&mut client, hop)?;
        client.set_next_hop(mac);
    }
    let outcome = rounds(&mut client, cps, progress);
    // buffers go home before the port closes
    drop(client);
    drop(port);
    outcome
}

#[cfg(not(feature = "dpdk"))]
fn through(device: &str, _: &Cps, _: &Progress) -> Result<Outcome<Round>, Failure> {
    Err(format!("this build has no DPDK, and so no device {device}; `memory` needs none").into())
}

fn report(cps: &Cps, outcome: &Outcome<Round>) -> Report {
    let mut report = Report::new("cps", cps);
    let of = |value: fn(&Round) -> f64| outcome.values().map(value).collect::<Vec<_>>();
    let sum = |count: fn(&Round) -> u64| outcome.values().map(count).sum::<u64>();
    report.median_of("", "connections", of(|round| round.rate), Unit::PerSecond);
    report.median_of("", "frames sent", of(|round| round.frames[0]), Unit::PerSecond);
    report.median_of("", "frames received", of(|round| round.frames[1]), Unit::PerSecond);
    for (name, count) in [
        ("begun", sum(|round| round.tally.begun)),
        ("closed well", sum(|round| round.tally.closed)),
        ("answers", sum(|round| round.tally.answers)),
        ("failed", sum(|round| round.tally.failures())),
    ] {
        report.figure(name, count as f64, Unit::Count);
    }
    for (index, end) in End::FAILURES.iter().enumerate() {
        let count = outcome.values().map(|round| round.tally.failed[index]).sum();
        report.some(format!("  {}", end.name()), count);
    }
    report.figure("retransmissions", sum(|round| round.tally.again) as f64, Unit::Count);
    report.some("not ended when the round did", sum(|round| round.left.into()));
    report.some("turns in which all sources were in use", sum(|round| round.tally.exhausted));
    report.some("frames that belong to nothing here", sum(|round| round.tally.strange));
    let latencies = latencies(outcome);
    report.plot(rate_over_time(outcome));
    report.plot(Plot::Percentiles { title: "latency".into(), latencies: latencies.clone() });
    latencies.into_iter().for_each(|latency| report.latency(latency));
    if cps.rate.is_none() {
        report.note("closed loop: a slow server slows its client down, so times leave out what would have waited");
    }
    report.rounds = Some(outcome.record());
    report
}

/// Those of all rounds that count, in one.
fn latencies(outcome: &Outcome<Round>) -> Vec<Latency> {
    let mut merged: Vec<Latency> = Vec::new();
    for Round { tally, .. } in outcome.values() {
        let own =
            [&tally.syn_ack, &tally.first_byte, &tally.close, &tally.answer, &tally.uncorrected];
        if merged.is_empty() {
            merged = own.map(Clone::clone).into();
        } else {
            merged.iter_mut().zip(own).for_each(|(all, one)| all.merge(one));
        }
    }
    merged.retain(|latency| latency.count() > 0);
    merged
}

/// A line a round.
fn rate_over_time(outcome: &Outcome<Round>) -> Plot {
    let line = |(number, round): (usize, &Round)| {
        let tenths = round.tally.closed_by_tenth.iter().enumerate();
        let points =
            tenths.map(|(at, count)| (at as f64 / 10.0, f64::from(*count) * 10.0)).collect();
        Series { name: format!("round {}", number + 1), points }
    };
    let series = outcome.values().enumerate().map(line).collect();
    let (title, x) = ("connections closed".to_owned(), "s since the warm-up".to_owned());
    Plot::Lines { title, x, unit: Unit::PerSecond, scale: Scale::Linear, series }
}
