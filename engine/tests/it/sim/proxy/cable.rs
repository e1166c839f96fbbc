//! What stands in the middle, and the simplest that can.

use super::super::frame::{self, Packet};

/// Frames in, frames out, each with its port: 0 is where clients are.
pub(crate) trait Middle {
    /// Whether it has timers, and must be called when nothing arrives.
    const POLLED: bool;

    /// Takes a burst (perhaps empty) at `now` and gives what it sends.
    fn turn(&mut self, now: u64, burst: Vec<(usize, Vec<u8>)>) -> Vec<(usize, Vec<u8>)>;
}

/// Carries every frame to the other side, past somebody who may spoil it.
pub(crate) struct Cable {
    pub(crate) spoil: Option<fn(usize, &mut Packet)>,
}

impl Middle for Cable {
    const POLLED: bool = false;

    fn turn(&mut self, _: u64, burst: Vec<(usize, Vec<u8>)>) -> Vec<(usize, Vec<u8>)> {
        let carry = |(port, frame): (usize, Vec<u8>)| match (self.spoil, frame::read(&frame)) {
            (Some(spoil), Ok(mut packet)) => {
                spoil(port, &mut packet);
                (1 - port, packet.write())
            }
            _ => (1 - port, frame),
        };
        burst.into_iter().map(carry).collect()
    }
}
