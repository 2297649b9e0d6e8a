//! The peers of the speaker, and what it is told of them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use bgp_rib::{
    Action, Matches, Policy, Rule,
    policy::{Change, CommunityRange, MedChange},
};
use bgp_speaker::{
    Confederation, Config, DecisionRules, LocalAddresses, PeerConfig, RestartTime, RoleConfig,
};
use bgp_wire::{Community, HoldTime, Role};
use viaduct_net::{Asn, RouterId};

const AS: u32 = 64512;
const CONFEDERATION: u32 = 65000;
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
const ADDRESS_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100);
/// What filters look for.
pub(super) const MARK: Community = Community::new(65000, 1);

/// What a peer is.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerPlan {
    pub(super) address: IpAddr,
    pub(super) asn: Asn,
    pub(super) internal: bool,
    pub(super) router_id: u32,
}

pub(super) fn plans() -> [PeerPlan; 4] {
    let plan = |address: IpAddr, asn, low: u32| PeerPlan {
        address,
        asn: Asn::new(asn),
        internal: asn == AS,
        router_id: 0xc000_0200 + low,
    };
    [
        plan([192, 0, 2, 1].into(), AS, 1),
        plan([192, 0, 2, 2].into(), 65001, 2),
        plan(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3).into(), AS, 200),
        plan([192, 0, 2, 4].into(), 4_200_000_000, 201),
    ]
}

/// What the speaker is asked for beside the plainest of all sessions, by the bits of an octet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features(pub(super) u8);

impl Features {
    const fn has(self, bit: u8) -> bool {
        self.0 & 1 << bit != 0
    }

    pub(super) const fn is_restarting(self) -> bool {
        self.has(0)
    }

    /// Whether there is a way to all next hops at first.
    pub(super) const fn has_underlay(self) -> bool {
        !self.has(1)
    }

    const fn has_add_path(self) -> bool {
        self.has(2)
    }

    const fn has_filters(self) -> bool {
        self.has(3)
    }

    const fn has_roles(self) -> bool {
        self.has(4)
    }

    const fn is_long_lived(self) -> bool {
        self.has(5)
    }

    /// The first peer of another AS is of a member of ours.
    const fn has_confederation(self) -> bool {
        self.has(6)
    }

    /// A bit with another meaning beside it: there are no more.
    const fn coalesces(self) -> bool {
        self.has(1)
    }

    /// What comes in may be discarded, and may have passed us.
    const fn is_lenient(self) -> bool {
        self.has(7)
    }
}

/// A client, a passive one of another AS, one of the mesh over IPv6, and one that may tell little.
pub(super) fn base_config(features: Features) -> Config {
    let asn = Asn::new(AS);
    let peers = plans().into_iter().enumerate().map(|(i, plan)| {
        let mut peer = PeerConfig::new(asn, plan.asn, HoldTime::from_secs(9).unwrap());
        (peer.import, peer.export) = (Policy::accept_all(), Policy::accept_all());
        peer.reflector_client = i == 0;
        peer.passive = i == 1;
        if i == 3 {
            peer.max_prefixes = 3;
        }
        ask_for(&mut peer, plan, features);
        (plan.address, peer)
    });
    let members = [plans()[1].asn].into();
    let confederation = Confederation { id: Asn::new(CONFEDERATION), members };
    Config {
        asn,
        router_id: RouterId::try_from(ADDRESS).unwrap(),
        cluster_id: ADDRESS,
        addresses: LocalAddresses { v4: Some(ADDRESS), v6: Some(ADDRESS_V6) },
        listen_port: 179,
        restart_time: RestartTime::try_from(30).unwrap(),
        deferral: Duration::from_secs(30),
        confederation: features.has_confederation().then_some(confederation),
        decision: DecisionRules::DEFAULT,
        restarting: features.is_restarting(),
        incomplete: false,
        coalesce: if features.coalesces() { Duration::from_millis(10) } else { Duration::ZERO },
        interfaces: BTreeMap::new(),
        peers: peers.collect(),
        ranges: Default::default(),
    }
}

fn ask_for(peer: &mut PeerConfig, plan: PeerPlan, features: Features) {
    if features.has_add_path() {
        (peer.add_path_receive, peer.add_path_send) = (true, 3);
    }
    if features.has_filters() {
        (peer.import, peer.export) = (filter(), filter());
    }
    // The first of the others may be of a member, which has no role.
    if features.has_roles() && plan.asn == plans()[3].asn {
        peer.role = Some(RoleConfig { role: Role::Provider, strict: false });
    }
    if features.is_long_lived() {
        peer.long_lived_secs = 20;
    }
    if features.is_lenient() {
        peer.accept_blackhole = true;
        peer.allow_own_as = 1;
        peer.extended_next_hop = true;
    }
}

/// What is marked is refused, the rest is preferred where it has a MED, and marked.
pub(super) fn filter() -> Policy {
    let communities = [CommunityRange::from(MARK)].into_iter().collect();
    let marked = Matches { communities, ..Matches::default() };
    let mut change = Change { med: Some(MedChange::Add(1)), ..Change::default() };
    change.local_pref = Some(200);
    change.communities.add.push(MARK);
    let rest = Rule { change: change.into(), ..Rule::new(Matches::default(), Action::Accept) };
    Policy::new([Rule::new(marked, Action::Reject), rest])
}
