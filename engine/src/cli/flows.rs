//! `usher flows`: some of the connections that a running engine has.

use std::net::SocketAddr;

use clap::Args;
use serde_json::{Value, json};

use super::{DONE, MISUSED, Running, ask, complain, say};
use crate::control::{FlowQuery, flows_table};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Those of this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Those in this state: ESTABLISHED, SYN_RCVD, TIME_WAIT, SPENT (a marker of a used cookie) and so on
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Those of clients in this network or with this address
    #[arg(long, value_name = "PREFIX")]
    client: Option<String>,
    /// Those with this backend
    #[arg(long, value_name = "ADDRESS:PORT")]
    backend: Option<SocketAddr>,
    /// So many at most, up to 10000
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    running: Running,
}

/// Prints a sample of the flows; returns the exit code.
pub(super) fn flows(options: &Options) -> u8 {
    let Options { service, state, client, backend, limit, json, running } = options;
    let query = FlowQuery {
        service: service.clone(),
        state: state.clone(),
        client: client.clone(),
        backend: *backend,
        limit: Some(*limit),
    };
    let wrong = query.state().err().or(query.client().err()).or(query.limit().err());
    if let Some(wrong) = wrong {
        complain(&wrong);
        return MISUSED;
    }
    let mut asked = json!(query);
    asked["command"] = "flows".into();
    ask(running, &asked, |answer: Value| {
        say(&if *json { answer.to_string() } else { flows_table(&answer) });
        DONE
    })
}
