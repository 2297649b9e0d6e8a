//! Which routes pass between us and a neighbour.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use viaduct_net::Prefix;

/// Rules tried in order; a route that none of them matches is rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    #[schemars(length(max = 1000))]
    pub rules: Vec<PolicyRule>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyRule {
    /// Any of these; every route where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<PrefixMatch>,
    /// Any of these; routes of every source where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceMatch>,
    /// Routes whose AS path begins with one of these, so that an external neighbour of that AS has
    /// told them; any path where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub neighbor_asns: Vec<u32>,
    pub action: PolicyAction,
}

/// Who told us of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SourceMatch {
    /// This node itself: its blocks, its virtual IPs.
    Local,
    /// A peer of the same AS.
    Internal,
    /// A peer of another AS.
    External,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PolicyAction {
    Accept,
    Reject,
}

/// Matches a route inside `prefix` whose length lies within the bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrefixMatch {
    #[schemars(with = "String")]
    pub prefix: Prefix,
    /// The length of `prefix` where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_length: Option<u8>,
    /// The length of `prefix` where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u8>,
}
