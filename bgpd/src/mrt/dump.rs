//! The table as a TABLE_DUMP_V2 (RFC 6396 §4.3), page by page: the speaker goes on in between.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use bgp_mrt::{Body, Error, IndexedPeer, PeerIndexTable, Record, RibEntry, RibRecord, Timestamp};
use bgp_rib::PathFilter;
use bgp_speaker::Speaker;
use bgp_wire::{AttributeSet, BgpNextHop};
use bytes::{Bytes, BytesMut};
use viaduct_net::{Asn, Family, Prefix, RouterId};

use crate::{Ended, Handle, status::plain};

/// A peer that paths come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TablePeer {
    /// `None` for ourselves.
    pub(crate) address: Option<IpAddr>,
    pub(crate) asn: Asn,
    pub(crate) router_id: RouterId,
}

#[derive(Clone, Debug)]
pub(crate) struct TablePath {
    pub(crate) prefix: Prefix,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) path_id: u32,
    pub(crate) attributes: AttributeSet,
    pub(crate) next_hop: BgpNextHop,
}

/// Some of the table's paths, those of a prefix beside each other.
#[derive(Clone, Debug)]
pub(crate) struct TablePage {
    pub(crate) paths: Vec<TablePath>,
    /// Where the next page begins.
    pub(crate) next: Option<u32>,
}

/// Ourselves, and then all peers.
pub(crate) fn peers(speaker: &Speaker) -> Vec<TablePeer> {
    let config = speaker.config();
    let own = TablePeer { address: None, asn: config.asn, router_id: config.router_id };
    let others = speaker.rib().peers().map(|(_, peer)| TablePeer {
        address: Some(peer.address),
        asn: peer.asn,
        router_id: peer.router_id,
    });
    std::iter::once(own).chain(others).collect()
}

pub(crate) fn page(speaker: &Speaker, from: u32) -> TablePage {
    let config = speaker.config();
    let step = speaker.rib().walk(from, &PathFilter::default(), usize::MAX);
    let paths = step.paths.iter().map(|path| TablePath {
        prefix: path.prefix,
        peer: path.peer.map(|peer| peer.address),
        path_id: path.path_id,
        attributes: path.attributes.clone(),
        next_hop: path.next_hop.unwrap_or_else(|| {
            let family = path.prefix.family();
            let own = config.addresses.of(family);
            own.unwrap_or(unspecified(family)).into()
        }),
    });
    TablePage { paths: paths.collect(), next: step.next }
}

pub(super) const fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    #[error(transparent)]
    Ended(#[from] Ended),
    #[error("the table cannot be written: {0}")]
    Record(#[from] Error),
}

/// A dump under way. Every path of the table is in it, whatever was decided about it. A peer that has
/// come since the beginning is not.
#[derive(Debug)]
pub struct Dump {
    speaker: Handle,
    at: Timestamp,
    peers: HashMap<Option<IpAddr>, u16>,
    sequence: u32,
    next: Next,
}

#[derive(Debug)]
enum Next {
    Peers,
    Page(u32),
    Nothing,
}

impl Dump {
    pub(crate) fn new(speaker: Handle) -> Self {
        let at = Timestamp { micros: None, ..super::now() };
        Self { speaker, at, peers: HashMap::new(), sequence: 0, next: Next::Peers }
    }

    /// Whole records; `None` behind the last of them.
    pub async fn next(&mut self) -> Result<Option<Bytes>, DumpError> {
        let mut out = BytesMut::new();
        // A page may have nothing to say.
        while out.is_empty() {
            match self.next {
                Next::Peers => {
                    self.write_index(&self.speaker.table_peers().await?.clone(), &mut out)?;
                    self.next = Next::Page(0);
                }
                Next::Page(from) => {
                    let page = self.speaker.table_page(from).await?;
                    for paths in page.paths.chunk_by(|a, b| a.prefix == b.prefix) {
                        self.write_prefix(paths, &mut out)?;
                    }
                    self.next = page.next.map_or(Next::Nothing, Next::Page);
                }
                Next::Nothing => return Ok(None),
            }
        }
        Ok(Some(out.freeze()))
    }

    fn write_index(&mut self, all: &[TablePeer], out: &mut BytesMut) -> Result<(), Error> {
        let mut peers = Vec::with_capacity(all.len());
        for peer in all.iter().take(u16::MAX.into()) {
            self.peers.insert(peer.address, peers.len() as u16);
            peers.push(IndexedPeer {
                router_id: peer.router_id.into(),
                address: peer.address.map_or(unspecified(Family::V4), plain),
                asn: peer.asn,
            });
        }
        let collector = peers.first().map_or(Ipv4Addr::UNSPECIFIED, |own| own.router_id);
        let table = PeerIndexTable { collector, view: String::new(), peers };
        Record { at: self.at, body: Body::PeerIndexTable(table) }.encode(out)
    }

    /// The paths for one prefix: those with identifiers in a record of their own (RFC 8050 §4).
    fn write_prefix(&mut self, paths: &[TablePath], out: &mut BytesMut) -> Result<(), Error> {
        for has_path_ids in [false, true] {
            let of_kind = paths.iter().filter(|path| (path.path_id != 0) == has_path_ids);
            let mut prefix = None;
            let mut entries = Vec::new();
            for path in of_kind {
                let Some(&peer) = self.peers.get(&path.peer) else { continue };
                prefix = Some(path.prefix);
                let entry = RibEntry::new(peer, path.path_id, &path.attributes, path.next_hop);
                entries.push(RibEntry { originated: self.at.secs, ..entry });
            }
            let Some(prefix) = prefix else { continue };
            let record = RibRecord { sequence: self.sequence, prefix, has_path_ids, entries };
            Record { at: self.at, body: Body::Rib(record) }.encode(out)?;
            self.sequence = self.sequence.wrapping_add(1);
        }
        Ok(())
    }
}
