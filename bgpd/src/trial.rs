//! A policy of a peer with a route of the operator's making, in the words of the admin socket.

use std::{net::IpAddr, sync::Arc};

use bgp_rib::AnyCommunity;
use bgp_speaker::{
    Config, PeerConfig, Source, Speaker,
    policy::{NextHopChange, Route},
};
use bgp_wire::{
    AsPath, AsPathParseError, AttributeSet, BgpNextHop, CommunityParseError, Origin,
    PathAttributes, PeerKind,
};
use viaduct_api::admin::{PolicyDirection, PolicyTrial, PolicyTrialQuery, TrialRoute, TrialRule};
use viaduct_net::Prefix;

use crate::{
    Ended,
    status::{known_as, plain},
};

/// What is wrong with a [`PolicyTrialQuery`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrialError {
    #[error("{field}: `{peer}` is neither the address of a peer nor an interface with one")]
    NoSuchPeer { field: &'static str, peer: String },
    #[error("prefix: `{0}` is no prefix")]
    Prefix(String),
    #[error("asPath: {0}")]
    AsPath(#[from] AsPathParseError),
    #[error("origin: `{0}` is none of igp, egp, incomplete")]
    Origin(String),
    #[error("communities: {0}")]
    Communities(#[from] CommunityParseError),
    #[error("from: what comes in is told by the peer itself")]
    FromOnImport,
    #[error("from: the table says who has told a route of its own")]
    FromOfTable,
    #[error("fromTable: a file has no table")]
    NoTable,
    #[error("prefix: no path of the table for {0} that this policy is asked about")]
    NotInTable(Prefix),
    #[error(transparent)]
    Ended(#[from] Ended),
}

/// What the policy of a peer of this configuration makes of a route. There is no table.
pub fn trial(config: &Config, query: &PolicyTrialQuery) -> Result<PolicyTrial, TrialError> {
    if query.from_table {
        return Err(TrialError::NoTable);
    }
    let (address, peer) = peer(config, "peer", &query.peer)?;
    let told_by = match (query.direction, &query.from) {
        (PolicyDirection::Import, Some(_)) => return Err(TrialError::FromOnImport),
        (PolicyDirection::Import, None) => Some((address, peer)),
        (PolicyDirection::Export, Some(from)) => Some(self::peer(config, "from", from)?),
        (PolicyDirection::Export, None) => None,
    };
    let teller = told_by.and_then(|(address, _)| address);
    let as_path = match (query.direction, peer.kind(config)) {
        (PolicyDirection::Import, PeerKind::External) => AsPath::sequence([peer.asn]),
        _ => AsPath::default(),
    };
    let route = Route {
        prefix: prefix(query)?,
        source: told_by.map_or(Source::Local, |(_, peer)| peer.kind(config).into()),
        peer: teller,
        next_hop: teller.map(plain),
    };
    let attributes = PathAttributes { as_path, ..PathAttributes::default() };
    words(peer, query, route, attributes)
}

/// What a trial takes place on.
#[derive(Debug)]
pub(crate) struct Ground {
    config: Arc<Config>,
    /// What the table has, where that is asked for.
    route: Option<(Route, AttributeSet)>,
}

impl Ground {
    pub(crate) fn of(speaker: &mut Speaker, query: &PolicyTrialQuery) -> Result<Self, TrialError> {
        let config = speaker.config().clone();
        let route = query.from_table.then(|| in_table(speaker, &config, query)).transpose()?;
        Ok(Self { config, route })
    }

    pub(crate) fn trial(self, query: &PolicyTrialQuery) -> Result<PolicyTrial, TrialError> {
        let Some((route, attributes)) = self.route else { return trial(&self.config, query) };
        let (_, peer) = peer(&self.config, "peer", &query.peer)?;
        words(peer, query, route, attributes.open())
    }
}

/// The route as the policy is asked about it: on import before it was changed.
fn in_table(
    speaker: &mut Speaker,
    config: &Config,
    query: &PolicyTrialQuery,
) -> Result<(Route, AttributeSet), TrialError> {
    let prefix = prefix(query)?;
    let (address, _) = peer(config, "peer", &query.peer)?;
    let rib = speaker.settled_rib();
    let found = match query.direction {
        _ if query.from.is_some() => return Err(TrialError::FromOfTable),
        PolicyDirection::Import => {
            let mut paths = rib.paths_of(prefix).into_iter();
            let told = paths.find_map(|path| {
                let teller = path.peer.filter(|peer| Some(peer.address) == address)?;
                let (came, hop) = path.received.unwrap_or((path.attributes, path.next_hop?));
                Some((teller.kind.into(), teller.address, came.clone(), hop))
            });
            told.map(|(source, teller, came, hop)| (source, Some(teller), came, Some(hop)))
        }
        PolicyDirection::Export => rib.best(prefix).map(|best| {
            let source = best.source.kind().map_or(Source::Local, Into::into);
            (source, best.source.address(), best.attributes, best.next_hop)
        }),
    };
    let (source, peer, attributes, hop) = found.ok_or(TrialError::NotInTable(prefix))?;
    let next_hop = hop.map(BgpNextHop::address);
    Ok((Route { prefix, source, peer, next_hop }, attributes))
}

fn prefix(query: &PolicyTrialQuery) -> Result<Prefix, TrialError> {
    query.prefix.parse().ok().ok_or_else(|| TrialError::Prefix(query.prefix.clone()))
}

/// By address, or by the interface it is on; there may be nobody there yet.
fn peer<'a>(
    config: &'a Config,
    field: &'static str,
    name: &str,
) -> Result<(Option<IpAddr>, &'a PeerConfig), TrialError> {
    let on_interface = |wanted: &str| {
        let is_there =
            |peer: &PeerConfig| peer.link.as_ref().is_some_and(|link| &*link.name == wanted);
        let found = config.peers.iter().find(|(_, peer)| is_there(peer));
        let found = found.map(|(address, peer)| (Some(*address), peer));
        found.or_else(|| Some((None, config.interfaces.get(wanted)?)))
    };
    let found = match name.parse::<IpAddr>() {
        Ok(address) => {
            let address = known_as(config, address);
            config.peer_at(address).map(|peer| (Some(address), peer))
        }
        Err(_) => on_interface(name.rsplit_once('%').map_or(name, |(_, interface)| interface)),
    };
    found.ok_or_else(|| TrialError::NoSuchPeer { field, peer: name.to_owned() })
}

/// What is given, in place of what is there.
fn change(attributes: &mut PathAttributes, query: &PolicyTrialQuery) -> Result<(), TrialError> {
    if let Some(text) = &query.as_path {
        attributes.as_path = text.parse()?;
    }
    if let Some(text) = &query.origin {
        attributes.origin = origin(text)?;
    }
    attributes.local_pref = query.local_pref.or(attributes.local_pref);
    attributes.med = query.med.or(attributes.med);
    let Some(communities) = &query.communities else { return Ok(()) };
    attributes.communities.clear();
    attributes.extended_communities.clear();
    attributes.large_communities.clear();
    for community in communities.split_whitespace() {
        match community.parse()? {
            AnyCommunity::Standard(one) => attributes.communities.push(one),
            AnyCommunity::Extended(one) => attributes.extended_communities.push(one),
            AnyCommunity::Large(one) => attributes.large_communities.push(one),
        }
    }
    Ok(())
}

fn origin(text: &str) -> Result<Origin, TrialError> {
    let all = [Origin::Igp, Origin::Egp, Origin::Incomplete];
    let found = all.into_iter().find(|origin| origin.to_string() == text);
    found.ok_or_else(|| TrialError::Origin(text.to_owned()))
}

fn words(
    peer: &PeerConfig,
    query: &PolicyTrialQuery,
    mut route: Route,
    mut attributes: PathAttributes,
) -> Result<PolicyTrial, TrialError> {
    let policy = match query.direction {
        PolicyDirection::Import => &peer.import,
        PolicyDirection::Export => &peer.export,
    };
    route.next_hop = query.next_hop.or(route.next_hop);
    change(&mut attributes, query)?;
    let attributes = AttributeSet::from(attributes);
    let trial = policy.trial(&route, &attributes);
    let next_hop = route.next_hop.map(|address| address.to_string());
    let told = |attributes: &AttributeSet, change: Option<NextHopChange>| {
        let next_hop = match change {
            None => next_hop.clone(),
            Some(NextHopChange::Address(address)) => Some(address.to_string()),
            Some(NextHopChange::Own) => Some("self".to_owned()),
            Some(NextHopChange::Unchanged) => Some("unchanged".to_owned()),
        };
        seen(attributes, next_hop)
    };
    let came = told(&attributes, None);
    let mut before = came.clone();
    let rules = trial.steps.iter().map(|step| {
        let after = told(&step.after.attributes, step.after.next_hop);
        let changes = before.changes(&after);
        before = after;
        let text = policy.rules()[step.rule].to_string();
        TrialRule { number: step.rule + 1, text, changes }
    });
    Ok(PolicyTrial {
        prefix: route.prefix,
        from: route.peer.map(plain),
        rules: rules.collect(),
        accepted: trial.accepted.is_some(),
        decided_by: trial.decided_by.map(|rule| rule + 1),
        result: trial.accepted.map(|applied| told(&applied.attributes, applied.next_hop)),
        route: came,
    })
}

fn seen(attributes: &AttributeSet, next_hop: Option<String>) -> TrialRoute {
    let attributes = attributes.open();
    let communities = attributes.communities.iter().map(ToString::to_string);
    let extended = attributes.extended_communities.iter().map(ToString::to_string);
    let large = attributes.large_communities.iter().map(ToString::to_string);
    TrialRoute {
        next_hop,
        as_path: attributes.as_path.to_string(),
        origin: attributes.origin.to_string(),
        local_pref: attributes.local_pref,
        med: attributes.med,
        communities: communities.chain(extended).chain(large).collect(),
    }
}

#[cfg(test)]
mod tests;
