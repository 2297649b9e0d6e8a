use std::time::Duration;

/// How the controllers behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControllersConfig {
    /// For how long a node may go without renewing its lease before it counts as unreachable.
    pub node_grace: Duration,
    /// For how long pods that do not say so themselves stay on a node that is not ready.
    pub eviction_delay: Duration,
}

impl Default for ControllersConfig {
    /// As in Kubernetes.
    fn default() -> Self {
        Self { node_grace: Duration::from_secs(40), eviction_delay: Duration::from_secs(300) }
    }
}
