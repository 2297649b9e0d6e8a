use std::net::IpAddr;

use anyhow::Result;
use viaduct_api::admin::{PeerDetail, PeerQuery};

use super::{
    Target, question,
    table::{age, list},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Its address.
    address: IpAddr,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn print(args: &Args) -> Result<()> {
    let path = question::path("/v1/bgp/peer", &PeerQuery { peer: Some(args.address) })?;
    let answers = crate::operator::ask::<PeerDetail>(&args.target, &path).await?;
    crate::operator::print(&args.target, &answers, |nodes| {
        let all: Vec<_> = nodes.iter().map(|(node, peer)| text(node, peer)).collect();
        all.join("\n\n")
    })
}

fn text(node: &str, peer: &PeerDetail) -> String {
    let status = &peer.status;
    let mut lines = vec![format!("{} on {node}, AS {}", status.name(), status.asn)];
    let mut line = |name: &str, value: String| lines.push(format!("  {name:<20} {value}"));
    line("state", format!("{} for {}", status.state, age(status.since_secs)));
    if let Some(error) = &status.last_error {
        line("last error", error.clone());
    }
    if let Some(id) = status.router_id {
        line("router id", id.to_string());
    }
    let how = [
        (peer.passive, "waits for the peer"),
        (peer.shutdown, "shut down"),
        (peer.reflector_client, "client of ours"),
    ];
    let how = how.into_iter().filter_map(|(is_so, what)| is_so.then_some(what));
    let how: Vec<_> = peer.connection.as_deref().into_iter().chain(how).collect();
    line("connection", format!("port {}; {}", peer.port, list(how)));
    line("BFD", status.bfd.clone().unwrap_or_else(|| "-".to_owned()));
    line("hold time", format!("{} s", status.hold_time_secs));
    line("timers", list(peer.timers.iter().map(|(name, left)| format!("{name} in {left:.0} s"))));
    for (name, all) in [
        ("capabilities sent", &peer.capabilities_sent),
        ("    received", &peer.capabilities_received),
        ("    agreed", &peer.agreed),
    ] {
        for (at, one) in all.iter().enumerate() {
            line(if at == 0 { name } else { "" }, one.clone());
        }
    }
    line("end of RIB", list(&peer.end_of_rib));
    line("stale", format!("{} prefixes; {}", status.prefixes_stale, list(&peer.stale)));
    line(
        "prefixes",
        format!(
            "{} received, {} accepted, {} sent",
            status.prefixes_received, status.prefixes_accepted, status.prefixes_sent
        ),
    );
    for limit in &peer.limits {
        let (family, count, percent) = (limit.family, limit.limit, limit.warning_percent);
        line("limit", format!("{family} {count}, warning at {percent} %, then {}", limit.action));
    }
    line(
        "messages",
        format!(
            "{} received ({} updates), {} sent ({} updates)",
            status.messages_received,
            peer.updates_received,
            status.messages_sent,
            peer.updates_sent
        ),
    );
    line("malformed", format!("{} attributes", peer.malformed));
    line("limit warnings", peer.limit_warnings.to_string());
    line("unwritten", format!("{} octets", peer.octets_unwritten));
    line("sessions lost", status.flaps.to_string());
    lines.join("\n")
}
