//! Who has which address: answers to ARP (RFC 826) and neighbour solicitations (RFC 4861).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::frame::{Mac, sum_with_pseudo_header};

/// The answer to a question for an address that `find` knows.
pub(crate) fn answer(frame: &[u8], find: impl Fn(IpAddr) -> Option<Mac>) -> Option<Vec<u8>> {
    match frame.get(12..14)? {
        [0x08, 0x06] if frame[21] == 1 => {
            let target = Ipv4Addr::from(<[u8; 4]>::try_from(frame.get(38..42)?).ok()?);
            find(target.into()).map(|mac| arp_reply(frame, mac))
        }
        [0x86, 0xdd] if frame.get(20) == Some(&58) && frame.get(54) == Some(&135) => {
            let target = Ipv6Addr::from(<[u8; 16]>::try_from(frame.get(62..78)?).ok()?);
            let source = Ipv6Addr::from(<[u8; 16]>::try_from(frame.get(22..38)?).ok()?);
            find(target.into()).map(|mac| advertisement(frame, mac, target, source))
        }
        _ => None,
    }
}

fn arp_reply(question: &[u8], mac: Mac) -> Vec<u8> {
    let mut reply = [&question[6..12], &mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2], &mac].concat();
    reply.extend(&question[38..42]);
    reply.extend(&question[22..32]);
    reply.resize(60, 0);
    reply
}

/// Solicited, with the target's link-layer address (§4.4).
fn advertisement(question: &[u8], mac: Mac, target: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
    message.extend(target.octets());
    message.extend([2, 1]);
    message.extend(mac);
    let sum = !sum_with_pseudo_header(target.into(), to.into(), 58, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut reply = [&question[6..12], &mac, &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
    reply.extend((message.len() as u16).to_be_bytes());
    reply.extend([58, 255]);
    reply.extend(target.octets());
    reply.extend(to.octets());
    reply.extend(message);
    reply
}
