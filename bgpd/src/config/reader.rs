//! Reads what is said of the speaker and of each peer, and notes what is wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use bgp_speaker::{
    BfdConfig, Confederation, Config, DecisionRules, LocalAddresses, MAX_MULTIPATH, MAX_PEERS,
    PeerConfig, Policy, RestartTime,
};
use bgp_wire::{HoldTime, LongLivedFamily, PeerKind};
use viaduct_api::v1alpha1::{AddPaths, BGPConfigurationSpec, BGPPeerSpec, RangeKind};
use viaduct_net::{Asn, Prefix};

use super::interface::interface_problem;
use super::policy::Direction;
use super::{ConfigError, ConfigErrors, LocalNode, OtherNode, Passwords};

/// Even where peers keep nothing for us, the kernel does: sessions have so long to come up before
/// what they have not told is purged.
const MIN_DEFERRAL: Duration = Duration::from_secs(10);

/// A path through several of us is to be whole well before anybody's timers are over.
const MAX_COALESCE_MILLISECONDS: u32 = 1000;

pub(super) struct Reader<'a> {
    pub(super) passwords: &'a Passwords,
    /// Whether a password that cannot be had holds its peer down and is no error: who reads a file can
    /// keep the last one, and who follows an API cannot.
    pub(super) holds_down: bool,
    /// What holds down the peer that is being read.
    pub(super) obstacles: Vec<String>,
    pub(super) config: Config,
    hold_time: HoldTime,
    /// How the nodes of the mesh watch each other.
    mesh_bfd: Option<BfdConfig>,
    /// Where every peer is that has a name, those of other nodes included.
    pub(super) peer_names: BTreeMap<String, Prefix>,
    /// Whence each peer came, for the error that names the other of two.
    names: BTreeMap<IpAddr, String>,
    /// The same of ranges.
    pub(super) range_names: BTreeMap<Prefix, String>,
    errors: Vec<ConfigError>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        spec: &BGPConfigurationSpec,
        node: &LocalNode,
        passwords: &'a Passwords,
    ) -> Self {
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
        let confederation = spec.confederation.as_ref().map(|one| {
            let mut check = |field: &str, member: Asn| {
                let own = (member == asn).then(|| format!("{member} is this member's own"));
                if let Some(problem) = asn_problem(member).or(own) {
                    wrong(&format!("confederation.{field}"), problem);
                }
            };
            let id = Asn::new(one.id);
            check("id", id);
            let members: BTreeSet<_> = one.members.iter().copied().map(Asn::new).collect();
            members.iter().for_each(|member| check("members", *member));
            if members.contains(&id) {
                wrong("confederation.members", format!("{id} is the confederation itself"));
            }
            Confederation { id, members }
        });
        let decision = DecisionRules {
            always_compare_med: spec.decision.always_compare_med,
            multipath: spec.decision.multipath.into(),
            multipath_relax: spec.decision.multipath_relax,
        };
        if !(1..=MAX_MULTIPATH).contains(&decision.multipath) {
            let problem = format!("{} is not within 1 and {MAX_MULTIPATH}", decision.multipath);
            wrong("decision.multipath", problem);
        }
        if spec.coalesce_milliseconds > MAX_COALESCE_MILLISECONDS {
            let problem = format!(
                "{} ms: at most {MAX_COALESCE_MILLISECONDS}; 0 tells every change at once",
                spec.coalesce_milliseconds
            );
            wrong("coalesceMilliseconds", problem);
        }
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
            coalesce: Duration::from_millis(spec.coalesce_milliseconds.into()),
            confederation,
            decision,
            interfaces: BTreeMap::new(),
            peers: BTreeMap::new(),
            ranges: Default::default(),
        };
        let mut reader = Self {
            passwords,
            holds_down: false,
            obstacles: Vec::new(),
            config,
            hold_time,
            mesh_bfd: None,
            peer_names: BTreeMap::new(),
            names: BTreeMap::new(),
            range_names: BTreeMap::new(),
            errors,
        };
        reader.mesh_bfd = reader.bfd("BGPConfiguration: spec.bfd", spec.bfd.as_ref());
        reader
    }

    /// Our own AS.
    pub(super) fn asn(&self) -> Asn {
        self.config.asn
    }

    /// The AS that we are to a neighbour.
    pub(super) fn own_asn(&self, spec: &BGPPeerSpec) -> Asn {
        spec.local_as.as_ref().map_or(self.config.asn, |local| Asn::new(local.asn))
    }

    /// Whether a neighbour is of the AS that we are to it, or those of a range are.
    pub(super) fn is_internal(&self, spec: &BGPPeerSpec) -> bool {
        let own = self.own_asn(spec).to_u32();
        spec.asn == own
            || spec.range_asns.contains(&own)
            || spec.range_kind == Some(RangeKind::Internal)
    }

    pub(super) fn wrong(&mut self, field: String, problem: impl Into<String>) {
        self.errors.push(ConfigError { field, problem: problem.into() });
    }

    /// Policies may name peers, before or behind them.
    pub(super) fn name_peers(&mut self, peers: &BTreeMap<String, BGPPeerSpec>) {
        let place = |(name, spec): (&String, &BGPPeerSpec)| {
            let place = spec.address.map(Prefix::host).or(spec.address_range)?;
            Some((name.clone(), place))
        };
        self.peer_names = peers.iter().filter_map(place).collect();
    }

    pub(super) fn mesh_peer(&mut self, node: &LocalNode, other: &OtherNode) {
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
        peer.bfd = self.mesh_bfd;
        self.insert(place, address, peer);
    }

    pub(super) fn peer(&mut self, place: &str, spec: &BGPPeerSpec) {
        for fault in spec.faults() {
            self.wrong(format!("{place}.{}", fault.field), fault.to_string());
        }
        let (asn, asns) = self.asns(place, spec);
        if spec.port == 0 {
            self.wrong(format!("{place}.port"), "must not be 0");
        }
        let secs = spec.hold_time_seconds.unwrap_or(self.hold_time.to_secs());
        let hold_time = HoldTime::from_secs(secs).unwrap_or_else(|| {
            self.wrong(format!("{place}.holdTimeSeconds"), hold_time_problem(secs));
            self.hold_time
        });
        let mut peer = PeerConfig::new(self.config.asn, asn, hold_time);
        peer.local_as = self.local_as(place, spec);
        let kind = peer.kind(&self.config);
        peer.import = Policy::default_for(kind);
        peer.export = peer.import.clone();
        peer.port = spec.port;
        peer.transport = self.transport(place, spec);
        peer.obstacle = self.take_obstacle();
        peer.times = self.times(place, spec, hold_time);
        if let Some(limits) = &spec.max_prefixes {
            peer.prefix_limits = self.prefix_limits(place, limits);
        }
        peer.role = self.role(place, spec);
        peer.allow_own_as = self.allow_own_as(place, spec);
        peer.as_override = self.as_override(place, spec);
        peer.accept_blackhole = spec.accept_blackhole;
        peer.shutdown = spec.shutdown.is_some();
        peer.shutdown_message = self.shutdown_message(place, spec);
        peer.passive = spec.passive;
        peer.bfd = self.bfd(&format!("{place}.bfd"), spec.bfd.as_ref());
        peer.reflector_client = spec.reflector_client;
        let own = self.own_asn(spec);
        if spec.reflector_client && kind != PeerKind::Internal {
            let problem = format!("a client is of our own AS {own}, not of {asn}");
            self.wrong(format!("{place}.reflectorClient"), problem);
        }
        peer.long_lived_secs = spec.long_lived_stale_seconds;
        if peer.long_lived_secs > LongLivedFamily::MAX_STALE_TIME_SECS {
            let problem = format!("{} does not fit into 24 bits", peer.long_lived_secs);
            self.wrong(format!("{place}.longLivedStaleSeconds"), problem);
        }
        peer.extended_next_hop = spec.extended_next_hop;
        peer.add_path_receive = spec.add_paths.receive;
        peer.add_path_send = spec.add_paths.send;
        if spec.add_paths.send > AddPaths::MAX_SEND {
            let problem = format!("{} is more than {}", spec.add_paths.send, AddPaths::MAX_SEND);
            self.wrong(format!("{place}.addPaths.send"), problem);
        }
        if let Some(policy) = &spec.import {
            peer.import = self.policy(place, policy, Direction::Import, own);
        }
        if let Some(policy) = &spec.export {
            peer.export = self.policy(place, policy, Direction::Export, own);
        }
        match (spec.address, spec.address_range, &spec.interface, asns) {
            (Some(address), None, None, _) => self.insert(place.to_owned(), address, peer),
            (None, Some(prefix), None, Some(asns)) => {
                self.insert_range(place, spec, prefix, peer, asns);
            }
            (None, None, Some(interface), _) => self.insert_interface(place, interface, spec, peer),
            // What is wrong has been said.
            _ => {}
        }
    }

    /// Of this peer only the interface is known.
    fn insert_interface(
        &mut self,
        place: &str,
        interface: &str,
        spec: &BGPPeerSpec,
        mut peer: PeerConfig,
    ) {
        let field = format!("{place}.interface");
        peer.extended_next_hop = true;
        self.on_link_only(place, spec);
        if let Some(problem) = interface_problem(interface) {
            return self.wrong(field, problem);
        }
        if self.is_full() {
            return self.wrong(field, format!("more than {MAX_PEERS} peers"));
        }
        if self.config.interfaces.insert(interface.to_owned(), peer).is_some() {
            self.wrong(field, format!("{interface} is already that of another peer"));
        }
    }

    fn is_full(&self) -> bool {
        self.config.peers.len() + self.config.interfaces.len() >= MAX_PEERS
    }

    fn insert(&mut self, place: String, address: IpAddr, peer: PeerConfig) {
        let field = format!("{place}.address");
        if address.is_unspecified() || address.is_multicast() {
            return self.wrong(field, format!("{address} is no address of a neighbour"));
        }
        if matches!(address, IpAddr::V6(address) if address.is_unicast_link_local()) {
            return self.wrong(field, format!("{address} is on every link: name the interface"));
        }
        if self.config.addresses.contains(address) {
            return self.wrong(field, format!("{address} is this speaker's own"));
        }
        if let Some(other) = self.names.get(&address) {
            let problem = format!("{address} is already the peer of {other}");
            return self.wrong(field, problem);
        }
        if self.is_full() {
            return self.wrong(field, format!("more than {MAX_PEERS} peers"));
        }
        self.names.insert(address, place);
        self.config.peers.insert(address, peer);
    }

    /// The document of a peer that has been read.
    pub(super) fn place_of(&self, address: IpAddr) -> String {
        self.names.get(&address).cloned().unwrap_or_default()
    }

    pub(super) fn finish(mut self) -> Result<Config, ConfigErrors> {
        self.check_keys_of_ranges();
        if self.errors.is_empty() { Ok(self.config) } else { Err(ConfigErrors(self.errors)) }
    }
}

pub(super) fn asn_problem(asn: Asn) -> Option<String> {
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
