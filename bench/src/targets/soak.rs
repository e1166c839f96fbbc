//! A constant load for long, and then nothing: flows, frames, buffers and memory must be what they were.

use clap::Args;
use serde::Serialize;
use usher::engine::Engine;
use usher::port::memory::{MemoryPort, Wire};
use usher::stats::{Counter, Snapshot};
use usher_proto::tcp::State;

use super::memory::resident;
use crate::Failure;
use crate::cps::Cps;
use crate::cps::{Hosted, clock};
use crate::load::Meter;
use crate::progress::Progress;
use crate::report::{Plot, Report, Scale, Series, Unit};

/// How much load, and for how long.
#[derive(Args, Clone, Debug, Serialize)]
pub struct Soak {
    /// Minutes
    #[arg(long, default_value_t = 10.0, value_parser = crate::cps::positive)]
    pub minutes: f64,
    /// Seconds between two looks
    #[arg(long, default_value_t = 10.0, value_parser = crate::cps::positive)]
    pub look: f64,
    /// Bytes by which the process may have grown between the first look and the end
    #[arg(long, default_value_t = 16_000_000)]
    pub growth: u64,
    /// The load: `cps` on `memory`
    #[command(flatten)]
    #[serde(flatten)]
    pub cps: Cps,
}

/// What was seen at a look.
struct Look {
    at: f64,
    rate: f64,
    flows: u64,
    resident: u64,
}

/// TIME_WAIT is kept shorter than usual, so that its end can be waited for.
const TIME_WAIT_MS: u32 = 500;

/// Flows that fit: few, so that all memory of the table is in use by the first look.
const CAPACITY: u32 = 1 << 16;

impl Soak {
    /// Runs it. What has not returned to what it was is a failure, which names it.
    ///
    /// # Errors
    /// When an argument is wrong, the engine does not start, or something was left behind.
    pub fn run(&self, progress: &Progress) -> Result<Report, Failure> {
        let Hosted { mut client, engine, wire } = self.cps.hosted(|plan| {
            (plan.policy.time_wait, plan.flow_capacity) = (TIME_WAIT_MS, CAPACITY);
        })?;
        let (mut now, meter) = (clock(), Meter::start());
        let start = now();
        client.begin(self.cps.pace(), u64::MAX, start);
        let (mut looks, mut closed) = (Vec::<Look>::new(), 0);
        let (end, every) = (start.ns + (self.minutes * 60e9) as u64, (self.look * 1e9) as u64);
        let mut next = start.ns + every;
        loop {
            let moment = now();
            client.turn(moment);
            if moment.ns >= next {
                let rate = (client.tally.closed - closed) as f64 / self.look;
                closed = client.tally.closed;
                let flows = flows(&engine.stats());
                let at = (moment.ns - start.ns) as f64 / 1e9;
                let look = Look { at, rate, flows, resident: resident()? };
                progress.say(&format!(
                    "{at:.0} s: {rate:.0}/s, {flows} flows, {} failed",
                    client.tally.failures()
                ));
                looks.push(look);
                next += every;
            }
            if moment.ns >= end {
                break;
            }
        }
        client.stop();
        // what has begun ends, then TIME_WAIT
        let quiet = now().ns + self.cps.span().drain_ns + 2 * u64::from(TIME_WAIT_MS) * 1_000_000;
        while now().ns < quiet && (client.active() > 0 || flows(&engine.stats()) > 0) {
            client.turn(now());
        }
        let left = self.left(client.active(), &engine, &wire, &looks)?;
        if !left.is_empty() {
            return Err(format!("something was left behind: {}", left.join("; ")).into());
        }
        let mut report = Report::new("soak", self);
        report.figure("connections closed well", client.tally.closed as f64, Unit::Count);
        report.figure("failed", client.tally.failures() as f64, Unit::Count);
        report.figure("retransmissions", client.tally.again as f64, Unit::Count);
        report.median_of("", "connections", looks.iter().map(|look| look.rate), Unit::PerSecond);
        report.median_of("", "memory", looks.iter().map(|look| look.resident as f64), Unit::Bytes);
        report.latency(client.tally.close.clone());
        report.note("flows, frames and buffers returned to zero, memory to what it was");
        report.load = Some(meter.load());
        plots(&mut report, &looks);
        Ok(report)
    }

    /// What is not as it was, a sentence each.
    fn left(
        &self,
        active: u32,
        engine: &Engine<MemoryPort>,
        wire: &Wire,
        looks: &[Look],
    ) -> Result<Vec<String>, Failure> {
        let stats = engine.stats();
        let buffers = wire.total_buffers() - wire.free_buffers();
        let settled = [
            Counter::Answered,
            Counter::Reflected,
            Counter::Delivered,
            Counter::Forwarded,
            Counter::Held,
            Counter::Dropped,
        ];
        let verdicts: u64 = settled.iter().map(|counter| stats.total(*counter)).sum();
        let received = stats.total(Counter::Received);
        let grown = looks.first().map_or(0, |look| look.resident);
        let grown = resident()?.saturating_sub(grown);
        let checks = [
            (active > 0, format!("{active} connections of the client")),
            (flows(&stats) > 0, format!("{} flows of the engine", flows(&stats))),
            (wire.in_flight() > 0, format!("{} frames in the rings", wire.in_flight())),
            (buffers > 0, format!("{buffers} buffers")),
            (verdicts != received, format!("{verdicts} verdicts for {received} frames")),
            (grown > self.growth, format!("{grown} bytes of memory")),
        ];
        Ok(checks.into_iter().filter(|check| check.0).map(|check| check.1).collect())
    }
}

fn flows(stats: &Snapshot) -> u64 {
    State::ALL.iter().map(|state| stats.flows(*state)).sum()
}

fn plots(report: &mut Report, looks: &[Look]) {
    for (title, unit, value) in [
        ("connections closed", Unit::PerSecond, (|look| look.rate) as fn(&Look) -> f64),
        ("flows of the engine", Unit::Count, |look| look.flows as f64),
        ("memory of the process", Unit::Bytes, |look| look.resident as f64),
    ] {
        let points = looks.iter().map(|look| (look.at, value(look))).collect();
        let series = vec![Series { name: title.into(), points }];
        let (title, x) = (title.to_owned(), "s".to_owned());
        report.plot(Plot::Lines { title, x, unit, scale: Scale::Linear, series });
    }
}
