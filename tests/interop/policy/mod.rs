//! Import and export policies, as the files write them, against what other speakers see.

mod with_bird;

use std::net::IpAddr;

use bgp_speaker::{Config, LocalAddresses, Policy};
use bgpd::config::{Passwords, documents, standalone};

use crate::lab::node::v4;

/// The rules of both directions, as a file has them, for the peer 192.0.2.2 of an AS.
fn policies(own: u32, asn: u32, import: &str, export: &str) -> (Policy, Policy) {
    let indented = |text: &str| -> String {
        text.trim().lines().map(|line| format!("      {line}\n")).collect()
    };
    let text = format!(
        "apiVersion: viaduct.dev/v1alpha1\nkind: BGPConfiguration\nmetadata: {{name: default}}\n\
         spec: {{asn: {own}}}\n---\n\
         apiVersion: viaduct.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{name: bird}}\nspec:\n  \
         address: 192.0.2.2\n  asn: {asn}\n  \
         import:\n    rules:\n{}  export:\n    rules:\n{}",
        indented(import),
        indented(export)
    );
    let documents::Documents { configuration, peers, replays: _ } =
        documents::parse(&text).unwrap();
    let IpAddr::V4(address) = v4(1) else { unreachable!() };
    let addresses = LocalAddresses { v4: Some(address), v6: None };
    let id = address.try_into().unwrap();
    let config = standalone(&configuration, id, addresses, &peers, &Passwords::new()).unwrap();
    let peer = &config.peers[&v4(2)];
    (peer.import.clone(), peer.export.clone())
}

pub(crate) const ACCEPT: &str = "- action: Accept";

/// The policies of the one peer of a configuration are others.
pub(crate) fn with_policies(config: &Config, import: &str, export: &str) -> Config {
    let mut config = config.clone();
    let own = config.asn.to_u32();
    if let Some(peer) = config.peers.get_mut(&v4(2)) {
        (peer.import, peer.export) = policies(own, peer.asn.to_u32(), import, export);
    }
    config
}
