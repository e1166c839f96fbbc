//! The tables and keys there are, each with an example: for unknown keys, for suggestions, and for the
//! test that `configs/default.toml` explains every one.

/// A table of the configuration and its keys.
pub(super) struct Table {
    /// Its path, as in `service.health_check`; empty for the root.
    pub(super) path: &'static str,
    /// How its header is written.
    pub(super) header: &'static str,
    /// Its keys, each with a right value.
    pub(super) keys: &'static [(&'static str, &'static str)],
}

impl Table {
    /// The table of that path; every path in the code is one of them.
    pub(super) fn of(path: &str) -> &'static Self {
        TABLES.iter().find(|table| table.path == path).unwrap_or(&TABLES[0])
    }

    /// A right line for `key`, or nothing for a key that is none.
    pub(super) fn example(&self, key: &str) -> Option<String> {
        let (_, value) = self.keys.iter().find(|(name, _)| *name == key)?;
        Some(if self.path.is_empty() { format!("`{value}`") } else { format!("`{key} = {value}`") })
    }

    /// What to write instead of the unknown `key`.
    pub(super) fn suggestion(&self, key: &str) -> String {
        let names = self.keys.iter().map(|(name, _)| *name);
        if let Some(near) = nearest(key, names.clone()) {
            return format!("did you mean `{near}`?");
        }
        if let Some(home) = TABLES.iter().find(|t| t.keys.iter().any(|(name, _)| *name == key)) {
            return format!("`{key}` is a key of `{}`", home.header);
        }
        format!("keys here are: {}", names.collect::<Vec<_>>().join(", "))
    }
}

/// The name that is nearest to `word`, if it is near enough to be meant.
fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    let limit = 1 + word.len() / 4;
    names
        .map(|name| (strsim::damerau_levenshtein(&word, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// Every table. The root comes first.
pub(super) static TABLES: &[Table] = &[
    Table {
        path: "",
        header: "the file",
        keys: &[
            ("engine", "[engine]"),
            ("dpdk", "[dpdk]"),
            ("port", "[[port]]"),
            ("flow_table", "[flow_table]"),
            ("handshake", "[handshake]"),
            ("timeouts", "[timeouts]"),
            ("service", "[[service]]"),
            ("metrics", "[metrics]"),
        ],
    },
    Table {
        path: "engine",
        header: "[engine]",
        keys: &[
            ("cores", "[1]"),
            ("drain_timeout", "\"10s\""),
            ("control_socket", "\"/run/usher/control.sock\""),
            ("control_group", "\"adm\""),
            ("log_level", "\"info\""),
            ("log_format", "\"text\""),
        ],
    },
    Table {
        path: "dpdk",
        header: "[dpdk]",
        keys: &[
            ("memory", "\"auto\""),
            ("memory_mb", "512"),
            ("eal_args", "[]"),
            ("mbufs_per_port", "65535"),
        ],
    },
    Table {
        path: "port",
        header: "[[port]]",
        keys: &[
            ("name", "\"wan\""),
            ("device", "\"0000:3b:00.0\""),
            ("queues", "1"),
            ("addresses", "[\"10.10.0.2/16\", \"fd00:10::2/64\"]"),
            ("gateways", "[\"10.10.0.1\"]"),
            ("vlan", "0"),
            ("mtu", "1500"),
        ],
    },
    Table { path: "flow_table", header: "[flow_table]", keys: &[("capacity", "1_000_000")] },
    Table {
        path: "handshake",
        header: "[handshake]",
        keys: &[
            ("cookies", "\"auto\""),
            ("window_scale", "7"),
            ("ecn", "true"),
            ("syn_ack_retries", "5"),
            ("half_open_limit", "65536"),
            ("secret_file", "\"/etc/usher/secret\""),
            ("unknown_port", "\"reset\""),
            ("invalid_ack", "\"drop\""),
        ],
    },
    Table {
        path: "timeouts",
        header: "[timeouts]",
        keys: &[
            ("idle", "\"300s\""),
            ("half_closed", "\"60s\""),
            ("time_wait", "\"60s\""),
            ("connect", "\"3s\""),
        ],
    },
    Table {
        path: "service",
        header: "[[service]]",
        keys: &[
            ("name", "\"web\""),
            ("listen", "[\"10.10.0.10:80\", \"[fd00:10::10]:80\"]"),
            ("port", "\"wan\""),
            ("kind", "\"respond\""),
            ("response", "\"HTTP/1.1 204 No Content\\r\\n\\r\\n\""),
            ("response_file", "\"hello.http\""),
            ("forward", "\"snat\""),
            ("proxy_protocol", "false"),
            ("balance", "\"maglev\""),
            ("backends", "[\"10.20.0.2:80\"]"),
            ("health_check", "{ type = \"tcp\" }"),
            ("backend_retries", "2"),
            ("no_backend", "\"reset\""),
            ("consumer_cores", "[3]"),
            ("ring_size", "4096"),
            ("consumer_timeout", "\"5s\""),
            ("consumer_gone", "\"reset\""),
        ],
    },
    Table {
        path: "service.backends",
        header: "a backend",
        keys: &[("address", "\"10.20.0.3:80\""), ("weight", "2")],
    },
    Table {
        path: "service.health_check",
        header: "a health check",
        keys: &[
            ("type", "\"tcp\""),
            ("path", "\"/\""),
            ("expect", "[200, 399]"),
            ("interval", "\"1s\""),
            ("timeout", "\"500ms\""),
            ("rise", "2"),
            ("fall", "3"),
        ],
    },
    Table { path: "metrics", header: "[metrics]", keys: &[("listen", "\"127.0.0.1:9464\"")] },
];
