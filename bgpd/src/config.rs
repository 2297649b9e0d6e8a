//! From what the API says to what the speaker is told.
//!
//! Pure: resources and nodes in, a [`Config`] out, or every error there is, each with the field
//! that holds it. A caller that has a configuration keeps it when the next one is wrong.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use bgp_speaker::{
    Config, LocalAddresses, MAX_PEERS, PeerConfig, Policy, PolicyAction as Action, PrefixMatch,
    RestartTime, Rule, Source,
};
use bgp_wire::HoldTime;
use viaduct_api::v1alpha1::{self as api, BGPConfigurationSpec, BGPPeerSpec, SourceMatch};
use viaduct_net::{Asn, RouterId};

/// Rules of one policy; the schema of the API says the same.
pub const MAX_POLICY_RULES: usize = 1000;

/// Even where peers keep nothing for us, the kernel does: sessions have so long to come up before
/// what they have not told is purged.
const MIN_DEFERRAL: Duration = Duration::from_secs(10);

/// This node, as far as its speaker is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalNode {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
    pub router_id: RouterId,
    /// Routes of an earlier run are still in the kernel. Read when the speaker starts, only then.
    pub restarting: bool,
}

/// Another node, to be a peer in the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherNode {
    pub name: String,
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
    pub router_id: RouterId,
}

impl OtherNode {
    /// Where the node is spoken to: one session carries both families.
    fn address(&self) -> Option<IpAddr> {
        self.v4.map(IpAddr::V4).or(self.v6.map(IpAddr::V6))
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConfigError {
    /// As in `BGPPeer/border: spec.asn`.
    pub field: String,
    pub problem: String,
}

/// Everything that is wrong; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// The configuration of a node of the cluster: iBGP with every other node where the mesh is on, and
/// the peers whose selector the node's labels meet. `peers` by the name of the resource.
pub fn cluster(
    configuration: &BGPConfigurationSpec,
    peers: &BTreeMap<String, BGPPeerSpec>,
    node: &LocalNode,
    others: &[OtherNode],
) -> Result<Config, ConfigErrors> {
    let mut reader = Reader::new(configuration, node);
    if configuration.node_to_node_mesh {
        for other in others.iter().filter(|other| other.name != node.name) {
            reader.mesh_peer(node, other);
        }
    }
    for (name, spec) in peers {
        let selected = spec.node_selector.iter().all(|(k, v)| node.labels.get(k) == Some(v));
        if selected {
            reader.peer(&format!("BGPPeer/{name}: spec"), spec);
        }
    }
    reader.finish()
}

/// The configuration of a speaker that is no node of a cluster: it has the peers it is given, and
/// node selectors mean nothing to it. What it originates is told to the running speaker as
/// [`Origination`](viaduct_net::Origination)s, like everybody's.
pub fn standalone(
    configuration: &BGPConfigurationSpec,
    router_id: RouterId,
    addresses: LocalAddresses,
    peers: &[BGPPeerSpec],
) -> Result<Config, ConfigErrors> {
    let node = LocalNode {
        name: String::new(),
        labels: BTreeMap::new(),
        v4: addresses.v4,
        v6: addresses.v6,
        router_id,
        restarting: false,
    };
    let mut reader = Reader::new(configuration, &node);
    for (index, spec) in peers.iter().enumerate() {
        reader.peer(&format!("peers[{index}]"), spec);
    }
    reader.finish()
}

struct Reader {
    config: Config,
    hold_time: HoldTime,
    /// Whence each peer came, for the error that names the other of two.
    names: BTreeMap<IpAddr, String>,
    errors: Vec<ConfigError>,
}

impl Reader {
    fn new(spec: &BGPConfigurationSpec, node: &LocalNode) -> Self {
        let mut errors = Vec::new();
        let mut wrong = |field: &str, problem: String| {
            errors.push(ConfigError { field: format!("BGPConfiguration: spec.{field}"), problem });
        };
        let asn = Asn::new(spec.asn);
        if let Some(problem) = asn_problem(asn) {
            wrong("asn", problem);
        }
        if spec.listen_port == 0 {
            wrong("listenPort", "must not be 0".to_owned());
        }
        let hold_time = HoldTime::from_secs(spec.hold_time_seconds).unwrap_or_else(|| {
            wrong("holdTimeSeconds", hold_time_problem(spec.hold_time_seconds));
            HoldTime::INFINITE
        });
        let restart_time = spec.graceful_restart_seconds;
        let restart_time = RestartTime::try_from(restart_time).unwrap_or_else(|error| {
            wrong("gracefulRestartSeconds", error.to_string());
            RestartTime::default()
        });
        if node.v4.is_none() && node.v6.is_none() {
            errors.push(ConfigError {
                field: format!("Node/{}: status.addresses", node.name),
                problem: "has no address to speak BGP from".to_owned(),
            });
        }
        let config = Config {
            asn,
            router_id: node.router_id,
            cluster_id: spec.cluster_id.unwrap_or(node.router_id.into()),
            addresses: LocalAddresses { v4: node.v4, v6: node.v6 },
            listen_port: spec.listen_port,
            restart_time,
            deferral: restart_time.duration().max(MIN_DEFERRAL),
            restarting: node.restarting,
            incomplete: false,
            peers: BTreeMap::new(),
        };
        Self { config, hold_time, names: BTreeMap::new(), errors }
    }

    fn wrong(&mut self, field: String, problem: impl Into<String>) {
        self.errors.push(ConfigError { field, problem: problem.into() });
    }

    fn mesh_peer(&mut self, node: &LocalNode, other: &OtherNode) {
        let place = format!("Node/{}", other.name);
        // Two speakers of one AS with one identifier refuse each other (RFC 6286 §2.2), and which
        // of them is wrong cannot be seen from the session.
        if other.router_id == node.router_id {
            let problem = format!("{} is also that of node {}", other.router_id, node.name);
            self.wrong(format!("{place}: router id"), problem);
        }
        // A node without an address is one that has just been registered: it will come.
        let Some(address) = other.address() else { return };
        let asn = self.config.asn;
        let mut peer = PeerConfig::new(asn, asn, self.hold_time);
        peer.port = self.config.listen_port;
        self.insert(place, address, peer);
    }

    fn peer(&mut self, place: &str, spec: &BGPPeerSpec) {
        let asn = Asn::new(spec.asn);
        if let Some(problem) = asn_problem(asn) {
            self.wrong(format!("{place}.asn"), problem);
        }
        if spec.port == 0 {
            self.wrong(format!("{place}.port"), "must not be 0");
        }
        let secs = spec.hold_time_seconds.unwrap_or(self.hold_time.to_secs());
        let hold_time = HoldTime::from_secs(secs).unwrap_or_else(|| {
            self.wrong(format!("{place}.holdTimeSeconds"), hold_time_problem(secs));
            self.hold_time
        });
        let mut peer = PeerConfig::new(self.config.asn, asn, hold_time);
        peer.port = spec.port;
        peer.passive = spec.passive;
        peer.reflector_client = spec.reflector_client;
        if spec.reflector_client && asn != self.config.asn {
            let problem = format!("a client is of our own AS {}, not of {asn}", self.config.asn);
            self.wrong(format!("{place}.reflectorClient"), problem);
        }
        if let Some(policy) = &spec.import {
            peer.import = self.policy(&format!("{place}.import"), policy);
        }
        if let Some(policy) = &spec.export {
            peer.export = self.policy(&format!("{place}.export"), policy);
        }
        self.insert(place.to_owned(), spec.address, peer);
    }

    fn insert(&mut self, place: String, address: IpAddr, peer: PeerConfig) {
        let field = format!("{place}.address");
        if address.is_unspecified() || address.is_multicast() {
            return self.wrong(field, format!("{address} is no address of a neighbour"));
        }
        if self.config.addresses.contains(address) {
            return self.wrong(field, format!("{address} is this speaker's own"));
        }
        if let Some(other) = self.names.get(&address) {
            let problem = format!("{address} is already the peer of {other}");
            return self.wrong(field, problem);
        }
        if self.config.peers.len() >= MAX_PEERS {
            return self.wrong(field, format!("more than {MAX_PEERS} peers"));
        }
        self.names.insert(address, place);
        self.config.peers.insert(address, peer);
    }

    fn policy(&mut self, place: &str, policy: &api::Policy) -> Policy {
        if policy.rules.len() > MAX_POLICY_RULES {
            self.wrong(format!("{place}.rules"), format!("more than {MAX_POLICY_RULES} rules"));
            return Policy::reject_all();
        }
        let mut rules = Vec::with_capacity(policy.rules.len());
        for (index, rule) in policy.rules.iter().enumerate() {
            let mut prefixes = Vec::with_capacity(rule.prefixes.len());
            for (at, matcher) in rule.prefixes.iter().enumerate() {
                let place = format!("{place}.rules[{index}].prefixes[{at}]");
                prefixes.extend(self.prefix_match(&place, matcher));
            }
            rules.push(Rule {
                prefixes,
                sources: rule.sources.iter().copied().map(source).collect(),
                neighbor_asns: rule.neighbor_asns.iter().copied().map(Asn::new).collect(),
                action: match rule.action {
                    api::PolicyAction::Accept => Action::Accept,
                    api::PolicyAction::Reject => Action::Reject,
                },
            });
        }
        Policy::new(rules)
    }

    fn prefix_match(&mut self, place: &str, matcher: &api::PrefixMatch) -> Option<PrefixMatch> {
        let prefix = matcher.prefix;
        let bits = prefix.family().bits();
        let min_len = matcher.min_length.unwrap_or(prefix.len());
        let max_len = matcher.max_length.unwrap_or(prefix.len());
        let field = |name: &str| format!("{place}.{name}");
        if min_len < prefix.len() {
            let problem = format!("{min_len} is shorter than {prefix} itself");
            self.wrong(field("minLength"), problem);
            return None;
        }
        if max_len > bits {
            let problem = format!("{max_len} is beyond the {bits} bits of {}", prefix.family());
            self.wrong(field("maxLength"), problem);
            return None;
        }
        if min_len > max_len {
            let problem = format!("{max_len} is less than the minimum of {min_len}");
            self.wrong(field("maxLength"), problem);
            return None;
        }
        Some(PrefixMatch { prefix, min_len, max_len })
    }

    fn finish(self) -> Result<Config, ConfigErrors> {
        if self.errors.is_empty() { Ok(self.config) } else { Err(ConfigErrors(self.errors)) }
    }
}

fn asn_problem(asn: Asn) -> Option<String> {
    if asn.is_zero() {
        Some("0 names no AS".to_owned())
    } else if asn == Asn::TRANS {
        Some(format!("{asn} is AS_TRANS, which nobody may have (RFC 6793 §9)"))
    } else {
        None
    }
}

fn hold_time_problem(secs: u16) -> String {
    format!("{secs} s is not possible: 0 (off) or at least 3 (RFC 4271 §4.2)")
}

fn source(source: SourceMatch) -> Source {
    match source {
        SourceMatch::Local => Source::Local,
        SourceMatch::Internal => Source::Internal,
        SourceMatch::External => Source::External,
    }
}

#[cfg(test)]
mod tests;
