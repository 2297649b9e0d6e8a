//! What the speaker of this node is told, from the view of the API. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use bgpd::config::{self, LocalNode, OtherNode};
use k8s_openapi::api::core::v1::Node;
use viaduct_api::v1alpha1::{BGPConfigurationSpec, BGPPeerSpec, DEFAULT_CONFIGURATION};
use viaduct_net::{OriginSource, Origination, Prefix, RouterId};

use super::cache::{Custom, View};

/// Who this node is. Given at its start and never changed.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub name: String,
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
    pub router_id: RouterId,
    /// Routes of an earlier run are still in the kernel.
    pub restarting: bool,
}

pub(crate) fn configuration(view: &View) -> BGPConfigurationSpec {
    let configuration = view.configurations.get(DEFAULT_CONFIGURATION);
    configuration.map(|object| object.spec.clone()).unwrap_or_default()
}

pub(crate) fn speaker(
    view: &View,
    identity: &Identity,
    passwords: &config::Passwords,
) -> Result<bgp_speaker::Config, config::ConfigErrors> {
    let labels = labels(view, &identity.name);
    let local = LocalNode {
        name: identity.name.clone(),
        labels,
        v4: identity.v4,
        v6: identity.v6,
        router_id: identity.router_id,
        restarting: identity.restarting,
    };
    let others: Vec<OtherNode> =
        view.nodes.iter().filter_map(|(name, node)| other(name, node)).collect();
    let peers: BTreeMap<String, BGPPeerSpec> =
        view.peers.iter().map(|(name, peer)| (name.clone(), peer.spec.clone())).collect();
    config::cluster(&configuration(view), &peers, &local, &others, passwords)
}

/// The peers that are this node's.
pub(crate) fn own_peers<'view>(
    view: &'view View,
    node: &str,
) -> impl Iterator<Item = &'view Custom<BGPPeerSpec>> {
    let labels = labels(view, node);
    view.peers.values().map(AsRef::as_ref).filter(move |peer| peer.spec.selects(&labels))
}

fn labels(view: &View, node: &str) -> BTreeMap<String, String> {
    view.nodes.get(node).and_then(|node| node.metadata.labels.clone()).unwrap_or_default()
}

/// A node without an internal address has not been registered whole and cannot be a peer yet.
fn other(name: &str, node: &Node) -> Option<OtherNode> {
    let (mut v4, mut v6) = (None, None);
    for address in internal_addresses(node) {
        match address {
            IpAddr::V4(address) => v4 = v4.or(Some(address)),
            IpAddr::V6(address) => v6 = v6.or(Some(address)),
        }
    }
    if v4.is_none() && v6.is_none() {
        return None;
    }
    Some(OtherNode { name: name.to_owned(), v4, v6, router_id: router_id(name, v4) })
}

/// By which other nodes reach a node.
pub(crate) fn internal_addresses(node: &Node) -> impl Iterator<Item = IpAddr> {
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref());
    let internal = addresses.into_iter().flatten().filter(|address| address.type_ == "InternalIP");
    internal.filter_map(|address| address.address.parse().ok())
}

/// A node's router id: its IPv4 address, or a number made of its name where it has none.
pub(crate) fn router_id(name: &str, v4: Option<Ipv4Addr>) -> RouterId {
    v4.and_then(|address| address.try_into().ok()).unwrap_or_else(|| RouterId::from_name(name))
}

/// The blocks of pod addresses that belong to the node.
pub(crate) fn blocks(view: &View, node: &str) -> BTreeSet<Prefix> {
    let own = view.blocks.values().filter(|block| block.spec.node == node);
    own.map(|block| block.spec.cidr).collect()
}

/// Everything the node announces: its blocks, and the virtual IPs it can serve.
pub(crate) fn originations(
    blocks: &BTreeSet<Prefix>,
    vips: &BTreeSet<IpAddr>,
) -> BTreeSet<Origination> {
    let blocks =
        blocks.iter().map(|prefix| Origination { prefix: *prefix, source: OriginSource::Block });
    let vips = vips
        .iter()
        .map(|vip| Origination { prefix: Prefix::host(*vip), source: OriginSource::Vip });
    blocks.chain(vips).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn identity() -> Identity {
        Identity {
            name: "node-1".to_owned(),
            v4: Some(Ipv4Addr::new(192, 0, 2, 1)),
            v6: None,
            router_id: RouterId::from_name("node-1"),
            restarting: false,
        }
    }

    #[test]
    fn every_registered_node_but_this_one_is_a_peer() {
        let mut view = View::default();
        for (name, address) in [("node-1", "192.0.2.1"), ("node-2", "192.0.2.2")] {
            let node = json!({
                "metadata": {"name": name},
                "status": {"addresses": [{"type": "InternalIP", "address": address}]},
            });
            view.nodes.insert(name.to_owned(), Arc::new(serde_json::from_value(node).unwrap()));
        }
        let unregistered = json!({"metadata": {"name": "node-3"}});
        let unregistered = Arc::new(serde_json::from_value(unregistered).unwrap());
        view.nodes.insert("node-3".to_owned(), unregistered);
        let config = speaker(&view, &identity(), &config::Passwords::new()).unwrap();
        let peers: Vec<String> = config.peers.keys().map(ToString::to_string).collect();
        assert_eq!(peers, ["192.0.2.2"]);
    }

    #[test]
    fn a_node_without_ipv4_has_a_router_id_of_its_own() {
        assert_eq!(router_id("a", Some(Ipv4Addr::new(192, 0, 2, 1))).to_string(), "192.0.2.1");
        assert_ne!(router_id("a", None), router_id("b", None));
    }
}
