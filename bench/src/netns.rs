//! Where load may go: nowhere that was not said to be ours.

use std::fs::{File, metadata};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use clap::Args;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::Serialize;

/// Why a target may be loaded, if it is no loopback address.
#[derive(Args, Clone, Debug, Default, Serialize)]
pub struct Permit {
    /// Network namespace to run in; its name starts with `usher-`
    #[arg(long)]
    pub netns: Option<String>,
    /// Says that the target and all networks on the way to it are yours to load
    #[arg(long)]
    pub i_own_this_network: bool,
}

impl Permit {
    /// Moves this thread, and those that it starts from now on, into the namespace, if there is one; refuses a target
    /// that is neither loopback, nor in a namespace of ours, nor confirmed.
    ///
    /// # Errors
    /// When it is refused, or the namespace is not ours.
    pub fn admit(&self, target: IpAddr) -> io::Result<()> {
        match &self.netns {
            Some(name) => enter(name),
            None if self.i_own_this_network || target.to_canonical().is_loopback() => Ok(()),
            None => Err(because(format!(
                "{target} is not a loopback address: run in a network namespace of your own (--netns usher-…), \
                 or say --i-own-this-network if target and network are yours to load"
            ))),
        }
    }
}

/// The prefix of every namespace that our scripts make, and of no other's.
const OURS: &str = "usher-";

/// Moves this thread into the namespace `name`.
///
/// # Errors
/// When it is not one of ours or is the caller's.
pub(crate) fn enter(name: &str) -> io::Result<()> {
    if !name.starts_with(OURS) || name.contains('/') {
        return Err(because(format!(
            "namespace '{name}' is not ours: its name must start with '{OURS}'"
        )));
    }
    let path = Path::new("/run/netns").join(name);
    let namespace =
        File::open(&path).map_err(|error| because(format!("{}: {error}", path.display())))?;
    if identity(&path)? == identity(Path::new("/proc/self/ns/net"))? {
        return Err(because(format!(
            "namespace '{name}' is where this was started: it must be one apart"
        )));
    }
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

/// Two paths name one namespace exactly when device and inode agree (namespaces(7)).
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    metadata(path).map(|found| (found.dev(), found.ino()))
}

fn because(why: String) -> io::Error {
    io::Error::other(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str) -> String {
        enter(name).expect_err("refused").to_string()
    }

    #[test]
    fn a_namespace_of_another_name_is_refused() {
        assert!(refusal("prod").contains("not ours"));
        assert!(refusal("usher-/../../1").contains("not ours"));
    }

    #[test]
    fn a_namespace_that_does_not_exist_is_refused() {
        assert!(refusal("usher-nowhere").contains("usher-nowhere"));
    }

    #[test]
    fn only_loopback_needs_no_word() {
        let admit =
            |permit: &Permit, target: &str| permit.admit(target.parse().expect("an address"));
        let none = Permit::default();
        for own in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(admit(&none, own).is_ok(), "{own}");
        }
        for other in ["10.10.0.10", "192.0.2.1", "fd00::10", "0.0.0.0", "::ffff:10.0.0.1"] {
            let error = admit(&none, other).expect_err("refused").to_string();
            assert!(error.contains("--i-own-this-network"), "{error}");
        }
        assert!(admit(&Permit { i_own_this_network: true, netns: None }, "192.0.2.1").is_ok());
        let elsewhere = Permit { i_own_this_network: true, netns: Some("prod".into()) };
        assert!(admit(&elsewhere, "127.0.0.1").is_err(), "a namespace that is named is entered");
    }
}
