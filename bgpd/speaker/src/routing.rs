//! The speaker's side of the table: which peer is which there, and what goes to the FIB.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
};

use bgp_rib::{
    Ingress, LocalSpeaker, Peer, PeerCounts, PeerId, Rib, RibConfig,
    out::{AdjRibOutCounts, AdjRibsOut, Hopeless, Outgoing, Owed, Profile},
};
use bgp_wire::{PeerKind, SessionParameters, Update};
use bytes::Bytes;
use viaduct_net::{Asn, Family, IfIndex, LinkLocal, Origination, RouterId, Underlay};

use crate::{
    config::{Config, PeerConfig, PeerLink},
    limits::PrefixLimits,
    open::Agreed,
    speaker::FibEvent,
};

/// Prefixes that may wait to be decided with others. Many gain nothing by it, and peers are to read some
/// of them while others are decided.
const MAX_COALESCED: usize = 256;

#[derive(Debug)]
pub(crate) struct Routing {
    pub(crate) rib: Rib,
    out: AdjRibsOut,
    /// How often updates have changed one of the prefixes that are to be decided.
    updated: usize,
    /// Peers that have had a session.
    ids: BTreeMap<IpAddr, PeerId>,
    /// By the numbers that another process has known them by.
    adopted: BTreeMap<u32, PeerId>,
    underlay: Underlay,
    /// What the shell has not taken yet. It takes all after every input, so this is as long as
    /// what one input can change.
    fib: VecDeque<FibEvent>,
}

impl Routing {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            rib: Rib::new(rib_config(config)),
            out: AdjRibsOut::default(),
            updated: 0,
            ids: BTreeMap::new(),
            adopted: BTreeMap::new(),
            underlay: Underlay::from([]),
            fib: VecDeque::new(),
        }
    }

    pub(crate) fn set_config(&mut self, config: &Config) {
        self.rib.set_config(rib_config(config));
    }

    pub(crate) fn set_underlay(&mut self, underlay: &Underlay) {
        self.underlay = underlay.clone();
        self.rib.set_underlay(underlay.clone());
    }

    pub(crate) fn has_underlay(&self) -> bool {
        !self.underlay.is_empty()
    }

    pub(crate) fn set_originations(&mut self, originations: &BTreeSet<Origination>) {
        let all: Vec<_> = originations.iter().copied().collect();
        self.rib.set_originations(&all);
    }

    /// A session has come up: its paths may come, beside those kept from an earlier one.
    pub(crate) fn session_up(&mut self, address: IpAddr, agreed: &Agreed, config: &PeerConfig) {
        let (router_id, kind) = (agreed.router_id, agreed.parameters.peer_kind);
        let peer = self.table_peer(address, router_id, kind, config);
        self.ids.insert(address, self.rib.add_peer(peer));
    }

    /// A peer as its paths are to know it.
    pub(crate) fn table_peer(
        &self,
        address: IpAddr,
        router_id: RouterId,
        kind: PeerKind,
        config: &PeerConfig,
    ) -> Peer {
        Peer {
            address,
            asn: config.asn,
            router_id,
            kind,
            interface: self.interface_of(address),
            reflector_client: config.reflector_client,
            import: config.import.clone(),
            enforce_first_as: true,
            max_prefixes: config.max_prefixes,
            max_v4: config.prefix_limits.most(Family::V4),
            max_v6: config.prefix_limits.most(Family::V6),
            ingress: config.ingress(kind),
        }
    }

    /// A peer that another process has known by a number.
    pub(crate) fn adopt(&mut self, number: u32, peer: Peer) {
        let address = peer.address;
        let id = self.rib.add_peer(peer);
        self.ids.insert(address, id);
        self.adopted.insert(number, id);
    }

    /// The same for a source, which is there already.
    pub(crate) fn adopt_source(&mut self, number: u32, id: PeerId) {
        self.adopted.insert(number, id);
    }

    /// Those of [`Self::adopt`]; forgets them.
    pub(crate) fn numbers(&mut self) -> BTreeMap<u32, PeerId> {
        std::mem::take(&mut self.adopted)
    }

    /// A session that was handed over.
    pub(crate) fn rejoin(&mut self, address: IpAddr, profile: Profile, owed: Owed, same: bool) {
        if let Some(id) = self.id(address) {
            self.out.rejoin(&self.rib, id, profile, owed, same);
        }
    }

    /// What was told is noted; everything is decided anew.
    pub(crate) fn decide_all(&mut self) {
        self.rib.set_additional_paths(self.out.additional_paths());
        self.rib.decide_all();
    }

    /// What a peer with a session has yet to be told.
    pub(crate) fn owed(&self, address: IpAddr) -> Option<Owed> {
        self.out.owed(self.id(address)?)
    }

    /// Paths may come from where there is no session.
    pub(crate) fn add_source(
        &mut self,
        address: IpAddr,
        asn: Asn,
        router_id: RouterId,
        import: bgp_rib::Policy,
    ) -> PeerId {
        let is_internal = self.rib.config().asn == asn;
        self.rib.add_peer(Peer {
            address,
            asn,
            router_id,
            kind: if is_internal { PeerKind::Internal } else { PeerKind::External },
            interface: None,
            reflector_client: is_internal,
            import,
            enforce_first_as: false,
            max_prefixes: Peer::DEFAULT_MAX_PREFIXES,
            max_v4: None,
            max_v6: None,
            ingress: Ingress::default(),
        })
    }

    pub(crate) fn remove_peer(&mut self, address: IpAddr) {
        if let Some(id) = self.ids.remove(&address) {
            self.out.leave(id);
            self.rib.remove_peer(id);
        }
    }

    pub(crate) fn set_import_policy(&mut self, address: IpAddr, policy: &bgp_rib::Policy) {
        if let Some(id) = self.id(address) {
            self.rib.set_import_policy(id, policy.clone());
        }
    }

    pub(crate) fn set_reflector_client(&mut self, address: IpAddr, is_client: bool) {
        if let Some(id) = self.id(address) {
            self.rib.set_reflector_client(id, is_client);
        }
    }

    pub(crate) fn set_ingress(&mut self, address: IpAddr, ingress: Ingress) {
        if let Some(id) = self.id(address) {
            self.rib.set_ingress(id, ingress);
        }
    }

    pub(crate) fn set_limits(&mut self, address: IpAddr, limits: &PrefixLimits) {
        if let Some(id) = self.id(address) {
            self.rib.set_limits(id, limits.most(Family::V4), limits.most(Family::V6));
        }
    }

    pub(crate) fn update(
        &mut self,
        address: IpAddr,
        update: &Update,
    ) -> Result<(), bgp_rib::AnnounceError> {
        let Some(id) = self.id(address) else { return Ok(()) };
        let before = self.rib.touched();
        let taken = self.rib.update(id, update);
        self.updated += self.rib.touched() - before;
        taken
    }

    /// Whether nothing but updates has changed anything, and those a little.
    pub(crate) fn may_wait(&self) -> bool {
        self.rib.touched() == self.updated && self.rib.undecided() <= MAX_COALESCED
    }

    pub(crate) fn clear(&mut self, address: IpAddr, family: Family) {
        if let Some(id) = self.id(address) {
            self.rib.withdraw_family(id, family);
        }
    }

    pub(crate) fn mark_stale(&mut self, address: IpAddr, family: Family) {
        if let Some(id) = self.id(address) {
            self.rib.mark_stale(id, family);
        }
    }

    pub(crate) fn mark_long_lived(&mut self, address: IpAddr, family: Family) {
        if let Some(id) = self.id(address) {
            self.rib.mark_long_lived(id, family);
        }
    }

    pub(crate) fn sweep_stale(&mut self, address: IpAddr, family: Family) {
        if let Some(id) = self.id(address) {
            self.rib.sweep_stale(id, family);
        }
    }

    /// Decides what has changed; the FIB is told, and what peers are to be told is prepared.
    pub(crate) fn settle(&mut self) {
        self.updated = 0;
        let fib = self.out.flush(&mut self.rib);
        self.fib.extend(fib.into_iter().map(FibEvent::Update));
    }

    /// The session is up: the peer is told everything.
    pub(crate) fn join(&mut self, address: IpAddr, profile: Profile) {
        if let Some(id) = self.id(address) {
            self.out.join(&self.rib, id, profile);
            self.rib.set_additional_paths(self.out.additional_paths());
        }
    }

    /// The session is over.
    pub(crate) fn leave(&mut self, address: IpAddr) {
        if let Some(id) = self.id(address) {
            self.out.leave(id);
        }
    }

    /// The peer is told otherwise from now on.
    pub(crate) fn change(&mut self, address: IpAddr, profile: Profile) {
        if let Some(id) = self.id(address) {
            self.out.change(&self.rib, id, profile);
            self.rib.set_additional_paths(self.out.additional_paths());
        }
    }

    pub(crate) fn refresh(&mut self, address: IpAddr, family: Family, demarcated: bool) {
        if let Some(id) = self.id(address) {
            self.out.refresh(id, family, demarcated);
        }
    }

    /// The peers that something waits for.
    pub(crate) fn pending(&self) -> impl Iterator<Item = IpAddr> {
        let pending = self.out.peers().filter(|id| self.out.is_pending(*id));
        pending.filter_map(|id| Some(self.rib.peer(id)?.address))
    }

    /// Whether what the peer is told next is read from the table.
    pub(crate) fn reads_table(&self, address: IpAddr) -> bool {
        self.id(address).is_some_and(|id| self.out.reads_table(id))
    }

    pub(crate) fn unread(&self) -> usize {
        self.out.unread()
    }

    pub(crate) fn next(&mut self, address: IpAddr, room: usize) -> Result<Outgoing, Hopeless> {
        match self.id(address) {
            Some(id) => self.out.next(&self.rib, id, room),
            None => Ok(Outgoing::default()),
        }
    }

    /// What the peer is told next is what is so by then.
    pub(crate) fn gather(&mut self, address: IpAddr) {
        if let Some(id) = self.id(address) {
            self.out.gather(id);
        }
    }

    /// What the peer would be told of so many places of the table.
    pub(crate) fn told_from(
        &self,
        address: IpAddr,
        from: u32,
        count: usize,
    ) -> (Vec<Bytes>, Option<u32>) {
        match self.id(address) {
            Some(id) => self.out.told_from(&self.rib, id, from, count),
            None => (Vec::new(), None),
        }
    }

    /// How many prefixes the peer knows from us.
    pub(crate) fn told(&self, address: IpAddr) -> usize {
        self.id(address).map_or(0, |id| self.out.told(id))
    }

    pub(crate) fn adj_rib_out_counts(&self, address: IpAddr) -> AdjRibOutCounts {
        self.id(address).map(|id| self.out.counts(id)).unwrap_or_default()
    }

    pub(crate) fn synced(&mut self) {
        self.fib.push_back(FibEvent::Synced);
    }

    pub(crate) fn pop_fib(&mut self) -> Option<FibEvent> {
        self.fib.pop_front()
    }

    pub(crate) fn id(&self, address: IpAddr) -> Option<PeerId> {
        self.ids.get(&address).copied()
    }

    pub(crate) fn counts(&self, address: IpAddr) -> PeerCounts {
        self.id(address).map(|id| self.rib.peer_counts(id)).unwrap_or_default()
    }

    /// The link a peer is on; `None` for one behind a gateway.
    fn interface_of(&self, address: IpAddr) -> Option<IfIndex> {
        if let Some(link_local) = LinkLocal::of(address) {
            return Some(link_local.interface());
        }
        let around = self.underlay.iter().filter(|route| route.prefix.contains(address));
        let nearest =
            around.max_by_key(|route| (route.prefix.len(), std::cmp::Reverse(route.metric)))?;
        nearest.gateway.is_none().then_some(nearest.interface)
    }
}

/// Ourselves as the peer at an address is to see us.
pub(crate) fn local_speaker(
    config: &Config,
    peer: IpAddr,
    settings: &PeerConfig,
    parameters: &SessionParameters,
) -> LocalSpeaker {
    let extended_next_hop = parameters.extended_next_hop;
    // Whoever speaks over IPv6 and takes IPv6 next hops may have no IPv4 on the link.
    let is_v6_only = extended_next_hop && peer.is_ipv6();
    let (address_v6, link_local) = match &settings.link {
        // RFC 2545 §3: both, where the peer is on a link of ours; where we have nothing global there,
        // what stands alone is the address that the peer can reach.
        Some(PeerLink { link_local, global: None, .. }) => (Some(link_local.address()), None),
        Some(PeerLink { link_local, global, .. }) => (*global, Some(link_local.address())),
        None => (config.addresses.v6, None),
    };
    LocalSpeaker {
        asn: settings.our_asn(config),
        cluster_id: config.cluster_id,
        address_v4: config.addresses.v4.filter(|_| !is_v6_only),
        address_v6,
        extended_next_hop,
        link_local,
        egress: settings.egress(config),
    }
}

fn rib_config(config: &Config) -> RibConfig {
    let addresses = Family::ALL.into_iter().filter_map(|family| config.addresses.of(family));
    RibConfig {
        cluster_id: config.is_reflector().then_some(config.cluster_id),
        decision: config.decision,
        confederation: config.confederation.as_ref().map(|confederation| confederation.id),
        ..RibConfig::new(config.asn, config.router_id, addresses.collect())
    }
}
