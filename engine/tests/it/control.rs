//! Commands to a running engine, as an operator gives them.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use usher_proto::testing::tcp;

use super::cli::{CAPTURES, Engine, code, errors, says, usher};

/// `usher flows`: as a table and as an object, and what is wrong with a filter.
#[test]
fn flows_are_shown() {
    let syn = |port: u16| {
        let from = format!("10.10.0.1:{port}");
        tcp().from(from.as_str()).to("10.10.0.10:80").syn(99).build()
    };
    let mut engine = Engine::run("flows", &[syn(4000), syn(4001), syn(4002)]);
    engine.wait_for_frames(3);
    let output = engine.ask(&["flows", "--service", "a", "--state", "syn-rcvd", "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&found["complete"], &found["looked_at"]), (&true.into(), &3.into()));
    let clients: Vec<_> = found["flows"].as_array().expect("flows").iter().collect();
    assert_eq!(clients.len(), 3);
    assert!(clients.iter().any(|flow| flow["client"] == "10.10.0.1:4001"));
    let table = engine.ask(&["flows", "--limit", "2"]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.ends_with("2 flow(s), a sample: 2 record(s) looked at\n"), "{table}");
    assert!(table.contains("SYN_RCVD") && table.contains("10.10.0.10:80"), "{table}");
    let none = engine.ask(&["flows", "--client", "10.10.1.0/24"]);
    assert!(String::from_utf8_lossy(&none.stdout).contains("0 flow(s), all that there are"));
    for (wrong, exit, says) in [
        (["--service", "b"], 1, "there is no service \"b\": there are \"a\""),
        (["--backend", "10.20.0.2:80"], 1, "no service has a backend 10.20.0.2:80"),
        (["--state", "open"], 2, "there is no state \"open\""),
        (["--client", "web"], 2, "\"web\" is no network and no address"),
        (["--limit", "0"], 2, "a limit of 0 is not between 1 and 10000"),
    ] {
        let output = engine.ask(&[&["flows"], &wrong[..]].concat());
        assert_eq!(code(&output), exit, "{wrong:?}");
        assert!(errors(&output).contains(says), "{}", errors(&output));
    }
    assert_eq!(engine.stop(), 0, "{}", engine.log());
}

/// `usher backend`: what is there, an order and its undoing, and what is wrong with an order.
#[test]
fn backends_are_listed_drained_and_enabled() {
    let service = "addresses = [\"10.10.0.2/16\"]\n[flow_table]\ncapacity = 1024\n[[service]]\n\
                   name = \"web\"\nlisten = [\"10.10.0.10:80\"]\nkind = \"proxy\"\n\
                   backends = [\"10.10.1.1:80\", \"10.10.1.2:80\"]\n";
    let (head, _) = CAPTURES.split_once("[flow_table]").expect("the port comes before");
    let mut engine = Engine::run_with("backend", &format!("{head}{service}"), &[]);
    let line = |at: &str| {
        let listed = says(&engine.ask(&["backend", "list"]));
        listed.lines().find(|line| line.contains(at)).map(str::to_owned).expect("it is listed")
    };
    let done = engine.ask(&["backend", "drain", "web", "10.10.1.2:80"]);
    assert_eq!(code(&done), 0, "{}", errors(&done));
    assert_eq!(says(&done), "10.10.1.2:80 of \"web\" gets no new connections; it has 0\n");
    assert!(line("10.10.1.2:80").contains("drained") && !line("10.10.1.1:80").contains("drained"));
    let listed = engine.ask(&["backend", "list", "web", "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert_eq!(listed["backends"][1]["drained"], true);
    assert_eq!(code(&engine.ask(&["backend", "enable", "web", "10.10.1.2:80"])), 0);
    assert!(!line("10.10.1.2:80").contains("drained"));
    let wrong = engine.ask(&["backend", "drain", "web", "10.10.1.3:80"]);
    assert_eq!(code(&wrong), 1);
    let sentence = "has no backend 10.10.1.3:80: there are 10.10.1.1:80, 10.10.1.2:80";
    assert!(errors(&wrong).contains(sentence), "{}", errors(&wrong));
    let wrong = engine.ask(&["backend", "list", "wbe"]);
    assert_eq!(code(&wrong), 1);
    assert!(errors(&wrong).contains("no proxy service \"wbe\" runs"), "{}", errors(&wrong));
    assert_eq!(code(&engine.ask(&["backend", "drain", "web", "10.10.1.3"])), 2);
    assert_eq!(engine.stop(), 0, "{}", engine.log());
}

/// Every command finds an engine in the same way, and says the same where there is none.
#[test]
fn commands_without_an_engine_say_what_to_do() {
    for command in [
        &["stats"][..],
        &["flows"],
        &["drain"],
        &["reload"],
        &["log-level"],
        &["service", "list"],
        &["service", "drain", "a"],
        &["backend", "list"],
        &["backend", "weight", "a", "10.20.0.2:80", "2"],
        &["version"],
    ] {
        let output = usher(&[command, &["--socket", "/nowhere/control.sock"]].concat());
        assert_eq!(code(&output), 1, "{command:?}");
        let said = errors(&output) + &says(&output);
        assert!(said.contains("/nowhere/control.sock: No such file"), "{command:?}: {said}");
    }
    let output = usher(&["service", "list", "-c", "/nowhere/usher.toml"]);
    assert_eq!(code(&output), 2);
}

#[test]
fn the_versions_of_both_are_told() {
    let mut engine = Engine::run("version", &[]);
    let output = engine.ask(&["version"]);
    let own = env!("CARGO_PKG_VERSION");
    assert!(says(&output).starts_with(&format!("usher {own}, with")), "{}", says(&output));
    assert!(says(&output).contains(&format!("\nengine {own}, up for ")), "{}", says(&output));
    let json = engine.ask(&["version", "--json"]);
    let both: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!((&both["version"], &both["engine"]["version"]), (&own.into(), &own.into()));
    assert_eq!(engine.stop(), 0, "{}", engine.log());
}

#[test]
fn services_are_listed_drained_and_enabled() {
    let mut engine = Engine::run("service", &[]);
    let line = || {
        let listed = says(&engine.ask(&["service", "list"]));
        listed.lines().find(|line| line.contains(" a ")).map(str::to_owned).expect("it is listed")
    };
    assert!(line().contains("respond") && line().contains("10.10.0.10:80"));
    assert!(line().contains("serves"), "{}", line());
    let done = engine.ask(&["service", "drain", "a"]);
    assert_eq!(says(&done), "service \"a\" takes no new connections; those that it has go on\n");
    assert!(line().contains("drained"), "{}", line());
    let listed = engine.ask(&["service", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert_eq!(listed["services"][0]["drained"], true);
    assert_eq!(code(&engine.ask(&["service", "enable", "a"])), 0);
    assert!(line().contains("serves"), "{}", line());
    let wrong = engine.ask(&["service", "drain", "b"]);
    assert_eq!(code(&wrong), 1);
    assert!(errors(&wrong).contains("there is no service \"b\": there are \"a\""));
    assert_eq!(engine.stop(), 0, "{}", engine.log());
}

/// `usher drain` ends the engine as SIGTERM does, and `--wait` returns when that has happened.
#[test]
fn a_drain_can_be_asked_for() {
    let syn = tcp().from("10.10.0.1:4000").to("10.10.0.10:80").syn(99).build();
    let text = CAPTURES.replace("\"100ms\"", "\"1h\"");
    let mut engine = Engine::run_with("drain", &text, &[syn]);
    engine.wait_for_frames(1);
    let done = engine.ask(&["drain", "--timeout", "1s", "--wait"]);
    assert_eq!(code(&done), 0, "{}", errors(&done));
    assert_eq!(says(&done), "draining, for at most 1s; then the engine ends\n");
    let status = engine.child.wait().expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", engine.log());
}

/// What a reload would do is told; nothing is done.
#[test]
fn a_reload_can_be_tried() {
    let mut engine = Engine::run("dry-run", &[]);
    let write = |text: &str| std::fs::write(engine.config(), text).expect("a writable directory");
    let tried = engine.ask(&["reload", "--dry-run"]);
    assert!(says(&tried).ends_with("says what runs already\n"), "{}", says(&tried));
    let changed =
        CAPTURES.replace("\"100ms\"", "\"2s\"").replace("response = \"a\"", "response = \"b\"");
    write(&changed);
    let tried = engine.ask(&["reload", "--dry-run"]);
    let expected = "change: `engine.drain_timeout`: 100ms -> 2s\n\
                    change: service \"a\" changes: `response`\n\
                    a reload would change 2 thing(s)\n";
    assert_eq!((code(&tried), says(&tried)), (0, expected.to_owned()));
    let tried = engine.ask(&["reload", "--dry-run"]);
    assert_eq!(says(&tried), expected, "nothing was done");
    write(
        &changed
            .replace("capacity = 1024", "capacity = 2048")
            .replace("[[port]]", "[[port]]\nmtu = 1400"),
    );
    let tried = engine.ask(&["reload", "--dry-run"]);
    assert_eq!(code(&tried), 1);
    let refused =
        "a reload would be refused: `flow_table.capacity`, `port.mtu` of \"wan\" cannot change";
    assert!(says(&tried).contains(refused), "{}", says(&tried));
    write("nonsense");
    let socket = engine.scratch.0.join("usher.sock");
    let tried = usher(&["reload", "--dry-run", "--socket", socket.to_str().expect("UTF-8")]);
    assert_eq!(code(&tried), 1);
    assert!(errors(&tried).contains("the file is wrong"), "{}", errors(&tried));
    assert_eq!(engine.stop(), 0, "{}", engine.log());
}

/// The log: JSON if asked for, at a level that a command and a reload change.
#[test]
fn the_log_is_json_at_the_level_that_was_asked_for() {
    let text =
        CAPTURES.replace("[engine]", "[engine]\nlog_format = \"json\"\nlog_level = \"info\"");
    let mut engine = Engine::run_with("log", &text, &[]);
    assert_eq!(says(&engine.ask(&["log-level"])), "the log level is info\n");
    assert_eq!(code(&engine.ask(&["service", "drain", "a"])), 0);
    assert_eq!(says(&engine.ask(&["log-level", "warn"])), "the log level is warn now\n");
    assert_eq!(code(&engine.ask(&["service", "enable", "a"])), 0);
    std::fs::write(engine.config(), text.replace("\"info\"", "\"debug\"")).expect("a directory");
    assert_eq!(code(&engine.ask(&["reload"])), 0);
    assert_eq!(says(&engine.ask(&["log-level"])), "the log level is debug\n");
    assert_eq!(engine.stop(), 0, "{}", engine.log());
    let log = engine.log();
    let lines = log.lines().map(serde_json::from_str::<serde_json::Value>);
    let lines: Vec<_> = lines.map(|line| line.expect("a JSON object")).collect();
    let has = |what: &str| {
        lines.iter().any(|line| line["message"].as_str().is_some_and(|text| text.contains(what)))
    };
    assert!(has("takes no new connections") && !has("takes new connections"), "{log}");
    assert!(has("is in force") && lines.iter().all(|line| line["level"].is_string()), "{log}");
}

/// `--watch` asks again and again, over one connection, until nobody reads any more or the engine ends.
#[test]
fn stats_are_watched_until_the_engine_ends() {
    let mut engine = Engine::run("watch", &[]);
    let config = engine.config();
    let mut watch = Command::new(env!("CARGO_BIN_EXE_usher"))
        .args(["stats", "--json", "--watch", "-c"])
        .arg(&config)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary");
    let mut lines = BufReader::new(watch.stdout.take().expect("a pipe")).lines();
    let mut uptime = || {
        let line = lines.next().expect("a line").expect("UTF-8");
        let stats: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        stats["uptime_s"].as_f64().expect("a number")
    };
    assert!(uptime() < uptime());
    assert_eq!(engine.stop(), 0, "{}", engine.log());
    let ended = watch.wait_with_output().expect("it ends");
    assert_eq!(code(&ended), 1);
    assert!(errors(&ended).contains("the engine has gone"), "{}", errors(&ended));
}
