//! `usher run`: from a plan to a running engine, and back.
//!
//! Nothing is said on standard output but `usher ready`, once every port is polled, and the table at the
//! end; the log goes to standard error. The first SIGINT or SIGTERM drains, the second ends at once,
//! SIGHUP reads the configuration again. A panic, wherever it is, ends the process: half an engine would
//! answer half the clients.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::error::Error;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use crossbeam::channel::bounded;
use rustix::thread::CapabilitySet;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::{info, warn};

use super::check::{before_start, names};
use super::keeper::Keeper;
use super::log::Log;
use super::privileges;
use super::{FAILED, MISUSED, complain, load, say};
use crate::config::{LogFormat, Plan, Topology};
use crate::control::{ControlSocket, HttpServer, exit_table};
use crate::engine::Engine;
use crate::face::ports::{open, play};
use crate::port::Port;

/// Requests of the control socket that may wait. More are refused: the engine is busy.
const ERRANDS: usize = 16;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// How the log is written, whatever the file says
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<Format>,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum Format {
    /// A line for people
    Text,
    /// A JSON object a line
    Json,
}

impl From<Format> for LogFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => Self::Text,
            Format::Json => Self::Json,
        }
    }
}

/// Runs an engine until it is told to stop; returns the exit code.
pub(super) fn run(options: &Options) -> u8 {
    let file = options.config.as_path();
    let Ok(plan) = load(file) else { return MISUSED };
    let (log, sink) = Log::new(&plan.engine, options.log_format.map(LogFormat::from));
    sink.install();
    std::panic::set_hook(Box::new(|panic| end_on_panic(panic)));
    if let Err(cause) = privileges::gain_none() {
        warn!("what this process executes may gain rights: {cause}");
    }
    // from here on a signal waits until the engine can obey it
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]);
    let outcome = signals.map_err(Into::into).and_then(|mut signals| {
        let machine = Topology::read();
        let cores = plan.engine.cores.resolve(&machine)?;
        plan.notices.iter().for_each(|notice| warn!("{notice}"));
        before_start(&plan, &machine, &cores)?;
        let pinned: Vec<_> = cores.iter().copied().map(Some).collect();
        let signal = || signals.pending().next();
        match plan.pcap_setups() {
            Some(captures) => serve(&plan, file, log, play(&captures)?, &pinned, signal, settle),
            None => {
                let ports = open(&plan, &cores)?;
                #[cfg(feature = "dpdk")]
                note_queues(&ports, cores.len());
                serve(&plan, file, log, ports, &pinned, signal, settle)
            }
        }
    });
    outcome.unwrap_or_else(|cause| {
        complain(&cause.to_string());
        FAILED
    })
}

/// Says what has happened, and ends the process without unwinding: in builds that unwind, too, nothing of the engine
/// is left, and its sockets are replaced by the next one's.
fn end_on_panic(panic: &PanicHookInfo<'_>) -> ! {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("without a name");
    complain(&format!("thread {thread}: {panic}"));
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        complain(&trace.to_string());
    }
    complain("this is a defect of usher: please report it with the lines above; it ends at once");
    signal_hook::low_level::exit(FAILED.into())
}

/// Once clients are served: gives up the rights that the start needed.
fn settle(kept: CapabilitySet) {
    match privileges::keep_only(kept) {
        Ok(stubborn) if stubborn.is_empty() => info!("capabilities kept: {}", names(kept)),
        Ok(stubborn) => warn!("these threads keep their capabilities: {stubborn:?}"),
        Err(cause) => warn!("capabilities are kept: {cause}"),
    }
}

/// Says where workers live from what others hand on.
#[cfg(feature = "dpdk")]
fn note_queues(ports: &[crate::port::dpdk::DpdkPort], workers: usize) {
    for port in ports {
        let (name, queues) = (port.name(), port.queues().into());
        if let Some(warning) = super::check::too_few_queues(name, queues, workers) {
            warn!("{warning}");
        }
        if queues > 1 && !port.has_rss() {
            warn!(
                "port `{name}`: its driver spreads frames by no hash of ours: those of other workers are handed on"
            );
        }
    }
}

/// Starts the engine and its servers and watches them; `signal` returns the next one that has come.
fn serve<P: Port + 'static>(
    plan: &Plan,
    file: &Path,
    log: Log,
    ports: Vec<P>,
    cores: &[Option<usize>],
    signal: impl FnMut() -> Option<i32>,
    settle: impl FnOnce(CapabilitySet),
) -> Result<u8, Box<dyn Error + Send + Sync>> {
    let mut kept: CapabilitySet =
        ports.iter().map(|port| privileges::kept(port.driver())).collect();
    let engine = Engine::start(plan, ports, cores)?;
    let socket = &plan.engine.control_socket;
    let (errands, asked) = bounded(ERRANDS);
    let group = plan.engine.control_group;
    let control = ControlSocket::listen(socket, group, engine.source(), errands)
        .map_err(|cause| format!("control socket {}: {cause}", socket.display()))?;
    let metrics = plan.metrics.map(|address| {
        HttpServer::listen(address, engine.source())
            .map_err(|cause| format!("metrics.listen {address}: {cause}"))
    });
    let metrics = metrics.transpose()?;
    announce(&engine.source().snapshot(), metrics.as_ref());
    // it may have to take its port later
    kept.set(
        CapabilitySet::NET_BIND_SERVICE,
        metrics.as_ref().is_some_and(|server| !server.has_address()),
    );
    settle(kept);
    let mut keeper = Keeper::new(engine, file, log);
    say("usher ready");
    let code = keeper.watch(&asked, signal);
    // in this order: who waits for an errand that nobody carries out any more ends first
    drop((asked, control, metrics));
    say(&exit_table(&keeper.engine.stats()));
    Ok(code)
}

fn announce(snapshot: &crate::stats::Snapshot, metrics: Option<&HttpServer>) {
    for port in snapshot.ports.iter().filter(|port| !port.link_up) {
        warn!("the link of port `{}` is down: /readyz fails until it is up", port.name);
    }
    for (number, worker) in snapshot.workers.iter().enumerate() {
        info!("worker {number} polls on core {}", worker.core);
    }
    let Some((server, address)) = metrics.and_then(|server| Some((server, server.address()?)))
    else {
        return;
    };
    info!("metrics at http://{address}/metrics");
    if !server.has_address() {
        let ip = address.ip();
        warn!(
            "this machine does not have {ip} yet: metrics are served once it has (ip link set lo up?)"
        );
    }
}

#[cfg(test)]
mod tests {
    use usher_proto::testing::{OUR_MAC, tcp};

    use super::super::DONE;
    use super::*;
    use crate::port::memory::{self, Options};
    use crate::port::{Burst, PortError, PortStats, QueuePair};

    /// A plan whose control socket is in a directory of the test's own.
    fn plan(name: &str) -> Plan {
        let socket =
            std::env::temp_dir().join(format!("usher-run-{}-{name}.sock", std::process::id()));
        let text = format!(
            "[engine]\ncores = [0]\ndrain_timeout = \"1h\"\ncontrol_socket = {socket:?}\n[flow_table]\ncapacity = 64\n\
             [[port]]\nname = \"wan\"\ndevice = \"net_null0\"\n[[service]]\nname = \"a\"\n\
             listen = [\"10.10.0.10:80\"]\nkind = \"respond\"\nresponse = \"a\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n"
        );
        Plan::parse(&text, Path::new("usher.toml")).unwrap_or_else(|e| panic!("{e}"))
    }

    fn nowhere() -> &'static Path {
        Path::new("nowhere.toml")
    }

    /// A log that is not installed.
    fn log(plan: &Plan) -> Log {
        Log::new(&plan.engine, None).0
    }

    /// Other tests run in this process.
    fn keep(_: CapabilitySet) {}

    #[test]
    fn a_signal_drains_and_exits_0() {
        let plan = plan("drains");
        let (port, _wire) = memory::new("wan", &Options { mac: OUR_MAC, ..Options::default() });
        let mut signals = vec![SIGTERM, SIGHUP].into_iter().rev();
        let code =
            serve(&plan, nowhere(), log(&plan), vec![port], &[None], || signals.next(), keep);
        assert_eq!(code.unwrap(), DONE);
        assert!(!plan.engine.control_socket.exists());
    }

    /// A connection that does not finish holds the drain up; the second signal does not wait for it.
    #[test]
    fn a_second_signal_ends_at_once() {
        let plan = plan("twice");
        let (port, wire) = memory::new("wan", &Options { mac: OUR_MAC, ..Options::default() });
        assert!(wire.send(0, &tcp().from("10.10.0.1:4000").to("10.10.0.10:80").syn(1).build()));
        let mut asked = 0;
        let signal = || {
            // the SYN-ACK is out before the first signal
            while asked == 0 && !has_tcp(&wire) {
                std::thread::yield_now();
            }
            asked += 1;
            (asked == 1 || asked == 4).then_some(SIGINT)
        };
        let code = serve(&plan, nowhere(), log(&plan), vec![port], &[None], signal, keep);
        assert_eq!(code.unwrap(), FAILED);
    }

    fn has_tcp(wire: &memory::Wire) -> bool {
        use crate::port::Frame;
        wire.receive(0).is_some_and(|frame| frame.bytes().get(12..14) == Some(&[8, 0]))
    }

    #[test]
    fn a_socket_that_cannot_be_made_is_an_error() {
        let mut plan = plan("occupied");
        std::fs::write(&plan.engine.control_socket, "in the way").unwrap();
        let (port, _wire) = memory::new("wan", &Options { mac: OUR_MAC, ..Options::default() });
        let error =
            serve(&plan, nowhere(), log(&plan), vec![port], &[None], || None, keep).unwrap_err();
        assert!(error.to_string().contains("no socket is in its place"), "{error}");
        std::fs::remove_file(&plan.engine.control_socket).unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        plan.metrics = Some(address);
        let (port, _wire) = memory::new("wan", &Options { mac: OUR_MAC, ..Options::default() });
        let error =
            serve(&plan, nowhere(), log(&plan), vec![port], &[None], || None, keep).unwrap_err();
        assert!(error.to_string().starts_with(&format!("metrics.listen {address}:")), "{error}");
    }

    /// A port whose worker panics at its first look for frames.
    struct Faulty(memory::MemoryPort);

    struct FaultyQueue(memory::MemoryQueue);

    impl Port for Faulty {
        type Queue = FaultyQueue;

        fn name(&self) -> &str {
            self.0.name()
        }
        fn mac(&self) -> usher_proto::wire::Mac {
            self.0.mac()
        }
        fn mtu(&self) -> u16 {
            self.0.mtu()
        }
        fn start(&mut self) -> Result<Vec<FaultyQueue>, PortError> {
            Ok(self.0.start()?.into_iter().map(FaultyQueue).collect())
        }
        fn is_link_up(&self) -> bool {
            true
        }
        fn stats(&self) -> PortStats {
            self.0.stats()
        }
    }

    impl QueuePair for FaultyQueue {
        type Frame = <memory::MemoryQueue as QueuePair>::Frame;
        type Pool = <memory::MemoryQueue as QueuePair>::Pool;

        fn pool(&self) -> Self::Pool {
            self.0.pool()
        }
        fn rx(&mut self, _: &mut Burst<Self::Frame>) {
            panic!("a fault for this test");
        }
        fn tx(&mut self, frames: &mut Burst<Self::Frame>) {
            self.0.tx(frames);
        }
        fn alloc(&mut self) -> Option<Self::Frame> {
            self.0.alloc()
        }
    }

    const IN_CHILD: &str = "USHER_TEST_OF_A_PANIC";

    /// The test runs itself again as the process that ends. Tests unwind; where a panic aborts, hooks run before.
    #[test]
    fn a_panic_in_a_worker_ends_the_process_with_1_and_words() {
        if std::env::var_os(IN_CHILD).is_some() {
            std::panic::set_hook(Box::new(|panic| end_on_panic(panic)));
            let (port, _wire) = memory::new("wan", &Options { mac: OUR_MAC, ..Options::default() });
            let plan = plan("panics");
            let _ = serve(&plan, nowhere(), log(&plan), vec![Faulty(port)], &[None], || None, keep);
            return;
        }
        let name = "cli::run::tests::a_panic_in_a_worker_ends_the_process_with_1_and_words";
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(IN_CHILD, "")
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&child.stderr);
        assert_eq!(child.status.code(), Some(1), "{words}");
        assert!(words.contains("usher: thread usher-0: panicked at "), "{words}");
        assert!(words.contains("a fault for this test"), "{words}");
        assert!(words.contains("this is a defect of usher: please report it"), "{words}");
    }
}
