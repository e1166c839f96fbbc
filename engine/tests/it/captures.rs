//! Captures in a device's place: a conversation is played, and what the engine says to it is compared.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pcap_file::pcap::{PcapPacket, PcapReader, PcapWriter};
use usher::clock::{Clock, FakeClock};
use usher::config::Cookies;
use usher::port::Port;
use usher::port::pcap::{PcapPort, PcapSetup};
use usher::testing::{self, Setup};
use usher_proto::testing::{OUR_MAC, Read, TcpFrame, tcp, try_read};

/// A directory of a test's own, which goes away with the value.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("usher-it-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a writable directory");
        Self(dir)
    }

    /// Writes a capture of `frames`.
    pub(crate) fn capture(&self, name: &str, frames: &[Vec<u8>]) -> PathBuf {
        let path = self.0.join(name);
        let file = std::fs::File::create(&path).expect("a writable directory");
        let mut writer = PcapWriter::new(file).expect("it is written");
        for (number, frame) in frames.iter().enumerate() {
            let at = Duration::from_millis(number as u64);
            let packet = PcapPacket::new(at, frame.len() as u32, frame);
            writer.write_packet(&packet).expect("it is written");
        }
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The frames of a capture, each with its time in µs.
pub(crate) fn frames(path: &Path) -> Vec<(u128, Vec<u8>)> {
    let file = std::fs::File::open(path).expect("a capture");
    let mut reader = PcapReader::new(file).expect("a capture");
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet.expect("whole");
        frames.push((packet.timestamp.as_micros(), packet.data.into_owned()));
    }
    frames
}

fn client(port: u16) -> TcpFrame {
    tcp().from(format!("10.10.0.1:{port}").as_str()).to("10.10.0.10:80")
}

/// Plays `said` to a worker on a fake clock until all is over; what it sent, and the file's bytes.
fn play(scratch: &Scratch, cookies: Cookies, said: &[TcpFrame]) -> (Vec<(u128, Read)>, Vec<u8>) {
    let said: Vec<_> = said.iter().map(TcpFrame::build).collect();
    let setup = PcapSetup {
        name: "wan".into(),
        input: scratch.capture("in.pcap", &said),
        output: scratch.0.join("out.pcap"),
        mac: OUR_MAC,
        mtu: 1500,
    };
    let mut port = PcapPort::open(&setup).expect("files that can be used");
    let mut clock = FakeClock::default();
    let setup_worker = Setup { cookies, ..Setup::default() };
    let mut worker = testing::worker(&setup_worker, &mut port, clock.now()).expect("it starts");
    for _ in 0..13_000 {
        let now = clock.now();
        worker.turn(now);
        clock.advance_ms(10);
    }
    assert_eq!(worker.records(), 0, "nothing is left after 130 s");
    assert_eq!(port.stats().received, said.len() as u64);
    drop(worker);
    let sent = frames(&setup.output);
    let sent = sent.iter().filter_map(|(at, frame)| Some((*at, try_read(frame).ok()?)));
    (sent.collect(), std::fs::read(&setup.output).expect("a capture"))
}

/// SYN, ACK, request and FIN, one burst; the numbers of the first SYN-ACK are learned by playing the SYN alone.
#[test]
fn a_conversation_is_answered_alike_each_time() {
    for cookies in [Cookies::Never, Cookies::Always] {
        let scratch = Scratch::new(&format!("conversation-{cookies:?}"));
        let syn = client(4000).syn(99).mss(1460);
        let (first, _) = play(&scratch, cookies, std::slice::from_ref(&syn));
        let iss = tcp_of(&first)[0].seq;
        let end = iss.wrapping_add(2 + Setup::default().answer.len() as u32);
        let said = [
            syn,
            client(4000).ack(100, iss.wrapping_add(1)),
            client(4000).ack(100, iss.wrapping_add(1)).payload(b"GET /"),
            client(4000).ack(105, end).fin(),
        ];
        let (sent, bytes) = play(&scratch, cookies, &said);
        let answers = tcp_of(&sent);
        let flags: Vec<_> = answers.iter().map(|read| format!("{:?}", read.flags)).collect();
        assert_eq!(flags, ["ACK,SYN", "ACK,PSH,FIN", "ACK"], "with cookies {cookies:?}");
        assert_eq!((answers[0].seq, answers[0].ack), (iss, 100));
        assert_eq!((answers[1].payload.as_slice(), answers[1].ack), (Setup::default().answer, 105));
        assert_eq!((answers[2].seq, answers[2].ack), (end, 106));
        // all four frames came in one burst, before anything was sent
        assert!(sent.iter().all(|(at, _)| *at == 4));
        assert_eq!(play(&scratch, cookies, &said).1, bytes, "the same again");
    }
}

fn tcp_of(sent: &[(u128, Read)]) -> Vec<&usher_proto::testing::TcpRead> {
    sent.iter()
        .filter_map(|(_, read)| if let Read::Tcp(read) = read { Some(read) } else { None })
        .collect()
}
