//! Finds libdpdk, compiles the shim and generates the bindings.
//!
//! The allowlists below are the inventory of what the engine uses of DPDK. `pkg-config` is asked directly: the
//! `pkg_config` crate drops `-include rte_config.h` and `-march`, without which the headers mean something else.

use std::path::PathBuf;
use std::process::Command;
use std::{env, process};

/// The oldest LTS release whose names we use.
const OLDEST: (u32, u32) = (22, 11);

/// The libraries that hold what we call. Those that a release does not have are left out: logging is a library of its
/// own from 24.03 on. Drivers are plug-ins: EAL loads them from the distribution's directory.
const LIBRARIES: &[&str] = &["rte_eal", "rte_ethdev", "rte_log", "rte_mbuf", "rte_mempool"];

const FUNCTIONS: &[&str] = &[
    "usher_.*",
    "rte_dev_probe",
    "rte_eal_cleanup",
    "rte_eal_init",
    "rte_eth_allmulticast_enable",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_dev_close",
    "rte_eth_dev_configure",
    "rte_eth_dev_get_mtu",
    "rte_eth_dev_get_port_by_name",
    "rte_eth_dev_info_get",
    "rte_eth_dev_rss_hash_conf_get",
    "rte_eth_dev_rss_hash_update",
    "rte_eth_dev_rss_reta_update",
    "rte_eth_dev_set_mc_addr_list",
    "rte_eth_dev_set_mtu",
    "rte_eth_dev_socket_id",
    "rte_eth_dev_start",
    "rte_eth_dev_stop",
    "rte_eth_macaddr_get",
    "rte_eth_promiscuous_enable",
    "rte_eth_rx_queue_setup",
    "rte_eth_stats_get",
    "rte_eth_tx_queue_setup",
    "rte_mempool_avail_count",
    "rte_mempool_free",
    "rte_openlog_stream",
    "rte_pktmbuf_free_bulk",
    "rte_pktmbuf_pool_create",
    "rte_strerror",
    "rte_thread_register",
    "rte_thread_unregister",
];

const TYPES: &[&str] = &["usher_.*", "rte_eth_fp_ops"];
const VARIABLES: &[&str] = &["USHER_.*", "rte_eth_fp_ops"];

/// Types that Rust only passes by pointer. Their fields move between releases; see `usher_mbuf_offset`.
const OPAQUE: &[&str] = &[
    "_IO_FILE",
    "rte_device",
    "rte_eth_dev_owner",
    "rte_eth_link",
    "rte_mbuf",
    "rte_mempool",
    "rte_mempool_cache",
];

fn main() {
    println!("cargo::rerun-if-changed=shim");
    println!("cargo::rerun-if-env-changed=PKG_CONFIG");
    println!("cargo::rerun-if-env-changed=PKG_CONFIG_PATH");
    check_version();
    let cflags = pkg_config(&["--cflags"]);
    link();
    compile_shim(&cflags);
    generate(&cflags);
}

/// Ends the build with one sentence: a build script's panic would bury it in a backtrace.
fn give_up(sentence: &str) -> ! {
    println!("cargo::error={sentence}");
    process::exit(1);
}

fn pkg_config(args: &[&str]) -> Vec<String> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let output = match Command::new(&program).args(args).arg("libdpdk").output() {
        Ok(output) => output,
        Err(error) => give_up(&format!(
            "cannot run `{program}` ({error}): install it and DPDK's headers, on Debian with `apt-get install pkg-config libdpdk-dev`, or build without DPDK by `--no-default-features`"
        )),
    };
    if !output.status.success() {
        give_up(&format!(
            "DPDK {}.{} or newer is not installed (`{program} {} libdpdk` fails): install it, on Debian with `apt-get install libdpdk-dev`, or build without DPDK by `--no-default-features`",
            OLDEST.0,
            OLDEST.1,
            args.join(" ")
        ));
    }
    String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
}

fn check_version() {
    let version = pkg_config(&["--modversion"]).concat();
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < OLDEST {
        give_up(&format!(
            "DPDK {version} is too old, the bindings need {}.{} or newer: install it (Debian 12 has it as `libdpdk-dev`), point PKG_CONFIG_PATH at a newer one, or build without DPDK by `--no-default-features`",
            OLDEST.0, OLDEST.1
        ));
    }
    println!("cargo::metadata=version={version}");
}

fn link() {
    for flag in pkg_config(&["--libs-only-L"]) {
        let directory = flag.trim_start_matches("-L");
        println!("cargo::rustc-link-search=native={directory}");
    }
    let present = pkg_config(&["--libs-only-l"]);
    for library in LIBRARIES.iter().filter(|name| present.contains(&format!("-l{name}"))) {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
}

fn compile_shim(cflags: &[String]) {
    let mut build = cc::Build::new();
    build.file("shim/shim.c").warnings(false);
    for flag in cflags {
        build.flag(flag);
    }
    if let Err(error) = build.try_compile("usher_shim") {
        give_up(&format!(
            "cannot compile DPDK's headers: install a C compiler, on Debian with `apt-get install gcc libdpdk-dev` ({})",
            error.to_string().replace('\n', " ")
        ));
    }
}

fn generate(cflags: &[String]) {
    let mut builder = bindgen::Builder::default()
        .header("shim/shim.h")
        .clang_args(cflags)
        .default_enum_style(bindgen::EnumVariation::ModuleConsts)
        .constified_enum("usher_mbuf_offset")
        .prepend_enum_name(false)
        .derive_default(true)
        .generate_comments(false)
        .layout_tests(true);
    for name in FUNCTIONS {
        builder = builder.allowlist_function(format!("^{name}$"));
    }
    for name in TYPES {
        builder = builder.allowlist_type(format!("^{name}$"));
    }
    for name in VARIABLES {
        builder = builder.allowlist_var(format!("^{name}$"));
    }
    for name in OPAQUE {
        builder = builder.opaque_type(format!("^{name}$"));
    }
    let Ok(bindings) = builder.generate() else {
        give_up(
            "bindgen cannot read DPDK's headers: install libclang, on Debian with `apt-get install clang libclang-dev`",
        );
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("bindings.rs");
    if let Err(error) = bindings.write_to_file(&out) {
        give_up(&format!("cannot write {}: {error}", out.display()));
    }
}
