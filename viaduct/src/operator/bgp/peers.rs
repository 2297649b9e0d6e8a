use anyhow::Result;
use viaduct_api::admin::PeerStatus;

use super::{
    Target,
    table::{self, age},
};

pub(super) async fn print(target: &Target) -> Result<()> {
    let answers = crate::operator::ask::<Vec<PeerStatus>>(target, "/v1/bgp/peers").await?;
    crate::operator::print(target, &answers, |nodes| {
        let rows = nodes.iter().flat_map(|(node, peers)| peers.iter().map(|peer| row(node, peer)));
        let header = [
            "NODE",
            "PEER",
            "ASN",
            "STATE",
            "SINCE",
            "BFD",
            "ACC/RCV",
            "SENT",
            "FLAPS",
            "LAST ERROR",
        ];
        table::columns(&header, &rows.collect::<Vec<_>>())
    })
}

fn row(node: &str, peer: &PeerStatus) -> Vec<String> {
    vec![
        node.to_owned(),
        peer.name(),
        peer.asn.to_string(),
        peer.state.clone(),
        age(peer.since_secs),
        peer.bfd.clone().unwrap_or_else(|| "-".to_owned()),
        format!("{}/{}", peer.prefixes_accepted, peer.prefixes_received),
        peer.prefixes_sent.to_string(),
        peer.flaps.to_string(),
        peer.last_error.clone().unwrap_or_default(),
    ]
}
