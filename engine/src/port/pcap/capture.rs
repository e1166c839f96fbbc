//! A capture file, read whole.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use pcap_file::pcap::PcapParser;
use pcap_file::pcapng::{Block, PcapNgParser};
use pcap_file::{DataLink, PcapError};

use crate::port::PortError;

/// The largest file that is read, in bytes: its frames are kept in memory.
const FILE_MAX: u64 = 1 << 30;

/// What a pcapng file begins with: the type of its section header, the same in both byte orders.
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// The frames of a file in its order.
#[derive(Debug, Default)]
pub(super) struct Capture {
    /// One frame behind the other.
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Capture {
    /// Reads a pcap or pcapng file.
    pub(super) fn read(path: &Path) -> Result<Self, PortError> {
        let says = |what: String| PortError::from(format!("capture {} {what}", path.display()));
        let bytes = read_bounded(path).map_err(|cause| says(format!("cannot be read: {cause}")))?;
        Self::parse(&bytes).map_err(says)
    }

    /// The frames of a file's content; the error says what is wrong with it.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut capture = Self::default();
        let pcapng = bytes.starts_with(&SECTION_HEADER);
        let read = if pcapng { capture.pcapng(bytes) } else { capture.pcap(bytes) };
        match read {
            Ok(()) => Ok(capture),
            Err(Wrong::Format) => Err("is neither pcap nor pcapng".into()),
            Err(Wrong::Link(link)) => {
                Err(format!("has frames of link type {}, not Ethernet", u32::from(link)))
            }
            Err(Wrong::Block(PcapError::IncompleteBuffer)) => {
                Err(format!("is cut short after {} whole frame(s)", capture.len()))
            }
            Err(Wrong::Block(error)) => {
                Err(format!("is malformed after {} frame(s): {error}", capture.len()))
            }
        }
    }

    /// How many frames there are.
    pub(super) const fn len(&self) -> usize {
        self.ends.len()
    }

    /// The frame at `index`, if there is one.
    pub(super) fn frame(&self, index: usize) -> Option<&[u8]> {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.bytes.get(start..*self.ends.get(index)?)
    }

    fn push(&mut self, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
        self.ends.push(self.bytes.len());
    }

    fn pcap(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        let (mut rest, parser) = PcapParser::new(bytes).map_err(|_| Wrong::Format)?;
        ethernet(parser.header().datalink)?;
        while !rest.is_empty() {
            // raw: a frame that the capture's own limit has cut is played as far as it was kept
            let (next, packet) = parser.next_raw_packet(rest).map_err(Wrong::Block)?;
            self.push(&packet.data);
            rest = next;
        }
        Ok(())
    }

    fn pcapng(&mut self, bytes: &[u8]) -> Result<(), Wrong> {
        let (mut rest, mut parser) = PcapNgParser::new(bytes).map_err(Wrong::Block)?;
        while !rest.is_empty() {
            let (next, block) = parser.next_block(rest).map_err(Wrong::Block)?;
            rest = next;
            let (interface, data, len) = match &block {
                Block::EnhancedPacket(packet) => (packet.interface_id, &packet.data, u32::MAX),
                Block::Packet(packet) => (packet.interface_id.into(), &packet.data, u32::MAX),
                // its length is not stored: what is beyond the original one is padding
                Block::SimplePacket(packet) => (0, &packet.data, packet.original_len),
                _ => continue,
            };
            let unknown = || Wrong::Block(PcapError::InvalidInterfaceId(interface));
            let link = parser.interfaces().get(interface as usize).ok_or_else(unknown)?;
            ethernet(link.linktype)?;
            self.push(data.get(..len as usize).unwrap_or(data));
        }
        Ok(())
    }
}

/// Why a file cannot be played.
enum Wrong {
    Format,
    Link(DataLink),
    Block(PcapError),
}

fn ethernet(link: DataLink) -> Result<(), Wrong> {
    if link == DataLink::ETHERNET { Ok(()) } else { Err(Wrong::Link(link)) }
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(std::io::Error::other(format!("it has more than {FILE_MAX} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
    use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
    use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;
    use pcap_file::pcapng::blocks::simple_packet::SimplePacketBlock;
    use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};
    use proptest::prelude::*;

    use super::*;

    const FRAMES: [&[u8]; 3] = [b"first", b"", b"the third one"];

    fn pcap(datalink: DataLink) -> Vec<u8> {
        let header = PcapHeader { datalink, ..PcapHeader::default() };
        let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
        for frame in FRAMES {
            let packet = PcapPacket::new(Duration::from_secs(1), frame.len() as u32 + 9, frame);
            writer.write_packet(&packet).unwrap();
        }
        writer.into_writer()
    }

    fn pcapng(link: DataLink) -> Vec<u8> {
        let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
        let interface = InterfaceDescriptionBlock::new(link, 0).into_block();
        writer.write_block(&interface).unwrap();
        for frame in &FRAMES[..2] {
            let packet = EnhancedPacketBlock {
                interface_id: 0,
                timestamp: Duration::ZERO,
                original_len: frame.len() as u32,
                data: (*frame).into(),
                options: Vec::new(),
            };
            writer.write_block(&packet.into_block()).unwrap();
        }
        let original_len = FRAMES[2].len() as u32;
        let simple = SimplePacketBlock { original_len, data: FRAMES[2].into() };
        writer.write_block(&simple.into_block()).unwrap();
        writer.into_inner()
    }

    #[test]
    fn both_formats_give_their_frames_in_order() {
        for bytes in [pcap(DataLink::ETHERNET), pcapng(DataLink::ETHERNET)] {
            let capture = Capture::parse(&bytes).unwrap();
            let frames: Vec<_> = (0..capture.len()).map(|i| capture.frame(i).unwrap()).collect();
            assert_eq!((frames.as_slice(), capture.frame(3)), (FRAMES.as_slice(), None));
        }
    }

    #[test]
    fn what_cannot_be_played_is_told_in_a_sentence() {
        let (mut cut, ng) = (pcap(DataLink::ETHERNET), pcapng(DataLink::ETHERNET));
        cut.truncate(cut.len() - 1);
        let mut odd = ng.clone();
        odd[ng.len() - 1] ^= 1; // the last block's second length
        for (bytes, what) in [
            (b"GET / HTTP/1.1".to_vec(), "is neither pcap nor pcapng"),
            (Vec::new(), "is neither pcap nor pcapng"),
            (cut, "is cut short after 2 whole frame(s)"),
            (ng[..ng.len() - 5].to_vec(), "is cut short after 2 whole frame(s)"),
            (odd, "is malformed after 2 frame(s): Invalid field value"),
            (pcap(DataLink::RAW), "has frames of link type 101, not Ethernet"),
            (pcapng(DataLink::LINUX_SLL), "has frames of link type 113, not Ethernet"),
        ] {
            let error = Capture::parse(&bytes).unwrap_err();
            assert!(error.starts_with(what), "{error}");
        }
        let error = Capture::read(Path::new("/nowhere/x.pcap")).unwrap_err().to_string();
        assert!(error.starts_with("capture /nowhere/x.pcap cannot be read: "), "{error}");
    }

    proptest! {
        /// A file may be anything.
        #[test]
        fn no_content_panics(ng: bool, at in 0usize..300, with: Vec<u8>, keep in 0usize..300) {
            let mut bytes = if ng { pcapng(DataLink::ETHERNET) } else { pcap(DataLink::ETHERNET) };
            let at = at.min(bytes.len());
            let end = (at + with.len()).min(bytes.len());
            bytes.splice(at..end, with);
            bytes.truncate(keep.max(at));
            let _ = Capture::parse(&bytes);
        }
    }
}
