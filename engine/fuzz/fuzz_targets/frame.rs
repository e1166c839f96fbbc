//! Any bytes may arrive: they are read without panicking, what is read lies in the frame, and what is answered in place
//! is read back by the other side as what was meant.

#![no_main]

use libfuzzer_sys::fuzz_target;
use usher_proto::neighbor;
use usher_proto::wire::{
    Addr, Checked, Flags, Mac, Parsed, PortView, Reply, RxChecksums, Segment, TxChecksums,
    answer_in_place, ipv4, ipv6, parse,
};

const PORT: PortView = PortView { mac: Mac([2, 0, 0, 0, 0, 1]), vlan: 0, index: 0 };
const TRUSTED: RxChecksums = RxChecksums { ip: Checked::Good, l4: Checked::Good };
const UNKNOWN: RxChecksums = RxChecksums { ip: Checked::Unknown, l4: Checked::Unknown };
const ROOM: usize = 2048;

fuzz_target!(|frame: &[u8]| {
    let frame = &frame[..frame.len().min(ROOM)];
    let strict = parse(frame, &PORT, UNKNOWN);
    // Trusting the checksums lets a search get past them. It may take more, never something else.
    let parsed = parse(frame, &PORT, TRUSTED);
    if strict.is_ok() {
        assert_eq!(strict, parsed);
    }
    let Ok(parsed) = parsed else { return };
    let mut buf = [0; ROOM];
    buf[..frame.len()].copy_from_slice(frame);
    match parsed {
        Parsed::Tcp(segment) => answer_segment(&mut buf, frame, &segment),
        Parsed::Arp(_) | Parsed::Ndp(_) | Parsed::Echo(_) | Parsed::Icmp(_) => {
            let outcome = neighbor::answer(&parsed, &mut buf, &PORT, |_| true);
            assert!(outcome.len <= ROOM);
        }
    }
});

fn answer_segment(buf: &mut [u8], frame: &[u8], segment: &Segment) {
    let start = usize::from(segment.payload_offset);
    let payload = &frame[start..start + usize::from(segment.payload_len)];
    let reply = Reply {
        seq: segment.ack,
        ack: segment.end(),
        flags: Flags::ACK,
        window: 1000,
        ..Reply::default()
    };
    let Ok(len) = answer_in_place(buf, segment, &reply, payload, TxChecksums::default()) else {
        return;
    };
    let peer = PortView { mac: Mac(frame[6..12].try_into().expect("six octets")), ..PORT };
    let Ok(Parsed::Tcp(back)) = parse(&buf[..len], &peer, UNKNOWN) else {
        // Whether the destination is ours is for a worker to know, so it may be what no host can have; and a sender's MAC may be a
        // forged group's. Nobody reads an answer between such two.
        assert!(!peer.mac.is_station() || !is_host(&segment.tuple.local));
        return;
    };
    assert_eq!((back.tuple.remote, back.tuple.local), (segment.tuple.local, segment.tuple.remote));
    assert_eq!((back.seq, back.ack, back.flags), (reply.seq, reply.ack, reply.flags));
    assert_eq!(back.payload_len, segment.payload_len);
}

fn is_host(addr: &Addr) -> bool {
    addr.as_v4().map_or_else(|| ipv6::is_host(addr), ipv4::is_host)
}
