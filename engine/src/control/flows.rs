//! `usher flows`: what is asked, and a sample of flows as an object.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use usher_proto::tcp::State;

use super::state_name;
use crate::config::Prefix;

/// Flows of one answer at most: a few MB of text, which a client that does not read leaves in our memory.
const LIMIT_MAX: usize = 10_000;

/// Flows of an answer where none is said: a screen or two.
const LIMIT: usize = 100;

/// Which flows are wanted, as it was asked: all filters must agree.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlowQuery {
    /// Of the service of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// In the state of this name: see [`Self::state`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Of clients in this network, or with this address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// To the backend with this address and TCP port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<SocketAddr>,
    /// So many at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

impl FlowQuery {
    /// How many are wanted at most.
    ///
    /// # Errors
    ///
    /// When that is more than an answer has, or none.
    pub fn limit(&self) -> Result<usize, String> {
        match self.limit.unwrap_or(LIMIT) {
            limit @ 1..=LIMIT_MAX => Ok(limit),
            other => Err(format!("a limit of {other} is not between 1 and {LIMIT_MAX}")),
        }
    }

    /// The state that is wanted.
    ///
    /// # Errors
    ///
    /// When none is called so.
    pub fn state(&self) -> Result<Option<State>, String> {
        let Some(name) = &self.state else { return Ok(None) };
        let spelled = name.to_uppercase().replace('-', "_");
        let state = State::ALL.into_iter().find(|state| state_name(*state) == spelled);
        let all = || State::ALL.map(state_name).join(", ");
        state.map(Some).ok_or_else(|| format!("there is no state {name:?}: there are {}", all()))
    }

    /// The network of the clients that are wanted.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn client(&self) -> Result<Option<Prefix>, String> {
        let Some(text) = &self.client else { return Ok(None) };
        let parse = || {
            let (addr, len) = text.split_once('/').map_or((&**text, None), |(a, l)| (a, Some(l)));
            let addr: IpAddr = addr.parse().ok()?;
            let most = if addr.is_ipv4() { 32 } else { 128 };
            let len = len.map_or(Some(most), |len| len.parse().ok())?;
            (len <= most).then_some(Prefix { addr, len })
        };
        let right = "such as 10.1.0.0/16 or 10.1.2.3";
        parse().map(Some).ok_or_else(|| format!("{text:?} is no network and no address, {right}"))
    }
}

/// A flow as it was at some moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flow {
    /// The number of its worker.
    pub worker: usize,
    /// Its service's name.
    pub service: String,
    /// Its state as the client sees it.
    pub state: State,
    /// The client.
    pub client: SocketAddr,
    /// The service's address.
    pub local: SocketAddr,
    /// The name of the port that its client is heard on.
    pub port: String,
    /// The backend, if it has one.
    pub backend: Option<SocketAddr>,
    /// What the backend takes for the client.
    pub source: Option<SocketAddr>,
    /// For how long it has been open, or half-open, in ms.
    pub age_ms: u32,
    /// For how long nobody was heard, in ms.
    pub idle_ms: u32,
}

/// Some flows, and how many records they were found among.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Flows {
    /// At most as many as were asked for.
    pub flows: Vec<Flow>,
    /// Records that were looked at.
    pub looked: u64,
    /// Whether these are all the flows that pass the filters.
    pub complete: bool,
}

/// The answer to `flows`.
#[must_use]
pub fn flows_json(found: &Flows) -> Value {
    let one = |flow: &Flow| {
        json!({
            "worker": flow.worker,
            "service": flow.service,
            "state": state_name(flow.state),
            "client": flow.client,
            "local": flow.local,
            "port": flow.port,
            "backend": flow.backend,
            "source": flow.source,
            "age_s": f64::from(flow.age_ms) / 1000.0,
            "idle_s": f64::from(flow.idle_ms) / 1000.0,
        })
    };
    json!({
        "flows": found.flows.iter().map(one).collect::<Vec<_>>(),
        "looked_at": found.looked,
        "complete": found.complete,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_found_by_name_however_spelled() {
        let state =
            |name: &str| FlowQuery { state: Some(name.into()), ..FlowQuery::default() }.state();
        assert_eq!(state("time-wait"), Ok(Some(State::TimeWait)));
        assert_eq!(state("SPENT"), Ok(Some(State::Closed)));
        assert_eq!(FlowQuery::default().state(), Ok(None));
        let error = state("open").unwrap_err();
        assert!(
            error.starts_with("there is no state \"open\": there are SPENT, SYN_SENT,"),
            "{error}"
        );
    }

    #[test]
    fn clients_are_a_network_or_an_address() {
        let client =
            |text: &str| FlowQuery { client: Some(text.into()), ..FlowQuery::default() }.client();
        let prefix = |addr: &str, len| Ok(Some(Prefix { addr: addr.parse().unwrap(), len }));
        assert_eq!(client("10.1.0.0/16"), prefix("10.1.0.0", 16));
        assert_eq!(client("10.1.2.3"), prefix("10.1.2.3", 32));
        assert_eq!(client("fd00::/8"), prefix("fd00::", 8));
        for wrong in ["", "10.1.0.0/33", "10.1/16", "web", "fd00::/129", "10.1.0.0/-1"] {
            assert!(client(wrong).unwrap_err().contains("is no network and no address"));
        }
    }

    #[test]
    fn limits_are_bounded() {
        let limit = |limit| FlowQuery { limit, ..FlowQuery::default() }.limit();
        assert_eq!((limit(None), limit(Some(10_000))), (Ok(100), Ok(10_000)));
        assert_eq!(limit(Some(0)), Err("a limit of 0 is not between 1 and 10000".into()));
        assert!(limit(Some(10_001)).is_err());
    }
}
