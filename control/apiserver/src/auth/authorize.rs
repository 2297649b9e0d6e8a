//! What an identity may do. Pure: what depends on an object is told as a [`Condition`].

use std::fmt;

use super::{CONTROLLERS, Identity, MASTERS};
use crate::{kinds::Kind, status_error::StatusError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    pub(crate) const ALL: [Self; 8] = [
        Self::Get,
        Self::List,
        Self::Watch,
        Self::Create,
        Self::Update,
        Self::Patch,
        Self::Delete,
        Self::DeleteCollection,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.name() == name)
    }

    fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::List | Self::Watch)
    }

    fn is_change(self) -> bool {
        matches!(self, Self::Update | Self::Patch)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a request wants to do to which objects. `name` and `namespace` are empty where all are
/// meant; a list that selects one name counts as one of that name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes<'a> {
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    pub(crate) plural: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

/// What must hold of the object for a node to be let.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// The pod is assigned to the node.
    OwnPod,
    /// A pod of the node uses the Secret or ConfigMap, or a BGPPeer of the node the Secret.
    UsedByNode,
    /// The object to be made is named after the node.
    NamedAsNode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Allow,
    AllowIf(Condition),
    Deny,
}

/// The namespace of the nodes' leases.
pub(crate) const LEASE_NAMESPACE: &str = "kube-node-lease";

pub(crate) fn decide(identity: &Identity, wanted: &Attributes<'_>) -> Decision {
    // Everybody may ask what he may.
    if wanted.group == "authorization.k8s.io" && wanted.plural.starts_with("selfsubject") {
        return Decision::Allow;
    }
    if identity.is_in(MASTERS) || identity.is_in(CONTROLLERS) {
        return Decision::Allow;
    }
    identity.node().map_or(Decision::Deny, |node| decide_for_node(node, wanted))
}

/// A node reads what it needs to speak BGP, route, balance and run its pods, and writes of itself only:
/// its Node, its lease, the status of its pods, and events.
fn decide_for_node(node: &str, wanted: &Attributes<'_>) -> Decision {
    let Some(verb) = Verb::of_name(wanted.verb) else { return Decision::Deny };
    let allow_if = |condition: bool| if condition { Decision::Allow } else { Decision::Deny };
    match (wanted.group, wanted.plural, wanted.subresource) {
        ("", "nodes", "") if verb == Verb::Create => Decision::AllowIf(Condition::NamedAsNode),
        ("", "nodes", "" | "status") if verb.is_change() => allow_if(wanted.name == node),
        ("", "pods", "status") if verb.is_change() => Decision::AllowIf(Condition::OwnPod),
        // The last step of a graceful deletion is the kubelet's.
        ("", "pods", "") if verb == Verb::Delete => Decision::AllowIf(Condition::OwnPod),
        ("", "secrets" | "configmaps", "") if verb.is_read() && !wanted.name.is_empty() => {
            Decision::AllowIf(Condition::UsedByNode)
        }
        ("" | "events.k8s.io", "events", "") => {
            allow_if(matches!(verb, Verb::Create | Verb::Update | Verb::Patch))
        }
        ("coordination.k8s.io", "leases", "") if wanted.namespace == LEASE_NAMESPACE => {
            match verb {
                Verb::Create => Decision::AllowIf(Condition::NamedAsNode),
                Verb::Get | Verb::Update | Verb::Patch => allow_if(wanted.name == node),
                _ => Decision::Deny,
            }
        }
        ("", "nodes" | "pods" | "services" | "namespaces", "" | "status")
        | ("discovery.k8s.io", "endpointslices", "")
        | (viaduct_api::v1alpha1::GROUP, _, "") => allow_if(verb.is_read()),
        _ => Decision::Deny,
    }
}

/// Whether the identity may ask for a path that belongs to no kind. Health and version need no
/// question.
pub(crate) fn may_see_path(identity: &Identity, path: &str) -> bool {
    let is_discovery = ["/api", "/apis", "/openapi"].iter().any(|root| {
        path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    is_discovery || path == "/" || identity.is_in(MASTERS) || identity.is_in(CONTROLLERS)
}

/// The Status of a [`Decision::Deny`].
pub(crate) fn denial(identity: &Identity, kind: &Kind, wanted: &Attributes<'_>) -> StatusError {
    let resource = if wanted.subresource.is_empty() {
        wanted.plural.to_owned()
    } else {
        format!("{}/{}", wanted.plural, wanted.subresource)
    };
    let scope = if wanted.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace \"{}\"", wanted.namespace)
    };
    let why = format!(
        "User \"{}\" cannot {} resource \"{resource}\" in API group \"{}\" {scope}",
        identity.user, wanted.verb, wanted.group
    );
    StatusError::forbidden(kind, wanted.name, &why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::NODES;

    fn wanted<'a>(text: &'a str) -> Attributes<'a> {
        // "verb group/plural/subresource namespace/name"
        let words: Vec<&str> = text.split(' ').collect();
        let what: Vec<&str> = words[1].split('/').collect();
        let (namespace, name) = words[2].split_once('/').unwrap();
        Attributes {
            verb: words[0],
            group: what[0],
            plural: what[1],
            subresource: what[2],
            namespace,
            name,
        }
    }

    #[test]
    fn a_node_writes_of_itself_only() {
        let node = Identity::new("system:node:n1", [NODES.to_owned()]);
        for (text, expected) in [
            ("get /nodes/ /n2", Decision::Allow),
            ("list /pods/ /", Decision::Allow),
            ("watch /services/ /", Decision::Allow),
            ("watch discovery.k8s.io/endpointslices/ /", Decision::Allow),
            ("watch viaduct.dev/ippools/ /", Decision::Allow),
            ("patch /nodes/status /n1", Decision::Allow),
            ("patch /nodes/status /n2", Decision::Deny),
            ("patch /nodes/ /n1", Decision::Allow),
            ("create /nodes/ /", Decision::AllowIf(Condition::NamedAsNode)),
            ("delete /nodes/ /n1", Decision::Deny),
            ("update /pods/status default/p", Decision::AllowIf(Condition::OwnPod)),
            ("delete /pods/ default/p", Decision::AllowIf(Condition::OwnPod)),
            ("deletecollection /pods/ default/", Decision::Deny),
            ("create /pods/ default/", Decision::Deny),
            ("update /pods/ default/p", Decision::Deny),
            ("create /pods/binding default/p", Decision::Deny),
            ("get /pods/log default/p", Decision::Deny),
            ("get /secrets/ default/s", Decision::AllowIf(Condition::UsedByNode)),
            ("watch /configmaps/ default/c", Decision::AllowIf(Condition::UsedByNode)),
            ("list /secrets/ default/", Decision::Deny),
            ("update /secrets/ default/s", Decision::Deny),
            ("update coordination.k8s.io/leases/ kube-node-lease/n1", Decision::Allow),
            ("update coordination.k8s.io/leases/ kube-node-lease/n2", Decision::Deny),
            ("update coordination.k8s.io/leases/ default/n1", Decision::Deny),
            ("create /events/ default/", Decision::Allow),
            ("list /events/ default/", Decision::Deny),
            ("update viaduct.dev/ippools/ /p", Decision::Deny),
            ("update /services/ default/s", Decision::Deny),
            ("list apps/replicasets/ /", Decision::Deny),
            ("list apps/deployments/ /", Decision::Deny),
            ("patch apps/deployments/scale default/d", Decision::Deny),
            ("create authorization.k8s.io/selfsubjectaccessreviews/ /", Decision::Allow),
        ] {
            assert_eq!(decide(&node, &wanted(text)), expected, "{text}");
        }
    }

    #[test]
    fn a_name_without_the_group_is_nothing() {
        let text = "list /pods/ /";
        for (user, groups, expected) in [
            ("system:node:n1", vec![], Decision::Deny),
            ("somebody", vec![NODES.to_owned()], Decision::Deny),
            ("system:node:", vec![NODES.to_owned()], Decision::Deny),
            ("scheduler", vec![CONTROLLERS.to_owned()], Decision::Allow),
            ("me", vec![MASTERS.to_owned()], Decision::Allow),
        ] {
            assert_eq!(decide(&Identity::new(user, groups), &wanted(text)), expected, "{user}");
        }
    }

    #[test]
    fn paths_beside_the_kinds() {
        let node = Identity::new("system:node:n1", [NODES.to_owned()]);
        for (path, expected) in [
            ("/api", true),
            ("/apis/apps/v1", true),
            ("/openapi/v3", true),
            ("/metrics", false),
            ("/apiserver", false),
        ] {
            assert_eq!(may_see_path(&node, path), expected, "{path}");
            assert!(may_see_path(&Identity::admin(), path));
        }
    }
}
