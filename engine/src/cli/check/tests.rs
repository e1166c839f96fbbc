//! Findings about hosts that a test makes up.

use std::os::unix::fs::symlink;

use super::*;
use crate::config::Cores;

/// A made-up `/sys` and `/proc` that goes away with the value.
struct Made(PathBuf);

impl Made {
    fn new(name: &str) -> Self {
        let dir = format!("usher-check-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(dir))
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn host(&self) -> Host {
        Host { sys: self.0.join("sys"), proc: self.0.join("proc") }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn plan(device: &str, extra: &str) -> Plan {
    let text = format!(
        "[[port]]\nname = \"wan\"\ndevice = \"{device}\"\naddresses = [\"10.10.0.2/16\"]\n\
         [[service]]\nname = \"a\"\nlisten = [\"10.10.0.11:80\"]\nkind = \"respond\"\nresponse = \"a\"\n{extra}"
    );
    Plan::parse(&text, Path::new("usher.toml")).unwrap_or_else(|e| panic!("{e}"))
}

fn lines(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

#[test]
fn memory_is_compared_with_what_is_needed() {
    let made = Made::new("memory");
    made.file("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:   4194304 kB\n");
    let check = |extra: &str| {
        lines(&memory::check(&plan("net_af_packet0,iface=e0", extra), 1, &made.host()))
    };
    let mut report = check("[dpdk]\nmemory = \"auto\"");
    report += &check("[dpdk]\nmemory = \"huge\"");
    report += &check("[dpdk]\nmemory = \"none\"\n[flow_table]\ncapacity = 50_000_000");
    made.file("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "100\n");
    report += &check("[dpdk]\nmbufs_per_port = 16383");
    report += &check("[dpdk]\nmemory = \"huge\"\nmbufs_per_port = 262143");
    insta::assert_snapshot!(report);
}

#[test]
fn devices_are_there_and_bound() {
    let made = Made::new("device");
    let net = "sys/class/net";
    for (name, index, link, state) in [("e0", "7", "7", "up"), ("e1", "8", "9", "down")] {
        made.file(&format!("{net}/{name}/ifindex"), index);
        made.file(&format!("{net}/{name}/iflink"), link);
        made.file(&format!("{net}/{name}/operstate"), state);
        made.file(&format!("{net}/{name}/mtu"), "1400");
    }
    for (device, driver) in [("0000:3b:00.0", "ixgbe"), ("0000:3b:00.1", "vfio-pci")] {
        made.file(&format!("sys/bus/pci/devices/{device}/numa_node"), "1");
        let link = made.0.join(format!("sys/bus/pci/devices/{device}/driver"));
        symlink(format!("/sys/bus/pci/drivers/{driver}"), link).unwrap();
    }
    let machine = Topology { usable: vec![0, 1, 2], isolated: vec![2], nodes: vec![0, 0, 1] };
    let mut report = String::new();
    for device in [
        "net_af_packet0,iface=e0",
        "net_af_packet0,iface=e1",
        "net_af_packet0,iface=e2",
        "net_vhost0,iface=/run/vm.sock",
        "net_af_packet0",
        "net_null0",
        "0000:3b:00.0",
        "3b:00.1",
        "0000:3b:00.2",
    ] {
        let plan = plan(device, "");
        report += &lines(&device::check(&plan.ports[0], &made.host(), &machine, &[1, 2]));
    }
    insta::assert_snapshot!(report);
}

#[test]
fn workers_without_a_queue_are_told_of() {
    let made = Made::new("queues");
    let machine = Topology { usable: vec![0, 1], isolated: Vec::new(), nodes: Vec::new() };
    let told = |device: &str, queues: Option<u16>| {
        let mut plan = plan(device, "[engine]\ncores = [0, 1]\n");
        plan.ports[0].queues = queues;
        let found = findings(&plan, Path::new("usher.toml"), &made.host(), &machine);
        lines(&found).contains("warn port wan: 1 queue(s) for 2 workers: frames are handed on")
    };
    assert!(told("net_null0", Some(1)) && told("pcap:in=a,out=b", None));
    assert!(!told("net_null0", None) && !told("net_null0", Some(2)));
}

#[test]
fn cores_are_there_and_isolated() {
    let machine = Topology { usable: vec![0, 1, 2], isolated: vec![2], nodes: Vec::new() };
    let check = |cores: &[usize]| {
        lines(&cores::check(&Cores::These(cores.to_vec()).resolve(&machine), &machine))
    };
    insta::assert_snapshot!([check(&[2]), check(&[1, 2]), check(&[7]), check(&[0, 1, 2])].concat());
}

#[test]
fn the_kernel_must_not_have_our_addresses() {
    let plan = plan("net_af_packet0,iface=e0", "");
    let addresses = |held: &str| [("e0".to_owned(), vec![held.parse().unwrap()])].into();
    let check = |held: &str| lines(&kernel::owned(&plan.ports[0], "e0", &addresses(held)));
    let report = [check("10.10.0.2"), check("10.10.0.11"), check("10.10.0.9")].concat();
    insta::assert_snapshot!(report);
}

#[test]
fn a_secret_is_for_its_owner_only() {
    let made = Made::new("secret");
    made.file("secret", "x");
    let path = made.0.join("secret");
    for (mode, grade) in [(0o600, Grade::Ok), (0o640, Grade::Warn), (0o604, Grade::Warn)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(secret_file(&path).grade, grade);
    }
    assert_eq!(secret_file(&made.0.join("nowhere")).grade, Grade::Fail);
}

/// On whatever machine this runs, a check ends and finds something to say.
#[test]
fn this_host_can_be_checked() {
    let found =
        findings(&plan("net_null0", ""), Path::new("usher.toml"), &Host::this(), &Topology::read());
    assert!(found.len() > 5, "{}", lines(&found));
}

/// An operator who checks a file means to run it.
#[test]
fn a_service_that_needs_a_program_fails() {
    let respond = plan("net_af_packet0,iface=e0", "");
    assert!(respond.services.iter().all(|service| consumer(service).is_none()));
    let text = "[[port]]\nname = \"wan\"\ndevice = \"net_null0\"\naddresses = [\"10.10.0.2/16\"]\n\
                [[service]]\nname = \"a\"\nlisten = [\"10.10.0.11:80\"]\nkind = \"ring\"\n";
    let ring = Plan::parse(text, Path::new("usher.toml")).unwrap_or_else(|e| panic!("{e}"));
    let found = lines(&ring.services.iter().filter_map(consumer).collect::<Vec<_>>());
    assert!(
        found.starts_with("fail service a: ") && found.contains("the library `usher`"),
        "{found}"
    );
}
