//! What `viaduct node` answers on its admin socket: JSON over HTTP over a unix socket, mode 0600.
//!
//! | path | answer |
//! |---|---|
//! | `GET /v1/status` | [`NodeStatus`] |
//! | `GET /v1/bgp/peers` | `Vec<`[`PeerStatus`]`>` |
//! | `GET /v1/bgp/peer?peer=ADDRESS` | [`PeerDetail`] |
//! | `GET /v1/bgp/policy?`[`PeerQuery`] | `Vec<`[`PeerPolicy`]`>` |
//! | `GET /v1/bgp/policy/test?`[`PolicyTrialQuery`] | [`PolicyTrial`] |
//! | `GET /v1/bgp/routes?`[`PathQuery`] | `Vec<`[`BgpPath`]`>`, a line for each |
//! | `GET /v1/bgp/bfd` | [`BfdStatus`] |
//! | `GET /v1/bgp/events?`[`EventQuery`] | `Vec<`[`BgpEvent`]`>`, a line for each; to be followed, lines alone |
//! | `GET /v1/bgp/configuration` | [`RunningConfiguration`], of a speaker with a file |
//! | `GET /v1/bgp/dump/mrt` | the table as MRT, TABLE_DUMP_V2 |
//! | `GET /v1/routes` | `Vec<`[`FibRoute`]`>` |
//! | `GET /v1/services` | `Vec<`[`ServiceStatus`]`>` |
//! | `GET /v1/services/withdrawn?address=A&wait=MS` | [`Withdrawal`] |
//! | `GET /v1/nodes` | `Vec<`[`NodeEndpoint`]`>` |
//! | `GET /metrics` | Prometheus text |

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};
use viaduct_net::{Family, NextHop, OriginSource, Prefix, RouterId};

use crate::v1alpha1::{BGPConfigurationSpec, BGPPeerSpec, BGPReplaySpec};

/// The path at which one asks whether addresses have left the services.
pub const WITHDRAWN_PATH: &str = "v1/services/withdrawn";

/// What only reads, without the leading slash: a node's kubelet hands these on to the API server.
pub const READ_PATHS: [&str; 9] = [
    "v1/status",
    "v1/bgp/peers",
    "v1/bgp/routes",
    "v1/bgp/bfd",
    "v1/routes",
    "v1/services",
    WITHDRAWN_PATH,
    "v1/nodes",
    "metrics",
];

/// Addresses of one question about [`Withdrawal`], and how long its answer may be waited for.
pub const WITHDRAWN_ADDRESSES_MAX: usize = 16;
pub const WITHDRAWN_WAIT_MILLIS_MAX: u64 = 10_000;

/// What a speaker runs by that has it from a file: the file as it was when it was found good.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningConfiguration {
    /// Its path on the speaker's machine.
    pub file: String,
    pub router_id: RouterId,
    /// The speaker's own, one of each family at most.
    pub addresses: Vec<IpAddr>,
    pub configuration: BGPConfigurationSpec,
    /// By name.
    pub peers: BTreeMap<String, BGPPeerSpec>,
    /// By name.
    pub replays: BTreeMap<String, BGPReplaySpec>,
    /// Of `passwords`; another one with every answer.
    pub salt: String,
    /// By the path of the file that a password was read from: SHA-256 of the salt and the password in
    /// hexadecimal digits, so that one can see that it is another and not what it is.
    pub passwords: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    pub node: String,
    pub version: String,
    pub pid: u32,
    pub uptime_secs: u64,
    pub router_id: RouterId,
    pub asn: u32,
    pub addresses: Vec<IpAddr>,
    pub peers: usize,
    pub peers_established: usize,
    /// Prefixes the speaker has a usable path for, and those of them that are in the kernel.
    pub routes_wanted: usize,
    pub routes_installed: usize,
    pub blocks: Vec<Prefix>,
    pub pods: usize,
    pub services: usize,
    pub backends: usize,
    /// `None` where the node answers no DNS.
    #[serde(default)]
    pub dns: Option<DnsStatus>,
    /// What is not as it should be, in words an operator can act upon.
    pub problems: Vec<String>,
}

/// The DNS that a node answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsStatus {
    pub addresses: BTreeSet<IpAddr>,
    /// Queries answered since the start of the daemon.
    pub answered: u64,
    /// Services there are names for.
    pub services: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    /// `::` where only the interface is known yet.
    pub address: IpAddr,
    /// The interface of a peer with a link-local address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    pub asn: u32,
    /// The `addressRange` that the peer has come from, where no resource names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Prefix>,
    pub router_id: Option<RouterId>,
    /// The state's name in RFC 4271 §8.2.2.
    pub state: String,
    pub since_secs: u64,
    pub hold_time_secs: u16,
    pub families: Vec<Family>,
    pub prefixes_received: usize,
    pub prefixes_accepted: usize,
    pub prefixes_sent: usize,
    /// Routes kept from a session that was lost, waiting for the peer to come back (RFC 4724).
    pub prefixes_stale: usize,
    pub messages_received: u64,
    pub messages_sent: u64,
    pub flaps: u64,
    pub last_error: Option<String>,
    /// The state of the BFD session with the peer, by its name in RFC 5880 §6.2; `None` where there
    /// is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<String>,
}

impl PeerStatus {
    /// What the peer is called: `fe80::1%eth1` for one on an interface, `eth1` while nobody was found
    /// there.
    pub fn name(&self) -> String {
        match &self.interface {
            Some(interface) if self.address.is_unspecified() => interface.clone(),
            interface => scoped(self.address, interface.as_deref()),
        }
    }
}

/// An address, with its interface where it is on one: `fe80::1%eth1`.
fn scoped(address: IpAddr, interface: Option<&str>) -> String {
    match interface {
        Some(interface) => format!("{address}%{interface}"),
        None => address.to_string(),
    }
}

/// One peer in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerDetail {
    #[serde(flatten)]
    pub status: PeerStatus,
    /// `incoming` or `outgoing`: who has opened the connection.
    pub connection: Option<String>,
    pub port: u16,
    pub passive: bool,
    pub shutdown: bool,
    pub reflector_client: bool,
    /// In the OPENs of the connection there is.
    pub capabilities_sent: Vec<String>,
    pub capabilities_received: Vec<String>,
    /// What holds on the session.
    pub agreed: Vec<String>,
    /// Families of which the peer has told all it has.
    pub end_of_rib: Vec<Family>,
    /// Families of which routes are kept from an earlier session.
    pub stale: Vec<Family>,
    /// Seconds that the timers which run still have.
    pub timers: BTreeMap<String, f64>,
    pub limits: Vec<PrefixLimit>,
    pub updates_received: u64,
    pub updates_sent: u64,
    /// Malformed attributes (RFC 7606).
    pub malformed: u64,
    pub limit_warnings: u64,
    /// What TCP has not taken yet.
    pub octets_unwritten: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrefixLimit {
    pub family: Family,
    pub limit: u32,
    pub warning_percent: u8,
    /// `warn`, `close` or `close for N s`.
    pub action: String,
}

/// The rules that hold for a peer, in words and in their order; what none accepts is rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerPolicy {
    pub peer: IpAddr,
    /// The interface of a peer with a link-local address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    pub import: Vec<String>,
    pub export: Vec<String>,
}

impl PeerPolicy {
    /// What the peer is called, as by [`PeerStatus::name`].
    pub fn name(&self) -> String {
        scoped(self.peer, self.interface.as_deref())
    }
}

/// Which peer is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct PeerQuery {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
}

/// Of the two policies of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PolicyDirection {
    #[default]
    Import,
    Export,
}

/// A policy, and a route that it is to be tried with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct PolicyTrialQuery {
    /// Whose: an address, or the interface of a peer that is known by that.
    pub peer: String,
    pub direction: PolicyDirection,
    /// Of the route.
    pub prefix: String,
    /// As in `65001 65002 {65003,65004}`. Where it is not given, what an external peer tells of itself
    /// on import, and else empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_path: Option<String>,
    /// `igp` where not given, `egp` or `incomplete`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The address of whoever has told the route where not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_pref: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub med: Option<u32>,
    /// Of all kinds, with spaces between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub communities: Option<String>,
    /// On export, who has told the route: an address or interface. This speaker itself where not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What is not given is as the table has it: on import as the peer has told the prefix, on export
    /// as its best path is.
    #[serde(skip_serializing_if = "is_false")]
    pub from_table: bool,
}

/// What a policy makes of a route, and by which rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTrial {
    pub prefix: Prefix,
    /// Who has told the route; `None` for one of this speaker's own, and for a peer that is not there
    /// yet.
    pub from: Option<IpAddr>,
    /// As the policy is asked about it.
    pub route: TrialRoute,
    /// Those that the route fits, in their order.
    pub rules: Vec<TrialRule>,
    pub accepted: bool,
    /// The number of the rule that has decided; `None` where none has, which rejects.
    pub decided_by: Option<usize>,
    /// What comes out where the route is accepted.
    pub result: Option<TrialRoute>,
}

/// A rule that a route fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrialRule {
    /// Among those of the policy, from one on.
    pub number: usize,
    /// In the words of [`PeerPolicy`].
    pub text: String,
    pub changes: Vec<TrialChange>,
}

/// What a rule has made another of: a field of [`TrialRoute`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrialChange {
    pub field: String,
    /// `None` where there was none.
    pub before: Option<String>,
    /// `None` where there is none any more.
    pub after: Option<String>,
}

/// A route as a policy sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrialRoute {
    /// An address; `self` or `unchanged` where a policy has said so. `None`: what is usual.
    pub next_hop: Option<String>,
    pub as_path: String,
    pub origin: String,
    pub local_pref: Option<u32>,
    pub med: Option<u32>,
    /// Of all kinds.
    pub communities: Vec<String>,
}

impl TrialRoute {
    /// The fields in which `after` is another.
    pub fn changes(&self, after: &Self) -> Vec<TrialChange> {
        let number = |value: Option<u32>| value.map(|value| value.to_string());
        let words = |text: String| Some(text).filter(|text| !text.is_empty());
        let fields = |route: &Self| {
            [
                ("nextHop", route.next_hop.clone()),
                ("asPath", words(route.as_path.clone())),
                ("origin", words(route.origin.clone())),
                ("localPref", number(route.local_pref)),
                ("med", number(route.med)),
                ("communities", words(route.communities.join(" "))),
            ]
        };
        let pairs = fields(self).into_iter().zip(fields(after));
        let changed = pairs.filter(|((_, before), (_, after))| before != after);
        changed
            .map(|((field, before), (_, after))| TrialChange {
                field: field.to_owned(),
                before,
                after,
            })
            .collect()
    }
}

/// The BFD sessions of a speaker (RFC 5880).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BfdStatus {
    pub sessions: Vec<BfdSession>,
    /// Packets that were not taken, by the name of the rule that forbids it.
    pub discarded: BTreeMap<String, u64>,
    /// Packets that the kernel has not sent.
    pub send_errors: u64,
    /// What keeps sessions from working, such as a port that someone else has.
    pub problems: Vec<String>,
}

/// Times are microseconds. What begins with `remote` is what the peer has said, and is missing where
/// nothing is heard of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BfdSession {
    pub peer: IpAddr,
    /// The interface of a peer with a link-local address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    pub multihop: bool,
    /// The state's name in RFC 5880 §6.2.
    pub state: String,
    pub since_secs: u64,
    /// Why the state was entered, in the words of RFC 5880 §4.1.
    pub diagnostic: String,
    pub min_transmit_micros: u64,
    pub min_receive_micros: u64,
    pub multiplier: u8,
    pub remote_state: Option<String>,
    pub remote_diagnostic: Option<String>,
    pub remote_min_transmit_micros: Option<u64>,
    pub remote_min_receive_micros: Option<u64>,
    pub remote_multiplier: Option<u8>,
    /// The peer's BFD goes on when its control plane does not (the C bit).
    pub remote_control_plane_independent: bool,
    pub local_discriminator: u32,
    pub remote_discriminator: Option<u32>,
    /// As negotiated: between our packets, before jitter; and the silence after which the peer is
    /// lost.
    pub transmit_micros: Option<u64>,
    pub detection_micros: Option<u64>,
    pub packets_received: u64,
    pub packets_sent: u64,
    /// How often the session has come Up, and how often it has left that state.
    pub ups: u64,
    pub downs: u64,
}

impl BfdSession {
    /// What the peer is called, as by [`PeerStatus::name`].
    pub fn name(&self) -> String {
        scoped(self.peer, self.interface.as_deref())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpPath {
    pub prefix: Prefix,
    /// The peer it came from; `None` for a prefix this node originates.
    pub peer: Option<IpAddr>,
    /// The interface of a peer with a link-local address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The peer's number for it among several for the prefix (RFC 7911), else zero.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub path_id: u32,
    /// Of a path that no peer has told: the file it is replayed from, as in `mrt:/var/lib/rib.mrt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed: Option<String>,
    pub originated: Option<OriginSource>,
    pub next_hop: Option<IpAddr>,
    /// Where the next hop leads on link; empty when it is not reachable.
    pub resolved: Vec<NextHop>,
    pub as_path: String,
    pub origin: String,
    pub local_pref: Option<u32>,
    pub med: Option<u32>,
    pub communities: Vec<String>,
    /// Of a reflected path: who has brought it into the AS, and the clusters it has passed, the
    /// latest first (RFC 4456 §8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub originator_id: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster_list: Vec<String>,
    pub best: bool,
    pub stale: bool,
    /// Why it is not the best, by the step of RFC 4271 §9.1.2.2 that decided.
    pub reason: Option<String>,
}

impl BgpPath {
    /// What the peer is called, as by [`PeerStatus::name`].
    pub fn peer_name(&self) -> Option<String> {
        Some(scoped(self.peer?, self.interface.as_deref()))
    }
}

/// Which paths are asked for, as the parameters of a question. Those of one prefix are given by how good
/// they are; others in no order, while the table goes on changing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct PathQuery {
    /// Of this prefix; without a length, of the most specific one around the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Of the prefixes inside it, too.
    #[serde(skip_serializing_if = "is_false")]
    pub longer: bool,
    /// From this peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// The best of their prefixes.
    #[serde(skip_serializing_if = "is_false")]
    pub best: bool,
    /// Refused by import.
    #[serde(skip_serializing_if = "is_false")]
    pub rejected: bool,
    /// With this community: `65000:1`, `65000:1:2`, `rt:65000:1` or a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub community: Option<String>,
    /// No more than so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Which events are asked for: the latest some thousand are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct EventQuery {
    /// Of this peer only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// Not older than so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_secs: Option<u64>,
    /// With a greater number than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Those that are still to come, too: the answer has no end.
    #[serde(skip_serializing_if = "is_false")]
    pub follow: bool,
}

/// Something that has happened to the BGP speaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BgpEvent {
    /// Counted from the start of the daemon.
    pub number: u64,
    /// RFC 3339, in UTC.
    pub time: String,
    /// `None` for what is no single peer's.
    pub peer: Option<IpAddr>,
    /// The interface of a peer with a link-local address: its name, or its number where it has none
    /// any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// One word, such as `session-up`.
    pub kind: String,
    pub text: String,
}

impl BgpEvent {
    /// The kind that stands for events which were forgotten before they could be told.
    pub const MISSED: &str = "missed";

    /// What the peer is called, as by [`PeerStatus::name`].
    pub fn peer_name(&self) -> Option<String> {
        Some(scoped(self.peer?, self.interface.as_deref()))
    }
}

/// A route of ours: what is wanted beside what the kernel has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FibRoute {
    pub prefix: Prefix,
    /// Blackhole of a block of our own where empty.
    pub next_hops: Vec<NextHop>,
    pub interfaces: Vec<String>,
    pub wanted: bool,
    pub installed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    pub namespace: String,
    pub name: String,
    pub frontends: Vec<FrontendStatus>,
    /// Whether connections that have ended may be among those that are counted.
    #[serde(default)]
    pub connections_approximate: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrontendStatus {
    /// `ClusterIP`, `NodePort` or `LoadBalancer`.
    pub kind: String,
    /// The unspecified address for a NodePort.
    pub address: SocketAddr,
    /// `TCP` or `UDP`.
    pub protocol: String,
    pub port_name: Option<String>,
    pub backends: Vec<BackendStatus>,
    /// Whether the frontend's entry in the kernel's map is what it should be.
    pub programmed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendStatus {
    pub address: SocketAddr,
    pub node: Option<String>,
    pub id: u32,
    /// `active`, `masked`, `terminating` or `unready`.
    pub state: String,
    /// Why it is masked, or why it is not although its node is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Open connections that this node has led to the backend through the frontend: of its own pods
    /// and processes, and of clients outside whose packets entered here. A connected UDP socket is
    /// one, and so is a UDP client outside that has sent lately.
    #[serde(default)]
    pub connections: u64,
}

/// What the services of a node make of some addresses: the answer comes as soon as they are
/// withdrawn, or else when the time of the question is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Withdrawal {
    /// Some service has an endpoint at one of them, or not all services are known.
    pub endpoint: bool,
    /// New flows of this node go to none of them: so the maps stand.
    pub withdrawn: bool,
}

/// A node of the cluster as this one knows it, and where its kubelet listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeEndpoint {
    pub name: String,
    pub addresses: Vec<IpAddr>,
    /// `None` where it has no kubelet that says so.
    pub kubelet_port: Option<u16>,
    pub ready: bool,
}

// For serde, which hands out references.
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

const fn is_false(flag: &bool) -> bool {
    !*flag
}
