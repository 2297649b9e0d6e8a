//! Who speaks with whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use bgp_speaker::{
    Confederation, Config, DecisionRules, LocalAddresses, PeerConfig, RestartTime, RoleConfig,
};
use bgp_wire::{HoldTime, PeerKind, Role};
use viaduct_net::{Asn, Prefix, RouterId};

use crate::{
    Filter,
    address::{NodeId, address_v4, address_v6, block_v4, block_v6},
};

/// A session as one of its ends sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// The other is our client (RFC 4456).
    pub client: bool,
    /// Addresses of IPv6; both families are spoken of anyway.
    pub over_v6: bool,
    /// We wait for the other to connect.
    pub passive: bool,
    /// Each tells the other all paths that it may use (RFC 7911).
    pub add_path: bool,
    /// What is lost with the other is kept for long (RFC 9494), where both say so.
    pub long_lived: bool,
    /// What we are to the other (RFC 9234).
    pub role: Option<Role>,
    pub import: Filter,
    pub export: Filter,
}

/// Paths of one prefix that are told where several are: more than there can be.
const ADD_PATHS: u16 = 1000;

/// One speaker.
#[derive(Clone, Debug)]
pub struct Plan {
    pub asn: u32,
    /// Reflectors with the same number are one cluster.
    pub cluster_id: Ipv4Addr,
    pub sessions: BTreeMap<NodeId, Session>,
    pub originations: BTreeSet<Prefix>,
}

#[derive(Clone, Debug)]
pub struct Topology {
    pub name: String,
    pub nodes: Vec<Plan>,
    /// Its members, and what they are to all others (RFC 5065).
    pub confederation: Option<(u32, BTreeSet<u32>)>,
    pub hold_secs: u16,
    pub restart_secs: u16,
    pub long_lived_secs: u32,
    pub coalesce: Duration,
}

const AS: u32 = 64512;
const CONFEDERATION: u32 = 65000;

impl Topology {
    /// Nodes of these ASes, each with a block of both families and nobody to speak with.
    fn unconnected(name: String, asns: impl IntoIterator<Item = u32>) -> Self {
        let plan = |(node, asn)| Plan {
            asn,
            cluster_id: address_v4(node),
            sessions: BTreeMap::new(),
            originations: BTreeSet::from([block_v4(node), block_v6(node)]),
        };
        let nodes = asns.into_iter().enumerate().map(plan).collect();
        let confederation = None;
        Self {
            name,
            nodes,
            confederation,
            hold_secs: 9,
            restart_secs: 30,
            long_lived_secs: 60,
            coalesce: Duration::from_millis(10),
        }
    }

    fn connect(&mut self, a: NodeId, b: NodeId) {
        self.nodes[a].sessions.insert(b, Session::default());
        self.nodes[b].sessions.insert(a, Session::default());
    }

    pub fn disconnect(&mut self, a: NodeId, b: NodeId) {
        self.nodes[a].sessions.remove(&b);
        self.nodes[b].sessions.remove(&a);
    }

    fn reflect(&mut self, reflector: NodeId, client: NodeId) {
        self.connect(reflector, client);
        self.nodes[reflector]
            .sessions
            .insert(client, Session { client: true, ..Session::default() });
    }

    /// One AS in which everybody speaks with everybody.
    pub fn mesh(count: usize) -> Self {
        let mut mesh = Self::unconnected(format!("mesh of {count}"), vec![AS; count]);
        for b in 0..count {
            (0..b).for_each(|a| mesh.connect(a, b));
        }
        mesh
    }

    /// One AS of clients behind reflectors, which are a mesh; `one_cluster`: and one cluster.
    pub fn reflection(reflectors: usize, clients: usize, one_cluster: bool) -> Self {
        let count = reflectors + clients;
        let name =
            format!("{reflectors} reflectors, {clients} clients, one cluster: {one_cluster}");
        let mut all = Self::unconnected(name, vec![AS; count]);
        for b in 0..count {
            for a in 0..b.min(reflectors) {
                if b < reflectors { all.connect(a, b) } else { all.reflect(a, b) }
            }
        }
        if one_cluster {
            all.nodes[..reflectors]
                .iter_mut()
                .for_each(|plan| plan.cluster_id = [1, 1, 1, 1].into());
        }
        all
    }

    /// Two levels: the clients of the upper pair reflect, too.
    pub fn hierarchy(middle: usize, leaves: usize) -> Self {
        let first_leaf = 2 + middle;
        let name = format!("hierarchy of 2, {middle} and {leaves}");
        let mut all = Self::unconnected(name, vec![AS; first_leaf + leaves]);
        all.connect(0, 1);
        for reflector in 2..first_leaf {
            all.reflect(0, reflector);
            all.reflect(1, reflector);
        }
        for leaf in 0..leaves {
            // Each leaf behind two of the middle, where there are two.
            all.reflect(2 + leaf % middle, first_leaf + leaf);
            all.reflect(2 + (leaf + 1) % middle, first_leaf + leaf);
        }
        all
    }

    /// An AS for each node, and each speaks with the next.
    pub fn ring(count: usize) -> Self {
        let asns = (0..count).map(|node| 4_200_000_000 + node as u32);
        let mut ring = Self::unconnected(format!("ring of {count} ASes"), asns);
        (0..count).for_each(|node| ring.connect(node, (node + 1) % count));
        ring
    }

    /// Spines and leaves, each in an AS of its own but the spines, which share one.
    pub fn fabric(spines: usize, leaves: usize) -> Self {
        let asns = (0..spines + leaves).map(|n| if n < spines { 65000 } else { 65000 + n as u32 });
        let mut all = Self::unconnected(format!("fabric of {spines} and {leaves}"), asns);
        for leaf in spines..spines + leaves {
            (0..spines).for_each(|spine| all.connect(spine, leaf));
        }
        all
    }

    /// A mesh in which the first two speak with another AS each, and those with each other.
    pub fn borders(mesh: usize) -> Self {
        let mut all = Self::mesh(mesh);
        all.name = format!("mesh of {mesh} with two neighbours");
        let outside = Self::unconnected(String::new(), vec![0; mesh + 2]);
        for (node, asn) in [(mesh, 65101), (mesh + 1, 65102)] {
            all.nodes.push(Plan { asn, ..outside.nodes[node].clone() });
            all.connect(node - mesh, node);
        }
        all.connect(mesh, mesh + 1);
        all
    }

    /// A confederation: a member in the middle, which is a mesh, others behind a session each, and two
    /// neighbours of other ASes. There is one way from each to each, for where there are several a
    /// confederation of meshes may have several stable states, or none.
    pub fn confederation(middle: usize, others: &[usize]) -> Self {
        let count = middle + others.iter().sum::<usize>();
        let (mut asns, mut first) = (vec![AS; middle], middle);
        let mut pairs: Vec<_> = (0..middle).flat_map(|b| (0..b).map(move |a| (a, b))).collect();
        for (member, &size) in others.iter().enumerate() {
            asns.extend(vec![AS + 1 + member as u32; size]);
            pairs.extend((first..first + size).flat_map(|b| (first..b).map(move |a| (a, b))));
            pairs.push((member % middle, first));
            first += size;
        }
        pairs.extend([(0, count), (count - 1, count + 1)]);
        let members = asns.iter().copied().collect();
        asns.extend([65101, 65102]);
        let name = format!("confederation of {middle} and {others:?}");
        let mut all = Self::unconnected(name, asns);
        all.confederation = Some((CONFEDERATION, members));
        pairs.into_iter().for_each(|(a, b)| all.connect(a, b));
        all
    }

    /// Everybody who speaks with each other, once.
    pub fn pairs(&self) -> impl Iterator<Item = (NodeId, NodeId)> {
        let others = |(node, plan): (NodeId, &Plan)| {
            let others: Vec<_> = plan.sessions.keys().copied().collect();
            others.into_iter().filter(move |other| node < *other).map(move |other| (node, other))
        };
        self.nodes.iter().enumerate().flat_map(others)
    }

    /// How near two nodes are to each other.
    pub fn kind(&self, a: NodeId, b: NodeId) -> PeerKind {
        if self.nodes[a].asn == self.nodes[b].asn {
            PeerKind::Internal
        } else if self.confederation_of(a).is_some() && self.confederation_of(b).is_some() {
            PeerKind::Confederation
        } else {
            PeerKind::External
        }
    }

    /// The AS that the confederation of a node is to all others.
    pub fn confederation_of(&self, node: NodeId) -> Option<u32> {
        let (id, members) = self.confederation.as_ref()?;
        members.contains(&self.nodes[node].asn).then_some(*id)
    }

    /// Whether what one of them tells the other is kept for long (RFC 9494).
    pub fn remembers(&self, a: NodeId, b: NodeId) -> bool {
        self.nodes[a].sessions[&b].long_lived && self.nodes[b].sessions[&a].long_lived
    }

    /// The AS that a node is to another.
    pub fn asn_towards(&self, node: NodeId, other: NodeId) -> u32 {
        let outer = self.confederation_of(node);
        let outer = outer.filter(|_| self.kind(node, other) == PeerKind::External);
        outer.unwrap_or(self.nodes[node].asn)
    }

    pub fn is_reflector(&self, node: NodeId) -> bool {
        self.nodes[node].sessions.values().any(|session| session.client)
    }

    /// The address at which `node` knows `other`.
    pub fn peer_address(&self, node: NodeId, other: NodeId) -> IpAddr {
        let over_v6 = self.nodes[node].sessions.get(&other).is_some_and(|session| session.over_v6);
        if over_v6 { address_v6(other).into() } else { address_v4(other).into() }
    }

    pub fn config(&self, node: NodeId, restarting: bool) -> Config {
        let plan = &self.nodes[node];
        let asn = Asn::new(plan.asn);
        let hold_time = HoldTime::from_secs(self.hold_secs).unwrap();
        let peer = |(&other, session): (&NodeId, &Session)| {
            let (ours, theirs) = (self.asn_towards(node, other), self.asn_towards(other, node));
            let mut config = PeerConfig::new(Asn::new(ours), Asn::new(theirs), hold_time);
            config.import = session.import.policy(asn);
            config.export = session.export.policy(Asn::new(ours));
            (config.reflector_client, config.passive) = (session.client, session.passive);
            config.role = session.role.map(|role| RoleConfig { role, strict: true });
            config.add_path_receive = session.add_path;
            config.add_path_send = if session.add_path { ADD_PATHS } else { 0 };
            config.long_lived_secs = if session.long_lived { self.long_lived_secs } else { 0 };
            (self.peer_address(node, other), config)
        };
        let confederation =
            self.confederation.as_ref().filter(|(_, members)| members.contains(&plan.asn));
        let confederation = confederation.map(|(id, members)| Confederation {
            id: Asn::new(*id),
            members: members
                .iter()
                .filter(|asn| **asn != plan.asn)
                .map(|&asn| Asn::new(asn))
                .collect(),
        });
        Config {
            asn,
            router_id: RouterId::try_from(address_v4(node)).unwrap(),
            cluster_id: plan.cluster_id,
            addresses: LocalAddresses { v4: Some(address_v4(node)), v6: Some(address_v6(node)) },
            listen_port: 179,
            restart_time: RestartTime::try_from(self.restart_secs).unwrap(),
            deferral: Duration::from_secs(self.restart_secs.into()),
            restarting,
            incomplete: false,
            coalesce: self.coalesce,
            confederation,
            decision: DecisionRules::DEFAULT,
            interfaces: BTreeMap::new(),
            peers: plan.sessions.iter().map(peer).collect(),
            ranges: Default::default(),
        }
    }
}
