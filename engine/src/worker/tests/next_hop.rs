//! Last words to peers that were silent for long: their next hop is asked for.

use super::*;

/// An established flow that was idle for so long that where its peer is has to be asked for.
fn idle() -> (Bench, u32) {
    let mut bench = Bench::new(&Setup::default());
    let iss = bench.shake(40000, 5);
    bench.ask(&client(40000).ack(6, iss.wrapping_add(1)));
    bench.wait_ms(300_100);
    let question = bench.wire.receive(0).expect("a question");
    let question = read_arp(question.bytes());
    assert_eq!((question.op, question.dst_mac), (1, Mac::BROADCAST));
    assert_eq!(question.sender, (OUR_MAC, "10.10.0.2".parse().unwrap()));
    assert_eq!(question.target.1.to_string(), "10.10.0.1");
    assert_eq!(bench.worker.records(), 0);
    (bench, iss)
}

/// The RST goes to where the peer is now (RFC 4861 §7.2.2, RFC 826).
#[test]
fn an_idle_flow_ends_by_reset_to_the_resolved_next_hop() {
    let moved = Mac([2, 9, 9, 9, 9, 9]);
    let (mut bench, iss) = idle();
    let reply = arp().sender("10.10.0.1").target("10.10.0.2").sender_mac(moved).reply_to(OUR_MAC);
    assert!(bench.wire.send(0, &reply.build()));
    bench.turn();
    let replies = bench.replies();
    assert_eq!((replies.len(), replies[0].dst_mac), (1, moved));
    assert_eq!((replies[0].flags.has(Flags::RST), replies[0].seq), (true, iss.wrapping_add(1)));
    bench.assert_balanced();
}

/// Without an answer it goes to where the peer was last heard.
#[test]
fn an_idle_flow_ends_by_reset_also_where_nobody_answers() {
    let (mut bench, iss) = idle();
    for _ in 0..2 {
        bench.wait_ms(1000);
        assert_eq!(read_arp(bench.wire.receive(0).expect("again").bytes()).op, 1);
    }
    bench.wait_ms(1000);
    let replies = bench.replies();
    assert_eq!((replies.len(), replies[0].dst_mac), (1, CLIENT_MAC));
    assert_eq!((replies[0].flags.has(Flags::RST), replies[0].seq), (true, iss.wrapping_add(1)));
    bench.assert_balanced();
}
