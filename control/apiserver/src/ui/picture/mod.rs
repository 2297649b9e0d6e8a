//! The picture, put together from what the store has and what the daemons say. Pure.

mod nodes;
mod services;
mod sessions;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use serde::Serialize;
use serde_json::Value;
use viaduct_api::admin::{NodeStatus, PeerStatus, ServiceStatus};

/// The JSON of each part of the picture, by name: what is sent when it is another.
pub(super) type Sections = BTreeMap<&'static str, Arc<str>>;

/// What the store has.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) nodes: Vec<Value>,
    pub(super) pods: Vec<Value>,
    pub(super) services: Vec<Value>,
}

/// What a daemon says of itself.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) status: NodeStatus,
    pub(super) peers: Vec<PeerStatus>,
    /// None of a speaker that is no node.
    pub(super) services: Vec<ServiceStatus>,
}

/// A daemon that does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Silence {
    /// Milliseconds since 1970, as all times of the picture.
    since: u64,
    why: String,
}

/// What is known of a daemon.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) is_node: bool,
    /// The last answer, which of one that is silent is old.
    report: Option<Report>,
    silence: Option<Silence>,
    /// Since when each session is in its state.
    since: BTreeMap<IpAddr, u64>,
}

/// Ages are told in whole seconds, so that the same moment comes out a little different each time.
const SAME_MOMENT_MILLIS: u64 = 2000;

impl Seen {
    pub(super) fn new(is_node: bool) -> Self {
        Self { is_node, report: None, silence: None, since: BTreeMap::new() }
    }

    pub(super) fn is_silent(&self) -> bool {
        self.silence.is_some()
    }

    pub(super) fn update(&mut self, answer: Result<Report, String>, now: u64) {
        match answer {
            Ok(report) => {
                let since = report.peers.iter().map(|peer| {
                    let told = now.saturating_sub(peer.since_secs * 1000);
                    let known = self.since.get(&peer.address).copied();
                    let same = known.filter(|at| at.abs_diff(told) <= SAME_MOMENT_MILLIS);
                    (peer.address, same.unwrap_or(told))
                });
                self.since = since.collect();
                self.report = Some(report);
                self.silence = None;
            }
            Err(why) => {
                let since = self.silence.as_ref().map_or(now, |silence| silence.since);
                self.silence = Some(Silence { since, why });
            }
        }
    }

    /// The last answer of a daemon that answers.
    fn current(&self) -> Option<&Report> {
        self.report.as_ref().filter(|_| self.silence.is_none())
    }
}

/// By the name of the node or speaker.
pub(super) type AllSeen<'a> = BTreeMap<&'a str, &'a Seen>;

pub(super) fn assemble(objects: &Objects, seen: &AllSeen<'_>) -> Sections {
    let owners = sessions::owners(&objects.nodes, seen);
    let sessions = sessions::sessions(seen, &owners);
    let nodes = nodes::nodes(objects, seen);
    let racks: BTreeMap<&str, &str> =
        nodes.iter().map(|node| (node.name.as_str(), node.rack.as_str())).collect();
    let speakers = sessions::speakers(seen, &sessions, &racks);
    let services = services::services(objects, seen);
    [
        ("nodes", json(&nodes)),
        ("unplaced", json(&nodes::unplaced(objects))),
        ("speakers", json(&speakers)),
        ("sessions", json(&sessions)),
        ("services", json(&services)),
    ]
    .into()
}

fn json(section: &impl Serialize) -> Arc<str> {
    // Strings and numbers: nothing that JSON cannot say.
    serde_json::to_string(section).unwrap_or_else(|error| error.to_string()).into()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

/// Whether the object has the condition with status `True`.
fn has_condition(object: &Value, kind: &str) -> bool {
    items(&object["status"], "conditions")
        .any(|condition| condition["type"] == kind && condition["status"] == "True")
}

fn distinct<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    items.into_iter().collect::<BTreeSet<T>>().into_iter().collect()
}
