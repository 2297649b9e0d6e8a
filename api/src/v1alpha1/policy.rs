//! Which routes pass between us and a neighbour, and as what.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use viaduct_net::Prefix;

/// Rules tried in order; a route that none of them accepts is rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    #[schemars(length(max = 1000))]
    pub rules: Vec<PolicyRule>,
}

/// A route matches a rule where each list that is not empty has something that fits it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyRule {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20000))]
    pub prefixes: Vec<PrefixMatch>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceMatch>,
    /// Who has told us of the route: the name of a BGPPeer, an address, or a prefix that holds it.
    /// What this node originates itself has nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub peers: Vec<String>,
    /// Prefixes that hold the next hop; an address is itself alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), with = "Vec<String>")]
    pub next_hops: Vec<Prefix>,
    /// Routes whose AS path begins with one of these, so that an external neighbour of that AS has
    /// told them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub neighbor_asns: Vec<u32>,
    /// Regular expressions over the path as it is written, `65001 65002 {65003,65004}`, in the
    /// notation of routers: `_` is a boundary of a number, `^$` the empty path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(max = 256)))]
    pub as_paths: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<OriginMatch>,
    /// As in `65000:1`, `65000:*`, or by name: `no-export`, `no-advertise`, `no-export-subconfed`,
    /// `no-peer`, `blackhole`, `graceful-shutdown`, `llgr-stale`, `no-llgr`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub communities: Vec<String>,
    /// As in `65000:1:2`, `65000:1:*` or `65000:*:*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub large_communities: Vec<String>,
    /// As in `rt:65000:1`, `soo:192.0.2.1:1`, `rt:65000:*`, or `0x` and sixteen digits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub extended_communities: Vec<String>,
    /// What is changed of a route that matches, before the action is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<PolicyChange>,
    pub action: PolicyAction,
}

impl PolicyRule {
    /// A rule that every route matches.
    pub const fn new(action: PolicyAction) -> Self {
        Self {
            prefixes: Vec::new(),
            sources: Vec::new(),
            peers: Vec::new(),
            next_hops: Vec::new(),
            neighbor_asns: Vec::new(),
            as_paths: Vec::new(),
            origins: Vec::new(),
            communities: Vec::new(),
            large_communities: Vec::new(),
            extended_communities: Vec::new(),
            set: None,
            action,
        }
    }
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

/// How a prefix came into BGP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OriginMatch {
    Igp,
    Egp,
    Incomplete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PolicyAction {
    Accept,
    Reject,
    /// The next rule is tried, on the route as it was changed.
    Continue,
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

/// What becomes of a route's attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyChange {
    /// The higher, the better; 100 where nobody has set it. External neighbours are never told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC: the lower, the better, among routes of one neighbouring AS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub med: Option<MedChange>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub communities: Option<CommunityChange>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub large_communities: Option<CommunityChange>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extended_communities: Option<CommunityChange>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepend: Option<Prepend>,
    /// An address, `self`, or `unchanged` (also to an external neighbour). On import an address only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<String>,
}

/// One of the three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MedChange {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<u32>,
    /// To what is there, or to 0; negative to subtract. Ends at 0 and 4294967295.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -4_294_967_295_i64, max = 4_294_967_295_i64))]
    pub add: Option<i64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remove: bool,
}

/// Changes of a list of communities, in this order. What is removed may end in stars, as in
/// `65000:*`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommunityChange {
    /// These in place of all that are there; none where the list is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub replace: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub remove: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub add: Vec<String>,
}

/// An AS number in front of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prepend {
    /// Our own where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub asn: Option<u32>,
    /// How many times, beside the one that every route gets which leaves the AS.
    #[schemars(range(min = 1, max = 32))]
    pub count: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_of_before_is_a_policy_still() {
        let text = r#"{"rules": [{"prefixes": [{"prefix": "10.0.0.0/8", "maxLength": 32}],
            "sources": ["Local"], "neighborAsns": [64512], "action": "Accept"}]}"#;
        let policy: Policy = serde_json::from_str(text).unwrap();
        let expected = PolicyRule {
            prefixes: vec![PrefixMatch {
                prefix: "10.0.0.0/8".parse().unwrap(),
                min_length: None,
                max_length: Some(32),
            }],
            sources: vec![SourceMatch::Local],
            neighbor_asns: vec![64512],
            ..PolicyRule::new(PolicyAction::Accept)
        };
        assert_eq!(policy.rules, [expected]);
        let again = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&again).unwrap(), policy);
        assert!(!again.contains("asPaths") && !again.contains("set"), "{again}");
    }

    #[test]
    fn unknown_fields_are_refused_everywhere() {
        for rule in [
            r#"{"action": "Accept", "as": 1}"#,
            r#"{"action": "Next"}"#,
            r#"{"action": "Accept", "set": {"localpref": 1}}"#,
            r#"{"action": "Accept", "set": {"med": {"sub": 1}}}"#,
            r#"{"action": "Accept", "set": {"prepend": {}}}"#,
            r#"{"action": "Accept", "set": {"communities": ["65000:1"]}}"#,
        ] {
            assert!(serde_json::from_str::<PolicyRule>(rule).is_err(), "{rule}");
        }
    }
}
