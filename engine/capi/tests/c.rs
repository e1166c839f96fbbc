//! `usher.h` is what the sources say, and a program in C takes connections by it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use engine::clock::{Clock, SystemClock};
use pcap_file::pcap::{PcapPacket, PcapReader, PcapWriter};
use serde_json::Value;
use usher_proto::cookie::{Keys, Offer, Secret};
use usher_proto::testing::{TcpFrame, addr, tcp};
use usher_proto::wire::{SeqNum, Tuple};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn the_header_is_up_to_date() {
    let config = cbindgen::Config::from_file(Path::new(HERE).join("cbindgen.toml"));
    let bindings = cbindgen::Builder::new()
        .with_config(config.expect("a configuration"))
        .with_src(Path::new(HERE).join("src/event.rs"))
        .with_src(Path::new(HERE).join("src/engine.rs"))
        .with_src(Path::new(HERE).join("src/consumer.rs"))
        .with_src(Path::new(HERE).join("src/error.rs"))
        .generate();
    let mut header = Vec::new();
    bindings.expect("the sources can be read").write(&mut header);
    let path = Path::new(HERE).join("include/usher.h");
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&path, &header).expect("it can be written");
    }
    let there = std::fs::read(&path).unwrap_or_default();
    assert!(
        there == header,
        "UPDATE_HEADER=1 cargo test -p usher-capi, and look at the difference"
    );
}

/// A directory of the test's own, which goes away with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("usher-capi-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a writable directory");
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn succeeded(what: &str, output: &Output) {
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {}\n{words}", output.status);
}

/// Builds libusher.so as this test was built, and returns the directory that it is in.
fn library() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--package=usher-capi", "--locked", "--offline"]);
    cargo.args(["--message-format=json"]).current_dir(HERE);
    if !cfg!(feature = "dpdk") {
        cargo.arg("--no-default-features");
    }
    let built = cargo.output().expect("cargo runs");
    succeeded("cargo build", &built);
    let messages = String::from_utf8(built.stdout).expect("UTF-8");
    let mut files = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let files = message.get("filenames")?.as_array()?.clone();
        files.iter().find_map(|file| {
            file.as_str().map(PathBuf::from).filter(|file| file.ends_with("libusher.so"))
        })
    });
    let file = files.next_back().expect("cargo names what it builds");
    file.parent().expect("a directory").to_owned()
}

fn compile(library: &Path, dir: &Path) -> PathBuf {
    let program = dir.join("answer");
    let compiled = Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-o"])
        .args([&program, &Path::new(HERE).join("c/answer.c")])
        .arg("-I")
        .arg(Path::new(HERE).join("include"))
        .arg("-L")
        .arg(library)
        .arg("-lusher")
        .output();
    succeeded("cc", &compiled.expect("a C compiler"));
    program
}

fn client() -> TcpFrame {
    tcp().from("10.10.0.1:4000").to("10.10.0.10:80")
}

/// A capture of a client that was answered by a cookie of `secret`, by whichever node: its ACK, with "hi" in it,
/// once: there is a consumer before the first frame is polled.
fn capture(path: &Path, secret: [u8; 32]) {
    let tuple = Tuple {
        remote: addr("10.10.0.1"),
        local: addr("10.10.0.10"),
        remote_port: 4000,
        local_port: 80,
        vlan: 0,
        port: 0,
    };
    let offer = Offer { mss: 1460, window_scale: None, sack: false, timestamps: false, ecn: false };
    let keys = Keys::new(&Secret::from_bytes(secret));
    let now = SystemClock::start().now();
    let isn = keys.issue(&tuple, SeqNum(1000), &offer, &now).isn;
    let ack = client().ack(1001, isn.0.wrapping_add(1)).payload(b"hi").build();
    let mut writer =
        PcapWriter::new(std::fs::File::create(path).expect("writable")).expect("writable");
    let packet = PcapPacket::new(Duration::ZERO, ack.len() as u32, &ack);
    writer.write_packet(&packet).expect("writable");
}

/// What was sent, all frames after each other.
fn sent(path: &Path) -> Vec<u8> {
    let mut reader =
        PcapReader::new(std::fs::File::open(path).expect("a capture")).expect("a capture");
    let mut all = Vec::new();
    while let Some(packet) = reader.next_packet() {
        all.extend_from_slice(&packet.expect("whole").data);
    }
    all
}

const CONFIG: &str = r#"
[engine]
cores = [CORE]
[[port]]
name = "wan"
device = "pcap:in=in.pcap,out=out.pcap,mac=02:00:00:00:00:02"
addresses = ["10.10.0.2/16"]
[flow_table]
capacity = 64
[handshake]
secret_file = "secret"
[[service]]
name = "hello"
listen = ["10.10.0.10:80"]
kind = "ring"
"#;

/// The client never acknowledges the answer, so it is lost, and the program is told.
#[test]
fn a_program_in_c_answers_a_client() {
    use std::os::unix::fs::PermissionsExt;
    let (scratch, library) = (Scratch::new(), library());
    let program = compile(&library, &scratch.0);
    let run = |config: &str| {
        // What hangs is to fail.
        let mut run = Command::new("timeout");
        run.arg("60").arg(&program).args([config, "hello", "1"]).current_dir(&scratch.0);
        run.env("LD_LIBRARY_PATH", &library).output().expect("it runs")
    };
    let refused = run("nowhere.toml");
    let words = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{words}");
    assert!(words.contains("nowhere.toml"), "{words}");

    let secret = scratch.0.join("secret");
    let bytes = std::array::from_fn(|at| at as u8);
    std::fs::write(&secret, bytes).expect("writable");
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).expect("ours");
    capture(&scratch.0.join("in.pcap"), bytes);
    let core = core_of_this_process();
    std::fs::write(scratch.0.join("usher.toml"), CONFIG.replace("CORE", &core)).expect("writable");
    let answered = run("usher.toml");
    succeeded("answer", &answered);
    let said = String::from_utf8_lossy(&answered.stdout);
    assert_eq!(said, "usher ready\n2 bytes\nended, 13 bytes lost\n");
    let sent = sent(&scratch.0.join("out.pcap"));
    assert!(sent.windows(13).any(|bytes| bytes == b"hello from C\n"));
}

/// The first core that this process may use.
fn core_of_this_process() -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = list.and_then(|list| list.trim().split(['-', ',']).next());
    first.expect("a list of cores").to_owned()
}
