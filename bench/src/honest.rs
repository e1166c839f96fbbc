//! Honest clients, by the kernel's own TCP: what they see of a server beside whatever else it bears.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::latency::Latency;
use crate::time::{Stopwatch, pause};

/// Clients, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Honest {
    /// The server.
    pub to: SocketAddr,
    /// How many.
    pub clients: u32,
    /// From the start of one to that of the next, whether the first has ended or not.
    pub every: Duration,
    /// How long each may take to connect, and again to be served.
    pub timeout: Duration,
}

/// What they saw.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Those that connected.
    pub connected: u32,
    /// Those of them that got an answer and its end.
    pub served: u32,
    /// From when a client was to begin to its connection.
    pub connect: Latency,
    /// From then to the end of the answer.
    pub whole: Latency,
}

/// What each says.
const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

impl Honest {
    /// Lets them come. They run in the network namespace of whoever calls this.
    #[must_use]
    pub fn run(&self) -> Seen {
        let watch = Stopwatch::start();
        let seen: Vec<(Option<Duration>, Option<Duration>)> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..self.clients)
                .map(|number| {
                    let begin = self.every * number;
                    pause(begin.saturating_sub(watch.elapsed()));
                    scope.spawn(move || self.one(&watch, begin))
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap_or_default()).collect()
        });
        let mut all = Seen {
            connected: 0,
            served: 0,
            connect: Latency::new("start to connected"),
            whole: Latency::new("start to the answer's end"),
        };
        for (connected, served) in seen {
            if let Some(time) = connected {
                all.connected += 1;
                all.connect.record(time.as_nanos() as u64);
            }
            if let Some(time) = served {
                all.served += 1;
                all.whole.record(time.as_nanos() as u64);
            }
        }
        all
    }

    /// Times from when it was to begin, as far as it came.
    fn one(&self, watch: &Stopwatch, begin: Duration) -> (Option<Duration>, Option<Duration>) {
        let since = || watch.elapsed().saturating_sub(begin);
        let Ok(mut stream) = TcpStream::connect_timeout(&self.to, self.timeout) else {
            return (None, None);
        };
        let connected = since();
        let mut answer = Vec::new();
        let served = stream
            .set_read_timeout(Some(self.timeout))
            .and_then(|()| stream.write_all(REQUEST))
            .and_then(|()| stream.read_to_end(&mut answer));
        (Some(connected), served.is_ok_and(|len| len > 0).then(since))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn those_who_are_served_and_those_who_are_not_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let to = listener.local_addr().expect("its address");
        let server = std::thread::spawn(move || {
            for number in 0..4 {
                let (mut stream, _) = listener.accept().expect("a client");
                let mut request = [0; REQUEST.len()];
                stream.read_exact(&mut request).expect("a request");
                if number < 3 {
                    stream.write_all(b"hello").expect("an answer");
                }
            }
        });
        let second = Duration::from_secs(30);
        let honest = Honest { to, clients: 4, every: Duration::from_millis(1), timeout: second };
        let seen = honest.run();
        server.join().expect("it ends");
        assert_eq!((seen.connected, seen.served), (4, 3));
        assert_eq!((seen.connect.count(), seen.whole.count()), (4, 3));
        // nobody listens there any more
        let seen = Honest { clients: 2, ..honest }.run();
        assert_eq!((seen.connected, seen.served), (0, 0));
    }
}
