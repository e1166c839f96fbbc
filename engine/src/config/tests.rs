//! The texts of errors, as snapshots; and the files in `configs/`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use usher_proto::tcp::Refusal;

use proptest::prelude::*;

mod ring;

use super::schema::TABLES;
use super::*;

/// A file in which everything is right.
mod reload;

const RIGHT: &str = r#"
[[port]]
name = "wan"
device = "net_af_packet0,iface=e0"
addresses = ["10.10.0.2/16", "fd00:10::2/64"]

[[service]]
name = "hello"
listen = ["10.10.0.11:80"]
kind = "respond"
response = "hi"
"#;

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

fn parse(text: &str) -> Result<Plan, ConfigError> {
    Plan::parse(text, Path::new("usher.toml"))
}

/// Loads a file as a build with DPDK does.
fn load(path: &Path) -> Result<Plan, ConfigError> {
    Plan::parse(&std::fs::read_to_string(path).unwrap(), path)
}

/// The reports for [`RIGHT`] with each `(from, to)` applied in turn.
fn reports(edits: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (from, to) in edits {
        assert!(RIGHT.contains(from), "{from}");
        let error = parse(&RIGHT.replacen(from, to, 1)).expect_err(to);
        let _ = writeln!(out, "{error}\n");
    }
    out
}

#[test]
fn syntax() {
    insta::assert_snapshot!(reports(&[
        ("name = \"wan\"", "name = wan"),
        ("name = \"wan\"", "name = \"wan\"\nname = \"lan\""),
        ("[[port]]", "[[port]"),
    ]));
}

#[test]
fn keys() {
    insta::assert_snapshot!(reports(&[
        ("[[port]]", "[engin]\ncores = [1]\n[[port]]"),
        ("[[port]]", "[engine]\ncore = [1]\n[[port]]"),
        ("[[port]]", "[[port]]\nwindow_scale = 7"),
        ("[[port]]", "[[port]]\nspeed = 10"),
        ("[[port]]", "[[ports]]"),
        ("name = \"wan\"", ""),
        ("kind = \"respond\"", ""),
        ("[[port]]", "[port]"),
        ("[[port]]", "engine = 3\n[[port]]"),
    ]));
}

#[test]
fn values() {
    insta::assert_snapshot!(reports(&[
        ("[[port]]", "[engine]\ncores = [1, 2, 1]\n[[port]]"),
        ("[[port]]", "[engine]\ncores = []\n[[port]]"),
        ("[[port]]", "[engine]\ncores = \"all\"\n[[port]]"),
        ("[[port]]", "[engine]\ndrain_timeout = 10\n[[port]]"),
        ("[[port]]", "[engine]\ndrain_timeout = \"10 parsecs\"\n[[port]]"),
        ("[[port]]", "[timeouts]\nidle = \"1us\"\n[[port]]"),
        ("[[port]]", "[handshake]\nwindow_scale = 15\n[[port]]"),
        ("[[port]]", "[handshake]\ncookies = \"sometimes\"\n[[port]]"),
        ("[[port]]", "[handshake]\necn = \"yes\"\n[[port]]"),
        ("[[port]]", "[handshake]\nsecret_file = \"nowhere\"\n[[port]]"),
        ("[[port]]", "[dpdk]\nmbufs_per_port = 0x10\n[[port]]"),
        ("[[port]]", "[metrics]\nlisten = \"9464\"\n[[port]]"),
    ]));
}

#[test]
fn ports() {
    let second = "[[port]]\nname = \"wan\"\ndevice = \"net_af_packet0,iface=e1\"\n[[port]]";
    insta::assert_snapshot!(reports(&[
        ("net_af_packet0,iface=e0", "eth"),
        ("\"wan\"", "\"w a n\""),
        ("10.10.0.2/16", "10.10.0.2"),
        ("10.10.0.2/16", "10.10.255.255/16"),
        ("10.10.0.2/16", "127.0.0.1/8"),
        ("[[service]]", "gateways = [\"10.11.0.1\"]\n[[service]]"),
        ("[[service]]", "mtu = 1000\n[[service]]"),
        ("[[service]]", "vlan = 4095\n[[service]]"),
        ("[[port]]", "[engine]\ncores = [1]\n[[port]]\nqueues = 2"),
        ("[[port]]", second),
    ]));
}

#[test]
fn captures() {
    let device = "net_af_packet0,iface=e0";
    let second = "pcap:in=a,out=b\"\n[[port]]\nname = \"lan\"\ndevice = \"";
    let beside = format!("{second}net_null0");
    let twice = format!("{second}pcap:in=c,out=b");
    let chained = format!("{second}pcap:in=b,out=c");
    insta::assert_snapshot!(reports(&[
        (device, "pcap:"),
        (device, "pcap:in=a"),
        (device, "pcap:in=a,out=a"),
        (device, "pcap:in=a,out=b,speed=9"),
        (device, "pcap:in=a,out=b,in=c"),
        (device, "pcap:in=a,out=b,mac=01:00:00:00:00:01"),
        (device, "pcap:in=a,out=b\"\nqueues = 2 #"),
        (device, &beside),
        (device, &twice),
        (device, &chained),
    ]));
}

#[test]
fn captures_lie_beside_the_file() {
    let text =
        RIGHT.replace("net_af_packet0,iface=e0", "pcap:in=a b.pcap,out=/c,mac=02:00:00:00:00:0a");
    let means = Means { devices: false, consumers: true };
    let plan = Plan::check(&text, Path::new("/etc/usher/x.toml"), means).unwrap();
    let setup = &plan.pcap_setups().expect("captures")[0];
    assert_eq!((setup.name.as_str(), setup.mtu), ("wan", 1500));
    assert_eq!(
        (setup.input.as_path(), setup.output.as_path()),
        (Path::new("/etc/usher/a b.pcap"), Path::new("/c"))
    );
    assert_eq!(setup.mac.0, [2, 0, 0, 0, 0, 10]);
    assert_eq!(parse(RIGHT).unwrap().pcap_setups(), None);
    assert!(plan.notices.is_empty());
    let notices = parse(&format!("{text}[dpdk]\nmemory = \"none\"\n")).unwrap().notices;
    assert_eq!(notices, ["`[dpdk]` has no effect: every port plays captures"]);
}

#[test]
fn services() {
    insta::assert_snapshot!(reports(&[
        ("10.10.0.11:80\"]", "10.10.0.11\"]"),
        ("10.10.0.11:80", "10.10.0.11:0"),
        ("10.10.0.11:80", "224.0.0.1:80"),
        ("\"10.10.0.11:80\"", "\"10.10.0.11:80\", \"10.10.0.11:80\""),
        ("kind", "port = \"lan\"\nkind"),
        ("response = \"hi\"", ""),
        ("response = \"hi\"", "response = \"hi\"\nresponse_file = \"x\""),
        ("response = \"hi\"", "response = \"\""),
        ("response = \"hi\"", "response_file = \"nowhere.http\""),
        ("response = \"hi\"", "response = \"hi\"\nbackends = [\"10.20.0.2:80\"]"),
        ("\"respond\"", "\"redirect\""),
    ]));
}

/// A file with two `proxy` services in which everything is right.
const PROXY: &str = r#"
[engine]
cores = [1]

[timeouts]
connect = "2s"

[[port]]
name = "wan"
device = "net_af_packet0,iface=e0"
addresses = ["10.10.0.2/16", "fd00:10::2/64"]
gateways = ["10.10.0.1"]

[[port]]
name = "lan"
device = "net_af_packet1,iface=e1"
addresses = ["10.20.0.2/16", "10.10.8.2/24"]

[[service]]
name = "web"
listen = ["10.10.0.10:80", "[fd00:10::10]:80"]
port = "wan"
kind = "proxy"
backends = ["10.20.0.3:8080", { address = "[fd00:10::3]:80", weight = 7 }, "10.10.8.3:80", "1.2.3.4:80"]

[[service]]
name = "direct"
listen = ["10.10.0.11:80"]
port = "wan"
kind = "proxy"
forward = "l2"
balance = "maglev-source"
proxy_protocol = true
backends = ["10.20.0.3:80"]
health_check = { type = "http", path = "/up?a=b", expect = [200, 204], interval = "200ms", rise = 1 }
backend_retries = 0
no_backend = "drop"
"#;

/// The reports for [`PROXY`] with each `(from, to)` applied in turn.
fn proxy_reports(edits: &[(&str, &str)]) -> String {
    assert!(parse(PROXY).is_ok());
    let mut out = String::new();
    for (from, to) in edits {
        assert!(PROXY.contains(from), "{from}");
        let error = parse(&PROXY.replacen(from, to, 1)).expect_err(to);
        let _ = writeln!(out, "{error}\n");
    }
    out
}

#[test]
fn proxies_are_planned() {
    let plan = parse(PROXY).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(plan.policy.connect, 2000);
    let backend = |address: &str, weight, port| BackendPlan {
        address: address.parse().unwrap(),
        weight,
        port,
    };
    let web = ProxyPlan {
        forward: Forward::Snat,
        proxy_protocol: None,
        balance: Balance::Maglev,
        // by its network, by its network, by the narrower one of two, by a gateway
        backends: vec![
            backend("10.20.0.3:8080", 1, 1),
            backend("[fd00:10::3]:80", 7, 0),
            backend("10.10.8.3:80", 1, 1),
            backend("1.2.3.4:80", 1, 0),
        ],
        health_check: HealthPlan {
            check: Check::Tcp,
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            rise: 2,
            fall: 3,
        },
        retries: 2,
        no_backend: Refusal::Reset,
    };
    let direct = ProxyPlan {
        forward: Forward::L2,
        proxy_protocol: Some(ProxyHeader { crc32c: false }),
        balance: Balance::MaglevSource,
        backends: vec![backend("10.20.0.3:80", 1, 1)],
        health_check: HealthPlan {
            check: Check::Http { path: "/up?a=b".into(), expect: 200..=204 },
            interval: Duration::from_millis(200),
            timeout: Duration::from_millis(200),
            rise: 1,
            fall: 3,
        },
        retries: 0,
        no_backend: Refusal::Drop,
    };
    assert_eq!(plan.services[0].proxy().map(|plan| &**plan), Some(&web));
    assert_eq!(plan.services[1].proxy().map(|plan| &**plan), Some(&direct));
    assert!(plan.services[0].answer().is_none() && plan.notices.is_empty());
}

/// Networks of the same size, and gateways, on both ports.
#[test]
fn among_equals_a_service_s_own_port_counts() {
    let text = PROXY
        .replace("\"10.10.8.2/24\"]", "\"10.10.0.9/16\"]\ngateways = [\"10.20.0.1\"]")
        .replace("\"10.10.8.3:80\"", "\"10.10.8.3:80\", \"10.20.8.3:80\"");
    let ports = |text: &str| {
        let plan = parse(text).unwrap_or_else(|error| panic!("{error}"));
        let backends = &plan.services[0].proxy().unwrap().backends;
        backends.iter().map(|backend| backend.port).collect::<Vec<_>>()
    };
    assert_eq!(ports(&text), [1, 0, 0, 1, 0]);
    let moved = text.replacen("port = \"wan\"", "port = \"lan\"", 1);
    assert_eq!(ports(&moved), [1, 0, 1, 1, 1]);
}

#[test]
fn proxies_run_on_any_cores() {
    for (cores, meant) in [("[1, 2]", Cores::These(vec![1, 2])), ("\"auto\"", Cores::Auto)] {
        let plan = parse(&PROXY.replace("cores = [1]", &format!("cores = {cores}"))).unwrap();
        assert_eq!((plan.engine.cores, plan.notices.len()), (meant, 0));
    }
}

#[test]
fn proxies_in_themselves() {
    let check = "{ type = \"http\", path = \"/up?a=b\", expect = [200, 204], interval = \"200ms\", rise = 1 }";
    insta::assert_snapshot!(proxy_reports(&[
        ("forward = \"l2\"", "forward = \"nat\""),
        ("backends = [\"10.20.0.3:80\"]", ""),
        ("backends = [\"10.20.0.3:80\"]", "backends = []"),
        ("backends = [\"10.20.0.3:80\"]", "backends = [3]"),
        ("backends = [\"10.20.0.3:80\"]", "backends = [{ addres = \"10.20.0.3:80\" }]"),
        ("\"10.20.0.3:80\"", "\"10.20.0.3\""),
        ("\"10.20.0.3:80\"", "\"10.20.0.3:80\", { address = \"10.20.0.3:80\", weight = 2 }"),
        ("weight = 7", "weight = 0"),
        ("proxy_protocol = true", "proxy_protocol = \"v1\""),
        ("proxy_protocol = true", "proxy_protocol = 2"),
        ("backend_retries = 0", "backend_retries = 17"),
        ("no_backend = \"drop\"", "response = \"none\""),
        (check, "{ interval = \"1s\" }"),
        (check, "{ type = \"tcp\", path = \"/\" }"),
        (check, "{ type = \"http\", expect = [399, 200] }"),
        (check, "{ type = \"http\", path = \"up\" }"),
        (check, "{ type = \"http\", path = \"/ HTTP/1.1\\r\\nHost: a\" }"),
        (check, "{ type = \"tcp\", interval = \"1ms\" }"),
        (check, "{ type = \"tcp\", interval = \"1s\", timeout = \"2s\" }"),
    ]));
}

#[test]
fn proxies_among_others() {
    let lan = "addresses = [\"10.20.0.2/16\", \"10.10.8.2/24\"]";
    insta::assert_snapshot!(proxy_reports(&[
        ("\"10.20.0.3:8080\"", "\"10.10.0.11:8080\""),
        ("\"10.20.0.3:8080\"", "\"10.20.0.2:8080\""),
        ("\"1.2.3.4:80\"", "\"[fd00:99::1]:80\""),
        (lan, "gateways = [\"fe80::1\"]"),
        ("[\"10.20.0.3:80\"]", "[\"1.2.3.4:80\"]"),
        ("[\"10.20.0.3:80\"]", "[\"[fd00:10::3]:80\"]"),
        ("[\"10.20.0.3:80\"]", "[\"10.20.0.3:8080\"]"),
        ("gateways = [\"10.10.0.1\"]", "mtu = 1000"),
    ]));
}

#[test]
fn backends_are_counted() {
    let list = |numbers: std::ops::Range<u16>| {
        let text = |n| format!("\"10.20.{}.{}:80\"", 1 + n / 250, 1 + n % 250);
        format!("backends = [{}]", numbers.map(text).collect::<Vec<_>>().join(", "))
    };
    let (head, direct) = PROXY.split_once("[[service]]\nname = \"direct\"").unwrap();
    let direct = |name: &str| {
        let renamed = format!("[[service]]\nname = \"{name}\"{direct}");
        let port = 80 + name.len();
        renamed
            .replace("10.10.0.11:80", &format!("10.10.0.11:{port}"))
            .replace("forward = \"l2\"", "")
    };
    let with = |more: &[std::ops::Range<u16>]| {
        let services = more.iter().enumerate().map(|(index, range)| {
            direct(&"x".repeat(index + 1))
                .replace("backends = [\"10.20.0.3:80\"]", &list(range.clone()))
        });
        parse(&format!("{head}{}", services.collect::<String>()))
    };
    assert!(with(&[0..512, 0..508]).is_ok());
    for (more, what) in [
        (&[0..512, 0..509][..], "1025 backends in all services together"),
        (std::slice::from_ref(&(0..513)), "`service.backends`: 513 backends"),
    ] {
        let error = with(more).unwrap_err();
        assert!(error.count() == 1 && error.to_string().contains(what), "{error}");
    }
}

/// An IPv6 backend behind a router that has a link-local address only: there is nothing to connect from.
#[test]
fn a_gateway_is_not_an_address_to_connect_from() {
    let text = PROXY.replace(
        "addresses = [\"10.20.0.2/16\", \"10.10.8.2/24\"]",
        "addresses = [\"10.20.0.2/16\", \"10.10.8.2/24\"]\ngateways = [\"fe80::1\"]",
    );
    let error = parse(&text.replace("1.2.3.4:80", "[fd00:99::1]:80")).unwrap_err();
    assert_eq!(error.count(), 1);
    insta::assert_snapshot!(error.to_string());
}

#[test]
fn everything_that_is_wrong_is_reported_at_once() {
    let text =
        "[engine]\ncores = [1, 1]\n[timeouts]\nidle = 5\n[[service]]\nname = \"a\"\nprot = 3\n";
    let error = parse(text).unwrap_err();
    assert_eq!(error.count(), 6, "{error}");
    insta::assert_snapshot!(error.to_string());
}

#[test]
fn a_file_that_is_not_there() {
    let error = Plan::load(Path::new("nowhere.toml")).unwrap_err();
    insta::assert_snapshot!(error.to_string());
}

/// What the fuzz target `config` holds: a plan, or everything that is wrong with its line.
fn explained_or_planned(text: &str) {
    let file = "/usher-test/usher.toml";
    let Err(error) = Plan::parse(text, Path::new(file)) else { return };
    let report = error.to_string();
    let places = report.matches(&format!("--> {file}:")).count();
    assert!(error.count() > 0 && places >= error.count(), "{report}");
}

#[test]
fn saved_inputs_are_explained_or_planned() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/config");
    let seeds: Vec<_> = std::fs::read_dir(seeds).unwrap().collect();
    assert!(seeds.len() >= 4);
    for seed in seeds {
        explained_or_planned(&std::fs::read_to_string(seed.unwrap().path()).unwrap());
    }
}

proptest! {
    /// The default file with something cut out and something put in.
    #[test]
    fn any_text_is_explained_or_planned(from in 0usize..10_000, len in 0usize..200, with in ".{0,20}|[\\[\\]\"=a-z0-9,.\n{}]{0,40}") {
        let mut chars: Vec<char> = std::fs::read_to_string(configs().join("default.toml")).unwrap().chars().collect();
        let from = from.min(chars.len());
        let to = (from + len).min(chars.len());
        chars.splice(from..to, with.chars());
        explained_or_planned(&chars.into_iter().collect::<String>());
    }
}

#[test]
fn what_is_left_out_has_its_default() {
    let plan = parse(RIGHT).unwrap();
    assert_eq!((&plan.engine.cores, plan.engine.drain_timeout.as_secs()), (&Cores::Auto, 10));
    assert_eq!(plan.engine.control_socket, Path::new(DEFAULT_SOCKET));
    assert_eq!((plan.dpdk.memory, plan.dpdk.mbufs_per_port), (Memory::Auto, 65_535));
    assert_eq!((plan.flow_capacity, plan.handshake.half_open_limit), (1_000_000, 65_536));
    assert_eq!((plan.handshake.cookies, &plan.handshake.secret), (Cookies::Auto, &None));
    assert_eq!(plan.policy, usher_proto::tcp::Policy::default());
    assert_eq!((plan.ports[0].mtu, plan.ports[0].vlan, plan.ports[0].queues), (1500, 0, None));
    assert_eq!(plan.ports[0].vips, ["10.10.0.11".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(plan.services[0].port, 0);
    assert_eq!(plan.services[0].answer().map(|bytes| &bytes[..]), Some(&b"hi"[..]));
    assert_eq!(plan.metrics, None);
}

#[test]
fn the_default_file_says_the_defaults() {
    let from_file = load(&configs().join("default.toml")).unwrap_or_else(|e| panic!("{e}"));
    let defaults = parse(RIGHT).unwrap();
    assert_eq!(from_file.engine, defaults.engine);
    assert_eq!(from_file.dpdk, defaults.dpdk);
    assert_eq!(from_file.policy, defaults.policy);
    assert_eq!(from_file.handshake, defaults.handshake);
    assert_eq!(from_file.flow_capacity, defaults.flow_capacity);
    assert_eq!((from_file.ports[0].vlan, from_file.ports[0].mtu), (0, 1500));
}

#[test]
fn the_default_file_explains_every_key() {
    let text = std::fs::read_to_string(configs().join("default.toml")).unwrap();
    for table in TABLES.iter().filter(|table| !table.path.is_empty()) {
        for (key, _) in table.keys {
            let line = |line: &str| {
                let line = line.trim_start_matches(['#', ' ']);
                line.strip_prefix(key).is_some_and(|rest| rest.starts_with(" ="))
            };
            let inline = [format!("{{ {key} = "), format!(", {key} = ")];
            let found = text.lines().any(line) || inline.iter().any(|form| text.contains(form));
            assert!(found, "{}.{key}", table.path);
        }
    }
}

/// The files in a directory and those below it.
fn files(directory: &Path) -> Vec<(PathBuf, Plan)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            let plan = load(&path).unwrap_or_else(|e| panic!("{e}"));
            found.push((path, plan));
        }
    }
    found
}

#[test]
fn the_files_in_configs_are_right() {
    for (path, plan) in files(&configs()) {
        assert!(!plan.services.is_empty());
        // the manual says everything, what its one service has no use for included
        let is_heeded = plan.notices.is_empty() || path.ends_with("default.toml");
        assert!(is_heeded, "{path:?}: {:?}", plan.notices);
    }
}

/// Each example shows what it is named for.
#[test]
fn there_is_an_example_of_each_kind() {
    let example = |name: &str| load(&configs().join(format!("examples/{name}.toml"))).unwrap();
    let proxy = |plan: &Plan| match &plan.services[0].kind {
        ServiceKind::Proxy(proxy) => proxy.clone(),
        other => panic!("{other:?}"),
    };
    let is_fixed = |plan: &Plan| plan.services[0].answer().is_some();
    assert!(is_fixed(&example("respond")) && is_fixed(&example("maintenance")));
    assert_eq!(proxy(&example("snat")).forward, Forward::Snat);
    assert_eq!(proxy(&example("l2")).forward, Forward::L2);
    let one_armed = example("one-armed");
    assert_eq!((one_armed.ports.len(), proxy(&one_armed).backends.len()), (1, 2));
    let listen = &example("dual-stack").services[0].listen;
    assert!(listen.iter().any(SocketAddr::is_ipv4) && listen.iter().any(SocketAddr::is_ipv6));
    assert!(example("vlan").ports.iter().all(|port| port.vlan != 0));
    // what says that it replaces the other must be able to by a reload
    assert!(example("snat").fixed_differences(&example("maintenance")).is_empty());
}

/// What is written as right in a message is right.
#[test]
fn examples_are_toml() {
    for table in TABLES {
        for (key, value) in table.keys {
            let text =
                if table.path.is_empty() { (*value).into() } else { format!("{key} = {value}") };
            assert!(text.parse::<toml::Table>().is_ok(), "{text}");
        }
    }
}
