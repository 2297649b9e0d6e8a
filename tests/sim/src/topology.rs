//! Who speaks with whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use bgp_rib::Policy;
use bgp_speaker::{Config, DecisionRules, LocalAddresses, PeerConfig, RestartTime};
use bgp_wire::HoldTime;
use viaduct_net::{Asn, Prefix, RouterId};

use crate::{
    Dice,
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
}

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
    pub hold_secs: u16,
    pub restart_secs: u16,
}

const AS: u32 = 64512;

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
        Self { name, nodes, hold_secs: 9, restart_secs: 30 }
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

    /// One of them all, with sessions over both families, some passive at one end, and prefixes that
    /// several originate.
    pub fn any(dice: &mut Dice) -> Self {
        let mut all = match dice.below(8) {
            0 => Self::mesh(2 + dice.below(5)),
            1 => Self::reflection(1, 2 + dice.below(5), false),
            2 => Self::reflection(2, 2 + dice.below(5), false),
            3 => Self::reflection(2 + dice.below(2), 2 + dice.below(4), true),
            4 => Self::hierarchy(1 + dice.below(3), 2 + dice.below(4)),
            5 => Self::ring(3 + dice.below(4)),
            6 => Self::fabric(1 + dice.below(3), 2 + dice.below(3)),
            _ => Self::borders(2 + dice.below(3)),
        };
        let pairs: Vec<_> = all.pairs().collect();
        for (a, b) in pairs {
            let over_v6 = dice.one_in(2);
            let passive = dice.below(6);
            for (node, other, own) in [(a, b, 0), (b, a, 1)] {
                let session = all.nodes[node].sessions.get_mut(&other).unwrap();
                (session.over_v6, session.passive) = (over_v6, passive == own);
            }
        }
        for i in 0..dice.below(4) {
            let shared: [Prefix; 2] = [
                Prefix::new(Ipv4Addr::new(198, 51, 100, i as u8).into(), 32).unwrap(),
                Prefix::new(address_v6(0x1_0000 + i).into(), 128).unwrap(),
            ];
            for _ in 0..1 + dice.below(3) {
                let node = dice.below(all.nodes.len());
                all.nodes[node].originations.insert(shared[i % 2]);
            }
        }
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

    pub fn is_internal(&self, a: NodeId, b: NodeId) -> bool {
        self.nodes[a].asn == self.nodes[b].asn
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
            let mut config = PeerConfig::new(asn, Asn::new(self.nodes[other].asn), hold_time);
            (config.import, config.export) = (Policy::accept_all(), Policy::accept_all());
            (config.reflector_client, config.passive) = (session.client, session.passive);
            (self.peer_address(node, other), config)
        };
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
            confederation: None,
            decision: DecisionRules::DEFAULT,
            interfaces: BTreeMap::new(),
            peers: plan.sessions.iter().map(peer).collect(),
            ranges: Default::default(),
        }
    }
}
