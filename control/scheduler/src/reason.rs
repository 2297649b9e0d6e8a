use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Why a node does not take a pod, in Kubernetes' words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    Unschedulable,
    NodeName,
    Taint {
        key: String,
        value: String,
    },
    NodeSelector,
    HostPort,
    Insufficient {
        resource: String,
    },
    /// The node lacks the label that a topology spread constraint names.
    SpreadLabel,
    Spread,
    PodAffinity,
    PodAntiAffinity,
    ExistingAntiAffinity,
}

impl Reason {
    /// Whether it could help to remove pods from the node.
    pub(crate) fn is_of_pods(&self) -> bool {
        match self {
            Self::Unschedulable
            | Self::NodeName
            | Self::Taint { .. }
            | Self::NodeSelector
            | Self::SpreadLabel
            | Self::PodAffinity => false,
            Self::HostPort
            | Self::Insufficient { .. }
            | Self::Spread
            | Self::PodAntiAffinity
            | Self::ExistingAntiAffinity => true,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unschedulable => "node(s) were unschedulable",
            Self::NodeName => "node(s) didn't match the requested node name",
            Self::Taint { key, value } => {
                return write!(f, "node(s) had untolerated taint {{{key}: {value}}}");
            }
            Self::NodeSelector => "node(s) didn't match Pod's node affinity/selector",
            Self::HostPort => "node(s) didn't have free ports for the requested pod ports",
            Self::Insufficient { resource } if resource == "pods" => "Too many pods",
            Self::Insufficient { resource } => return write!(f, "Insufficient {resource}"),
            Self::SpreadLabel => {
                "node(s) didn't match pod topology spread constraints (missing required label)"
            }
            Self::Spread => "node(s) didn't match pod topology spread constraints",
            Self::PodAffinity => "node(s) didn't match pod affinity rules",
            Self::PodAntiAffinity => "node(s) didn't match pod anti-affinity rules",
            Self::ExistingAntiAffinity => {
                "node(s) didn't satisfy existing pods anti-affinity rules"
            }
        })
    }
}

/// No node takes the pod. Printed as Kubernetes does: `0/3 nodes are available: 1 Insufficient
/// cpu, 2 node(s) had untolerated taint {gpu: a100}.`
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Unschedulable {
    /// Of every node, all that spoke against it.
    pub reasons: BTreeMap<String, BTreeSet<Reason>>,
}

impl fmt::Display for Unschedulable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reasons.is_empty() {
            return f.write_str("no nodes available to schedule pods");
        }
        tell(f, self.reasons.len(), self.reasons.values().flatten().map(ToString::to_string))
    }
}

/// How many of `nodes` each reason holds for.
pub(crate) fn tell(
    f: &mut fmt::Formatter<'_>,
    nodes: usize,
    reasons: impl Iterator<Item = String>,
) -> fmt::Result {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut parts: Vec<String> =
        counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    write!(f, "0/{nodes} nodes are available: {}.", parts.join(", "))
}
