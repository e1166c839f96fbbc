//! `usher secret`: makes the file that cookies are proved with, and announces the next secret in it.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::Subcommand;
use usher_proto::cookie::Secret;
use zeroize::Zeroizing;

use super::{DONE, FAILED, complain, say};
use crate::clock::{Clock, SystemClock};
use crate::config::{Secrets, begin_of, read_secrets, write_secrets};

/// Epochs between the present one and the earliest in which a new secret may hold: every node must have been told
/// before. Cookies are good in the epoch after their own, too.
const NOTICE: u32 = 2;

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Make a file with a new random secret, readable by its owner alone
    New {
        /// The file, which must not be there
        file: PathBuf,
    },
    /// Announce the next secret in a file: the old one and the new one are both accepted while it changes
    Rotate {
        /// The file; it is replaced at once by one with the same owner and mode
        file: PathBuf,
        /// From when the new secret holds: all nodes must have the file, and have reloaded, by then
        #[arg(long = "in", value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
        after: Duration,
    },
}

/// Does it; returns the exit code.
pub(super) fn secret(command: &Command) -> u8 {
    let epoch = SystemClock::start().now().epoch;
    let outcome = match command {
        Command::New { file } => create(file),
        Command::Rotate { file, after } => rotate(file, *after, epoch),
    };
    match outcome {
        Ok(done) => {
            say(&done);
            DONE
        }
        Err(cause) => {
            complain(&cause);
            FAILED
        }
    }
}

fn create(path: &Path) -> Result<String, String> {
    let name = path.display();
    let secrets = Secrets { current: random().map_err(|cause| cause.to_string())?, next: None };
    let written = make(path).and_then(|mut file| fill(&mut file, &secrets));
    written.map_err(|cause| match cause.kind() {
        ErrorKind::AlreadyExists => {
            format!("{name} is there already: `usher secret rotate {name}` changes what it holds")
        }
        _ => format!("{name}: {cause}"),
    })?;
    Ok(format!("{name} holds a new secret: give the same file to all nodes that share traffic"))
}

fn rotate(path: &Path, after: Duration, epoch: u32) -> Result<String, String> {
    let name = path.display();
    let read = read_secrets(path).map_err(|(what, right)| format!("{what}; {right}"))?;
    let current = settled(&read, epoch).map_err(|why| format!("{name}: {why}"))?;
    let from = first_epoch(after, epoch)?;
    let next = random().map_err(|cause| cause.to_string())?;
    let secrets = Secrets { current, next: Some((from, next)) };
    replace(path, &secrets).map_err(|cause| format!("{name}: {cause}"))?;
    Ok(format!(
        "{name}: the next secret holds from {}; until then give this file to all nodes that share traffic, and `usher reload` each",
        time(from)
    ))
}

/// The secret that alone holds in `epoch`, or why there is none yet.
fn settled(secrets: &Secrets, epoch: u32) -> Result<Secret, String> {
    match &secrets.next {
        None => Ok(secrets.current.clone()),
        Some((from, next)) if *from < epoch => Ok(next.clone()),
        Some((from, _)) => {
            // cookies of the one before are good for one epoch more
            let over = time(from.saturating_add(1));
            Err(format!(
                "a secret was announced for {}, and no other can be before {over}",
                time(*from)
            ))
        }
    }
}

/// The epoch that begins in `after`, or the next to begin then.
fn first_epoch(after: Duration, epoch: u32) -> Result<u32, String> {
    let epochs = u32::try_from(after.as_secs().div_ceil(64)).ok();
    let from =
        epochs.and_then(|epochs| epoch.checked_add(epochs)).filter(|from| *from >= epoch + NOTICE);
    let least = humantime::format_duration(Duration::from_secs(u64::from(NOTICE) * 64));
    from.ok_or_else(|| {
        format!("a new secret cannot hold before {least} have passed, or in so far a future")
    })
}

fn time(epoch: u32) -> humantime::Rfc3339Timestamp {
    let begin: SystemTime = begin_of(epoch);
    humantime::format_rfc3339_seconds(begin)
}

fn random() -> Result<Secret, getrandom::Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes)?;
    Ok(Secret::from_bytes(*bytes))
}

/// Makes a file that is there for its owner alone.
fn make(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn fill(file: &mut File, secrets: &Secrets) -> io::Result<()> {
    file.write_all(write_secrets(secrets).as_bytes())?;
    file.sync_all()
}

/// Puts a new file in the place of `path`, so that whoever reads it reads the old or the new one.
fn replace(path: &Path, secrets: &Secrets) -> io::Result<()> {
    let old = std::fs::metadata(path)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let path = std::fs::canonicalize(path)?;
    let new = path.with_file_name(name);
    let mut file = make(&new)?;
    let placed = fill(&mut file, secrets)
        .and_then(|()| fchown(&file, Some(old.uid()), Some(old.gid())))
        .and_then(|()| file.set_permissions(PermissionsExt::from_mode(old.mode() & 0o777)))
        .and_then(|()| std::fs::rename(&new, &path));
    if placed.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u32 = 1000;

    fn secrets(next: Option<u32>) -> Secrets {
        let secret = |letter| Secret::from_bytes([letter; 32]);
        Secrets { current: secret(b'a'), next: next.map(|from| (from, secret(b'b'))) }
    }

    #[test]
    fn another_is_announced_when_the_last_has_settled() {
        let settled = |next| settled(&secrets(next), NOW).map(|secret| secret.expose()[0]);
        assert_eq!(settled(None), Ok(b'a'));
        assert_eq!(settled(Some(NOW - 1)), Ok(b'b'));
        for from in [NOW, NOW + 1, NOW + 50] {
            let error = settled(Some(from)).unwrap_err();
            assert!(error.starts_with("a secret was announced for 1970-01-01T1"), "{error}");
        }
    }

    #[test]
    fn nodes_are_given_notice() {
        let first = |seconds| first_epoch(Duration::from_secs(seconds), NOW);
        assert_eq!((first(128), first(600)), (Ok(NOW + 2), Ok(NOW + 10)));
        for seconds in [0, 64, u64::MAX] {
            assert!(first(seconds).unwrap_err().contains("cannot hold before 2m 8s"));
        }
    }
}
