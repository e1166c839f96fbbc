//! EAL's life, from start to cleanup. It runs once a process, so this file holds one test.

use dpdk::{Burst, Device, Eal, Memory, Mempool, Options, Pages, Port, Setup};
use rustix::thread::sched_getaffinity;

fn options() -> Options {
    Options {
        memory: Memory::None,
        megabytes: Some(64),
        pools: vec![],
        worker_cores: vec![1],
        devices: vec![],
        extra: vec![],
    }
}

#[test]
fn eal_starts_once_and_goes_with_the_last_that_needs_it() {
    let before = sched_getaffinity(None).expect("affinity");
    let eal = Eal::start(&options()).expect("EAL without huge pages");
    assert_eq!(eal.pages(), Pages::Ordinary);
    assert!(eal.arguments().contains(&"--no-huge".to_owned()));

    // The caller and the threads it starts keep their cores.
    assert_eq!(sched_getaffinity(None).expect("affinity"), before);
    let inherited = std::thread::spawn(|| sched_getaffinity(None)).join().expect("thread");
    assert_eq!(inherited.expect("affinity"), before);

    let again = Eal::start(&options()).expect_err("a second start");
    assert_eq!(again.to_string(), "EAL runs once a process; start another process");

    // A pool is freed with its last handle when its buffers are home, and stays when one is not.
    let make = || Mempool::new(&eal, "again", 63, 64, -1);
    drop(make().expect("pool"));
    let kept = make().expect("the name is free again").alloc();
    let taken = make().expect_err("the name is taken");
    assert_eq!(taken.code(), 17, "{taken}");
    drop(kept);

    // Dropped in the worst order: EAL's handle first, the queue last.
    let pool = Mempool::new(&eal, "pool", 1023, 2048, -1).expect("pool");
    let mut port = Port::open(&eal, &Device::parse("net_null0").expect("name")).expect("port");
    let setup = Setup { queues: 1, mtu: 1500, rx_ring: 128, tx_ring: 128 };
    let (mut rx, tx) = port.start(&setup, &pool).expect("started").remove(0);
    drop((eal, pool, port, tx));
    let mut burst = Burst::<32>::new();
    assert_eq!(rx.rx(&mut burst), 32, "the port still runs");
    drop(rx);
    // Its pool stays for it, although nothing else is left.
    assert_eq!(burst.drain().map(|mbuf| mbuf.bytes().len()).collect::<Vec<_>>(), [64; 32]);
}
