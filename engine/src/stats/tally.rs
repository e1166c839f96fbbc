//! A worker's own counts, and the board it publishes them on.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use usher_proto::tcp::State;
use usher_proto::verdict::{End, Reason};

use super::latency::{BUCKETS, bucket};
use super::{
    BackendCounter, BackendState, Counter, Latency, PortCounter, ServiceCounter, ServiceSnapshot,
    WorkerBackend, WorkerPort, WorkerSnapshot,
};

/// What a row of counts has room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Layout {
    /// Ports.
    pub ports: usize,
    /// Services.
    pub services: usize,
    /// Editions of services.
    pub editions: usize,
    /// Slots of backends.
    pub backends: usize,
}

/// Words before and behind a row that nobody writes: whatever else is allocated beside it shares no cache line with what
/// is written, nor the line beside that, which processors fetch together.
const MARGIN: usize = 128 / size_of::<u64>();
const DROPS: usize = MARGIN + Counter::COUNT;
const FLOWS: usize = DROPS + Reason::COUNT;
const PORTS: usize = FLOWS + State::ALL.len();
const FAILED: usize = ServiceCounter::COUNT;
const ENDED: usize = FAILED + End::COUNT;
const TIMES: usize = ENDED + End::COUNT;
const SERVICE: usize = TIMES + BUCKETS;
const CONNECTIONS: usize = 1;
const EVENTS: usize = CONNECTIONS + 1;
const BACKEND: usize = EVENTS + BackendCounter::COUNT;

/// Where each counter stands in a flat row of numbers.
impl Layout {
    const fn port(self, port: usize) -> usize {
        debug_assert!(port < self.ports);
        PORTS + port * PortCounter::COUNT
    }

    const fn service(self, service: usize) -> usize {
        debug_assert!(service < self.services);
        PORTS + self.ports * PortCounter::COUNT + service * SERVICE
    }

    /// Where the services end and the flows of each edition begin.
    const fn editions(self) -> usize {
        PORTS + self.ports * PortCounter::COUNT + self.services * SERVICE
    }

    const fn backends_from(self) -> usize {
        self.editions() + self.editions
    }

    const fn backend(self, slot: usize) -> usize {
        debug_assert!(slot < self.backends);
        self.backends_from() + slot * BACKEND
    }

    const fn len(self) -> usize {
        self.backends_from() + self.backends * BACKEND + MARGIN
    }
}

/// A worker's own counts: plain numbers that nobody else sees.
#[derive(Debug)]
pub struct Tally {
    layout: Layout,
    row: Box<[u64]>,
}

impl Tally {
    /// Zeros.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self { layout, row: vec![0; layout.len()].into_boxed_slice() }
    }

    /// Adds `n` to `counter`.
    #[inline]
    pub fn add(&mut self, counter: Counter, n: u64) {
        self.row[MARGIN + counter.index()] += n;
    }

    /// Sets a counter that is kept elsewhere.
    pub fn set(&mut self, counter: Counter, value: u64) {
        self.row[MARGIN + counter.index()] = value;
    }

    /// The value of `counter`.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.row[MARGIN + counter.index()]
    }

    /// Counts a dropped frame, or one that was to be sent and was not.
    #[inline]
    pub fn drop_reason(&mut self, reason: Reason, n: u64) {
        self.row[DROPS + reason.index()] += n;
    }

    /// How often `reason` was counted.
    #[must_use]
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.row[DROPS + reason.index()]
    }

    /// Sets how many flows are in `state`.
    pub fn set_flows(&mut self, state: State, count: u32) {
        self.row[FLOWS + state as usize] = u64::from(count);
    }

    /// Adds `n` to a port's `counter`.
    #[inline]
    pub fn add_port(&mut self, port: usize, counter: PortCounter, n: u64) {
        self.row[self.layout.port(port) + counter.index()] += n;
    }

    /// Adds one to a service's `counter`.
    #[inline]
    pub fn add_service(&mut self, service: usize, counter: ServiceCounter) {
        self.row[self.layout.service(service) + counter.index()] += 1;
    }

    /// Sets a service's counter that is kept elsewhere.
    pub fn set_service(&mut self, service: usize, counter: ServiceCounter, value: u64) {
        self.row[self.layout.service(service) + counter.index()] = value;
    }

    /// Counts a failed handshake.
    #[inline]
    pub fn handshake_failed(&mut self, service: usize, end: End) {
        self.row[self.layout.service(service) + FAILED + end.index()] += 1;
    }

    /// Counts an ended flow.
    #[inline]
    pub fn flow_ended(&mut self, service: usize, end: End) {
        self.row[self.layout.service(service) + ENDED + end.index()] += 1;
    }

    /// Records how long a handshake took.
    #[inline]
    pub fn handshake_time(&mut self, service: usize, us: u32) {
        let base = self.layout.service(service);
        self.row[base + TIMES + bucket(us)] += 1;
        self.row[base + ServiceCounter::HandshakeUs.index()] += u64::from(us);
    }

    /// A flow of this edition is in the table.
    #[inline]
    pub fn hold(&mut self, edition: u16) {
        self.row[self.layout.editions() + usize::from(edition)] += 1;
    }

    /// It no longer is.
    #[inline]
    pub fn release(&mut self, edition: u16) {
        self.row[self.layout.editions() + usize::from(edition)] -= 1;
    }

    /// How many flows of this edition are in the table.
    #[must_use]
    pub fn held(&self, edition: u16) -> u64 {
        self.row[self.layout.editions() + usize::from(edition)]
    }

    /// How many slots of backends it has room for.
    #[must_use]
    pub const fn backends(&self) -> usize {
        self.layout.backends
    }

    /// Sets what is known of the backend in `slot`.
    pub fn set_backend(&mut self, slot: usize, backend: &WorkerBackend) {
        let base = self.layout.backend(slot);
        self.row[base] = backend.state.to_word();
        self.row[base + CONNECTIONS] = backend.connections;
        self.row[base + EVENTS..base + BACKEND].copy_from_slice(&backend.counters);
    }

    /// Goes on from the counts of `old`, which has as many ports and at most as many services and editions.
    /// What is known of backends is kept elsewhere, and is to be set anew.
    ///
    /// # Panics
    ///
    /// If it has more.
    pub fn adopt(&mut self, old: &Self) {
        let (counters, rest) = old.row.split_at(old.layout.editions());
        self.row[..counters.len()].copy_from_slice(counters);
        let start = self.layout.editions();
        let editions = old.layout.editions;
        self.row[start..start + editions].copy_from_slice(&rest[..editions]);
    }

    /// Everything, as a reader of the board will see it after publication.
    #[must_use]
    pub fn snapshot(&self) -> WorkerSnapshot {
        read(self.layout, |index| self.row[index])
    }
}

/// Where a worker publishes its counts: written by it alone, read by anybody.
#[derive(Debug)]
pub struct Board {
    layout: Layout,
    row: Box<[AtomicU64]>,
}

impl Board {
    /// A board for tallies of this layout.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self { layout, row: (0..layout.len()).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Publishes `tally`, which has the same layout.
    pub fn publish(&self, tally: &Tally) {
        self.publish_part(tally, 0..self.layout.backends);
    }

    /// Publishes `tally`, which has the same layout; of its backends those in these slots.
    pub fn publish_part(&self, tally: &Tally, slots: Range<usize>) {
        debug_assert_eq!(self.layout, tally.layout);
        let start = self.layout.backends_from();
        self.copy(tally, MARGIN..start);
        self.copy(tally, start + slots.start * BACKEND..start + slots.end * BACKEND);
    }

    fn copy(&self, tally: &Tally, range: Range<usize>) {
        for (shared, &own) in self.row[range.clone()].iter().zip(&tally.row[range]) {
            // Relaxed: counters order nothing; `read` below is the partner.
            shared.store(own, Ordering::Relaxed);
        }
    }

    /// A counter as it was published last.
    #[must_use]
    pub fn counter(&self, counter: Counter) -> u64 {
        // Relaxed: see `publish`.
        self.row[MARGIN + counter.index()].load(Ordering::Relaxed)
    }

    /// How many flows of this edition are in the table.
    #[must_use]
    pub fn held(&self, edition: u16) -> u64 {
        // Relaxed: see `publish`.
        self.row[self.layout.editions() + usize::from(edition)].load(Ordering::Relaxed)
    }

    /// What was published last.
    #[must_use]
    pub fn read(&self) -> WorkerSnapshot {
        // Relaxed: see `publish`.
        read(self.layout, |index| self.row[index].load(Ordering::Relaxed))
    }
}

/// Reads a row laid out as `layout` says.
fn read(layout: Layout, at: impl Fn(usize) -> u64) -> WorkerSnapshot {
    let port =
        |port| WorkerPort { counters: std::array::from_fn(|index| at(layout.port(port) + index)) };
    let service = |service| {
        let base = layout.service(service);
        ServiceSnapshot {
            counters: std::array::from_fn(|index| at(base + index)),
            failed: std::array::from_fn(|index| at(base + FAILED + index)),
            ended: std::array::from_fn(|index| at(base + ENDED + index)),
            latency: Latency {
                buckets: std::array::from_fn(|index| at(base + TIMES + index)),
                sum_us: at(base + ServiceCounter::HandshakeUs.index()),
            },
            ..ServiceSnapshot::default()
        }
    };
    let backend = |slot| {
        let base = layout.backend(slot);
        WorkerBackend {
            state: BackendState::from_word(at(base)),
            connections: at(base + CONNECTIONS),
            counters: std::array::from_fn(|index| at(base + EVENTS + index)),
        }
    };
    WorkerSnapshot {
        core: 0,
        counters: std::array::from_fn(|index| at(MARGIN + index)),
        drops: std::array::from_fn(|index| at(DROPS + index)),
        flows: std::array::from_fn(|index| at(FLOWS + index)),
        ports: (0..layout.ports).map(port).collect(),
        services: (0..layout.services).map(service).collect(),
        backends: (0..layout.backends).map(backend).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a worker writes lies on cache lines within the row's own allocation.
    #[test]
    fn rows_share_no_cache_line() {
        fn is_apart<T>(row: &[T]) -> bool {
            const LINES: usize = MARGIN * 8;
            let written = row[MARGIN..row.len() - MARGIN].as_ptr_range();
            let first = written.start.addr() / LINES * LINES;
            let last = written.end.addr().next_multiple_of(LINES);
            first >= row.as_ptr_range().start.addr() && last <= row.as_ptr_range().end.addr()
        }
        let layout = Layout { ports: 1, services: 1, editions: 3, backends: 1 };
        let rows: Vec<_> = (0..50).map(|_| (Tally::new(layout), Board::new(layout))).collect();
        assert!(rows.iter().all(|(tally, board)| is_apart(&tally.row) && is_apart(&board.row)));
    }

    #[test]
    fn what_is_counted_is_read_where_it_belongs() {
        let layout = Layout { ports: 2, services: 2, editions: 3, backends: 2 };
        let mut tally = Tally::new(layout);
        tally.add(Counter::Received, 5);
        tally.drop_reason(Reason::Land, 2);
        tally.set_flows(State::TimeWait, 7);
        tally.add_port(1, PortCounter::Refused, 3);
        tally.add_service(1, ServiceCounter::Completed);
        tally.handshake_failed(1, End::HandshakeTimeout);
        tally.flow_ended(0, End::Closed);
        tally.handshake_time(1, 100);
        tally.hold(2);
        tally.hold(2);
        tally.release(2);
        let state = BackendState { up: true, ..BackendState::default() };
        let backend = WorkerBackend { state, connections: 4, counters: [1, 2, 3, 4, 5, 6] };
        tally.set_backend(1, &backend);
        let board = Board::new(layout);
        board.publish(&tally);
        let seen = board.read();
        assert_eq!(seen, tally.snapshot());
        assert_eq!((seen.counter(Counter::Received), seen.dropped(Reason::Land)), (5, 2));
        assert_eq!(seen.flows(State::TimeWait), 7);
        assert_eq!(seen.ports[1].counter(PortCounter::Refused), 3);
        assert_eq!(seen.services[1].counter(ServiceCounter::Completed), 1);
        assert_eq!(seen.services[1].failed(End::HandshakeTimeout), 1);
        assert_eq!(seen.services[0].ended(End::Closed), 1);
        assert_eq!((seen.services[1].latency.count(), seen.services[1].latency.sum_us), (1, 100));
        assert_eq!([0, 1, 2].map(|edition| board.held(edition)), [0, 0, 1]);
        assert_eq!(seen.backends, [WorkerBackend::default(), backend]);
        let newer = WorkerBackend { connections: 5, ..backend };
        (0..2).for_each(|slot| tally.set_backend(slot, &newer));
        tally.add(Counter::Received, 1);
        board.publish_part(&tally, 0..1);
        assert_eq!(board.read().counter(Counter::Received), 6);
        assert_eq!(board.read().backends, [newer, backend], "the rest has its turn later");
    }

    #[test]
    fn a_larger_tally_goes_on_from_a_smaller_one() {
        let mut old = Tally::new(Layout { ports: 1, services: 1, editions: 2, backends: 1 });
        old.add(Counter::Sent, 5);
        old.add_port(0, PortCounter::Sent, 4);
        old.add_service(0, ServiceCounter::Started);
        old.hold(1);
        old.set_backend(0, &WorkerBackend { connections: 9, ..WorkerBackend::default() });
        let mut tally = Tally::new(Layout { ports: 1, services: 3, editions: 4, backends: 2 });
        tally.adopt(&old);
        let seen = tally.snapshot();
        assert_eq!((seen.counter(Counter::Sent), seen.ports), (5, old.snapshot().ports));
        assert_eq!(seen.services[..1], old.snapshot().services);
        assert_eq!(seen.services[1..], [ServiceSnapshot::default(), ServiceSnapshot::default()]);
        assert_eq!([0, 1, 2, 3].map(|edition| tally.held(edition)), [0, 1, 0, 0]);
        assert_eq!(seen.backends, [WorkerBackend::default(); 2]);
    }
}
