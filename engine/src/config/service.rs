//! `[[service]]`: addresses and what answers there.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::problem::At;
use super::section::Section;
use super::{port, proxy, ring};

/// The longest answer of a `respond` service in bytes.
const ANSWER_MAX: usize = 65_536;

/// The keys that belong to each kind; the others are everybody's.
const RESPOND: &[&str] = &["response", "response_file"];

/// A service as the file has it, each value right in itself.
pub(super) struct Service {
    pub(super) name: At<String>,
    pub(super) listen: Vec<At<SocketAddr>>,
    /// `None`: the only port there is.
    pub(super) port: Option<At<String>>,
    /// The table's own place.
    pub(super) place: At<()>,
    /// `None`: recorded as wrong.
    pub(super) kind: Option<Kind>,
}

/// What answers, with what it needs.
pub(super) enum Kind {
    Proxy(proxy::Proxy),
    Respond(Arc<[u8]>),
    Ring(ring::Ring),
}

impl Service {
    /// Its backends and how they are reached, if it has any.
    pub(super) fn proxy(&self) -> Option<&proxy::Proxy> {
        match &self.kind {
            Some(Kind::Proxy(proxy)) => Some(proxy),
            Some(Kind::Ring(ring)) => ring.proxy.as_ref(),
            Some(Kind::Respond(_)) | None => None,
        }
    }
}

/// `service.kind`.
#[derive(Clone, Copy)]
enum Word {
    Proxy,
    Respond,
    Ring,
}

/// Reads one `[[service]]`; `None` (recorded) if it has no usable name.
pub(super) fn read(section: &Section<'_>, dir: &Path) -> Option<Service> {
    section.require(&["name", "listen", "kind"]);
    let name = port::name(section);
    let listen = section.texts("listen");
    let empty =
        section.raw("listen").filter(|raw| raw.value.as_array().is_some_and(|a| a.is_empty()));
    if let Some(raw) = empty {
        section.problems().add(&raw, "there is no address", section.write("listen"));
    }
    let listen = listen.iter().filter_map(|text| endpoint(section, text, "listen")).collect();
    let port = section.text("port").map(|text| text.with(text.value.to_owned()));
    let words = [("proxy", Word::Proxy), ("respond", Word::Respond), ("ring", Word::Ring)];
    let kind = section.choice("kind", &words).and_then(|kind| read_kind(section, &kind, dir));
    Some(Service { name: name?, listen, port, place: section.place().clone(), kind })
}

fn read_kind(section: &Section<'_>, word: &At<Word>, dir: &Path) -> Option<Kind> {
    let kinds = [
        ("respond", RESPOND, matches!(word.value, Word::Respond)),
        ("proxy", proxy::KEYS, matches!(word.value, Word::Proxy | Word::Ring)),
        ("ring", ring::KEYS, matches!(word.value, Word::Ring)),
    ];
    for (kind, keys, _) in kinds.iter().filter(|(_, _, has_them)| !has_them) {
        let because = format!("this key is for `kind = \"{kind}\"` and means nothing here");
        section.refuse(keys, &because);
    }
    match word.value {
        Word::Respond => answer(section, dir).map(Kind::Respond),
        Word::Proxy => Some(Kind::Proxy(proxy::read(section))),
        Word::Ring => Some(Kind::Ring(ring::read(section, word.with(())))),
    }
}

/// The bytes of `response` or of the file that `response_file` names.
fn answer(section: &Section<'_>, dir: &Path) -> Option<Arc<[u8]>> {
    if section.has("response") == section.has("response_file") {
        let what = if section.has("response") {
            "`response` and `response_file` exclude each other"
        } else {
            "a `respond` service needs `response` or `response_file`"
        };
        let right = format!("give one of them, {}", section.write("response_file"));
        section.problems().add(
            &At { key: "service.response".into(), ..section.place().clone() },
            what,
            right,
        );
        return None;
    }
    let (at, bytes) = match section.text("response") {
        Some(text) => (text.with(()), text.value.as_bytes().to_vec()),
        None => {
            let text = section.text("response_file")?;
            let path = dir.join(text.value);
            let read = read_bounded(&path).map_err(|cause| {
                let what = format!("{} cannot be read: {cause}", path.display());
                section.problems().add(
                    &text,
                    what,
                    "name a readable file; paths are relative to this one",
                );
            });
            (text.with(()), read.ok()?)
        }
    };
    if bytes.is_empty() || bytes.len() > ANSWER_MAX {
        let size = if bytes.is_empty() { "0".into() } else { format!("more than {ANSWER_MAX}") };
        let right = format!("an answer has 1 to {ANSWER_MAX} bytes");
        section.problems().add(&at, format!("an answer of {size} bytes"), right);
        return None;
    }
    Some(bytes.into())
}

/// A file's bytes, one more than allowed at most.
fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(ANSWER_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// An address and TCP port of one station.
pub(super) fn endpoint(
    section: &Section<'_>,
    text: &At<&str>,
    key: &str,
) -> Option<At<SocketAddr>> {
    let parsed: Option<SocketAddr> = text.value.parse().ok();
    let why = match parsed {
        None => Some("is no address with a TCP port"),
        Some(address) if address.port() == 0 => Some("has port 0, which cannot be used"),
        Some(SocketAddr::V6(v6)) if v6.scope_id() != 0 => {
            Some("has a scope: the service's `port` says it")
        }
        Some(address) => port::unusable(address.ip()),
    };
    if let Some(why) = why {
        section.problems().add(text, format!("`{}` {why}", text.value), section.write(key));
    }
    parsed.filter(|_| why.is_none()).map(|address| text.with(address))
}
