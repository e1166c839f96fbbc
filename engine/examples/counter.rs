//! Counts connections as they come and go and prints their rates once a second; what serves them is the balancer's
//! choice among the service's backends. Nothing of what clients send passes here.
//!
//! `cargo run --example counter -- FILE`, where `FILE` has a `ring` service `web` with backends.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::channel::tick;
use signal_hook::consts::{SIGINT, SIGTERM};
use usher::{Commands, Config, Consumer, Engine, Event};

/// What has happened so far, at all workers.
#[derive(Debug, Default)]
struct Totals {
    established: AtomicU64,
    ended: AtomicU64,
    refused: AtomicU64,
}

struct Counter(Arc<Totals>);

impl Consumer for Counter {
    fn event(&mut self, event: Event, commands: &mut Commands<'_>) {
        let total = match event {
            Event::Established(new) => {
                commands.proxy(new.flow, None);
                &self.0.established
            }
            Event::Ended { .. } => &self.0.ended,
            Event::Refused { flow, .. } => {
                commands.reset(flow);
                &self.0.refused
            }
            Event::Data { .. } | Event::Acknowledged { .. } | Event::PeerClosed { .. } => return,
        };
        // A number for people; nothing follows from it.
        total.fetch_add(1, Ordering::Relaxed);
    }
}

impl Totals {
    /// Connections since the start that were established, have ended, and found no backend.
    fn read(&self) -> [u64; 3] {
        [&self.established, &self.ended, &self.refused].map(|total| total.load(Ordering::Relaxed))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args_os().nth(1).ok_or("usage: counter CONFIGURATION")?;
    let config = Config::load(Path::new(&file)).map_err(|error| error.to_string())?;
    let totals = Arc::new(Totals::default());
    let shared = Arc::clone(&totals);
    let builder = Engine::builder(config);
    let engine = builder.consumer("web", move |_| Counter(Arc::clone(&shared))).start()?;
    println!("usher ready");
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGINT, Arc::clone(&stop))?;
    signal_hook::flag::register(SIGTERM, Arc::clone(&stop))?;
    let mut before = totals.read();
    for _ in tick(Duration::from_secs(1)) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let now = totals.read();
        let [new, ended, refused] = [0, 1, 2].map(|which| now[which] - before[which]);
        println!("{new}/s established, {ended}/s ended, {refused}/s without a backend");
        before = now;
    }
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
        name = "web"
        listen = ["10.10.0.10:80"]
        port = "wan"
        kind = "ring"
        backends = ["10.20.0.2:80"]
        health_check = { type = "tcp", interval = "600s", timeout = "300s" }
    "#;

    #[test]
    fn a_connection_is_counted_and_served_by_a_backend() {
        let (wan, outside) = memory::new("wan", &memory::Options::default());
        let (lan, inside) = memory::new("lan", &memory::Options::default());
        let totals = Arc::new(Totals::default());
        let shared = Arc::clone(&totals);
        let builder = Engine::builder(CONFIG.parse().expect("a configuration"));
        let builder = builder.ports(vec![wan, lan]).unpinned(1);
        let builder = builder.consumer("web", move |_| Counter(Arc::clone(&shared)));
        let engine = builder.start().expect("it starts");
        let mut client = Host::new(outside, [10, 10, 0, 1].into(), 16);
        let mut backend = Host::new(inside, [10, 20, 0, 2].into(), 24);
        let (asked, served) =
            (client.connect("10.10.0.10:80".parse().expect("an address")), backend.listen(80));
        client.wait(|client| {
            backend.poll();
            (client.is_established(asked) && backend.is_established(served)).then_some(())
        });
        assert_eq!(totals.read(), [1, 0, 0]);
        client.abort(asked);
        client.wait(|_| {
            backend.poll();
            (totals.read() == [1, 1, 0]).then_some(())
        });
        let _ = engine.stop();
    }
}
