//! `device = "pcap:in=FILE,out=FILE"`: captures in a device's place.

use std::path::Path;

use usher_proto::wire::Mac;

use super::plan::{PcapFiles, Plan, PortPlan};
use super::problem::At;
use super::section::Section;
use crate::port::pcap::PcapSetup;

/// What such a device begins with.
pub(super) const PREFIX: &str = "pcap:";

/// A right one.
const RIGHT: &str = "write `pcap:in=FILE,out=FILE`, and `,mac=02:00:00:00:00:01` for another MAC than \
                     that; paths are relative to this file";

/// The MAC of a port that plays captures, unless the file says another: a locally administered one.
const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// Reads what follows the prefix.
pub(super) fn read(
    section: &Section<'_>,
    text: &At<&str>,
    arguments: &str,
    dir: &Path,
) -> Option<PcapFiles> {
    let wrong = |what: String| {
        section.problems().add(text, what, RIGHT);
    };
    let (mut input, mut output, mut mac) = (None, None, None);
    for argument in arguments.split(',') {
        let (key, value) = argument.split_once('=').unwrap_or((argument, ""));
        let place = match key {
            "in" => &mut input,
            "out" => &mut output,
            "mac" => &mut mac,
            _ => {
                wrong(format!("captures have no argument `{argument}`"));
                return None;
            }
        };
        if value.is_empty() || place.replace(value).is_some() {
            wrong(format!("`{key}` stands there without a value, or twice"));
            return None;
        }
    }
    let mac = mac.map_or(Some(MAC), station);
    let (Some(input), Some(output), Some(mac)) = (input, output, mac) else {
        let what =
            if mac.is_none() { "that is no MAC of a station" } else { "`in` or `out` is missing" };
        wrong(what.into());
        return None;
    };
    if input == output {
        wrong("what is played cannot be written at once".into());
        return None;
    }
    Some(PcapFiles { input: dir.join(input), output: dir.join(output), mac })
}

/// Six octets in hexadecimal, of one station.
fn station(text: &str) -> Option<Mac> {
    let octets: Option<Vec<u8>> = text
        .split(':')
        .map(|part| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2))
        .collect();
    let mac = Mac(octets?.try_into().ok()?);
    mac.is_station().then_some(mac)
}

impl Plan {
    /// The ports' setups, if they play captures.
    #[must_use]
    pub fn pcap_setups(&self) -> Option<Vec<PcapSetup>> {
        self.ports.iter().map(setup).collect()
    }
}

fn setup(port: &PortPlan) -> Option<PcapSetup> {
    let super::Device::Pcap(files) = &port.device else { return None };
    Some(PcapSetup {
        name: port.name.clone(),
        input: files.input.clone(),
        output: files.output.clone(),
        mac: files.mac,
        mtu: port.mtu,
    })
}
