//! What can change while an engine runs, and how it is told.

use super::{RIGHT, is_log_level, parse};

/// Each key that a reload cannot change is named, and the others are not.
#[test]
fn what_a_reload_cannot_change_is_named() {
    let text = |edit: &(&str, &str)| {
        assert!(RIGHT.contains(edit.0), "{}", edit.0);
        RIGHT.replacen(edit.0, edit.1, 1)
    };
    let difference = |edit: (&str, &str)| {
        let next = parse(&text(&edit)).unwrap_or_else(|e| panic!("{e}"));
        parse(RIGHT).unwrap().fixed_differences(&next)
    };
    let table = |line: &str| {
        let (table, key) = line.split_once(' ').unwrap();
        let line = format!("[{table}]\n{key}\n[[port]]");
        difference(("[[port]]", &line))
    };
    for (line, key) in [
        ("engine cores = [1]", "engine.cores"),
        ("engine control_socket = \"x\"", "engine.control_socket"),
        ("dpdk memory = \"none\"", "dpdk.memory"),
        ("dpdk memory_mb = 64", "dpdk.memory_mb"),
        ("dpdk eal_args = [\"-v\"]", "dpdk.eal_args"),
        ("dpdk mbufs_per_port = 1024", "dpdk.mbufs_per_port"),
        ("flow_table capacity = 99_999", "flow_table.capacity"),
        ("handshake window_scale = 8", "handshake.window_scale"),
        ("engine log_format = \"json\"", "engine.log_format"),
        ("metrics listen = \"127.0.0.1:1\"", "metrics.listen"),
    ] {
        assert_eq!(table(line), [format!("`{key}`")]);
    }
    let service = "[[service]]";
    for (edit, key) in [
        (("name = \"wan\"", "name = \"lan\""), "port.name"),
        (("iface=e0", "iface=e1"), "port.device"),
        (("10.10.0.2/16", "10.10.0.3/16"), "port.addresses"),
        ((service, "queues = 1\n[[service]]"), "port.queues"),
        ((service, "gateways = [\"10.10.0.1\"]\n[[service]]"), "port.gateways"),
        ((service, "vlan = 5\n[[service]]"), "port.vlan"),
        ((service, "mtu = 1400\n[[service]]"), "port.mtu"),
    ] {
        assert_eq!(difference(edit), [format!("`{key}` of \"wan\"")]);
    }
    for line in [
        "engine drain_timeout = \"1s\"",
        "handshake cookies = \"never\"",
        "handshake ecn = false",
        "handshake syn_ack_retries = 1",
        "handshake half_open_limit = 4",
        "handshake unknown_port = \"drop\"",
        "handshake invalid_ack = \"reset\"",
        "timeouts idle = \"5s\"",
    ] {
        assert_eq!(table(line), [""; 0], "{line}");
    }
    for edit in [("hello", "other"), ("10.10.0.11:80", "10.10.0.12:81"), ("\"hi\"", "\"ho\"")] {
        assert_eq!(difference(edit), [""; 0], "{edit:?}");
    }
    let second = format!(
        "{}\n[[port]]\nname = \"lan\"\ndevice = \"net_null0\"",
        text(&("kind", "port = \"wan\"\nkind"))
    );
    let differences = parse(RIGHT).unwrap().fixed_differences(&parse(&second).unwrap());
    assert_eq!(differences, ["`port`"]);
}

/// Every key that a reload can change is named when it does.
#[test]
fn what_a_reload_changes_is_told() {
    let old = parse(RIGHT).unwrap();
    assert_eq!(old.changes(&old), [""; 0]);
    for (line, says) in [
        ("engine drain_timeout = \"1s\"", "`engine.drain_timeout`: 10s -> 1s"),
        ("engine log_level = \"debug\"", "`engine.log_level`: info -> debug"),
        ("handshake cookies = \"never\"", "`handshake.cookies`: auto -> never"),
        ("handshake ecn = false", "`handshake.ecn`: true -> false"),
        ("handshake syn_ack_retries = 1", "`handshake.syn_ack_retries`: 5 -> 1"),
        ("handshake half_open_limit = 4", "`handshake.half_open_limit`: 65536 -> 4"),
        ("handshake unknown_port = \"drop\"", "`handshake.unknown_port`: reset -> drop"),
        ("handshake invalid_ack = \"reset\"", "`handshake.invalid_ack`: drop -> reset"),
        ("timeouts idle = \"5s\"", "`timeouts.idle`: 5m -> 5s"),
        ("timeouts half_closed = \"5s\"", "`timeouts.half_closed`: 1m -> 5s"),
        ("timeouts time_wait = \"5s\"", "`timeouts.time_wait`: 1m -> 5s"),
    ] {
        let (table, key) = line.split_once(' ').unwrap();
        let text = RIGHT.replacen("[[port]]", &format!("[{table}]\n{key}\n[[port]]"), 1);
        let next = parse(&text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(old.changes(&next), [says]);
        assert_eq!(next.changes(&next), [""; 0]);
    }
    let next = parse(&RIGHT.replace("\"hi\"", "\"ho\"").replace("10.10.0.11:80", "10.10.0.12:81"));
    assert_eq!(old.changes(&next.unwrap()), ["service \"hello\" changes: `listen`, `response`"]);
    let next = parse(&RIGHT.replace("\"hello\"", "\"other\"")).unwrap();
    let expected = ["service \"hello\" goes; its connections finish", "service \"other\" is new"];
    assert_eq!(old.changes(&next), expected);
}

#[test]
fn changes_of_backends_are_told() {
    let proxy = |options: &str| {
        let respond = "kind = \"respond\"\nresponse = \"hi\"";
        assert!(RIGHT.contains(respond));
        let addresses = RIGHT.replace(respond, &format!("kind = \"proxy\"\n{options}"));
        parse(&addresses).unwrap_or_else(|e| panic!("{e}"))
    };
    let old = proxy("backends = [\"10.10.1.1:80\", \"10.10.1.2:80\"]");
    let next = proxy(
        "backends = [{ address = \"10.10.1.2:80\", weight = 3 }, \"10.10.1.3:80\"]\nbackend_retries = 1\n\
         balance = \"maglev-source\"",
    );
    let says = "service \"hello\" changes: `balance`, `backend_retries`, without backend 10.10.1.1:80, \
                backend 10.10.1.2:80 weighs 1 -> 3, with backend 10.10.1.3:80";
    assert_eq!(old.changes(&next), [says]);
}

#[test]
fn log_levels_are_words_or_lists_of_them() {
    for right in ["off", "trace", "warn,usher::control=debug", "usher=info"] {
        assert!(is_log_level(right), "{right}");
    }
    for wrong in
        ["", "loud", "INFO", "info,", "usher", "=info", "usher=loud", "a b=info", "[x]=info"]
    {
        assert!(!is_log_level(wrong), "{wrong}");
    }
}
