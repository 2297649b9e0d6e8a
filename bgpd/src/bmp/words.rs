//! What is said of ourselves, of times and of numbers.

use std::{
    net::Ipv4Addr,
    time::{SystemTime, UNIX_EPOCH},
};

use bgp_bmp::{Information, Message, Moment, PeerHeader, PeerUp, Statistic, StatisticKind};
use bgp_rib::PeerId;
use bgp_speaker::{Config, Speaker};
use bgp_wire::{AfiSafi, Capability, Families, HoldTime, Open};
use bytes::BytesMut;
use tracing::warn;
use viaduct_net::Family;

use super::Known;

/// RFC 7854 §4.8; of the Adj-RIB-Out only where that is watched (RFC 8671 §6.2).
pub(super) fn numbers(known: &Known, speaker: &Speaker, adj_rib_out: bool) -> Vec<Statistic> {
    let rib = speaker.rib();
    let id: Option<PeerId> = rib.peer_id(known.address);
    let counts = id.map(|id| rib.peer_counts(id)).unwrap_or_default();
    let met = id.map(|id| rib.import_counters(id)).unwrap_or_default();
    let counters = [
        (StatisticKind::REJECTED_BY_POLICY, met.rejected_by_policy),
        (StatisticKind::DUPLICATE_PREFIXES, met.duplicate_prefixes),
        (StatisticKind::DUPLICATE_WITHDRAWALS, met.duplicate_withdrawals),
        (StatisticKind::CLUSTER_LOOPS, met.cluster_loops),
        (StatisticKind::AS_PATH_LOOPS, met.as_path_loops),
        (StatisticKind::ORIGINATOR_LOOPS, met.originator_loops),
        (StatisticKind::CONFEDERATION_LOOPS, met.confederation_loops),
        (StatisticKind::UPDATES_TREATED_AS_WITHDRAW, met.updates_treated_as_withdraw),
        (StatisticKind::PREFIXES_TREATED_AS_WITHDRAW, met.prefixes_treated_as_withdraw),
        (StatisticKind::DUPLICATE_UPDATES, met.duplicate_updates),
    ];
    let counters = counters.into_iter();
    let mut all: Vec<_> =
        counters.map(|(kind, count)| Statistic::new(kind, count.into())).collect();
    let families = known.session.parameters.families;
    all.push(Statistic::new(StatisticKind::ADJ_RIB_IN, counts.received.into()));
    all.extend(by_family(families, StatisticKind::ADJ_RIB_IN_OF_FAMILY, |family| {
        counts.of(family).into()
    }));
    if adj_rib_out {
        let counts = speaker.adj_rib_out_counts(known.address);
        for (kind, kind_of_family, counts) in [
            (
                StatisticKind::ADJ_RIB_OUT_PRE_POLICY,
                StatisticKind::ADJ_RIB_OUT_PRE_POLICY_OF_FAMILY,
                counts.pre_policy,
            ),
            (
                StatisticKind::ADJ_RIB_OUT_POST_POLICY,
                StatisticKind::ADJ_RIB_OUT_POST_POLICY_OF_FAMILY,
                counts.post_policy,
            ),
        ] {
            all.push(Statistic::new(kind, counts.total() as u64));
            all.extend(by_family(families, kind_of_family, |family| counts.of(family) as u64));
        }
    }
    all
}

/// The two kinds that mean something for Loc-RIB (RFC 9069 §5.5).
pub(super) fn loc_rib_numbers(speaker: &Speaker) -> Vec<Statistic> {
    let best = speaker.rib_counts().best;
    let mut all = vec![Statistic::new(StatisticKind::LOC_RIB, best.total() as u64)];
    all.extend(by_family(Families::BOTH, StatisticKind::LOC_RIB_OF_FAMILY, |family| {
        best.of(family) as u64
    }));
    all
}

fn by_family(
    families: Families,
    kind: StatisticKind,
    value: impl Fn(Family) -> u64,
) -> impl Iterator<Item = Statistic> {
    families.iter().map(move |family| Statistic {
        family: Some(AfiSafi::from(family)),
        ..Statistic::new(kind, value(family))
    })
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
