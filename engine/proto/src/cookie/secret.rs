//! The secret that the nodes of a fleet share, and the keys derived from it.

use core::fmt;
use core::str::FromStr;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::siphash::Key;

/// What every node that answers for the same addresses knows and nobody else does: 32 random bytes.
///
/// It is written in a file as 64 hexadecimal digits. It is never used as it is: each purpose has its
/// own key derived from it, so that what leaks through one says nothing about another. It never
/// prints itself, and leaves zeros where it was.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

/// What a derived key is for. The number is part of the key: a changed cookie layout takes a new one,
/// so that old and new nodes refuse each other's cookies instead of misreading them.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// SYN cookies, layout 1.
    Cookie,
    /// Initial sequence numbers and timestamp offsets of stateful handshakes.
    Isn,
}

impl Secret {
    /// The secret made of these bytes, which must come from a random number generator.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes themselves, for a file that nobody else may read.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key for `purpose`: a label hashed under the first half of the secret, and the result under
    /// the second. (Two hashes added up would cancel where the halves are equal.)
    pub(super) fn key(&self, purpose: Purpose) -> Key {
        let [a, b, c, d]: [u64; 4] = zerocopy::transmute!(self.0);
        let first = Key(u64::from_le(a), u64::from_le(b));
        let second = Key(u64::from_le(c), u64::from_le(d));
        let label = u64::from_le_bytes(match purpose {
            Purpose::Cookie => *b"cookie/1",
            Purpose::Isn => *b"isn/1   ",
        });
        let word = |number| second.hash([label, number, first.hash([label, number])]);
        Key(word(0), word(1))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What is wrong with the text of a secret. The text itself is not repeated, as messages end in logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecretError {
    /// Not 64 digits, but so many.
    Length(usize),
    /// The character at this place, counted from 1, is no hexadecimal digit.
    Digit(usize),
    /// All bytes are the same.
    Constant,
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(0) => f.write_str("the secret is empty")?,
            Self::Length(found) => write!(f, "the secret has {found} characters")?,
            Self::Digit(place) => {
                write!(f, "character {place} of the secret is not a hexadecimal digit")?;
            }
            Self::Constant => f.write_str("all bytes of the secret are the same")?,
        }
        f.write_str(
            "; it must be 64 hexadecimal digits (32 random bytes), as `usher secret new FILE` writes",
        )
    }
}

impl core::error::Error for SecretError {}

impl FromStr for Secret {
    type Err = SecretError;

    /// Reads 64 hexadecimal digits; white space around them is ignored.
    fn from_str(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        let bad = text.chars().position(|c| !c.is_ascii_hexdigit());
        if let Some(place) = bad {
            return Err(SecretError::Digit(place.saturating_add(1)));
        }
        if text.len() != 64 {
            return Err(SecretError::Length(text.len()));
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = pair.iter().fold(0, |value, digit| value << 4 | nibble(*digit));
        }
        match bytes {
            [first, ..] if bytes == [first; 32] => Err(SecretError::Constant),
            _ => Ok(Self(bytes)),
        }
    }
}

/// The value of an ASCII hexadecimal digit.
fn nibble(digit: u8) -> u8 {
    char::from(digit).to_digit(16).map_or(0, |value| value as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eFF";

    #[test]
    fn text_is_64_digits() {
        let secret: Secret = std::format!("\n {TEXT}\r\n").parse().unwrap();
        assert_eq!(secret.0[..3], [0, 1, 2]);
        assert_eq!(secret.0[31], 0xff);
    }

    #[test]
    fn errors_say_what_is_wrong_and_not_what_is_written() {
        let error = |text: &str| text.parse::<Secret>().unwrap_err();
        assert_eq!(error(""), SecretError::Length(0));
        assert_eq!(error(&TEXT[1..]), SecretError::Length(63));
        assert_eq!(error(&TEXT.replace("05", "0x")), SecretError::Digit(12));
        assert_eq!(error(&TEXT.replace("05", "é5")), SecretError::Digit(11));
        assert_eq!(error(&"7a".repeat(32)), SecretError::Constant);
        insta::assert_snapshot!(error(&TEXT[2..]), @"the secret has 62 characters; it must be 64 hexadecimal digits (32 random bytes), as `usher secret new FILE` writes");
        insta::assert_snapshot!(error("0x00"), @"character 2 of the secret is not a hexadecimal digit; it must be 64 hexadecimal digits (32 random bytes), as `usher secret new FILE` writes");
        assert_eq!(std::format!("{:?}", Secret::from_bytes([7; 32])), "Secret(..)");
    }

    #[test]
    fn purposes_have_different_keys() {
        let secret = Secret::from_bytes([7; 32]);
        assert!(secret.key(Purpose::Cookie) != secret.key(Purpose::Isn));
        let key = secret.key(Purpose::Cookie);
        assert_ne!(key.0, key.1);
    }

    /// A secret whose halves are equal is poor, but must not lead to a key that everybody knows.
    #[test]
    fn equal_halves_do_not_cancel() {
        let keys = [7, 8].map(|byte| Secret::from_bytes([byte; 32]).key(Purpose::Cookie));
        assert!(keys[0] != keys[1] && keys[0] != Key(0, 0));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,70}") {
            let _ = text.parse::<Secret>();
        }

        /// Every byte of the secret changes every key.
        #[test]
        fn no_byte_is_ignored(bytes: [u8; 32], place in 0usize..32, bit in 0u32..8) {
            let mut other = bytes;
            other[place] ^= 1 << bit;
            for purpose in [Purpose::Cookie, Purpose::Isn] {
                let (a, b) = (Secret(bytes).key(purpose), Secret(other).key(purpose));
                prop_assert!(a.0 != b.0 && a.1 != b.1);
            }
        }
    }
}
