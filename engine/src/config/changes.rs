//! What a reload would change, in sentences.

use std::fmt::Debug;
use std::time::Duration;

use humantime::format_duration;
use usher_proto::tcp::Refusal;

use super::plan::{BackendPlan, Cookies, Plan, ProxyPlan, RingPlan, ServiceKind, ServicePlan};
use super::reload::differing;

impl Plan {
    /// What of `next` differs from this plan and can change while the engine runs, a sentence each. Secrets are not
    /// shown.
    #[must_use]
    pub fn changes(&self, next: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        self.settings(next, &mut changes);
        for service in &self.services {
            match next.services.iter().find(|other| other.name == service.name) {
                Some(other) => changes.extend(service.changes(other)),
                None => {
                    changes.push(format!("service {:?} goes; its connections finish", service.name))
                }
            }
        }
        let is_new = |other: &&ServicePlan| !self.services.iter().any(|old| old.name == other.name);
        let new = next.services.iter().filter(is_new);
        changes.extend(new.map(|service| format!("service {:?} is new", service.name)));
        changes
    }

    /// What stands once in a file.
    fn settings(&self, next: &Self, changes: &mut Vec<String>) {
        let mut note = |key: &str, old: String, new: String| {
            if old != new {
                changes.push(format!("`{key}`: {old} -> {new}"));
            }
        };
        let time = |time: Duration| format_duration(time).to_string();
        let ms = |ms: u32| time(Duration::from_millis(ms.into()));
        let (old, new) = (&self.engine, &next.engine);
        note("engine.drain_timeout", time(old.drain_timeout), time(new.drain_timeout));
        note("engine.log_level", old.log_level.clone(), new.log_level.clone());
        let (old, new) = (&self.handshake, &next.handshake);
        note("handshake.cookies", cookies(old.cookies), cookies(new.cookies));
        let limits = (old.half_open_limit, new.half_open_limit);
        note("handshake.half_open_limit", limits.0.to_string(), limits.1.to_string());
        let (old, new) = (&self.policy, &next.policy);
        let retries = (old.syn_ack_retries, new.syn_ack_retries);
        note("handshake.ecn", old.ecn.to_string(), new.ecn.to_string());
        note("handshake.syn_ack_retries", retries.0.to_string(), retries.1.to_string());
        note("handshake.unknown_port", refusal(old.unknown_port), refusal(new.unknown_port));
        note("handshake.invalid_ack", refusal(old.invalid_ack), refusal(new.invalid_ack));
        note("timeouts.idle", ms(old.idle), ms(new.idle));
        note("timeouts.half_closed", ms(old.half_closed), ms(new.half_closed));
        note("timeouts.time_wait", ms(old.time_wait), ms(new.time_wait));
        note("timeouts.connect", ms(old.connect), ms(new.connect));
        if self.handshake.secret.is_some() && self.handshake.secret != next.handshake.secret {
            changes.push("`handshake.secret_file` has other secrets".into());
        }
    }
}

impl ServicePlan {
    fn changes(&self, next: &Self) -> Option<String> {
        let Self { name, listen, port, kind, drained: _ } = self;
        let same = [("listen", *listen == next.listen), ("port", *port == next.port)];
        let mut keys: Vec<String> = differing(&same).map(|key| format!("`{key}`")).collect();
        match (kind, &next.kind) {
            (ServiceKind::Respond(old), ServiceKind::Respond(new)) if old == new => {}
            (ServiceKind::Respond(_), ServiceKind::Respond(_)) => keys.push("`response`".into()),
            (ServiceKind::Proxy(old), ServiceKind::Proxy(new)) => keys.extend(old.changes(new)),
            (ServiceKind::Ring(old), ServiceKind::Ring(new)) => keys.extend(old.changes(new)),
            _ => keys.push("`kind`".into()),
        }
        (!keys.is_empty()).then(|| format!("service {name:?} changes: {}", keys.join(", ")))
    }
}

impl RingPlan {
    fn changes(&self, next: &Self) -> Vec<String> {
        let Self { size, consumer_timeout, consumer_cores, consumer_gone, proxy } = self;
        let same = [
            ("ring_size", *size == next.size),
            ("consumer_timeout", *consumer_timeout == next.consumer_timeout),
            ("consumer_cores", *consumer_cores == next.consumer_cores),
            ("consumer_gone", *consumer_gone == next.consumer_gone),
            ("backends", proxy.is_some() == next.proxy.is_some()),
        ];
        let mut keys: Vec<String> = differing(&same).map(|key| format!("`{key}`")).collect();
        let proxies = proxy.as_ref().zip(next.proxy.as_ref());
        keys.extend(proxies.into_iter().flat_map(|(old, new)| old.changes(new)));
        keys
    }
}

impl ProxyPlan {
    fn changes(&self, next: &Self) -> Vec<String> {
        let Self { forward, proxy_protocol, balance, backends, health_check, retries, no_backend } =
            self;
        let same = [
            ("forward", *forward == next.forward),
            ("proxy_protocol", *proxy_protocol == next.proxy_protocol),
            ("balance", *balance == next.balance),
            ("health_check", *health_check == next.health_check),
            ("backend_retries", *retries == next.retries),
            ("no_backend", *no_backend == next.no_backend),
        ];
        let mut keys: Vec<String> = differing(&same).map(|key| format!("`{key}`")).collect();
        let of = |all: &[BackendPlan], one: &BackendPlan| {
            all.iter().find(|other| other.address == one.address).copied()
        };
        for old in backends {
            match of(&next.backends, old) {
                None => keys.push(format!("without backend {}", old.address)),
                Some(new) if new.weight != old.weight => keys.push(format!(
                    "backend {} weighs {} -> {}",
                    old.address, old.weight, new.weight
                )),
                Some(_) => {}
            }
        }
        let new = next.backends.iter().filter(|new| of(backends, new).is_none());
        keys.extend(new.map(|new| format!("with backend {}", new.address)));
        keys
    }
}

fn cookies(cookies: Cookies) -> String {
    word(cookies)
}

fn refusal(refusal: Refusal) -> String {
    word(refusal)
}

/// A value as the file spells it.
fn word(value: impl Debug) -> String {
    format!("{value:?}").to_lowercase()
}
