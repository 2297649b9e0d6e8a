use anyhow::Result;
use clap::Subcommand;
use viaduct_api::admin::{BfdSession, BfdStatus, BgpPath, PeerStatus};

use super::{
    Target,
    table::{self, age, list},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// The neighbours and their sessions.
    Peers(Target),
    /// The BFD sessions with neighbours.
    ///
    /// TX is what is let pass between our packets, DETECT the silence after which the neighbour is
    /// lost, both as negotiated; OFFER and PEER are what each side asks for: sending, taking,
    /// multiplier.
    Bfd(Target),
    /// Every path of every prefix, the best first, and why the others lost.
    Routes(Target),
}

pub(crate) async fn run(command: Command) -> Result<()> {
    match command {
        Command::Peers(target) => peers(&target).await,
        Command::Bfd(target) => bfd(&target).await,
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
                    peer.bfd.clone().unwrap_or_else(|| "-".to_owned()),
                    format!("{}/{}", peer.prefixes_accepted, peer.prefixes_received),
                    peer.prefixes_sent.to_string(),
                    peer.flaps.to_string(),
                    peer.last_error.clone().unwrap_or_default(),
                ]);
            }
        }
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
        table::columns(&header, &rows)
    })
}

async fn bfd(target: &Target) -> Result<()> {
    let answers = super::ask::<BfdStatus>(target, "/v1/bgp/bfd").await?;
    super::print(target, &answers, |nodes| {
        let mut rows = Vec::new();
        let mut notes = String::new();
        for (node, status) in nodes {
            rows.extend(status.sessions.iter().map(|session| bfd_row(node, session)));
            let discarded = status.discarded.iter().filter(|(_, count)| **count > 0);
            let discarded: Vec<_> =
                discarded.map(|(reason, count)| format!("{reason} {count}")).collect();
            if !discarded.is_empty() {
                notes += &format!("\n{node}: packets discarded: {}", discarded.join(", "));
            }
            for problem in &status.problems {
                notes += &format!("\n{node}: {problem}");
            }
        }
        let header = [
            "NODE",
            "PEER",
            "HOPS",
            "STATE",
            "SINCE",
            "TX",
            "DETECT",
            "OFFER",
            "PEER OFFERS",
            "RECEIVED",
            "SENT",
            "DOWNS",
            "DIAGNOSTIC",
        ];
        table::columns(&header, &rows) + &notes
    })
}

fn bfd_row(node: &str, session: &BfdSession) -> Vec<String> {
    let millis = |micros: u64| format!("{}ms", micros as f64 / 1000.0);
    let or_none = |micros: Option<u64>| micros.map_or_else(|| "-".to_owned(), millis);
    let offer = |tx, rx, multiplier| format!("{}/{} x{multiplier}", millis(tx), millis(rx));
    let theirs = (|| {
        let tx = session.remote_min_transmit_micros?;
        Some(offer(tx, session.remote_min_receive_micros?, session.remote_multiplier?))
    })();
    vec![
        node.to_owned(),
        session.peer.to_string(),
        if session.multihop { "many" } else { "one" }.to_owned(),
        session.state.clone(),
        age(session.since_secs),
        or_none(session.transmit_micros),
        or_none(session.detection_micros),
        offer(session.min_transmit_micros, session.min_receive_micros, session.multiplier),
        theirs.unwrap_or_else(|| "-".to_owned()),
        session.packets_received.to_string(),
        session.packets_sent.to_string(),
        session.downs.to_string(),
        session.diagnostic.clone(),
    ]
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
