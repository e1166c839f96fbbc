//! One round of a client: warm-up, the measured time, and the end of what has begun.

use usher::port::QueuePair;

use crate::client::{Client, Moment, Pace, Tally};

/// How long a round takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Load that is not measured, in ns.
    pub warm_up_ns: u64,
    /// Load that is measured, in ns.
    pub measured_ns: u64,
    /// How long what has begun may take to end afterwards, in ns.
    pub drain_ns: u64,
    /// Connections at most, those of the warm-up included.
    pub limit: u64,
}

/// What a round found.
#[derive(Clone, Debug)]
pub struct Round {
    /// Connections that ended well within the measured time, a second.
    pub rate: f64,
    /// Frames sent and received in that time, a second.
    pub frames: [f64; 2],
    /// Everything that was counted and timed from the warm-up's end on, the end of what had begun included.
    pub tally: Tally,
    /// Connections that had not ended when the round did.
    pub left: u32,
}

/// Loads the server by this pace. `now` is asked for the present once a turn.
pub fn round<Q: QueuePair>(
    client: &mut Client<Q>,
    pace: Pace,
    span: &Span,
    now: &mut impl FnMut() -> Moment,
) -> Round {
    let start = now();
    client.begin(pace, span.limit, start);
    let warm = until(client, start.ns + span.warm_up_ns, now);
    client.tally.clear(warm.ns);
    let end = until(client, warm.ns + span.measured_ns, now);
    client.stop();
    let seconds = (end.ns - warm.ns).max(1) as f64 / 1e9;
    let [closed, sent, received] =
        [client.tally.closed, client.tally.sent, client.tally.received].map(|n| n as f64 / seconds);
    until(client, end.ns + span.drain_ns, now);
    let (tally, left) = (client.tally.clone(), client.active());
    Round { rate: closed, frames: [sent, received], tally, left }
}

/// Turns until that time or until all is done; returns the time then.
fn until<Q: QueuePair>(
    client: &mut Client<Q>,
    end_ns: u64,
    now: &mut impl FnMut() -> Moment,
) -> Moment {
    loop {
        let moment = now();
        if moment.ns >= end_ns || client.is_done() {
            return moment;
        }
        client.turn(moment);
    }
}
