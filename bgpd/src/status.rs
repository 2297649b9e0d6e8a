//! The speaker's state in the words of the admin socket.

use std::time::Instant;

use bgp_rib::PathView;
use bgp_speaker::Speaker;
use viaduct_api::admin::{BgpPath, PeerStatus};

pub(crate) fn peers(speaker: &Speaker, now: Instant) -> Vec<PeerStatus> {
    speaker.peer_statuses(now).into_iter().map(peer).collect()
}

fn peer(status: bgp_speaker::PeerStatus) -> PeerStatus {
    PeerStatus {
        address: status.address,
        asn: status.asn.to_u32(),
        router_id: status.router_id,
        state: status.state.name().to_owned(),
        since_secs: status.since.as_secs(),
        hold_time_secs: status.hold_time_secs,
        families: status.families,
        prefixes_received: status.prefixes_received,
        prefixes_accepted: status.prefixes_accepted,
        prefixes_sent: status.prefixes_sent,
        prefixes_stale: status.prefixes_stale,
        messages_received: status.messages_received,
        messages_sent: status.messages_sent,
        flaps: status.flaps,
        last_error: status.last_error,
    }
}

/// Every path, by prefix; the best of a prefix before the others.
pub(crate) fn routes(speaker: &Speaker) -> Vec<BgpPath> {
    let mut paths: Vec<_> = speaker.paths().map(|view| path(&view)).collect();
    paths.sort_by_key(|path| (path.prefix, !path.best));
    paths
}

fn path(view: &PathView<'_>) -> BgpPath {
    let best = view.reason == bgp_rib::Reason::Best;
    let attributes = view.attributes.open();
    let communities = attributes.communities.iter().map(ToString::to_string);
    let extended = attributes.extended_communities.iter().map(ToString::to_string);
    let large = attributes.large_communities.iter().map(ToString::to_string);
    BgpPath {
        prefix: view.prefix,
        peer: view.peer.map(|peer| peer.address),
        path_id: view.path_id,
        originated: view.originated(),
        next_hop: view.next_hop.map(bgp_wire::BgpNextHop::address),
        resolved: view.resolved.to_vec(),
        as_path: attributes.as_path.to_string(),
        origin: attributes.origin.to_string(),
        local_pref: attributes.local_pref,
        med: attributes.med,
        communities: communities.chain(extended).chain(large).collect(),
        originator_id: attributes.originator_id.map(|id| id.to_string()),
        cluster_list: attributes.cluster_list.iter().map(ToString::to_string).collect(),
        best,
        stale: view.stale,
        reason: (!best).then(|| view.reason.to_string()),
    }
}
