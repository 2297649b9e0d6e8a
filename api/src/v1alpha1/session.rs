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

/// A key of TCP-AO, as both sides have it (RFC 5925 §3.1); what one sends with the other receives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TCPAOKey {
    /// The number that stands in what we send.
    pub send_id: u8,
    /// The number that stands in what the neighbour sends; `sendId` where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receive_id: Option<u8>,
    #[serde(default)]
    pub algorithm: TCPAOAlgorithm,
    /// Leave other options of TCP unsigned, with a neighbour that does so.
    #[serde(default, skip_serializing_if = "is_false")]
    pub exclude_tcp_options: bool,
    /// Where the key itself stands, 1 to 80 octets; or `keyFile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_secret_ref: Option<SecretKeyRef>,
    /// The same from a file of the speaker's machine; a newline at its end is no part of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
}

/// By its name in RFC 5926 §2.1, both with a MAC of 96 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TCPAOAlgorithm {
    #[default]
    #[serde(rename = "hmac-sha-1-96")]
    HmacSha1,
    #[serde(rename = "aes-128-cmac-96")]
    Aes128Cmac,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
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
