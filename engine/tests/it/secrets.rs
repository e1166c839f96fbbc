//! Secrets as their keeper meets them: files, rotation in a running engine, and where they must never be found.

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::captures::Scratch;
use super::cli::{CAPTURES, Engine, code, errors, says, usher};

fn secret(arguments: &[&str], file: &Path) -> std::process::Output {
    usher(&[&["secret"], arguments, &[file.to_str().expect("UTF-8")]].concat())
}

fn text(file: &Path) -> String {
    std::fs::read_to_string(file).expect("a secret file")
}

/// The lines of digits.
fn digits(file: &Path) -> Vec<String> {
    let lines = text(file);
    let lines = lines.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(' ').next().expect("digits").to_owned()).collect()
}

fn allow(file: &Path, mode: u32) {
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(file, mode).expect("our own file");
}

fn mode(file: &Path) -> u32 {
    std::fs::metadata(file).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn a_secret_file_is_made_for_its_owner_alone() {
    let scratch = Scratch::new("secret-new");
    let file = scratch.0.join("secret");
    let made = secret(&["new"], &file);
    assert_eq!(code(&made), 0, "{}", errors(&made));
    assert_eq!((mode(&file), digits(&file).len(), digits(&file)[0].len()), (0o600, 1, 64));
    assert!(!says(&made).contains(&digits(&file)[0]), "it is shown to nobody");
    let before = text(&file);
    let again = secret(&["new"], &file);
    assert_eq!((code(&again), text(&file)), (1, before));
    assert!(errors(&again).contains("is there already"), "{}", errors(&again));
    let other = scratch.0.join("other");
    assert_eq!(code(&secret(&["new"], &other)), 0);
    assert_ne!(digits(&file), digits(&other));
}

#[test]
fn the_next_secret_is_announced_beside_the_old_one() {
    let scratch = Scratch::new("secret-rotate");
    let file = scratch.0.join("secret");
    assert_eq!(code(&secret(&["new"], &file)), 0);
    allow(&file, 0o640);
    let old = digits(&file);
    let rotated = secret(&["rotate", "--in", "3m"], &file);
    assert_eq!(code(&rotated), 0, "{}", errors(&rotated));
    let both = digits(&file);
    assert_eq!((both.len(), &both[0], mode(&file)), (2, &old[0], 0o640));
    assert_ne!(both[1], old[0]);
    let said = says(&rotated);
    assert!(said.contains("the next secret holds from 20") && !said.contains(&both[1]), "{said}");
    let soon = secret(&["rotate"], &file);
    assert_eq!((code(&soon), digits(&file)), (1, both.clone()));
    assert!(errors(&soon).contains("a secret was announced for 20"), "{}", errors(&soon));
    // once it has held for an epoch, it is the old one
    let announced = text(&file);
    let (before, _) = announced.split_once(" from ").expect("a second line");
    std::fs::write(&file, format!("{before} from 2001-01-01T00:00:00Z\n")).expect("our own file");
    assert_eq!(code(&secret(&["rotate"], &file)), 0);
    assert_eq!((digits(&file).len(), &digits(&file)[0]), (2, &both[1]));
    let early = secret(&["rotate", "--in", "1m"], &file);
    assert_eq!(code(&early), 1);
    assert_eq!(mode(&file), 0o640);
    assert!(!scratch.0.join("secret.new").exists());
}

#[test]
fn a_file_that_others_can_use_is_refused() {
    let scratch = Scratch::new("secret-mode");
    let file = scratch.0.join("secret");
    assert_eq!(code(&secret(&["new"], &file)), 0);
    let config = scratch.0.join("usher.toml");
    let with =
        CAPTURES.replace("[flow_table]", "[handshake]\nsecret_file = \"secret\"\n[flow_table]");
    std::fs::write(&config, with).expect("a writable directory");
    for forbidden in [0o604, 0o644, 0o602, 0o601, 0o620, 0o660] {
        allow(&file, forbidden);
        let check = usher(&["check", "-c", config.to_str().expect("UTF-8")]);
        assert_eq!(code(&check), 2, "{forbidden:o}");
        let said = errors(&check);
        assert!(said.contains(&format!("mode {forbidden:04o}: others can use it")), "{said}");
        assert!(said.contains("chmod 600") && !said.contains(&digits(&file)[0]), "{said}");
        assert_eq!(code(&secret(&["rotate"], &file)), 1);
    }
}

/// An engine with a secret file of this test's own.
fn engine(name: &str) -> (Engine, PathBuf) {
    let scratch = Scratch::new(name);
    let file = scratch.0.join("secret");
    assert_eq!(code(&secret(&["new"], &file)), 0);
    let with =
        CAPTURES.replace("[flow_table]", "[handshake]\nsecret_file = \"secret\"\n[flow_table]");
    (Engine::run_in(scratch, &with, &[], &[]), file)
}

#[test]
fn a_running_engine_goes_on_with_an_announced_secret_only() {
    let (mut engine, file) = engine("secret-reload");
    assert_eq!(code(&secret(&["rotate"], &file)), 0);
    let tried = engine.ask(&["reload", "--dry-run"]);
    let expected =
        "change: `handshake.secret_file` has other secrets\na reload would change 1 thing(s)\n";
    assert_eq!(says(&tried), expected, "{}", errors(&tried));
    let done = engine.ask(&["reload"]);
    assert!(says(&done).contains("is in force"), "{}", errors(&done));
    std::fs::remove_file(&file).expect("our own file");
    assert_eq!(code(&secret(&["new"], &file)), 0);
    let refused = engine.ask(&["reload"]);
    assert_eq!(code(&refused), 1);
    let why = "the secret in force can only be followed by one that was announced";
    assert!(errors(&refused).contains(why), "{}", errors(&refused));
    assert_eq!(engine.stop(), 0, "{}", engine.log());
    for digits in digits(&file) {
        assert!(!engine.log().contains(&digits), "it is logged");
    }
}

/// What a core dump would have: all memory that can be written to, but what is kept out of it.
fn dumped(process: u32) -> Vec<(String, Vec<u8>)> {
    let maps = std::fs::read_to_string(format!("/proc/{process}/smaps")).expect("our own child");
    let memory = std::fs::File::open(format!("/proc/{process}/mem")).expect("our own child");
    let mut all = Vec::new();
    let mut mapping: Option<(u64, u64, String)> = None;
    for line in maps.lines() {
        let mut fields = line.split(' ');
        let range = fields.next().and_then(|range| range.split_once('-'));
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        if let Some((Some(start), Some(end))) = range.map(|(a, b)| (hex(a), hex(b))) {
            let writable = fields.next().is_some_and(|rights| rights.starts_with("rw"));
            mapping = writable.then(|| (start, end, line.to_owned()));
        } else if let Some(flags) = line.strip_prefix("VmFlags:")
            && let Some((start, end, name)) = mapping.take()
            && !flags.split(' ').any(|flag| flag == "dd")
        {
            let mut bytes = vec![0; (end - start) as usize];
            // what cannot be read is in no dump either
            if memory.read_exact_at(&mut bytes, start).is_ok() {
                all.push((name, bytes));
            }
        }
    }
    all
}

#[test]
fn no_secret_is_in_what_a_core_dump_would_have() {
    let (mut engine, file) = engine("secret-core");
    assert_eq!(code(&secret(&["rotate"], &file)), 0);
    assert_eq!(code(&engine.ask(&["reload"])), 0);
    let digits = digits(&file);
    assert_eq!(digits.len(), 2);
    let dumped = dumped(engine.child.id());
    let socket = b"usher.sock";
    assert!(dumped.iter().any(|(_, bytes)| has(bytes, socket)), "nothing was looked at");
    for digits in &digits {
        let raw: Vec<u8> = (0..32)
            .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("digits"))
            .collect();
        for what in [digits.as_bytes(), &raw[..], &raw[..16], &raw[16..]] {
            let places: Vec<_> =
                dumped.iter().filter(|(_, bytes)| has(bytes, what)).map(|(name, _)| name).collect();
            assert!(places.is_empty(), "{} bytes of a secret are in {places:?}", what.len());
        }
    }
    assert_eq!(engine.stop(), 0, "{}", engine.log());
}

fn has(bytes: &[u8], what: &[u8]) -> bool {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == what[0]) {
        from += at;
        if bytes[from..].starts_with(what) {
            return true;
        }
        from += 1;
    }
    false
}
