//! `[engine]`, `[dpdk]`, `[flow_table]`, `[handshake]`, `[timeouts]` and `[metrics]`: tables that stand
//! once in a file. A missing one means its defaults.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Group;
use usher_proto::tcp::{Policy, Refusal};

use super::plan::{Cookies, Cores, DpdkPlan, EnginePlan, HandshakePlan, LogFormat, Memory};
use super::problem::At;
use super::secret;
use super::section::Section;

/// Where commands look for a running engine by default.
pub const DEFAULT_SOCKET: &str = "/run/usher/control.sock";

/// The longest path of a Unix socket (`sun_path`, without its NUL).
const SOCKET_PATH_MAX: usize = 107;

/// Longest timeout: ticks wrap after 49.7 days and compare within half of that.
const LONGEST: Duration = Duration::from_secs(20 * 86_400);

/// `[engine]`; `dir` is the file's directory.
pub(super) fn engine(section: Option<&Section<'_>>, dir: &Path) -> EnginePlan {
    let drain = section.and_then(|s| s.duration("drain_timeout", Duration::ZERO..=LONGEST));
    EnginePlan {
        cores: section.and_then(cores).unwrap_or(Cores::Auto),
        drain_timeout: drain.map_or(Duration::from_secs(10), |at| at.value),
        control_socket: section
            .and_then(|s| socket(s, dir))
            .unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET)),
        control_group: section.and_then(group),
        log_level: section.and_then(log_level).unwrap_or_else(|| "info".into()),
        log_format: section
            .and_then(|s| s.choice("log_format", &LOG_FORMATS))
            .map_or(LogFormat::Text, |at| at.value),
    }
}

const LOG_FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

/// How much there is to log, from nothing to everything.
pub const LOG_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Whether `text` says how much is to be logged: one of [`LOG_LEVELS`], or several with commas between them, of which
/// all but one are for a part of the program: `warn,usher::control=debug`.
#[must_use]
pub fn is_log_level(text: &str) -> bool {
    let is_level = |level: &str| LOG_LEVELS.contains(&level);
    let is_target = |target: &str| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
        !target.is_empty() && target.bytes().all(letter)
    };
    text.split(',').all(|one| match one.split_once('=') {
        Some((target, level)) => is_target(target) && is_level(level),
        None => is_level(one),
    })
}

fn log_level(section: &Section<'_>) -> Option<String> {
    let text = section.text("log_level")?;
    if !is_log_level(text.value) {
        let what = format!("`{}` says no log level", text.value);
        let right = format!("write one of {}", LOG_LEVELS.join(", "));
        section.problems().add(&text, what, right);
    }
    Some(text.value.into())
}

/// `engine.control_group`: the number of a group that this host has.
fn group(section: &Section<'_>) -> Option<u32> {
    let text = section.text("control_group")?;
    let what = match Group::from_name(text.value) {
        Ok(Some(group)) => return Some(group.gid.as_raw()),
        Ok(None) => format!("this host has no group `{}`", text.value),
        Err(cause) => format!("group `{}` cannot be looked up: {cause}", text.value),
    };
    section.problems().add(&text, what, "name one of `getent group`, or leave it out");
    None
}

fn cores(section: &Section<'_>) -> Option<Cores> {
    let raw = section.raw("cores")?;
    if raw.value.as_str() == Some("auto") {
        return Some(Cores::Auto);
    }
    if !raw.value.is_array() {
        let right = "write a list of cores, e.g. `cores = [1, 2]`, or `cores = \"auto\"`";
        section.problems().add(&raw, "this is neither \"auto\" nor a list of cores", right);
        return None;
    }
    let list = section.integers::<u16>("cores", 0..=1023);
    if raw.value.as_array().is_some_and(|array| array.is_empty()) {
        section.problems().add(&raw, "there is no core", section.write("cores"));
    }
    for (i, core) in list.iter().enumerate() {
        if list[..i].iter().any(|earlier| earlier.value == core.value) {
            let what = format!("core {} is named twice", core.value);
            section.problems().add(core, what, "name each core once: there is one worker a core");
        }
    }
    if list.len() > 64 {
        section.problems().add(&raw, format!("{} workers", list.len()), "at most 64 workers");
    }
    Some(Cores::These(list.iter().map(|core| usize::from(core.value)).collect()))
}

fn socket(section: &Section<'_>, dir: &Path) -> Option<PathBuf> {
    let text = section.text("control_socket")?;
    let path = dir.join(text.value);
    let length = path.as_os_str().len();
    if text.value.is_empty() || length > SOCKET_PATH_MAX {
        let what = format!("a socket's path of {length} bytes");
        let right = format!("a path of at most {SOCKET_PATH_MAX} bytes, e.g. `{DEFAULT_SOCKET}`");
        section.problems().add(&text, what, right);
    }
    Some(path)
}

/// `[dpdk]`.
pub(super) fn dpdk(section: Option<&Section<'_>>) -> DpdkPlan {
    let words = [("auto", Memory::Auto), ("huge", Memory::Huge), ("none", Memory::None)];
    let memory = section.and_then(|s| s.choice("memory", &words));
    let memory_mb = section.and_then(|s| s.integer::<u32>("memory_mb", 64..=1_048_576));
    let mbufs = section.and_then(|s| s.integer::<u32>("mbufs_per_port", 1024..=8_388_607));
    DpdkPlan {
        memory: memory.map_or(Memory::Auto, |at| at.value),
        memory_mb: memory_mb.map(|at| at.value),
        eal_args: section.map(eal_args).unwrap_or_default(),
        mbufs_per_port: mbufs.map_or(65_535, |at| at.value),
    }
}

fn eal_args(section: &Section<'_>) -> Vec<String> {
    let args = section.texts("eal_args");
    for arg in args.iter().filter(|arg| arg.value.is_empty() || arg.value.contains('\0')) {
        section.problems().add(arg, "an argument is never empty", "remove it");
    }
    args.iter().map(|arg| arg.value.to_owned()).collect()
}

/// `flow_table.capacity`.
pub(super) fn flow_capacity(section: Option<&Section<'_>>) -> u32 {
    let capacity = section.and_then(|s| s.integer::<u32>("capacity", 16..=100_000_000));
    capacity.map_or(1_000_000, |at| at.value)
}

/// `[handshake]` apart from the policy. Half-open flows are flows: their limit is the table's, too.
pub(super) fn handshake(
    section: Option<&Section<'_>>,
    flow_capacity: u32,
    dir: &Path,
) -> HandshakePlan {
    let words = [("auto", Cookies::Auto), ("always", Cookies::Always), ("never", Cookies::Never)];
    let cookies = section.and_then(|s| s.choice("cookies", &words)).map(|at| at.value);
    let limit = section.and_then(|s| s.integer::<u32>("half_open_limit", 2..=16_777_216));
    HandshakePlan {
        cookies: cookies.unwrap_or(Cookies::Auto),
        half_open_limit: limit.map_or(65_536, |at| at.value).min(flow_capacity),
        secret: section.and_then(|s| secret::read(s, dir)),
    }
}

/// What `[handshake]` and `[timeouts]` say to the protocol.
pub(super) fn policy(handshake: Option<&Section<'_>>, timeouts: Option<&Section<'_>>) -> Policy {
    let default = Policy::default();
    let time = |key, low, default| {
        let range = Duration::from_millis(low)..=LONGEST;
        let at = timeouts.and_then(|s| s.duration(key, range));
        at.map_or(default, |at| u32::try_from(at.value.as_millis()).unwrap_or(u32::MAX))
    };
    let refusal = |key, default| {
        let words = [("reset", Refusal::Reset), ("drop", Refusal::Drop)];
        handshake.and_then(|s| s.choice(key, &words)).map_or(default, |at| at.value)
    };
    let small = |key, high, default| {
        handshake.and_then(|s| s.integer::<u8>(key, 0..=high)).map_or(default, |at| at.value)
    };
    Policy {
        idle: time("idle", 100, default.idle),
        half_closed: time("half_closed", 100, default.half_closed),
        time_wait: time("time_wait", 1, default.time_wait),
        connect: time("connect", 1, default.connect),
        syn_ack_retries: small("syn_ack_retries", 12, default.syn_ack_retries),
        window_scale: small("window_scale", 14, default.window_scale),
        ecn: handshake.and_then(|s| s.boolean("ecn")).map_or(default.ecn, |at| at.value),
        unknown_port: refusal("unknown_port", default.unknown_port),
        invalid_ack: refusal("invalid_ack", default.invalid_ack),
    }
}

/// `metrics.listen`.
pub(super) fn metrics(section: Option<&Section<'_>>) -> Option<SocketAddr> {
    let section = section?;
    section.require(&["listen"]);
    let text = section.text("listen")?;
    let address: Option<At<SocketAddr>> = text.value.parse().ok().map(|value| text.with(value));
    if address.is_none() {
        let what = format!("`{}` is no address with a port", text.value);
        section.problems().add(&text, what, section.write("listen"));
    }
    address.map(|at| at.value)
}
