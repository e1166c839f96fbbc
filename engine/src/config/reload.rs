//! What of a plan can change while an engine runs.

use super::plan::{Plan, PortPlan, RingPlan, ServicePlan};

impl Plan {
    /// The keys in which `next` differs from this plan and which a running engine cannot change. The secret
    /// file's content is for the keys themselves to judge.
    #[must_use]
    pub fn fixed_differences(&self, next: &Self) -> Vec<String> {
        let Self { engine, dpdk, ports, flow_capacity, policy, handshake, .. } = self;
        let secret = |plan: &Self| plan.handshake.secret.is_some();
        let same = [
            ("engine.cores", engine.cores == next.engine.cores),
            ("engine.control_socket", engine.control_socket == next.engine.control_socket),
            ("engine.control_group", engine.control_group == next.engine.control_group),
            ("dpdk.memory", dpdk.memory == next.dpdk.memory),
            ("dpdk.memory_mb", dpdk.memory_mb == next.dpdk.memory_mb),
            ("dpdk.eal_args", dpdk.eal_args == next.dpdk.eal_args),
            ("dpdk.mbufs_per_port", dpdk.mbufs_per_port == next.dpdk.mbufs_per_port),
            ("flow_table.capacity", *flow_capacity == next.flow_capacity),
            // cookies that are on their way were issued with it, and they do not carry it
            ("handshake.window_scale", policy.window_scale == next.policy.window_scale),
            ("handshake.secret_file", handshake.secret.is_some() == secret(next)),
            ("engine.log_format", engine.log_format == next.engine.log_format),
            ("metrics.listen", self.metrics == next.metrics),
            ("port", ports.len() == next.ports.len()),
            ("service.ring_size", self.keeps(next, |ring, next| ring.size == next.size)),
            (
                "service.consumer_cores",
                self.keeps(next, |ring, next| ring.consumer_cores == next.consumer_cores),
            ),
        ];
        let mut keys: Vec<String> = differing(&same).map(|key| format!("`{key}`")).collect();
        if ports.len() == next.ports.len() {
            ports.iter().zip(&next.ports).for_each(|(port, next)| keys.extend(fixed(port, next)));
        }
        keys
    }

    /// Whether this holds of each service that both plans have as a `ring`: its rings go over from one to the other.
    fn keeps(&self, next: &Self, holds: impl Fn(&RingPlan, &RingPlan) -> bool) -> bool {
        self.services.iter().all(|service| {
            let same = next.services.iter().find(|next| next.name == service.name);
            let rings = service.ring().zip(same.and_then(ServicePlan::ring));
            rings.is_none_or(|(ring, next)| holds(ring, next))
        })
    }
}

/// The keys whose values are not the same.
pub(super) fn differing<'a>(
    same: &'a [(&'static str, bool)],
) -> impl Iterator<Item = &'static str> + 'a {
    same.iter().filter(|(_, same)| !same).map(|(key, _)| *key)
}

/// The addresses of services may change: they are the services'.
fn fixed(port: &PortPlan, next: &PortPlan) -> Vec<String> {
    let PortPlan { name, device, queues, addresses, gateways, vlan, mtu, vips: _ } = port;
    let same = [
        ("port.name", *name == next.name),
        ("port.device", *device == next.device),
        ("port.queues", *queues == next.queues),
        ("port.addresses", *addresses == next.addresses),
        ("port.gateways", *gateways == next.gateways),
        ("port.vlan", *vlan == next.vlan),
        ("port.mtu", *mtu == next.mtu),
    ];
    differing(&same).map(|key| format!("`{key}` of {name:?}")).collect()
}
