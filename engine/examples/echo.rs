//! Sends back what each client sends, without copying a byte: RFC 862 over flows that the program owns.
//!
//! `cargo run --example echo -- FILE`, where `FILE` has a `ring` service `echo`; with the rights that `usher run` needs.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use usher::{Command, Commands, Config, Consumer, Engine, Event, Payload};

/// What it knows of a flow is in the events: one for all.
struct Echo;

impl Consumer for Echo {
    fn event(&mut self, event: Event, commands: &mut Commands<'_>) {
        match event {
            Event::Established(new) => commands.own(new.flow),
            // What came before the flow was ours comes again.
            Event::Data { peeked: true, .. } => {}
            // A client may send no more than 64 KiB that we have not let go of, and we let go of it when it has the
            // echo: that is less than the credit.
            Event::Data { flow, data, .. } => {
                commands.send(Command::Write { flow, data: Payload::Lease(data) });
            }
            Event::PeerClosed { flow } => commands.close(flow),
            Event::Ended { flow, why, lost } if lost > 0 => {
                eprintln!("{flow:?} ended by {why:?}, {lost} bytes short");
            }
            Event::Acknowledged { .. } | Event::Ended { .. } | Event::Refused { .. } => {}
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args_os().nth(1).ok_or("usage: echo CONFIGURATION")?;
    let config = Config::load(Path::new(&file)).map_err(|error| error.to_string())?;
    let engine = Engine::builder(config).consumer("echo", |_| Echo).start()?;
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
        [[service]]
        name = "echo"
        listen = ["10.10.0.10:7"]
        kind = "ring"
    "#;

    #[test]
    fn bytes_come_back_in_order() {
        let (port, wire) = memory::new("wan", &memory::Options::default());
        let builder = Engine::builder(CONFIG.parse().expect("a configuration"));
        let builder = builder.ports(vec![port]).unpinned(1);
        let _engine = builder.consumer("echo", |_| Echo).start().expect("it starts");
        let mut client = Host::new(wire, [10, 10, 0, 1].into(), 16);
        let sent: Vec<u8> = (0..200_000_u32).flat_map(u32::to_be_bytes).collect();
        assert!(client.ask("10.10.0.10:7".parse().expect("an address"), &sent) == sent);
    }
}
