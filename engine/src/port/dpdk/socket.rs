//! Socket files of virtual devices that share memory with another process.
//!
//! A process that was killed leaves its file behind, and the next start fails with "address in use". So a file that
//! nobody listens at is removed; one that somebody listens at is left, and named.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use dpdk::Device;

/// Removes the file that the device is about to make, if it is a leftover.
///
/// # Errors
/// When somebody listens there.
pub(super) fn clear(device: &Device) -> Result<(), String> {
    let Some(path) = made_by(device) else { return Ok(()) };
    if !fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        return Ok(());
    }
    match UnixStream::connect(path).map_err(|error| error.kind()) {
        Err(ErrorKind::ConnectionRefused) => fs::remove_file(path).map_err(|error| {
            format!("cannot remove the leftover {}: {error}; remove it by hand", path.display())
        }),
        _ => Err(format!(
            "another process listens at {}; stop it, or give the device another path",
            path.display()
        )),
    }
}

/// The socket file that this end makes; the other end only connects.
fn made_by(device: &Device) -> Option<&Path> {
    let is = |key, value| device.argument(key) == Some(value);
    let path = if device.is_driver("net_memif") {
        let makes = (is("role", "server") || is("role", "master")) && is("socket-abstract", "no");
        device.argument("socket").filter(|_| makes)
    } else if device.is_driver("net_vhost") {
        device.argument("iface").filter(|_| !is("client", "1"))
    } else {
        None
    };
    path.map(Path::new)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn memif(role: &str, path: &Path) -> Device {
        let text = format!("net_memif0,role={role},socket={},socket-abstract=no", path.display());
        Device::parse(&text).expect("a device")
    }

    #[test]
    fn only_a_leftover_is_removed() {
        let directory = std::env::temp_dir().join(format!("usher-socket-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join("memif.sock");
        assert_eq!(clear(&memif("server", &path)), Ok(()), "there is none");

        let listener = UnixListener::bind(&path).expect("a socket");
        let error = clear(&memif("server", &path)).expect_err("it is in use");
        assert!(error.starts_with("another process listens at"), "{error}");

        drop(listener);
        assert_eq!(clear(&memif("client", &path)), Ok(()));
        assert!(path.exists(), "the client's end never removes it");
        assert_eq!(clear(&memif("server", &path)), Ok(()));
        assert!(!path.exists());

        fs::write(&path, "not a socket").expect("a file");
        assert_eq!(clear(&memif("server", &path)), Ok(()));
        assert!(path.exists(), "a file that is no socket is not ours to remove");
        fs::remove_dir_all(&directory).expect("removed");
    }
}
