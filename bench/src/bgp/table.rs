//! What senders say, encoded before the clock starts.

use std::ops::Range;

use anyhow::Result;
use bgp_wire::{
    AsPath, BgpNextHop, Capability, Community, Families, HoldTime, Nlri, Open, PathAttributes,
    PeerKind, Segment, SegmentKind, SessionParameters, encode_announcements, encode_end_of_rib,
    encode_withdrawals,
};
use bytes::{Bytes, BytesMut};
use viaduct_net::{Asn, Family, RouterId};

use super::layout::{Layout, path_asn, peer_address, prefix};

/// Longer than any case: the generator has no timers.
pub(crate) const HOLD_TIME_SECS: u16 = 3600;

/// Last in the path of the first attribute set, in numbers that nobody has been given.
const FIRST_SET: u32 = 1_000_000_000;
/// Last in the path of the first update of the churn.
const FIRST_CHURN: u32 = 2_000_000_000;

pub(crate) fn open(layout: &Layout, peer: usize) -> Result<Bytes> {
    let asn = Asn::new(layout.peer_asn(peer));
    let mut octets = BytesMut::new();
    let open = Open {
        asn,
        hold_time: HoldTime::from_secs(HOLD_TIME_SECS).unwrap_or(HoldTime::INFINITE),
        router_id: RouterId::try_from(peer_address(peer))?,
        capabilities: vec![
            Capability::Multiprotocol(Family::V4.into()),
            Capability::RouteRefresh,
            Capability::FourOctetAs(asn),
        ],
    };
    open.encode(&mut octets);
    Ok(octets.freeze())
}

/// The whole table of one sender, End-of-RIB behind it.
pub(crate) fn announcements(layout: &Layout, sender: usize) -> Result<Bytes> {
    let mut octets = BytesMut::new();
    for set in sets(layout, sender) {
        let first = set.start;
        let attributes =
            attributes(layout, sender, first, FIRST_SET + (first / layout.per_set) as u32);
        announce(layout, sender, &attributes, &nlris(set)?, &mut octets)?;
    }
    encode_end_of_rib(Family::V4, &mut octets);
    Ok(octets.freeze())
}

/// Every second attribute set of a sender, withdrawn; and which prefixes these are.
pub(crate) fn withdrawals(layout: &Layout, sender: usize) -> Result<(Bytes, Vec<usize>)> {
    let indices: Vec<usize> = sets(layout, sender).step_by(2).flatten().collect();
    let prefixes = nlris(indices.iter().copied())?;
    let mut octets = BytesMut::new();
    encode_withdrawals(&session(layout), &prefixes, &mut octets);
    Ok((octets.freeze(), indices))
}

/// Update `number` of the churn: one prefix, announced again by its sender with another path.
pub(crate) fn churn(layout: &Layout, number: usize) -> Result<(usize, Bytes)> {
    // One sender after another; each begins anew when it is through.
    let (sender, turn) = (number % layout.senders, number / layout.senders);
    let index = sender * layout.each + turn % layout.each;
    let attributes = attributes(layout, sender, index, FIRST_CHURN + number as u32);
    let mut octets = BytesMut::new();
    announce(layout, sender, &attributes, &[prefix(index)?.into()], &mut octets)?;
    Ok((sender, octets.freeze()))
}

/// Which update of the churn a path belongs to, by its last number.
pub(crate) fn churn_number(last: u32) -> Option<usize> {
    last.checked_sub(FIRST_CHURN).map(|number| number as usize)
}

/// The prefixes of a sender, in the runs that share their attributes.
fn sets(layout: &Layout, sender: usize) -> impl Iterator<Item = Range<usize>> {
    let per_set = layout.per_set;
    let (first, own) = if layout.overlap {
        let own = layout.each + sender;
        (0, Some(own..own + 1))
    } else {
        (sender * layout.each, None)
    };
    let end = first + layout.each;
    let runs = (first..end).step_by(per_set);
    runs.map(move |start| start..(start + per_set).min(end)).chain(own)
}

fn nlris(indices: impl Iterator<Item = usize>) -> Result<Vec<Nlri>> {
    indices.map(|index| Ok(prefix(index)?.into())).collect()
}

fn session(layout: &Layout) -> SessionParameters {
    let peer_kind = if layout.reflection { PeerKind::Internal } else { PeerKind::External };
    SessionParameters {
        four_octet_as: true,
        families: Families { v4: true, v6: false },
        ..SessionParameters::before_open(peer_kind)
    }
}

/// A path of the usual length, told apart by its last number. Where senders overlap, those that are
/// to lose have one number more.
fn attributes(layout: &Layout, sender: usize, index: usize, last: u32) -> PathAttributes {
    let own = path_asn(sender);
    let mut numbers = vec![own, 3000 + last % 50, 30_000 + last % 5000];
    if usize::from(layout.winner(index)) != sender {
        numbers.push(60_000);
    }
    numbers.push(last);
    let asns = numbers.into_iter().map(Asn::new).collect();
    PathAttributes {
        as_path: AsPath::new([Segment { kind: SegmentKind::Sequence, asns }]),
        local_pref: layout.reflection.then_some(100),
        communities: vec![Community::new(own as u16, 1), Community::new(own as u16, 100)],
        ..PathAttributes::default()
    }
}

fn announce(
    layout: &Layout,
    sender: usize,
    attributes: &PathAttributes,
    prefixes: &[Nlri],
    octets: &mut BytesMut,
) -> Result<()> {
    let next_hop = BgpNextHop::V4(peer_address(sender));
    encode_announcements(&session(layout), &attributes.into(), next_hop, prefixes, octets)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::bgp::{
        layout,
        walk::{Ends, Nlri, Sink, walk},
    };

    #[derive(Default)]
    struct Seen {
        announced: BTreeSet<(usize, u16)>,
        paths: BTreeSet<u32>,
        withdrawn: BTreeSet<usize>,
    }

    impl Sink for Seen {
        fn announced(&mut self, prefix: Nlri, path: Ends) {
            self.announced.insert((layout::index(prefix).unwrap(), layout::sender(path).unwrap()));
            self.paths.insert(path.last);
        }

        fn withdrawn(&mut self, prefix: Nlri) {
            self.withdrawn.insert(layout::index(prefix).unwrap());
        }
    }

    fn seen(octets: &[u8]) -> Seen {
        let mut seen = Seen::default();
        assert_eq!(walk(octets, &mut seen), Ok(octets.len()));
        seen
    }

    const LAYOUT: Layout =
        Layout { senders: 3, each: 25, per_set: 10, overlap: false, reflection: false };

    #[test]
    fn a_table_says_each_prefix_once_in_its_sets() {
        let table = seen(&announcements(&LAYOUT, 1).unwrap());
        assert_eq!(table.announced, (25..50).map(|index| (index, 1)).collect());
        assert_eq!(table.paths.len(), 3);
        let overlap = Layout { overlap: true, ..LAYOUT };
        let table = seen(&announcements(&overlap, 1).unwrap());
        assert_eq!(table.announced, (0..25).chain([26]).map(|index| (index, 1)).collect());
    }

    #[test]
    fn half_is_withdrawn_set_by_set() {
        let (octets, indices) = withdrawals(&LAYOUT, 0).unwrap();
        assert_eq!(indices, (0..10).chain(20..25).collect::<Vec<_>>());
        assert_eq!(seen(&octets).withdrawn, indices.into_iter().collect());
    }

    #[test]
    fn churn_goes_through_all_senders_and_is_told_apart() {
        for number in [0, 1, 76] {
            let (sender, octets) = churn(&LAYOUT, number).unwrap();
            let update = seen(&octets);
            let index = [0, 25, 25][usize::from(number > 0) + usize::from(number > 1)];
            assert_eq!(
                (sender, update.announced.first()),
                (number % 3, Some(&(index, (number % 3) as u16)))
            );
            let last = update.paths.first().copied().unwrap();
            assert_eq!(churn_number(last), Some(number));
        }
        let table = seen(&announcements(&LAYOUT, 0).unwrap());
        assert!(table.paths.iter().all(|last| churn_number(*last).is_none()));
    }
}
