use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::PodSpec;

/// A port of the node that a pod takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostPort {
    protocol: String,
    port: i32,
    /// Empty for every address of the node.
    address: String,
}

impl HostPort {
    fn conflicts(&self, other: &Self) -> bool {
        (&self.protocol, self.port) == (&other.protocol, other.port)
            && (self.address.is_empty()
                || other.address.is_empty()
                || self.address == other.address)
    }
}

/// On the node's own network every port of a container is one of the node.
pub(crate) fn host_ports(spec: &PodSpec) -> BTreeSet<HostPort> {
    let on_host = spec.host_network == Some(true);
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|c| c.restart_policy.as_deref() == Some("Always"));
    spec.containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            let number = port.host_port.or(on_host.then_some(port.container_port))?;
            let address = port.host_ip.clone().unwrap_or_default();
            let any = ["0.0.0.0", "::"].contains(&address.as_str());
            (number > 0).then(|| HostPort {
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
                port: number,
                address: if any { String::new() } else { address },
            })
        })
        .collect()
}

pub(crate) fn conflict<'a>(
    wanted: &BTreeSet<HostPort>,
    mut taken: impl Iterator<Item = &'a HostPort>,
) -> bool {
    !wanted.is_empty() && taken.any(|other| wanted.iter().any(|port| port.conflicts(other)))
}
