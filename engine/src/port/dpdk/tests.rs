//! The port over devices that need nothing. DPDK's environment starts once a process, so one test opens all of them.

use dpdk::Mbuf;
use usher_proto::wire::{Checked, RxChecksums, TxChecksums};

use super::*;
use crate::port::{Burst, Frame, QueuePair};

fn port(name: &str, device: &str, queues: Option<u16>, mtu: u16) -> PortSetup {
    PortSetup {
        name: name.into(),
        device: device.into(),
        queues,
        mtu,
        groups: vec![Mac([0x33, 0x33, 0xff, 0, 0, 1])],
    }
}

fn setup(ports: Vec<PortSetup>) -> Setup {
    Setup {
        pages: Pages::Ordinary,
        megabytes: None,
        arguments: vec![],
        buffers: 4095,
        cores: vec![0, 1],
        ports,
    }
}

#[test]
fn ports_open_start_pass_frames_and_close() {
    let ports = vec![
        port("ring", "net_ring0", Some(1), 1500),
        port("null", "net_null0,no-rx=1", None, 1500),
    ];
    let mut ports = open(&setup(ports)).expect("opened");
    assert!(!ports[0].has_huge_pages());
    assert_eq!((ports[0].name(), ports[0].driver(), ports[0].mtu()), ("ring", "net_ring", 1500));
    let pairs = ports[1].start().expect("started");
    assert_eq!(pairs.len(), 2, "a queue pair for each worker");
    assert!(ports[1].has_rss() && ports[1].leads().by_table, "{:?}", ports[1].leads());
    assert!(pairs.iter().all(|pair| pair.hashes() == ports[1].leads().by_key));
    assert!(!ports[0].has_rss());

    let mut queue = ports[0].start().expect("started").remove(0);
    assert!(ports[0].start().is_err(), "a port starts once");
    assert_ne!(ports[0].reception(), None);
    assert!(ports[0].is_link_up());
    let ring = ports.remove(0);
    let small = Mempool::new(&ring.eal, "small", 63, 512, -1).expect("a pool of somebody else's");
    let (ours, theirs) = (ring.pool.clone(), small.clone());
    let worker = std::thread::spawn(move || {
        queue.on_thread().expect("known, with a cache");
        pass_frames(&mut queue);
        join_buffers(&mut queue, &ours, &small);
        queue.off_thread();
        queue
    });
    let queue = worker.join().expect("worker");
    assert_eq!((ring.stats().received, ring.stats().sent), (36, 36));
    assert_eq!(theirs.available(), theirs.size(), "a copy gives its original back");
    assert_eq!(ring.pool.available(), ring.pool.size(), "no buffer is lost");
    drop(ring);
    drop(queue);

    let again = open(&setup(vec![])).expect_err("a second environment").to_string();
    assert!(again.starts_with("EAL runs once a process"), "{again}");
}

fn pass_frames(queue: &mut DpdkQueue) {
    let mut frames = Burst::new();
    for number in 0..32_u8 {
        let mut frame = queue.alloc().expect("a buffer");
        assert!(frame.room().len() >= 1518);
        frame.room()[..60].fill(number);
        frame.set_len(60);
        frames.push(frame);
    }
    queue.tx(&mut frames);
    assert!(frames.is_empty());
    frames.extend((0..30).map_while(|_| queue.alloc()));
    queue.rx(&mut frames);
    assert_eq!(frames.len(), 32, "as many as there was room for");
    queue.free(&mut frames);
    queue.rx(&mut frames);
    assert_eq!(frames.len(), 30, "and the others later");
    for (frame, number) in frames.iter().zip(2_u8..) {
        assert_eq!(frame.bytes(), [number; 60]);
        assert!(frame.is_whole());
        let unknown = RxChecksums { ip: Checked::Unknown, l4: Checked::Unknown };
        assert_eq!(frame.rx_checksums(), unknown);
    }
    frames.clear();
    assert_eq!(queue.tx_checksums(), TxChecksums::default(), "a ring completes none");
    let mut frame = queue.alloc().expect("a buffer");
    frame.request_tx_checksums(TxChecksums { ip: true, l4: true }, 14, 20, true);
    frame.request_tx_checksums(TxChecksums::default(), 14, 20, true);
}

/// Frames that come in several buffers are whole: in the first where that has room, else in one of ours. Those that
/// none holds, or for which none is free, are not, and say so.
fn join_buffers(queue: &mut DpdkQueue, ours: &Mempool, small: &Mempool) {
    let filled = |mut mbuf: Mbuf, from: usize, len: usize| {
        let bytes = mbuf.room().iter_mut().take(len).zip(from..);
        bytes.for_each(|(byte, at)| *byte = (at % 251) as u8);
        mbuf.set_len(len);
        mbuf
    };
    let chain = |pool: &Mempool, lens: &[usize]| {
        let mut at = 0;
        let mut pieces = lens.iter().map(|&len| {
            at += len;
            filled(pool.alloc().expect("a buffer"), at - len, len)
        });
        let mut head = pieces.next().expect("a first buffer");
        pieces.for_each(|piece| head.append(piece).expect("few buffers"));
        assert_eq!((head.is_whole(), head.frame_len()), (false, lens.iter().sum()));
        DpdkFrame(head)
    };
    let mut pass = |frame: DpdkFrame| {
        let mut frames = Burst::from_iter([frame]);
        queue.tx(&mut frames);
        queue.rx(&mut frames);
        frames.pop().expect("the frame")
    };
    let is_sound =
        |frame: &DpdkFrame| (0..).zip(frame.bytes()).all(|(at, &byte)| byte == (at % 251) as u8);
    for (pool, lens) in [(ours, [14, 40, 1460]), (small, [512, 512, 490])] {
        let frame = pass(chain(pool, &lens));
        assert!(frame.is_whole() && is_sound(&frame));
        assert_eq!(frame.bytes().len(), 1514);
    }
    let frame = pass(chain(ours, &[2048, 2048, 100]));
    assert!(!frame.is_whole(), "larger than a buffer");
    drop(frame);
    let several = chain(small, &[512, 512, 490]);
    let taken: Vec<_> = std::iter::from_fn(|| ours.alloc()).collect();
    assert!(!pass(several).is_whole(), "no buffer is free");
    drop(taken);
}

#[test]
fn a_device_that_is_none_is_told_before_anything_starts() {
    let error =
        open(&setup(vec![port("wan", "eth 0", None, 1500)])).expect_err("no device").to_string();
    assert!(error.starts_with("port wan: `eth 0` names no device; give a PCI address"), "{error}");
}

#[test]
fn memory_is_asked_for_by_the_ports_and_their_mtu() {
    let ports = vec![port("a", "net_null0", None, 1500), port("b", "net_null1", None, 9000)];
    let asked = environment(&setup(ports), &[]).pools;
    let pool = |frame| dpdk::PoolSize { count: 4095, frame };
    assert_eq!(asked, [pool(2048), pool(9216)]);
}

#[test]
fn a_port_has_a_queue_a_worker_as_far_as_the_device_goes() {
    assert_eq!(queues(None, 4, 16), Ok(4));
    assert_eq!(queues(None, 4, 1), Ok(1), "fewer than workers");
    assert_eq!(queues(Some(2), 4, 16), Ok(2));
    let error = queues(Some(2), 4, 1).expect_err("more than there are");
    assert_eq!(error, "has 1 queue pairs, not 2; lower `queues`, or leave it out");
    assert_eq!(check_mtu(1500, 1500), Ok(()));
    let error = check_mtu(9000, 1500).expect_err("too much");
    assert_eq!(error, "carries an MTU of 1500, not 9000; lower `mtu`, or raise the device's");
}
