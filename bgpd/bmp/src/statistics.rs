//! Counters and gauges of a peer or a table (RFC 7854 §4.8, RFC 8671 §6.2).

use bgp_wire::AfiSafi;
use bytes::{BufMut, BytesMut};

use crate::{Error, octets::Reader};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatisticKind(pub u16);

impl StatisticKind {
    pub const REJECTED_BY_POLICY: Self = Self(0);
    pub const DUPLICATE_PREFIXES: Self = Self(1);
    pub const DUPLICATE_WITHDRAWALS: Self = Self(2);
    pub const CLUSTER_LOOPS: Self = Self(3);
    pub const AS_PATH_LOOPS: Self = Self(4);
    pub const ORIGINATOR_LOOPS: Self = Self(5);
    pub const CONFEDERATION_LOOPS: Self = Self(6);
    pub const ADJ_RIB_IN: Self = Self(7);
    pub const LOC_RIB: Self = Self(8);
    pub const ADJ_RIB_IN_OF_FAMILY: Self = Self(9);
    pub const LOC_RIB_OF_FAMILY: Self = Self(10);
    pub const UPDATES_TREATED_AS_WITHDRAW: Self = Self(11);
    pub const PREFIXES_TREATED_AS_WITHDRAW: Self = Self(12);
    pub const DUPLICATE_UPDATES: Self = Self(13);
    pub const ADJ_RIB_OUT_PRE_POLICY: Self = Self(14);
    pub const ADJ_RIB_OUT_POST_POLICY: Self = Self(15);
    pub const ADJ_RIB_OUT_PRE_POLICY_OF_FAMILY: Self = Self(16);
    pub const ADJ_RIB_OUT_POST_POLICY_OF_FAMILY: Self = Self(17);

    fn shape(self) -> Option<Shape> {
        match self.0 {
            0..=6 | 11..=13 => Some(Shape::Counter),
            7 | 8 | 14 | 15 => Some(Shape::Gauge),
            9 | 10 | 16 | 17 => Some(Shape::GaugeOfFamily),
            _ => None,
        }
    }
}

#[derive(Clone, Copy)]
enum Shape {
    Counter,
    Gauge,
    GaugeOfFamily,
}

/// One number. Counters have 32 bits and start again behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistic {
    pub kind: StatisticKind,
    /// With the kinds that say so in their name, and with no other.
    pub family: Option<AfiSafi>,
    pub value: u64,
}

impl Statistic {
    pub const fn new(kind: StatisticKind, value: u64) -> Self {
        Self { kind, family: None, value }
    }

    pub(crate) fn encode(self, out: &mut BytesMut) -> Result<(), Error> {
        out.put_u16(self.kind.0);
        match (self.kind.shape(), self.family) {
            (Some(Shape::Counter), None) => {
                out.put_u16(4);
                out.put_u32(self.value as u32);
            }
            (Some(Shape::Gauge), None) => {
                out.put_u16(8);
                out.put_u64(self.value);
            }
            (Some(Shape::GaugeOfFamily), Some(family)) => {
                out.put_u16(11);
                out.put_u16(family.afi);
                out.put_u8(family.safi);
                out.put_u64(self.value);
            }
            _ => return Err(Error::Statistic(self.kind.0)),
        }
        Ok(())
    }

    /// `None` for a kind that is not known.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Option<Self>, Error> {
        let kind = StatisticKind(reader.u16()?);
        let len = reader.u16()?;
        let mut value = Reader(reader.take(len.into())?);
        let Some(shape) = kind.shape() else { return Ok(None) };
        let family = match shape {
            Shape::GaugeOfFamily => Some(AfiSafi { afi: value.u16()?, safi: value.u8()? }),
            Shape::Counter | Shape::Gauge => None,
        };
        let number = match shape {
            Shape::Counter => value.u32()?.into(),
            Shape::Gauge | Shape::GaugeOfFamily => value.u64()?,
        };
        if !value.0.is_empty() {
            return Err(Error::Statistic(kind.0));
        }
        Ok(Some(Self { kind, family, value: number }))
    }
}
