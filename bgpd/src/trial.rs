//! A policy of a peer with a route of the operator's making, in the words of the admin socket.

use std::net::IpAddr;

use bgp_rib::AnyCommunity;
use bgp_speaker::{
    Config, PeerConfig, Policy, Source,
    policy::{NextHopChange, Route},
};
use bgp_wire::{
    AsPath, AsPathParseError, AttributeSet, CommunityParseError, Origin, PathAttributes, PeerKind,
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
    #[error(transparent)]
    Ended(#[from] Ended),
}

/// What the policy of a peer of this configuration makes of a route.
pub fn trial(config: &Config, query: &PolicyTrialQuery) -> Result<PolicyTrial, TrialError> {
    let (address, peer) = peer(config, "peer", &query.peer)?;
    let (policy, told_by) = match query.direction {
        PolicyDirection::Import if query.from.is_some() => return Err(TrialError::FromOnImport),
        PolicyDirection::Import => (&peer.import, Some((address, peer))),
        PolicyDirection::Export => {
            let from = query.from.as_deref();
            let told_by = from.map(|from| self::peer(config, "from", from)).transpose()?;
            (&peer.export, told_by)
        }
    };
    let Ok(prefix) = query.prefix.parse::<Prefix>() else {
        return Err(TrialError::Prefix(query.prefix.clone()));
    };
    let teller = told_by.and_then(|(address, _)| address);
    let route = Route {
        prefix,
        source: told_by.map_or(Source::Local, |(_, peer)| peer.kind(config).into()),
        peer: teller,
        next_hop: query.next_hop.or(teller.map(plain)),
    };
    let own_path = match (query.direction, peer.kind(config)) {
        (PolicyDirection::Import, PeerKind::External) => AsPath::sequence([peer.asn]),
        _ => AsPath::default(),
    };
    Ok(words(policy, &route, &attributes(query, own_path)?))
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

fn attributes(query: &PolicyTrialQuery, own_path: AsPath) -> Result<AttributeSet, TrialError> {
    let mut attributes = PathAttributes {
        as_path: query.as_path.as_deref().map(str::parse).transpose()?.unwrap_or(own_path),
        origin: origin(query.origin.as_deref())?,
        local_pref: query.local_pref,
        med: query.med,
        ..PathAttributes::default()
    };
    for community in query.communities.as_deref().unwrap_or_default().split_whitespace() {
        match community.parse()? {
            AnyCommunity::Standard(one) => attributes.communities.push(one),
            AnyCommunity::Extended(one) => attributes.extended_communities.push(one),
            AnyCommunity::Large(one) => attributes.large_communities.push(one),
        }
    }
    Ok(attributes.into())
}

fn origin(text: Option<&str>) -> Result<Origin, TrialError> {
    let Some(text) = text else { return Ok(Origin::Igp) };
    let all = [Origin::Igp, Origin::Egp, Origin::Incomplete];
    let found = all.into_iter().find(|origin| origin.to_string() == text);
    found.ok_or_else(|| TrialError::Origin(text.to_owned()))
}

fn words(policy: &Policy, route: &Route, attributes: &AttributeSet) -> PolicyTrial {
    let trial = policy.trial(route, attributes);
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
    let came = told(attributes, None);
    let mut before = came.clone();
    let rules = trial.steps.iter().map(|step| {
        let after = told(&step.after.attributes, step.after.next_hop);
        let changes = before.changes(&after);
        before = after;
        let text = policy.rules()[step.rule].to_string();
        TrialRule { number: step.rule + 1, text, changes }
    });
    PolicyTrial {
        prefix: route.prefix,
        rules: rules.collect(),
        accepted: trial.accepted.is_some(),
        decided_by: trial.decided_by.map(|rule| rule + 1),
        result: trial.accepted.map(|applied| told(&applied.attributes, applied.next_hop)),
        route: came,
    }
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
