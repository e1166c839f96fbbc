//! Ports: found by their device's name, configured and started once, stopped and closed with their last queue.

use std::ffi::{CStr, CString};
use std::sync::Arc;

use dpdk_sys as sys;

use crate::error::checked;
use crate::offload::RSS;
use crate::{Device as Name, Eal, Error, Mempool, Offloads, RxQueue, TxQueue};

/// A symmetric Toeplitz key: both directions of a flow hash alike. Long enough for every driver.
const RSS_KEY: [u8; 64] = {
    let mut key = [0x6d; 64];
    let mut at = 1;
    while at < key.len() {
        key[at] = 0x5a;
        at += 2;
    }
    key
};

/// A port that was found, and perhaps started.
#[derive(Debug)]
pub struct Port {
    device: Arc<Device>,
    info: Info,
    is_started: bool,
}

/// DPDK's port, stopped and closed when it is dropped: nothing uses it any more then.
#[derive(Debug)]
pub(crate) struct Device {
    id: u16,
    name: String,
    /// Closed ports come before EAL's cleanup.
    _eal: Eal,
}

/// What a device can do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Info {
    /// Its driver.
    pub driver: String,
    /// The most queue pairs.
    pub queues: u16,
    /// The largest IP packet.
    pub max_mtu: u16,
    /// What it does of what we can use.
    pub offloads: Offloads,
    /// The NUMA node it is attached to, -1 if none.
    pub node: i32,
    /// Entries of its table from hashes to queues; 0 if it has none to set.
    pub reta: u16,
    rss: u64,
    rss_key_len: u8,
    default_rx: u16,
    default_tx: u16,
}

/// How a port is to be started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setup {
    /// Queue pairs.
    pub queues: u16,
    /// The largest IP packet.
    pub mtu: u16,
    /// Frames a receive queue holds; the device may round it.
    pub rx_ring: u16,
    /// Frames a transmit queue holds; the device may round it.
    pub tx_ring: u16,
}

/// How frames for groups get through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reception {
    /// The device filters the groups that we joined.
    Groups,
    /// It takes all groups.
    AllGroups,
    /// It takes everything.
    Promiscuous,
    /// It has no filter to set, or does not say.
    Unfiltered,
}

/// What a port counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Frames received.
    pub received: u64,
    /// Frames sent.
    pub sent: u64,
    /// Frames lost because the receive queues were full.
    pub missed: u64,
    /// Frames lost because no buffer was free.
    pub no_buffer: u64,
    /// Frames received with errors.
    pub rx_errors: u64,
    /// Frames not sent because of errors.
    pub tx_errors: u64,
}

impl Info {
    /// Whether its MTU is the driver's to set. net_af_packet makes no use of it and claims to carry 1518 bytes at most,
    /// whatever the frames of its ring hold: there the kernel's interface decides alone.
    #[must_use]
    pub fn sets_mtu(&self) -> bool {
        self.driver != "net_af_packet"
    }
}

impl Port {
    /// Opens a device. One on the PCI bus was found when EAL started; a virtual one is made now.
    ///
    /// # Errors
    /// When there is no such device or its driver does not take it.
    pub fn open(eal: &Eal, device: &Name) -> Result<Self, Error> {
        let doing = || format!("cannot open device {device}");
        let nul = |_| Error::ours(doing(), "its name holds a zero byte");
        let name = CString::new(device.name()).map_err(nul)?;
        let whole = CString::new(device.to_string()).map_err(nul)?;
        if !device.is_pci() {
            // SAFETY: EAL runs, as the handle proves; the text is terminated and copied.
            checked(doing, || unsafe { sys::rte_dev_probe(whole.as_ptr()) })?;
        }
        let mut id = 0;
        // SAFETY: the name is terminated and `id` is there to be written.
        checked(doing, || unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &raw mut id) })
            .map_err(|error| if device.is_pci() { error.with_remedy(UNBOUND) } else { error })?;
        let device = Device { id, name: device.name().to_owned(), _eal: eal.clone() };
        let info = device.info()?;
        Ok(Self { device: Arc::new(device), info, is_started: false })
    }

    /// DPDK's number for it.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.device.id
    }

    /// What the device can do.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Starts the port and hands out its queues in pairs. All of them receive into buffers of `pool`.
    ///
    /// # Errors
    /// When it was started before, or the device refuses.
    pub fn start(
        &mut self,
        setup: &Setup,
        pool: &Mempool,
    ) -> Result<Vec<(RxQueue, TxQueue)>, Error> {
        let doing = || format!("cannot start port {}", self.device.name);
        if self.is_started {
            return Err(Error::ours(format!("{}: it is started already", doing()), ""));
        }
        let offloads =
            Offloads { rss: self.info.offloads.rss && setup.queues > 1, ..self.info.offloads };
        self.device.configure(setup, &self.info, offloads)?;
        if self.info.sets_mtu() {
            self.device.set_mtu(setup.mtu)?;
        }
        self.device.set_up_queues(setup, pool)?;
        let id = self.device.id;
        // SAFETY: the port is configured and its queues are set up.
        checked(doing, || unsafe { sys::rte_eth_dev_start(id) })?;
        self.is_started = true;
        let pair = |index| {
            // SAFETY: the port was started just now with this queue, and `start` hands each out once.
            let rx = unsafe { RxQueue::new(&self.device, pool, offloads, index) };
            // SAFETY: as above.
            let tx = unsafe { TxQueue::new(&self.device, pool, offloads, index) };
            (rx, tx)
        };
        Ok((0..setup.queues).map(pair).collect())
    }

    /// The port's MAC.
    ///
    /// # Errors
    /// When the device is gone.
    pub fn mac(&self) -> Result<[u8; 6], Error> {
        let mut mac = sys::rte_ether_addr::default();
        let id = self.device.id;
        let doing = || format!("cannot read the MAC of port {}", self.device.name);
        // SAFETY: the port is open and `mac` is there to be written.
        checked(doing, || unsafe { sys::rte_eth_macaddr_get(id, &raw mut mac) })?;
        Ok(mac.addr_bytes)
    }

    /// Lets frames for these groups through, by the narrowest way that the device has.
    #[must_use]
    pub fn join(&self, groups: &[[u8; 6]]) -> Reception {
        let id = self.device.id;
        let mut list: Vec<_> =
            groups.iter().map(|group| sys::rte_ether_addr { addr_bytes: *group }).collect();
        let count = u32::try_from(list.len()).unwrap_or(u32::MAX);
        let doing = String::new;
        // SAFETY: the port is open and the list holds `count` addresses, which are copied.
        if checked(doing, || unsafe {
            sys::rte_eth_dev_set_mc_addr_list(id, list.as_mut_ptr(), count)
        })
        .is_ok()
        {
            return Reception::Groups;
        }
        // SAFETY: the port is open.
        if checked(doing, || unsafe { sys::rte_eth_allmulticast_enable(id) }).is_ok() {
            return Reception::AllGroups;
        }
        // SAFETY: the port is open.
        match checked(doing, || unsafe { sys::rte_eth_promiscuous_enable(id) }) {
            Ok(_) => Reception::Promiscuous,
            Err(_) => Reception::Unfiltered,
        }
    }

    /// Leads hashes to queues: those whose low bits are the index of an entry to the queue in it. There are
    /// [`Info::reta`] entries. Whether the device does so.
    #[must_use]
    pub fn spread(&self, queues: &[u16]) -> bool {
        let group = sys::USHER_RETA_GROUP as usize;
        let groups: Vec<_> = queues
            .chunks(group)
            .map(|chunk| {
                let mut entry = sys::rte_eth_rss_reta_entry64 {
                    mask: u64::MAX,
                    ..sys::rte_eth_rss_reta_entry64::default()
                };
                entry.reta.iter_mut().zip(chunk).for_each(|(place, queue)| *place = *queue);
                entry
            })
            .collect();
        let (mut groups, size) = (groups, queues.len());
        if size == 0 || size != usize::from(self.info.reta) || !size.is_multiple_of(group) {
            return false;
        }
        let id = self.device.id;
        // SAFETY: the port is open, and there is a group for every 64 entries of its table.
        checked(String::new, || unsafe {
            sys::rte_eth_dev_rss_reta_update(id, groups.as_mut_ptr(), self.info.reta)
        })
        .is_ok()
    }

    /// Whether the device hashes by the symmetric key, which it is given once more: some take it when they are
    /// configured, some only when they run, and what it says then counts.
    #[must_use]
    pub fn hashes_symmetrically(&self) -> bool {
        let len = if self.info.rss_key_len > 0 { self.info.rss_key_len.min(64) } else { 40 };
        let (mut ours, mut its) = (RSS_KEY, [0; 64]);
        let (id, rss) = (self.device.id, self.info.rss);
        // Later releases have more fields.
        let conf = |key: &mut [u8; 64]| {
            let mut conf = sys::rte_eth_rss_conf::default();
            (conf.rss_key, conf.rss_key_len, conf.rss_hf) = (key.as_mut_ptr(), len, rss);
            conf
        };
        let mut wanted = conf(&mut ours);
        // SAFETY: the port is open, and the key is as long as is said.
        let _ = checked(String::new, || unsafe {
            sys::rte_eth_dev_rss_hash_update(id, &raw mut wanted)
        });
        let mut present = conf(&mut its);
        // SAFETY: as above; there is room for any key.
        let told = checked(String::new, || unsafe {
            sys::rte_eth_dev_rss_hash_conf_get(id, &raw mut present)
        });
        told.is_ok() && its[..usize::from(len)] == RSS_KEY[..usize::from(len)]
    }

    /// Whether there is a carrier, as far as the device knows without asking the other end.
    #[must_use]
    pub fn is_link_up(&self) -> bool {
        let mut link = sys::rte_eth_link::default();
        // SAFETY: the port is open and `link` is there to be written.
        let result = unsafe { sys::usher_link_get(self.device.id, &raw mut link) };
        // SAFETY: only reads it.
        result == 0 && unsafe { sys::usher_link_is_up(&raw const link) } != 0
    }

    /// What the port has counted; zeros when the device does not say.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut raw = sys::rte_eth_stats::default();
        // SAFETY: the port is open and `raw` is there to be written.
        unsafe { sys::rte_eth_stats_get(self.device.id, &raw mut raw) };
        Stats {
            received: raw.ipackets,
            sent: raw.opackets,
            missed: raw.imissed,
            no_buffer: raw.rx_nombuf,
            rx_errors: raw.ierrors,
            tx_errors: raw.oerrors,
        }
    }
}

const UNBOUND: &str = "check the address, and bind the device to vfio-pci";

impl Device {
    pub(crate) fn id(&self) -> u16 {
        self.id
    }

    fn info(&self) -> Result<Info, Error> {
        let mut raw = sys::rte_eth_dev_info::default();
        let doing = || format!("cannot ask port {} what it can do", self.name);
        // SAFETY: the port is open and `raw` is there to be written.
        checked(doing, || unsafe { sys::rte_eth_dev_info_get(self.id, &raw mut raw) })?;
        // SAFETY: the port is open.
        let node = unsafe { sys::rte_eth_dev_socket_id(self.id) };
        let driver = driver_of(&raw);
        Ok(Info {
            queues: raw.max_rx_queues.min(raw.max_tx_queues).min(sound_queues(&driver)),
            driver,
            max_mtu: raw.max_mtu,
            offloads: Offloads::of(&raw),
            node,
            reta: raw.reta_size,
            rss: raw.flow_type_rss_offloads & RSS,
            rss_key_len: raw.hash_key_size,
            default_rx: raw.default_rxportconf.ring_size,
            default_tx: raw.default_txportconf.ring_size,
        })
    }

    fn configure(&self, setup: &Setup, info: &Info, offloads: Offloads) -> Result<(), Error> {
        let mut conf = sys::rte_eth_conf::default();
        conf.rxmode.offloads = offloads.rx_bits();
        conf.txmode.offloads = offloads.tx_bits();
        let mut key = RSS_KEY;
        if offloads.rss {
            conf.rxmode.mq_mode = sys::USHER_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf.rss_hf = info.rss;
            if info.rss_key_len > 0 {
                conf.rx_adv_conf.rss_conf.rss_key = key.as_mut_ptr();
                conf.rx_adv_conf.rss_conf.rss_key_len = info.rss_key_len.min(64);
            }
        }
        let doing =
            || format!("cannot configure port {} with {} queue pairs", self.name, setup.queues);
        // SAFETY: the port is open and not started; DPDK copies the configuration and the key.
        checked(doing, || unsafe {
            sys::rte_eth_dev_configure(self.id, setup.queues, setup.queues, &raw const conf)
        })?;
        Ok(())
    }

    fn set_up_queues(&self, setup: &Setup, pool: &Mempool) -> Result<(), Error> {
        let doing = || format!("cannot set up the queues of port {}", self.name);
        let (mut rx, mut tx) = (setup.rx_ring, setup.tx_ring);
        // SAFETY: the port is configured, and both sizes are there to be written.
        checked(doing, || unsafe {
            sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.id, &raw mut rx, &raw mut tx)
        })?;
        // SAFETY: the port is open.
        let node = unsafe { sys::rte_eth_dev_socket_id(self.id) }.cast_unsigned();
        for index in 0..setup.queues {
            // SAFETY: the port is configured with this queue; null means the device's defaults, which include what
            // was configured for the port; queues and their port keep the pool.
            checked(doing, || unsafe {
                sys::rte_eth_rx_queue_setup(self.id, index, rx, node, std::ptr::null(), pool.raw())
            })?;
            // SAFETY: as above.
            checked(doing, || unsafe {
                sys::rte_eth_tx_queue_setup(self.id, index, tx, node, std::ptr::null())
            })?;
        }
        Ok(())
    }

    /// A device that cannot set its MTU is believed if it has the one we want.
    fn set_mtu(&self, mtu: u16) -> Result<(), Error> {
        let mut now = 0;
        // SAFETY: the port is open and `now` is there to be written.
        if unsafe { sys::rte_eth_dev_get_mtu(self.id, &raw mut now) } == 0 && now == mtu {
            return Ok(());
        }
        let doing = || format!("cannot set the MTU of port {} to {mtu}", self.name);
        // SAFETY: the port is open and not started.
        checked(doing, || unsafe { sys::rte_eth_dev_set_mtu(self.id, mtu) })?;
        Ok(())
    }
}

/// The most queue pairs that a driver survives, whatever it claims. On start, net_tap of 22.11 announces the descriptors
/// of all its queues in a message that has room for eight: 4 pairs start, with 8 its stack is smashed.
fn sound_queues(driver: &str) -> u16 {
    if driver == "net_tap" { 4 } else { u16::MAX }
}

fn driver_of(info: &sys::rte_eth_dev_info) -> String {
    if info.driver_name.is_null() {
        return String::new();
    }
    // SAFETY: the driver's name is a static, terminated string.
    unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned()
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: the port is open, and no queue is left that could be in use.
        let (_, _) = crate::log::listen(|| unsafe { sys::rte_eth_dev_stop(self.id) });
        // SAFETY: as above; the id is not used afterwards.
        let (_, _) = crate::log::listen(|| unsafe { sys::rte_eth_dev_close(self.id) });
    }
}
