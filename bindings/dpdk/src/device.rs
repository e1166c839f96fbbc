//! The name of a device: a PCI address or a virtual device with its arguments.

#![forbid(unsafe_code)]

use std::fmt;

use crate::Error;

/// A device as the configuration spells it: `0000:3b:00.0` or `net_af_packet0,iface=e0`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    name: String,
    arguments: Vec<String>,
    is_pci: bool,
}

impl Device {
    /// Reads a name and, behind commas, its arguments. A PCI address may lack its domain.
    ///
    /// # Errors
    /// When it is neither a PCI address nor the name of a virtual device.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut parts = text.trim().split(',').map(|part| part.trim().to_owned());
        let name = parts.next().unwrap_or_default();
        let arguments: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
        if let Some(address) = pci_address(&name) {
            return Ok(Self { name: address, arguments, is_pci: true });
        }
        let is_word = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
        if name.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && name.chars().all(is_word)
        {
            return Ok(Self { name, arguments, is_pci: false });
        }
        Err(Error::ours(
            format!("`{text}` names no device"),
            "give a PCI address such as 0000:3b:00.0 or a virtual device such as net_af_packet0,iface=e0",
        ))
    }

    /// The name of the port that it becomes.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it sits on the PCI bus; else it is virtual.
    #[must_use]
    pub fn is_pci(&self) -> bool {
        self.is_pci
    }

    /// Whether a virtual device is of this driver: its name is the driver's and a number.
    #[must_use]
    pub fn is_driver(&self, driver: &str) -> bool {
        let number = self.name.strip_prefix(driver);
        !self.is_pci
            && number.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphabetic() || c == '_'))
    }

    /// The value of an argument, if it is given.
    #[must_use]
    pub fn argument(&self, key: &str) -> Option<&str> {
        let pairs = self.arguments.iter().filter_map(|argument| argument.split_once('='));
        pairs.filter(|(found, _)| *found == key).map(|(_, value)| value).next_back()
    }

    /// Adds an argument unless it is given.
    pub fn default_argument(&mut self, key: &str, value: impl fmt::Display) {
        if self.argument(key).is_none() {
            self.arguments.push(format!("{key}={value}"));
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.arguments.iter().try_for_each(|argument| write!(f, ",{argument}"))
    }
}

/// `[domain:]bus:device.function` in hexadecimal, spelled as DPDK does.
fn pci_address(text: &str) -> Option<String> {
    let (front, function) = text.rsplit_once('.')?;
    let mut numbers = front.rsplit(':').map(|part| u32::from_str_radix(part, 16).ok());
    let (device, bus) = (numbers.next()??, numbers.next()??);
    let domain = numbers.next().map_or(Some(0), |domain| domain)?;
    let function: u32 = function.parse().ok()?;
    let fits = numbers.next().is_none() && bus < 256 && device < 32 && function < 8;
    fits.then(|| format!("{domain:04x}:{bus:02x}:{device:02x}.{function}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses_get_their_domain() {
        for text in ["0000:3b:00.1", "3b:00.1", "3B:0.1"] {
            let device = Device::parse(text).expect("a PCI address");
            assert!(device.is_pci());
            assert_eq!(device.to_string(), "0000:3b:00.1");
        }
    }

    #[test]
    fn virtual_devices_keep_their_arguments() {
        let mut device = Device::parse("net_af_packet0,iface=e0").expect("a device");
        assert_eq!(device.argument("iface"), Some("e0"));
        device.default_argument("iface", "other");
        device.default_argument("qpairs", 2);
        assert_eq!(device.to_string(), "net_af_packet0,iface=e0,qpairs=2");
        assert!(device.is_driver("net_af_packet") && !device.is_driver("net_af"));
    }

    #[test]
    fn what_is_neither_is_refused_with_a_remedy() {
        for text in ["", "0", "3b:00", "eth 0", "0000:3b:20.0", "1:2:3:4.0"] {
            let error = Device::parse(text).expect_err(text).to_string();
            assert!(error.contains("names no device; give a PCI address"), "{error}");
        }
    }
}
