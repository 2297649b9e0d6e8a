mod text;

use bytes::{BufMut, BytesMut};
use viaduct_net::Asn;

pub use self::text::AsPathParseError;
use crate::reader::Reader;

/// The most numbers a segment's length octet can count.
const MAX_SEGMENT_LEN: usize = 255;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SegmentKind {
    Set = 1,
    Sequence = 2,
    /// RFC 5065 §3.
    ConfedSequence = 3,
    ConfedSet = 4,
}

impl SegmentKind {
    pub(crate) const fn from_octet(octet: u8) -> Option<Self> {
        match octet {
            1 => Some(Self::Set),
            2 => Some(Self::Sequence),
            3 => Some(Self::ConfedSequence),
            4 => Some(Self::ConfedSet),
            _ => None,
        }
    }

    pub const fn is_confederation(self) -> bool {
        matches!(self, Self::ConfedSequence | Self::ConfedSet)
    }
}

/// At least one number; more than 255 are written as several segments.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    pub kind: SegmentKind,
    pub asns: Vec<Asn>,
}

impl Segment {
    /// What the segment adds to the length of a path (RFC 4271 §9.1.2.2 a, RFC 5065 §5.3).
    fn route_len(&self) -> usize {
        match self.kind {
            SegmentKind::Sequence => self.asns.len(),
            SegmentKind::Set => 1,
            SegmentKind::ConfedSequence | SegmentKind::ConfedSet => 0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AsPathError {
    #[error("unrecognized segment type {0}")]
    SegmentType(u8),
    #[error("a segment without AS numbers")]
    EmptySegment,
    #[error("a segment runs over the end of the attribute")]
    Overrun,
    #[error("AS number zero")]
    AsZero,
    #[error("confederation segments from a peer outside the confederation")]
    Confederation,
}

/// The ASes a route has gone through, nearest first; empty for a route of our own AS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AsPath {
    segments: Vec<Segment>,
}

impl AsPath {
    /// Segments without numbers are left out: the wire knows none.
    pub fn new(segments: impl IntoIterator<Item = Segment>) -> Self {
        let segments = segments.into_iter().filter(|segment| !segment.asns.is_empty()).collect();
        Self { segments }
    }

    /// One AS_SEQUENCE.
    pub fn sequence(asns: impl IntoIterator<Item = Asn>) -> Self {
        Self::new([Segment { kind: SegmentKind::Sequence, asns: asns.into_iter().collect() }])
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    pub const fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The length the decision compares: a set counts one, confederation segments nothing
    /// (RFC 4271 §9.1.2.2 a, RFC 5065 §5.3).
    pub fn route_len(&self) -> usize {
        self.segments.iter().map(Segment::route_len).sum()
    }

    /// Whether the AS stands anywhere in the path, in which case the route has come round.
    pub fn contains(&self, asn: Asn) -> bool {
        self.segments.iter().any(|segment| segment.asns.contains(&asn))
    }

    /// The AS the route came from: first of the leading AS_SEQUENCE, confederation segments
    /// skipped; `None` for a route of our own AS or an aggregate without one. MEDs compare only
    /// among equal ones (RFC 4271 §9.1.2.2 c).
    pub fn neighbor_as(&self) -> Option<Asn> {
        let first = self.segments.iter().find(|segment| !segment.kind.is_confederation())?;
        match first.kind {
            SegmentKind::Sequence => first.asns.first().copied(),
            _ => None,
        }
    }

    pub fn has_confederation(&self) -> bool {
        self.segments.iter().any(|segment| segment.kind.is_confederation())
    }

    /// The path as a peer of another member AS of the confederation is told it (RFC 5065 §4.1 b).
    pub fn confederated(&self, asn: Asn) -> Self {
        let mut segments = self.segments.clone();
        match segments.first_mut() {
            Some(first)
                if first.kind == SegmentKind::ConfedSequence
                    && first.asns.len() < usize::from(u8::MAX) =>
            {
                first.asns.insert(0, asn);
            }
            _ => {
                let kind = SegmentKind::ConfedSequence;
                segments.insert(0, Segment { kind, asns: vec![asn] });
            }
        }
        Self::new(segments)
    }

    /// The path as an external peer is told it: `asn` in front, `count` times, and confederation
    /// segments gone (RFC 4271 §5.1.2, RFC 5065 §4.1).
    #[must_use]
    pub fn prepended(&self, asn: Asn, count: usize) -> Self {
        let mut segments: Vec<_> =
            self.segments.iter().filter(|one| !one.kind.is_confederation()).cloned().collect();
        let front = std::iter::repeat_n(asn, count);
        match segments.first_mut() {
            Some(first)
                if first.kind == SegmentKind::Sequence
                    && first.asns.len() + count <= MAX_SEGMENT_LEN =>
            {
                first.asns.splice(0..0, front);
            }
            _ => segments.insert(0, Segment { kind: SegmentKind::Sequence, asns: front.collect() }),
        }
        Self::new(segments)
    }

    /// Rebuilds the path that a two-octet speaker could not carry (RFC 6793 §4.2.3): the leading
    /// numbers of AS_PATH that AS4_PATH lacks, then AS4_PATH. AS4_PATH is ignored where it is the
    /// longer, for then somebody on the way has rebuilt AS_PATH without it.
    #[must_use]
    pub(crate) fn merged_with_as4(self, as4_path: Self) -> Self {
        let Some(mut missing) = self.route_len().checked_sub(as4_path.route_len()) else {
            return self;
        };
        let mut segments = Vec::new();
        for mut segment in self.segments {
            if segment.kind.is_confederation() {
                // Confederation segments count nothing and are never in AS4_PATH.
                segments.push(segment);
                continue;
            }
            if missing == 0 {
                break;
            }
            if segment.kind == SegmentKind::Sequence {
                segment.asns.truncate(missing);
            }
            missing -= segment.route_len();
            segments.push(segment);
        }
        let mut rest = as4_path.segments.into_iter().peekable();
        // A sequence that was cut in two is one again.
        if let (Some(last), Some(first)) = (segments.last_mut(), rest.peek_mut())
            && last.kind == SegmentKind::Sequence
            && first.kind == SegmentKind::Sequence
            && last.asns.len() + first.asns.len() <= MAX_SEGMENT_LEN
        {
            last.asns.append(&mut first.asns);
            rest.next();
        }
        segments.extend(rest);
        Self { segments }
    }

    /// The path without confederation segments, as AS4_PATH carries it (RFC 6793 §3).
    pub(crate) fn without_confederation(mut self) -> Self {
        self.segments.retain(|segment| !segment.kind.is_confederation());
        self
    }

    pub(crate) fn needs_four_octets(&self) -> bool {
        let asns = self.segments.iter().flat_map(|segment| &segment.asns);
        asns.into_iter().any(|asn| asn.to_u32() > u32::from(u16::MAX))
    }

    pub(crate) fn encode(&self, four_octet: bool, out: &mut BytesMut) {
        for segment in &self.segments {
            for asns in segment.asns.chunks(MAX_SEGMENT_LEN) {
                out.put_u8(segment.kind as u8);
                out.put_u8(asns.len() as u8);
                for asn in asns {
                    if four_octet {
                        out.put_u32(asn.to_u32());
                    } else {
                        out.put_u16(asn.to_u16_or_trans());
                    }
                }
            }
        }
    }

    /// RFC 7606 §7.2 says what is malformed; RFC 7607 §2 adds the zero.
    pub(crate) fn decode(value: &[u8], four_octet: bool) -> Result<Self, AsPathError> {
        let mut reader = Reader::new(value);
        let mut segments = Vec::new();
        while let Some(kind) = reader.u8() {
            let kind = SegmentKind::from_octet(kind).ok_or(AsPathError::SegmentType(kind))?;
            let count = usize::from(reader.u8().ok_or(AsPathError::Overrun)?);
            if count == 0 {
                return Err(AsPathError::EmptySegment);
            }
            let width = if four_octet { 4 } else { 2 };
            let octets = reader.take(count * width).ok_or(AsPathError::Overrun)?;
            let number = |octets: &[u8]| {
                octets.iter().fold(0, |number, &octet| number << 8 | u32::from(octet))
            };
            let asns: Vec<_> = octets.chunks(width).map(|one| Asn::new(number(one))).collect();
            if asns.iter().any(|asn| asn.is_zero()) {
                return Err(AsPathError::AsZero);
            }
            segments.push(Segment { kind, asns });
        }
        Ok(Self { segments })
    }
}
