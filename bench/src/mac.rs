//! Stations, as arguments.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use usher_proto::wire::Mac;

/// A link-layer address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MacArg(pub [u8; 6]);

impl FromStr for MacArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let octets: Result<Vec<u8>, _> =
            text.split(':').map(|octet| u8::from_str_radix(octet, 16)).collect();
        let octets = octets.map_err(|_| "expected six octets in hexadecimal")?;
        octets.try_into().map(Self).map_err(|_| "expected six octets")
    }
}

impl From<MacArg> for Mac {
    fn from(mac: MacArg) -> Self {
        Self(mac.0)
    }
}

impl fmt::Display for MacArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Mac(self.0).fmt(f)
    }
}

impl Serialize for MacArg {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_octets_make_a_station() {
        let mac: MacArg = "02:00:00:00:ab:01".parse().expect("a MAC");
        assert_eq!((mac.0, mac.to_string().as_str()), ([2, 0, 0, 0, 0xab, 1], "02:00:00:00:ab:01"));
        assert_eq!("02:00".parse::<MacArg>(), Err("expected six octets"));
        assert_eq!("02:xx".parse::<MacArg>(), Err("expected six octets in hexadecimal"));
    }
}
