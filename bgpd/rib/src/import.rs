//! What import says of a path. A rejected path stays in the table, where `why` finds it and a
//! change of policy takes it up again without asking the peer.

use std::net::IpAddr;

use bgp_policy::{Applied, Decided, Route};
use bgp_wire::{AttributeSet, BgpNextHop, Community, PeerKind};
use viaduct_net::Prefix;

use crate::{Peer, Reason, RibConfig, judges::Judges, rib::with_community};

/// What the attributes alone decide, once for all prefixes of an UPDATE.
pub(crate) fn judge_attributes(
    config: &RibConfig,
    peer: &Peer,
    attributes: &AttributeSet,
) -> Option<Reason> {
    let facts = attributes.facts();
    let ingress = &peer.ingress;
    if ingress.is_loop(config, attributes) {
        return Some(Reason::AsLoop);
    }
    let external = peer.kind == PeerKind::External;
    if external && peer.enforce_first_as && !ingress.began_with(peer.asn, attributes) {
        return Some(Reason::FirstAs);
    }
    // RFC 5065 §5.1: whoever is of another member AS has put that in front.
    if peer.kind == PeerKind::Confederation && !facts.has_confederation() {
        return Some(Reason::FirstAs);
    }
    if facts.originator_id() == Some(config.router_id) {
        return Some(Reason::OriginatorLoop);
    }
    // RFC 4456 §8: reflectors look for their cluster. Others have none, and what the reflectors of
    // a cluster tell its clients is no loop.
    if config.cluster_id.is_some_and(|cluster| attributes.has_cluster(cluster)) {
        return Some(Reason::ClusterLoop);
    }
    ingress.leak(peer.asn, attributes)
}

/// What the prefix and the policy decide; `None` where the path is accepted as it is.
pub(crate) fn judge_prefix(
    peer: &Peer,
    prefix: Prefix,
    attributes: &AttributeSet,
    next_hop: BgpNextHop,
    judges: &Judges,
) -> Result<Option<Applied>, Reason> {
    if is_martian(prefix) {
        return Err(Reason::Martian);
    }
    let source = peer.kind.into();
    let next_hop = Some(next_hop.address());
    let route = Route { prefix, source, peer: Some(peer.address), next_hop };
    match peer.import.before_attributes(&route) {
        Decided::Accept => Ok(None),
        Decided::Reject => Err(Reason::ImportPolicy),
        Decided::NeedsAttributes => {
            let applied = judges.apply(&peer.import, attributes, &route);
            applied.map(Some).ok_or(Reason::ImportPolicy)
        }
    }
}

/// RFC 7999 §3.2: what is to be discarded stays within the AS, where the peer has not seen to it.
pub(crate) fn within_the_as(attributes: &AttributeSet) -> AttributeSet {
    let facts = attributes.facts();
    if facts.is_no_export() || facts.is_no_advertise() {
        return attributes.clone();
    }
    with_community(attributes, Community::NO_EXPORT)
}

/// Prefixes that no router can have a route to (RFC 4271 §6.3: a semantically incorrect prefix is
/// ignored; RFC 6890 says which): with one of these a peer would take our loopback or our links.
/// Asked of every prefix that comes, so the bits themselves are looked at.
fn is_martian(prefix: Prefix) -> bool {
    let len = prefix.len();
    match prefix.address() {
        IpAddr::V4(address) => match address.octets() {
            [0, ..] => len >= 8,
            [127, ..] => true,
            [169, 254, ..] => len >= 16,
            [224..=239, ..] => len >= 4,
            _ => false,
        },
        IpAddr::V6(address) => match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0 | 1] => len == 128,
            [0, 0, 0, 0, 0, 0xffff, ..] => len >= 96,
            [0xfe80..=0xfebf, ..] => len >= 10,
            [0xff00..=0xffff, ..] => len >= 8,
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn martians() {
        for (text, martian) in [
            ("0.0.0.0/0", false),
            ("0.0.0.0/8", true),
            ("0.0.0.0/7", false),
            ("127.0.0.1/32", true),
            ("169.254.0.0/16", true),
            ("169.0.0.0/8", false),
            ("224.0.0.5/32", true),
            ("224.0.0.0/3", false),
            ("10.0.0.0/8", false),
            ("::/0", false),
            ("::/128", true),
            ("::1/128", true),
            ("fe80::/64", true),
            ("ff02::/16", true),
            ("::ffff:10.0.0.0/104", true),
            ("2001:db8::/32", false),
            ("fd00::/8", false),
        ] {
            assert_eq!(is_martian(text.parse().unwrap()), martian, "{text}");
        }
    }
}
