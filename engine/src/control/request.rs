//! What may be asked over the control socket: a line's words, and what they mean.

use std::net::SocketAddr;
use std::time::Duration;

use crossbeam::channel::Sender;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::FlowQuery;

/// The version of the protocol. It grows when an answer's meaning changes; commands and fields may be added without.
pub const PROTOCOL: u64 = 1;

/// What a client of the control socket wants done, for the engine's own thread to do.
#[derive(PartialEq, Eq, Debug)]
pub enum Request {
    /// The configuration file is to be read again; a sentence says what came of it.
    Reload {
        /// Whether only what would come of it is to be told.
        dry_run: bool,
    },
    /// The engine is to take no new connections and to end when none is left.
    Drain {
        /// After so long what is left is reset; else as configured.
        timeout: Option<Duration>,
    },
    /// A sample of the flows is wanted.
    Flows(FlowQuery),
    /// A backend is to be taken out, or back in; a sentence says what came of it.
    Backend {
        /// The name of its service.
        service: String,
        /// Its address and TCP port.
        address: SocketAddr,
        /// Whether it gets no new connections.
        drained: bool,
    },
    /// A backend is to have another weight.
    Weight {
        /// The name of its service.
        service: String,
        /// Its address and TCP port.
        address: SocketAddr,
        /// 1 to 1000.
        weight: u16,
    },
    /// A service is to be taken out, or back in.
    Service {
        /// Its name.
        service: String,
        /// Whether it takes no new connections.
        drained: bool,
    },
    /// Another log level, or the present one is asked for.
    LogLevel(Option<String>),
}

/// A request and where its outcome goes: a sentence or an object, or why not.
#[derive(Debug)]
pub struct Errand {
    /// What is to be done.
    pub request: Request,
    /// For the outcome; whoever asked may have gone.
    pub answer: Sender<Outcome>,
}

/// What came of a request: the fields of the answer, or a sentence that says why not.
pub type Outcome = Result<Value, String>;

/// The answer of a request that a sentence says all about.
#[must_use]
pub fn done(sentence: String) -> Value {
    json!({ "done": sentence })
}

/// A line that makes sense.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// What runs.
    Version,
    /// All counts.
    Stats,
    /// The backends, of one service if it is named.
    Backends(Option<String>),
    /// The services.
    Services,
    /// What is for the engine's own thread.
    Errand(Request),
}

/// The commands as they are written.
#[derive(Deserialize)]
#[serde(tag = "command", deny_unknown_fields)]
enum Command {
    #[serde(rename = "version")]
    Version {},
    #[serde(rename = "stats")]
    Stats {},
    #[serde(rename = "reload")]
    Reload {
        #[serde(default)]
        dry_run: bool,
    },
    #[serde(rename = "drain")]
    Drain { timeout_ms: Option<u32> },
    #[serde(rename = "log level")]
    LogLevel { level: Option<String> },
    #[serde(rename = "flows")]
    Flows(FlowQuery),
    #[serde(rename = "backend list")]
    BackendList { service: Option<String> },
    #[serde(rename = "backend drain")]
    BackendDrain { service: String, address: SocketAddr },
    #[serde(rename = "backend enable")]
    BackendEnable { service: String, address: SocketAddr },
    #[serde(rename = "backend weight")]
    BackendWeight { service: String, address: SocketAddr, weight: u16 },
    #[serde(rename = "service list")]
    ServiceList {},
    #[serde(rename = "service drain")]
    ServiceDrain { service: String },
    #[serde(rename = "service enable")]
    ServiceEnable { service: String },
}

impl From<Command> for Asked {
    fn from(command: Command) -> Self {
        Self::Errand(match command {
            Command::Version {} => return Self::Version,
            Command::Stats {} => return Self::Stats,
            Command::BackendList { service } => return Self::Backends(service),
            Command::ServiceList {} => return Self::Services,
            Command::Reload { dry_run } => Request::Reload { dry_run },
            Command::Drain { timeout_ms } => {
                let timeout = timeout_ms.map(|ms| Duration::from_millis(ms.into()));
                Request::Drain { timeout }
            }
            Command::LogLevel { level } => Request::LogLevel(level),
            Command::Flows(query) => Request::Flows(query),
            Command::BackendDrain { service, address } => {
                Request::Backend { service, address, drained: true }
            }
            Command::BackendEnable { service, address } => {
                Request::Backend { service, address, drained: false }
            }
            Command::BackendWeight { service, address, weight } => {
                Request::Weight { service, address, weight }
            }
            Command::ServiceDrain { service } => Request::Service { service, drained: true },
            Command::ServiceEnable { service } => Request::Service { service, drained: false },
        })
    }
}

/// Reads one line.
pub(super) fn read(line: &[u8]) -> Result<Asked, String> {
    let example = || r#"a request is one line such as {"command":"stats"}"#.to_owned();
    let mut object: Map<String, Value> = serde_json::from_slice(line).map_err(|_| example())?;
    if let Some(version) = object.remove("protocol").filter(|version| *version != PROTOCOL) {
        return Err(format!("protocol {version} is not spoken here: this is {PROTOCOL}"));
    }
    let Some(name) = object.get("command").and_then(Value::as_str).map(str::to_owned) else {
        return Err(example());
    };
    let command = serde_json::from_value::<Command>(Value::Object(object));
    command.map(Asked::from).map_err(|cause| {
        let cause = cause.to_string();
        match cause.strip_prefix("unknown variant ") {
            Some(rest) => format!("there is no command {rest}"),
            None => format!("`{name}`: {cause}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(line: &str) -> String {
        read(line.as_bytes()).unwrap_err()
    }

    #[test]
    fn commands_are_read() {
        assert_eq!(read(br#"{"command":"stats"}"#), Ok(Asked::Stats));
        assert_eq!(read(br#"{"protocol":1,"command":"version"}"#), Ok(Asked::Version));
        let drain =
            br#"{"command":"backend drain","service":"web","address":"[fd00::2]:80"}"#.as_slice();
        let address = "[fd00::2]:80".parse().unwrap();
        let order = Request::Backend { service: "web".into(), address, drained: true };
        assert_eq!(read(drain), Ok(Asked::Errand(order)));
    }

    /// Each command of `docs/CONTROL.md`.
    #[test]
    fn every_command_is_read() {
        let page = include_str!("../../../docs/CONTROL.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
        let cells = rows.filter_map(|row| row.split_once(" |"));
        let named: Vec<&str> = cells.flat_map(|(cell, _)| cell.split('`').step_by(2)).collect();
        let named: Vec<&str> = named.into_iter().filter(|name| !name.is_empty()).collect();
        let error = error(r#"{"command":"explode"}"#);
        let (_, known) = error.split_once("expected one of ").expect("all are listed");
        let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        let sorted = |mut names: Vec<&str>| {
            names.sort_unstable();
            names.join("|")
        };
        assert_eq!(sorted(named), sorted(known));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let example = r#"a request is one line such as {"command":"stats"}"#;
        for line in ["", "{", "7", "[]", "{}", r#"{"command":7}"#, "{\"command\":\"stats\"} x"] {
            assert_eq!(error(line), example, "{line}");
        }
        assert_eq!(
            error(r#"{"command":"stats","protocol":2}"#),
            "protocol 2 is not spoken here: this is 1"
        );
        let unknown = error(r#"{"command":"explode"}"#);
        assert!(unknown.starts_with("there is no command `explode`, expected one of `version`"));
        for (line, says) in [
            (r#"{"command":"stats","jsno":1}"#, "`stats`: unknown field `jsno`"),
            (
                r#"{"command":"backend drain","service":"web"}"#,
                "`backend drain`: missing field `address`",
            ),
            (
                r#"{"command":"backend enable","service":"web","address":"10.20.0.2"}"#,
                "`backend enable`: invalid socket address",
            ),
            (
                r#"{"command":"backend enable","service":1,"address":"10.20.0.2:80"}"#,
                "`backend enable`: invalid type: integer `1`, expected a string",
            ),
        ] {
            assert!(error(line).starts_with(says), "{}", error(line));
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_refused(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&line);
        }

        /// Objects of the right shape, with any values.
        #[test]
        fn any_command_is_read_or_refused(command in "[a-z ]{0,16}", service in "\\PC{0,20}", n: i64) {
            let object = json!({ "command": command, "service": service, "limit": n });
            let _ = read(object.to_string().as_bytes());
        }
    }
}
