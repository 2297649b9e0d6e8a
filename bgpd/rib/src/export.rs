//! What a peer is told of a prefix, as a function of its best path: no state, so that Adj-RIB-Out
//! needs no table. A speaker asks [`export`] about [`crate::BestChange::old`] and
//! [`crate::BestChange::new`]: told before and not now means to withdraw.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use bgp_wire::{BgpNextHop, Community, PathAttributes, PeerKind};
use viaduct_net::{Asn, Family, Prefix, RouterId};

use crate::{BestPath, DEFAULT_LOCAL_PREF, PathSource, PeerId, Policy, Source};

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
}

/// The peer to be told.
#[derive(Clone, Copy, Debug)]
pub struct ExportPeer<'a> {
    pub id: PeerId,
    pub kind: PeerKind,
    pub reflector_client: bool,
    /// To an internal peer: whether routes from outside name ourselves as next hop. To an
    /// external peer all routes do.
    pub next_hop_self: bool,
    /// [`Policy::default_for`] where nothing is configured.
    pub policy: &'a Policy,
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
            Self::Policy => "export policy",
            Self::NoNextHop => "no address of ours to be the next hop",
        })
    }
}

/// What a peer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Shared with the path's own where nothing had to be rewritten.
    pub attributes: Arc<PathAttributes>,
    pub next_hop: BgpNextHop,
}

/// Whether the peer is told of the path at all.
pub fn permits(
    target: &ExportPeer<'_>,
    prefix: Prefix,
    path: &BestPath,
) -> Result<(), ExportReject> {
    let source = match path.source {
        PathSource::Local(_) => Source::Local,
        PathSource::Peer { peer, .. } if peer == target.id => return Err(ExportReject::Echo),
        PathSource::Peer { kind, reflector_client, .. } => {
            let internal = kind == PeerKind::Internal && target.kind == PeerKind::Internal;
            if internal && !reflector_client && !target.reflector_client {
                return Err(ExportReject::SplitHorizon);
            }
            kind.into()
        }
    };
    let has = |community| path.attributes.has_community(community);
    if has(Community::NO_ADVERTISE) {
        return Err(ExportReject::NoAdvertise);
    }
    let external = target.kind == PeerKind::External;
    if external && (has(Community::NO_EXPORT) || has(Community::NO_EXPORT_SUBCONFED)) {
        return Err(ExportReject::NoExport);
    }
    let neighbor = path.attributes.as_path.neighbor_as();
    if target.policy.accepts(prefix, source, neighbor) { Ok(()) } else { Err(ExportReject::Policy) }
}

/// What the peer is told of the path: [`permits`], then the next hop and attributes as the peer
/// must see them. For many prefixes use a [`Rewriter`].
pub fn export(
    local: &LocalSpeaker,
    target: &ExportPeer<'_>,
    prefix: Prefix,
    path: &BestPath,
) -> Result<Exported, ExportReject> {
    permits(target, prefix, path)?;
    let next_hop = next_hop(local, target, prefix.family(), path).ok_or(ExportReject::NoNextHop)?;
    Ok(Exported { attributes: rewrite(local, target.kind, path), next_hop })
}

/// Whether [`export`] tells anything, without working out what.
pub fn is_told(
    local: &LocalSpeaker,
    target: &ExportPeer<'_>,
    prefix: Prefix,
    path: &BestPath,
) -> bool {
    permits(target, prefix, path).is_ok()
        && next_hop(local, target, prefix.family(), path).is_some()
}

/// [`export`] that rewrites equal attributes once: the results for equal paths are one allocation,
/// so prefixes can be grouped into messages by [`Arc::ptr_eq`].
#[derive(Debug, Default)]
pub struct Rewriter {
    local: Option<(Asn, Ipv4Addr)>,
    known: HashMap<RewriteKey, Rewritten>,
}

/// All that a rewriting depends on.
#[derive(Debug, PartialEq, Eq, Hash)]
struct RewriteKey {
    /// Address of the original's allocation.
    attributes: usize,
    to_external: bool,
    originated: bool,
    reflected_of: Option<RouterId>,
}

#[derive(Debug)]
struct Rewritten {
    /// Held, so that its address is not another's.
    _original: Arc<PathAttributes>,
    result: Arc<PathAttributes>,
}

impl Rewriter {
    /// Sets of attributes remembered; at the limit all are forgotten.
    pub const CAPACITY: usize = 4096;

    pub fn export(
        &mut self,
        local: &LocalSpeaker,
        target: &ExportPeer<'_>,
        prefix: Prefix,
        path: &BestPath,
    ) -> Result<Exported, ExportReject> {
        permits(target, prefix, path)?;
        let next_hop =
            next_hop(local, target, prefix.family(), path).ok_or(ExportReject::NoNextHop)?;
        let us = Some((local.asn, local.cluster_id));
        if std::mem::replace(&mut self.local, us) != us || self.known.len() >= Self::CAPACITY {
            self.known.clear();
        }
        let key = RewriteKey {
            attributes: Arc::as_ptr(&path.attributes).addr(),
            to_external: target.kind == PeerKind::External,
            originated: matches!(path.source, PathSource::Local(_)),
            reflected_of: reflected_of(target.kind, path),
        };
        let known = self.known.entry(key).or_insert_with(|| Rewritten {
            _original: path.attributes.clone(),
            result: rewrite(local, target.kind, path),
        });
        Ok(Exported { attributes: known.result.clone(), next_hop })
    }
}

fn rewrite(local: &LocalSpeaker, kind: PeerKind, path: &BestPath) -> Arc<PathAttributes> {
    match kind {
        PeerKind::Internal => internal_attributes(local, path),
        PeerKind::External => Arc::new(external_attributes(local, path)),
    }
}

fn next_hop(
    local: &LocalSpeaker,
    target: &ExportPeer<'_>,
    family: Family,
    path: &BestPath,
) -> Option<BgpNextHop> {
    let ours = || match family {
        Family::V4 => local.address_v4.map(BgpNextHop::V4),
        Family::V6 => {
            local.address_v6.map(|global| BgpNextHop::V6 { global, link_local: local.link_local })
        }
    };
    let from_outside = matches!(path.source, PathSource::Peer { kind: PeerKind::External, .. });
    match path.next_hop {
        // RFC 4271 §5.1.3: to an internal peer a next hop stays, unless we are told to stand in.
        Some(theirs)
            if target.kind == PeerKind::Internal && !(from_outside && target.next_hop_self) =>
        {
            match theirs {
                BgpNextHop::V6 { global, .. } if global.is_unicast_link_local() => ours(),
                // A link-local address means nothing beyond the link it was said on.
                BgpNextHop::V6 { global, .. } => Some(BgpNextHop::from(IpAddr::V6(global))),
                BgpNextHop::V4(_) => Some(theirs),
            }
        }
        _ => ours(),
    }
}

/// The router id of the internal peer whose path is reflected, if that is what telling it is.
fn reflected_of(to: PeerKind, path: &BestPath) -> Option<RouterId> {
    match path.source {
        PathSource::Peer { kind: PeerKind::Internal, router_id, .. }
            if to == PeerKind::Internal =>
        {
            Some(router_id)
        }
        PathSource::Peer { .. } | PathSource::Local(_) => None,
    }
}

/// RFC 4271 §5.1.5: internal peers are always told LOCAL_PREF. RFC 4456 §8: what is reflected says
/// who has brought it into the AS, and which clusters it has passed; RFC 4456 §10: nothing else of
/// it changes.
fn internal_attributes(local: &LocalSpeaker, path: &BestPath) -> Arc<PathAttributes> {
    let reflected_of = reflected_of(PeerKind::Internal, path);
    if path.attributes.local_pref.is_some() && reflected_of.is_none() {
        return path.attributes.clone();
    }
    let mut attributes = PathAttributes::clone(&path.attributes);
    attributes.local_pref.get_or_insert(DEFAULT_LOCAL_PREF);
    if let Some(teller) = reflected_of {
        attributes.originator_id.get_or_insert(teller);
        attributes.cluster_list.insert(0, local.cluster_id);
    }
    Arc::new(attributes)
}

fn external_attributes(local: &LocalSpeaker, path: &BestPath) -> PathAttributes {
    let theirs = &path.attributes;
    let mut attributes = PathAttributes::clone(theirs);
    attributes.as_path = theirs.as_path.prepended(local.asn, 1);
    attributes.local_pref = None;
    attributes.originator_id = None;
    attributes.cluster_list.clear();
    // RFC 4271 §5.1.4: a neighbour's MED is for us alone.
    if !matches!(path.source, PathSource::Local(_)) {
        attributes.med = None;
    }
    attributes.extended_communities.retain(|community| !community.is_non_transitive());
    attributes
}
