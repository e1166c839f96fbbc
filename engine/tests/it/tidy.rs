//! What the compiler does not check: that the floors hold, and a few habits of `CONTRIBUTING.md`.

use std::fs;
use std::path::{Path, PathBuf};

/// A module uses only its own floor and those before it. `docs/ARCHITECTURE.md` says why they stand so.
/// `testing` has the last word of each crate: what uses it outside tests does not compile without its feature.
const PROTO_FLOORS: &[&[&str]] = &[
    &["time", "cause"],
    &["wire"],
    &["cookie"],
    &["tcp", "verdict"],
    &["splice"],
    &["neighbor"],
    &["testing"],
];
const ENGINE_FLOORS: &[&[&str]] = &[
    &["clock", "guarded"],
    &["stats", "port"],
    &["flow"],
    &["handoff"],
    &["config"],
    &["service"],
    &["health"],
    &["worker"],
    &["control"],
    &["engine"],
    &["face"],
    &["cli"],
    &["testing"],
];

/// Sources of ours that Cargo does not list anywhere in one place.
const ROOTS: &[&str] = &[
    "bindings",
    "engine/proto",
    "engine/src",
    "engine/examples",
    "engine/capi",
    "engine/tests",
    "engine/fuzz/fuzz_targets",
    "bench",
];

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The text before the file's own tests, which may use what they like.
    fn code(&self) -> &str {
        self.text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default()
    }

    fn says(&self, what: &str) -> String {
        format!("{}: {what}", self.path.display())
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(under: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root(), Path::new(under), &mut found);
    found
}

fn collect(root: &Path, relative: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(root.join(relative)) else { return };
    for entry in entries.flatten() {
        let path = relative.join(entry.file_name());
        if entry.path().is_dir() {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(entry.path()).expect("UTF-8");
            found.push(Source { path, text });
        }
    }
}

fn all_sources() -> Vec<Source> {
    ROOTS.iter().flat_map(|under| sources(under)).collect()
}

/// The module at the top of its crate that a file belongs to; `lib.rs` and `main.rs` belong to none.
fn module_of<'a>(source: &'a Source, crate_root: &str) -> Option<&'a str> {
    let first = source.path.strip_prefix(crate_root).ok()?.components().next()?;
    let name = first.as_os_str().to_str()?.trim_end_matches(".rs");
    (!matches!(name, "lib" | "main")).then_some(name)
}

fn floor_of(floors: &[&[&str]], module: &str) -> Option<usize> {
    floors.iter().position(|floor| floor.contains(&module))
}

/// The modules named behind `crate::`, in code and not in comments.
fn used(code: &str) -> impl Iterator<Item = &str> {
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| line.split("crate::").skip(1)).map(|rest| {
        let end = rest
            .find(|letter: char| !letter.is_ascii_lowercase() && letter != '_')
            .unwrap_or(rest.len());
        &rest[..end]
    })
}

fn broken_floors(crate_root: &str, floors: &[&[&str]]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in &sources(crate_root) {
        let Some(module) = module_of(source, crate_root) else { continue };
        let Some(own) = floor_of(floors, module) else {
            broken.push(
                source.says(
                    "its module has no floor: give it one in tidy.rs and docs/ARCHITECTURE.md",
                ),
            );
            continue;
        };
        let above = used(source.code()).filter(|name| {
            *name != "testing" && floor_of(floors, name).is_some_and(|floor| floor > own)
        });
        broken.extend(
            above.map(|name| source.says(&format!("uses `{name}`, which stands above it"))),
        );
    }
    broken
}

#[test]
fn modules_use_only_what_stands_below_them() {
    let mut broken = broken_floors("engine/proto/src", PROTO_FLOORS);
    broken.extend(broken_floors("engine/src", ENGINE_FLOORS));
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn only_the_wrapper_names_raw_dpdk() {
    let broken: Vec<String> = all_sources()
        .iter()
        .filter(|source| {
            !source.path.starts_with("bindings") && source.text.contains(concat!("dpdk_", "sys"))
        })
        .map(|source| source.says("names dpdk-sys, which only bindings/dpdk may"))
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The engine's only files with `unsafe`: what can be said in no other way. Hints, calls and instructions, and
/// memory that threads share by turns.
const UNSAFE: &[&str] = &[
    "engine/src/cli/check/ethtool.rs",
    "engine/src/cli/privileges.rs",
    "engine/src/clock.rs",
    "engine/src/flow/memory.rs",
    "engine/src/guarded.rs",
    "engine/src/handoff/lease.rs",
    "engine/src/handoff/ring.rs",
];

/// The compiler forbids it in the protocol and denies it in the engine; this keeps the exceptions few.
#[test]
fn unsafe_stays_in_its_few_files() {
    let root_says = |root: &str, what| {
        sources(root)
            .iter()
            .any(|source| source.path.ends_with("src/lib.rs") && source.text.contains(what))
    };
    assert!(root_says("engine/proto/src", "#![forbid(unsafe_code)]"));
    assert!(root_says("engine/src", "#![deny(unsafe_code)]"));
    let excepted = |source: &Source| source.text.contains("allow(unsafe_code");
    let mut found: Vec<PathBuf> =
        sources("engine/src").into_iter().filter(excepted).map(|source| source.path).collect();
    found.sort();
    assert_eq!(found, UNSAFE.iter().map(PathBuf::from).collect::<Vec<_>>());
}

/// Where packets are handled nothing is logged: it is counted. The log is for those who stand above the workers.
#[test]
fn workers_never_log() {
    let worker = floor_of(ENGINE_FLOORS, "worker").expect("its floor");
    let is_below = |source: &Source| {
        let module = module_of(source, "engine/src");
        let floor = module.and_then(|module| floor_of(ENGINE_FLOORS, module));
        floor.is_some_and(|floor| floor <= worker)
    };
    let sources = sources("engine/src");
    let logs = |source: &&Source| source.code().contains(concat!("trac", "ing"));
    let broken: Vec<_> = sources.iter().filter(|source| is_below(source) && logs(source)).collect();
    let broken: Vec<_> = broken.iter().map(|source| source.says("logs")).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(sources.iter().any(|source| !is_below(source) && logs(&source)), "others log");
}

/// Pieces are joined here so that this file does not find itself.
const UNWANTED: &[(&str, &str)] = &[
    (concat!("todo", "!("), "unfinished"),
    (concat!("unimplemented", "!("), "unfinished"),
    (concat!("#[ig", "nore"), "a test that does not run proves nothing"),
    (concat!("Instant", "::now("), "time is read in usher::clock only"),
    (concat!("thread::", "sleep("), "tests use the fake clock, workers poll"),
];

/// The engine's clock and the bench's.
const MAY_WAIT: &[&str] = &["engine/src/clock.rs", "bench/src/time.rs"];

#[test]
fn no_source_holds_what_was_ruled_out() {
    let mut broken = Vec::new();
    for source in &all_sources() {
        let waits = MAY_WAIT.iter().any(|path| source.path == Path::new(path));
        for (text, why) in UNWANTED.iter().take(if waits { 3 } else { UNWANTED.len() }) {
            if source.text.contains(text) {
                broken.push(source.says(&format!("`{text}`: {why}")));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_file_says_what_it_is_for() {
    let broken: Vec<String> = all_sources()
        .iter()
        .filter(|source| !source.text.starts_with("//!"))
        .map(|source| source.says("does not begin with `//!`"))
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Longer files usually know two things.
const LINES: usize = 600;

#[test]
fn files_stay_readable() {
    let broken: Vec<String> = all_sources()
        .iter()
        .filter(|source| source.code().lines().count() > LINES)
        .map(|source| source.says(&format!("more than {LINES} lines before its tests")))
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The functions by which `docs/ARCHITECTURE.md` tells a burst's way and a flow's life exist.
#[test]
fn architecture_names_what_is_there() {
    let sources = all_sources();
    let text = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).expect("the page");
    let start = text.find("## A burst's way").expect("its section");
    let told = &text[start..text.find("## Decisions").expect("its section")];
    let function = |name: &str| name.rsplit_once("::")?.1.split('(').next().map(str::to_owned);
    let functions: Vec<String> = quoted(told)
        .filter_map(function)
        .filter(|name| name.starts_with(|letter: char| letter.is_ascii_lowercase()))
        .collect();
    assert!(functions.len() > 20, "the page has another shape than this test reads");
    let is_there =
        |name: &String| sources.iter().any(|source| source.text.contains(&format!("fn {name}")));
    let missing: Vec<_> = functions.iter().filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "docs/ARCHITECTURE.md names what is not there: {missing:?}");
}

/// The fields of a row of a table in Markdown, or nothing.
fn fields(line: &str) -> Vec<&str> {
    line.strip_prefix('|').map_or_else(Vec::new, |row| row.split('|').map(str::trim).collect())
}

/// What stands between backticks.
fn quoted(field: &str) -> impl Iterator<Item = &str> {
    field.split('`').skip(1).step_by(2)
}

/// The file that `docs/CONFORMANCE.md` calls `name`.
fn named<'a>(sources: &'a [Source], name: &str) -> Option<&'a Source> {
    ["engine/proto/src", "engine/src"]
        .iter()
        .find_map(|under| sources.iter().find(|source| source.path == Path::new(under).join(name)))
}

/// Whether `source` has a test of this name.
fn has_test(source: &Source, name: &str) -> bool {
    let begins = format!("fn {name}(");
    let lines: Vec<_> = source.text.lines().map(str::trim_start).collect();
    let at = lines.iter().position(|line| line.starts_with(&begins));
    at.is_some_and(|at| {
        let above = lines[..at].iter().rev();
        above.take_while(|line| line.starts_with("#[")).any(|line| *line == "#[test]")
    })
}

/// Every test and every place in the code that `docs/CONFORMANCE.md` names exists, the latter in the file
/// named before it.
#[test]
fn conformance_names_what_is_there() {
    let sources = all_sources();
    let text = fs::read_to_string(root().join("docs/CONFORMANCE.md")).expect("docs/CONFORMANCE.md");
    let (mut missing, mut rows) = (Vec::new(), 0);
    for line in text.lines() {
        let [_, _, code, tests, _, ""] = fields(line)[..] else { continue };
        rows += 1;
        let is_test = |name: &&str| sources.iter().any(|source| has_test(source, name));
        missing.extend(quoted(tests).filter(|name| !is_test(name)));
        let mut file = None;
        missing.extend(quoted(code).filter(|name| {
            if name.ends_with(".rs") {
                file = named(&sources, name);
                return file.is_none();
            }
            let has =
                |kind: &&str| file.is_some_and(|f| f.text.contains(&format!("{kind} {name}")));
            !["fn", "struct", "enum", "const"].iter().any(has)
        }));
    }
    assert!(rows > 50, "the tables have another shape than this test reads");
    assert!(missing.is_empty(), "docs/CONFORMANCE.md names what is not there: {missing:?}");
}
