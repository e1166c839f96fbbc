//! The binary as its users meet it: what it says, and its exit codes (DESIGN section 6).

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use usher_proto::testing::{Read, tcp, try_read};
use usher_proto::wire::Flags;

use super::captures::{Scratch, frames};

/// A configuration file of a test's own, which goes away with the value.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("usher-cli-{}-{name}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("a writable directory");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(super) fn usher(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_usher")).args(arguments).output().expect("the binary")
}

pub(super) fn says(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(super) fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

pub(super) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An engine that plays captures, in a directory of its own; killed with the value.
pub(super) struct Engine {
    pub(super) scratch: Scratch,
    pub(super) child: Child,
    output: BufReader<ChildStdout>,
}

impl Engine {
    /// Starts one that plays `said`, and waits until it is ready.
    pub(super) fn run(name: &str, said: &[Vec<u8>]) -> Self {
        Self::run_with(name, CAPTURES, said)
    }

    /// The same with another configuration.
    pub(super) fn run_with(name: &str, text: &str, said: &[Vec<u8>]) -> Self {
        Self::run_in(Scratch::new(name), text, said, &[])
    }

    /// The same in a directory that there is, with more in its environment.
    pub(super) fn run_in(
        scratch: Scratch,
        text: &str,
        said: &[Vec<u8>],
        environment: &[(&str, &str)],
    ) -> Self {
        scratch.capture("in.pcap", said);
        let config = scratch.0.join("usher.toml");
        std::fs::write(&config, text).expect("a writable directory");
        let mut child = Command::new(env!("CARGO_BIN_EXE_usher"))
            .args(["run", "-c"])
            .arg(&config)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(scratch.0.join("log")).expect("a writable directory"))
            .spawn()
            .expect("the binary");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut engine = Self { scratch, child, output };
        let mut line = String::new();
        engine.output.read_line(&mut line).expect("a line");
        assert_eq!(line, "usher ready\n", "{}", engine.log());
        engine
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.0.join("log")).expect("a log")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.scratch.0.join("usher.toml")
    }

    /// What `usher COMMAND -c FILE` says.
    pub(super) fn ask(&self, arguments: &[&str]) -> Output {
        let config = self.config();
        usher(&[arguments, &["-c", config.to_str().expect("UTF-8")]].concat())
    }

    pub(super) fn stats(&self) -> serde_json::Value {
        let output = self.ask(&["stats", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", errors(&output)))
    }

    /// Waits until all `count` frames are in.
    pub(super) fn wait_for_frames(&self, count: u64) {
        while self.stats()["workers"][0]["received"] != count {
            std::thread::yield_now();
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("our own child");
    }

    /// Lets it drain; its exit code.
    pub(super) fn stop(&mut self) -> i32 {
        self.signal(Signal::TERM);
        self.child.wait().expect("it ends").code().expect("no signal ended it")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) const CAPTURES: &str = r#"
[engine]
drain_timeout = "100ms"
control_socket = "usher.sock"
[[port]]
name = "wan"
device = "pcap:in=in.pcap,out=out.pcap,mac=02:00:00:00:00:02"
[flow_table]
capacity = 1024
[[service]]
name = "a"
listen = ["10.10.0.10:80"]
kind = "respond"
response = "a"
"#;

const WRONG: &str =
    "[engine]\ncroes = [1]\n[[port]]\nname = \"wan\"\ndevice = \"net_null0\"\nmtu = 1\n";

const RIGHT: &str = "[[port]]\nname = \"wan\"\ndevice = \"net_null0\"\n[[service]]\nname = \"a\"\n\
                     listen = [\"10.0.0.1:80\"]\nkind = \"respond\"\nresponse = \"a\"\n";

#[test]
fn a_wrong_configuration_is_explained_and_exits_2() {
    let file = File::new("wrong", WRONG);
    for command in ["run", "check"] {
        let output = usher(&[command, "-c", file.path()]);
        assert_eq!(code(&output), 2);
        let text = errors(&output);
        assert!(text.contains("`engine.croes`: there is no such key"), "{text}");
        assert!(text.contains(&format!("{}:2:1", file.path())), "{text}");
        assert!(text.contains("did you mean `cores`?"), "{text}");
        assert!(text.contains("`port.mtu`: 1 is not between 576 and 9000"), "{text}");
    }
}

#[test]
fn a_file_that_is_not_there_exits_2() {
    let output = usher(&["run", "-c", "/nowhere/usher.toml"]);
    assert_eq!(code(&output), 2);
    assert!(errors(&output).contains("cannot be read"), "{}", errors(&output));
}

#[test]
fn commands_of_later_versions_exit_2_with_a_sentence() {
    let output = usher(&["capture"]);
    assert_eq!(code(&output), 2);
    assert!(errors(&output).contains("not in this version"), "{}", errors(&output));
}

#[test]
fn top_wants_a_terminal_and_a_sensible_interval() {
    let output = usher(&["top"]);
    assert_eq!(code(&output), 2);
    assert!(errors(&output).contains("needs a terminal"), "{}", errors(&output));
    for interval in ["often", "99ms"] {
        let output = usher(&["top", "--interval", interval]);
        assert_eq!(code(&output), 2);
        assert!(errors(&output).contains("--interval"), "{}", errors(&output));
    }
}

#[test]
fn usage_errors_exit_2_and_help_0() {
    assert_eq!(code(&usher(&["run"])), 2);
    assert_eq!(code(&usher(&["bogus"])), 2);
    assert_eq!(code(&usher(&["--help"])), 0);
    assert_eq!(code(&usher(&["--version"])), 0);
    assert_eq!(code(&usher(&["backend", "weight", "web", "10.20.0.2:80", "0"])), 2);
    assert_eq!(code(&usher(&["log-level", "loud"])), 2);
    assert_eq!(code(&usher(&["drain", "--timeout", "soon"])), 2);
}

/// Completions are in the shell's own language: bash and sh, which are everywhere, read theirs.
#[test]
fn completions_are_made_for_shells() {
    for (shell, has) in
        [("bash", "complete -F"), ("zsh", "#compdef usher"), ("fish", "complete -c usher")]
    {
        let output = usher(&["completions", shell]);
        assert_eq!(code(&output), 0);
        assert!(says(&output).contains(has) && says(&output).contains("weight"), "{shell}");
    }
    let script = says(&usher(&["completions", "bash"]));
    let read = Command::new("bash").args(["-n", "-c", &script]).output().expect("bash");
    assert!(read.status.success(), "{}", errors(&read));
    assert_eq!(code(&usher(&["completions", "dos"])), 2);
}

/// A page for each command, and none that says nothing.
#[test]
fn manual_pages_are_made() {
    assert!(says(&usher(&["man"])).contains(".TH usher 1"));
    let scratch = Scratch::new("man");
    let dir = scratch.0.join("man1");
    let output = usher(&["man", "--out", dir.to_str().expect("UTF-8")]);
    assert_eq!(code(&output), 0, "{}", errors(&output));
    for page in ["usher", "usher-run", "usher-flows", "usher-backend-weight", "usher-reload"] {
        let text = std::fs::read_to_string(dir.join(format!("{page}.1"))).expect(page);
        assert!(text.contains(".SH NAME") && text.contains(".SH DESCRIPTION"), "{page}");
    }
    let output = usher(&["man", "--out", "/proc/nowhere"]);
    assert_eq!(code(&output), 1);
    assert!(errors(&output).contains("/proc/nowhere"), "{}", errors(&output));
}

#[test]
fn stats_without_an_engine_exit_1() {
    let output = usher(&["stats", "--json", "--socket", "/nowhere/control.sock"]);
    assert_eq!(code(&output), 1);
    assert!(errors(&output).contains("no engine answers at /nowhere/control.sock"));
}

#[test]
fn a_check_prints_a_line_a_finding() {
    let file = File::new("right", RIGHT);
    let output = usher(&["check", "-c", file.path()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.lines()
            .all(|line| ["ok ", "warn ", "fail "].iter().any(|grade| line.starts_with(grade)))
    );
    if cfg!(feature = "dpdk") {
        let failed = text.lines().any(|line| line.starts_with("fail"));
        assert_eq!(code(&output), i32::from(failed), "{text}");
    } else {
        assert_eq!(code(&output), 2, "{text}");
        assert!(errors(&output).contains("this build of usher has none"));
    }
}

/// A SYN of a capture is answered; at the end of the drain what it opened is reset, and both are in the output.
#[test]
fn captures_run_in_every_build() {
    let syn = tcp().from("10.10.0.1:4000").to("10.10.0.10:80").syn(99).build();
    let mut engine = Engine::run("captures", &[syn]);
    engine.wait_for_frames(1);
    assert_eq!(engine.stop(), 0, "{}", engine.log());
    let sent = frames(&engine.scratch.0.join("out.pcap"));
    let sent: Vec<_> = sent
        .iter()
        .filter_map(|(_, frame)| match try_read(frame) {
            Ok(Read::Tcp(read)) => Some((read.flags.has(Flags::SYN), read.flags.has(Flags::RST))),
            _ => None,
        })
        .collect();
    assert_eq!(sent, [(true, false), (false, true)]);
}

#[test]
fn a_capture_that_cannot_be_played_is_found_by_check_and_run() {
    let scratch = Scratch::new("no-capture");
    let config = scratch.0.join("usher.toml");
    std::fs::write(&config, CAPTURES).expect("a writable directory");
    let config = config.to_str().expect("UTF-8");
    for (content, what) in [(None, "cannot be read"), (Some("GET /"), "is neither pcap nor pcapng")]
    {
        if let Some(content) = content {
            std::fs::write(scratch.0.join("in.pcap"), content).expect("a writable directory");
        }
        let check = usher(&["check", "-c", config]);
        let found = String::from_utf8_lossy(&check.stdout).into_owned();
        let expected = format!("port wan: capture {} {what}", scratch.0.join("in.pcap").display());
        assert!(found.lines().any(|l| l.starts_with(&format!("fail {expected}"))), "{found}");
        let run = usher(&["run", "-c", config]);
        assert!(errors(&run).contains(&format!("usher: {expected}")), "{}", errors(&run));
        assert_eq!((code(&check), code(&run)), (1, 1));
    }
}

/// One sentence with what to do; `check` says the same, and neither has started DPDK.
#[cfg(feature = "dpdk")]
#[test]
fn a_device_that_is_not_there_exits_1_with_a_sentence() {
    for (device, says) in [
        (
            "net_af_packet0,iface=nowhere0",
            "there is no interface `nowhere0` in this network namespace; see ip link",
        ),
        ("net_af_packet0", "`net_af_packet0` lacks `iface=NAME`"),
        ("ffff:ff:1f.7", "there is no PCI device ffff:ff:1f.7; see lspci -D"),
    ] {
        let text = RIGHT.replace("net_null0", device)
            + "[flow_table]\ncapacity = 1024\n[dpdk]\nmemory = \"none\"\nmbufs_per_port = 1024\n";
        let file = File::new("no-device", &text);
        let (check, run) =
            (usher(&["check", "-c", file.path()]), usher(&["run", "-c", file.path()]));
        let sentence = format!("port wan: {says}");
        let found = String::from_utf8_lossy(&check.stdout).into_owned();
        assert!(found.contains(&format!("fail {sentence}")), "{found}");
        assert!(errors(&run).contains(&format!("usher: {sentence}")), "{}", errors(&run));
        assert_eq!((code(&check), code(&run)), (1, 1));
    }
}

/// A user without rights is told which, by `check` as a warning: who checks may not be who runs.
#[cfg(feature = "dpdk")]
#[test]
fn no_permission_exits_1_with_a_sentence() {
    let text = RIGHT.replace("net_null0", "net_af_packet0,iface=lo")
        + "[flow_table]\ncapacity = 1024\n[dpdk]\nmemory = \"none\"\nmbufs_per_port = 1024\n";
    let file = File::new("no-permission", &text);
    // root without capabilities still reads the files of this checkout, which another user may not
    let rightless = |command: &str| {
        let (usher, path) = (env!("CARGO_BIN_EXE_usher"), file.path());
        let mut setpriv = Command::new("setpriv");
        if rustix::process::geteuid().is_root() {
            setpriv.args(["--bounding-set=-all", "--inh-caps=-all"]);
        }
        setpriv.args(["--no-new-privs", usher, command, "-c", path]).output().expect("util-linux")
    };
    let sentence = "port wan: no permission: `net_af_packet0` needs CAP_NET_ADMIN and CAP_NET_RAW, which this \
                    process does not have; run it as root, or grant that (AmbientCapabilities= of systemd, setpriv, setcap)\n";
    let (check, run) = (rightless("check"), rightless("run"));
    let found = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(found.contains(&format!("warn {sentence}")), "{found}");
    assert!(errors(&run).ends_with(&format!("usher: {sentence}")), "{}", errors(&run));
    assert_eq!(code(&run), 1);
}

/// `usher reload` and SIGHUP: the running engine goes on with its file, or says why it does not.
#[test]
fn a_running_engine_reloads_its_file() {
    let syn = tcp().from("10.10.0.1:4000").to("10.10.0.10:80").syn(99).build();
    let mut engine = Engine::run("reload", &[syn]);
    engine.wait_for_frames(1);
    let write = |text: &str| std::fs::write(engine.config(), text).expect("a writable directory");
    let again = engine.ask(&["reload"]);
    assert!(says(&again).ends_with("says what runs already\n"), "{}", errors(&again));
    let service = "[[service]]\nname = \"b\"\nlisten = [\"10.10.0.20:80\"]\nkind = \"respond\"\nresponse = \"b\"\n";
    write(&format!("{CAPTURES}{service}"));
    let done = engine.ask(&["reload"]);
    assert_eq!(code(&done), 0, "{}", errors(&done));
    assert!(says(&done).ends_with("is in force: 2 service(s)\n"), "{}", says(&done));
    let services = engine.stats()["services"].clone();
    assert_eq!(
        (&services[0]["handshakes_started"], &services[1]["name"]),
        (&1.into(), &"b".into())
    );
    write(&CAPTURES.replace("capacity = 1024", "capacity = 2048"));
    let refused = engine.ask(&["reload"]);
    assert_eq!(code(&refused), 1);
    let sentence = "`flow_table.capacity` cannot change while the engine runs: restart it; nothing was changed";
    assert!(errors(&refused).contains(sentence), "{}", errors(&refused));
    write("nonsense");
    let socket = engine.scratch.0.join("usher.sock");
    let wrong = usher(&["reload", "--socket", socket.to_str().expect("UTF-8")]);
    assert_eq!(code(&wrong), 1);
    assert!(
        errors(&wrong).contains("the file is wrong and nothing was changed"),
        "{}",
        errors(&wrong)
    );
    write(&format!("{CAPTURES}{}", service.replace("\"b\"", "\"c\"")));
    engine.signal(Signal::HUP);
    while engine.stats()["services"][2]["name"] != "c" {
        std::thread::yield_now();
    }
    assert_eq!(engine.stop(), 0, "{}", engine.log());
}

#[test]
fn a_reload_without_an_engine_exits_1() {
    let output = usher(&["reload", "--socket", "/nowhere/control.sock"]);
    assert_eq!(code(&output), 1);
    assert!(errors(&output).contains("/nowhere/control.sock"), "{}", errors(&output));
}

/// What systemd is told (`sd_notify(3)`): ready, alive, reloading and ready again, at last stopping.
#[test]
fn a_supervisor_is_told() {
    let scratch = Scratch::new("supervisor");
    let path = scratch.0.join("notify");
    let socket = UnixDatagram::bind(&path).expect("a writable directory");
    let environment =
        [("NOTIFY_SOCKET", path.to_str().expect("UTF-8")), ("WATCHDOG_USEC", "20000")];
    let mut engine = Engine::run_in(scratch, CAPTURES, &[], &environment);
    // waits for the next message with this line, and skips what feeds the watchdog meanwhile
    let told = |line: &str| loop {
        let mut buffer = [0; 512];
        let len = socket.recv(&mut buffer).expect("a message");
        let message = String::from_utf8_lossy(&buffer[..len]).into_owned();
        if message.lines().any(|one| one == line) {
            return message;
        }
        // a busy machine may keep a worker from its core for longer than the watchdog waits
        let of_watchdog = ["WATCHDOG=1\n", "STATUS=worker 0 does not turn\n"];
        assert!(of_watchdog.iter().any(|start| message.starts_with(start)), "{message} for {line}");
    };
    assert_eq!(told("READY=1"), "READY=1\nSTATUS=serving: 1 port(s), 1 service(s)\n");
    told("WATCHDOG=1");
    std::fs::write(engine.config(), "nonsense").expect("a writable directory");
    engine.signal(Signal::HUP);
    assert!(told("RELOADING=1").contains("\nMONOTONIC_USEC="));
    assert!(told("READY=1").ends_with("; the last reload was refused\n"));
    std::fs::write(engine.config(), CAPTURES).expect("a writable directory");
    assert_eq!(code(&engine.ask(&["reload"])), 0);
    told("RELOADING=1");
    assert_eq!(told("READY=1"), "READY=1\nSTATUS=serving: 1 port(s), 1 service(s)\n");
    told("WATCHDOG=1");
    assert_eq!(engine.stop(), 0, "{}", engine.log());
    // the drain's 100 ms and what an engine may take to end
    assert!(told("STOPPING=1").contains("\nEXTEND_TIMEOUT_USEC=5100000\nSTATUS=draining"));
}

/// A port of captures needs no right at all, and whoever starts as root has none when clients are served.
#[test]
fn rights_are_given_up_by_every_thread() {
    let engine = Engine::run("rights", &[]);
    let tasks = std::fs::read_dir(format!("/proc/{}/task", engine.child.id())).expect("it runs");
    let mut threads = 0;
    for task in tasks {
        let status = task.expect("an entry").path().join("status");
        let status = std::fs::read_to_string(status).expect("it lives");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim).expect("Linux has it").to_owned()
        };
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(field(set), "0000000000000000", "{set} of {}", field("Name:"));
        }
        assert_eq!(field("NoNewPrivs:"), "1");
        threads += 1;
    }
    assert!(threads > 1, "a worker has its own");
}
