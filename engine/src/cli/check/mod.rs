//! `usher check`: a configuration and the host it is for; one line a finding. Starts nothing.

mod backends;
mod cores;
mod device;
mod ethtool;
mod kernel;
mod memory;
mod peer;
mod rights;

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

pub(super) use self::rights::names;
use super::{DONE, FAILED, MISUSED, report, say};
use crate::config::{Plan, ServicePlan, Topology};

/// How grave a finding is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Grade {
    Ok,
    Warn,
    Fail,
}

/// One line of the report.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Finding {
    grade: Grade,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grade = match self.grade {
            Grade::Ok => "ok  ",
            Grade::Warn => "warn",
            Grade::Fail => "fail",
        };
        write!(f, "{grade} {}", self.what)
    }
}

fn ok(what: impl Into<String>) -> Finding {
    Finding { grade: Grade::Ok, what: what.into() }
}

fn warn(what: impl Into<String>) -> Finding {
    Finding { grade: Grade::Warn, what: what.into() }
}

fn fail(what: impl Into<String>) -> Finding {
    Finding { grade: Grade::Fail, what: what.into() }
}

/// Where the kernel describes itself; tests have their own.
struct Host {
    sys: PathBuf,
    proc: PathBuf,
}

impl Host {
    fn this() -> Self {
        Self { sys: "/sys".into(), proc: "/proc".into() }
    }

    /// A file's text below `/sys`, without the white space around it.
    fn sys(&self, path: &str) -> Option<String> {
        read(&self.sys.join(path))
    }

    /// A file's text below `/proc`.
    fn proc(&self, path: &str) -> Option<String> {
        read(&self.proc.join(path))
    }
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// Checks `file` and the host; returns the exit code.
pub(super) fn check(file: &Path) -> u8 {
    let plan = match Plan::load(file) {
        Ok(plan) => plan,
        Err(error) => {
            let count = error.count();
            say(&fail(format!("configuration {}: {count} error(s)", file.display())).to_string());
            report(&error);
            return MISUSED;
        }
    };
    let findings = findings(&plan, file, &Host::this(), &Topology::read());
    findings.iter().for_each(|finding| say(&finding.to_string()));
    let failed = findings.iter().any(|finding| finding.grade == Grade::Fail);
    if failed { FAILED } else { DONE }
}

/// What `usher run` looks at first, before it touches a device. Another engine, too little memory (of
/// which it would die half-way), a device that is not there and rights that are lacking are errors; what the
/// kernel does on our links is logged.
pub(super) fn before_start(plan: &Plan, machine: &Topology, cores: &[usize]) -> Result<(), String> {
    let host = Host::this();
    for finding in kernel::check(plan, &host).iter().filter(|finding| finding.grade != Grade::Ok) {
        tracing::warn!("{}", finding.what);
    }
    let socket = &plan.engine.control_socket;
    if UnixStream::connect(socket).is_ok() {
        let name = socket.display();
        return Err(format!(
            "another engine runs with control socket {name}: stop it, or set `engine.control_socket`"
        ));
    }
    let mut findings = memory::check(plan, cores.len(), &host);
    for port in &plan.ports {
        findings.extend(device::check(port, &host, machine, cores));
    }
    if let Some(finding) = findings.into_iter().find(|finding| finding.grade == Grade::Fail) {
        return Err(finding.what);
    }
    let has = rights::present();
    let lacking = plan.ports.iter().find_map(|port| rights::lacking(port, &host, has));
    lacking.map_or(Ok(()), Err)
}

fn findings(plan: &Plan, file: &Path, host: &Host, machine: &Topology) -> Vec<Finding> {
    let (ports, services) = (plan.ports.len(), plan.services.len());
    let name = file.display();
    let mut all = vec![ok(format!("configuration {name}: {ports} port(s), {services} service(s)"))];
    all.extend(plan.notices.iter().map(warn));
    let cores = plan.engine.cores.resolve(machine);
    all.extend(cores::check(&cores, machine));
    let workers = cores.as_ref().map_or(1, Vec::len);
    all.extend(plan.ports.iter().filter_map(|port| {
        let captures = port.device.dpdk().is_none().then_some(1);
        too_few_queues(&port.name, port.queues.or(captures)?.into(), workers).map(warn)
    }));
    all.extend(memory::check(plan, workers, host));
    for port in &plan.ports {
        all.extend(device::check(port, host, machine, cores.as_deref().unwrap_or_default()));
        all.extend(peer::check(port, host));
        // who checks may not be who runs
        all.extend(rights::lacking(port, host, rights::present()).map(warn));
    }
    all.extend(plan.services.iter().filter_map(consumer));
    all.extend(backends::check(plan));
    all.extend(kernel::check(plan, host));
    all.extend(plan.handshake.secret.as_ref().map(|secret| secret_file(&secret.file)));
    all.push(control_socket(&plan.engine.control_socket));
    all
}

/// What is said of a port with fewer queues than workers: nothing is wrong, but the way by another worker has its price.
pub(super) fn too_few_queues(port: &str, queues: usize, workers: usize) -> Option<String> {
    (queues < workers).then(|| {
        format!("port {port}: {queues} queue(s) for {workers} workers: frames are handed on, which costs both ends")
    })
}

/// A `ring` service needs a program, which `usher run` is not.
fn consumer(service: &ServicePlan) -> Option<Finding> {
    service.ring().map(|_| {
        let name = &service.name;
        fail(format!(
            "service {name}: `kind = \"ring\"` hands connections to a program, and `usher run` refuses it: start the engine from that program (the library `usher`)"
        ))
    })
}

/// Whoever can read the secret can forge cookies.
fn secret_file(path: &Path) -> Finding {
    let name = path.display();
    match std::fs::metadata(path).map(|meta| meta.permissions().mode() & 0o777) {
        Ok(mode) if mode & 0o077 != 0 => warn(format!(
            "secret file {name} has mode {mode:04o}: others can use it; chmod 600 {name}"
        )),
        Ok(mode) => ok(format!("secret file {name} has mode {mode:04o}")),
        Err(cause) => fail(format!("secret file {name}: {cause}")),
    }
}

fn control_socket(path: &Path) -> Finding {
    let name = path.display();
    match UnixStream::connect(path) {
        Ok(_) => warn(format!(
            "an engine is running with control socket {name}: a second one needs another"
        )),
        Err(_) => ok(format!("control socket {name} is free")),
    }
}

#[cfg(test)]
mod tests;
