//! Who speaks BGP with whom in a cluster, and what each takes and tells. Pure: a plan in, resources
//! and documents out.
//!
//! The nodes are one AS, joined by the mesh or by reflectors. Whoever leads out of it, the routers of
//! the racks or the border, is told of a node's own blocks and virtual IPs and tells it nothing: a
//! node's way out is its default route. The routers tell each other, and the border, what their own
//! rack's nodes have told them and nothing of each other. All of it is said by policy (RFC 8212).

use anyhow::Result;
use k8s_openapi::serde_json::{Value, json};
use serde::Serialize;
use std::collections::BTreeMap;
use viaduct_api::v1alpha1::{
    API_VERSION, BGPConfigurationSpec, BGPPeerSpec, CustomResource, DEFAULT_CONFIGURATION, Policy,
    PolicyAction, PolicyRule, PrefixMatch, SourceMatch,
};

use super::plan::{BORDER_ASN, CLUSTER_ASN, ClusterPlan, Host, RACK_LABEL, Rack};

/// What a speaker outside the cluster's nodes is there for; the command that runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    Router,
    Reflector,
}

impl Part {
    pub(crate) fn command(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Reflector => "reflector",
        }
    }
}

/// A speaker that reads a file.
#[derive(Debug)]
pub(crate) struct Speaker<'a> {
    pub host: &'a Host,
    pub part: Part,
    configuration: BGPConfigurationSpec,
    peers: BTreeMap<String, BGPPeerSpec>,
}

impl Speaker<'_> {
    pub(crate) fn asn(&self) -> u32 {
        self.configuration.asn
    }

    /// The file, as YAML documents.
    pub(crate) fn documents(&self) -> Result<String> {
        let mut documents = vec![document(DEFAULT_CONFIGURATION, &self.configuration)?];
        for (name, peer) in &self.peers {
            documents.push(document(name, peer)?);
        }
        let texts: Result<Vec<String>, _> = documents.iter().map(serde_norway::to_string).collect();
        Ok(texts?.join("---\n"))
    }
}

/// A resource of ours as it is written into files and sent to the API.
pub(crate) fn document<T: CustomResource>(name: &str, spec: &T) -> Result<Value> {
    Ok(json!({
        "apiVersion": API_VERSION,
        "kind": T::KIND,
        "metadata": {"name": name},
        "spec": serde_json::to_value(spec)?,
    }))
}

/// How the nodes speak BGP.
pub(crate) fn node_configuration(plan: &ClusterPlan) -> BGPConfigurationSpec {
    BGPConfigurationSpec {
        asn: CLUSTER_ASN,
        node_to_node_mesh: plan.reflectors.is_empty(),
        ..Default::default()
    }
}

/// The peers of the nodes outside the mesh, each for the nodes that its selector meets.
pub(crate) fn node_peers(plan: &ClusterPlan) -> BTreeMap<String, BGPPeerSpec> {
    let outside = |host: &Host, asn: u32, node_selector: BTreeMap<String, String>| {
        let own = rule(Vec::new(), &[SourceMatch::Local], &[]);
        BGPPeerSpec { node_selector, ..peer(host, asn, Some(nothing()), Some(own)) }
    };
    let mut peers = BTreeMap::new();
    for Rack { router, asn, .. } in &plan.racks {
        let selector = [(RACK_LABEL.to_owned(), router.name.clone())].into();
        peers.insert(router.name.clone(), outside(router, *asn, selector));
    }
    if plan.racks.is_empty() {
        let border = outside(&plan.border, BORDER_ASN, BTreeMap::new());
        peers.insert(plan.border.name.clone(), border);
    }
    for reflector in &plan.reflectors {
        peers.insert(reflector.name.clone(), peer(reflector, CLUSTER_ASN, None, None));
    }
    peers
}

/// Everybody who speaks BGP and is no node, but for a border that somebody else stands in for.
pub(crate) fn outside_the_nodes(plan: &ClusterPlan) -> Vec<Speaker<'_>> {
    let border = plan.has_border.then(|| border(plan));
    let racks = plan.racks.iter().map(|rack| rack_router(plan, rack));
    let reflectors = plan.reflectors.iter().map(|host| reflector(plan, host));
    border.into_iter().chain(racks).chain(reflectors).collect()
}

/// Every speaker with the number of its sessions, when all of ours are there: who stands in for the
/// border comes later.
pub(crate) fn sessions(plan: &ClusterPlan) -> Vec<(&Host, usize)> {
    let is_ours =
        |peer: &&BGPPeerSpec| plan.has_border || peer.address != Some(plan.border.v4.into());
    let peers = node_peers(plan);
    let meshed = if node_configuration(plan).node_to_node_mesh { plan.nodes.len() - 1 } else { 0 };
    let nodes = plan.nodes.iter().map(|node| {
        let labels = node.labels();
        let selected = peers.values().filter(is_ours).filter(|peer| peer.selects(&labels));
        (node, meshed + selected.count())
    });
    let others = outside_the_nodes(plan);
    let ours = |speaker: &Speaker<'_>| speaker.peers.values().filter(is_ours).count();
    let others = others.iter().map(|speaker| (speaker.host, ours(speaker)));
    nodes.chain(others).collect()
}

/// The border takes blocks and virtual IPs from whoever has the nodes behind it, and tells nothing.
fn border(plan: &ClusterPlan) -> Speaker<'_> {
    let import = || Some(rule(routable(plan), &[], &[]));
    let mut peers = BTreeMap::new();
    for Rack { router, asn, .. } in &plan.racks {
        peers.insert(router.name.clone(), peer(router, *asn, import(), Some(nothing())));
    }
    if plan.racks.is_empty() {
        for node in &plan.nodes {
            peers.insert(node.name.clone(), peer(node, CLUSTER_ASN, import(), Some(nothing())));
        }
    }
    Speaker { host: &plan.border, part: Part::Router, configuration: alone(BORDER_ASN), peers }
}

fn rack_router<'a>(plan: &'a ClusterPlan, rack: &'a Rack) -> Speaker<'a> {
    let import = || Some(rule(routable(plan), &[], &[]));
    // What begins with the nodes' AS comes from this rack; from another it begins with that rack's.
    let export = || Some(rule(routable(plan), &[SourceMatch::External], &[CLUSTER_ASN]));
    let mut peers = BTreeMap::new();
    for node in plan.nodes.iter().filter(|node| node.rack.as_ref() == Some(&rack.router.name)) {
        peers.insert(node.name.clone(), peer(node, CLUSTER_ASN, import(), Some(nothing())));
    }
    for other in plan.racks.iter().filter(|other| *other != rack) {
        let name = other.router.name.clone();
        peers.insert(name, peer(&other.router, other.asn, import(), export()));
    }
    let border = peer(&plan.border, BORDER_ASN, Some(nothing()), export());
    peers.insert(plan.border.name.clone(), border);
    Speaker { host: &rack.router, part: Part::Router, configuration: alone(rack.asn), peers }
}

/// Every node is a client. The other reflector is none, and each has a cluster of its own: so one
/// that has lost a node still has the node's routes from the other.
fn reflector<'a>(plan: &'a ClusterPlan, host: &'a Host) -> Speaker<'a> {
    let mut peers = BTreeMap::new();
    for node in &plan.nodes {
        let client = BGPPeerSpec { reflector_client: true, ..peer(node, CLUSTER_ASN, None, None) };
        peers.insert(node.name.clone(), client);
    }
    for other in plan.reflectors.iter().filter(|other| *other != host) {
        peers.insert(other.name.clone(), peer(other, CLUSTER_ASN, None, None));
    }
    Speaker { host, part: Part::Reflector, configuration: alone(CLUSTER_ASN), peers }
}

fn alone(asn: u32) -> BGPConfigurationSpec {
    BGPConfigurationSpec { asn, node_to_node_mesh: false, ..Default::default() }
}

fn peer(host: &Host, asn: u32, import: Option<Policy>, export: Option<Policy>) -> BGPPeerSpec {
    BGPPeerSpec { import, export, ..BGPPeerSpec::new(host.v4.into(), asn) }
}

fn nothing() -> Policy {
    Policy::default()
}

/// Accepts what fits and nothing else.
fn rule(prefixes: Vec<PrefixMatch>, sources: &[SourceMatch], neighbor_asns: &[u32]) -> Policy {
    let action = PolicyAction::Accept;
    let (sources, neighbor_asns) = (sources.to_vec(), neighbor_asns.to_vec());
    let rule = PolicyRule { prefixes, sources, neighbor_asns, ..PolicyRule::new(action) };
    Policy { rules: vec![rule] }
}

/// Anything inside the networks of pods and virtual IPs.
fn routable(plan: &ClusterPlan) -> Vec<PrefixMatch> {
    let all = plan.pod_cidrs.iter().chain(&plan.vip_cidrs);
    let inside = all.map(|cidr| PrefixMatch {
        prefix: *cidr,
        min_length: Some(cidr.len()),
        max_length: Some(cidr.family().bits()),
    });
    inside.collect()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use bgp_speaker::policy::Route;
    use bgp_wire::{AsPath, PathAttributes};
    use bgpd::config::Passwords;

    use super::*;
    use crate::up::plan::Shape;

    fn plan(racks: Option<usize>, reflectors: bool) -> ClusterPlan {
        ClusterPlan::new("test", Shape { nodes: 3, racks, reflectors }, 8080).unwrap()
    }

    fn count(plan: &ClusterPlan) -> Vec<String> {
        sessions(plan).into_iter().map(|(host, count)| format!("{} {count}", host.name)).collect()
    }

    #[test]
    fn the_sessions_of_each_shape() {
        let mesh = ["node-1 3", "node-2 3", "node-3 3", "border 3"];
        assert_eq!(count(&plan(None, false)), mesh);
        let mut borderless = plan(None, false);
        borderless.has_border = false;
        assert_eq!(count(&borderless), ["node-1 2", "node-2 2", "node-3 2"]);
        let mut borderless = plan(Some(2), false);
        borderless.has_border = false;
        let others = ["node-1 3", "node-2 3", "node-3 3", "rack-1 3", "rack-2 2"];
        assert_eq!(count(&borderless), others);
        // It is waited for by none and expected by all.
        let routers = outside_the_nodes(&borderless);
        assert!(routers.iter().all(|router| router.peers.contains_key("border")));
        let racks = ["node-1 3", "node-2 3", "node-3 3", "border 2", "rack-1 4", "rack-2 3"];
        assert_eq!(count(&plan(Some(2), false)), racks);
        let reflected = ["reflector-1 4", "reflector-2 4"];
        assert_eq!(count(&plan(Some(2), true)), [&racks[..], &reflected[..]].concat());
        let fabric = ["node-1 3", "node-2 3", "node-3 3", "border 3"];
        assert_eq!(count(&plan(None, true)), [&fabric[..], &reflected[..]].concat());
    }

    /// Whoever has a session configured is configured at the other end, with the other's AS.
    #[test]
    fn every_session_has_two_ends() {
        for plan in [None, Some(1), Some(2), Some(3)]
            .into_iter()
            .flat_map(|racks| [false, true].map(|reflectors| plan(racks, reflectors)))
        {
            let mut ends = std::collections::BTreeSet::new();
            let at_nodes = node_peers(&plan);
            for node in &plan.nodes {
                let labels = node.labels();
                let selected = at_nodes.values().filter(|peer| peer.selects(&labels));
                for peer in selected {
                    ends.insert((
                        IpAddr::V4(node.v4),
                        CLUSTER_ASN,
                        peer.address.unwrap(),
                        peer.asn,
                    ));
                }
            }
            for speaker in outside_the_nodes(&plan) {
                for peer in speaker.peers.values() {
                    let own = IpAddr::V4(speaker.host.v4);
                    ends.insert((own, speaker.asn(), peer.address.unwrap(), peer.asn));
                }
            }
            for (from, from_asn, to, to_asn) in &ends {
                assert!(ends.contains(&(*to, *to_asn, *from, *from_asn)), "{from} {to}");
            }
        }
    }

    /// What is written is what the commands read, and a good configuration.
    #[test]
    fn the_files_are_understood() {
        let plan = plan(Some(2), true);
        for speaker in outside_the_nodes(&plan) {
            let text = speaker.documents().unwrap();
            let read = bgpd::config::documents::parse(&text).unwrap();
            let addresses = bgp_speaker::LocalAddresses {
                v4: Some(speaker.host.v4),
                v6: Some(speaker.host.v6),
            };
            let id = speaker.host.v4.try_into().unwrap();
            let config = bgpd::config::standalone(
                &read.configuration,
                id,
                addresses,
                &read.peers,
                &Passwords::new(),
            )
            .unwrap();
            assert_eq!(config.peers.len(), speaker.peers.len());
            assert_eq!(config.is_reflector(), speaker.part == Part::Reflector);
        }
    }

    #[test]
    fn a_rack_tells_others_of_its_own_nodes_only() {
        let plan = plan(Some(2), false);
        let router = rack_router(&plan, &plan.racks[0]);
        let addresses = bgp_speaker::LocalAddresses { v4: Some(router.host.v4), v6: None };
        let id = router.host.v4.try_into().unwrap();
        let config = bgpd::config::standalone(
            &router.configuration,
            id,
            addresses,
            &router.peers,
            &Passwords::new(),
        )
        .unwrap();
        let external = bgp_speaker::Source::External;
        let block = "10.244.0.64/26".parse().unwrap();
        let accepts_at = |policy: &bgp_speaker::Policy, prefix, asn: u32| {
            let as_path = AsPath::sequence([viaduct_net::Asn::new(asn)]);
            let attributes = PathAttributes { as_path, ..PathAttributes::default() };
            policy.accepts(&Route::new(prefix, external), &attributes.into())
        };
        let accepts = |policy: &bgp_speaker::Policy, asn| accepts_at(policy, block, asn);
        let of = |host: &Host| &config.peers[&IpAddr::V4(host.v4)];
        for other in [&plan.border, &plan.racks[1].router] {
            assert!(accepts(&of(other).export, CLUSTER_ASN));
            assert!(!accepts(&of(other).export, plan.racks[1].asn), "no transit");
        }
        assert!(!accepts(&of(&plan.nodes[0]).export, plan.racks[1].asn));
        assert!(accepts(&of(&plan.nodes[0]).import, CLUSTER_ASN));
        assert!(!accepts(&of(&plan.border).import, BORDER_ASN));
        let default = "0.0.0.0/0".parse().unwrap();
        let node = &of(&plan.nodes[0]).import;
        assert!(!accepts_at(node, default, CLUSTER_ASN));
    }
}
