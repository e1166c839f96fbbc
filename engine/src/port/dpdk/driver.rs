//! What drivers want to hear that the configuration need not say.

use std::fs;
use std::path::Path;

use dpdk::Device;

/// Bytes of a buffer for frames of a port: beside the MTU, Ethernet, two VLAN tags and the header that the kernel puts
/// before a frame in a packet socket's ring; in steps of 1 KiB, because NICs count receive buffers so, and at least
/// 2 KiB, which memif and Intel's drivers take for granted.
pub(super) fn room(mtu: u16) -> u16 {
    mtu.saturating_add(ENVELOPE).next_multiple_of(1024).max(SMALLEST)
}

const SMALLEST: u16 = 2048;
const ENVELOPE: u16 = 14 + 8 + 4 + 64;

/// Adds to a virtual device the arguments without which it has one queue, or small frames. What the configuration
/// gives itself stays.
pub(super) fn fit(device: &mut Device, queues: u16, mtu: u16) {
    if device.is_driver("net_af_packet") {
        device.default_argument("qpairs", queues);
        fit_af_packet(device, mtu);
    } else if device.is_driver("net_vhost") || device.is_driver("net_virtio_user") {
        device.default_argument("queues", queues);
    }
}

/// A packet socket's ring has frames of fixed size, 2 KiB if nothing is said, in blocks of whole pages; the driver wants
/// a buffer to hold what fits into a frame.
fn fit_af_packet(device: &mut Device, mtu: u16) {
    let frame = room(mtu);
    if frame > SMALLEST {
        device.default_argument("framesz", frame);
        device.default_argument("blocksz", u32::from(frame) * 4);
    }
}

/// The MTU of the kernel interface under a packet socket, which nobody else looks at; `None` for other devices.
pub(super) fn interface_mtu(device: &Device) -> Option<u16> {
    let interface = device.argument("iface").filter(|_| device.is_driver("net_af_packet"))?;
    let text = fs::read_to_string(Path::new("/sys/class/net").join(interface).join("mtu")).ok()?;
    let mtu: u32 = text.trim().parse().ok()?;
    Some(u16::try_from(mtu).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(text: &str, queues: u16, mtu: u16) -> String {
        let mut device = Device::parse(text).expect("a device");
        fit(&mut device, queues, mtu);
        device.to_string()
    }

    #[test]
    fn a_packet_socket_gets_a_queue_for_each_worker_and_frames_for_the_mtu() {
        assert_eq!(fitted("net_af_packet0,iface=e0", 2, 1500), "net_af_packet0,iface=e0,qpairs=2");
        assert_eq!(
            fitted("net_af_packet0,iface=e0,qpairs=1", 2, 9000),
            "net_af_packet0,iface=e0,qpairs=1,framesz=9216,blocksz=36864"
        );
    }

    #[test]
    fn a_packet_socket_carries_what_its_interface_does() {
        let mtu_of = |text| interface_mtu(&Device::parse(text).expect("a device"));
        assert!(mtu_of("net_af_packet0,iface=lo").is_some());
        assert_eq!(mtu_of("net_af_packet0,iface=no-such-link"), None);
        assert_eq!(mtu_of("net_af_xdp0,iface=lo"), None);
    }

    #[test]
    fn other_devices_are_left_alone() {
        for device in
            ["0000:3b:00.0", "net_memif0,role=client", "net_null0", "net_pcap0,rx_pcap=in.pcap"]
        {
            assert_eq!(fitted(device, 4, 9000), device);
        }
    }

    #[test]
    fn buffers_hold_a_tagged_frame() {
        assert_eq!((room(1500), room(1958), room(1959), room(9000)), (2048, 2048, 3072, 9216));
    }
}
