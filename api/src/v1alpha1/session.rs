//! What is agreed with a neighbour beside routes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A value of a Secret in the namespace [`SECRET_NAMESPACE`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKeyRef {
    #[schemars(length(min = 1))]
    pub name: String,
    #[serde(default = "password_key")]
    #[schemars(length(min = 1))]
    pub key: String,
}

/// Where the Secrets stand that resources of ours name: these are of no namespace, and nodes are to
/// read no others.
pub const SECRET_NAMESPACE: &str = "kube-system";

fn password_key() -> String {
    "password".to_owned()
}

/// How many prefixes a neighbour may tell, those that import refuses included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MaxPrefixes {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v4: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v6: Option<u32>,
    /// From this share of a limit on there is a warning.
    #[serde(default = "warning_percent")]
    #[schemars(range(min = 1, max = 100))]
    pub warning_percent: u8,
    #[serde(default)]
    pub action: MaxPrefixesAction,
    /// Seconds after which a session that was closed may come back; without it it stays down until
    /// the resource changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub restart_seconds: Option<u32>,
}

/// What a prefix more than the limit means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MaxPrefixesAction {
    /// It is taken, with a warning.
    Warn,
    /// The session ends (RFC 4486 §4).
    #[default]
    Close,
}

const fn warning_percent() -> u8 {
    75
}

/// The end of a session by its operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shutdown {
    /// For the operator of the other side (RFC 9003), at most 255 octets of UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What this speaker is to a neighbour (RFC 9234 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Role {
    /// The neighbour is a customer of ours.
    Provider,
    RouteServer,
    RouteServerClient,
    /// The neighbour is our provider.
    Customer,
    /// Each passes on to the other its own routes and those of its customers.
    Peer,
}

/// Another AS that this speaker is to a neighbour, as while an AS is being renumbered (RFC 7705). A
/// neighbour of that AS is an internal one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalAs {
    #[schemars(range(min = 1))]
    pub asn: u32,
    /// Do not put it in front of the paths that an external neighbour tells.
    #[serde(default)]
    pub no_prepend: bool,
    /// Put it in place of our own AS in front of what an external neighbour is told, not before it.
    #[serde(default)]
    pub replace_as: bool,
}

/// In which AS the neighbours of a range are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RangeKind {
    /// In ours.
    Internal,
    /// In any other.
    External,
}
