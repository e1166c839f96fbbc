//! EAL torn down after all that was made from it. It runs once a process, so this file holds one test.

use dpdk::{Burst, Device, Eal, Memory, Mempool, Options, Port, Setup};

/// Pages of address space that this process has mapped.
fn mapped() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("statm");
    text.split(' ').next().and_then(|pages| pages.parse().ok()).expect("a number")
}

#[test]
fn memory_is_given_back_when_everything_is_home() {
    let options = Options {
        memory: Memory::None,
        megabytes: Some(64),
        pools: vec![],
        worker_cores: vec![0],
        devices: vec![],
        extra: vec!["--no-telemetry".into()],
    };
    let eal = Eal::start(&options).expect("EAL without huge pages");
    let pool = Mempool::new(&eal, "pool", 1023, 2048, -1).expect("pool");
    let mut port = Port::open(&eal, &Device::parse("net_null0").expect("name")).expect("port");
    let setup = Setup { queues: 2, mtu: 1500, rx_ring: 128, tx_ring: 128 };
    let queues = port.start(&setup, &pool).expect("started");
    let workers = queues.into_iter().map(|(mut rx, mut tx)| {
        let eal = eal.clone();
        std::thread::spawn(move || {
            eal.register_thread().expect("registered");
            let mut burst = Burst::<32>::new();
            for _ in 0..100 {
                rx.rx(&mut burst);
                tx.tx(&mut burst);
            }
        })
    });
    let workers: Vec<_> = workers.collect();
    workers.into_iter().for_each(|worker| worker.join().expect("worker"));
    assert_eq!(pool.available(), pool.size());
    drop((pool, port));
    let running = mapped();
    drop(eal);
    let given_back = running.saturating_sub(mapped());
    assert!(given_back >= 64 << 8, "EAL kept its 64 MB: only {given_back} pages less");

    let refused = Eal::start(&options).expect_err("EAL runs once, even after its cleanup");
    assert!(refused.to_string().starts_with("EAL runs once a process"));
}
