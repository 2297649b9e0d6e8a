//! The speaker's state in the words of the admin socket.

use std::time::Instant;

use bgp_speaker::Speaker;
use viaduct_api::admin::PeerStatus;

pub(crate) fn peers(speaker: &Speaker, now: Instant) -> Vec<PeerStatus> {
    speaker.peer_statuses(now).into_iter().map(peer).collect()
}

pub(crate) fn peer(status: bgp_speaker::PeerStatus) -> PeerStatus {
    PeerStatus {
        address: status.address,
        asn: status.asn.to_u32(),
        range: status.range,
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
        bfd: None,
    }
}
