//! BGP sessions: what the two ends say, as one line between two speakers.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Serialize;
use serde_json::Value;
use viaduct_api::admin::PeerStatus;

use super::{AllSeen, Seen, Silence, distinct, items, nodes::Network, text};
use crate::object;

const ESTABLISHED: &str = "Established";

/// The speaker that each address belongs to.
pub(super) type Owners = BTreeMap<IpAddr, String>;

/// One session of the speaker `a` with the speaker `b`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Session {
    pub(super) a: String,
    pub(super) b: String,
    /// Each end's, by its name in RFC 4271; none of an end that does not say.
    a_state: Option<String>,
    b_state: Option<String>,
    up: bool,
    /// Since when it is up, or down.
    since: u64,
    /// Times that it was lost, as the end says that counted more.
    flaps: u64,
    prefixes: usize,
    stale: usize,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Speaker {
    name: String,
    /// `border`, `router` of a rack, `reflector`, or `external`: none of those that are asked.
    kind: &'static str,
    /// Of a router that all its nodes share.
    rack: Option<String>,
    silence: Option<Silence>,
    network: Option<Network>,
}

pub(super) fn owners(nodes: &[Value], seen: &AllSeen<'_>) -> Owners {
    let mut owners = Owners::new();
    for node in nodes {
        for address in items(&node["status"], "addresses") {
            if let Ok(ip) = text(address, "address").parse() {
                owners.insert(ip, object::name(node).to_owned());
            }
        }
    }
    for (name, seen) in seen {
        for address in seen.report.iter().flat_map(|report| &report.status.addresses) {
            owners.insert(*address, (*name).to_owned());
        }
    }
    owners
}

/// One end of a session, as its speaker sees it.
struct End<'a> {
    peer: &'a PeerStatus,
    since: u64,
}

pub(super) fn sessions(seen: &AllSeen<'_>, owners: &Owners) -> Vec<Session> {
    // Two speakers may have a session in each family.
    let mut pairs = BTreeMap::<(String, String, bool), [Option<End<'_>>; 2]>::new();
    for (name, seen) in seen {
        for peer in seen.current().iter().flat_map(|report| &report.peers) {
            let other = owners.get(&peer.address).cloned();
            let other = other.unwrap_or_else(|| format!("{} (AS {})", peer.address, peer.asn));
            let since = seen.since.get(&peer.address).copied().unwrap_or_default();
            let name = (*name).to_owned();
            let v6 = peer.address.is_ipv6();
            let (key, place) =
                if name <= other { ((name, other, v6), 0) } else { ((other, name, v6), 1) };
            pairs.entry(key).or_default()[place] = Some(End { peer, since });
        }
    }
    pairs.into_iter().map(|((a, b, _), ends)| session(a, b, ends)).collect()
}

fn session(a: String, b: String, [first, second]: [Option<End<'_>>; 2]) -> Session {
    let ends = || first.iter().chain(&second);
    let up = ends().all(|end| end.peer.state == ESTABLISHED);
    let deciding = ends().filter(|end| up || end.peer.state != ESTABLISHED);
    let state = |end: &Option<End<'_>>| end.as_ref().map(|end| end.peer.state.clone());
    let most = |of: fn(&PeerStatus) -> usize| ends().map(|end| of(end.peer)).max().unwrap_or(0);
    Session {
        a_state: state(&first),
        b_state: state(&second),
        up,
        since: deciding.map(|end| end.since).max().unwrap_or_default(),
        flaps: ends().map(|end| end.peer.flaps).max().unwrap_or_default(),
        prefixes: most(|peer| peer.prefixes_accepted),
        stale: most(|peer| peer.prefixes_stale),
        // What was wrong before it came up is over.
        error: ends().filter(|_| !up).find_map(|end| end.peer.last_error.clone()),
        a,
        b,
    }
}

/// The speakers that are no nodes: those that are asked, and those that they have sessions with.
pub(super) fn speakers(
    seen: &AllSeen<'_>,
    sessions: &[Session],
    racks: &BTreeMap<&str, &str>,
) -> Vec<Speaker> {
    let asn_of_nodes = seen.iter().find_map(|(_, seen)| {
        seen.report.as_ref().filter(|_| seen.is_node).map(|report| report.status.asn)
    });
    let asked = seen.iter().filter(|(_, seen)| !seen.is_node).map(|(name, seen)| {
        let rack = rack_of(name, sessions, racks);
        let asn = seen.report.as_ref().map(|report| report.status.asn);
        let kind = if asn.is_some() && asn == asn_of_nodes {
            "reflector"
        } else if rack.is_some() {
            "router"
        } else {
            "border"
        };
        let rack = rack.filter(|_| kind == "router");
        speaker(name, kind, rack, Some(seen))
    });
    let ends = sessions.iter().flat_map(|session| [&session.a, &session.b]);
    let unknown = distinct(ends.filter(|name| !seen.contains_key(name.as_str())));
    let unknown = unknown.into_iter().filter(|name| !racks.contains_key(name.as_str()));
    let unknown = unknown.map(|name| speaker(name, "external", None, None));
    asked.chain(unknown).collect()
}

fn speaker(name: &str, kind: &'static str, rack: Option<String>, seen: Option<&&Seen>) -> Speaker {
    Speaker {
        name: name.to_owned(),
        kind,
        rack,
        silence: seen.and_then(|seen| seen.silence.clone()),
        network: seen.and_then(|seen| Network::of(seen)),
    }
}

/// The rack whose nodes, and no others, have sessions with the speaker. One that nobody says
/// anything of goes by its name: a rack's router bears the rack's.
fn rack_of(name: &str, sessions: &[Session], racks: &BTreeMap<&str, &str>) -> Option<String> {
    let others = sessions.iter().filter_map(|session| match name {
        name if session.a == name => Some(session.b.as_str()),
        name if session.b == name => Some(session.a.as_str()),
        _ => None,
    });
    let found = distinct(others.filter_map(|other| racks.get(other).copied()));
    match found[..] {
        [only] if !only.is_empty() => Some(only.to_owned()),
        [] => racks.values().find(|rack| **rack == name).map(|rack| (*rack).to_owned()),
        _ => None,
    }
}
