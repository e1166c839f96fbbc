//! The secret file: what cookies are proved with, shared by all nodes that serve the same addresses.
//!
//! Two forms: 32 raw bytes; or lines of text, each a secret of 64 hexadecimal digits. A second line
//! announces the next secret and says from when it holds: `<64 digits> from 2026-03-01T00:00:00Z`.
//! Lines that begin with `#` are comments. A secret is never printed.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::plan::SecretPlan;
use super::section::Section;

/// What to do about a file that is none of the two forms.
const RIGHT: &str = "make one with `openssl rand -hex 32 > FILE` and give the same to all nodes";

/// How much of a secret file is read, in bytes: two secrets and many comments.
const FILE_MAX: u64 = 16_384;

/// Reads the file that `handshake.secret_file` names.
pub(super) fn read(section: &Section<'_>, dir: &Path) -> Option<SecretPlan> {
    let text = section.text("secret_file")?;
    let path = dir.join(text.value);
    let read = read_bounded(&path).map_err(|e| format!("{} cannot be read: {e}", path.display()));
    let secret =
        read.and_then(|bytes| parse(&bytes, &path).map_err(|e| format!("{}: {e}", path.display())));
    secret.map_err(|what| section.problems().add(&text, what, RIGHT)).ok()
}

/// A file's bytes, and no more than make sense: what was named may be any file.
fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Parses a secret file's bytes; the error says what is wrong and shows none of them.
fn parse(bytes: &[u8], file: &Path) -> Result<SecretPlan, String> {
    if let Ok(current) = <[u8; 32]>::try_from(bytes) {
        return checked(SecretPlan { file: file.to_owned(), current, next: None });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| format!("{} bytes that are no text; a raw secret has 32", bytes.len()))?;
    let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let current = secret(lines.next().ok_or("it holds no secret")?)?;
    let next = lines.next().map(announced).transpose()?;
    match lines.next() {
        Some(_) => Err("it holds more than two secrets: one in force, one announced".into()),
        None => checked(SecretPlan { file: file.to_owned(), current, next }),
    }
}

/// A line that announces a secret: the epoch from which it holds, and the secret.
fn announced(line: &str) -> Result<(u32, [u8; 32]), String> {
    let (digits, from) =
        line.split_once(" from ").ok_or("the second secret lacks its ` from TIME`")?;
    let time = humantime::parse_rfc3339_weak(from.trim())
        .map_err(|_| format!("`{from}` is no time; write e.g. 2026-03-01T00:00:00Z"))?;
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let epoch =
        u32::try_from(seconds.div_ceil(64)).map_err(|_| format!("`{from}` is too far away"))?;
    Ok((epoch, secret(digits.trim())?))
}

/// 64 hexadecimal digits.
fn secret(digits: &str) -> Result<[u8; 32], String> {
    if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        let count = digits.chars().count();
        return Err(format!("a line of {count} characters; a secret is 64 hexadecimal digits"));
    }
    let mut secret = [0; 32];
    for (byte, pair) in secret.iter_mut().zip(digits.as_bytes().chunks(2)) {
        let nibble = |digit: u8| char::from(digit).to_digit(16).unwrap_or(0) as u8;
        *byte = nibble(pair[0]) << 4 | nibble(pair[1]);
    }
    Ok(secret)
}

/// Refuses a secret that is none.
fn checked(plan: SecretPlan) -> Result<SecretPlan, String> {
    let blank = |secret: &[u8; 32]| secret.iter().all(|byte| *byte == secret[0]);
    if blank(&plan.current) || plan.next.is_some_and(|(_, next)| blank(&next)) {
        return Err("all bytes of a secret are the same".into());
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";
    const B: &str = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";

    fn read_all(bytes: &[u8]) -> Result<SecretPlan, String> {
        parse(bytes, Path::new("secret"))
    }

    #[test]
    fn both_forms_are_read() {
        let raw: [u8; 32] = std::array::from_fn(|i| i as u8);
        assert_eq!(read_all(&raw).unwrap().current, raw);
        assert_eq!(read_all(format!("# ours\n{A}\n").as_bytes()).unwrap().current, raw);
        let plan = read_all(format!("{A}\n{B} from 1970-01-01T00:01:05Z\n").as_bytes()).unwrap();
        assert_eq!(plan.next.map(|(epoch, secret)| (epoch, secret[0])), Some((2, 0xff)));
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
