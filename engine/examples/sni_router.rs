//! Sends TLS connections to the backend that has the name which the client asks for: it reads the ClientHello, which
//! nobody has acknowledged yet, and hands the flow on as it is. It has no keys and sees nothing of what follows.
//!
//! `cargo run --example sni_router -- FILE NAME...`, where `FILE` has a `ring` service `tls`: the first name is for its
//! first backend, and so on.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tls_parser::{
    TlsExtension, TlsMessage, TlsMessageHandshake, TlsRecordType, nom,
    parse_tls_client_hello_extensions, parse_tls_message_handshake, parse_tls_record_header,
};
use usher::{Commands, Config, Consumer, Engine, Event, FlowId};

/// Longer ClientHellos are refused: it is what is held of a flow that nobody has decided about.
const LONGEST: usize = 16_384;

/// What the first bytes of a connection say.
#[derive(PartialEq, Eq, Debug)]
enum Hello {
    /// They are the beginning of a ClientHello.
    Incomplete,
    /// The client asks for this name (RFC 6066 §3).
    Name(String),
    /// It is TLS without a name, or not TLS.
    Nameless,
}

/// Reads a ClientHello, in as many records as it may be in (RFC 8446 §5.1).
fn read(mut bytes: &[u8]) -> Hello {
    let mut message = Vec::new();
    loop {
        match parse_tls_message_handshake(&message) {
            Ok((_, TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello)))) => {
                return name_in(hello.ext.unwrap_or_default());
            }
            Err(nom::Err::Incomplete(_)) => {}
            _ => return Hello::Nameless,
        }
        let (rest, record) = match parse_tls_record_header(bytes) {
            Ok((rest, header)) => match rest.split_at_checked(header.len.into()) {
                _ if header.record_type != TlsRecordType::Handshake => return Hello::Nameless,
                Some((record, rest)) => (rest, record),
                None => return Hello::Incomplete,
            },
            Err(nom::Err::Incomplete(_)) => return Hello::Incomplete,
            Err(_) => return Hello::Nameless,
        };
        message.extend_from_slice(record);
        bytes = rest;
    }
}

fn name_in(extensions: &[u8]) -> Hello {
    let Ok((_, extensions)) = parse_tls_client_hello_extensions(extensions) else {
        return Hello::Nameless;
    };
    let name = extensions.iter().find_map(|extension| match extension {
        TlsExtension::SNI(names) => names.first().map(|(_, name)| name),
        _ => None,
    });
    let name = name.and_then(|name| std::str::from_utf8(name).ok());
    name.map_or(Hello::Nameless, |name| Hello::Name(name.to_ascii_lowercase()))
}

/// One worker's connections.
struct Router {
    /// Which backend has which name.
    names: Arc<HashMap<String, u16>>,
    /// What was peeked at of flows that are undecided.
    begun: HashMap<FlowId, Vec<u8>>,
}

impl Router {
    fn new(names: Arc<HashMap<String, u16>>) -> Self {
        Self { names, begun: HashMap::new() }
    }

    fn peek(&mut self, flow: FlowId, data: &[u8], commands: &mut Commands<'_>) {
        let Some(begun) = self.begun.get_mut(&flow) else { return };
        begun.extend_from_slice(data);
        let backend = match read(begun) {
            Hello::Incomplete if begun.len() < LONGEST => return,
            Hello::Name(name) => self.names.get(&name).copied(),
            Hello::Incomplete | Hello::Nameless => None,
        };
        self.begun.remove(&flow);
        match backend {
            Some(backend) => commands.proxy(flow, Some(backend)),
            None => commands.reset(flow),
        }
    }
}

impl Consumer for Router {
    fn event(&mut self, event: Event, commands: &mut Commands<'_>) {
        match event {
            Event::Established(new) => {
                self.begun.insert(new.flow, Vec::new());
            }
            Event::Data { flow, data, .. } => self.peek(flow, &data, commands),
            Event::Ended { flow, .. } => {
                self.begun.remove(&flow);
            }
            // The backend cannot be reached, or the client has gone meanwhile.
            Event::Refused { flow, .. } => {
                if self.begun.remove(&flow).is_some() {
                    commands.reset(flow);
                }
            }
            Event::Acknowledged { .. } | Event::PeerClosed { .. } => {}
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args();
    let file = arguments.nth(1).ok_or("usage: sni_router CONFIGURATION NAME...")?;
    let names: HashMap<String, u16> = arguments.zip(0..).collect();
    let config = Config::load(Path::new(&file)).map_err(|error| error.to_string())?;
    let names = Arc::new(names);
    let builder = Engine::builder(config);
    let engine = builder.consumer("tls", move |_| Router::new(Arc::clone(&names))).start()?;
    println!("usher ready");
    Signals::new([SIGINT, SIGTERM])?.forever().next();
    let _ = engine.drain(Duration::from_secs(3));
    Ok(())
}

#[cfg(test)]
mod tests {
    use usher::port::memory;
    use usher::testing::Host;

    use super::*;

    const CONFIG: &str = r#"
        [[port]]
        name = "wan"
        device = "net_null0"
        addresses = ["10.10.0.2/16"]
        [[port]]
        name = "lan"
        device = "net_null1"
        addresses = ["10.20.0.1/24"]
        [[service]]
        name = "tls"
        listen = ["10.10.0.10:443"]
        port = "wan"
        kind = "ring"
        backends = ["10.20.0.2:443", "10.20.0.2:444"]
        health_check = { type = "tcp", interval = "600s", timeout = "300s" }
    "#;

    /// `bytes` behind their length, in so many bytes.
    fn with_len(width: usize, bytes: &[u8]) -> Vec<u8> {
        [&bytes.len().to_be_bytes()[8 - width..], bytes].concat()
    }

    /// A ClientHello for `name`, with `padding` bytes of another extension, in records of at most `most` bytes.
    fn hello(name: &str, padding: usize, most: usize) -> Vec<u8> {
        let name = with_len(2, &[&[0][..], &with_len(2, name.as_bytes())].concat());
        let sni = [&[0, 0][..], &with_len(2, &name)].concat();
        let padding = [&[0, 21][..], &with_len(2, &vec![0; padding])].concat();
        let extensions = with_len(2, &[padding, sni].concat());
        let body = [&[3, 3][..], &[9; 32], &[0], &[0, 2, 0x13, 1], &[1, 0], &extensions].concat();
        let message = [&[1][..], &with_len(3, &body)].concat();
        let record = |part| [&[22, 3, 1][..], &with_len(2, part)].concat();
        message.chunks(most).flat_map(record).collect()
    }

    fn name(name: &str) -> Hello {
        Hello::Name(name.into())
    }

    #[test]
    fn names_are_found_as_soon_as_they_are_there() {
        let whole = hello("One.Example", 300, 1 << 14);
        assert_eq!(read(&whole), name("one.example"));
        assert!((0..whole.len()).all(|count| read(&whole[..count]) == Hello::Incomplete));
        assert_eq!(read(&hello("two.example", 300, 50)), name("two.example"));
        assert_eq!(read(b"GET / HTTP/1.1\r\n\r\n"), Hello::Nameless);
        assert_eq!(read(&[21, 3, 1, 0, 2, 1, 0]), Hello::Nameless);
    }

    /// Both hellos are longer than a segment; the backend gets every byte of them.
    #[test]
    fn a_client_gets_to_the_backend_of_its_name() {
        let (wan, outside) = memory::new("wan", &memory::Options::default());
        let (lan, inside) = memory::new("lan", &memory::Options::default());
        let names = [("one.example".into(), 0), ("two.example".into(), 1)];
        let names = Arc::new(HashMap::from(names));
        let builder = Engine::builder(CONFIG.parse().expect("a configuration"));
        let builder = builder.ports(vec![wan, lan]).unpinned(1);
        let builder = builder.consumer("tls", move |_| Router::new(Arc::clone(&names)));
        let engine = builder.start().expect("it starts");
        let mut client = Host::new(outside, [10, 10, 0, 1].into(), 16);
        let mut backends = Host::new(inside, [10, 20, 0, 2].into(), 24);
        let vip = "10.10.0.10:443".parse().expect("an address");
        for (name, port) in [("two.example", 444), ("one.example", 443)] {
            let (asked, served) = (client.connect(vip), backends.listen(port));
            client.established(asked);
            let hello = hello(name, 4000, 1 << 14);
            assert_eq!(client.send(asked, &hello), hello.len());
            let mut heard = Vec::new();
            client.wait(|_| {
                backends.poll();
                backends.receive(served, &mut heard);
                (heard.len() >= hello.len()).then_some(())
            });
            assert!(heard == hello, "{name}");
        }
        let unknown = client.connect(vip);
        client.established(unknown);
        client.send(unknown, &hello("three.example", 0, 1 << 14));
        client.wait(|client| client.is_over(unknown).then_some(()));
        let _ = engine.stop();
    }
}
