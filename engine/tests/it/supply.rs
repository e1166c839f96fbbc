//! What is linked into Usher keeps to `deny.toml`: licences, sources and bans, checked offline.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn toml(name: &str) -> toml::Table {
    std::fs::read_to_string(root().join(name)).expect("readable").parse().expect("TOML")
}

/// Every package of the graph that Linux builds, ours included.
fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline", "--all-features"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    metadata["packages"].as_array().expect("a list").clone()
}

/// Whether an SPDX expression can be met by allowed licences alone. `AND` binds closer than `OR`; the old `A/B` is `A OR B`.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let expression = expression.trim();
    if let Some((left, right)) = split(expression, " OR ").or_else(|| split(expression, "/")) {
        return is_allowed(left, allowed) || is_allowed(right, allowed);
    }
    if let Some((left, right)) = split(expression, " AND ") {
        return is_allowed(left, allowed) && is_allowed(right, allowed);
    }
    match expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => is_allowed(inner, allowed),
        None => allowed.contains(&expression),
    }
}

/// Splits at the first `operator` that stands outside all parentheses.
fn split<'a>(expression: &'a str, operator: &str) -> Option<(&'a str, &'a str)> {
    let outside = |at: usize| {
        let before = &expression[..at];
        before.matches('(').count() == before.matches(')').count()
    };
    let at = expression.match_indices(operator).map(|(at, _)| at).find(|&at| outside(at))?;
    Some((&expression[..at], &expression[at + operator.len()..]))
}

#[test]
fn every_licence_is_allowed() {
    let deny = toml("deny.toml");
    let allowed = deny["licenses"]["allow"].as_array().expect("a list");
    let allowed: Vec<&str> = allowed.iter().filter_map(toml::Value::as_str).collect();
    let exceptions = deny["licenses"]["exceptions"].as_array().expect("a list");
    let is_excepted = |package: &Value, licence: &str| {
        exceptions.iter().any(|exception| {
            let own = exception["allow"].as_array().expect("a list");
            let own: Vec<&str> = own.iter().filter_map(toml::Value::as_str).collect();
            exception["crate"].as_str() == package["name"].as_str() && is_allowed(licence, &own)
        })
    };
    let refused: Vec<String> = packages()
        .iter()
        .filter(|package| {
            !package["license"].as_str().is_some_and(|licence| {
                is_allowed(licence, &allowed) || is_excepted(package, licence)
            })
        })
        .map(|package| {
            format!("{} {}: {}", package["name"], package["version"], package["license"])
        })
        .collect();
    assert!(refused.is_empty(), "licences not in deny.toml: {refused:#?}");
}

#[test]
fn every_package_comes_from_one_registry() {
    let lock = toml("Cargo.lock");
    let packages = lock["package"].as_array().expect("a list");
    for package in packages.iter().filter(|package| package.get("source").is_some()) {
        let source = package["source"].as_str().expect("a string");
        assert!(
            source.starts_with("registry+") && source.ends_with("crates.io-index"),
            "{package}"
        );
        assert!(package.get("checksum").is_some(), "no checksum: {package}");
    }
}

#[test]
fn no_banned_package_is_locked() {
    let (deny, lock) = (toml("deny.toml"), toml("Cargo.lock"));
    let locked = lock["package"].as_array().expect("a list");
    for ban in deny["bans"]["deny"].as_array().expect("a list") {
        assert!(!locked.iter().any(|package| package["name"] == ban["crate"]), "{ban}");
    }
}

#[test]
fn expressions_are_read_as_spdx_reads_them() {
    let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"];
    for met in [
        "MIT",
        "MIT/GPL-2.0",
        "GPL-2.0 OR (MIT AND Unicode-3.0)",
        "(MIT OR X) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR X",
    ] {
        assert!(is_allowed(met, &allowed), "{met}");
    }
    for unmet in ["GPL-2.0", "MIT AND GPL-2.0", "(MIT OR X) AND Y", ""] {
        assert!(!is_allowed(unmet, &allowed), "{unmet}");
    }
}
