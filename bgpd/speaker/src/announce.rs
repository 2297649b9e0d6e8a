//! What peers are told. There is no table of what was told (Adj-RIB-Out): it is a function of the
//! best paths, and for a prefix that waits to be told anew it is noted whether it was told before.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use bgp_rib::{BestChange, BestPath, ExportPeer, Exported, export};
use bgp_wire::{
    BgpNextHop, Families, Notification, NotificationCode, PathAttributes, RouteRefresh,
    RouteRefreshSubtype, SessionParameters, Update, encode_announcements, encode_end_of_rib,
    encode_withdrawals,
};
use bytes::BytesMut;
use tracing::{debug, warn};
use viaduct_net::{Family, Prefix};

use crate::{
    Config,
    drive::Cause,
    fsm::Event,
    peer::{Peer, Slot},
    routing::{Routing, local_speaker},
    speaker::Speaker,
};

/// Updates are made while less than this waits to be taken by TCP. A slow peer's news merge, prefix
/// by prefix, instead of queueing.
pub const SEND_BUFFER_BYTES: usize = 256 << 10;

/// Prefixes made into updates at once: those with equal attributes share messages.
const BATCH: usize = 1024;

/// What can wait for TCP at worst: a full buffer, and one batch more in which every prefix has
/// attributes that fill a message.
pub const MAX_UNWRITTEN_BYTES: usize = SEND_BUFFER_BYTES + (BATCH + 1) * bgp_wire::MAX_MESSAGE_LEN;

#[derive(Debug, Default)]
pub(crate) struct AdjRibOut {
    /// Prefixes to be told anew, with whether the peer was told of them. Bounded by the table.
    pending: BTreeMap<Prefix, bool>,
    /// Families of which End-of-RIB is to be said when nothing is pending any more.
    end_of_rib: Families,
    /// How many prefixes the peer knows from us.
    told: usize,
}

impl AdjRibOut {
    /// A new session: nothing was told, and the end of the first picture will be.
    pub(crate) fn begin(&mut self, families: Families) {
        *self = Self { end_of_rib: families, ..Self::default() };
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn told(&self) -> usize {
        self.told
    }

    fn pend(&mut self, prefix: Prefix, told: bool) {
        // What waits already was noted before the first of the changes it waits for.
        self.pending.entry(prefix).or_insert(told);
    }
}

/// Prefixes with what is to be said of them, in the order of the first of each.
#[derive(Default)]
struct Batch {
    withdrawn: Vec<Prefix>,
    announced: Vec<(Exported, Vec<(Prefix, bool)>)>,
    index: HashMap<(Arc<PathAttributes>, BgpNextHop), usize>,
}

impl Batch {
    fn announce(&mut self, prefix: Prefix, told: bool, exported: Exported) {
        let key = (exported.attributes.clone(), exported.next_hop);
        let at = *self.index.entry(key).or_insert_with(|| {
            self.announced.push((exported, Vec::new()));
            self.announced.len() - 1
        });
        self.announced[at].1.push((prefix, told));
    }
}

impl Speaker {
    pub(crate) fn receive_update(&mut self, address: IpAddr, update: &Update) {
        if let Some(peer) = self.peers.get_mut(&address) {
            peer.counters.updates_received += 1;
        }
        for fault in &update.malformed {
            warn!(peer = %address, %fault, consequence = ?fault.consequence, "malformed update");
        }
        if let Err(error) = self.routing.update(address, update) {
            warn!(peer = %address, %error, "too much");
            let notification = Notification::new(NotificationCode::MaximumPrefixesReached);
            let farewell = self.final_words(address, notification);
            return self.step(address, Event::MessageError, Cause::send(farewell));
        }
        if let Some(family) = update.end_of_rib {
            self.receive_end_of_rib(address, family);
        }
    }

    /// RFC 2918 §4: all of the family once more.
    pub(crate) fn receive_refresh(&mut self, address: IpAddr, refresh: RouteRefresh) {
        debug!(peer = %address, ?refresh, "route refresh");
        // Whoever has not agreed on the family is not answered (RFC 2918 §4).
        if let (RouteRefreshSubtype::Request, Some(family)) =
            (refresh.subtype, refresh.family.family())
        {
            self.readvertise(address, |one| one == family);
        }
    }

    /// Decides what has changed since, unless that is put off (RFC 4724 §4.1).
    pub(crate) fn settle(&mut self) {
        if self.stopped || self.startup.is_restarting() || self.routing.rib.is_settled() {
            return;
        }
        for change in self.routing.settle() {
            for (&address, peer) in &mut self.peers {
                if peer.is_established() {
                    pend(&self.config, &mut self.routing, address, peer, &change);
                    self.ready.insert(address);
                }
            }
        }
    }

    /// Tells a peer everything, on a session that has just come up.
    pub(crate) fn advertise_all(&mut self, address: IpAddr) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        for (prefix, _) in self.routing.rib.best_paths() {
            peer.out.pend(prefix, false);
        }
        self.ready.insert(address);
    }

    /// Tells a peer again what it was told; to be called before what it depends on changes.
    pub(crate) fn readvertise(&mut self, address: IpAddr, families: impl Fn(Family) -> bool) {
        let Some(peer) = self.peers.get_mut(&address) else { return };
        if !peer.is_established() {
            return;
        }
        let local = local_speaker(&self.config);
        let told: Vec<_> = {
            let Some(target) = target(&self.routing, address, peer) else { return };
            let known = self.routing.rib.best_paths();
            let known = known.filter(|(prefix, _)| families(prefix.family()));
            known
                .map(|(prefix, path)| {
                    let told =
                        carries(peer, prefix) && export::is_told(&local, &target, prefix, &path);
                    (prefix, told)
                })
                .collect()
        };
        told.into_iter().for_each(|(prefix, told)| peer.out.pend(prefix, told));
        self.ready.insert(address);
    }

    /// Makes updates for a peer until nothing is pending or its connection has enough to do.
    pub(crate) fn advertise(&mut self, address: IpAddr) {
        while let Some(peer) = self.peers.get_mut(&address)
            && peer.is_established()
            && !self.startup.is_restarting()
            && let Some(connection) = &peer.connection
            && let Some(agreed) = &connection.agreed
            && connection.unwritten < SEND_BUFFER_BYTES
        {
            let parameters = agreed.parameters;
            let mut bytes = BytesMut::new();
            if peer.out.pending.is_empty() && peer.out.end_of_rib.is_empty() {
                return;
            }
            let count = if peer.out.pending.is_empty() {
                let families = std::mem::take(&mut peer.out.end_of_rib);
                families.iter().for_each(|family| encode_end_of_rib(family, &mut bytes));
                families.iter().count()
            } else {
                let batch = next_batch(&self.config, &mut self.routing, address, peer);
                encode(&parameters, &mut peer.out, batch, &mut bytes)
            };
            peer.counters.updates_sent += count as u64;
            // The one message that `send` counts is among them.
            peer.counters.messages_sent += (count as u64).saturating_sub(1);
            // A batch of which policy lets nothing through says nothing; End-of-RIB still follows.
            if !bytes.is_empty() {
                self.send(address, Slot::Main, bytes);
            }
        }
    }
}

fn pend(
    config: &Config,
    routing: &mut Routing,
    address: IpAddr,
    peer: &mut Peer,
    change: &BestChange,
) {
    if peer.out.pending.contains_key(&change.prefix) {
        return;
    }
    let mut told = |path: &Option<BestPath>| {
        exported(config, routing, address, peer, change.prefix, path.as_ref()?)
    };
    let (old, new) = (told(&change.old), told(&change.new));
    if old != new {
        peer.out.pend(change.prefix, old.is_some());
    }
}

/// What a peer is told of a prefix with this best path, if anything.
fn exported(
    config: &Config,
    routing: &mut Routing,
    address: IpAddr,
    peer: &Peer,
    prefix: Prefix,
    path: &BestPath,
) -> Option<Exported> {
    let target = target(routing, address, peer).filter(|_| carries(peer, prefix))?;
    routing.rewriter.export(&local_speaker(config), &target, prefix, path).ok()
}

/// Whether the session is about the family of a prefix.
fn carries(peer: &Peer, prefix: Prefix) -> bool {
    peer.agreed().is_some_and(|agreed| agreed.parameters.families.contains(prefix.family()))
}

fn target<'a>(routing: &Routing, address: IpAddr, peer: &'a Peer) -> Option<ExportPeer<'a>> {
    Some(ExportPeer {
        id: routing.id(address)?,
        kind: peer.agreed()?.parameters.peer_kind,
        reflector_client: peer.config.reflector_client,
        next_hop_self: peer.config.next_hop_self,
        policy: &peer.config.export,
    })
}

fn next_batch(config: &Config, routing: &mut Routing, address: IpAddr, peer: &mut Peer) -> Batch {
    let mut batch = Batch::default();
    for _ in 0..BATCH {
        let Some((prefix, told)) = peer.out.pending.pop_first() else { break };
        let best = routing.rib.best(prefix);
        let news = best.and_then(|path| exported(config, routing, address, peer, prefix, &path));
        match news {
            Some(exported) => batch.announce(prefix, told, exported),
            None if told => batch.withdrawn.push(prefix),
            None => {}
        }
    }
    batch
}

/// Appends a batch and gives the number of messages.
fn encode(
    parameters: &SessionParameters,
    out: &mut AdjRibOut,
    mut batch: Batch,
    bytes: &mut BytesMut,
) -> usize {
    let mut count = 0;
    for (Exported { attributes, next_hop }, group) in batch.announced {
        let prefixes: Vec<_> = group.iter().map(|(prefix, _)| *prefix).collect();
        match encode_announcements(parameters, &attributes, next_hop, &prefixes, bytes) {
            Ok(messages) => {
                count += messages;
                out.told += group.iter().filter(|(_, told)| !told).count();
            }
            Err(error) => {
                warn!(%error, "cannot be told");
                batch.withdrawn.extend(group.iter().filter(|(_, told)| *told).map(|one| one.0));
            }
        }
    }
    out.told = out.told.saturating_sub(batch.withdrawn.len());
    // Before the announcements it would be as good: no prefix stands in both.
    count + encode_withdrawals(parameters, &batch.withdrawn, bytes)
}
