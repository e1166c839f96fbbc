//! What a check says and what it wants to hear.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use arrayvec::ArrayVec;

use crate::config::Check;

/// One backend's check, made once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Script {
    /// What is sent after the handshake: a PROXY header, a request, both, or nothing.
    pub(super) says: Box<[u8]>,
    /// The status codes that are good, where an answer is waited for.
    pub(super) expects: Option<RangeInclusive<u16>>,
}

impl Script {
    /// The script of `check` for a backend that calls itself `host`. `header` is the PROXY header that says
    /// that this connection is our own (LOCAL); empty where the service sends none.
    #[must_use]
    pub fn new(check: &Check, host: SocketAddr, header: &[u8]) -> Self {
        let (request, expects) = match check {
            Check::Tcp => (String::new(), None),
            Check::Http { path, expect } => {
                let version = env!("CARGO_PKG_VERSION");
                let request = format!(
                    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: usher/{version}\r\n\
                     Accept: */*\r\nConnection: close\r\n\r\n"
                );
                (request, Some(expect.clone()))
            }
        };
        Self { says: [header, request.as_bytes()].concat().into(), expects }
    }

    /// The bytes that [`usher_proto::wire::Reply::payload_offset`] of a probe's segments counts from.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.says
    }
}

/// What a status line came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Status {
    /// It is not complete yet.
    More,
    /// This code.
    Code(u16),
    /// It is no status line.
    NotHttp,
}

/// The beginning of a status line, and no more of an answer than that (RFC 9112 §4).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct StatusLine(ArrayVec<u8, { "HTTP/1.1 200 ".len() }>);

impl StatusLine {
    /// Takes in what follows; what is beyond the code is not looked at.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let room = self.0.remaining_capacity().min(bytes.len());
        self.0.extend(bytes[..room].iter().copied());
    }

    /// What it says so far. `over`: nothing will follow.
    pub(super) fn status(&self, over: bool) -> Status {
        let pattern = b"HTTP/d.d ddd ";
        let is_like = |(byte, like): (&u8, &u8)| match like {
            b'd' => byte.is_ascii_digit(),
            // no reason phrase, and some leave out the space before none
            b' ' if byte.is_ascii_whitespace() => true,
            _ => byte == like,
        };
        if !self.0.iter().zip(pattern).all(is_like) {
            return Status::NotHttp;
        }
        match self.0.as_slice() {
            [_, _, _, _, _, _, _, _, _, a, b, c, rest @ ..] if over || !rest.is_empty() => {
                Status::Code(
                    [a, b, c].iter().fold(0, |code, digit| code * 10 + u16::from(**digit - b'0')),
                )
            }
            _ if over => Status::NotHttp,
            _ => Status::More,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(pieces: &[&str], over: bool) -> Status {
        let mut line = StatusLine::default();
        pieces.iter().for_each(|piece| line.take(piece.as_bytes()));
        line.status(over)
    }

    #[test]
    fn status_lines_are_read() {
        for (text, over, expected) in [
            ("HTTP/1.1 200 OK\r\nServer: a\r\n", false, Status::Code(200)),
            ("HTTP/1.0 404 Not Found\r\n", false, Status::Code(404)),
            ("HTTP/1.1 503\r\n", false, Status::Code(503)),
            ("HTTP/1.1 204", false, Status::More),
            ("HTTP/1.1 204", true, Status::Code(204)),
            ("HTTP/1.1 2", false, Status::More),
            ("HTTP/1.1 2", true, Status::NotHttp),
            ("", false, Status::More),
            ("", true, Status::NotHttp),
            ("HTTP/1.1 2000 ", false, Status::NotHttp),
            ("HTTP/1.1 -20 ", false, Status::NotHttp),
            ("HTTP/11 200 OK", false, Status::NotHttp),
            ("SSH-2.0-OpenSSH", false, Status::NotHttp),
            ("<html>", false, Status::NotHttp),
        ] {
            assert_eq!(status(&[text], over), expected, "{text}");
            // however it is cut into segments
            for cut in 0..text.len() {
                let (a, b) = text.split_at(cut);
                assert_eq!(status(&[a, b], over), expected, "{text} cut at {cut}");
            }
        }
    }

    #[test]
    fn scripts_hold_header_and_request() {
        let host = SocketAddr::from(([10, 20, 0, 3], 8080));
        assert_eq!(Script::new(&Check::Tcp, host, b"").bytes(), b"");
        assert_eq!(Script::new(&Check::Tcp, host, b"PROXY").bytes(), b"PROXY");
        let check = Check::Http { path: "/up".into(), expect: 200..=204 };
        let script = Script::new(&check, host, b"PROXY");
        let text = String::from_utf8(script.bytes().to_vec()).unwrap();
        assert!(text.starts_with("PROXYGET /up HTTP/1.1\r\nHost: 10.20.0.3:8080\r\n"), "{text}");
        assert!(text.ends_with("\r\nConnection: close\r\n\r\n"), "{text}");
        assert_eq!(script.expects, Some(200..=204));
    }
}
