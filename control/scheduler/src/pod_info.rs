use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};

use crate::{
    ports::{HostPort, host_ports},
    requests::{Amounts, pod_requests},
    term::Terms,
};

pub(crate) type Labels = BTreeMap<String, String>;

/// A pod by name, with the uid that tells it from a later one of the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodId {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl PodId {
    pub(crate) fn of(pod: &Pod) -> Self {
        let metadata = &pod.metadata;
        Self {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
        }
    }
}

/// Pods that should not all be on one node: those of one controller, or else those of a namespace
/// with the same labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    Controller(String),
    Labels(String, Labels),
}

impl Group {
    pub(crate) fn of(pod: &Pod) -> Option<Self> {
        let owners = pod.metadata.owner_references.iter().flatten();
        if let Some(owner) = owners.clone().find(|owner| owner.controller == Some(true)) {
            return Some(Self::Controller(owner.uid.clone()));
        }
        let labels = pod.metadata.labels.clone().filter(|labels| !labels.is_empty())?;
        Some(Self::Labels(pod.metadata.namespace.clone().unwrap_or_default(), labels))
    }
}

/// What a decision needs to know of a pod, on a node or on its way to one.
#[derive(Clone, Debug)]
pub(crate) struct PodInfo {
    pub(crate) id: PodId,
    pub(crate) labels: Labels,
    pub(crate) priority: i32,
    pub(crate) requests: Amounts,
    pub(crate) ports: BTreeSet<HostPort>,
    pub(crate) group: Option<Group>,
    pub(crate) terms: Terms,
    /// Since when it runs, or is there.
    pub(crate) since: Option<Timestamp>,
    /// It still takes room, but no longer serves.
    pub(crate) leaving: bool,
    /// It is not there: the room is kept for it while those it has displaced leave.
    pub(crate) reserved: bool,
}

impl PodInfo {
    pub(crate) fn new(pod: &Pod) -> Self {
        let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
        let since = started.or(pod.metadata.creation_timestamp.as_ref()).map(|time| time.0);
        let spec = pod.spec.as_ref();
        Self {
            id: PodId::of(pod),
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            priority: spec.and_then(|spec| spec.priority).unwrap_or_default(),
            requests: spec.map(pod_requests).unwrap_or_default(),
            ports: spec.map(host_ports).unwrap_or_default(),
            group: Group::of(pod),
            terms: Terms::of(pod),
            since,
            leaving: pod.metadata.deletion_timestamp.is_some(),
            reserved: false,
        }
    }
}

pub(crate) fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}
