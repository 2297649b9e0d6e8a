//! The taints that follow from what a node is.

use std::sync::Arc;

use control_scheduler::{NOT_READY, UNREACHABLE, UNSCHEDULABLE};
use k8s_openapi::api::core::v1::{Node, Taint};
use serde_json::{Value, json};

use crate::{
    kinds::Object,
    operation::{Now, Outcome, patch},
    pods,
};

/// Conditions under which a node takes no more pods, and their taints.
const PRESSURES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// How the node looks from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// It is heard of.
    Seen,
    Silent,
    /// It is silent as all others are: it is us who are cut off, and nobody is to be driven away.
    AllSilent,
}

fn is_ours(taint: &Taint) -> bool {
    let key = taint.key.as_str();
    [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&key)
        || PRESSURES.iter().any(|(_, ours)| *ours == key)
}

fn wanted(node: &Node, sight: Sight) -> Vec<(&'static str, &'static str)> {
    let status = |type_: &str| pods::node_condition(node, type_).map(|c| c.status.as_str());
    let mut wanted = Vec::new();
    let key = match (sight, status("Ready")) {
        (Sight::Silent | Sight::AllSilent, _) | (_, Some("Unknown")) => Some(UNREACHABLE),
        (Sight::Seen, Some("True")) => None,
        // Also a node that has not said anything yet.
        (Sight::Seen, _) => Some(NOT_READY),
    };
    if let Some(key) = key {
        wanted.push((key, "NoSchedule"));
        if sight != Sight::AllSilent {
            wanted.push((key, "NoExecute"));
        }
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let pressed = PRESSURES.iter().filter(|(type_, _)| status(type_) == Some("True"));
    wanted.extend(pressed.map(|(_, key)| (*key, "NoSchedule")));
    wanted
}

/// All taints of others are left as they are.
pub(super) fn taint(node: &Arc<Node>, sight: Sight, now: Now, outcome: &mut Outcome) {
    let wanted = wanted(node, sight);
    let before = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let is_wanted = |taint: &Taint| wanted.contains(&(taint.key.as_str(), taint.effect.as_str()));
    let stays = before.iter().filter(|taint| !is_ours(taint) || is_wanted(taint));
    let mut after: Vec<Taint> = stays.cloned().collect();
    for (key, effect) in &wanted {
        if !after.iter().any(|taint| taint.key == *key && taint.effect == *effect) {
            after.push(Taint {
                key: (*key).into(),
                effect: (*effect).into(),
                value: None,
                time_added: Some(now.time()),
            });
        }
    }
    if before != after {
        let taints = if after.is_empty() { Value::Null } else { json!(after) };
        let change = json!({"spec": {"taints": taints}});
        outcome.push(patch(&Object::Node(node.clone()), None, change));
    }
}
