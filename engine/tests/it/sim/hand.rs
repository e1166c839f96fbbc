//! A peer led by hand: attack scripts and single-step tests say which segment comes next.

use super::client::Ends;
use super::frame::{self, ACK, FIN, Opt, PSH, Packet, RST, SYN};
use super::plan::MILLI;
use super::server::Server;
use super::world::{World, client_ends};

/// A peer with its sequence numbers.
#[derive(Clone, Debug)]
pub(crate) struct Hand {
    pub(crate) ends: Ends,
    /// Our next sequence number, and the next one expected.
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) window: u16,
    pub(crate) timestamps: bool,
    /// TSval is the clock and this; TSecr echoes `recent`.
    pub(crate) clock: u32,
    pub(crate) recent: u32,
    /// Bytes of the answer that were received in order.
    pub(crate) received: usize,
    pub(crate) fin: bool,
}

/// The request that hands send.
pub(crate) const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

impl Hand {
    /// The `index`th hand has an address that no client of the world has.
    pub(crate) fn new(index: usize, timestamps: bool) -> Self {
        Self {
            ends: client_ends(0, 20_000 + index, false),
            seq: 0x1234_5678_u32.wrapping_mul(index as u32 + 1),
            ack: 0,
            window: 60_000,
            timestamps,
            clock: 1_000_000,
            recent: 0,
            received: 0,
            fin: false,
        }
    }

    /// A segment with the present numbers.
    pub(crate) fn segment<S: Server>(&self, world: &World<S>, flags: u8, payload: &[u8]) -> Packet {
        let now = ((world.now / MILLI) as u32).wrapping_add(self.clock);
        let time = Opt::Time(now, self.recent);
        Packet {
            seq: self.seq,
            ack: if flags & ACK != 0 { self.ack } else { 0 },
            flags,
            window: self.window,
            options: if self.timestamps { vec![time] } else { Vec::new() },
            payload: payload.to_vec(),
            ..self.ends.packet()
        }
    }

    pub(crate) fn syn<S: Server>(&self, world: &World<S>) -> Packet {
        let mut syn = self.segment(world, SYN, b"");
        syn.options.extend([Opt::Mss(1460), Opt::SackOk, Opt::Nop, Opt::Scale(0)]);
        syn
    }

    /// SYN and SYN-ACK: the numbers stand for the third ACK afterwards.
    pub(crate) fn knock<S: Server>(&mut self, world: &mut World<S>) -> Packet {
        let syn = self.syn(world);
        let answers = world.inject(&syn);
        assert_eq!(answers.len(), 1, "one SYN-ACK: {answers:?}");
        let answer = answers.into_iter().next().unwrap();
        assert_eq!((answer.flags, answer.ack), (SYN | ACK, syn.end()), "{answer:?}");
        self.seq = syn.end();
        self.ack = answer.end();
        self.recent = answer.time().map_or(0, |(val, _)| val);
        answer
    }

    /// The whole handshake.
    pub(crate) fn connect<S: Server>(&mut self, world: &mut World<S>) {
        self.knock(world);
        let third = self.segment(world, ACK, b"");
        let answers = world.inject(&third);
        assert!(answers.is_empty(), "a third ACK is not answered: {answers:?}");
    }

    /// Says something and takes in the answers.
    pub(crate) fn say<S: Server>(
        &mut self,
        world: &mut World<S>,
        flags: u8,
        payload: &[u8],
    ) -> Vec<Packet> {
        let packet = self.segment(world, flags, payload);
        self.seq = packet.end();
        let answers = world.inject(&packet);
        self.hear(&answers);
        answers
    }

    /// Takes in what arrives in order.
    pub(crate) fn hear(&mut self, packets: &[Packet]) {
        for packet in packets {
            if packet.seq != self.ack || packet.has(RST) {
                continue;
            }
            self.received += packet.payload.len();
            self.ack = packet.end();
            self.fin |= packet.has(FIN);
            self.recent = packet.time().map_or(0, |(val, _)| val);
        }
    }

    /// Sends the request and acknowledges until the server's FIN.
    pub(crate) fn fetch<S: Server>(&mut self, world: &mut World<S>) {
        self.say(world, ACK | PSH, REQUEST);
        for _ in 0..200 {
            if self.fin {
                return;
            }
            world.pass(MILLI);
            self.say(world, ACK, b"");
        }
        panic!(
            "the answer never ended: {} bytes came\n{}",
            self.received,
            world.story(self.ends.local)
        );
    }
}

impl<S: Server> World<S> {
    /// Injects one packet past the weather and gives what the server sends at once.
    pub(crate) fn inject(&mut self, packet: &Packet) -> Vec<Packet> {
        self.inject_all(std::slice::from_ref(packet))
    }

    /// The same with a burst.
    pub(crate) fn inject_all(&mut self, packets: &[Packet]) -> Vec<Packet> {
        let burst: Vec<_> = packets.iter().map(Packet::write).collect();
        let sent = self.turn(&burst);
        sent.iter().filter_map(|frame| frame::read(frame).ok()).collect()
    }
}
