//! Questions about the table. Each is answered in steps of some two milliseconds, between which the
//! speaker does its other work: however large the table, nobody waits for one who looks at it.

use std::net::IpAddr;

use bgp_rib::{AnyCommunity, PathFilter, PathView, Reason};
use bgp_speaker::Speaker;
use viaduct_api::admin::{BgpPath, PathQuery};
use viaduct_net::Prefix;

use crate::status::{interface, known_as, plain};

/// What is wrong with a [`PathQuery`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathQueryError {
    #[error("prefix: `{0}` is neither a prefix nor an address")]
    Prefix(String),
    #[error("longer: of which prefix is not said")]
    LongerThanNothing,
    #[error("community: {0}")]
    Community(#[from] bgp_wire::CommunityParseError),
    #[error("peer: {0} is no peer of this speaker")]
    NoSuchPeer(IpAddr),
}

#[derive(Clone, Copy, Debug)]
enum Scope {
    All,
    One(Prefix),
    /// The most specific one around an address.
    Around(Prefix),
}

/// A question that was understood, and how far it has been answered.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    scope: Scope,
    peer: Option<IpAddr>,
    filter: PathFilter,
    /// How many paths are still wanted.
    left: usize,
    /// The place of the table to go on from; `None` behind the last.
    from: Option<u32>,
}

impl TryFrom<&PathQuery> for Question {
    type Error = PathQueryError;

    fn try_from(query: &PathQuery) -> Result<Self, Self::Error> {
        let parse = |text: &String| match (text.parse::<Prefix>(), text.parse::<IpAddr>()) {
            (Ok(prefix), _) if text.contains('/') => Ok((prefix, false)),
            (_, Ok(address)) => Ok((Prefix::host(address), true)),
            (_, Err(_)) => Err(PathQueryError::Prefix(text.clone())),
        };
        let asked = query.prefix.as_ref().map(parse).transpose()?;
        let (scope, within) = match asked {
            None if query.longer => return Err(PathQueryError::LongerThanNothing),
            None => (Scope::All, None),
            Some((prefix, _)) if query.longer => (Scope::All, Some(prefix)),
            Some((host, true)) => (Scope::Around(host), None),
            Some((prefix, false)) => (Scope::One(prefix), None),
        };
        let community = query.community.as_deref().map(str::parse::<AnyCommunity>).transpose()?;
        let (best, rejected) = (query.best, query.rejected);
        Ok(Self {
            scope,
            peer: query.peer,
            filter: PathFilter { within, peer: None, best, rejected, community },
            left: query.limit.unwrap_or(usize::MAX),
            from: Some(0),
        })
    }
}

impl Question {
    pub(crate) fn is_answered(&self) -> bool {
        self.from.is_none() || self.left == 0
    }

    /// The next of the paths; an answer may have none and not be the last.
    pub(crate) fn step(&mut self, speaker: &Speaker) -> Result<Vec<BgpPath>, PathQueryError> {
        let (from, rib) = (self.from.take(), speaker.rib());
        let mut filter = self.filter;
        if let Some(address) = self.peer {
            let peer = speaker.peer_in_rib(known_as(speaker.config(), address));
            filter.peer = peer.ok_or(PathQueryError::NoSuchPeer(address))?;
            // Nothing can have come from it.
            if filter.peer.is_none() {
                return Ok(Vec::new());
            }
        }
        let mut views = match (self.scope, from) {
            (_, None) => Vec::new(),
            (Scope::All, Some(from)) => {
                let step = rib.walk(from, &filter, self.left);
                self.from = step.next;
                step.paths
            }
            (Scope::One(prefix), Some(_)) => rib.walk_one(prefix, &filter),
            (Scope::Around(host), Some(_)) => {
                let prefix = rib.nearest(host);
                prefix.map(|prefix| rib.walk_one(prefix, &filter)).unwrap_or_default()
            }
        };
        views.truncate(self.left);
        self.left -= views.len();
        Ok(views.iter().map(|view| path(view, speaker)).collect())
    }
}

fn path(view: &PathView<'_>, speaker: &Speaker) -> BgpPath {
    let best = view.reason == Reason::Best;
    let attributes = view.attributes.open();
    let communities = attributes.communities.iter().map(ToString::to_string);
    let extended = attributes.extended_communities.iter().map(ToString::to_string);
    let large = attributes.large_communities.iter().map(ToString::to_string);
    BgpPath {
        prefix: view.prefix,
        peer: view.peer.map(|peer| plain(peer.address)),
        interface: view
            .peer
            .and_then(|peer| interface(speaker.config(), peer.address))
            .map(str::to_owned),
        path_id: view.path_id,
        replayed: view.peer.and_then(|peer| speaker.source_name(peer.address)).map(str::to_owned),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn query(prefix: &str) -> PathQuery {
        PathQuery { prefix: Some(prefix.to_owned()), ..PathQuery::default() }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let wrong = |query: &PathQuery| Question::try_from(query).unwrap_err().to_string();
        assert!(wrong(&query("10.0.0.0/33")).contains("10.0.0.0/33"));
        assert!(wrong(&query("here")).starts_with("prefix: "));
        let longer = PathQuery { longer: true, ..PathQuery::default() };
        assert!(wrong(&longer).starts_with("longer: "));
        let community = Some("65000".to_owned());
        assert!(wrong(&PathQuery { community, ..longer.clone() }).starts_with("longer: "));
        let community = Some("65000".to_owned());
        assert!(
            wrong(&PathQuery { community, longer: false, ..longer }).starts_with("community: ")
        );
    }

    #[test]
    fn an_address_is_the_prefix_around_it() {
        let scope = |query: &PathQuery| Question::try_from(query).unwrap().scope;
        assert!(matches!(scope(&query("10.0.0.1")), Scope::Around(host) if host.is_host()));
        assert!(matches!(scope(&query("10.0.0.0/8")), Scope::One(_)));
        assert!(matches!(scope(&PathQuery { longer: true, ..query("::/0") }), Scope::All));
    }
}
