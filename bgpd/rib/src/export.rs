//! What a peer is told of a prefix, as a function of its best path: no state, so that Adj-RIB-Out
//! needs no table. A speaker asks [`export`] about [`crate::BestChange::old`] and
//! [`crate::BestChange::new`]: told before and not now means to withdraw.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use bgp_policy::{Applied, Decided, Judge, NextHopChange, Route};
use bgp_wire::{AttributeSet, BgpNextHop, Edit, Number, PeerKind, Role};
use viaduct_net::{Asn, Family, Prefix, RouterId};

use crate::{BestPath, PathSource, PeerId, Policy, Source, local_pref};

/// This speaker, as far as what it tells depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalSpeaker {
    pub asn: Asn,
    /// Prepended to the CLUSTER_LIST of what is reflected (RFC 4456 §8).
    pub cluster_id: Ipv4Addr,
    /// Next hop of what is originated here or passed on with itself as next hop; a family without
    /// one is not told.
    pub address_v4: Option<Ipv4Addr>,
    pub address_v6: Option<Ipv6Addr>,
    /// Our link-local address on the link of the session, where the peer is on link
    /// (RFC 2545 §3).
    pub link_local: Option<Ipv6Addr>,
    /// IPv4 prefixes may have IPv6 next hops on the session (RFC 8950).
    pub extended_next_hop: bool,
    /// External peers only.
    pub egress: Egress,
}

/// What else the peer sees of us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    /// Our own part towards the peer (RFC 9234).
    pub role: Option<Role>,
    /// Our AS, where [`LocalSpeaker::asn`] is another and is not to stand in its place but before it
    /// (RFC 7705 §3.2).
    pub behind: Option<Asn>,
    /// The peer's AS, where [`LocalSpeaker::asn`] is to stand in its place in paths.
    pub overridden: Option<Asn>,
}

/// The peer to be told.
#[derive(Clone, Copy, Debug)]
pub struct ExportPeer<'a> {
    /// `None` for a group of peers: then nothing is an echo.
    pub id: Option<PeerId>,
    pub kind: PeerKind,
    pub reflector_client: bool,
    /// To an internal peer: whether routes from outside name ourselves as next hop. To an
    /// external peer all routes do.
    pub next_hop_self: bool,
    /// [`Policy::default_for`] where nothing is configured.
    pub policy: &'a Policy,
    /// Whether the peer knows what to do with paths that are kept for long (RFC 9494 §4.3).
    pub long_lived: bool,
}

/// Why a peer is not told of a best path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportReject {
    /// It came from this peer.
    Echo,
    /// From an internal peer to an internal peer, neither a client (RFC 4271 §9.2, RFC 4456 §6).
    SplitHorizon,
    NoAdvertise,
    NoExport,
    LongLivedStale,
    /// What goes to customers only is not for this peer (RFC 9234 §5, egress 2).
    OnlyToCustomer,
    Policy,
    /// We have no address of the family to name as next hop.
    NoNextHop,
}

impl fmt::Display for ExportReject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Echo => "learned from this peer",
            Self::SplitHorizon => "learned from an internal peer (RFC 4271 9.2)",
            Self::NoAdvertise => "community NO_ADVERTISE (RFC 1997)",
            Self::NoExport => "community NO_EXPORT (RFC 1997)",
            Self::LongLivedStale => "kept from a neighbour that is away (RFC 9494 4.3)",
            Self::OnlyToCustomer => "only to customers (RFC 9234 5)",
            Self::Policy => "export policy",
            Self::NoNextHop => "no address of ours to be the next hop",
        })
    }
}

/// What a peer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Shared with the path's own where nothing had to be rewritten.
    pub attributes: AttributeSet,
    pub next_hop: BgpNextHop,
}

/// Whether the peer is told of the path at all, and as what its policy makes it: `apply` is asked where
/// that needs a look at the attributes.
pub(crate) fn pass(
    local: &LocalSpeaker,
    target: &ExportPeer<'_>,
    prefix: Prefix,
    path: &BestPath,
    apply: impl FnOnce(&Route) -> Option<Applied>,
) -> Result<Applied, ExportReject> {
    let source = match path.source {
        PathSource::Local(_) => Source::Local,
        PathSource::Peer { peer, .. } if Some(peer) == target.id => return Err(ExportReject::Echo),
        PathSource::Peer { kind, reflector_client, .. } => {
            let internal = kind == PeerKind::Internal && target.kind == PeerKind::Internal;
            if internal && !reflector_client && !target.reflector_client {
                return Err(ExportReject::SplitHorizon);
            }
            kind.into()
        }
    };
    let facts = path.attributes.facts();
    if facts.is_no_advertise() {
        return Err(ExportReject::NoAdvertise);
    }
    if facts.is_llgr_stale() && !target.long_lived {
        return Err(ExportReject::LongLivedStale);
    }
    let external = target.kind == PeerKind::External;
    let leaves_member = target.kind != PeerKind::Internal;
    if external && facts.is_no_export() || leaves_member && facts.is_no_export_subconfed() {
        return Err(ExportReject::NoExport);
    }
    let sideways_or_up = local.egress.role.is_some_and(Role::marks_received);
    if external && sideways_or_up && facts.is_only_to_customer() {
        return Err(ExportReject::OnlyToCustomer);
    }
    let next_hop = path.next_hop.map(BgpNextHop::address);
    let route = Route { prefix, source, peer: path.source.address(), next_hop };
    match target.policy.before_attributes(&route) {
        Decided::Accept => {
            Ok(Applied { attributes: path.attributes.clone(), next_hop: None, sets_med: false })
        }
        Decided::Reject => Err(ExportReject::Policy),
        Decided::NeedsAttributes => apply(&route).ok_or(ExportReject::Policy),
    }
}

/// What the peer is told of the path, if it is: as the policy makes it, then with the next hop and
/// attributes as the peer must see them.
pub fn export(
    local: &LocalSpeaker,
    target: &ExportPeer<'_>,
    prefix: Prefix,
    path: &BestPath,
) -> Result<Exported, ExportReject> {
    let judge = |route: &Route| Judge::new(target.policy, &path.attributes).apply(route);
    let applied = pass(local, target, prefix, path, judge)?;
    let next_hop = next_hop(local, target, prefix.family(), path, applied.next_hop)
        .ok_or(ExportReject::NoNextHop)?;
    let attributes = edit(local, target.kind, path.source, &applied).apply(&applied.attributes);
    Ok(Exported { attributes, next_hop })
}

pub(crate) fn next_hop(
    local: &LocalSpeaker,
    target: &ExportPeer<'_>,
    family: Family,
    path: &BestPath,
    change: Option<NextHopChange>,
) -> Option<BgpNextHop> {
    let ours_v6 =
        || local.address_v6.map(|global| BgpNextHop::V6 { global, link_local: local.link_local });
    let ours = || match family {
        Family::V4 => match local.address_v4 {
            Some(address) => Some(BgpNextHop::V4(address)),
            None => ours_v6().filter(|_| local.extended_next_hop),
        },
        Family::V6 => ours_v6(),
    };
    let from_outside = matches!(path.source, PathSource::Peer { kind: PeerKind::External, .. });
    let stays = match change {
        Some(NextHopChange::Address(address))
            if family == Family::of(address) || family == Family::V4 && local.extended_next_hop =>
        {
            return Some(address.into());
        }
        Some(NextHopChange::Own) => false,
        Some(NextHopChange::Unchanged) => true,
        // RFC 4271 §5.1.3: to an internal peer a next hop stays, unless we are told to stand in.
        Some(NextHopChange::Address(_)) | None => {
            // It stays within a confederation too (RFC 5065 §4, "MAY").
            target.kind != PeerKind::External && !(from_outside && target.next_hop_self)
        }
    };
    match path.next_hop {
        Some(theirs) if stays => {
            match theirs {
                BgpNextHop::V6 { global, .. } if global.is_unicast_link_local() => ours(),
                BgpNextHop::V6 { .. } if family == Family::V4 && !local.extended_next_hop => ours(),
                // A link-local address means nothing beyond the link it was said on.
                BgpNextHop::V6 { global, .. } => Some(BgpNextHop::from(IpAddr::V6(global))),
                BgpNextHop::V4(_) => Some(theirs),
            }
        }
        _ => ours(),
    }
}

/// The router id of the internal peer whose path is reflected, if that is what telling it is.
pub(crate) fn reflected_of(to: PeerKind, source: PathSource) -> Option<RouterId> {
    match source {
        PathSource::Peer { kind: PeerKind::Internal, router_id, .. }
            if to == PeerKind::Internal =>
        {
            Some(router_id)
        }
        PathSource::Peer { .. } | PathSource::Local(_) => None,
    }
}

/// What changes of the attributes on the way to a peer of this kind.
///
/// RFC 4271 §5.1.5: internal peers are always told LOCAL_PREF. RFC 4456 §8: what is reflected says
/// who has brought it into the AS, and which clusters it has passed; RFC 4456 §10: nothing else of
/// it changes.
pub(crate) fn edit(
    local: &LocalSpeaker,
    kind: PeerKind,
    source: PathSource,
    applied: &Applied,
) -> Edit {
    let facts = applied.attributes.facts();
    let from = source.kind().unwrap_or(PeerKind::Internal);
    match kind {
        PeerKind::Internal => Edit {
            local_pref: Number::Default(local_pref(facts, from)),
            reflected: reflected_of(kind, source).map(|teller| (teller, local.cluster_id)),
            ..Edit::default()
        },
        PeerKind::Confederation => Edit {
            confederate: Some(local.asn),
            local_pref: Number::Default(local_pref(facts, from)),
            ..Edit::default()
        },
        PeerKind::External => Edit {
            prepend: Some(local.asn),
            confederate: None,
            behind: local.egress.behind,
            overridden: local.egress.overridden,
            only_to_customer: (local.egress.role)
                .is_some_and(Role::marks_sent)
                .then_some(local.asn),
            local_pref: Number::Remove,
            // RFC 4271 §5.1.4: a neighbour's MED is for us alone.
            med: match source {
                PathSource::Peer { .. } if !applied.sets_med => Number::Remove,
                PathSource::Peer { .. } | PathSource::Local(_) => Number::Keep,
            },
            reflected: None,
            leaves_as: true,
        },
    }
}
