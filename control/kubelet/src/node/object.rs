//! The Node object, from what the node knows of itself.

use std::{collections::BTreeMap, fs};

use k8s_openapi::{
    api::core::v1::{
        ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints,
        NodeStatus, NodeSystemInfo,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{ObjectMeta, Time},
    },
    jiff::Timestamp,
};

use crate::{Capacity, KubeletConfig, image::Image};

/// Images that a Node lists.
const IMAGES_MAX: usize = 50;

/// The conditions that a kubelet keeps: type, status, reason, message.
const CONDITIONS: [(&str, &str, &str, &str); 4] = [
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "memory is not watched"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "the disk is not watched"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "processes are not watched"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
];

/// What the machine says of itself; it does not change while we run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) kernel_version: String,
    pub(crate) os_image: String,
    pub(crate) machine_id: String,
    pub(crate) boot_id: String,
    pub(crate) runtime_version: String,
}

impl Facts {
    pub(crate) fn detect(runtime_version: String) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let release = read("/etc/os-release");
        let pretty = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
        Self {
            kernel_version: read("/proc/sys/kernel/osrelease"),
            os_image: pretty.unwrap_or("Linux").trim_matches('"').to_owned(),
            machine_id: read("/etc/machine-id"),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            runtime_version,
        }
    }
}

pub(super) struct Description<'a> {
    pub(super) config: &'a KubeletConfig,
    pub(super) capacity: Capacity,
    pub(super) facts: &'a Facts,
    pub(super) port: u16,
    pub(super) images: &'a [Image],
    /// What is in the API; conditions of others are kept, and times of transitions.
    pub(super) known: Option<&'a Node>,
    pub(super) now: Timestamp,
}

pub(super) fn node(of: &Description<'_>) -> Node {
    let name = &of.config.node_name;
    let architecture = architecture();
    let mut labels: BTreeMap<String, String> = [
        ("kubernetes.io/hostname", name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    labels.extend(of.config.labels.clone());
    let resources = resources(of.capacity);
    Node {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: None,
        status: Some(NodeStatus {
            addresses: Some(addresses(of.config)),
            capacity: Some(resources.clone()),
            allocatable: Some(resources),
            conditions: Some(conditions(of)),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(of.port) }),
            }),
            images: Some(images(of.images)),
            node_info: Some(NodeSystemInfo {
                architecture: architecture.to_owned(),
                boot_id: of.facts.boot_id.clone(),
                container_runtime_version: of.facts.runtime_version.clone(),
                kernel_version: of.facts.kernel_version.clone(),
                kubelet_version: format!("v{}", env!("CARGO_PKG_VERSION")),
                machine_id: of.facts.machine_id.clone(),
                operating_system: "linux".to_owned(),
                os_image: of.facts.os_image.clone(),
                system_uuid: of.facts.machine_id.clone(),
                ..NodeSystemInfo::default()
            }),
            ..NodeStatus::default()
        }),
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn addresses(config: &KubeletConfig) -> Vec<NodeAddress> {
    let internal = config.node_addresses.iter().map(|address| NodeAddress {
        type_: "InternalIP".to_owned(),
        address: address.to_string(),
    });
    let hostname = NodeAddress { type_: "Hostname".to_owned(), address: config.node_name.clone() };
    internal.chain([hostname]).collect()
}

fn resources(capacity: Capacity) -> BTreeMap<String, Quantity> {
    let cpu = match capacity.cpu_millis % 1000 {
        0 => (capacity.cpu_millis / 1000).to_string(),
        _ => format!("{}m", capacity.cpu_millis),
    };
    [
        ("cpu", cpu),
        ("memory", format!("{}Ki", capacity.memory_bytes / 1024)),
        ("pods", capacity.pods.to_string()),
    ]
    .into_iter()
    .map(|(name, quantity)| (name.to_owned(), Quantity(quantity)))
    .collect()
}

fn images(images: &[Image]) -> Vec<ContainerImage> {
    let listed = images.iter().take(IMAGES_MAX).map(|image| ContainerImage {
        names: Some(vec![image.reference.clone()]),
        size_bytes: i64::try_from(image.size_bytes).ok(),
    });
    listed.collect()
}

fn conditions(of: &Description<'_>) -> Vec<NodeCondition> {
    let known = of.known.and_then(|n| n.status.as_ref()).and_then(|s| s.conditions.as_deref());
    let known = known.unwrap_or_default();
    let now = Time(Timestamp::from_second(of.now.as_second()).unwrap_or(of.now));
    let own = CONDITIONS.iter().map(|(kind, status, reason, message)| {
        let before = known.iter().find(|c| c.type_ == *kind && c.status == *status);
        NodeCondition {
            type_: (*kind).to_owned(),
            status: (*status).to_owned(),
            reason: Some((*reason).to_owned()),
            message: Some((*message).to_owned()),
            last_heartbeat_time: Some(now.clone()),
            last_transition_time: before
                .and_then(|c| c.last_transition_time.clone())
                .or_else(|| Some(now.clone())),
        }
    });
    let is_own = |kind: &str| CONDITIONS.iter().any(|(own, ..)| *own == kind);
    let others = known.iter().filter(|c| !is_own(&c.type_)).cloned();
    own.chain(others).collect()
}

/// Whether the API shows what is wanted, heartbeats aside as long as they are recent enough.
pub(super) fn is_current(
    wanted: &NodeStatus,
    known: Option<&NodeStatus>,
    now: Timestamp,
    heartbeat_secs: i64,
) -> bool {
    let Some(known) = known else { return false };
    let recent = known.conditions.iter().flatten().filter(|c| c.type_ == "Ready").any(|c| {
        let at = c.last_heartbeat_time.as_ref();
        at.is_some_and(|at| now.duration_since(at.0).as_secs() < heartbeat_secs)
    });
    let without_times = |conditions: Option<&Vec<NodeCondition>>| -> Vec<_> {
        conditions
            .into_iter()
            .flatten()
            .map(|c| (c.type_.clone(), c.status.clone(), c.reason.clone(), c.message.clone()))
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect()
    };
    recent
        && without_times(wanted.conditions.as_ref()) == without_times(known.conditions.as_ref())
        && wanted.addresses == known.addresses
        && wanted.capacity == known.capacity
        && wanted.allocatable == known.allocatable
        && wanted.daemon_endpoints == known.daemon_endpoints
        && wanted.node_info == known.node_info
        && wanted.images == known.images
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe(known: Option<&Node>, at: i64) -> Node {
        let mut config = KubeletConfig::new("n1", "/r", "/i");
        config.node_addresses = vec!["192.0.2.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        config.labels = [("zone".to_owned(), "a".to_owned())].into();
        node(&Description {
            config: &config,
            capacity: Capacity { cpu_millis: 2500, memory_bytes: 1 << 30, pods: 110 },
            facts: &Facts::default(),
            port: 10250,
            images: &[],
            known,
            now: Timestamp::from_second(at).unwrap(),
        })
    }

    #[test]
    fn a_node_describes_itself() {
        let node = describe(None, 1000);
        let status = node.status.unwrap();
        let addresses: Vec<String> = status
            .addresses
            .unwrap()
            .iter()
            .map(|a| format!("{} {}", a.type_, a.address))
            .collect();
        assert_eq!(addresses, ["InternalIP 192.0.2.1", "InternalIP fd00::1", "Hostname n1"]);
        assert_eq!(status.capacity.unwrap()["cpu"].0, "2500m");
        assert_eq!(node.metadata.labels.unwrap()["zone"], "a");
    }

    #[test]
    fn conditions_of_others_stay_and_transitions_keep_their_time() {
        let mut known = describe(None, 1000);
        let conditions = known.status.as_mut().unwrap().conditions.as_mut().unwrap();
        conditions.push(NodeCondition {
            type_: "NetworkUnavailable".to_owned(),
            status: "False".to_owned(),
            ..NodeCondition::default()
        });
        // The control plane had given the node up.
        conditions[3].status = "Unknown".to_owned();
        let wanted = describe(Some(&known), 2000).status.unwrap();
        let conditions = wanted.conditions.as_ref().unwrap();
        assert_eq!(conditions.len(), 5);
        let since = |at: usize| conditions[at].last_transition_time.as_ref().unwrap().0.as_second();
        assert_eq!((since(0), since(3)), (1000, 2000));
        let now = Timestamp::from_second(2000).unwrap();
        assert!(!is_current(&wanted, known.status.as_ref(), now, 300));
        let later = Timestamp::from_second(2299).unwrap();
        assert!(is_current(&wanted, Some(&wanted), later, 300));
        let too_late = Timestamp::from_second(2300).unwrap();
        assert!(!is_current(&wanted, Some(&wanted), too_late, 300));
    }
}
