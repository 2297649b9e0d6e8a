//! Where addresses come from.

use std::{collections::BTreeMap, net::IpAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use viaduct_net::Prefix;

use super::yes;

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
}
