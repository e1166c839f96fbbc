//! `usher stats --json`: one object with `version`, `uptime_s`, `workers`, `services`, `backends` and
//! `ports`. Causes are keys: `drop_<reason>`, `failed_<end>`, `ended_<end>`, and counters by name.

use serde_json::{Map, Value, json};
use usher_proto::tcp::State;
use usher_proto::verdict::{End, Reason};

use super::state_name;
use crate::stats::{
    BackendCounter, BackendSnapshot, Counter, PortCounter, PortSnapshot, ServiceCounter,
    ServiceSnapshot, Snapshot, WorkerBackend, WorkerSnapshot,
};

/// The whole object.
#[must_use]
pub fn stats_json(snapshot: &Snapshot) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": snapshot.uptime_us as f64 / 1e6,
        "workers": snapshot.workers.iter().enumerate().map(worker).collect::<Vec<_>>(),
        "services": snapshot.services.iter().map(service).collect::<Vec<_>>(),
        "backends": snapshot.backends.iter().map(backend).collect::<Vec<_>>(),
        "ports": snapshot.ports.iter().map(port).collect::<Vec<_>>(),
    })
}

/// The backends alone.
#[must_use]
pub fn backends_json(snapshot: &Snapshot) -> Value {
    json!({ "backends": snapshot.backends.iter().map(backend).collect::<Vec<_>>() })
}

/// The services that are configured.
#[must_use]
pub fn services_json(snapshot: &Snapshot) -> Value {
    let configured = snapshot.services.iter().filter(|one| !one.kind.is_empty());
    json!({ "services": configured.map(service).collect::<Vec<_>>() })
}

fn backend(backend: &BackendSnapshot) -> Value {
    let WorkerBackend { state, connections, .. } = &backend.sum;
    let learned = state.learned.map(|learned| {
        json!({
            "mss": learned.mss,
            "window_scale": learned.scale,
            "sack": learned.sack,
            "timestamps": learned.timestamps,
            "ecn": learned.ecn,
            "window": learned.window,
        })
    });
    let mut object = Map::new();
    object.insert("service".into(), backend.service.clone().into());
    object.insert("address".into(), backend.address.to_string().into());
    object.insert("up".into(), state.up.into());
    object.insert("drained".into(), state.drained.into());
    object.insert("connections".into(), (*connections).into());
    for counter in BackendCounter::ALL {
        object.insert(counter.name().into(), backend.sum.counter(*counter).into());
    }
    object.insert("learned".into(), learned.into());
    Value::Object(object)
}

fn worker((index, worker): (usize, &WorkerSnapshot)) -> Value {
    let mut object = Map::new();
    object.insert("worker".into(), index.into());
    object.insert("core".into(), worker.core.into());
    object.insert("busy_ratio".into(), worker.busy_ratio().into());
    for counter in Counter::ALL {
        object.insert(counter.name().into(), worker.counter(*counter).into());
    }
    for reason in Reason::ALL {
        object.insert(format!("drop_{}", reason.name()), worker.dropped(*reason).into());
    }
    for counter in ServiceCounter::ALL {
        let sum = worker.services.iter().map(|share| share.counter(*counter)).sum::<u64>();
        object.insert(counter.name().into(), sum.into());
    }
    let ended = worker.services.iter().flat_map(|share| share.ended).sum::<u64>();
    object.insert("flows_ended".into(), ended.into());
    let flow = |state: State| (state_name(state).to_owned(), worker.flows(state).into());
    object.insert("flows".into(), Value::Object(State::ALL.map(flow).into_iter().collect()));
    Value::Object(object)
}

fn service(service: &ServiceSnapshot) -> Value {
    let mut object = Map::new();
    object.insert("name".into(), service.name.clone().into());
    object.insert("kind".into(), service.kind.into());
    object.insert("listen".into(), json!(service.listen));
    object.insert("drained".into(), service.drained.into());
    for counter in ServiceCounter::ALL {
        object.insert(counter.name().into(), service.counter(*counter).into());
    }
    for end in End::ALL {
        object.insert(format!("failed_{}", end.name()), service.failed(*end).into());
        object.insert(format!("ended_{}", end.name()), service.ended(*end).into());
    }
    for (key, q) in [("handshake_p50_us", 0.5), ("handshake_p99_us", 0.99)] {
        object.insert(key.into(), service.latency.quantile_us(q).into());
    }
    object.insert("handshake_times".into(), json!(service.latency.filled().collect::<Vec<_>>()));
    Value::Object(object)
}

fn port(port: &PortSnapshot) -> Value {
    let mut object = Map::new();
    object.insert("name".into(), port.name.clone().into());
    object.insert("link_up".into(), port.link_up.into());
    for counter in PortCounter::ALL {
        object.insert(counter.name().into(), port.counters.counter(*counter).into());
    }
    object.insert("device_received".into(), port.device.received.into());
    object.insert("device_sent".into(), port.device.sent.into());
    object.insert("missed".into(), port.device.missed.into());
    object.insert("no_buffer".into(), port.device.no_buffer.into());
    object.insert("errors".into(), port.device.errors.into());
    Value::Object(object)
}
