//! Path attributes as one allocation: their octets, and in front what decisions ask for.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::LazyLock,
};

use bytes::BytesMut;
use triomphe::ThinArc;
use viaduct_net::{Asn, RouterId};

use super::{
    Attributes, Origin, PathAttributes,
    octets::{Items, segments},
};
use crate::{AttributeType as Type, Community, Families, PeerKind, SegmentKind, SessionParameters};

/// The attributes of a path, shared by all who hold it: as they are written, in ascending order of
/// type, with AS numbers of four octets, without next hop and without MP attributes. Equal
/// attributes have equal octets.
///
/// [`AttributeSet::open`] gives them as values; most are never opened, because telling a path on is
/// copying octets, and what the decision compares is in [`Facts`].
#[derive(Clone)]
pub struct AttributeSet(ThinArc<Facts, u8>);

/// What is asked of a path again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    med: u32,
    local_pref: u32,
    /// Zero is none.
    originator_id: u32,
    /// Zero is none.
    neighbor_as: u32,
    as_path_len: u16,
    cluster_list_len: u16,
    origin: Origin,
    flags: u16,
}

const HAS_MED: u16 = 1;
const HAS_LOCAL_PREF: u16 = 2;
const NO_EXPORT: u16 = 4;
const NO_ADVERTISE: u16 = 8;
const NO_EXPORT_SUBCONFED: u16 = 16;
const CONFEDERATION: u16 = 32;
const GRACEFUL_SHUTDOWN: u16 = 64;
const LLGR_STALE: u16 = 128;
const NO_LLGR: u16 = 256;
const ONLY_TO_CUSTOMER: u16 = 512;
const BLACKHOLE: u16 = 1024;

/// A path has one of these for every distinct set of attributes, so a full table has many.
const _: () = assert!(size_of::<Facts>() == 24);

impl Facts {
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    pub const fn med(&self) -> Option<u32> {
        if self.flags & HAS_MED != 0 { Some(self.med) } else { None }
    }

    pub const fn local_pref(&self) -> Option<u32> {
        if self.flags & HAS_LOCAL_PREF != 0 { Some(self.local_pref) } else { None }
    }

    pub const fn originator_id(&self) -> Option<RouterId> {
        RouterId::from_u32(self.originator_id)
    }

    /// [`crate::AsPath::neighbor_as`].
    pub fn neighbor_as(&self) -> Option<Asn> {
        (self.neighbor_as != 0).then(|| Asn::new(self.neighbor_as))
    }

    /// [`crate::AsPath::route_len`].
    pub const fn as_path_len(&self) -> u32 {
        self.as_path_len as u32
    }

    pub const fn cluster_list_len(&self) -> u32 {
        self.cluster_list_len as u32
    }

    pub const fn is_no_export(&self) -> bool {
        self.flags & NO_EXPORT != 0
    }

    pub const fn is_no_advertise(&self) -> bool {
        self.flags & NO_ADVERTISE != 0
    }

    pub const fn is_no_export_subconfed(&self) -> bool {
        self.flags & NO_EXPORT_SUBCONFED != 0
    }

    /// RFC 8326: whoever tells it is about to go away.
    pub const fn is_graceful_shutdown(&self) -> bool {
        self.flags & GRACEFUL_SHUTDOWN != 0
    }

    /// Kept from a neighbour that has been away for long: the least preferred (RFC 9494 §4.3).
    pub const fn is_llgr_stale(&self) -> bool {
        self.flags & LLGR_STALE != 0
    }

    /// Not to be kept for long (RFC 9494 §3.4).
    pub const fn is_no_llgr(&self) -> bool {
        self.flags & NO_LLGR != 0
    }

    /// RFC 7999: whoever tells it wants packets to be discarded.
    pub const fn is_blackhole(&self) -> bool {
        self.flags & BLACKHOLE != 0
    }

    /// Whether the route goes to customers only (RFC 9234 §5).
    pub const fn is_only_to_customer(&self) -> bool {
        self.flags & ONLY_TO_CUSTOMER != 0
    }

    /// Whether the path has confederation segments (RFC 5065 §3).
    pub const fn has_confederation(&self) -> bool {
        self.flags & CONFEDERATION != 0
    }

    /// Reads them from the octets of a set.
    pub(super) fn scan(octets: &[u8]) -> Self {
        let mut facts = Self {
            med: 0,
            local_pref: 0,
            originator_id: 0,
            neighbor_as: 0,
            as_path_len: 0,
            cluster_list_len: 0,
            origin: Origin::Igp,
            flags: 0,
        };
        for item in Items::new(octets) {
            let number = || {
                item.value.first_chunk().map_or(0, |octets: &[u8; 4]| u32::from_be_bytes(*octets))
            };
            match item.kind {
                Type::ORIGIN => {
                    facts.origin = match item.value.first() {
                        Some(0) => Origin::Igp,
                        Some(1) => Origin::Egp,
                        _ => Origin::Incomplete,
                    };
                }
                Type::AS_PATH => facts.scan_as_path(item.value),
                Type::MULTI_EXIT_DISC => {
                    (facts.med, facts.flags) = (number(), facts.flags | HAS_MED)
                }
                Type::LOCAL_PREF => {
                    (facts.local_pref, facts.flags) = (number(), facts.flags | HAS_LOCAL_PREF);
                }
                Type::COMMUNITIES => {
                    let (communities, _) = item.value.as_chunks::<4>();
                    for octets in communities {
                        facts.flags |= match Community(u32::from_be_bytes(*octets)) {
                            Community::NO_EXPORT => NO_EXPORT,
                            Community::NO_ADVERTISE => NO_ADVERTISE,
                            Community::NO_EXPORT_SUBCONFED => NO_EXPORT_SUBCONFED,
                            Community::GRACEFUL_SHUTDOWN => GRACEFUL_SHUTDOWN,
                            Community::LLGR_STALE => LLGR_STALE,
                            Community::NO_LLGR => NO_LLGR,
                            Community::BLACKHOLE => BLACKHOLE,
                            _ => 0,
                        };
                    }
                }
                Type::ORIGINATOR_ID => facts.originator_id = number(),
                Type::ONLY_TO_CUSTOMER => facts.flags |= ONLY_TO_CUSTOMER,
                Type::CLUSTER_LIST => facts.cluster_list_len = (item.value.len() / 4) as u16,
                _ => {}
            }
        }
        facts
    }

    fn scan_as_path(&mut self, value: &[u8]) {
        let mut leads = true;
        for (kind, asns) in segments(value) {
            match kind {
                SegmentKind::Sequence => {
                    if leads {
                        self.neighbor_as = u32::from_be_bytes(asns[0]);
                    }
                    self.as_path_len = self.as_path_len.saturating_add(asns.len() as u16);
                }
                SegmentKind::Set => self.as_path_len = self.as_path_len.saturating_add(1),
                SegmentKind::ConfedSequence | SegmentKind::ConfedSet => {
                    self.flags |= CONFEDERATION;
                    continue;
                }
            }
            leads = false;
        }
    }
}

impl AttributeSet {
    /// Octets that keep the promise of the type.
    pub(super) fn from_octets(octets: &[u8]) -> Self {
        Self(ThinArc::from_header_and_slice(Facts::scan(octets), octets))
    }

    pub fn facts(&self) -> &Facts {
        &self.0.header.header
    }

    pub fn octets(&self) -> &[u8] {
        &self.0.slice
    }

    /// The attributes as values.
    pub fn open(&self) -> PathAttributes {
        let session = SessionParameters {
            four_octet_as: true,
            families: Families::NONE,
            ..SessionParameters::before_open(PeerKind::Internal)
        };
        // What we have written ourselves is not malformed.
        Attributes::decode(self.octets(), &session).map(|all| all.path).unwrap_or_default()
    }

    /// Reads what [`Self::octets`] has given, in another process perhaps; `None` where that cannot be.
    pub fn read(octets: &[u8]) -> Option<Self> {
        let session = SessionParameters {
            four_octet_as: true,
            families: Families::NONE,
            ..SessionParameters::before_open(PeerKind::Internal)
        };
        let all = Attributes::decode(octets, &session).ok()?;
        all.malformed.is_empty().then(|| Self::from(all.path))
    }

    /// Whether the AS stands anywhere in the path.
    pub fn path_contains(&self, asn: Asn) -> bool {
        let wanted = asn.to_u32().to_be_bytes();
        self.value(Type::AS_PATH)
            .is_some_and(|value| segments(value).any(|(_, asns)| asns.contains(&wanted)))
    }

    /// How often the AS stands in the path, sets and confederation segments included.
    pub fn path_count(&self, asn: Asn) -> usize {
        let wanted = asn.to_u32().to_be_bytes();
        let path = self.value(Type::AS_PATH).unwrap_or_default();
        segments(path).flat_map(|(_, asns)| asns).filter(|asn| **asn == wanted).count()
    }

    /// Whether the AS stands in a part of the path that is within a confederation (RFC 5065 §3).
    pub fn confederation_contains(&self, asn: Asn) -> bool {
        let wanted = asn.to_u32().to_be_bytes();
        let path = self.value(Type::AS_PATH).unwrap_or_default();
        segments(path).any(|(kind, asns)| kind.is_confederation() && asns.contains(&wanted))
    }

    /// Whether the path begins with a sequence that begins with these.
    pub fn path_starts_with(&self, asns: &[Asn]) -> bool {
        let path = self.value(Type::AS_PATH).unwrap_or_default();
        segments(path).next().is_some_and(|(kind, sequence)| {
            let first = sequence.iter().map(|octets| Asn::new(u32::from_be_bytes(*octets)));
            kind == SegmentKind::Sequence
                && sequence.len() >= asns.len()
                && first.zip(asns).all(|(one, other)| one == *other)
        })
    }

    /// From which AS on the route goes to customers only (RFC 9234 §5).
    pub fn only_to_customer(&self) -> Option<Asn> {
        if !self.facts().is_only_to_customer() {
            return None;
        }
        let octets = self.value(Type::ONLY_TO_CUSTOMER)?.first_chunk()?;
        Some(Asn::new(u32::from_be_bytes(*octets)))
    }

    /// Whether the two have one AS_PATH.
    pub fn has_as_path_of(&self, other: &Self) -> bool {
        self.value(Type::AS_PATH) == other.value(Type::AS_PATH)
    }

    /// Whether the path has been reflected in the cluster (RFC 4456 §8).
    pub fn has_cluster(&self, cluster: std::net::Ipv4Addr) -> bool {
        self.facts().cluster_list_len != 0
            && self
                .value(Type::CLUSTER_LIST)
                .is_some_and(|value| value.as_chunks::<4>().0.contains(&cluster.octets()))
    }

    /// Whether the two are one allocation.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.address() == other.address()
    }

    /// What tells one allocation from another while both live.
    pub fn address(&self) -> usize {
        self.0.as_ptr().addr()
    }

    /// How many hold the allocation.
    pub fn holders(&self) -> usize {
        ThinArc::strong_count(&self.0)
    }

    /// What stands behind the attribute's length.
    pub(super) fn value(&self, kind: Type) -> Option<&[u8]> {
        Items::new(self.octets()).find(|item| item.kind == kind).map(|item| item.value)
    }
}

impl From<&PathAttributes> for AttributeSet {
    fn from(attributes: &PathAttributes) -> Self {
        let session = SessionParameters {
            four_octet_as: true,
            ..SessionParameters::before_open(PeerKind::Internal)
        };
        let mut octets = BytesMut::with_capacity(128);
        attributes.encode(&session, &mut octets, None);
        Self::from_octets(&octets)
    }
}

impl From<PathAttributes> for AttributeSet {
    fn from(attributes: PathAttributes) -> Self {
        Self::from(&attributes)
    }
}

impl Default for AttributeSet {
    /// Those of [`PathAttributes::default`].
    fn default() -> Self {
        static DEFAULT: LazyLock<AttributeSet> =
            LazyLock::new(|| AttributeSet::from(PathAttributes::default()));
        DEFAULT.clone()
    }
}

impl PartialEq for AttributeSet {
    fn eq(&self, other: &Self) -> bool {
        self.ptr_eq(other) || self.octets() == other.octets()
    }
}

impl Eq for AttributeSet {}

impl PartialEq<PathAttributes> for AttributeSet {
    fn eq(&self, other: &PathAttributes) -> bool {
        self.open() == *other
    }
}

impl Hash for AttributeSet {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.octets());
    }
}

impl fmt::Debug for AttributeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.open().fmt(f)
    }
}
