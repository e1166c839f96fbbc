//! What drivers want to hear that the configuration need not say.

use dpdk::Device;

/// Bytes of a buffer for frames of a port: Ethernet and two VLAN tags beside the MTU, in steps of 1 KiB, because NICs
/// count receive buffers so, and at least 2 KiB, which memif and Intel's drivers take for granted.
pub(super) fn room(mtu: u16) -> u16 {
    mtu.saturating_add(ENVELOPE).next_multiple_of(1024).max(2048)
}

const ENVELOPE: u16 = 14 + 8 + 4;

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

/// The kernel's ring has frames of fixed size in blocks; its header takes up to 64 bytes of each frame.
fn fit_af_packet(device: &mut Device, mtu: u16) {
    if usize::from(mtu) + usize::from(ENVELOPE) + 64 > 2048 {
        device.default_argument("framesz", 16384);
        device.default_argument("blocksz", 16384);
    }
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
            "net_af_packet0,iface=e0,qpairs=1,framesz=16384,blocksz=16384"
        );
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
        assert_eq!((room(1500), room(2022), room(2023), room(9000)), (2048, 2048, 3072, 9216));
    }
}
