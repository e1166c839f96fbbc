//! The binary as its users meet it: what it says, and its exit codes (DESIGN section 6).

use std::path::PathBuf;
use std::process::{Command, Output};

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

fn usher(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_usher")).args(arguments).output().expect("the binary")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

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
    for command in ["top", "flows", "capture", "drain", "reload", "backend"] {
        let output = usher(&[command]);
        assert_eq!(code(&output), 2);
        assert!(errors(&output).contains("not in this version"), "{}", errors(&output));
    }
}

#[test]
fn usage_errors_exit_2_and_help_0() {
    assert_eq!(code(&usher(&["run"])), 2);
    assert_eq!(code(&usher(&["bogus"])), 2);
    assert_eq!(code(&usher(&["--help"])), 0);
    assert_eq!(code(&usher(&["--version"])), 0);
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
