//! Workers on DPDK's rings: a binary of its own, as DPDK's environment starts once a process.

#![cfg(feature = "dpdk")]

use usher::clock::{Clock, FakeClock};
use usher::port::dpdk::{Pages, PortSetup, Setup, open};
use usher::port::{Burst, Frame, Port, QueuePair};
use usher::stats::Counter;
use usher::testing;
use usher::worker::Worker;
use usher_proto::testing::{Envelope, tcp};

/// What a queue of this device sends it receives. All clients' frames come in by the second worker's.
#[test]
fn two_workers_on_rings_hand_on_what_comes_in_by_the_wrong_queue() {
    let name = "rings".to_owned();
    let device = "net_ring0".to_owned();
    let port = PortSetup { name, device, queues: None, mtu: 1500, groups: vec![] };
    let setup = Setup {
        pages: Pages::Ordinary,
        megabytes: None,
        arguments: vec![],
        buffers: 4095,
        cores: vec![0, 1],
        ports: vec![port],
    };
    let mut port = open(&setup).expect("opened").remove(0);
    let mut clock = FakeClock::default();
    let (plan, keyring) = (testing::plan(&testing::Setup::default()), testing::keyring(false));
    let mut workers =
        testing::workers(&plan, keyring, [&mut port], 2, clock.now()).expect("started");
    workers.iter_mut().for_each(|worker| worker.on_thread().expect("known, with a cache"));
    let queue = workers[1].queues().next().expect("a queue pair");
    let mut frames = Burst::new();
    for client in 4000..4032 {
        let syn = tcp().from(format!("10.10.0.1:{client}").as_str()).to("10.10.0.10:80").syn(5);
        let syn = syn.dst_mac(port.mac()).build();
        let mut frame = queue.alloc().expect("a buffer");
        frame.room()[..syn.len()].copy_from_slice(&syn);
        frame.set_len(syn.len());
        frames.push(frame);
    }
    queue.tx(&mut frames);
    for _ in 0..3 {
        workers.iter_mut().for_each(|worker| _ = worker.turn(clock.now()));
    }
    let count = |worker: usize, counter| workers[worker].stats().counter(counter);
    let shares = [0, 1].map(|worker| count(worker, Counter::SynAcks));
    assert!(
        shares.iter().sum::<u64>() == 32 && shares.iter().all(|share| *share > 8),
        "{shares:?}"
    );
    assert_eq!(count(1, Counter::RedirectedOut), shares[0]);
    assert_eq!(count(0, Counter::RedirectedIn), shares[0]);
    workers.iter_mut().for_each(Worker::off_thread);
}
