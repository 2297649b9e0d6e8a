//! The custom resources of `viaduct.dev/v1alpha1`. All are cluster-scoped.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use viaduct_net::Prefix;

pub const GROUP: &str = "viaduct.dev";
pub const VERSION: &str = "v1alpha1";
pub const API_VERSION: &str = "viaduct.dev/v1alpha1";

/// The name of the one [`BGPConfigurationSpec`] that is read.
pub const DEFAULT_CONFIGURATION: &str = "default";

/// A kind of ours: what discovery, the client and the schema need to know of it.
pub trait CustomResource: Serialize + for<'de> Deserialize<'de> + JsonSchema {
    const KIND: &'static str;
    const PLURAL: &'static str;
    const SHORT_NAMES: &'static [&'static str];
}

macro_rules! custom_resource {
    ($spec:ty, $kind:literal, $plural:literal, $short:expr) => {
        impl CustomResource for $spec {
            const KIND: &'static str = $kind;
            const PLURAL: &'static str = $plural;
            const SHORT_NAMES: &'static [&'static str] = $short;
        }
    };
}

custom_resource!(BGPConfigurationSpec, "BGPConfiguration", "bgpconfigurations", &["bgpconfig"]);
custom_resource!(BGPPeerSpec, "BGPPeer", "bgppeers", &["bgppeer"]);
custom_resource!(IPPoolSpec, "IPPool", "ippools", &["ippool"]);
custom_resource!(IPBlockSpec, "IPBlock", "ipblocks", &["ipblock"]);
custom_resource!(VIPPoolSpec, "VIPPool", "vippools", &["vippool"]);

/// How every node speaks BGP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BGPConfigurationSpec {
    /// The number of the cluster's autonomous system.
    #[schemars(range(min = 1))]
    pub asn: u32,
    /// Whether every node peers with every other.
    #[serde(default = "yes")]
    pub node_to_node_mesh: bool,
    #[serde(default = "bgp_port")]
    #[schemars(range(min = 1))]
    pub listen_port: u16,
    /// Seconds without a message after which a session is lost; 0 or at least 3 (RFC 4271 §4.2).
    #[serde(default = "hold_time_secs")]
    pub hold_time_seconds: u16,
    /// Seconds for which peers keep our routes while we restart (RFC 4724 §3), at most 4095.
    #[serde(default = "restart_time_secs")]
    #[schemars(range(max = 4095))]
    pub graceful_restart_seconds: u16,
    /// The cluster of whoever has reflector clients (RFC 4456 §7), written as an IPv4 address; the
    /// router id of each where not given. Reflectors with one id take nothing from each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub cluster_id: Option<Ipv4Addr>,
}

impl Default for BGPConfigurationSpec {
    fn default() -> Self {
        Self {
            asn: 64512,
            node_to_node_mesh: true,
            listen_port: bgp_port(),
            hold_time_seconds: hold_time_secs(),
            graceful_restart_seconds: restart_time_secs(),
            cluster_id: None,
        }
    }
}

/// A BGP neighbour outside the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BGPPeerSpec {
    /// The nodes that peer, by their labels; all nodes where empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    #[schemars(with = "String")]
    pub address: IpAddr,
    #[serde(default = "bgp_port")]
    #[schemars(range(min = 1))]
    pub port: u16,
    #[schemars(range(min = 1))]
    pub asn: u32,
    /// Wait for the neighbour to connect and never connect to it.
    #[serde(default)]
    pub passive: bool,
    /// The neighbour is a client of ours as route reflector (RFC 4456); of our own AS only.
    #[serde(default)]
    pub reflector_client: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_time_seconds: Option<u16>,
    /// What is taken from the neighbour. Without it an external neighbour's routes are refused
    /// (RFC 8212) and an internal one's are all taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<Policy>,
    /// What the neighbour is told; without it as for `import`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<Policy>,
}

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

/// Addresses for pods, given to the nodes in blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IPPoolSpec {
    #[schemars(with = "String")]
    pub cidr: Prefix,
    /// The length of a block's prefix: 26 for IPv4 and 122 for IPv6 where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_size: Option<u8>,
    /// The nodes that may own blocks of the pool, by their labels; all where empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Whether pods that leave the cluster's networks take the address of their node.
    #[serde(default)]
    pub masquerade: bool,
    /// No new blocks are given out; those that are stay.
    #[serde(default)]
    pub disabled: bool,
}

impl IPPoolSpec {
    /// The length of a block's prefix, with the default of the family.
    pub fn block_len(&self) -> u8 {
        self.block_size.unwrap_or(match self.cidr.family() {
            viaduct_net::Family::V4 => 26,
            viaduct_net::Family::V6 => 122,
        })
    }
}

/// A block of a pool and the node it belongs to, which announces it and gives its pods addresses
/// from it. Named after the prefix, with dots, colons and the slash turned into dashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IPBlockSpec {
    #[schemars(with = "String")]
    pub cidr: Prefix,
    /// The pool it was cut from.
    pub pool: String,
    pub node: String,
}

impl IPBlockSpec {
    /// The name a block's resource must have, so that one block cannot be given out twice:
    /// `b-10-244-0-0-26`.
    pub fn name_of(cidr: Prefix) -> String {
        let address = match cidr.address() {
            IpAddr::V4(v4) => v4.octets().map(|octet| octet.to_string()).join("-"),
            IpAddr::V6(v6) => v6.segments().map(|segment| format!("{segment:x}")).join("-"),
        };
        format!("b-{address}-{}", cidr.len())
    }
}

/// Virtual IPs for services of type LoadBalancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VIPPoolSpec {
    #[schemars(with = "Vec<String>", length(min = 1, max = 100))]
    pub cidrs: Vec<Prefix>,
    /// The services that may have an address of the pool, by their labels; all where empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub service_selector: BTreeMap<String, String>,
    /// Whether services that ask for no pool by name get addresses from this one.
    #[serde(default = "yes")]
    pub auto_assign: bool,
}

/// Written by a node on its own Node object: its router id where that is not its IPv4 address.
pub const ROUTER_ID_ANNOTATION: &str = "viaduct.dev/router-id";

const fn yes() -> bool {
    true
}

const fn bgp_port() -> u16 {
    179
}

const fn hold_time_secs() -> u16 {
    9
}

const fn restart_time_secs() -> u16 {
    30
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_one_name() {
        assert_eq!(IPBlockSpec::name_of("10.244.0.64/26".parse().unwrap()), "b-10-244-0-64-26");
        assert_eq!(
            IPBlockSpec::name_of("fd00:10:244::40/122".parse().unwrap()),
            "b-fd00-10-244-0-0-0-0-40-122"
        );
    }

    #[test]
    fn defaults_are_filled_in_and_unknown_fields_refused() {
        let spec: BGPConfigurationSpec = serde_json::from_str(r#"{"asn": 64512}"#).unwrap();
        assert_eq!(spec, BGPConfigurationSpec::default());
        assert!(serde_json::from_str::<BGPConfigurationSpec>(r#"{"asn": 1, "as": 2}"#).is_err());
    }
}
