//! How nodes speak BGP, and with whom.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use viaduct_net::Prefix;

use super::{
    BFDProfile, BMPCollector, Fault, LocalAs, MRTRecording, MaxPrefixes, Policy, RangeKind, Role,
    SecretKeyRef, Shutdown, TCPAOKey, yes,
};

/// How every node speaks BGP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BGPConfigurationSpec {
    /// The number of the cluster's autonomous system.
    #[schemars(range(min = 1))]
    pub asn: u32,
    /// Whether every node peers with every other.
    #[serde(default = "yes")]
    pub node_to_node_mesh: bool,
    #[serde(default = "bgp_port")]
    #[schemars(range(min = 1))]
    pub listen_port: u16,
    /// Seconds without a message after which a session is lost; 0 or at least 3 (RFC 4271 §4.2).
    #[serde(default = "hold_time_secs")]
    pub hold_time_seconds: u16,
    /// Seconds for which peers keep our routes while we restart (RFC 4724 §3), at most 4095.
    #[serde(default = "restart_time_secs")]
    #[schemars(range(max = 4095))]
    pub graceful_restart_seconds: u16,
    /// The cluster of whoever has reflector clients (RFC 4456 §7), written as an IPv4 address; the
    /// router id of each where not given. Reflectors with one id take nothing from each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub cluster_id: Option<Ipv4Addr>,
    /// The confederation that `asn` is a member of (RFC 5065); none where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confederation: Option<ConfederationSpec>,
    /// How the best of several paths is found, beyond RFC 4271 §9.1.2.2.
    #[serde(default)]
    pub decision: DecisionSpec,
    /// Milliseconds for which changes that neighbours send wait for more, to be decided and told
    /// together: after a rest the first is told at once, and so are many; 0 never waits.
    #[serde(default = "coalesce_milliseconds")]
    #[schemars(range(max = 1000))]
    pub coalesce_milliseconds: u32,
    /// How the nodes of the mesh watch each other; not at all where not given. Other peers have a
    /// profile of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<BFDProfile>,
    /// Nodes announce the `externalIPs` of services that lie within; none where empty. They reach
    /// them in any case. Who may write a service may name any address there (CVE-2020-8554), so that
    /// which of them the network is told of is for you to say.
    #[serde(default, rename = "serviceExternalIPs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>", length(max = 100))]
    pub service_external_ips: Vec<Prefix>,
    /// Who is told by BMP what each speaker learns, chooses and tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub bmp: Vec<BMPCollector>,
    /// A file of all that neighbours send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mrt: Option<MRTRecording>,
}

impl Default for BGPConfigurationSpec {
    fn default() -> Self {
        Self {
            asn: 64512,
            node_to_node_mesh: true,
            listen_port: bgp_port(),
            hold_time_seconds: hold_time_secs(),
            graceful_restart_seconds: restart_time_secs(),
            cluster_id: None,
            confederation: None,
            decision: DecisionSpec::default(),
            coalesce_milliseconds: coalesce_milliseconds(),
            bfd: None,
            service_external_ips: Vec::new(),
            bmp: Vec::new(),
            mrt: None,
        }
    }
}

/// Several autonomous systems that are one to the outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfederationSpec {
    /// The number that neighbours outside know all of them by.
    #[schemars(range(min = 1))]
    pub id: u32,
    /// The other members: neighbours of these are inside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub members: Vec<u32>,
}

/// What there is to choose in the decision. MED always compares to one end, whatever came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DecisionSpec {
    /// Compare MED between paths of different neighbouring ASes too.
    #[serde(default)]
    pub always_compare_med: bool,
    /// The most next hops of one route; 1 for one path alone.
    #[serde(default = "max_multipath")]
    #[schemars(range(min = 1, max = 16))]
    pub multipath: u16,
    /// Whether paths with another AS path, as long as the best one's, are used beside it.
    #[serde(default = "yes")]
    pub multipath_relax: bool,
}

impl Default for DecisionSpec {
    fn default() -> Self {
        Self { always_compare_med: false, multipath: max_multipath(), multipath_relax: true }
    }
}

/// How many paths for a prefix pass between us and a neighbour; one each way where nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddPaths {
    /// Take as many as the neighbour sends.
    #[serde(default)]
    pub receive: bool,
    /// Send the best path and those next to it, so many in all.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    pub send: u16,
}

impl Default for AddPaths {
    fn default() -> Self {
        Self::OFF
    }
}

impl AddPaths {
    pub const MAX_SEND: u16 = 64;
    pub const OFF: Self = Self { receive: false, send: 1 };

    fn is_off(&self) -> bool {
        !self.receive && self.send <= 1
    }
}

/// A BGP neighbour outside the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BGPPeerSpec {
    /// The nodes that peer, by their labels; all nodes where empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Where the neighbour is; or `interface`, or `addressRange`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub address: Option<IpAddr>,
    /// The interface at whose other end the neighbour is, in place of its address: it is found by the
    /// router advertisements that both sides send, and spoken to over IPv6 link-local addresses, with
    /// `extendedNextHop`. The interface needs no address of its own and may come later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 15))]
    pub interface: Option<String>,
    /// Every speaker that connects from within is a neighbour while its session lasts, and none is
    /// connected to. One that is named by a resource of its own is not of the range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub address_range: Option<Prefix>,
    /// How many neighbours of the range there may be at a time.
    #[serde(default = "range_limit")]
    #[schemars(range(min = 1, max = 4096))]
    pub range_limit: u16,
    /// In which AS neighbours of the range may be, in place of `asn`: any of these,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub range_asns: Vec<u32>,
    /// or whichever is ours, or is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range_kind: Option<RangeKind>,
    #[serde(default = "bgp_port")]
    #[schemars(range(min = 1))]
    pub port: u16,
    /// The neighbour's AS; not beside `rangeAsns` and `rangeKind`.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 1))]
    pub asn: u32,
    /// Take packets only from a neighbour so many hops away, and send with a TTL of 255 (GTSM, RFC
    /// 5082); 1 is a neighbour on the link. Both sides need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 254))]
    pub ttl_security: Option<u8>,
    /// The TTL with which packets leave; the kernel's default, which is enough for any distance,
    /// where not given. Not beside `ttlSecurity`; external neighbours only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub ebgp_multihop: Option<u8>,
    /// Where the password of the session stands: every TCP segment is signed with it (RFC 2385).
    /// 1 to 80 octets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<SecretKeyRef>,
    /// The same from a file of the speaker's machine; a newline at its end is no part of the
    /// password. Read again with the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// Keys of the session in place of a password: every TCP segment is signed with one of them
    /// (RFC 5925), at first with the first. It takes a kernel that has TCP-AO.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tcp_ao: Vec<TCPAOKey>,
    /// Wait for the neighbour to connect and never connect to it.
    #[serde(default)]
    pub passive: bool,
    /// The neighbour is a client of ours as route reflector (RFC 4456); of our own AS only.
    #[serde(default)]
    pub reflector_client: bool,
    /// In place of the configuration's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_time_seconds: Option<u16>,
    /// How the neighbour is watched; not at all where not given. It needs BFD, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bfd: Option<BFDProfile>,
    /// Several paths for a prefix, with a neighbour that does so too (RFC 7911).
    #[serde(default, skip_serializing_if = "AddPaths::is_off")]
    pub add_paths: AddPaths,
    /// Seconds for which our routes are kept, behind all others, when we are away for longer than the
    /// restart time, and the neighbour's here (RFC 9494); both sides need it. Not at all where 0.
    #[serde(default)]
    #[schemars(range(max = 16777215))]
    pub long_lived_stale_seconds: u32,
    /// IPv4 routes may have IPv6 next hops, both ways, with a neighbour that says so too (RFC 8950): then
    /// ours have one where this node has no IPv4 address, or the session runs over IPv6.
    #[serde(default)]
    pub extended_next_hop: bool,
    /// Seconds between keepalives; a third of the agreed hold time where that is less or nothing is
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub keepalive_seconds: Option<u16>,
    /// Seconds until we try again to connect; 5 where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub connect_retry_seconds: Option<u16>,
    /// Seconds for which a session rests after an error; doubled with every further error up to a
    /// minute; 1 where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub idle_hold_seconds: Option<u16>,
    /// Seconds for which a neighbour may read nothing of what we send (RFC 9687), longer than the
    /// hold time; 480, or twice the hold time where that is more, where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub send_hold_seconds: Option<u16>,
    /// Milliseconds that lie at least between two times that the neighbour is told what has changed (RFC
    /// 4271 §9.2.1.1), up to ten minutes: it is told what is so by then. At once where 0 or not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 600000))]
    pub advertisement_interval_milliseconds: Option<u32>,
    /// What this speaker is to the neighbour (RFC 9234): the session comes up only with its
    /// counterpart, and routes do not leak. External neighbours only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Refuse a neighbour that says nothing of its role.
    #[serde(default)]
    pub strict_role: bool,
    /// Be another AS than our own to the neighbour (RFC 7705), which is of another than ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_as: Option<LocalAs>,
    /// How often our own AS may stand in the path of a route from the neighbour that is taken all the
    /// same. External neighbours only.
    #[serde(default)]
    #[schemars(range(max = 10))]
    pub allow_own_as: u8,
    /// Tell the neighbour paths with our AS in place of its own, so that a site hears of another one of
    /// the same AS. Loops between them are then for us to know. External neighbours only.
    #[serde(default)]
    pub as_override: bool,
    /// Discard packets to what the neighbour tells with the community BLACKHOLE (RFC 7999). For which
    /// prefixes it may do so is for `import` to say. Such routes get NO_EXPORT, so that no other AS is
    /// told of them.
    #[serde(default)]
    pub accept_blackhole: bool,
    /// How many prefixes the neighbour may tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_prefixes: Option<MaxPrefixes>,
    /// Hold the session down; `{}` without a word to the other side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<Shutdown>,
    /// What is taken from the neighbour. Without it an external neighbour's routes are refused
    /// (RFC 8212) and an internal one's are all taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<Policy>,
    /// What the neighbour is told; without it as for `import`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<Policy>,
}

impl BGPPeerSpec {
    /// A neighbour of all nodes, with nothing said but who it is.
    pub const fn new(address: IpAddr, asn: u32) -> Self {
        Self {
            node_selector: BTreeMap::new(),
            address: Some(address),
            interface: None,
            address_range: None,
            range_limit: range_limit(),
            range_asns: Vec::new(),
            range_kind: None,
            port: bgp_port(),
            asn,
            ttl_security: None,
            ebgp_multihop: None,
            password_secret_ref: None,
            password_file: None,
            tcp_ao: Vec::new(),
            passive: false,
            reflector_client: false,
            hold_time_seconds: None,
            bfd: None,
            add_paths: AddPaths::OFF,
            long_lived_stale_seconds: 0,
            extended_next_hop: false,
            keepalive_seconds: None,
            connect_retry_seconds: None,
            idle_hold_seconds: None,
            send_hold_seconds: None,
            advertisement_interval_milliseconds: None,
            role: None,
            strict_role: false,
            local_as: None,
            allow_own_as: 0,
            as_override: false,
            accept_blackhole: false,
            max_prefixes: None,
            shutdown: None,
            import: None,
            export: None,
        }
    }

    pub const MAX_TCP_AO_KEYS: usize = 16;

    /// Whether a node with these labels is one of those that peer.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// The Secrets that the peer names.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretKeyRef> {
        let keys = self.tcp_ao.iter().filter_map(|key| key.key_secret_ref.as_ref());
        self.password_secret_ref.iter().chain(keys)
    }

    /// What is wrong with who the neighbour is said to be, and how it is known.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Fault::one_of(&[
            ("address", self.address.is_some()),
            ("interface", self.interface.is_some()),
            ("addressRange", self.address_range.is_some()),
        ]);
        let asn = ("asn", self.asn != 0);
        let of_ranges =
            [("rangeAsns", !self.range_asns.is_empty()), ("rangeKind", self.range_kind.is_some())];
        if self.address_range.is_some() {
            faults.extend(Fault::one_of(&[asn, of_ranges[0], of_ranges[1]]));
        } else {
            faults.extend(Fault::one_of(&[asn]));
            let there = of_ranges.iter().filter(|(_, there)| *there);
            faults
                .extend(there.map(|(field, _)| Fault::invalid(field, "there is no addressRange")));
        }
        let passwords = [
            ("passwordSecretRef", self.password_secret_ref.is_some()),
            ("passwordFile", self.password_file.is_some()),
        ];
        if let Some((password, _)) = passwords.iter().find(|(_, there)| *there)
            && !self.tcp_ao.is_empty()
        {
            let problem = format!("stands beside {password}: segments are signed in one way");
            faults.push(Fault::invalid("tcpAo", problem));
        }
        faults
    }
}

const fn max_multipath() -> u16 {
    16
}

const fn one() -> u16 {
    1
}

const fn range_limit() -> u16 {
    100
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_zero(asn: &u32) -> bool {
    *asn == 0
}

const fn bgp_port() -> u16 {
    179
}

const fn hold_time_secs() -> u16 {
    9
}

const fn restart_time_secs() -> u16 {
    30
}

const fn coalesce_milliseconds() -> u32 {
    10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_filled_in_and_unknown_fields_refused() {
        let spec: BGPConfigurationSpec = serde_json::from_str(r#"{"asn": 64512}"#).unwrap();
        assert_eq!(spec, BGPConfigurationSpec::default());
        assert!(serde_json::from_str::<BGPConfigurationSpec>(r#"{"asn": 1, "as": 2}"#).is_err());
    }
}
