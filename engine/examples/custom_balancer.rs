//! A balancer of one's own: each connection goes to the backend that has the fewest at this moment.
//!
//! `cargo run --example custom_balancer -- FILE`, where `FILE` has a `ring` service `web` with backends.

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use usher::{CommandKind, Commands, Config, Consumer, Engine, Event, FlowId};

/// How many connections each backend has from all workers.
type Loads = Arc<[AtomicU32]>;

/// The choices for one worker's flows.
struct LeastConnections {
    loads: Loads,
    /// Where each flow is. Flows of other workers are others'.
    flows: HashMap<FlowId, u16>,
}

impl LeastConnections {
    fn new(loads: Loads) -> Self {
        Self { loads, flows: HashMap::new() }
    }

    /// The backend with the fewest connections, but for `without`, takes the flow.
    fn assign(&mut self, flow: FlowId, without: Option<u16>, commands: &mut Commands<'_>) {
        let others = (0_u16..).zip(&*self.loads).filter(|(backend, _)| Some(*backend) != without);
        // Another worker may choose the same at the same time: it is off by one, then, and not for long.
        let Some((backend, load)) = others.min_by_key(|(_, load)| load.load(Ordering::Relaxed))
        else {
            return commands.reset(flow);
        };
        load.fetch_add(1, Ordering::Relaxed);
        self.flows.insert(flow, backend);
        commands.proxy(flow, Some(backend));
    }

    /// Forgets where the flow was. Returns that.
    fn release(&mut self, flow: FlowId) -> Option<u16> {
        let backend = self.flows.remove(&flow)?;
        self.loads[usize::from(backend)].fetch_sub(1, Ordering::Relaxed);
        Some(backend)
    }
}

impl Consumer for LeastConnections {
    fn event(&mut self, event: Event, commands: &mut Commands<'_>) {
        match event {
            Event::Established(new) => self.assign(new.flow, None, commands),
            Event::Ended { flow, .. } => drop(self.release(flow)),
            // That backend cannot be reached, and nothing is decided about the flow: another one.
            Event::Refused { flow, command: CommandKind::Proxy, .. } => {
                if let Some(refused) = self.release(flow) {
                    self.assign(flow, Some(refused), commands);
                }
            }
            Event::Data { .. }
            | Event::Acknowledged { .. }
            | Event::PeerClosed { .. }
            | Event::Refused { .. } => {}
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args_os().nth(1).ok_or("usage: custom_balancer CONFIGURATION")?;
    let config = Config::load(Path::new(&file)).map_err(|error| error.to_string())?;
    let web = config.services.iter().find(|service| service.name == "web");
    let backends = web.and_then(|web| web.proxy()).ok_or("no service `web` with backends")?;
    let loads: Loads = backends.backends.iter().map(|_| AtomicU32::new(0)).collect();
    let builder = Engine::builder(config);
    let builder = builder.consumer("web", move |_| LeastConnections::new(Arc::clone(&loads)));
    let engine = builder.start()?;
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
        name = "web"
        listen = ["10.10.0.10:80"]
        port = "wan"
        kind = "ring"
        backends = ["10.20.0.2:80", "10.20.0.2:81"]
        health_check = { type = "tcp", interval = "600s", timeout = "300s" }
    "#;

    #[test]
    fn connections_go_where_the_fewest_are() {
        let (wan, outside) = memory::new("wan", &memory::Options::default());
        let (lan, inside) = memory::new("lan", &memory::Options::default());
        let loads: Loads = [5, 4].map(AtomicU32::new).into();
        let shared = Arc::clone(&loads);
        let builder = Engine::builder(CONFIG.parse().expect("a configuration"));
        let builder = builder.ports(vec![wan, lan]).unpinned(1);
        let builder = builder.consumer("web", move |_| LeastConnections::new(Arc::clone(&shared)));
        let engine = builder.start().expect("it starts");
        let mut client = Host::new(outside, [10, 10, 0, 1].into(), 16);
        let mut backends = Host::new(inside, [10, 20, 0, 2].into(), 24);
        let mut connect = |port: u16, client: &mut Host| {
            let (served, asked) = (
                backends.listen(port),
                client.connect("10.10.0.10:80".parse().expect("an address")),
            );
            client.wait(|client| {
                backends.poll();
                (client.is_established(asked) && backends.is_established(served)).then_some(())
            });
            asked
        };
        let read = || [&loads[0], &loads[1]].map(|load| load.load(Ordering::Relaxed));
        let first = connect(81, &mut client);
        assert_eq!(read(), [5, 5]);
        connect(80, &mut client);
        assert_eq!(read(), [6, 5]);
        client.abort(first);
        client.wait(|_| (read() == [6, 4]).then_some(()));
        connect(81, &mut client);
        let _ = engine.stop();
    }
}
