//! Who asks, and what they may.

pub(crate) mod authorize;
pub(crate) mod certificate;
pub(crate) mod node;
pub(crate) mod peer;

pub(crate) use authorize::{Attributes, Decision, Verb};

/// The group that may do everything.
pub(crate) const MASTERS: &str = "system:masters";
/// The nodes; see [`authorize`].
pub(crate) const NODES: &str = "system:nodes";
pub(crate) const CONTROLLERS: &str = "viaduct:controllers";
const AUTHENTICATED: &str = "system:authenticated";

/// Who a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) user: String,
    pub(crate) groups: Vec<String>,
}

impl Identity {
    pub(crate) fn new(user: impl Into<String>, groups: impl IntoIterator<Item = String>) -> Self {
        let mut groups: Vec<String> = groups.into_iter().collect();
        if !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        Self { user: user.into(), groups }
    }

    /// The machine's own root.
    pub(crate) fn admin() -> Self {
        Self::new("system:admin", [MASTERS.to_owned()])
    }

    pub(crate) fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|one| one == group)
    }

    /// The node's name, where the identity is one's: `system:node:NAME` in `system:nodes`.
    pub(crate) fn node(&self) -> Option<&str> {
        self.user.strip_prefix("system:node:").filter(|name| !name.is_empty() && self.is_in(NODES))
    }
}

/// How far it was found out who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Known(Identity),
    /// No certificate: only health and version.
    Anonymous,
    /// A local user other than root on the plain port.
    Refused,
}
