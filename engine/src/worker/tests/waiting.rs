//! What waits for a next hop.

use super::*;

/// Four wait for a next hop; those that gave way to them are lost, and counted as that.
#[test]
fn what_gives_way_before_its_next_hop_is_known_is_counted() {
    let mut bench = Bench::new(&Setup::default());
    for port in 40_000..40_006 {
        let iss = bench.shake(port, 5);
        bench.ask(&client(port).ack(6, iss.wrapping_add(1)));
    }
    bench.wait_ms(300_100);
    drop(bench.wire.receive(0).expect("a question"));
    let stats = bench.worker.stats();
    assert_eq!((stats.counter(Counter::Lost), stats.dropped(Reason::NoNextHop)), (2, 2));
    let reply = arp().sender("10.10.0.1").target("10.10.0.2").reply_to(OUR_MAC);
    assert!(bench.wire.send(0, &reply.build()));
    bench.turn();
    assert_eq!(bench.replies().len(), 4);
    bench.assert_balanced();
}
