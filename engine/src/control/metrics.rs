//! `/metrics`: the counts under the names of DESIGN section 6, in Prometheus' text format.
//!
//! Names are `usher_<area>_<what>_<unit>`, `_total` for counters. Rings are called by their
//! service's name.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use usher_proto::tcp::State;
use usher_proto::verdict::{End, Reason};

use super::state_name;
use crate::stats::{
    BackendCounter, BackendSnapshot, Counter, Latency, PortCounter, ServiceCounter, Snapshot,
};

/// The text that Prometheus scrapes.
#[must_use]
pub fn prometheus_text(snapshot: Snapshot) -> String {
    let mut registry = Registry::with_prefix("usher");
    registry.register_collector(Box::new(Exporter(snapshot)));
    let mut text = String::new();
    // writing to a string does not fail
    let _ = prometheus_text::encode(&mut text, &registry);
    text
}

/// A label: its name and value.
type Label<'a> = (&'static str, &'a str);

#[derive(Debug)]
struct Exporter(Snapshot);

impl Collector for Exporter {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        engine(&mut page, &self.0)?;
        workers(&mut page, &self.0)?;
        frames(&mut page, &self.0)?;
        handshakes(&mut page, &self.0)?;
        flows(&mut page, &self.0)?;
        rings(&mut page, &self.0)?;
        backends(&mut page, &self.0)?;
        ports(&mut page, &self.0)
    }
}

/// The page as it is written: one metric after the other.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    /// A counter; `samples` calls what it is given with each of its label sets and values.
    fn counter(
        &mut self,
        name: &str,
        help: &str,
        samples: impl Fn(&mut dyn FnMut(&[Label<'_>], u64) -> fmt::Result) -> fmt::Result,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        samples(&mut |labels, value| {
            family(&mut metric, labels, |m| m.encode_counter::<NoLabelSet, u64, u64>(&value, None))
        })
    }

    /// A gauge, in `unit` if there is one.
    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        samples: impl Fn(&mut dyn FnMut(&[Label<'_>], f64) -> fmt::Result) -> fmt::Result,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        samples(&mut |labels, value| family(&mut metric, labels, |m| m.encode_gauge(&value)))
    }
}

/// One sample with its labels, of which there may be none.
fn family(
    metric: &mut MetricEncoder<'_>,
    labels: &[Label<'_>],
    sample: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    if labels.is_empty() { sample(metric) } else { sample(&mut metric.encode_family(&labels)?) }
}

fn engine(page: &mut Page<'_>, snapshot: &Snapshot) -> fmt::Result {
    let uptime = snapshot.uptime_us as f64 / 1e6;
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    page.gauge("engine_uptime", "Time since the start", Some(&Unit::Seconds), |s| s(&[], uptime))?;
    page.gauge("build_info", "The version that runs", None, |s| s(&version, 1.0))
}

/// Counters that a worker keeps for itself: name in the metrics, and cause.
const WORKER_COUNTERS: &[(&str, Counter)] = &[
    ("frames_answered", Counter::Answered),
    ("frames_reflected", Counter::Reflected),
    ("frames_delivered", Counter::Delivered),
    ("frames_forwarded", Counter::Forwarded),
    ("frames_held", Counter::Held),
    ("frames_released", Counter::Released),
    ("frames_lost", Counter::Lost),
    ("frames_redirected_out", Counter::RedirectedOut),
    ("frames_redirected_in", Counter::RedirectedIn),
    ("frames_relayed_out", Counter::RelayedOut),
    ("frames_relayed_in", Counter::RelayedIn),
    ("neighbour_lessons_lost", Counter::LessonsLost),
    ("syn_acks_sent", Counter::SynAcks),
    ("resets_sent", Counter::Resets),
    ("segments_withheld", Counter::Withheld),
    ("cookies_sent", Counter::CookiesSent),
    ("cookies_accepted", Counter::CookiesAccepted),
    ("cookies_unplaced", Counter::CookiesUnplaced),
    ("cookies_rejected", Counter::CookiesRejected),
    ("cookies_mode_entered", Counter::CookieMode),
    ("backend_retries", Counter::BackendRetries),
    ("backend_ports_exhausted", Counter::PortsExhausted),
];

fn workers(page: &mut Page<'_>, snapshot: &Snapshot) -> fmt::Result {
    for (name, counter) in WORKER_COUNTERS {
        page.counter(name, sentence(counter.help()), |sample| {
            let mut workers = snapshot.workers.iter().enumerate();
            workers
                .try_for_each(|(i, w)| sample(&[("worker", &i.to_string())], w.counter(*counter)))
        })?;
    }
    page.gauge("worker_busy_ratio", "Share of its time that a worker had work", None, |sample| {
        let mut workers = snapshot.workers.iter().enumerate();
        workers.try_for_each(|(i, w)| sample(&[("worker", &i.to_string())], w.busy_ratio()))
    })
}

fn frames(page: &mut Page<'_>, snapshot: &Snapshot) -> fmt::Result {
    for counter in PortCounter::ALL {
        let name = format!("frames_{}", counter.name());
        page.counter(&name, sentence(counter.help()), |sample| {
            for (i, worker) in snapshot.workers.iter().enumerate() {
                for (port, share) in snapshot.ports.iter().zip(&worker.ports) {
                    let labels = [("worker", i.to_string()), ("port", port.name.clone())];
                    sample(&labels.each_ref().map(borrowed), share.counter(*counter))?;
                }
            }
            Ok(())
        })?;
    }
    page.counter("frames_dropped", "Frames dropped, by reason", |sample| {
        for (i, worker) in snapshot.workers.iter().enumerate() {
            for reason in Reason::ALL {
                let labels = [("worker", &*i.to_string()), ("reason", reason.name())];
                sample(&labels, worker.dropped(*reason))?;
            }
        }
        Ok(())
    })
}

fn handshakes(page: &mut Page<'_>, snapshot: &Snapshot) -> fmt::Result {
    let counters = [
        ("handshakes_started", ServiceCounter::Started),
        ("handshakes_completed", ServiceCounter::Completed),
    ];
    for (name, counter) in counters {
        page.counter(name, sentence(counter.help()), |sample| {
            for_shares(snapshot, |labels, share| sample(labels, share.counter(counter)))
        })?;
    }
    page.counter("handshakes_failed", "Handshakes that were not completed, by reason", |sample| {
        for_shares(snapshot, |labels, share| {
            End::ALL.iter().try_for_each(|end| {
                sample(&[labels[0], labels[1], ("reason", end.name())], share.failed(*end))
            })
        })
    })?;
    page.gauge(
        "service_drained",
        "Whether an operator has taken the service out",
        None,
        |sample| {
            let configured = snapshot.services.iter().filter(|service| !service.kind.is_empty());
            for service in configured {
                sample(&[("service", &service.name)], f64::from(u8::from(service.drained)))?;
            }
            Ok(())
        },
    )?;
    let help = "From SYN to third ACK, of handshakes without cookie";
    let unit = Some(&Unit::Seconds);
    let mut metric = page.0.encode_descriptor("handshake", help, unit, MetricType::Histogram)?;
    snapshot.services.iter().try_for_each(|service| {
        let latency = &service.latency;
        let sum = latency.sum_us as f64 / 1e6;
        family(&mut metric, &[("service", &service.name)], |metric| {
            metric.encode_histogram::<NoLabelSet>(sum, latency.count(), &octaves(latency), None)
        })
    })
}

fn rings(page: &mut Page<'_>, snapshot: &Snapshot) -> fmt::Result {
    let counters = [
        ("ring_full", ServiceCounter::RingFull),
        ("ring_commands_refused", ServiceCounter::RingRefused),
        ("ring_consumers_lost", ServiceCounter::ConsumersLost),
    ];
    for (name, counter) in counters {
        page.counter(name, sentence(counter.help()), |sample| {
            for_rings(snapshot, |labels, share| sample(labels, share.counter(counter)))
        })?;
    }
    let gauges = [
        ("ring_depth", ServiceCounter::RingDepth),
        ("ring_flows_undecided", ServiceCounter::Undecided),
    ];
    for (name, counter) in gauges {
        page.gauge(name, sentence(counter.help()), None, |sample| {
            for_rings(snapshot, |labels, share| sample(labels, share.counter(counter) as f64))
        })?;
    }
    page.gauge("leases_out", sentence(Counter::LeasesOut.help()), None, |sample| {
        let mut workers = snapshot.workers.iter().enumerate();
        workers.try_for_each(|(i, worker)| {
            sample(&[("worker", &i.to_string())], worker.counter(Counter::LeasesOut) as f64)
        })
    })
}

/// As [`for_shares`], of `ring` services alone.
fn for_rings(
    snapshot: &Snapshot,
    mut each: impl FnMut(&[Label<'_>; 2], &crate::stats::ServiceSnapshot) -> fmt::Result,
) -> fmt::Result {
    for (i, worker) in snapshot.workers.iter().enumerate() {
        let shares = snapshot.services.iter().zip(&worker.services);
        for (service, share) in shares.filter(|(service, _)| service.kind == "ring") {
            each(&[("worker", &i.to_string()), ("ring", &service.name)], share)?;
        }
    }
    Ok(())
}

/// Calls `each` with every worker's share of every service, and its labels.
fn for_shares(
    snapshot: &Snapshot,
    mut each: impl FnMut(&[Label<'_>; 2], &crate::stats::ServiceSnapshot) -> fmt::Result,
) -> fmt::Result {
    for (i, worker) in snapshot.workers.iter().enumerate() {
        for (service, share) in snapshot.services.iter().zip(&worker.services) {
            each(&[("worker", &i.to_string()), ("service", &service.name)], share)?;
        }
    }
    Ok(())
}

/// The histogram with one bucket an octave: finer ones cost the scraper more than they tell.
fn octaves(latency: &Latency) -> Vec<(f64, u64)> {
    let last = latency.buckets.len() - 1;
    let groups = latency.buckets.chunks(4).enumerate();
    let edge = |group: usize| match group * 4 + 3 {
        index if index >= last => f64::INFINITY,
        index => Latency::upper_us(index) as f64 / 1e6,
    };
    groups.map(|(group, buckets)| (edge(group), buckets.iter().sum())).collect()
}

fn flows(page: &mut Page<'_>, snapshot: &Snapshot) -> fmt::Result {
    page.gauge(
        "flows",
        "Flows in the table, by state; SPENT are markers of used cookies",
        None,
        |sample| {
            for (i, worker) in snapshot.workers.iter().enumerate() {
                for state in State::ALL {
                    let labels = [("worker", &*i.to_string()), ("state", state_name(state))];
                    sample(&labels, worker.flows(state) as f64)?;
                }
            }
            Ok(())
        },
    )?;
    let evicted =
        [(State::Closed, Counter::EvictedSpent), (State::TimeWait, Counter::EvictedTimeWait)];
    page.counter(
        "flows_evicted",
        "What lingered and gave way in a full flow table, by state",
        |sample| {
            for (i, worker) in snapshot.workers.iter().enumerate() {
                for (state, counter) in evicted {
                    let labels = [("worker", &*i.to_string()), ("state", state_name(state))];
                    sample(&labels, worker.counter(counter))?;
                }
            }
            Ok(())
        },
    )?;
    page.counter("flows_ended", "Established flows that ended, by reason", |sample| {
        for service in &snapshot.services {
            for end in End::ALL {
                let labels = [("service", &*service.name), ("reason", end.name())];
                sample(&labels, service.ended(*end))?;
            }
        }
        Ok(())
    })
}

/// Counters of each backend: name in the metrics, and cause.
const BACKEND_COUNTERS: &[(&str, BackendCounter)] = &[
    ("backend_connected", BackendCounter::Connected),
    ("backend_refused", BackendCounter::Refused),
    ("backend_timed_out", BackendCounter::TimedOut),
    ("backend_mismatched", BackendCounter::Mismatched),
];

/// What a gauge shows of a backend.
type BackendGauge = fn(&BackendSnapshot) -> f64;

fn backends(page: &mut Page<'_>, snapshot: &Snapshot) -> fmt::Result {
    let gauges: [(&str, &str, BackendGauge); 3] = [
        ("backend_up", "Whether checks and connections say that the backend works", |backend| {
            f64::from(u8::from(backend.sum.state.up))
        }),
        ("backend_drained", "Whether an operator has taken the backend out", |backend| {
            f64::from(u8::from(backend.sum.state.drained))
        }),
        ("backend_connections", "Connections that the backend has", |backend| {
            backend.sum.connections as f64
        }),
    ];
    for (name, help, value) in gauges {
        page.gauge(name, help, None, |sample| {
            for_backends(snapshot, |labels, backend| sample(labels, value(backend)))
        })?;
    }
    for (name, counter) in BACKEND_COUNTERS {
        page.counter(name, sentence(counter.help()), |sample| {
            for_backends(snapshot, |labels, backend| sample(labels, backend.sum.counter(*counter)))
        })?;
    }
    page.counter("backend_checks", "Health checks of the backend, by result", |sample| {
        for_backends(snapshot, |labels, backend| {
            let results = [
                ("passed", BackendCounter::ChecksPassed),
                ("failed", BackendCounter::ChecksFailed),
            ];
            results.into_iter().try_for_each(|(result, counter)| {
                let labels = [labels[0], labels[1], ("result", result)];
                sample(&labels, backend.sum.counter(counter))
            })
        })
    })
}

/// Calls `each` with every backend and its labels.
fn for_backends(
    snapshot: &Snapshot,
    mut each: impl FnMut(&[Label<'_>; 2], &BackendSnapshot) -> fmt::Result,
) -> fmt::Result {
    snapshot.backends.iter().try_for_each(|backend| {
        let address = backend.address.to_string();
        each(&[("service", &backend.service), ("backend", &address)], backend)
    })
}

fn ports(page: &mut Page<'_>, snapshot: &Snapshot) -> fmt::Result {
    let each = |sample: &mut dyn FnMut(&[Label<'_>], u64) -> fmt::Result,
                value: fn(&crate::port::PortStats) -> u64| {
        let mut ports = snapshot.ports.iter();
        ports.try_for_each(|port| sample(&[("port", &port.name)], value(&port.device)))
    };
    page.counter("port_missed", "Frames lost because receive queues were full", |sample| {
        each(sample, |stats| stats.missed)
    })?;
    page.counter("port_no_buffer", "Frames lost because no buffer was free", |sample| {
        each(sample, |stats| stats.no_buffer)
    })?;
    page.counter("port_errors", "Frames received with errors of layer 1 or 2", |sample| {
        each(sample, |stats| stats.errors)
    })?;
    page.gauge("port_link_up", "Whether there is a carrier", None, |sample| {
        let mut ports = snapshot.ports.iter();
        ports.try_for_each(|p| sample(&[("port", &p.name)], f64::from(u8::from(p.link_up))))
    })
}

/// The encoder adds the full stop itself.
fn sentence(help: &str) -> &str {
    help.trim_end_matches('.')
}

fn borrowed<'a>(label: &'a (&'static str, String)) -> Label<'a> {
    (label.0, &label.1)
}
