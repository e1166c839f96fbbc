//! Who generates load allocates nothing per packet: a binary of its own, as the allocator is everybody's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;

use usher::clock::{Clock, FakeClock};
use usher::config::Cookies;
use usher::port::Port;
use usher::port::memory::{self, Options};
use usher::testing::{self, VIP, VIP6};
use usher_bench::client::{Client, Close, Moment, Pace, Script, Setup, Sources, Stack};
use usher_bench::wire_queue::WireQueue;
use usher_proto::testing::{CLIENT_MAC, OUR_MAC};
use usher_proto::wire::Link;

/// Counts what the thread that asked for it allocates, and allocates.
struct Counting;

thread_local! {
    static COUNT: Cell<Option<u64>> = const { Cell::new(None) };
}

fn note() {
    COUNT.with(|count| count.set(count.get().map(|n| n + 1)));
}

// SAFETY: everything is left to the system's allocator; counting touches a constant-initialised cell
// without a destructor, which neither allocates nor fails.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the caller's duties are the trait's and are passed on.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller answers for `layout`.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: as above.
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        note();
        // SAFETY: the caller answers for both; `at` came from `System`.
        unsafe { System.dealloc(at, layout) }
    }

    // SAFETY: as above.
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller answers for all three; `at` came from `System`.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations, reallocations and releases of this thread in `work`.
fn allocations(work: impl FnOnce()) -> u64 {
    COUNT.with(|count| count.set(Some(0)));
    work();
    COUNT.with(|count| count.take()).unwrap_or_default()
}

const ANSWER: &[u8] = &[b'x'; 3000];

/// Connections through a worker, of which every twentieth frame of the client's is lost; what the client allocated.
fn client_allocations(to: SocketAddr, stack: Stack) -> (u64, u64) {
    let options = Options { mac: OUR_MAC, buffers: 4096, ring: 1024, ..Options::default() };
    let (mut port, wire) = memory::new("wan", &options);
    let mut clock = FakeClock::default();
    // room for every TIME_WAIT: who finds none does not answer a repeated FIN
    let (cookies, capacity) = (Cookies::Auto, 4000);
    let setup = testing::Setup { cookies, capacity, answer: ANSWER, ..testing::Setup::default() };
    let link = Link { src: CLIENT_MAC, dst: port.mac(), vlan: 0 };
    let mut worker = testing::worker(&setup, &mut port, clock.now()).expect("it starts");
    let prefix = if to.is_ipv4() { "10.10.128.0/17" } else { "fd00::1:0/112" };
    let sources = Sources::new(prefix.parse().expect("a prefix"), 2, &(1000..=1999));
    let script = Script {
        stack,
        requests: 1,
        request_len: 4000,
        answer_len: Some(3000),
        close: Close::Server,
        rto_ns: 200_000_000,
        syn_retries: 10,
        timeout_ns: 60_000_000_000,
    };
    let sources = sources.expect("enough");
    let setup = Setup { to, link, sources, script, request: vec![b'y'; 4000].into(), mss: 1460 };
    let mut client = Client::new(WireQueue::new(wire.clone(), 0), setup);
    let mut allocated = 0;
    let mut turns = 0;
    let moment =
        |clock: &FakeClock| Moment { ns: clock.us * 1000, unix_ms: (clock.us / 1000) as u32 };
    client.begin(Pace::Closed(200), 3000, moment(&clock));
    while !client.is_done() && turns < 200_000 {
        turns += 1;
        allocated += allocations(|| {
            client.turn(moment(&clock));
        });
        if turns % 20 == 0 {
            drop(wire.receive(0)); // lost
        }
        clock.advance_us(500);
        worker.turn(clock.now());
    }
    assert!(client.tally.again > 0, "timers fired");
    (client.tally.closed, allocated)
}

#[test]
fn a_client_allocates_nothing_once_it_is_made() {
    for (vip, stack) in [(VIP, Stack::Linux), (VIP6, Stack::Iot)] {
        let (closed, allocated) = client_allocations(SocketAddr::new(vip, 80), stack);
        assert_eq!((closed, allocated), (3000, 0), "{stack:?}");
    }
}
