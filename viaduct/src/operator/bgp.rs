use anyhow::Result;
use clap::Subcommand;
use viaduct_api::admin::{BgpPath, PeerStatus};

use super::{
    Target,
    table::{self, age, list},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// The neighbours and their sessions.
    Peers(Target),
    /// Every path of every prefix, the best first, and why the others lost.
    Routes(Target),
}

pub(crate) async fn run(command: Command) -> Result<()> {
    match command {
        Command::Peers(target) => peers(&target).await,
        Command::Routes(target) => routes(&target).await,
    }
}

async fn peers(target: &Target) -> Result<()> {
    let answers = super::ask::<Vec<PeerStatus>>(target, "/v1/bgp/peers").await?;
    super::print(target, &answers, |nodes| {
        let mut rows = Vec::new();
        for (node, peers) in nodes {
            for peer in *peers {
                rows.push(vec![
                    (*node).to_owned(),
                    peer.address.to_string(),
                    peer.asn.to_string(),
                    peer.state.clone(),
                    age(peer.since_secs),
                    format!("{}/{}", peer.prefixes_accepted, peer.prefixes_received),
                    peer.prefixes_sent.to_string(),
                    peer.flaps.to_string(),
                    peer.last_error.clone().unwrap_or_default(),
                ]);
            }
        }
        let header =
            ["NODE", "PEER", "ASN", "STATE", "SINCE", "ACC/RCV", "SENT", "FLAPS", "LAST ERROR"];
        table::columns(&header, &rows)
    })
}

async fn routes(target: &Target) -> Result<()> {
    let answers = super::ask::<Vec<BgpPath>>(target, "/v1/bgp/routes").await?;
    super::print(target, &answers, |nodes| {
        let mut rows = Vec::new();
        for (node, paths) in nodes {
            for path in *paths {
                let from = match (path.peer, path.originated) {
                    (Some(peer), _) => peer.to_string(),
                    (None, Some(source)) => format!("{source:?}").to_lowercase(),
                    (None, None) => "-".to_owned(),
                };
                rows.push(vec![
                    (*node).to_owned(),
                    if path.best { "*" } else { "" }.to_owned(),
                    path.prefix.to_string(),
                    path.next_hop.map_or_else(|| "-".to_owned(), |hop| hop.to_string()),
                    from,
                    if path.as_path.is_empty() { "-".to_owned() } else { path.as_path.clone() },
                    path.local_pref.map_or_else(|| "-".to_owned(), |value| value.to_string()),
                    list(&path.communities),
                    match (&path.reason, path.stale) {
                        (Some(reason), _) => reason.clone(),
                        (None, true) => "stale".to_owned(),
                        (None, false) => String::new(),
                    },
                ]);
            }
        }
        let header =
            ["NODE", "", "PREFIX", "NEXT HOP", "FROM", "AS PATH", "PREF", "COMMUNITIES", "WHY NOT"];
        table::columns(&header, &rows)
    })
}
