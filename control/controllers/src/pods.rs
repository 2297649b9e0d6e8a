//! What several controllers ask of pods and nodes.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, PodCondition};

use crate::operation::Now;

pub(crate) fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|node| !node.is_empty())
}

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub(crate) fn has_ended(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

pub(crate) fn is_deleting(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Neither ended nor on its way out.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !has_ended(pod) && !is_deleting(pod)
}

pub(crate) fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == type_)
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

/// How long the pod has yet to be ready before it counts as available; `None` where it is not.
pub(crate) fn available_in_secs(pod: &Pod, min_ready_secs: i32, now: Now) -> Option<u64> {
    let ready = condition(pod, "Ready").filter(|condition| condition.status == "True")?;
    let since = ready.last_transition_time.as_ref();
    let ready_secs = since.map_or(0, |since| now.wall.as_second() - since.0.as_second());
    // Whoever set the time may be ahead of us.
    Some(u64::try_from(i64::from(min_ready_secs) - ready_secs.max(0)).unwrap_or_default())
}

pub(crate) fn node_condition<'a>(node: &'a Node, type_: &str) -> Option<&'a NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Of both families; an address that cannot be read is none.
pub(crate) fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = &pod.status else { return Vec::new() };
    let all: Vec<IpAddr> =
        status.pod_ips.iter().flatten().filter_map(|ip| ip.ip.parse().ok()).collect();
    match &status.pod_ip {
        Some(only) if all.is_empty() => only.parse().into_iter().collect(),
        _ => all,
    }
}

/// Whether the pod has addresses of its own, from a block.
pub(crate) fn has_own_network(pod: &Pod) -> bool {
    pod.spec.as_ref().is_none_or(|spec| spec.host_network != Some(true))
}
