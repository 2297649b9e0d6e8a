//! What is said of ourselves, of times and of numbers.

use std::{
    net::Ipv4Addr,
    time::{SystemTime, UNIX_EPOCH},
};

use bgp_bmp::{Information, Message, Moment, PeerHeader, PeerUp, Statistic, StatisticKind};
use bgp_rib::PeerId;
use bgp_speaker::{Config, Speaker};
use bgp_wire::{AfiSafi, Capability, HoldTime, Open};
use bytes::BytesMut;
use tracing::warn;
use viaduct_net::Family;

use super::Known;

/// RFC 7854 §4.8, RFC 8671 §6.2.
pub(super) fn numbers(known: &Known, speaker: &Speaker) -> Vec<Statistic> {
    let rib = speaker.rib();
    let id: Option<PeerId> = rib.peer_id(known.address);
    let counts = id.map(|id| rib.peer_counts(id)).unwrap_or_default();
    let told = speaker.told_to(known.address) as u64;
    let mut all = vec![
        Statistic::new(
            StatisticKind::REJECTED_BY_POLICY,
            (counts.received - counts.accepted).into(),
        ),
        Statistic::new(StatisticKind::DUPLICATE_PREFIXES, counts.duplicates.into()),
        Statistic::new(StatisticKind::ADJ_RIB_IN, counts.received.into()),
    ];
    all.extend(known.session.parameters.families.iter().map(|family| Statistic {
        family: Some(AfiSafi::from(family)),
        ..Statistic::new(StatisticKind::ADJ_RIB_IN_OF_FAMILY, counts.of(family).into())
    }));
    all.push(Statistic::new(StatisticKind::ADJ_RIB_OUT_POST_POLICY, told));
    all
}

pub(super) fn self_description(name: &str) -> Vec<Information> {
    let description = concat!("Viaduct ", env!("CARGO_PKG_VERSION"));
    vec![
        Information::new(Information::SYSTEM_DESCRIPTION, description),
        Information::new(Information::SYSTEM_NAME, name),
    ]
}

/// RFC 9069 §5.1: both OPENs are our own, with what UPDATEs for Loc-RIB are written by.
pub(super) fn loc_rib_up(config: &Config) -> Message {
    let mut capabilities: Vec<_> =
        Family::ALL.map(|family| Capability::Multiprotocol(family.into())).into();
    capabilities.push(Capability::FourOctetAs(config.asn));
    let (asn, router_id) = (config.asn, config.router_id);
    let mut open = BytesMut::new();
    Open { asn, hold_time: HoldTime::INFINITE, router_id, capabilities }.encode(&mut open);
    let open = open.freeze();
    let header = PeerHeader { at: now(), ..PeerHeader::loc_rib(asn, router_id.into()) };
    let up = PeerUp {
        local: Ipv4Addr::UNSPECIFIED.into(),
        local_port: 0,
        remote_port: 0,
        sent: open.clone(),
        received: open,
        information: vec![Information::new(Information::TABLE_NAME, "global")],
    };
    Message::PeerUp(header, up)
}

pub(super) fn put(message: &Message, out: &mut BytesMut) {
    if let Err(error) = message.encode(out) {
        warn!(%error, "a collector misses a message");
    }
}

pub(super) fn now() -> Moment {
    moment(SystemTime::now())
}

pub(super) fn moment(time: SystemTime) -> Moment {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment { secs: since.as_secs() as u32, micros: since.subsec_micros() }
}
