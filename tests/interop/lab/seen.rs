//! What a daemon of another maker has of a prefix, whatever its own words for it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::other::Other;

/// One path as it stands in the other's table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// AS numbers with blanks between; sets and confederations in the maker's brackets.
    pub(crate) as_path: String,
    pub(crate) next_hop: String,
    /// Of all three kinds: `64512:1`, `64512:1:2`, `rt:64512:3`.
    pub(crate) communities: BTreeSet<String>,
    pub(crate) originator: Option<String>,
    pub(crate) clusters: Vec<String>,
}

impl Seen {
    pub(crate) fn has(&self, communities: &[&str]) -> bool {
        communities.iter().all(|one| self.communities.contains(*one))
    }
}

impl Other {
    /// The paths it has for a prefix, its own among them.
    pub(crate) fn seen(&self, prefix: &str) -> Vec<Seen> {
        match self {
            Self::Bird(bird) => of_bird(&bird.route(prefix)),
            Self::Frr(frr) => {
                let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
                let said = frr.ask(&format!("show bgp {family} unicast {prefix} json"));
                list(&json(&said)["paths"]).map(of_frr).collect()
            }
            Self::GoBgp(gobgp) => {
                let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
                let said = gobgp.try_ask(&format!("-j global rib -a {family} {prefix}"));
                said.map_or_else(Vec::new, |said| {
                    list(&json(&said)[prefix]).map(of_gobgp).collect()
                })
            }
            Self::OpenBgpd(bgpd) => list(&bgpd.route(prefix)["rib"]).map(of_openbgpd).collect(),
            Self::ExaBgp(exabgp) => exabgp.route(prefix).iter().map(of_exabgp).collect(),
        }
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Numbers and texts alike, with something between.
fn joined(value: &Value, between: &str) -> String {
    let one = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    list(value).map(one).collect::<Vec<_>>().join(between)
}

/// LLGR_STALE has a name with some, and is a number with others.
fn named(community: &str) -> String {
    if community == "65535:6" { "llgr-stale".to_owned() } else { community.to_owned() }
}

/// A line `BGP.name: value` for each attribute; a new path where a line is not indented by a tab.
fn of_bird(said: &str) -> Vec<Seen> {
    let mut all: Vec<Seen> = Vec::new();
    for line in said.lines() {
        let Some((name, value)) = line.trim().split_once(": ") else { continue };
        let words = || value.split_whitespace().map(str::to_owned);
        if name == "BGP.origin" {
            all.push(Seen::default());
        }
        let Some(seen) = all.last_mut() else { continue };
        match name {
            "BGP.as_path" => seen.as_path = value.trim().to_owned(),
            "BGP.next_hop" => seen.next_hop = words().next().unwrap_or_default(),
            "BGP.originator_id" => seen.originator = Some(value.to_owned()),
            "BGP.cluster_list" => seen.clusters = words().collect(),
            "BGP.community" | "BGP.large_community" | "BGP.ext_community" => {
                for one in value.split(')').map(|one| one.trim().trim_start_matches('(')) {
                    let parts: Vec<_> = one.split(',').map(str::trim).collect();
                    let one = parts.join(":").replace("ro:", "soo:");
                    seen.communities.insert(one);
                }
                seen.communities.remove("");
            }
            _ => (),
        }
    }
    all
}

fn of_frr(path: &Value) -> Seen {
    let mut communities = BTreeSet::new();
    for kind in ["community", "extendedCommunity", "largeCommunity"] {
        let words = text(&path[kind]["string"]).to_lowercase();
        communities.extend(words.split_whitespace().map(named));
    }
    Seen {
        as_path: text(&path["aspath"]["string"]),
        next_hop: text(&path["nexthops"][0]["ip"]),
        communities,
        originator: path["originatorId"].as_str().map(str::to_owned),
        clusters: list(&path["clusterList"]["list"]).map(text).collect(),
    }
}

fn of_gobgp(path: &Value) -> Seen {
    let mut seen = Seen::default();
    for attribute in list(&path["attrs"]) {
        let value = &attribute["value"];
        match attribute["type"].as_u64() {
            Some(2) => {
                let segments = list(&attribute["as_paths"]).map(|one| joined(&one["asns"], " "));
                seen.as_path = segments.collect::<Vec<_>>().join(" ");
            }
            Some(3 | 14) => seen.next_hop = text(&attribute["nexthop"]),
            Some(8) => seen.communities.extend(
                list(&attribute["communities"])
                    .filter_map(Value::as_u64)
                    .map(|one| named(&format!("{}:{}", one >> 16, one & 0xffff))),
            ),
            Some(9) => seen.originator = Some(text(value)),
            Some(10) => seen.clusters = list(value).map(text).collect(),
            Some(16) => seen.communities.extend(list(value).map(|one| {
                let kind = if one["subtype"] == 2 { "rt" } else { "soo" };
                format!("{kind}:{}", text(&one["value"]))
            })),
            Some(32) => {
                seen.communities.extend(list(value).map(|one| {
                    format!("{}:{}:{}", one["ASN"], one["LocalData1"], one["LocalData2"])
                }))
            }
            _ => (),
        }
    }
    seen
}

fn of_openbgpd(path: &Value) -> Seen {
    let mut communities = BTreeSet::new();
    for kind in ["communities", "extended_communities", "large_communities"] {
        communities.extend(list(&path[kind]).map(|one| text(one).replace(' ', ":")));
    }
    let attribute = |name: &str| {
        list(&path["attributes"]).map(|one| one[name].clone()).find(|one| !one.is_null())
    };
    Seen {
        as_path: text(&path["aspath"]),
        next_hop: text(&path["exit_nexthop"]),
        communities,
        originator: attribute("originator").map(|one| text(&one)),
        clusters: attribute("cluster_list").iter().flat_map(list).map(text).collect(),
    }
}

fn of_exabgp((attributes, next_hop): &(Value, String)) -> Seen {
    let mut communities = BTreeSet::new();
    for kind in ["community", "large-community"] {
        communities.extend(list(&attributes[kind]).map(|one| joined(one, ":")));
    }
    // Its words for these put the parts of some of them in another order; the octets do not.
    let extended = list(&attributes["extended-community"]).filter_map(|one| one["value"].as_u64());
    communities.extend(extended.map(|octets| {
        let [kind, sub, a, b, c, d, e, f] = octets.to_be_bytes();
        let sub = if sub == 2 { "rt" } else { "soo" };
        if kind == 1 {
            format!("{sub}:{a}.{b}.{c}.{d}:{}", u16::from_be_bytes([e, f]))
        } else {
            let asn = u16::from_be_bytes([a, b]);
            format!("{sub}:{asn}:{}", u32::from_be_bytes([c, d, e, f]))
        }
    }));
    Seen {
        as_path: joined(&attributes["as-path"], " "),
        next_hop: next_hop.clone(),
        communities,
        originator: attributes["originator-id"].as_str().map(str::to_owned),
        clusters: list(&attributes["cluster-list"]).map(text).collect(),
    }
}
