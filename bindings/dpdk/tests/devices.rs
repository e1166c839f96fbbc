//! Pools, buffers, ports and queues, on devices that need neither hardware nor huge pages. One EAL for all tests.

use std::sync::OnceLock;

use dpdk::{
    Burst, Checked, Device, Eal, Memory, Mempool, Options, Port, Reception, RxQueue, Setup, TxQueue,
};

fn eal() -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| {
        let options = Options {
            memory: Memory::None,
            megabytes: Some(256),
            pools: vec![],
            worker_cores: vec![],
            devices: vec![],
            extra: vec![],
        };
        Eal::start(&options).expect("EAL without huge pages")
    })
}

fn pool(name: &str, count: u32) -> Mempool {
    Mempool::new(eal(), name, count, 2048, -1).expect("pool")
}

const SETUP: Setup = Setup { queues: 1, mtu: 1500, rx_ring: 256, tx_ring: 256 };

fn open(device: &str, pool: &Mempool) -> (Port, RxQueue, TxQueue) {
    let device = Device::parse(device).expect("name");
    let mut port = Port::open(eal(), &device).expect("port");
    let (rx, tx) = port.start(&SETUP, pool).expect("started").remove(0);
    (port, rx, tx)
}

#[test]
fn a_frame_sent_on_a_ring_comes_back_whole() {
    let pool = pool("ring", 1023);
    let (port, mut rx, mut tx) = open("net_ring0", &pool);
    let mut burst = Burst::<32>::new();
    let mut mbuf = pool.alloc().expect("a buffer");
    assert_eq!(mbuf.bytes(), b"");
    assert_eq!(mbuf.room().len(), 2048);
    mbuf.room()[..5].copy_from_slice(b"hello");
    mbuf.set_len(5);
    burst.push(mbuf).expect("room");

    assert_eq!(tx.tx(&mut burst), 1);
    assert!(burst.is_empty());
    assert_eq!(rx.rx(&mut burst), 1);
    let mbuf = burst.drain().next().expect("the frame");
    assert_eq!(mbuf.bytes(), b"hello");
    assert!(mbuf.is_whole());
    assert_eq!((mbuf.ip_checksum(), mbuf.l4_checksum()), (Checked::Unknown, Checked::Unknown));
    assert_eq!(mbuf.rss_hash(), None);
    drop(mbuf);
    let stats = port.stats();
    assert_eq!((stats.received, stats.sent), (1, 1));
    assert!(port.is_link_up());
    assert_eq!(pool.available(), pool.size());
}

#[test]
fn what_a_full_ring_refuses_stays_in_the_burst_in_order() {
    let pool = pool("full", 4095);
    let (_port, mut rx, mut tx) = open("net_ring1", &pool);
    let mut burst = Burst::<32>::new();
    let mut sent = 0_usize;
    loop {
        assert!(pool.alloc_into(&mut burst, 32));
        let numbered: Vec<_> = burst
            .drain()
            .enumerate()
            .map(|(at, mut mbuf)| {
                mbuf.room()[..8].copy_from_slice(&(sent + at).to_ne_bytes());
                mbuf.set_len(60);
                mbuf
            })
            .collect();
        numbered.into_iter().for_each(|mbuf| burst.push(mbuf).expect("room"));
        let taken = tx.tx(&mut burst);
        sent += taken;
        if taken < 32 {
            let first = burst.drain().next().expect("refused");
            assert_eq!(first.bytes()[..8], sent.to_ne_bytes());
            break;
        }
    }
    assert!(sent > 32, "the ring took {sent}");
    let mut received = 0;
    while rx.rx(&mut burst) > 0 {
        received += burst.len();
        burst.clear();
    }
    assert_eq!(received, sent);
    assert_eq!(pool.available(), pool.size(), "nothing leaked");
}

#[test]
fn bursts_and_iterators_give_back_what_is_left_in_them() {
    let pool = pool("bulk", 63);
    let mut burst = Burst::<32>::new();
    assert!(pool.alloc_into(&mut burst, 30));
    assert!(!pool.alloc_into(&mut burst, 3), "no room in the burst");
    let mut other = Burst::<64>::new();
    assert!(!pool.alloc_into(&mut other, 34), "no such many in the pool");
    assert_eq!((burst.len(), other.len(), pool.available()), (30, 0, 33));
    let kept = burst.drain().nth(3).expect("the fourth");
    assert_eq!(pool.available(), 62);
    assert!(pool.alloc_into(&mut burst, 32));
    let refused = burst.push(kept).expect_err("full");
    drop((refused, burst));
    assert_eq!(pool.available(), pool.size());
}

#[test]
fn an_empty_pool_gives_nothing() {
    let pool = pool("empty", 63);
    let all: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(all.len(), 63);
    assert!(pool.alloc().is_none());
    drop(all);
    assert_eq!(pool.available(), 63);
}

#[test]
fn lengths_are_held_to_the_room() {
    let pool = pool("room", 63);
    let mut mbuf = pool.alloc().expect("a buffer");
    mbuf.set_len(100_000);
    assert_eq!(mbuf.bytes().len(), mbuf.room().len());
    mbuf.request_checksums(true, true, 14, 20, true);
    assert_eq!(mbuf.l4_checksum(), Checked::Unknown, "a request is no word on what was received");
    mbuf.clear_flags();
}

#[test]
fn registered_threads_have_a_cache_and_buffers_may_end_anywhere() {
    let pool = pool("cache", 1023);
    assert!(!pool.has_cache_here());
    let worker = pool.clone();
    let mbuf = std::thread::spawn(move || {
        eal().register_thread().expect("registered");
        eal().register_thread().expect("harmless when repeated");
        assert!(worker.has_cache_here());
        let mbuf = worker.alloc();
        eal().unregister_thread();
        assert!(!worker.has_cache_here());
        eal().register_thread().expect("registered again, until the thread ends");
        mbuf
    });
    drop(mbuf.join().expect("thread"));
    assert_eq!(pool.available(), pool.size());
}

#[test]
fn a_device_says_what_it_can() {
    let pool = pool("null", 1023);
    let (mut port, _rx, tx) = open("net_null0,no-rx=1", &pool);
    assert_eq!(port.info().driver, "net_null");
    assert!(port.info().queues >= 1);
    assert_eq!(tx.offloads().tx_tcp, port.info().offloads.tx_tcp);
    assert!(!tx.offloads().rss, "one queue needs no spreading");
    assert_ne!(port.mac().expect("a MAC"), [0; 6]);
    assert_ne!(port.join(&[[0x33, 0x33, 0xff, 0, 0, 1]]), Reception::Promiscuous);
    let again = port.start(&SETUP, &pool).expect_err("started twice");
    assert_eq!(again.to_string(), "cannot start port net_null0: it is started already");
}

#[test]
fn queues_are_as_many_as_asked_for() {
    let pool = pool("pairs", 1023);
    let mut port = Port::open(eal(), &Device::parse("net_null1").expect("name")).expect("port");
    let queues = port.start(&Setup { queues: 4, ..SETUP }, &pool).expect("started");
    assert_eq!(queues.len(), 4);
    let mut other = Port::open(eal(), &Device::parse("net_null2").expect("name")).expect("port");
    let most = other.info().queues;
    let error =
        other.start(&Setup { queues: most + 1, ..SETUP }, &pool).expect_err("too many").to_string();
    assert!(error.starts_with("cannot configure port net_null2 with"), "{error}");
    assert!(error.contains("DPDK says \""), "{error}");
}

#[test]
fn a_device_that_does_not_open_says_why_and_what_to_do() {
    for (device, why) in [
        ("net_nonsense0", "; check that the device exists"),
        ("net_af_packet7,iface=no-such-link", "(SIOCGIFINDEX):No such device"),
        ("0000:fe:1f.7", "bind the device to vfio-pci"),
    ] {
        let device = Device::parse(device).expect("name");
        let error = Port::open(eal(), &device).expect_err("not there").to_string();
        assert!(error.contains(why), "{error}");
        assert!(!error.contains("not permitted"), "{error}");
    }
}

#[test]
fn a_pool_that_does_not_fit_says_so() {
    let error = Mempool::new(eal(), "huge", 10_000_000, 2048, -1).expect_err("too big").to_string();
    assert!(error.starts_with("cannot make pool huge of 10000000 buffers"), "{error}");
    assert!(error.contains("ask for fewer buffers"), "{error}");
}
