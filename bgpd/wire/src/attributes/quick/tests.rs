//! The quick way and the thorough one agree, and the quick one is taken.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{Families, attributes::Attributes};

fn session(kind: PeerKind) -> SessionParameters {
    SessionParameters {
        four_octet_as: true,
        families: Families::BOTH,
        ..SessionParameters::before_open(kind)
    }
}

/// One attribute, sound as it stands.
const ATTRIBUTES: &[&[u8]] = &[
    &[0x40, 1, 1, 0],
    &[0x40, 1, 1, 2],
    &[0x40, 2, 0],
    &[0x40, 2, 16, 2, 2, 0, 0, 0xfd, 0xe9, 0, 1, 0, 0, 1, 1, 0, 0, 0, 7],
    &[0x40, 3, 4, 192, 0, 2, 1],
    &[0x80, 4, 4, 0, 0, 0, 9],
    &[0x40, 5, 4, 0, 0, 0, 100],
    &[0x40, 6, 0],
    &[0xe0, 7, 8, 0, 0, 0xfd, 0xe9, 192, 0, 2, 9],
    &[0xc0, 8, 8, 0xff, 0xff, 0xff, 1, 0, 1, 0, 2],
    &[0x80, 9, 4, 192, 0, 2, 7],
    &[0x80, 10, 4, 192, 0, 2, 8],
    &[
        0x90, 14, 0, 23, 0, 2, 1, 16, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0,
        8, 0x20,
    ],
    &[0x80, 15, 5, 0, 2, 1, 8, 0x30],
    &[0x80, 15, 3, 0, 2, 1],
    &[0xc0, 16, 8, 0, 2, 0xfd, 0xe9, 0, 0, 0, 1],
    &[0xc0, 32, 12, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3],
    &[0xc0, 17, 6, 2, 1, 0, 1, 0, 0],
    &[0xe0, 99, 2, 1, 2],
];

fn field() -> impl Strategy<Value = Vec<u8>> {
    let some = vec(prop::sample::select(ATTRIBUTES), 0..10);
    let damage = vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (some, any::<bool>(), damage).prop_map(|(mut some, sorted, damage)| {
        if sorted {
            some.sort_by_key(|one| one[1]);
            some.dedup_by_key(|one| one[1]);
        }
        let mut octets = some.concat();
        for (at, octet) in damage {
            if !octets.is_empty() {
                let at = at.index(octets.len());
                octets[at] = octet;
            }
        }
        octets
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(4096)))]

    #[test]
    fn what_is_read_quickly_is_read_rightly(
        field in field(),
        internal in any::<bool>(),
        has_nlri in any::<bool>(),
    ) {
        let session = session(if internal { PeerKind::Internal } else { PeerKind::External });
        let Some(quick) = Quick::decode(&field, &session, has_nlri) else { return Ok(()) };
        let mut thorough = Attributes::decode(&field, &session).unwrap();
        let announces = has_nlri || thorough.mp_reach.is_some();
        if announces {
            thorough.require_mandatory(has_nlri);
        }
        prop_assert_eq!(&thorough.malformed, &[]);
        prop_assert_eq!(quick.count, thorough.count);
        prop_assert_eq!(quick.next_hop, thorough.next_hop);
        prop_assert_eq!(format!("{:?}", quick.mp_reach), format!("{:?}", thorough.mp_reach));
        prop_assert_eq!(format!("{:?}", quick.mp_unreach), format!("{:?}", thorough.mp_unreach));
        if announces {
            prop_assert_eq!(&quick.set, &AttributeSet::from(&thorough.path));
        }
    }

    #[test]
    fn what_is_in_order_is_read_quickly(some in vec(prop::sample::select(&ATTRIBUTES[3..17]), 0..10)) {
        let mut some = [&ATTRIBUTES[..1], &ATTRIBUTES[3..5], &some].concat();
        some.sort_by_key(|one| one[1]);
        some.dedup_by_key(|one| one[1]);
        let field = some.concat();
        prop_assert!(Quick::decode(&field, &session(PeerKind::Internal), true).is_some(), "{field:?}");
    }
}
