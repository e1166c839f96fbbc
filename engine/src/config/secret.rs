//! The secret file: what cookies are proved with, shared by all nodes that serve the same addresses.
//!
//! Two forms: 32 raw bytes; or lines of text, each a secret of 64 hexadecimal digits. A second line
//! announces the next secret and says from when it holds: `<64 digits> from 2026-03-01T00:00:00Z`.
//! Lines that begin with `#` are comments. A secret is never printed.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use usher_proto::cookie::Secret;
use zeroize::Zeroizing;

use super::plan::{SecretPlan, Secrets};
use super::section::Section;
use crate::guarded::{Guarded, scrub_stack};

/// What to do about a file that is none of the two forms.
const RIGHT: &str = "make one with `usher secret new FILE` and give the same to all nodes";

/// How much of a secret file is read, in bytes: two secrets and many comments.
const FILE_MAX: usize = 16_384;

/// Who is neither the owner nor in the group may do nothing with it, and the group may not change it.
const FORBIDDEN: u32 = 0o027;

/// Seconds of an epoch.
const EPOCH_S: u64 = 64;

/// Reads the file that `handshake.secret_file` names.
pub(super) fn read(section: &Section<'_>, dir: &Path) -> Option<SecretPlan> {
    let text = section.text("secret_file")?;
    let file = dir.join(text.value);
    let secrets = read_secrets(&file);
    let secrets = secrets.map_err(|(what, right)| section.problems().add(&text, what, right));
    Some(SecretPlan { file, secrets: secrets.ok()? })
}

/// Reads a secret file.
///
/// # Errors
///
/// It cannot be read, others can read it, or it is no secret file: what is wrong, and what would be right. Neither shows
/// anything of what is in it.
pub fn read_secrets(path: &Path) -> Result<Guarded<Secrets>, (String, String)> {
    let name = path.display();
    let right = || RIGHT.to_owned();
    let unreadable = |cause: std::io::Error| (format!("{name} cannot be read: {cause}"), right());
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & FORBIDDEN != 0 {
        let what = format!("{name} has mode {mode:04o}: others can use it");
        return Err((
            what,
            format!("`chmod 600 {name}`, and a new secret if others may have read it"),
        ));
    }
    // as large as it may become: growing would leave copies behind
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_MAX + 1));
    file.take(FILE_MAX as u64).read_to_end(&mut bytes).map_err(unreadable)?;
    let secrets = parse(&bytes).map_err(|what| (format!("{name}: {what}"), right()));
    drop(bytes);
    scrub_stack();
    secrets
}

/// Parses a secret file's bytes; the error says what is wrong and shows none of them.
fn parse(bytes: &[u8]) -> Result<Guarded<Secrets>, String> {
    if let Ok(raw) = bytes.try_into() {
        return checked(Secrets { current: Secret::from_bytes(raw), next: None });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| format!("{} bytes that are no text; a raw secret has 32", bytes.len()))?;
    let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let current = secret(lines.next().ok_or("it holds no secret")?)?;
    let next = lines.next().map(announced).transpose()?;
    match lines.next() {
        Some(_) => Err("it holds more than two secrets: one in force, one announced".into()),
        None => checked(Secrets { current, next }),
    }
}

/// A line that announces a secret: the epoch from which it holds, and the secret.
fn announced(line: &str) -> Result<(u32, Secret), String> {
    let (digits, from) =
        line.split_once(" from ").ok_or("the second secret lacks its ` from TIME`")?;
    let time = humantime::parse_rfc3339_weak(from.trim())
        .map_err(|_| format!("`{from}` is no time; write e.g. 2026-03-01T00:00:00Z"))?;
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let epoch = u32::try_from(seconds.div_ceil(EPOCH_S))
        .map_err(|_| format!("`{from}` is too far away"))?;
    Ok((epoch, secret(digits.trim())?))
}

/// 64 hexadecimal digits.
fn secret(digits: &str) -> Result<Secret, String> {
    if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        let count = digits.chars().count();
        return Err(format!("a line of {count} characters; a secret is 64 hexadecimal digits"));
    }
    let mut secret = Zeroizing::new([0; 32]);
    for (byte, pair) in secret.iter_mut().zip(digits.as_bytes().chunks(2)) {
        let nibble = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0) as u8;
        *byte = nibble(pair[0]) << 4 | nibble(pair[1]);
    }
    Ok(Secret::from_bytes(*secret))
}

/// Refuses a secret that is none.
fn checked(secrets: Secrets) -> Result<Guarded<Secrets>, String> {
    let blank = |secret: &Secret| {
        let bytes = secret.expose();
        bytes.iter().all(|byte| *byte == bytes[0])
    };
    if blank(&secrets.current) || secrets.next.as_ref().is_some_and(|(_, next)| blank(next)) {
        return Err("all bytes of a secret are the same".into());
    }
    Ok(Guarded::new(secrets))
}

/// When an epoch begins.
#[must_use]
pub fn begin_of(epoch: u32) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::from(epoch) * EPOCH_S)
}

/// The text of a secret file.
#[must_use]
pub fn write_secrets(secrets: &Secrets) -> Zeroizing<String> {
    // more than it takes: growing would leave copies behind
    let mut text = Zeroizing::new(String::with_capacity(1024));
    text.push_str("# What Usher proves its cookies with. Every node that serves the same addresses needs this file,\n");
    text.push_str("# and nobody else may read it. `usher secret rotate` announces the next secret in a second line.\n");
    push_digits(&mut text, &secrets.current);
    if let Some((epoch, next)) = &secrets.next {
        text.push('\n');
        push_digits(&mut text, next);
        text.push_str(" from ");
        text.push_str(&humantime::format_rfc3339_seconds(begin_of(*epoch)).to_string());
    }
    text.push('\n');
    text
}

fn push_digits(text: &mut String, secret: &Secret) {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    for byte in secret.expose() {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";
    const B: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";

    fn read_all(bytes: &[u8]) -> Result<Guarded<Secrets>, String> {
        parse(bytes)
    }

    #[test]
    fn both_forms_are_read() {
        let raw: [u8; 32] = std::array::from_fn(|i| i as u8);
        assert_eq!(read_all(&raw).unwrap().current.expose(), &raw);
        let text = format!("# ours\n{A}\n");
        assert_eq!(read_all(text.as_bytes()).unwrap().current.expose(), &raw);
        let plan = read_all(format!("{A}\n{B} from 1970-01-01T00:01:05Z\n").as_bytes()).unwrap();
        let next = plan.next.as_ref().expect("a second one");
        assert_eq!((next.0, next.1.expose()[0]), (2, 0xff));
        assert_eq!(
            read_all(write_secrets(&plan).as_bytes()).as_ref(),
            Ok(&plan),
            "as it is written"
        );
    }

    #[test]
    fn wrong_ones_are_named_without_showing_them() {
        let cases = [
            (String::new(), "it holds no secret"),
            ("hunter2".into(), "7 characters"),
            ("0".repeat(64), "the same"),
            (format!("{A}\n{B}"), "lacks its"),
            (format!("{A}\n{B} from noon"), "is no time"),
            (format!("{A}\n{B} from 2026-03-01T00:00:00Z\n{B}"), "more than two"),
        ];
        for (text, what) in cases {
            let error = read_all(text.as_bytes()).unwrap_err();
            assert!(error.contains(what) && !error.contains("hunter"), "{error}");
        }
        assert!(read_all(&[0xff; 33]).unwrap_err().contains("33 bytes"));
    }
}
