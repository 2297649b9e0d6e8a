//! Sources of routes that are no peers: nobody is at the other end, and what they say goes through import
//! as what a peer says does.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Instant,
};

use bgp_rib::{AnnounceError, PeerId, Policy};
use bgp_wire::Update;
use viaduct_net::{Asn, Family, RouterId};

use crate::speaker::Speaker;

/// The name of a source; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub(crate) u64);

impl SourceId {
    /// Where the table sees a source: an address that nobody can have (RFC 6666).
    fn address(self) -> IpAddr {
        Ipv6Addr::from(0x0100 << 112 | u128::from(self.0)).into()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceConfig {
    /// What operators are shown.
    pub name: String,
    /// With our own AS the source is an internal peer, told on as a reflector tells what its clients
    /// say; with any other an external one.
    pub asn: Asn,
    pub import: Policy,
}

#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) peer: PeerId,
}

impl Speaker {
    pub fn add_source(&mut self, config: SourceConfig) -> SourceId {
        let id = SourceId(self.last_source + 1);
        self.insert_source(id, config);
        id
    }

    pub(crate) fn insert_source(&mut self, id: SourceId, config: SourceConfig) -> PeerId {
        self.last_source = self.last_source.max(id.0);
        let SourceConfig { name, asn, import } = config;
        let router_id = RouterId::from_name(&name);
        let peer = self.routing.add_source(id.address(), asn, router_id, import);
        self.sources.insert(id, Source { name, peer });
        peer
    }

    /// Takes what a source says. On an error not all of it has been taken.
    pub fn handle_source(
        &mut self,
        id: SourceId,
        update: &Update,
        now: Instant,
    ) -> Result<(), AnnounceError> {
        self.now = now;
        let Some(source) = self.sources.get(&id).filter(|_| !self.stopped) else { return Ok(()) };
        self.routing.rib.update(source.peer, update)
    }

    /// The source has said all that it has to say: what was taken over with it, and it has not said again,
    /// goes.
    pub fn end_source(&mut self, id: SourceId, now: Instant) {
        self.now = now;
        let Some(peer) = self.sources.get(&id).map(|source| source.peer) else { return };
        if self.routing.rib.peer_counts(peer).stale > 0 {
            Family::ALL.iter().for_each(|family| self.routing.rib.sweep_stale(peer, *family));
        }
    }

    /// The source is no more, and nothing of what it has said.
    pub fn remove_source(&mut self, id: SourceId) {
        if let Some(source) = self.sources.remove(&id) {
            self.routing.rib.remove_peer(source.peer);
        }
    }

    /// Every source with its name.
    pub fn sources(&self) -> impl Iterator<Item = (SourceId, &str)> {
        self.sources.iter().map(|(id, source)| (*id, source.name.as_str()))
    }

    /// The name of the source that the table sees at an address.
    pub fn source_name(&self, address: IpAddr) -> Option<&str> {
        let mut sources = self.sources.iter();
        let found = sources.find(|(id, _)| id.address() == address);
        found.map(|(_, source)| source.name.as_str())
    }
}
