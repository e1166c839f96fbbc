//! A port that plays a capture and writes another: for trying a configuration, and for showing what Usher does with
//! traffic that somebody has sent in.
//!
//! Frames come in the file's order and as fast as the one worker takes them: what the file says of time is not waited
//! for. What is sent goes into a file of its own, each frame stamped with the number of frames that had been played by
//! then, in microseconds, so that two runs that send the same write the same. After the last frame the port stays,
//! silent, until the engine ends. Buffers are a memory port's, and all accounted for.

#![forbid(unsafe_code)]

mod capture;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pcap_file::Endianness;
use pcap_file::pcap::PcapHeader;
use usher_proto::wire::Mac;

use self::capture::Capture;
use super::memory::{self, MemoryFrame, MemoryPool, MemoryPort, MemoryQueue, Options, Wire};
use super::{Burst, Frame, Port, PortError, PortStats, QueuePair};

/// What a port is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PcapSetup {
    /// Its name in the configuration.
    pub name: String,
    /// The capture that it plays.
    pub input: PathBuf,
    /// Where what is sent goes; replaced if it is there.
    pub output: PathBuf,
    /// The port's MAC.
    pub mac: Mac,
    /// The largest IP packet.
    pub mtu: u16,
}

/// How many frames the capture at `path` has.
///
/// # Errors
/// It cannot be read or is no Ethernet capture: one sentence.
pub fn count_frames(path: &Path) -> Result<usize, PortError> {
    Capture::read(path).map(|capture| capture.len())
}

/// The frames of the capture at `path`, in its order.
///
/// # Errors
/// It cannot be read or is no Ethernet capture: one sentence.
pub fn frames(path: &Path) -> Result<Vec<Vec<u8>>, PortError> {
    let capture = Capture::read(path)?;
    Ok((0..).map_while(|index| capture.frame(index).map(<[u8]>::to_vec)).collect())
}

/// The engine's end.
#[derive(Debug)]
pub struct PcapPort {
    name: String,
    memory: MemoryPort,
    wire: Wire,
    player: Option<(Capture, Recorder)>,
    shared: Arc<Shared>,
}

/// What the port's owner reads of its queue.
#[derive(Debug, Default)]
struct Shared {
    received: AtomicU64,
    sent: AtomicU64,
    too_long: AtomicU64,
    /// The output cannot be written.
    failed: AtomicBool,
}

impl PcapPort {
    /// Reads the capture and makes the output.
    ///
    /// # Errors
    /// When either cannot be done: one sentence.
    pub fn open(setup: &PcapSetup) -> Result<Self, PortError> {
        let of_port = |cause: PortError| format!("port {}: {cause}", setup.name);
        let capture = Capture::read(&setup.input).map_err(of_port)?;
        let recorder = Recorder::create(&setup.output).map_err(of_port)?;
        let options = Options { mac: setup.mac, mtu: setup.mtu, ..Options::default() };
        let (memory, wire) = memory::new(&setup.name, &options);
        Ok(Self {
            name: setup.name.clone(),
            memory,
            wire,
            player: Some((capture, recorder)),
            shared: Arc::default(),
        })
    }
}

impl Port for PcapPort {
    type Queue = PcapQueue;

    fn name(&self) -> &str {
        &self.name
    }

    fn mac(&self) -> Mac {
        self.memory.mac()
    }

    fn mtu(&self) -> u16 {
        self.memory.mtu()
    }

    fn start(&mut self) -> Result<Vec<PcapQueue>, PortError> {
        let (capture, recorder) = self.player.take().ok_or("the capture is being played")?;
        let queue = |memory| PcapQueue {
            memory,
            wire: self.wire.clone(),
            capture,
            next: 0,
            recorder,
            shared: Arc::clone(&self.shared),
        };
        Ok(self.memory.start()?.pop().map(queue).into_iter().collect())
    }

    /// Whether what is sent can still be written.
    fn is_link_up(&self) -> bool {
        // Relaxed: nothing is ordered by it.
        !self.shared.failed.load(Ordering::Relaxed)
    }

    fn stats(&self) -> PortStats {
        // Relaxed: counters order nothing.
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PortStats {
            received: read(&self.shared.received),
            sent: read(&self.shared.sent),
            errors: read(&self.shared.too_long),
            ..PortStats::default()
        }
    }
}

/// The one worker's share of a port.
#[derive(Debug)]
pub struct PcapQueue {
    memory: MemoryQueue,
    wire: Wire,
    capture: Capture,
    /// The frame that comes next.
    next: usize,
    recorder: Recorder,
    shared: Arc<Shared>,
}

impl PcapQueue {
    /// Puts the next frames on the wire, as many as `room`. One that no buffer holds is counted, like a NIC's
    /// oversized ones; one that finds no free buffer comes later.
    fn play(&mut self, room: usize) {
        let mut played = 0;
        while let Some(frame) = self.capture.frame(self.next).filter(|_| played < room) {
            let Some(mut buffer) = self.wire.alloc() else { break };
            let Some(space) = buffer.room().get_mut(..frame.len()) else {
                self.shared.too_long.fetch_add(1, Ordering::Relaxed);
                self.next += 1;
                continue;
            };
            space.copy_from_slice(frame);
            buffer.set_len(frame.len());
            if self.wire.give(0, buffer).is_err() {
                break;
            }
            self.next += 1;
            played += 1;
        }
        self.shared.received.fetch_add(played as u64, Ordering::Relaxed);
    }

    fn note(&self, written: std::io::Result<()>) {
        if written.is_err() {
            self.shared.failed.store(true, Ordering::Relaxed);
        }
    }
}

impl QueuePair for PcapQueue {
    type Frame = MemoryFrame;
    type Pool = MemoryPool;

    fn pool(&self) -> MemoryPool {
        self.memory.pool()
    }

    fn off_thread(&mut self) {
        let flushed = self.recorder.flush();
        self.note(flushed);
    }

    fn rx(&mut self, into: &mut Burst<MemoryFrame>) {
        if self.next < self.capture.len() {
            self.play(into.remaining_capacity());
        } else if self.recorder.is_behind {
            let flushed = self.recorder.flush();
            self.note(flushed);
        }
        self.memory.rx(into);
    }

    fn tx(&mut self, frames: &mut Burst<MemoryFrame>) {
        if self.shared.failed.load(Ordering::Relaxed) {
            return;
        }
        self.memory.tx(frames);
        while let Some(frame) = self.wire.receive(0) {
            let written = self.recorder.write(self.next, frame.bytes());
            self.shared.sent.fetch_add(u64::from(written.is_ok()), Ordering::Relaxed);
            self.note(written);
        }
    }

    fn alloc(&mut self) -> Option<MemoryFrame> {
        self.memory.alloc()
    }

    fn free(&mut self, frames: &mut Burst<MemoryFrame>) {
        self.memory.free(frames);
    }
}

/// The file that frames are written to, in pcap's format.
#[derive(Debug)]
struct Recorder {
    file: BufWriter<File>,
    /// Something waits in the buffer.
    is_behind: bool,
}

impl Recorder {
    /// Makes the file, or empties the one that is there.
    fn create(path: &Path) -> Result<Self, PortError> {
        let header = PcapHeader { endianness: Endianness::Little, ..PcapHeader::default() };
        let file = File::create(path).and_then(|file| {
            let mut file = BufWriter::new(file);
            header.write_to(&mut file).map_err(std::io::Error::other)?;
            file.flush()?;
            Ok(file)
        });
        match file {
            Ok(file) => Ok(Self { file, is_behind: false }),
            Err(cause) => Err(format!("{} cannot be written: {cause}", path.display()).into()),
        }
    }

    /// Appends a frame, stamped with `played` microseconds.
    fn write(&mut self, played: usize, frame: &[u8]) -> std::io::Result<()> {
        self.is_behind = true;
        let length = frame.len() as u32;
        for field in [(played / 1_000_000) as u32, (played % 1_000_000) as u32, length, length] {
            self.file.write_all(&field.to_le_bytes())?;
        }
        self.file.write_all(frame)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.is_behind = false;
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of a test's own, which goes away with the value.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir =
                std::env::temp_dir().join(format!("usher-pcap-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        /// A port that plays `frames`, and its queue.
        fn port(&self, frames: &[&[u8]]) -> (PcapPort, PcapQueue) {
            let input = self.0.join("in.pcap");
            let mut recorder = Recorder::create(&input).unwrap();
            frames.iter().for_each(|frame| recorder.write(0, frame).unwrap());
            drop(recorder);
            let setup = PcapSetup {
                name: "wan".into(),
                input,
                output: self.0.join("out.pcap"),
                mac: Mac([2, 0, 0, 0, 0, 1]),
                mtu: 1500,
            };
            let mut port = PcapPort::open(&setup).unwrap();
            let queue = port.start().unwrap().remove(0);
            (port, queue)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn frames_are_played_in_order_and_what_is_sent_is_written() {
        let scratch = Scratch::new("order");
        let frames: Vec<[u8; 2]> = (0..40).map(|i| [i, 7]).collect();
        let frames: Vec<&[u8]> = frames.iter().map(<[u8; 2]>::as_slice).collect();
        let (port, mut queue) = scratch.port(&frames);
        let mut played = Vec::new();
        for _ in 0..3 {
            let mut burst = Burst::new();
            queue.rx(&mut burst);
            played.extend(burst.iter().map(|frame| frame.bytes().to_vec()));
            queue.tx(&mut burst);
            assert!(burst.is_empty());
        }
        assert_eq!(played, frames);
        queue.off_thread();
        let sent = Capture::read(&scratch.0.join("out.pcap")).unwrap();
        assert_eq!((0..40).map(|i| sent.frame(i).unwrap()).collect::<Vec<_>>(), frames);
        assert_eq!(queue.wire.free_buffers(), queue.wire.total_buffers());
        assert_eq!((port.stats().received, port.stats().sent), (40, 40));
        assert!(port.is_link_up());
    }

    #[test]
    fn a_frame_that_no_buffer_holds_is_counted_and_passed_over() {
        let scratch = Scratch::new("long");
        let (port, mut queue) = scratch.port(&[&[1; 1518], &[2; 1519], &[3; 60]]);
        let mut burst = Burst::new();
        queue.rx(&mut burst);
        assert_eq!(burst.iter().map(|frame| frame.bytes()[0]).collect::<Vec<_>>(), [1, 3]);
        assert_eq!((port.stats().received, port.stats().errors), (2, 1));
    }

    /// A file that takes nothing more: what is sent is refused, and the port says so.
    #[test]
    fn an_output_that_cannot_be_written_takes_the_link_down() {
        let scratch = Scratch::new("full");
        let (port, mut queue) = scratch.port(&[&[1; 60], &[2; 60]]);
        queue.recorder.file = BufWriter::with_capacity(0, File::create("/dev/full").unwrap());
        let mut burst = Burst::new();
        queue.rx(&mut burst);
        queue.tx(&mut burst);
        assert!(!port.is_link_up());
        queue.rx(&mut burst);
        let waiting = burst.len();
        queue.tx(&mut burst);
        assert_eq!((burst.len(), port.stats().sent), (waiting, 0));
    }

    #[test]
    fn files_that_cannot_be_used_are_told_in_a_sentence() {
        let setup = |input: &str, output: &str| PcapSetup {
            name: "wan".into(),
            input: input.into(),
            output: output.into(),
            mac: Mac::ZERO,
            mtu: 1500,
        };
        let scratch = Scratch::new("bad");
        drop(scratch.port(&[]));
        let error = PcapPort::open(&setup("/nowhere/in", "/tmp/x")).unwrap_err().to_string();
        assert!(error.starts_with("port wan: capture /nowhere/in cannot be read: "), "{error}");
        let input = scratch.0.join("in.pcap");
        let error = PcapPort::open(&setup(input.to_str().unwrap(), "/nowhere/out")).unwrap_err();
        assert!(error.to_string().starts_with("port wan: /nowhere/out cannot be written: "));
    }
}
