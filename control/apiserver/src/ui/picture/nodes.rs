//! Nodes, with the pods that are on them.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Serialize;
use serde_json::Value;

use super::{AllSeen, Objects, Seen, Silence, has_condition, items, text};
use crate::object;

/// What tells racks apart, in Kubernetes' own terms: what fails together.
const RACK_LABEL: &str = "topology.kubernetes.io/zone";

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    pub(super) name: String,
    /// Empty where the node has none.
    pub(super) rack: String,
    addresses: Vec<String>,
    ready: bool,
    /// Why the node is not ready, in the words of its condition.
    reason: String,
    schedulable: bool,
    /// Its network daemon does not answer.
    silence: Option<Silence>,
    network: Option<Network>,
    pods: Vec<Pod>,
}

/// What the network daemon of a node or speaker says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Network {
    asn: u32,
    router_id: String,
    addresses: Vec<IpAddr>,
    blocks: Vec<String>,
    routes_wanted: usize,
    routes_installed: usize,
    problems: Vec<String>,
    /// As it was before the daemon fell silent.
    stale: bool,
}

impl Network {
    pub(super) fn of(seen: &Seen) -> Option<Self> {
        let status = &seen.report.as_ref()?.status;
        Some(Self {
            asn: status.asn,
            router_id: status.router_id.to_string(),
            addresses: status.addresses.clone(),
            blocks: status.blocks.iter().map(ToString::to_string).collect(),
            routes_wanted: status.routes_wanted,
            routes_installed: status.routes_installed,
            problems: status.problems.clone(),
            stale: seen.is_silent(),
        })
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pod {
    namespace: String,
    name: String,
    /// `ready`, `starting`, `ending`, `done` or `failed`.
    state: &'static str,
    /// What it is about, where it is not ready.
    reason: String,
    restarts: u64,
    addresses: Vec<String>,
}

pub(super) fn nodes(objects: &Objects, seen: &AllSeen<'_>) -> Vec<Node> {
    let mut pods = BTreeMap::<&str, Vec<Pod>>::new();
    for object in &objects.pods {
        pods.entry(text(&object["spec"], "nodeName")).or_default().push(pod(object));
    }
    let node = |object: &Value| {
        let name = object::name(object);
        let seen = seen.get(name);
        let conditions = || items(&object["status"], "conditions");
        let ready = conditions().find(|condition| condition["type"] == "Ready");
        let addresses = items(&object["status"], "addresses");
        Node {
            name: name.to_owned(),
            rack: text(&object["metadata"]["labels"], RACK_LABEL).to_owned(),
            addresses: addresses
                .filter(|address| address["type"] == "InternalIP")
                .map(|address| text(address, "address").to_owned())
                .collect(),
            ready: has_condition(object, "Ready"),
            reason: ready
                .filter(|condition| condition["status"] != "True")
                .map(|condition| text(condition, "message").to_owned())
                .unwrap_or_default(),
            schedulable: object["spec"]["unschedulable"] != true,
            silence: seen.and_then(|seen| seen.silence.clone()),
            network: seen.and_then(|seen| Network::of(seen)),
            pods: pods.remove(name).unwrap_or_default(),
        }
    };
    let mut nodes: Vec<Node> = objects.nodes.iter().map(node).collect();
    nodes.sort_by(|a, b| {
        (&a.rack, number(&a.name), &a.name).cmp(&(&b.rack, number(&b.name), &b.name))
    });
    nodes
}

/// The pods that no node has yet.
pub(super) fn unplaced(objects: &Objects) -> Vec<Pod> {
    let waits = |pod: &&Value| text(&pod["spec"], "nodeName").is_empty();
    objects.pods.iter().filter(waits).map(pod).collect()
}

/// `node-10` comes after `node-9`.
fn number(name: &str) -> Option<u64> {
    name.rsplit('-').next()?.parse().ok()
}

fn pod(object: &Value) -> Pod {
    let status = &object["status"];
    let containers =
        || items(status, "initContainerStatuses").chain(items(status, "containerStatuses"));
    let waiting =
        || containers().find_map(|container| container["state"]["waiting"]["reason"].as_str());
    let state = if object::is_terminating(object) {
        "ending"
    } else {
        match text(status, "phase") {
            "Succeeded" => "done",
            "Failed" => "failed",
            _ if has_condition(object, "Ready") => "ready",
            _ if waiting().is_some_and(|reason| reason.ends_with("BackOff")) => "failed",
            _ => "starting",
        }
    };
    let reason = match state {
        "ready" | "done" => "",
        _ => waiting().unwrap_or_else(|| text(status, "reason")),
    };
    Pod {
        namespace: object::namespace(object).to_owned(),
        name: object::name(object).to_owned(),
        state,
        reason: reason.to_owned(),
        restarts: containers().filter_map(|one| one["restartCount"].as_u64()).sum(),
        addresses: items(status, "podIPs").map(|one| text(one, "ip").to_owned()).collect(),
    }
}
